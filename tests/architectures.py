"""Tiny random models of every architecture that `transformers` makes from a few small sizes."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.models.auto import configuration_auto, modeling_auto

VOCABULARY = 40
CONTEXT = 160
MOST_PARAMETERS = 2_000_000
# Every name under which an architecture may know a size; a configuration takes those that it has.
SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size"), 32),
    **dict.fromkeys(
        (
            "intermediate_size",
            "ffn_dim",
            "n_inner",
            "decoder_ffn_dim",
            "encoder_ffn_dim",
            "d_inner",
            "hidden_dim",
        ),
        48,
    ),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers", "encoder_layers"), 2
    ),
    **dict.fromkeys(
        (
            "num_attention_heads",
            "n_head",
            "n_heads",
            "decoder_attention_heads",
            "encoder_attention_heads",
            "num_heads",
        ),
        4,
    ),
    **dict.fromkeys(
        ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length"), CONTEXT
    ),
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,
    "init_std": 0.3,
    # mixtures of experts
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "moe_topk"), 2),
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    # low-rank attention
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    # state spaces
    "state_size": 4,
    "mamba_d_state": 4,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
    "time_step_rank": 4,
    "attention_hidden_size": 32,
    "lru_width": 32,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
}


def architectures(kind: str) -> list[str]:
    """Return the model types of an Auto class: "causal" or "classifier"."""
    names = {
        "causal": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "classifier": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    }[kind]
    return sorted(name for name in names if name in configuration_auto.CONFIG_MAPPING_NAMES)


@functools.cache
def tiny(kind: str, model_type: str, seed: int = 0, **options: Any) -> Any:
    """Return a tiny random model in evaluation mode.

    Raises:
        Exception: whatever the architecture says of these sizes.
    """
    config = _tiny_config(model_type, options)
    auto = {"causal": AutoModelForCausalLM, "classifier": AutoModelForSequenceClassification}[kind]
    if kind == "causal" and hasattr(config, "is_decoder"):
        config.is_decoder = True
    with torch.device("meta"):
        size = sum(weight.numel() for weight in auto.from_config(config).parameters())
    if size > MOST_PARAMETERS:
        raise ValueError(f"{model_type} has {size:,} parameters at these sizes")
    with _quiet_seed(seed):
        return auto.from_config(config).eval()


def _tiny_config(model_type: str, options: dict[str, Any]) -> Any:
    config_class = configuration_auto.CONFIG_MAPPING[model_type]
    known = set(inspect.signature(config_class.__init__).parameters) | set(
        getattr(config_class, "__annotations__", {})
    )
    for base in config_class.__mro__:
        known |= set(getattr(base, "__annotations__", {}))
    mapped = getattr(config_class, "attribute_map", {})
    sizes = {name: value for name, value in SIZES.items() if name in known and name not in mapped}
    return config_class(**{**sizes, **options})


@contextlib.contextmanager
def _quiet_seed(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
