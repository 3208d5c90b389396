"""Log-probabilities of label words behind prompts that share a long prefix.

A scorer has one method, `log_probabilities(prefix, items, label_words)`. `NaiveScorer` reads every prompt
whole; it is the reference. `PrefixCachedScorer` reads the shared prefix once.

How the prefix is shared. Attention over the prefix and a row's own tokens is an average of values, weighted
by exp(score). It splits into two averages, over the prefix and over the row itself, that are put together in
proportion to their sums of weights. Behind one prefix all rows have the same prefix keys, so the queries of
all rows are laid side by side as if they were one row, and the keys and values of the prefix exist once,
however many rows a batch has. `transformers` lets a function take the place of attention in every model that
is written for it; that function is `shared_prefix_attention`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from course_lib.errors import CourseError
from course_lib.hardware import warn_of_slow_bfloat16
from course_lib.models import find_context_length, floating_dtype, output_only_at, refuse_too_long
from course_lib.verbalizers import Reading, Rows, find_label_ids, lay_out_rows, shared_length, text_ids

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ATTENTION_NAME = "course_shared_prefix"


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
        rows = label_rows(self.tokenizer, prefix, items, label_words)
        refuse_too_long_items(rows, find_context_length(self.model))
        order = list(range(len(rows.ids)))
        with _scoring(progress, len(order)) as bar:
            read = _Readings(rows, len(items), len(label_words))
            for batch in _batches(order, self.batch_size):
                ids = _right_padded([rows.ids[row] for row in batch], self.model.device)
                read.batch(self.model, batch, 0, input_ids=ids, use_cache=False)
                bar.update(len(batch))
        return read.values


@dataclass
class PrefixCachedScorer:
    """Reads the shared prefix once, keeps its keys and values once, and runs only the items behind it.

    A model must pass its attention through the attention interface of `transformers`, as llama-, qwen- and
    gpt2-like decoders do. Others (attention with a bias by distance, a window shorter than the prompt, capped
    scores) fall back on a cache that is expanded to every row of a batch: the same numbers, the prefix still
    computed once, but held once a row. `shares_keys` says which of the two was used last.

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
    shares_keys: bool = field(default=True, init=False)
    _kept: PrefixCache | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        _check_model(self.model, self.batch_size)
        if self.dtype is not None and floating_dtype(self.dtype) != self.model.dtype:
            model: Any = copy.deepcopy(self.model)
            self.model = model.to(floating_dtype(self.dtype))
            warn_of_slow_bfloat16(self.model.dtype, self.model.device.type)

    def log_probabilities(
        self, prefix: str, items: Sequence[str], label_words: Sequence[str], progress: bool = True
    ) -> np.ndarray:
        """Give the natural log of the probability of each label's whole continuation.

        A second call with the same prefix does not compute it again, unless the model's weights are others.

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
        rows = label_rows(self.tokenizer, prefix, items, label_words)
        refuse_too_long_items(rows, find_context_length(self.model))
        shared = shared_prefix(self.tokenizer, prefix, rows)
        order = sorted(range(len(rows.ids)), key=lambda row: len(rows.ids[row]), reverse=True)
        with _scoring(progress, len(order)) as bar:
            try:
                self.shares_keys = True
                return self._behind_shared_keys(rows, shared, order, len(items), len(label_words), bar)
            except _NotSharedError:
                self.shares_keys = False
                bar.reset()
                return self._behind_expanded_cache(rows, shared, order, len(items), len(label_words), bar)

    def _behind_shared_keys(
        self, rows: Rows, shared: list[int], order: list[int], num_items: int, num_labels: int, bar: Any
    ) -> np.ndarray:
        read = _Readings(rows, num_items, num_labels)
        if not order:
            return read.values
        with _attention_replaced(self.model):
            cache = self._prefix_cache(shared)
            for batch in _batches(order, self.batch_size):
                ids = _right_padded([rows.ids[row][len(shared) :] for row in batch], self.model.device)
                with cache.active():
                    read.batch(self.model, batch, len(shared), **_at_positions(ids, len(shared)))
                bar.update(len(batch))
        return read.values

    def _prefix_cache(self, shared: list[int]) -> PrefixCache:
        """Compute the prefix's keys and values, or take those of the last call."""
        weights = _weights_version(self.model)
        if self._kept is None or not self._kept.fits(shared, weights):
            self._kept = None  # free the old keys before new ones are made
            self._kept = compute_prefix(self.model, shared, weights)
        return self._kept

    def _behind_expanded_cache(
        self, rows: Rows, shared: list[int], order: list[int], num_items: int, num_labels: int, bar: Any
    ) -> np.ndarray:
        read = _Readings(rows, num_items, num_labels)
        cache = _library_cache(self.model, shared)
        for batch in _batches(order, self.batch_size):
            ids = _right_padded([rows.ids[row][len(shared) :] for row in batch], self.model.device)
            arguments: dict[str, Any] = {"input_ids": ids, "use_cache": False}
            if cache is not None:
                expanded = copy.deepcopy(cache)
                expanded.batch_repeat_interleave(len(batch))
                arguments = {"input_ids": ids, "past_key_values": expanded, "use_cache": True}
            read.batch(self.model, batch, len(shared), **arguments)
            bar.update(len(batch))
        return read.values


