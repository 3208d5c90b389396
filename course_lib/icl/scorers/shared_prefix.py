"""Attention to a prefix that all rows of a batch share, and whose keys and values exist once.

Attention over the prefix and a row's own tokens is an average of values, weighted by exp(score). It splits into
two averages, over the prefix and over the row itself, that are put together in proportion to their sums of
weights. Behind one prefix all rows have the same prefix keys, so the queries of all rows are laid side by side as
if they were one row. `transformers` lets a function take the place of attention in every model that is written
for it; that function is `shared_prefix_attention`.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from course_lib.models.context import text_config
from course_lib.models.outputs import output_only_at

ATTENTION_NAME = "course_shared_prefix"


class NotSharedError(Exception):
    """The architecture's attention is not plain attention through the interface."""


@dataclass
class PrefixCache:
    """Keys and values of a prefix, one pair a layer, with a batch of 1.

    Args:
        layers: layer number -> keys and values, [1, key-value heads, prefix length, head size].
        recording: whether attention is to fill `layers` rather than to read them.
    """

    layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    recording: bool = False

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Makes this the prefix that attention sees."""
        token = _PREFIX.set(self)
        try:
            yield
        finally:
            _PREFIX.reset(token)


_PREFIX: ContextVar[PrefixCache | None] = ContextVar("prefix", default=None)


def compute_prefix(model: PreTrainedModel, ids: list[int]) -> PrefixCache:
    """Runs the prefix once and keep each layer's keys and values. The attention must be replaced already."""
    cache = PrefixCache(recording=True)
    if ids:
        row = torch.tensor([ids], device=model.device)
        with cache.active(), output_only_at(model, [0], [len(ids) - 1]):
            model(**at_positions(row, 0))
        if len(cache.layers) != text_config(model).num_hidden_layers:
            raise NotSharedError
    cache.recording = False
    return cache


@contextlib.contextmanager
def attention_replaced(model: Any) -> Iterator[None]:
    """Lets a model attend by `shared_prefix_attention`.

    Raises:
        NotSharedError: its attention has no interface, a window, or no place for positions.
    """
    can_set = getattr(model, "_can_set_attn_implementation", lambda: False)
    if not can_set() or _has_window(text_config(model)) or not _takes_positions(model):
        raise NotSharedError
    AttentionInterface.register(ATTENTION_NAME, shared_prefix_attention)
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _takes_positions(model: Any) -> bool:
    """Returns whether rows can be told where they begin, which is behind the prefix."""
    return "position_ids" in _arguments(model)


def _arguments(model: Any) -> set[str]:
    """Returns what a model's call takes; an adapter's passes everything on to the model below."""
    below = model.get_base_model() if hasattr(model, "get_base_model") else model
    return set(inspect.signature(below.forward).parameters)


def at_positions(ids: torch.Tensor, start: int) -> dict[str, Any]:
    """Returns the arguments of a call on rows [B, T] whose first token stands at a position."""
    positions = torch.arange(start, start + ids.shape[1], device=ids.device)[None]
    return {"input_ids": ids, "position_ids": positions.expand(ids.shape[0], -1), "use_cache": False}


def _has_window(config: Any) -> bool:
    """Returns whether any layer sees something other than all earlier tokens."""
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
    """Attends causally within each row, and to the active prefix, which all rows share.

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
    unknown = [name for name, given in arguments.items() if given is not None and name not in _HARMLESS]
    layer = getattr(module, "layer_idx", None)
    prefix = _PREFIX.get()
    if unknown or layer is None or prefix is None or attention_mask is not None or dropout:
        raise NotSharedError(unknown)
    if arguments.get("is_causal") is False or not getattr(module, "is_causal", True):
        raise NotSharedError("attention that looks ahead")
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
    """Attends from all rows to the one prefix.

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
    """Attends, and gives the log-sum-exp of the scores, which `scaled_dot_product_attention` keeps to itself.

    Args:
        query: [B, H, Q, D].
        key: [B, H, K, D].
        value: [B, H, K, D].
        scale: factor of the scores.
        causal: whether query i sees keys 0 to i only.

    Returns:
        Output [B, H, Q, D] and float32 log-sum-exp [B, H, Q].
    """
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


def library_cache(model: Any, shared: list[int]) -> Any:
    """Runs the prefix through the model's own cache, where that holds keys and values alone.

    Args:
        model: a causal language model.
        shared: the prefix's token ids, at least one.

    Returns:
        The cache, which can be repeated for the rows of a batch.

    Raises:
        NotSharedError: the model keeps no cache, or a state that is more than keys and values.
    """
    if not {"past_key_values", "use_cache"} <= _arguments(model):
        raise NotSharedError("no cache of keys and values")
    row = torch.tensor([shared], device=model.device)
    with output_only_at(model, [0], [len(shared) - 1]):
        cache = getattr(model(input_ids=row, use_cache=True), "past_key_values", None)
    layers = cache.layers if type(cache) is DynamicCache else []
    if len(layers) != text_config(model).num_hidden_layers or not all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers
    ):
        raise NotSharedError("a cache of more than keys and values")
    return cache
