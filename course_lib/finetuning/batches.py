"""From labelled texts to batches of tokens of similar length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
import torch
from datasets import Dataset

from course_lib.checks.arrays import check_labels
from course_lib.checks.calls import a_dataset, border, each
from course_lib.checks.types import Count, Seed
from course_lib.checks.values import check_count, check_rows, check_texts
from course_lib.errors import CourseError
from course_lib.models.loaded import ModelAndTokenizer

# The columns a text classifier reads, the first set that the texts have.
TEXT_COLUMNS = (("text",), ("premise", "hypothesis"), ("question", "passage"))

# Batches are sorted by length within pools of this many batches: little padding, yet random order.
POOL_BATCHES = 32

Batch = dict[str, torch.Tensor]


class Example(TypedDict):
    """A labelled text as token ids, without padding.

    Args:
        input_ids: the ids.
        attention_mask: 1 for each.
        token_type_ids: which of two texts each belongs to, where the model wants to know.
        labels: the label.
    """

    input_ids: list[int]
    attention_mask: list[int]
    token_type_ids: NotRequired[list[int]]
    labels: int


@border(texts=a_dataset)
def text_columns(texts: Dataset) -> tuple[str, ...]:
    """Return the columns a text classifier reads.

    Raises:
        CourseError: if the texts have none of `TEXT_COLUMNS`.
    """
    for names in TEXT_COLUMNS:
        if set(names) <= set(texts.column_names):
            return names
    raise CourseError(
        "A classifier needs one of these sets of columns: " + ", ".join(map("+".join, TEXT_COLUMNS)) + ".",
        given=texts.column_names,
        mend="Rename the column with the text to `text`.",
    )


@border(texts=a_dataset)
def encode(classifier: ModelAndTokenizer, texts: Dataset, *, max_length: Count = 128) -> list[Example]:
    """Turn texts into token ids, without padding.

    Args:
        classifier: the model (for its number of labels) and the tokenizer.
        texts: rows with a `label` and the columns of `TEXT_COLUMNS`.
        max_length: tokens a text is cut to.

    Returns:
        One example a text.

    Raises:
        CourseError: no texts, no text column, no label column, or labels outside the model's range.
    """
    columns = text_columns(texts)
    if "label" not in texts.column_names:
        raise CourseError(
            "A classifier needs the column `label`.",
            given=texts.column_names,
            mend="For texts with a human `score`, call `with_binary_labels` first.",
        )
    if len(texts) == 0:
        raise CourseError("There are no texts.", given=0, mend="Draw at least one example.")
    tokenizer = classifier.tokenizer
    _refuse_short_length(tokenizer, max_length, len(columns))
    if tokenizer.pad_token_id is None:
        raise no_padding(tokenizer)
    labels = _checked_labels(texts["label"][:], int(classifier.model.config.num_labels or 0))
    read = [check_texts(f"The column `{name}`", texts[name][:]) for name in columns]
    tokens = tokenizer(*read, truncation=True, max_length=max_length)
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in tokens]
    return [
        cast(Example, {**{name: tokens[name][row] for name in names}, "labels": label})
        for row, label in enumerate(labels)
    ]


def _checked_labels(labels: Sequence[Any], num_labels: int) -> list[int]:
    wanted = f"The labels must be whole numbers from 0 to {num_labels - 1}, the model's range."
    mend = "Load the classifier with as many `num_labels` as there are, or map the labels."
    if num_labels < 2:
        raise CourseError(
            "A classifier tells at least two labels apart.", given=f"num_labels={num_labels}", mend=mend
        )
    try:
        return check_labels("The labels", labels, num_labels=num_labels).tolist()
    except CourseError as error:
        raise CourseError(wanted, given=error.given, mend=mend) from error


def _refuse_short_length(tokenizer: Any, max_length: int, num_texts: int) -> None:
    """Refuse a length that the tokenizer's special tokens fill: it would not cut to it, or cut all words."""
    least = tokenizer.num_special_tokens_to_add(pair=num_texts == 2) + num_texts
    if max_length < least:
        raise CourseError(
            f"max_length must be at least {least}: this tokenizer adds {least - num_texts} tokens of its own.",
            given=max_length,
            mend="Use max_length=128.",
        )


def no_padding(given: Any) -> CourseError:
    """Return the error of a model or tokenizer without a padding token."""
    return CourseError(
        "Texts of different lengths cannot stand in one batch: there is no padding token.",
        given=type(given).__name__,
        mend="Set tokenizer.pad_token = tokenizer.eos_token and "
        "model.config.pad_token_id = tokenizer.pad_token_id.",
    )


@border(lengths=each(partial(check_count, least=0), least=0))
def length_bucketed_batches(
    lengths: Sequence[int], batch_size: Count, *, seed: Seed | None = None
) -> list[list[int]]:
    """Group examples of similar length, so that little is padded.

    Args:
        lengths: tokens of each example.
        batch_size: examples a batch; the last may be smaller.
        seed: with a seed, batches are random within pools of similar length and come in random
            order; without, they run from the longest to the shortest.

    Returns:
        Lists of indices into `lengths`; every index occurs once.

    Raises:
        CourseError: if the batch size is not positive.

    Example:
        >>> length_bucketed_batches([5, 30, 6, 31], 2)
        [[3, 1], [2, 0]]
    """
    sizes = np.asarray(lengths)
    if seed is None:
        order = np.argsort(-sizes, kind="stable")
        return [order[i : i + batch_size].tolist() for i in range(0, len(order), batch_size)]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sizes))
    pool = batch_size * POOL_BATCHES
    pools = [order[i : i + pool] for i in range(0, len(order), pool)]
    batches = [
        ordered[i : i + batch_size].tolist()
        for ordered in (rows[np.argsort(sizes[rows], kind="stable")] for rows in pools)
        for i in range(0, len(ordered), batch_size)
    ]
    return [batches[i] for i in rng.permutation(len(batches))]


@border(examples=partial(check_rows, columns=["input_ids", "labels"]))
def collate(classifier: ModelAndTokenizer, examples: Sequence[Example]) -> Batch:
    """Pad examples to the longest of them.

    Args:
        classifier: its tokenizer knows the padding token, its model the device.
        examples: what `encode` gives.

    Returns:
        Tensors [B, T] on the model's device, and `labels` [B].
    """
    labels = torch.tensor([example["labels"] for example in examples])
    inputs = [without_labels(example) for example in examples]
    batch = classifier.tokenizer.pad(inputs, return_tensors="pt")
    return {name: tensor.to(classifier.model.device) for name, tensor in {**batch, "labels": labels}.items()}


def without_labels(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch or an example without its labels."""
    return {name: value for name, value in batch.items() if name != "labels"}
