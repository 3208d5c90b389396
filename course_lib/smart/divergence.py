"""ℓ_s: how far two outputs of a model are apart (Jiang et al., ACL 2020, section 2.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch

from course_lib.checks.calls import a_tensor, check_choice
from course_lib.checks.values import check_count
from course_lib.errors import CourseError

Reduction = Literal["batchmean", "sum", "none"]
Divergence = Literal["symmetric_kl", "squared_difference"]


def symmetric_kl(
    logits_p: torch.Tensor, logits_q: torch.Tensor, reduction: Reduction = "batchmean"
) -> torch.Tensor:
    """Compute KL(P‖Q) + KL(Q‖P) of two categorical distributions, in nats.

    Computed as Σ (p - q)(log p - log q), which is exactly 0 where both are equal, never negative, and
    stable for large logits. A class that both exclude (logit -inf) adds nothing; one that only one of them
    excludes makes it infinite. The gradient flows into both arguments.

    Args:
        logits_p: float tensor [..., C], C at least 2.
        logits_q: float tensor of the same shape.
        reduction: "batchmean" (mean over all but the last dimension), "sum" or "none".

    Returns:
        A scalar, or [...] for "none".

    Raises:
        CourseError: shapes differ, a single class (whose probability is always 1), logits that are no numbers,
            or an unknown reduction.

    Source: Jiang et al. 2020, equation (2) and the definition of ℓ_s below it.

    Example:
        >>> import torch
        >>> a = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
        >>> b = torch.tensor([[0.8, 0.1, -0.9], [0.2, 0.7, 0.1]])
        >>> round(symmetric_kl(a, b).item(), 6)
        0.034926
    """
    _check_shapes(logits_p, logits_q)
    if logits_p.shape[-1] < 2:
        raise CourseError(
            "Between distributions over a single class the KL divergence is always 0.",
            given=tuple(logits_p.shape),
            mend="For regression use `squared_difference`.",
        )
    is_excluded = logits_p.isneginf() & logits_q.isneginf()  # 0 log 0 is 0, and no gradient comes from it
    log_p = logits_p.log_softmax(dim=-1).masked_fill(is_excluded, 0.0)
    log_q = logits_q.log_softmax(dim=-1).masked_fill(is_excluded, 0.0)
    values = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1)
    return _reduce(values, values.isnan(), reduction)


def squared_difference(
    outputs_p: torch.Tensor, outputs_q: torch.Tensor, reduction: Reduction = "batchmean"
) -> torch.Tensor:
    """Compute the squared difference of two regression outputs.

    Args:
        outputs_p: float tensor [B, ..., C]; C is 1 for one target.
        outputs_q: float tensor of the same shape. [B] beside [B, 1] is refused: broadcasting them would
            compare every example with every other. So is [B] beside [B]: its mean over the batch would be
            a sum.
        reduction: as in `symmetric_kl`.

    Returns:
        A scalar, or [...] for "none"; summed over the last dimension.

    Raises:
        CourseError: shapes differ, outputs that are no numbers, or an unknown reduction.

    Source: Jiang et al. 2020, section 2.1, ℓ_s for regression.
    """
    _check_shapes(outputs_p, outputs_q, min_dims=2)
    values = (outputs_p - outputs_q).square().sum(dim=-1)
    return _reduce(values, ~values.isfinite(), reduction)


DIVERGENCES: dict[Divergence, Callable[..., torch.Tensor]] = {
    "symmetric_kl": symmetric_kl,
    "squared_difference": squared_difference,
}


def find_divergence(name: Divergence) -> Callable[..., torch.Tensor]:
    """Return the divergence of this name.

    Args:
        name: one of `DIVERGENCES`.

    Returns:
        A function of two outputs and a reduction, such as `symmetric_kl`.

    Raises:
        CourseError: if there is none.
    """
    return DIVERGENCES[check_choice("divergence", name, DIVERGENCES)]


def divergence_for(config: Any, labels: torch.Tensor | None = None) -> Divergence:
    """Name the ℓ_s that goes with a task: squared difference for regression, else symmetric KL.

    Args:
        config: a `transformers` configuration with `num_labels` and `problem_type`.
        labels: a batch's labels; where the configuration names no problem they tell it, as they tell
            `transformers`: floats for several outputs are several labels at once.

    Returns:
        A name of `DIVERGENCES`.

    Raises:
        CourseError: several labels at once, for which the paper gives no ℓ_s.

    Source: Jiang et al. 2020, section 2.1.
    """
    problem = getattr(config, "problem_type", None)
    num_labels = check_count("num_labels of the configuration", getattr(config, "num_labels", None))
    has_floats = labels is not None and a_tensor("labels", labels).is_floating_point()
    if problem is None and num_labels > 1 and has_floats:
        problem = "multi_label_classification"
    if problem == "multi_label_classification":
        raise CourseError(
            "SMART has no divergence for several labels at once; the paper knows classes and regression.",
            given=problem,
            mend='For several numbers a text set config.problem_type="regression". For several labels train '
            "without SMART (smoothness_weight=0, proximal_weight=0), or one classifier a label.",
        )
    return "squared_difference" if problem == "regression" or num_labels == 1 else "symmetric_kl"


def _check_shapes(p: torch.Tensor, q: torch.Tensor, min_dims: int = 1) -> None:
    for outputs in (p, q):
        if not a_tensor("The model's output", outputs).is_floating_point():
            raise CourseError("The model's output must be floats.", given=outputs.dtype)
    if p.shape != q.shape or p.dim() < min_dims or p.numel() == 0:
        raise CourseError(
            f"This divergence compares two outputs of one shape, [{'B, ' * (min_dims - 1)}..., C].",
            given=(tuple(p.shape), tuple(q.shape)),
            mend="Give both as the model returns them; add the last dimension with `.unsqueeze(-1)` "
            "where it is missing.",
        )


def _reduce(values: torch.Tensor, is_none: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    check_choice("reduction", reduction, get_args(Reduction))
    if bool(is_none.any()):
        raise CourseError(
            "Between outputs that are no numbers there is no divergence.",
            given="nan or inf",
            mend="Look at the model's outputs; use a smaller learning rate.",
        )
    if reduction == "batchmean":
        return values.mean()
    return values.sum() if reduction == "sum" else values
