"""Rows of tokens run through a model, and the log-probabilities of labels read off them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_lib.checks.calls import a_model, border
from course_lib.checks.types import Count, Text
from course_lib.checks.values import check_flag, check_text, check_texts
from course_lib.errors import CourseError
from course_lib.models.context import find_context_length, num_virtual_tokens, refuse_too_long
from course_lib.models.outputs import output_only_at, refuse_looking_ahead
from course_lib.prompts.verbalizers import (
    Reading,
    Rows,
    a_tokenizer,
    find_label_ids,
    lay_out_rows,
    some_texts,
)


@border(tokenizer=a_tokenizer, items=some_texts)
def label_rows(
    tokenizer: PreTrainedTokenizerBase, prefix: Text, items: Sequence[str], continuations: Sequence[str]
) -> Rows:
    """Lays out the rows that the labels of all items are read off.

    Args:
        tokenizer: the model's tokenizer.
        prefix: the shared text.
        items: the rest of each prompt.
        continuations: what follows for each label.

    Returns:
        The rows.

    Raises:
        CourseError: labels that cannot be compared; nothing before the label that a model could read.
    """
    return lay_out_rows(find_label_ids(tokenizer, [prefix + item for item in items], continuations))


def refuse_too_long_items(rows: Rows, context_length: int | None, num_virtual: int = 0) -> None:
    """Refuses an item whose prompt does not fit into the context, by the item's number.

    Args:
        rows: the rows.
        context_length: the most tokens that the model reads; None if it has no limit.
        num_virtual: tokens that a learnt prompt puts in front of every row.

    Raises:
        CourseError: names the item, its length and the limit.
    """
    longest: dict[int, list[int]] = {}
    for reading in rows.readings:
        longest[reading.item] = max(longest.get(reading.item, []), rows.ids[reading.row], key=len)
    prompts = [longest[item] for item in sorted(longest)]
    refuse_too_long(prompts, context_length, num_virtual_tokens=num_virtual)


def prompt_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prefix: str,
    items: Sequence[str],
    continuations: Sequence[str],
) -> Rows:
    """Checks what a scorer is given, and lays it out as rows that the model can read.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        prefix: the shared text.
        items: the rest of each prompt.
        continuations: what follows for each label.

    Raises:
        CourseError: as `label_rows` and `refuse_too_long_items`; what is no text.
    """
    check_text("prefix", prefix)
    rows = label_rows(tokenizer, prefix, check_texts("items", items, least=0), continuations)
    refuse_too_long_items(rows, find_context_length(model), num_virtual_tokens(model))
    return rows


@border(model=a_model, tokenizer=a_tokenizer)
def check_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: Count) -> None:
    """Refuses a model whose scores would not be those of its prompts, and a batch size that is none.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        batch_size: rows a batch.

    Raises:
        CourseError: a model in training mode, or one that looks ahead; a batch size below 1.
    """
    if getattr(model, "training", False):
        raise CourseError(
            "The model is in training mode, where dropout makes every score another.",
            mend="Call `model.eval()` first.",
        )
    refuse_looking_ahead(model)


@contextlib.contextmanager
def scoring(progress: bool, total: int) -> Iterator[Any]:
    """Computes without gradients, and yields the progress bar, which is told of each batch.

    Args:
        progress: whether to show it.
        total: rows in all.
    """
    check_flag("progress", progress)
    with torch.inference_mode(), tqdm(total=total, desc="scoring", disable=not progress, leave=False) as bar:
        yield bar


def batches(order: list[int], batch_size: int) -> Iterator[list[int]]:
    """Yields the rows' numbers, `batch_size` at a time."""
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def right_padded(rows: list[list[int]], device: Any) -> torch.Tensor:
    """Fills rows up on the right, with their own last token.

    No real token looks to its right, so nothing has to be masked.
    """
    longest = max(map(len, rows))
    return torch.tensor([row + row[-1:] * (longest - len(row)) for row in rows], device=device)


class Readings:
    """Runs batches and adds up the log-probabilities that are read off them."""

    def __init__(self, rows: Rows, num_items: int, num_labels: int) -> None:
        self.sums = np.zeros((num_items, num_labels), dtype=np.float64)
        self.of_row: list[list[Reading]] = [[] for _ in rows.ids]
        for reading in rows.readings:
            self.of_row[reading.row].append(reading)

    @property
    def values(self) -> np.ndarray:
        """What was read, float32 [n, num_labels]."""
        return self.sums.astype("float32")

    def batch(self, model: Any, batch: list[int], start: int, **arguments: Any) -> None:
        """Runs rows and read them.

        Args:
            model: the model.
            batch: the rows' numbers, in the order of `input_ids`.
            start: the position of the first column of `input_ids`.
            arguments: of the model's call.
        """
        readings = [(i, reading) for i, row in enumerate(batch) for reading in self.of_row[row]]
        # counted from the end: a learnt prompt puts virtual tokens in front
        start += arguments["input_ids"].shape[1]
        # each position of a row once, though several labels are read there
        places = sorted({(i, reading.position - start) for i, reading in readings})
        slots = {place: slot for slot, place in enumerate(places)}
        with output_only_at(model, [row for row, _ in places], [column for _, column in places]):
            logits = model(**arguments).logits[0].float()
        normaliser = logits.logsumexp(dim=-1)
        slot = torch.tensor([slots[i, reading.position - start] for i, reading in readings])
        token = torch.tensor([reading.token for _, reading in readings])
        slot, token = slot.to(logits.device), token.to(logits.device)
        found = (logits[slot, token] - normaliser[slot]).tolist()
        for (_, reading), value in zip(readings, found, strict=True):
            # False for a NaN and for an infinity
            if not abs(value) < float("inf"):
                raise CourseError(
                    f"The model's logits for item {reading.item} are not finite.",
                    given=value,
                    mend="Use float32; if they still are not, the weights or the texts are broken.",
                )
            self.sums[reading.item, reading.label] += value