def refuse_too_long_items(rows: Rows, context_length: int | None) -> None:
    """Refuse an item whose prompt does not fit into the context, by the item's number.

    Args:
        rows: the rows.
        context_length: the most tokens that the model reads; None if it has no limit.

    Raises:
        CourseError: names the item, its length and the limit.
    """
    longest: dict[int, list[int]] = {}
    for reading in rows.readings:
        longest[reading.item] = max(longest.get(reading.item, []), rows.ids[reading.row], key=len)
    refuse_too_long([longest[item] for item in sorted(longest)], context_length)


def _check_model(model: PreTrainedModel, batch_size: int) -> None:
    if not isinstance(batch_size, int) or batch_size < 1:
        raise CourseError("The batch size must be at least 1.", given=batch_size, mend="Leave it out.")
    if model.training:
        raise CourseError(
            "The model is in training mode, where dropout makes every score another.",
            mend="Call `model.eval()` first.",
        )


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


def _at_positions(ids: torch.Tensor, start: int) -> dict[str, Any]:
    import torch

    positions = torch.arange(start, start + ids.shape[1], device=ids.device)[None]
    return {"input_ids": ids, "position_ids": positions.expand(ids.shape[0], -1), "use_cache": False}


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


# --- the shared prefix -----------------------------------------------------------------------------


class _NotSharedError(Exception):
    """The architecture's attention is not plain attention through the interface."""


@dataclass
class PrefixCache:
    """Keys and values of a prefix, one pair a layer, with a batch of 1.

    Args:
        ids: the prefix's token ids.
        weights: which state of the model's weights they belong to.
        layers: layer number -> keys and values, [1, key-value heads, prefix length, head size].
        recording: whether attention is to fill `layers` rather than to read them.
    """

    ids: list[int]
    weights: int = 0
    layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    recording: bool = False

    def fits(self, ids: list[int], weights: int) -> bool:
        """Say whether these are the keys and values of a prefix under the model's present weights."""
        return self.ids == ids and self.weights == weights

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Make this the prefix that attention sees."""
        token = _PREFIX.set(self)
        try:
            yield
        finally:
            _PREFIX.reset(token)


_PREFIX: ContextVar[PrefixCache | None] = ContextVar("prefix", default=None)


def compute_prefix(model: PreTrainedModel, ids: list[int], weights: int = 0) -> PrefixCache:
    """Run the prefix once and keep each layer's keys and values. The attention must be replaced already."""
    import torch

    cache = PrefixCache(ids, weights, recording=True)
    if ids:
        row = torch.tensor([ids], device=model.device)
        with cache.active(), output_only_at(model, [0], [len(ids) - 1]):
            model(**_at_positions(row, 0))
        if len(cache.layers) != model.config.num_hidden_layers:
            raise _NotSharedError
    cache.recording = False
    return cache


def _weights_version(model: Any) -> int:
    """Tell states of the weights apart, so that a model trained further is not given its old keys."""
    return hash(tuple((weight.data_ptr(), weight._version) for weight in model.parameters()))


@contextlib.contextmanager
def _attention_replaced(model: Any) -> Iterator[None]:
    from transformers import AttentionInterface

    if not model._can_set_attn_implementation() or _has_window(model.config):
        raise _NotSharedError
    AttentionInterface.register(ATTENTION_NAME, shared_prefix_attention)
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _has_window(config: Any) -> bool:
    """Say whether any layer sees something other than all earlier tokens."""
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return any(kind != "full_attention" for kind in kinds)
    return getattr(config, "sliding_window", None) is not None


# Arguments of the interface that change nothing about plain causal attention.
_HARMLESS = {
    "cache_position",
    "cu_seq_lens_k",
    "cu_seq_lens_q",
    "is_causal",
    "max_length_k",
    "max_length_q",
    "num_items_in_batch",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "past_key_values",
    "position_embeddings",
    "position_ids",
    "return_dict",
    "use_cache",
}


