"""Log-probabilities of label words behind prompts that share a long prefix.

A scorer has one method, `log_probabilities(prefix, items, label_words)`. `NaiveScorer` reads every prompt
whole; it is the reference. `PrefixCachedScorer` reads the shared prefix once (`shared_prefix.py`). Whatever the
batch size, the order of the items and what ran before: the scores are the same, or the model is refused.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from course_lib.checks import check_count, check_text, check_texts
from course_lib.errors import CourseError
from course_lib.icl.scorers.shared_prefix import (
    NotSharedError,
    at_positions,
    attention_replaced,
    compute_prefix,
    library_cache,
)
from course_lib.models import (
    find_context_length,
    floating_dtype,
    num_virtual_tokens,
    output_only_at,
    refuse_looking_ahead,
    refuse_too_long,
    rope_border,
    text_config,
)
from course_lib.prompts.verbalizers import (
    Reading,
    Rows,
    find_label_ids,
    lay_out_rows,
    shared_length,
    text_ids,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Scorer(Protocol):
    """What every scorer can do."""

    def log_probabilities(
        self, prefix: str, items: Sequence[str], label_words: Sequence[str], progress: bool = True
    ) -> np.ndarray:
        """Give the natural log of the probability of each label's whole continuation.

        Args:
            prefix: the text that all prompts begin with; may be empty.
            items: the rest of each prompt, up to the label word.
            label_words: what follows for each label, with its leading space where there is one.
            progress: whether to show a progress bar.

        Returns:
            float32 [n, num_labels].
        """
        ...


# --- from texts to rows of tokens ------------------------------------------------------------------


def label_rows(
    tokenizer: PreTrainedTokenizerBase, prefix: str, items: Sequence[str], label_words: Sequence[str]
) -> Rows:
    """Lay out the rows that the labels of all items are read off.

    Args:
        tokenizer: the model's tokenizer.
        prefix: the shared text.
        items: the rest of each prompt.
        label_words: what follows for each label.

    Returns:
        The rows.

    Raises:
        CourseError: labels that cannot be compared; nothing before the label that a model could read.
    """
    return lay_out_rows(find_label_ids(tokenizer, [prefix + item for item in items], label_words))


def shared_prefix(tokenizer: PreTrainedTokenizerBase, prefix: str, rows: Rows) -> list[int]:
    """Give the tokens of the prefix that every row begins with, and that are read before any label.

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


# --- the scorers -----------------------------------------------------------------------------------


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
        _check_model(self.model, self.batch_size)

    def log_probabilities(
        self, prefix: str, items: Sequence[str], label_words: Sequence[str], progress: bool = True
    ) -> np.ndarray:
        """Give the natural log of the probability of each label's whole continuation.

        Args:
            prefix: the text that all prompts begin with; may be empty.
            items: the rest of each prompt, up to the label word.
            label_words: what follows for each label, with its leading space where there is one.
            progress: whether to show a progress bar.

        Returns:
            float32 [n, num_labels].

        Raises:
            CourseError: labels that cannot be compared; a prompt longer than the context; logits that are
                not numbers.
        """
        items = _checked_texts(prefix, items)
        rows = label_rows(self.tokenizer, prefix, items, label_words)
        refuse_too_long_items(rows, find_context_length(self.model), num_virtual_tokens(self.model))
        order = list(range(len(rows.ids)))
        with _scoring(progress, len(order)) as bar:
            read = _Readings(rows, len(items), len(label_words))
            return _read_whole(self.model, rows, order, self.batch_size, read, bar)


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
        _check_model(self.model, self.batch_size)
        if self.dtype is not None:
            floating_dtype(self.dtype)

    @property
    def shares_keys(self) -> bool:
        """Whether the last call held the prefix's keys and values once for all rows."""
        return self.way == "shared keys"

    def log_probabilities(
        self, prefix: str, items: Sequence[str], label_words: Sequence[str], progress: bool = True
    ) -> np.ndarray:
        """Give the natural log of the probability of each label's whole continuation.

        Nothing is kept from call to call: whatever was done to the model in between (training, another adapter, an
        adapter switched off) counts.

        Args:
            prefix: the text that all prompts begin with; may be empty.
            items: the rest of each prompt, up to the label word.
            label_words: what follows for each label, with its leading space where there is one.
            progress: whether to show a progress bar.

        Returns:
            float32 [n, num_labels].

        Raises:
            CourseError: labels that cannot be compared; a prompt longer than the context; logits that are
                not numbers.
        """
        items = _checked_texts(prefix, items)
        rows = label_rows(self.tokenizer, prefix, items, label_words)
        refuse_too_long_items(rows, find_context_length(self.model), num_virtual_tokens(self.model))
        shared = shared_prefix(self.tokenizer, prefix, rows)
        order = sorted(range(len(rows.ids)), key=lambda row: len(rows.ids[row]), reverse=True)
        with _scoring(progress, len(order)) as bar:
            model = self._in_its_dtype()
            self.way = self._quickest_way(model, rows, shared)
            read = _Readings(rows, len(items), len(label_words))
            return _WAYS[self.way](model, rows, order, self.batch_size, read, bar, shared)

    def _in_its_dtype(self) -> Any:
        """Return the model, or a copy of it as it is now in another precision."""
        if self.dtype is None or floating_dtype(self.dtype) == self.model.dtype:
            return self.model
        model: Any = copy.deepcopy(self.model)
        return model.to(floating_dtype(self.dtype))

    def _quickest_way(self, model: Any, rows: Rows, shared: list[int]) -> str:
        """Return the first way that gives the numbers of whole prompts on a few tokens."""
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


