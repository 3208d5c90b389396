"""R_s: how much the output changes under the worst small change of the word embeddings.

Jiang et al., ACL 2020, section 2.1 and algorithm 1, with the maximisation as published: noise, K ascent
steps along the normalised gradient, each followed by the projection to the ε-ball.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import torch

from course_lib.checks.arrays import shaped
from course_lib.checks.calls import a_tensor, border, check_fields, of_type, optional
from course_lib.checks.types import Count, Positive
from course_lib.checks.values import check_callable
from course_lib.errors import CourseError
from course_lib.smart.divergence import Divergence, find_divergence
from course_lib.smart.embeddings import Forward, refuse_low_precision

Norm = Literal["inf", "2"]


@border(delta=shaped(None, None, None))
def project(delta: torch.Tensor, epsilon: Positive, norm: Norm = "inf") -> torch.Tensor:
    """Move a perturbation to the nearest point of the ε-ball, example by example.

    Args:
        delta: float tensor [B, T, D].
        epsilon: radius.
        norm: "inf" (largest entry) or "2" (length over all T × D entries).

    Returns:
        Float tensor [B, T, D] with norm at most ε for each example.
    """
    return _project(delta, epsilon, norm)


def _project(delta: torch.Tensor, epsilon: float, norm: Norm) -> torch.Tensor:
    if norm == "inf":
        return delta.clamp(-epsilon, epsilon)
    length = _size(delta, norm).clamp_min(epsilon)
    return delta * (epsilon / length)


@border(gradient=shaped(None, None, None))
def normalise(gradient: torch.Tensor, norm: Norm = "inf") -> torch.Tensor:
    """Scale each example's gradient to norm 1; a gradient of zero stays zero.

    Args:
        gradient: float tensor [B, T, D].
        norm: "inf" or "2".

    Returns:
        Float tensor [B, T, D].
    """
    return _normalise(gradient, norm)


def _normalise(gradient: torch.Tensor, norm: Norm) -> torch.Tensor:
    size = _size(gradient, norm)
    return gradient / size.where(size > 0, 1.0)


def _size(values: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Compute each example's norm, [B, 1, 1]."""
    largest = values.abs().amax(dim=(1, 2), keepdim=True)
    if norm == "inf":
        return largest
    # by the largest entry first: squares of entries below 1e-19 would underflow in float32
    scaled = values / largest.where(largest > 0, 1.0)
    return largest * scaled.square().sum(dim=(1, 2), keepdim=True).sqrt()