def shared_prefix_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **arguments: Any,
) -> tuple[torch.Tensor, None]:
    """Attend causally within each row, and to the active prefix, which all rows share.

    Called by the models of `transformers`.

    Args:
        module: the attention layer; its `layer_idx` says whose keys to take.
        query: [B, H, T, D].
        key: [B, H_kv, T, D], the rows' own.
        value: [B, H_kv, T, D].
        attention_mask: None; rows are filled up on the right, where nothing has to be masked.
        scaling: factor of the scores; 1/√D by default.
        dropout: 0.
        arguments: anything that would change the scores is refused.

    Returns:
        [B, T, H, D], and None for the weights.
    """
    import torch

    unknown = [name for name, given in arguments.items() if given is not None and name not in _HARMLESS]
    layer = getattr(module, "layer_idx", None)
    prefix = _PREFIX.get()
    if unknown or layer is None or prefix is None or attention_mask is not None or dropout:
        raise _NotSharedError(unknown)
    if arguments.get("is_causal") is False or not getattr(module, "is_causal", True):
        raise _NotSharedError("attention that looks ahead")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    group = query.shape[1] // key.shape[1]
    own_key, own_value = (x.repeat_interleave(group, dim=1) if group > 1 else x for x in (key, value))
    output, weight = _attend(query, own_key, own_value, scale, causal=True)
    if prefix.recording:
        prefix.layers[layer] = (key.contiguous(), value.contiguous())
    elif layer in prefix.layers:
        over_prefix, prefix_weight = _attend_to_prefix(query, *prefix.layers[layer], scale)
        # share of the prefix: exp(p) / (exp(p) + exp(o)), a logistic function of p - o
        share = torch.sigmoid(prefix_weight - weight)[..., None].to(output.dtype)
        output = torch.lerp(output, over_prefix, share)
    return output.transpose(1, 2).contiguous(), None


def _attend_to_prefix(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend from all rows to the one prefix.

    Rows, and the query heads that share a key head, are laid side by side as queries of one row.

    Args:
        query: [B, H, T, D].
        key: [1, H_kv, P, D].
        value: [1, H_kv, P, D].
        scale: factor of the scores.

    Returns:
        Output [B, H, T, D] and log-sum-exp of the scores [B, H, T].
    """
    rows, heads, length, size = query.shape
    key_heads = key.shape[1]
    grouped = query.reshape(rows, key_heads, heads // key_heads, length, size).transpose(0, 1)
    output, weight = _attend(grouped.reshape(1, key_heads, -1, size), key, value, scale, causal=False)
    unfolded = (key_heads, rows, heads // key_heads, length)
    output = output.reshape(*unfolded, -1).transpose(0, 1).reshape(rows, heads, length, -1)
    return output, weight.reshape(unfolded).transpose(0, 1).reshape(rows, heads, length)


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, *, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend, and give the log-sum-exp of the scores, which `scaled_dot_product_attention` keeps to itself.

    Args:
        query: [B, H, Q, D].
        key: [B, H, K, D].
        value: [B, H, K, D].
        scale: factor of the scores.
        causal: whether query i sees keys 0 to i only.

    Returns:
        Output [B, H, Q, D] and float32 log-sum-exp [B, H, Q].
    """
    import torch

    kernel = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    if kernel is not None and query.device.type == "cpu" and key.shape[-1] == value.shape[-1]:
        # the kernel that torch itself takes on a CPU; it never holds the whole matrix of scores
        output, weight = kernel(query, key, value, 0.0, causal, scale=scale)
        return output, weight.float()
    scores = (query @ key.transpose(-1, -2)).float() * scale
    if causal:
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(ahead, -torch.inf)
    return scores.softmax(dim=-1).to(value.dtype) @ value, scores.logsumexp(dim=-1)


def _library_cache(model: Any, shared: list[int]) -> Any:
    """Run the prefix through the model's own cache; None for an empty prefix."""
    import torch

    if not shared:
        return None
    row = torch.tensor([shared], device=model.device)
    with output_only_at(model, [0], [len(shared) - 1]):
        cache = model(input_ids=row, use_cache=True).past_key_values
    if not hasattr(cache, "batch_repeat_interleave"):
        raise CourseError(
            "This model keeps no cache that several rows could share.",
            given=type(model).__name__,
            mend="Use `NaiveScorer`.",
        )
    return cache
