"""Weights: how many, and how far they moved."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from course_lib.errors import CourseError
from course_lib.models.loaded import ModelAndTokenizer


def count_parameters(model: torch.nn.Module, *, trainable_only: bool = False) -> int:
    """Count a model's parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


def encoder_weights(classifier: ModelAndTokenizer, *, copy: bool = True) -> dict[str, torch.Tensor]:
    """Return the weights that were pre-trained, without the fresh head, which has no place to move from.

    Args:
        classifier: the model, of whose encoder the weights are.
        copy: whether to copy them; else they change as the model trains.

    Returns:
        Tensors without gradient, by name.
    """
    named = classifier.model.base_model.named_parameters()
    return {name: tensor.detach().clone() if copy else tensor.detach() for name, tensor in named}


def relative_distance(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> float:
    """Compute how far weights moved, as a share of their length.

    Args:
        before: weights by name.
        after: the same names and shapes.

    Returns:
        ‖after - before‖₂ / ‖before‖₂ over all entries of all tensors.

    Raises:
        CourseError: if the names differ.
    """
    if set(before) != set(after):
        raise CourseError(
            "Both models must have the same weights.", given=sorted(set(before) ^ set(after))[:5]
        )
    norm = torch.linalg.vector_norm
    moved = sum(norm(after[name] - before[name]).item() ** 2 for name in before)
    length = sum(norm(tensor).item() ** 2 for tensor in before.values())
    return (moved / length) ** 0.5
