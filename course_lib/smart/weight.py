"""How much R_s weighs beside the task's loss: which ε does something, and a warning where it does nothing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypedDict

import torch

from course_lib.checks.calls import a_model, border
from course_lib.checks.types import Positive
from course_lib.checks.values import check_mapping
from course_lib.errors import CourseError
from course_lib.models.loaded import evaluation_mode
from course_lib.smart.divergence import divergence_for
from course_lib.smart.embeddings import forward_from_embeddings, word_embeddings
from course_lib.smart.smoothness import SmoothnessRegularizer

RADII = (1e-5, 1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1)
# A term this much smaller than the loss, for so many batches one after the other, does nothing.
INERT_SHARE = 1e-3
INERT_BATCHES = 20


class SmoothnessShare(TypedDict):
    """What R_s weighs at one radius.

    Args:
        epsilon: the radius ε.
        smoothness: R_s.
        loss: the task's loss.
        share: the length of the gradient of λ_s R_s over that of the loss, both over all trainable weights.
    """

    epsilon: float
    smoothness: float
    loss: float
    share: float


@border(model=a_model, batch=partial(check_mapping, keys=["input_ids"]))
def smoothness_shares(
    model: torch.nn.Module,
    batch: Mapping[str, Any],
    epsilons: Sequence[Positive] = RADII,
    *,
    smoothness_weight: Positive = 1.0,
    regularizer: SmoothnessRegularizer | None = None,
) -> list[SmoothnessShare]:
    """Measure how strongly λ_s R_s pulls at the weights beside the task's loss, for several radii ε.

    The published ε = 1e-5 moves nothing on the models tried here: an embedding's entries are a thousand times
    larger. Take an ε whose share is between about 0.1 and 1; measure again after some training, since R_s
    grows with the model's confidence.

    Args:
        model: a sequence classifier; it is measured in evaluation mode and left in its own.
        batch: `input_ids` [B, T], `labels` [B] and the model's other inputs; 16 examples are enough.
        epsilons: the radii; step size and noise grow with them.
        smoothness_weight: λ_s.
        regularizer: the other settings of R_s.

    Returns:
        A row for each radius.

    Raises:
        CourseError: radii that are not positive; a batch without labels; as `SmoothnessRegularizer`.

    Example:
        >>> import torch
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> batch = {"input_ids": torch.arange(12).view(2, 6), "labels": torch.tensor([0, 1])}
        >>> small, large = smoothness_shares(BertForSequenceClassification(config), batch, [1e-5, 0.05])
        >>> bool(small["share"] < 1e-3 < large["share"])
        True
    """
    with evaluation_mode(model):
        outputs = model(**batch)
        loss = task_loss(outputs.logits, batch.get("labels"))
        if loss is None:
            raise CourseError("The share of R_s needs the task's loss.", mend="Give a batch with `labels`.")
        own = _gradient_length(model, loss)
        divergence = divergence_for(model.config, batch["labels"])
        chosen = regularizer or SmoothnessRegularizer(divergence=divergence)
        rows: list[SmoothnessShare] = []
        for epsilon in epsilons:
            settings = replace(chosen, epsilon=float(epsilon), step_size=None, noise_std=None)
            forward = forward_from_embeddings(model, batch)
            embeddings = word_embeddings(model, batch["input_ids"])
            smoothness = settings(forward, embeddings, forward(embeddings), batch.get("attention_mask"))
            pull = smoothness_weight * _gradient_length(model, smoothness)
            rows.append(
                {
                    "epsilon": float(epsilon),
                    "smoothness": float(smoothness.detach()),
                    "loss": float(loss.detach()),
                    "share": pull / own if own else torch.inf,
                }
            )
    return rows


class InertnessWatch:
    """Warns once where λ_s R_s has been less than a thousandth of the task's loss for many batches.

    Args:
        epsilon: the radius, for the warning.
    """

    def __init__(self, epsilon: float) -> None:
        self._epsilon = epsilon
        self._num_inert = 0
        self._has_warned = False

    def see(self, weighted_smoothness: float, loss: float) -> None:
        """Take note of a batch.

        Args:
            weighted_smoothness: λ_s R_s.
            loss: the task's loss.
        """
        self._num_inert = self._num_inert + 1 if weighted_smoothness < INERT_SHARE * loss else 0
        if self._num_inert < INERT_BATCHES or self._has_warned:
            return
        self._has_warned = True
        warnings.warn(
            f"R_s has been less than a thousandth of the loss for {INERT_BATCHES} batches "
            f"(the last: {weighted_smoothness:.1e} beside {loss:.1e}): at epsilon={self._epsilon:g} it costs time and "
            "does next to nothing. Use a larger epsilon; `course_lib.smart.smoothness_shares(model, batch)` "
            "shows which ones do something on this model.",
            stacklevel=5,
        )


def task_loss(logits: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor | None:
    """Compute cross-entropy, or the squared error where there is one output; None without labels that fit.

    Args:
        logits: float tensor [B, C].
        labels: int tensor [B], or floats of the shape of the logits.

    Returns:
        A scalar, or None.
    """
    if labels is None:
        return None
    if logits.shape[-1] == 1 or labels.is_floating_point():
        fits = labels.numel() == logits.numel()
        return torch.nn.functional.mse_loss(logits.flatten(), labels.flatten().to(logits)) if fits else None
    fits = labels.shape == logits.shape[:-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten()) if fits else None


def _gradient_length(model: torch.nn.Module, value: torch.Tensor) -> float:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(value, weights, allow_unused=True, retain_graph=True)
    return float(torch.nn.utils.get_total_norm([each for each in gradients if each is not None]))
