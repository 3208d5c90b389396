"""The reference: every prompt is read whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_lib.icl.scorers.reading import Readings, batches, check_model, prompt_rows, right_padded, scoring
from course_lib.models.context import rope_border
from course_lib.prompts.verbalizers import Rows


@dataclass
class NaiveScorer:
    """Reads every prompt whole, batch by batch in the given order: the reference.

    Args:
        model: a causal language model in evaluation mode.
        tokenizer: its tokenizer.
        batch_size: rows a batch.

    Raises:
        CourseError: a batch size below 1, a model in training mode.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int = 8

    def __post_init__(self) -> None:
        check_model(self.model, self.tokenizer, self.batch_size)

    def log_probabilities(
        self, prefix: str, items: Sequence[str], continuations: Sequence[str], progress: bool = True
    ) -> np.ndarray:
        """Computes log-probabilities of labels as `Scorer` says, each prompt read whole.

        Raises:
            CourseError: what `Scorer` says; a prompt longer than the context; logits that are not numbers.
        """
        rows = prompt_rows(self.model, self.tokenizer, prefix, items, continuations)
        order = list(range(len(rows.ids)))
        with scoring(progress, len(order)) as bar:
            read = Readings(rows, len(items), len(continuations))
            return read_whole(self.model, rows, order, self.batch_size, read, bar)


def read_whole(
    model: Any,
    rows: Rows,
    order: list[int],
    batch_size: int,
    read: Readings,
    bar: Any,
    shared: Sequence[int] = (),
) -> np.ndarray:
    """Reads rows whole, in this order; where a model's positions change at a length, shorter rows first.

    Args:
        model: the model.
        rows: the rows.
        order: the rows' numbers.
        batch_size: rows a batch.
        read: adds up what is read.
        bar: is told of each batch.
        shared: not used here.

    Returns:
        float32 [n, num_labels].
    """
    border = rope_border(model)
    sides = [
        [row for row in order if border is None or (len(rows.ids[row]) > border) == is_long]
        for is_long in ((False,) if border is None else (False, True))
    ]
    for batch in (batch for side in sides for batch in batches(side, batch_size)):
        ids = right_padded([rows.ids[row] for row in batch], model.device)
        read.batch(model, batch, 0, input_ids=ids)
        bar.update(len(batch))
    return read.values
