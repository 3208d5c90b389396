"""The scorer of long prompts: the prefix that all of them share is read once.

Whatever the batch size, the order of the items and what ran before: the scores are those of whole prompts, or the
model is refused.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_lib.checks.calls import border
from course_lib.checks.types import Count
from course_lib.icl.scorers.naive import read_whole
from course_lib.icl.scorers.reading import Readings, batches, check_model, prompt_rows, right_padded, scoring
from course_lib.icl.scorers.shared_prefix import (
    NotSharedError,
    at_positions,
    attention_replaced,
    compute_prefix,
    library_cache,
)
from course_lib.models.context import num_virtual_tokens, rope_border, text_config
from course_lib.models.loaded import EMBEDDED, ModelSource, floating_dtype
from course_lib.models.loading import kept_language_model
from course_lib.prompts.verbalizers import Reading, Rows, shared_length, text_ids


@dataclass
class PrefixCachedScorer:
    """Reads the shared prefix once, keeps its keys and values once, and runs only the items behind it.

    A model must pass its attention through the attention interface of `transformers`, as llama-, qwen- and
    gpt2-like decoders do. Others (attention with a bias by distance, a window shorter than the prompt, capped
    scores) fall back on a cache that is expanded to every row of a batch: the prefix is still computed once, but
    held once a row. Models that keep another state than keys and values (Mamba and its hybrids) or that put virtual
    tokens in front (prompt tuning) read whole prompts. The numbers are the same; `way` says which was used last:
    "shared keys", "expanded cache" or "whole prompts".

    While a call runs, the model's attention is exchanged; a model is not to be used from two threads at once.

    Args:
        model: a causal language model in evaluation mode.
        tokenizer: its tokenizer.
        batch_size: rows a batch; the answer does not depend on it.
        dtype: "bfloat16" or "float16" to compute on a copy of the model in that precision; None for the
            model as it is. Small differences between labels are rounded away: measure in float32.

    Raises:
        CourseError: a batch size below 1, a model in training mode, an unknown dtype.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int = 16
    dtype: str | torch.dtype | None = None
    way: str = field(default="", init=False)

    def __post_init__(self) -> None:
        check_model(self.model, self.tokenizer, self.batch_size)
        if self.dtype is not None:
            floating_dtype(self.dtype)

    @property
    def shares_keys(self) -> bool:
        """Whether the last call held the prefix's keys and values once for all rows."""
        return self.way == "shared keys"

    def log_probabilities(
        self, prefix: str, items: Sequence[str], continuations: Sequence[str], progress: bool = True
    ) -> np.ndarray:
        """Computes log-probabilities of labels as `Scorer` says, the shared prefix read once.

        Nothing is kept from call to call: whatever was done to the model in between (training, another adapter, an
        adapter switched off) counts.

        Raises:
            CourseError: what `Scorer` says; a prompt longer than the context; logits that are not numbers.
        """
        rows = prompt_rows(self.model, self.tokenizer, prefix, items, continuations)
        shared = shared_prefix(self.tokenizer, prefix, rows)
        order = sorted(range(len(rows.ids)), key=lambda row: len(rows.ids[row]), reverse=True)
        with scoring(progress, len(order)) as bar:
            model = self._in_its_dtype()
            self.way = self._quickest_way(model, rows, shared)
            read = Readings(rows, len(items), len(continuations))
            return _WAYS[self.way](model, rows, order, self.batch_size, read, bar, shared)

    def _in_its_dtype(self) -> Any:
        """Returns the model, or a copy of it as it is now in another precision."""
        if self.dtype is None or floating_dtype(self.dtype) == self.model.dtype:
            return self.model
        model: Any = copy.deepcopy(self.model)
        return model.to(floating_dtype(self.dtype))

    def _quickest_way(self, model: Any, rows: Rows, shared: list[int]) -> str:
        """Returns the first way that gives the numbers of whole prompts on a few tokens."""
        longest = max(map(len, rows.ids), default=0)
        if not shared or num_virtual_tokens(model) or longest > (rope_border(model) or longest):
            return "whole prompts"
        # a cache may drop what the model's own mask still sees: tried beyond the window, if prompts are longer
        window = _window(model)
        num_shared = 5 if window is None or window >= longest else max(5, min(window + 2, longest - 2))
        expected = _few_tokens(model, "whole prompts", num_shared)
        # what reduced precision rounds is small beside what a prefix read at wrong positions changes
        tolerance = 0.3 if model.dtype.itemsize < 4 else 1e-3
        for way in ("shared keys", "expanded cache"):
            with contextlib.suppress(NotSharedError):
                if abs(_few_tokens(model, way, num_shared) - expected).max() < tolerance:
                    return way
        return "whole prompts"


