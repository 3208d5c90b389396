"""Labels from human scores, and balanced draws."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
from datasets import Dataset

from course_lib.checks.arrays import check_numbers
from course_lib.checks.calls import a_dataset, border
from course_lib.checks.types import Count, NotNegative, Seed, Text
from course_lib.checks.values import check_count
from course_lib.errors import CourseError
from course_lib.texts.loading import load_texts


@border(texts=a_dataset)
def with_binary_labels(texts: Dataset, *, margin: NotNegative = 0.5) -> Dataset:
    """Turn human scores into labels, leaving out the sentences the raters were undecided about.

    Args:
        texts: rows with a `score` from -4 to 4 (movie, product, newspaper, tweets).
        margin: rows with an absolute score below this are left out.

    Returns:
        The remaining rows, with `label` 1 for a positive score and 0 for a negative one.

    Raises:
        CourseError: if there is no score column, or one without numbers; the margin is negative, or leaves no row.
    """
    if "score" not in texts.column_names:
        raise CourseError(
            "These texts carry no human score.",
            given=texts.column_names,
            mend="Use movie, product, newspaper or tweets; the others have labels already.",
        )
    check_numbers("scores", texts["score"][:], least_size=0)
    table = texts.to_pandas()
    decided = table[(table["score"] != 0) & (table["score"].abs() >= margin)]
    if decided.empty:
        raise CourseError("No text has a score as far from 0 as this.", given=margin, mend="Use margin=0.5.")
    return Dataset.from_pandas(decided.assign(label=(decided["score"] > 0).astype(int)), preserve_index=False)


@border(texts=a_dataset, num_examples=partial(check_count, least=0))
def sample_texts(texts: Dataset, num_examples: int, *, seed: Seed, label: Text | None = "label") -> Dataset:
    """Draw rows at random, as many of each label as the number allows.

    For one seed a smaller sample is the beginning of a larger one, so a curve over sizes compares
    like with like.

    Args:
        texts: the rows to draw from.
        num_examples: how many to draw.
        seed: seed of the draw.
        label: the column to balance, or None for a plain draw.

    Returns:
        The drawn rows, labels taking turns.

    Raises:
        CourseError: if there are fewer rows than asked for, in all or of one label; no such column.
    """
    if label is not None and label not in texts.column_names:
        raise CourseError(
            f"These texts have no column `{label}` to balance.",
            given=texts.column_names,
            mend="Call `with_binary_labels` first, or pass label=None for a plain draw.",
        )
    order = np.random.default_rng(seed).permutation(len(texts))
    if label is not None and len(texts):
        labels = texts[label][:]
        if None in labels:
            raise CourseError(f"Row {labels.index(None)} has no label.", mend="Leave the row out.")
        order = _taking_turns(np.asarray(labels)[order], order)
    if not 0 < num_examples <= len(order):
        raise CourseError(
            f"There are {len(order)} examples to draw from" + (" with balanced labels." if label else "."),
            given=num_examples,
            mend=f"Ask for a number from 1 to {len(order)}." if len(order) else "Draw from other texts.",
        )
    return texts.select(order[:num_examples].tolist())


@border()
def labelled_splits(
    name: str, *, num_heldout: Count, heldout: Literal["validation", "test"] = "validation", seed: Seed = 0
) -> tuple[Dataset, Dataset]:
    """Return the training texts of a data set, and a fixed balanced sample to measure on.

    Args:
        name: texts with a `label`, or with a human `score`, which becomes one of two labels.
        num_heldout: held-out texts.
        heldout: the split they come from: "validation" while anything is still chosen, "test" at the end.
        seed: seed of the held-out draw.

    Returns:
        All training texts, and the held-out ones.

    Raises:
        CourseError: as `load_texts` and `sample_texts`.
    """
    train, rest = load_texts(name, split="train"), load_texts(name, split=heldout)
    if "score" in train.column_names:
        train, rest = with_binary_labels(train), with_binary_labels(rest)
    return train, sample_texts(rest, num_heldout, seed=seed)


def _taking_turns(labels: Any, order: Any) -> Any:
    """Interleave the rows of each label, and stop when one label runs out."""
    per_label = [order[labels == value] for value in np.unique(labels)]
    rounds = min(len(rows) for rows in per_label)
    return np.stack([rows[:rounds] for rows in per_label], axis=1).reshape(-1)
