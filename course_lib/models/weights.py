"""Weights: how many, and how far they moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from course_lib.checks.arrays import check_tensor
from course_lib.checks.calls import a_model, border
from course_lib.checks.types import Flag
from course_lib.checks.values import check_mapping, check_number
from course_lib.errors import CourseError
from course_lib.models.loaded import ModelAndTokenizer


@border(model=a_model)
def count_parameters(model: torch.nn.Module, *, trainable_only: Flag = False) -> int:
    """Count a model's parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


@border()
def encoder_weights(classifier: ModelAndTokenizer, *, copy: Flag = True) -> dict[str, torch.Tensor]:
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
        CourseError: if the names or shapes differ, an entry is not finite, or all of `before` is 0.
    """
    before = check_mapping("before", before, check_tensor)
    if set(before) != set(check_mapping("after", after)):
        raise CourseError(
            "Both models must have the same weights.", given=sorted(set(before) ^ set(after))[:5]
        )
    for name, tensor in before.items():
        check_tensor(f"after[{name!r}]", after[name], shape=tensor.shape)
    norm = torch.linalg.vector_norm
    moved = _sum_of_squares(norm(after[name] - before[name]).item() for name in before)
    length = _sum_of_squares(norm(tensor).item() for tensor in before.values())
    if not length:
        raise CourseError(
            "How far weights moved is a share of their length, and all of these are 0.", given=0
        )
    return check_number("The distance", (moved / length) ** 0.5)


def _sum_of_squares(norms: Iterable[float]) -> float:
    return sum(norm * norm for norm in norms)