@dataclass(frozen=True)
class SmoothnessRegularizer:
    """R_s with its settings; calling it gives the scalar.

    Args:
        epsilon: radius ε of the ball around the word embeddings. The published 1e-5 is the default and moves
            nothing on the models tried here; `smoothness_shares` finds one that does.
        step_size: η, length of an ascent step before projection; by default 100 ε, the paper's proportion.
        noise_std: σ, standard deviation of the noise that the ascent starts from; by default ε.
        num_steps: K, ascent steps.
        norm: "inf" or "2", the norm of the ball and of the gradient's normalisation.
        divergence: ℓ_s, "symmetric_kl" or "squared_difference" (regression).

    Raises:
        CourseError: a setting out of its range.

    Source: Jiang et al. 2020, equation (2), algorithm 1; defaults of section 4.1.
    """

    epsilon: Positive = 1e-5
    step_size: Positive | None = None
    noise_std: Positive | None = None
    num_steps: Count = 1
    norm: Norm = "inf"
    divergence: Divergence = "symmetric_kl"

    def __post_init__(self) -> None:
        check_fields(self)

    @border(
        forward=check_callable, embeddings=a_tensor, clean_logits=a_tensor, attention_mask=optional(a_tensor)
    )
    def perturb(
        self,
        forward: Forward,
        embeddings: torch.Tensor,
        clean_logits: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Find a perturbation that changes the output as much as the ball allows.

        Args:
            forward: maps word embeddings [B, T, D] to logits [B, C].
            embeddings: the clean word embeddings [B, T, D], float32 or float64.
            clean_logits: forward(embeddings), [B, C].
            attention_mask: int tensor [B, T]; 0 marks padding, which is not perturbed.

        Returns:
            δ, float tensor [B, T, D] without gradient, inside the ball, zero on padding.

        Raises:
            CourseError: half precision or autocast, where a δ of ε would vanish; logits or gradients that
                are not finite; an attention mask or embeddings of another shape; `torch.inference_mode`, where there
                are no gradients.
        """
        refuse_low_precision(embeddings, clean_logits)
        if torch.is_inference_mode_enabled():
            raise CourseError(
                "The perturbation is found along a gradient, and `torch.inference_mode` forbids gradients.",
                mend="Use `torch.no_grad` instead.",
            )
        _refuse_not_finite("logits", clean_logits)
        divergence = find_divergence(self.divergence)
        clean = embeddings.detach()
        target = clean_logits.detach()
        mask = _real_tokens(clean, attention_mask)
        step_size = 100 * self.epsilon if self.step_size is None else self.step_size
        noise_std = self.epsilon if self.noise_std is None else self.noise_std
        delta = _project(noise_std * torch.randn_like(clean) * mask, self.epsilon, self.norm)
        for _ in range(self.num_steps):
            point = (clean + delta).requires_grad_()
            with torch.enable_grad():
                change = divergence(forward(point), target, "sum")
            gradient = _gradient(change, point) * mask
            delta = _project(delta + step_size * _normalise(gradient, self.norm), self.epsilon, self.norm)
        return delta

    def __call__(
        self,
        forward: Forward,
        embeddings: torch.Tensor,
        clean_logits: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute R_s, the mean over the batch of the change that `perturb` finds.

        The gradient flows through f(x̃) and through f(x), not through δ.

        Args:
            forward: as in `perturb`.
            embeddings: as in `perturb`; where it carries a gradient, so does R_s.
            clean_logits: forward(embeddings), with its gradient.
            attention_mask: as in `perturb`.

        Returns:
            A scalar.
        """
        delta = self.perturb(forward, embeddings, clean_logits, attention_mask)
        logits = forward(embeddings + delta)
        _refuse_not_finite("perturbed logits", logits)
        return find_divergence(self.divergence)(logits, clean_logits)


a_regularizer = of_type("course_lib.smart.smoothness.SmoothnessRegularizer")


def _real_tokens(embeddings: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    if embeddings.dim() != 3:
        raise CourseError("The word embeddings must be [B, T, D].", given=list(embeddings.shape))
    if attention_mask is None:
        return torch.ones_like(embeddings[..., :1])
    if attention_mask.shape != embeddings.shape[:2]:
        raise CourseError(
            f"The attention mask must be {list(embeddings.shape[:2])}, a value for each token.",
            given=list(attention_mask.shape),
            mend="Give the batch's own `attention_mask`.",
        )
    return attention_mask.to(embeddings.dtype).unsqueeze(-1)


def _gradient(change: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """Compute ∂change/∂point, or zeros with a warning where the output does not depend on the embeddings."""
    gradient = None
    if change.requires_grad:
        (gradient,) = torch.autograd.grad(change, point, allow_unused=True)
    largest = 0.0 if gradient is None else gradient.abs().max().item()
    if gradient is None or largest == 0:
        warnings.warn(
            "The output does not change with the word embeddings: its gradient is zero, so the perturbation "
            "stays random and R_s is 0 or next to it. Does `forward` use its argument?",
            stacklevel=4,
        )
        return torch.zeros_like(point)
    if not math.isfinite(largest):
        raise CourseError(
            "The gradient with respect to the word embeddings is not finite.",
            given=largest,
            mend="Use a smaller learning rate.",
        )
    return gradient


def _refuse_not_finite(what: str, logits: torch.Tensor) -> None:
    if not bool(logits.isfinite().all()):
        raise CourseError(
            f"The {what} are not finite.",
            given=logits.detach().flatten()[:5].tolist(),
            mend="Use a smaller learning rate.",
        )
