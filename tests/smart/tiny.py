"""Tiny random sequence classifiers of the architectures that SMART has to work with."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from hypothesis import settings

# For property tests: few examples, always the same, no clock.
few = settings(max_examples=40, deadline=None, derandomize=True)

VOCABULARY = 40
PAD = 0
_SIZES = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "initializer_range": 0.3}
_DEEP = {**_SIZES, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
_WIDE = {**_DEEP, "intermediate_size": 37, "max_position_embeddings": 32}

_SETTINGS: dict[str, dict[str, Any]] = {
    "Bert": _WIDE,
    "Roberta": _WIDE,
    "DistilBert": {**_SIZES, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 37},
    "Deberta": {**_WIDE, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "DebertaV2": {**_WIDE, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "GPT2": {**_SIZES, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 1, "eos_token_id": 2},
    "Qwen2": {**_WIDE, "num_key_value_heads": 1, "attention_dropout": 0.1},
    "Llama": {**_WIDE, "num_key_value_heads": 1, "attention_dropout": 0.1},
}
_SEQ2SEQ = {
    **_SIZES,
    "d_model": 16,
    "num_labels": 3,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
}
_SETTINGS |= {
    "XLNet": {**_SIZES, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 37},
    "Longformer": {**_WIDE, "attention_window": 4},
    "Bart": {
        **_SEQ2SEQ,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "max_position_embeddings": 32,
        "init_std": 0.3,
        "scale_embedding": True,
    },
    "T5": {**_SEQ2SEQ, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "initializer_factor": 3.0},
}
# Models that read their words turned round, padded, or with a layer other than the one they name.
UNUSUAL = ("XLNet", "Longformer", "Bart", "T5")
EOS = 2

ENCODERS = ("Bert", "Roberta", "DistilBert", "Deberta", "DebertaV2")
DECODERS = ("GPT2", "Qwen2", "Llama")
ARCHITECTURES = ENCODERS + DECODERS


def tiny_classifier(architecture: str = "Bert", *, num_labels: int = 2, **settings: Any) -> Any:
    """Give a sequence classifier with random weights, always the same, in evaluation mode."""
    config = getattr(transformers, f"{architecture}Config")(
        **{**_SETTINGS[architecture], "num_labels": num_labels, **settings}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(transformers, f"{architecture}ForSequenceClassification")(config).eval()


def tiny_batch(padding_side: str = "right", num_examples: int = 3) -> dict[str, torch.Tensor]:
    """Give token ids [B, 9] of different lengths, and their attention mask."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, VOCABULARY, (num_examples, 9), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(1, num_examples):
        padding = slice(None, row) if padding_side == "left" else slice(-row, None)
        ids[row, padding], mask[row, padding] = PAD, 0
    return {"input_ids": ids, "attention_mask": mask}