@border()
def find_scorer(
    model_source: ModelSource = EMBEDDED,
    batch_size: Count = 16,
    dtype: str | None = None,
    device: str | None = None,
) -> PrefixCachedScorer:
    """Loads a model with its scorer; the last two models are kept as long as their files are the same.

    Args:
        model_source: "embedded", a folder, or a hub id.
        batch_size: test items at a time.
        dtype: what it computes in; "float32" by default.
        device: see `choose_device`.
    """
    loaded = kept_language_model(model_source, dtype="float32" if dtype is None else dtype, device=device)
    return PrefixCachedScorer(loaded.model, loaded.tokenizer, batch_size=batch_size)


def shared_prefix(tokenizer: PreTrainedTokenizerBase, prefix: str, rows: Rows) -> list[int]:
    """Returns the tokens of the prefix that every row begins with, and that are read before any label.

    Args:
        tokenizer: the model's tokenizer.
        prefix: the shared text.
        rows: the rows behind it.

    Returns:
        Token ids, none if the prefix is empty.
    """
    if not rows.ids:
        return []
    alone = text_ids(tokenizer, [prefix])[0]
    return alone[: min(shared_length([alone, *rows.ids]), *rows.first_reading)]


# --- the ways to read rows -----------------------------------------------------------------------


def _read_behind_shared_keys(
    model: Any, rows: Rows, order: list[int], batch_size: int, read: Readings, bar: Any, shared: list[int]
) -> np.ndarray:
    with attention_replaced(model):
        cache = compute_prefix(model, shared)
        for batch in batches(order, batch_size):
            ids = right_padded([rows.ids[row][len(shared) :] for row in batch], model.device)
            with cache.active():
                read.batch(model, batch, len(shared), **at_positions(ids, len(shared)))
            bar.update(len(batch))
    return read.values


def _read_behind_expanded_cache(
    model: Any, rows: Rows, order: list[int], batch_size: int, read: Readings, bar: Any, shared: list[int]
) -> np.ndarray:
    cache = library_cache(model, shared)
    for batch in batches(order, batch_size):
        ids = right_padded([rows.ids[row][len(shared) :] for row in batch], model.device)
        expanded = copy.deepcopy(cache)
        expanded.batch_repeat_interleave(len(batch))
        read.batch(model, batch, len(shared), input_ids=ids, past_key_values=expanded)
        bar.update(len(batch))
    return read.values


_WAYS: dict[str, Callable[..., np.ndarray]] = {
    "shared keys": _read_behind_shared_keys,
    "expanded cache": _read_behind_expanded_cache,
    "whole prompts": read_whole,
}


def _few_tokens(model: Any, way: str, num_shared: int) -> np.ndarray:
    """Returns what a way reads off two short rows behind a few tokens, float32 [2, 1]."""
    shared = [4 + number % 5 for number in range(num_shared)]
    ids = [[*shared, 6, 4], [*shared, 5]]
    readings = [Reading(row, len(ids[row]) - 1, 5, row, 0) for row in range(2)]
    rows = Rows(ids, readings, [len(row) - 1 for row in ids])
    read = Readings(rows, 2, 1)
    return _WAYS[way](model, rows, [0, 1], 2, read, tqdm(disable=True), shared)


def _window(model: Any) -> int | None:
    """Returns how many tokens the shortest-sighted layer sees, None where the configuration names no limit."""
    config = text_config(model)
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((window for window in windows if isinstance(window, int) and window > 0), default=None)
