"""The few examples of a run: drawn balanced, and a test set that is read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset

from course_lib.checks.calls import border
from course_lib.checks.tables import dataset_with
from course_lib.checks.types import Count, Seed
from course_lib.errors import CourseError
from course_lib.texts.sources import SPLITS

Row = dict[str, Any]
# The test examples are drawn with this seed, so that all runs of a task are measured on the same ones.
TEST_SEED = 0
NUM_EXAMPLES = 32
NUM_TEST = 240


class SealedRows:
    """Rows that are read once, at the end: who reads a test set twice begins to choose on it.

    Args:
        rows: the rows.

    Example:
        >>> test = SealedRows([{"text": "A fine film.", "label": 1}])
        >>> len(test), len(test.read()), test.num_reads
        (1, 1, 1)
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = list(rows)
        self.num_reads = 0

    def __len__(self) -> int:
        return len(self._rows)

    def read(self) -> list[Row]:
        """Return the rows.

        Raises:
            CourseError: when they have been read before.
        """
        if self.num_reads:
            raise CourseError(
                "The test set has been read already; a second look would choose on it.",
                given=f"{self.num_reads} reading",
                mend="Choose on the development examples, and split again for another run.",
            )
        self.num_reads += 1
        return list(self._rows)


class FewShotSplit(NamedTuple):
    """The rows of one run.

    Args:
        train: to tune on.
        development: to choose the step and the learning rate on.
        test: to measure on, once.
    """

    train: list[Row]
    development: list[Row]
    test: SealedRows


@border(texts=dataset_with())
def few_shot_split(
    texts: Dataset,
    seed: Seed,
    num_train: Count = NUM_EXAMPLES,
    num_development: Count = NUM_EXAMPLES,
    num_test: Count = NUM_TEST,
) -> FewShotSplit:
    """Draw few examples, as many of each class as the numbers allow, and no document in two parts.

    The test rows do not depend on the seed. For one seed a smaller training sample is part of a larger one.

    Args:
        texts: rows with `label` and `group` (rows that share a document or a text share it). With a column
            `split` the parts come from train, validation and test; without, from all rows.
        seed: seed of the draw of the training and the development rows.
        num_train: training rows.
        num_development: development rows.
        num_test: test rows.

    Returns:
        The three parts. Where a number is no multiple of the classes, some classes, drawn at random, have one
        row more than others.

    Raises:
        CourseError: a column missing, numbers of rows smaller than the number of classes, classes with fewer
            rows than asked for.
    """
    for name in ("label", "group"):
        if name not in texts.column_names:
            raise CourseError(
                f"Few-shot examples need the column `{name}`.",
                given=texts.column_names,
                mend="Use `load_texts`, and `with_binary_labels` for texts with a score.",
            )
    labels, groups = texts["label"][:], texts["group"][:]
    if any(label is None for label in labels):
        raise CourseError("A row has no label.", given=labels.index(None), mend="Leave such rows out.")
    parts = texts["split"][:] if "split" in texts.column_names else None
    used: set[Any] = set()
    # the test set first, and then the development set: neither depends on the number of training examples
    numbers = {"test": num_test, "validation": num_development, "train": num_train}
    drawn = {}
    for part, number in numbers.items():
        rows = range(len(labels)) if parts is None else [i for i, name in enumerate(parts) if name == part]
        start = [TEST_SEED, 0] if part == "test" else [seed, SPLITS.index(part) + 1]
        drawn[part] = _draw_balanced(rows, labels, groups, number, used, start, part)
        used |= {groups[i] for i in drawn[part]}
    train, development, test = (
        texts.select(drawn[part]).to_list() for part in ("train", "validation", "test")
    )
    return FewShotSplit(train, development, SealedRows(test))


def _draw_balanced(
    rows: Sequence[int],
    labels: Sequence[int],
    groups: Sequence[Any],
    number: int,
    used: set[Any],
    seed: list[int],
    part: str,
) -> list[int]:
    """Draw rows of unused groups until each class has its number."""
    classes = sorted(set(labels))
    if not 2 <= len(classes) <= number:
        raise CourseError(
            f"The {part} part needs at least one example of each of {len(classes)} classes, two or more.",
            given=number,
            mend="Ask for more examples, or give texts with two classes.",
        )
    rng = np.random.default_rng(seed)
    extra = rng.permutation(len(classes)).tolist()
    wanted = {
        label: number // len(classes) + (extra[place] < number % len(classes))
        for place, label in enumerate(classes)
    }
    free = [i for i in rows if groups[i] not in used]
    order = rng.permutation(len(free)).tolist()
    chosen = []
    missing = dict(wanted)
    for place in order:
        row = free[place]
        if missing[labels[row]]:
            missing[labels[row]] -= 1
            chosen.append(row)
        if len(chosen) == number:
            return chosen
    raise CourseError(
        f"Some classes have fewer {part} examples than asked for.",
        given={label: f"{wanted[label] - missing[label]} of {wanted[label]}" for label in classes},
        mend="Ask for fewer, or give more texts.",
    )