# --- the ways to read rows ---------------------------------------------------------------------------


def _read_whole(
    model: Any,
    rows: Rows,
    order: list[int],
    batch_size: int,
    read: _Readings,
    bar: Any,
    shared: Sequence[int] = (),
) -> np.ndarray:
    border = rope_border(model)
    sides = [
        [row for row in order if border is None or (len(rows.ids[row]) > border) == is_long]
        for is_long in ((False,) if border is None else (False, True))
    ]
    for batch in (batch for side in sides for batch in _batches(side, batch_size)):
        ids = _right_padded([rows.ids[row] for row in batch], model.device)
        read.batch(model, batch, 0, input_ids=ids)
        bar.update(len(batch))
    return read.values


def _read_behind_shared_keys(
    model: Any, rows: Rows, order: list[int], batch_size: int, read: _Readings, bar: Any, shared: list[int]
) -> np.ndarray:
    with attention_replaced(model):
        cache = compute_prefix(model, shared)
        for batch in _batches(order, batch_size):
            ids = _right_padded([rows.ids[row][len(shared) :] for row in batch], model.device)
            with cache.active():
                read.batch(model, batch, len(shared), **at_positions(ids, len(shared)))
            bar.update(len(batch))
    return read.values


def _read_behind_expanded_cache(
    model: Any, rows: Rows, order: list[int], batch_size: int, read: _Readings, bar: Any, shared: list[int]
) -> np.ndarray:
    cache = library_cache(model, shared)
    for batch in _batches(order, batch_size):
        ids = _right_padded([rows.ids[row][len(shared) :] for row in batch], model.device)
        expanded = copy.deepcopy(cache)
        expanded.batch_repeat_interleave(len(batch))
        read.batch(model, batch, len(shared), input_ids=ids, past_key_values=expanded)
        bar.update(len(batch))
    return read.values


_WAYS: dict[str, Callable[..., np.ndarray]] = {
    "shared keys": _read_behind_shared_keys,
    "expanded cache": _read_behind_expanded_cache,
    "whole prompts": _read_whole,
}


def _few_tokens(model: Any, way: str, num_shared: int) -> np.ndarray:
    """Return what a way reads off two short rows behind a few tokens, float32 [2, 1]."""
    from tqdm.auto import tqdm

    shared = [4 + number % 5 for number in range(num_shared)]
    ids = [[*shared, 6, 4], [*shared, 5]]
    readings = [Reading(row, len(ids[row]) - 1, 5, row, 0) for row in range(2)]
    rows = Rows(ids, readings, [len(row) - 1 for row in ids])
    read = _Readings(rows, 2, 1)
    return _WAYS[way](model, rows, [0, 1], 2, read, tqdm(disable=True), shared)


def _window(model: Any) -> int | None:
    """Return how many tokens the shortest-sighted layer sees, None where the configuration names no limit."""
    config = text_config(model)
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((window for window in windows if isinstance(window, int) and window > 0), default=None)


def refuse_too_long_items(rows: Rows, context_length: int | None, num_virtual: int = 0) -> None:
    """Refuse an item whose prompt does not fit into the context, by the item's number.

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


def _check_model(model: PreTrainedModel, batch_size: int) -> None:
    check_count("batch_size", batch_size)
    if getattr(model, "training", False):
        raise CourseError(
            "The model is in training mode, where dropout makes every score another.",
            mend="Call `model.eval()` first.",
        )
    refuse_looking_ahead(model)


def _checked_texts(prefix: str, items: Sequence[str]) -> list[str]:
    check_text("prefix", prefix)
    return check_texts("items", items, least=0)


@contextlib.contextmanager
def _scoring(progress: bool, total: int) -> Iterator[Any]:
    import torch
    from tqdm.auto import tqdm

    with torch.inference_mode(), tqdm(total=total, desc="scoring", disable=not progress, leave=False) as bar:
        yield bar


def _batches(order: list[int], batch_size: int) -> Iterator[list[int]]:
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _right_padded(rows: list[list[int]], device: Any) -> torch.Tensor:
    """Fill rows up on the right, with their own last token.

    No real token looks to its right, so nothing has to be masked.
    """
    import torch

    longest = max(map(len, rows))
    return torch.tensor([row + row[-1:] * (longest - len(row)) for row in rows], device=device)


# --- label logits only -----------------------------------------------------------------------------


class _Readings:
    """Runs batches and adds up the log-probabilities that are read off them."""

    def __init__(self, rows: Rows, num_items: int, num_labels: int) -> None:
        import numpy as np

        self.sums = np.zeros((num_items, num_labels), dtype=np.float64)
        self.of_row: list[list[Reading]] = [[] for _ in rows.ids]
        for reading in rows.readings:
            self.of_row[reading.row].append(reading)

    @property
    def values(self) -> np.ndarray:
        return self.sums.astype("float32")

    def batch(self, model: Any, batch: list[int], start: int, **arguments: Any) -> None:
        """Run rows and read them.

        Args:
            model: the model.
            batch: the rows' numbers, in the order of `input_ids`.
            start: the position of the first column of `input_ids`.
            arguments: of the model's call.
        """
        import torch

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
