"""Which language model a prompt is for: told by its sizes and a few of its weights, not by its name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from course_lib.checks.calls import a_model, border
from course_lib.checks.types import Text
from course_lib.locations import cache_folder
from course_lib.models.loaded import EMBEDDED

_SAMPLED_MATRICES = 8
_SAMPLED_ENTRIES = 8


@dataclass(frozen=True)
class ModelFingerprint:
    """What tells one language model from another.

    A few weights are kept as numbers, not as a hash: a model loaded in half precision is still the same model.

    Args:
        name: what the model is called; says nothing about the weights, and is not compared.
        width: of the embeddings.
        vocab_size: rows of the embedding table.
        num_layers: layers.
        num_heads: attention heads.
        sampled_weights: a few weights, evenly spread over a few matrices.
    """

    name: str
    width: int
    vocab_size: int
    num_layers: int | None
    num_heads: int | None
    sampled_weights: Sequence[float]

    def matches(self, other: ModelFingerprint) -> bool:
        """Say whether both are of the same model, up to the rounding of half precision (a share of 2⁻⁸)."""
        sizes = [(f.width, f.vocab_size, f.num_layers, f.num_heads) for f in (self, other)]
        if sizes[0] != sizes[1] or len(self.sampled_weights) != len(other.sampled_weights):
            return False
        pairs = zip(self.sampled_weights, other.sampled_weights, strict=True)
        return all(math.isclose(a, b, rel_tol=2**-7, abs_tol=1e-6) for a, b in pairs)


@border(model=a_model)
def model_fingerprint(model: PreTrainedModel, *, name: Text | None = None) -> ModelFingerprint:
    """Return what tells this language model from others.

    Args:
        model: a causal language model, in any precision.
        name: what to call it; `model_name` by default.

    Returns:
        The fingerprint. It takes milliseconds, however large the model is.
    """
    config: Any = model.config
    vocab_size, width = embedding_table(model).weight.shape
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    sampled: list[float] = []
    for matrix in _evenly(matrices, _SAMPLED_MATRICES):
        places = _evenly(range(matrix.numel()), _SAMPLED_ENTRIES)
        sampled += matrix.detach().flatten()[places].float().tolist()
    return ModelFingerprint(
        name=name or model_name(model),
        width=width,
        vocab_size=vocab_size,
        num_layers=getattr(config, "num_hidden_layers", None),
        num_heads=getattr(config, "num_attention_heads", None),
        sampled_weights=[float(f"{value:.6g}") for value in sampled],
    )


def embedding_table(model: PreTrainedModel) -> Any:
    """Return the layer that turns token ids into word embeddings; its `weight` is [vocab_size, width]."""
    return model.get_input_embeddings()


def model_name(model: PreTrainedModel) -> str:
    """Return the name a model was loaded by: "embedded", its hub id, or the last part of its folder's path."""
    name = str(getattr(model.config, "_name_or_path", "") or "")
    path = Path(name)
    if not name:
        return type(model).__name__
    if cache_folder() in path.parents:
        return EMBEDDED
    return path.name if path.is_dir() else name


@border(model=a_model)
def weights_hash(model: torch.nn.Module) -> str:
    """Compute the SHA-256 of all of a model's weights and buffers, bit for bit.

    Args:
        model: the model; half a gigabyte of weights takes about half a second.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def _evenly(items: Any, count: int) -> list[Any]:
    """Take at most `count` items at even distances, the first and the last among them."""
    last = len(items) - 1
    count = min(count, len(items))
    return [items[round(i * last / max(count - 1, 1))] for i in range(count)]
