"""The traps that public implementations of SMART fall into.

Each check runs twice: on ours, where its property holds, and on a small implementation with the trap in
it, where the property is violated. So the check is known to see the trap.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import kl_div

from course_lib.errors import CourseError
from course_lib.smart import (
    BregmanProximalPoint,
    DropoutReplay,
    SmoothnessRegularizer,
    forward_from_embeddings,
    squared_difference,
    symmetric_kl,
    word_embeddings,
)
from tests.smart.tiny import tiny_batch, tiny_classifier

EPSILON = STD = 1e-5
STEP = 1e-3


def ours_or_planted(ours: Any, **planted: Any) -> pytest.MarkDecorator:
    """Run a check on our implementation (it holds) and on those with a trap in them (it does not)."""
    cases = [(ours, True), *((each, False) for each in planted.values())]
    return pytest.mark.parametrize(("implementation", "holds"), cases, ids=["ours", *planted])


def network(x: torch.Tensor) -> torch.Tensor:
    """A small smooth classifier: word embeddings [B, T, 8] to logits [B, 3]."""
    weight = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return (x @ weight.to(x.dtype)).tanh().sum(dim=1)


# --- ε as a denominator floor ------------------------------------------------------------------------

Perturb = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]


def epsilon_as_floor(forward: Any, x: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    noise = (STD * torch.randn_like(x)).requires_grad_()
    (gradient,) = torch.autograd.grad(symmetric_kl(forward(x + noise), clean.detach(), "sum"), noise)
    step = noise.detach() + STEP * gradient
    return step / (step.abs().amax(dim=(1, 2), keepdim=True) + EPSILON)


@ours_or_planted(SmoothnessRegularizer().perturb, epsilon_as_floor=epsilon_as_floor)
def test_perturbation_lies_in_the_ball(implementation: Perturb, holds: bool) -> None:
    x = torch.randn(4, 12, 8)
    largest = implementation(network, x, network(x)).abs().max().item()
    assert (largest <= EPSILON * (1 + 1e-6)) is holds


@ours_or_planted(SmoothnessRegularizer().perturb, epsilon_as_floor=epsilon_as_floor)
def test_perturbation_points_along_the_gradient_and_not_along_the_noise(
    implementation: Perturb, holds: bool
) -> None:
    x = torch.randn(4, 12, 8, dtype=torch.float64)
    clean = network(x)
    torch.manual_seed(7)
    delta = implementation(network, x, clean)
    torch.manual_seed(7)
    point = (x + (STD * torch.randn_like(x)).clamp(-EPSILON, EPSILON)).requires_grad_()
    (gradient,) = torch.autograd.grad(symmetric_kl(network(point), clean, "sum"), point)
    agreement = (delta.sign() * gradient.sign()).mean().item()
    assert (agreement > 0.9) is holds


# --- the embedding layer's full output fed back ------------------------------------------------------


def full_output_fed_back(model: Any, batch: dict) -> tuple[Any, torch.Tensor]:
    embeddings = model.bert.embeddings(batch["input_ids"])
    mask = batch["attention_mask"]
    return lambda x: model(inputs_embeds=x, attention_mask=mask).logits, embeddings


def word_embeddings_alone(model: Any, batch: dict) -> tuple[Any, torch.Tensor]:
    return forward_from_embeddings(model, batch), word_embeddings(model, batch["input_ids"])


@ours_or_planted(word_embeddings_alone, full_output_fed_back=full_output_fed_back)
def test_r_s_is_zero_without_a_perturbation(implementation: Any, holds: bool) -> None:
    model, batch = tiny_classifier(), tiny_batch()
    forward, embeddings = implementation(model, batch)
    assert (symmetric_kl(forward(embeddings), model(**batch).logits).item() == 0) is holds


# --- fresh dropout masks in the perturbed pass -------------------------------------------------------


def without_replay() -> None:
    return None


def with_replay() -> DropoutReplay:
    return DropoutReplay(torch.device("cpu"))


@ours_or_planted(with_replay, fresh_masks=without_replay)
def test_r_s_measures_smoothness_and_not_dropout(implementation: Any, holds: bool) -> None:
    model, batch = tiny_classifier().train(), tiny_batch()
    replay = implementation()
    clean = model(**batch).logits
    forward, embeddings = (
        forward_from_embeddings(model, batch, replay),
        word_embeddings(model, batch["input_ids"]),
    )
    assert (symmetric_kl(forward(embeddings), clean).item() == 0) is holds
    value = SmoothnessRegularizer()(forward, embeddings, clean).item()
    assert value > 0
    assert (value < 1e-4) is holds


# --- regression outputs [B] against [B, 1] -----------------------------------------------------------


def squeezed_on_one_side(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return (p.squeeze(-1) - q).square().mean()


@ours_or_planted(squared_difference, squeezed_on_one_side=squeezed_on_one_side)
def test_regression_outputs_that_differ_by_a_tenth_differ_by_a_hundredth(
    implementation: Any, holds: bool
) -> None:
    q = torch.tensor([[-math.sqrt(0.6)], [math.sqrt(0.6)]])
    value = implementation(q + 0.1, q).item()
    assert value == pytest.approx(0.01 if holds else 1.21)


@ours_or_planted(squared_difference, broadcast=lambda p, q: (p - q).square().mean())
def test_outputs_of_two_shapes_are_never_broadcast(implementation: Any, holds: bool) -> None:
    try:
        implementation(torch.zeros(3), torch.zeros(3, 1))
        refused = False
    except CourseError:
        refused = True
    assert refused is holds


# --- one reduction "sum", the other "batchmean" ------------------------------------------------------


def kl(p: torch.Tensor, q: torch.Tensor, reduction: str) -> torch.Tensor:
    return kl_div(q.log_softmax(-1), p.softmax(-1), reduction=reduction)


@ours_or_planted(
    symmetric_kl,
    mixed_reductions=lambda p, q: kl(p, q, "sum") + kl(q, p, "batchmean"),
    element_mean=lambda p, q: (kl(p, q, "none") + kl(q, p, "none")).mean(),
)
def test_divergence_is_a_mean_over_the_batch_of_sums_over_the_classes(
    implementation: Any, holds: bool
) -> None:
    p, q = torch.randn(4, 3), torch.randn(4, 3)
    exact = sum(kl(p[[i]], q[[i]], "sum") + kl(q[[i]], p[[i]], "sum") for i in range(4)) / 4
    same_for_twice_the_batch = torch.allclose(
        implementation(p.repeat(2, 1), q.repeat(2, 1)), implementation(p, q)
    )
    is_exact = torch.allclose(implementation(p, q), exact)
    assert (same_for_twice_the_batch and is_exact) is holds


# --- an inner loss that is no divergence -------------------------------------------------------------


@ours_or_planted(
    symmetric_kl,
    logits_for_log_probabilities=lambda p, q: kl_div(p, q.softmax(-1), reduction="batchmean"),
    log_probabilities_for_probabilities=lambda p, q: kl_div(
        p.log_softmax(-1), q.log_softmax(-1), reduction="batchmean"
    ),
    negative_cross_entropy=lambda p, q: (q.softmax(-1) * p.log_softmax(-1)).sum(-1).mean(),
)
def test_divergence_is_never_negative_and_zero_at_equality(implementation: Any, holds: bool) -> None:
    logits = torch.randn(50, 1, 3) + 2
    values = [implementation(p, q).item() for p, q in zip(logits, logits.flip(0), strict=True)]
    is_zero = all(implementation(p, p).item() == 0 for p in logits)
    assert (min(values) >= 0 and is_zero) is holds


# --- the teacher by reference ------------------------------------------------------------------------


class ByReference(BregmanProximalPoint):
    def __init__(self, model: Any, **settings: Any) -> None:
        super().__init__(model, **settings)
        for name, current in model.named_parameters():
            self._anchor._weights[name] = current.data


class WithoutBregman(BregmanProximalPoint):
    def penalty(self, inputs: Any, logits: torch.Tensor, replay: Any = None) -> torch.Tensor:
        return 0 * logits.sum()


class EvaluatedAtItself(BregmanProximalPoint):
    """One inner step without momentum, which ours refuses: the anchor is what the model is."""

    def penalty(self, inputs: Any, logits: torch.Tensor, replay: Any = None) -> torch.Tensor:
        self._anchor.load_state_dict(self.model.state_dict())
        return super().penalty(inputs, logits, replay)


@ours_or_planted(
    BregmanProximalPoint,
    teacher_by_reference=ByReference,
    no_bregman_term=WithoutBregman,
    one_inner_step=EvaluatedAtItself,
)
def test_a_model_that_has_moved_is_pulled_back(implementation: Any, holds: bool) -> None:
    model, batch = tiny_classifier(), tiny_batch()
    start = model(**batch).logits.detach()
    proximal = implementation(model, num_steps=10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    proximal.update()
    before = symmetric_kl(model(**batch).logits, start).item()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        proximal.penalty(batch, model(**batch).logits).backward()
        optimizer.step()
    after = symmetric_kl(model(**batch).logits, start).item()
    assert (after < 0.999 * before) is holds


# --- mixed precision ---------------------------------------------------------------------------------


class WithoutRefusal(SmoothnessRegularizer):
    """Measures whatever the given precision leaves of δ."""

    def __call__(self, forward: Any, x: Any, clean: Any, mask: Any = None) -> torch.Tensor:
        delta = self.perturb(network, x.float(), network(x.float())).to(x.dtype)
        return symmetric_kl(forward(x + delta).float(), clean.float())


@ours_or_planted(SmoothnessRegularizer, delta_in_half_precision=WithoutRefusal)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_r_s_is_measured_well_or_not_at_all(implementation: Any, holds: bool, dtype: torch.dtype) -> None:
    x = torch.randn(4, 12, 8)
    exact = SmoothnessRegularizer()(network, x.double(), network(x.double())).item()
    try:
        value = implementation()(network, x.to(dtype), network(x.to(dtype))).item()
    except CourseError:
        value = exact
    assert (value == pytest.approx(exact, rel=0.5)) is holds


@ours_or_planted(True, autocast_hidden_in_the_model=False)
def test_autocast_inside_the_model_does_not_pass_unseen(implementation: bool, holds: bool) -> None:
    """`implementation` says whether our forward is used, or the model's own pass is hooked plainly."""
    model, batch = tiny_classifier(), tiny_batch()
    embeddings = word_embeddings(model, batch["input_ids"]).detach()
    exact = SmoothnessRegularizer()(
        forward_from_embeddings(model, batch), embeddings, model(**batch).logits
    ).item()
    model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)
    plain = lambda x: model(inputs_embeds=x, attention_mask=batch["attention_mask"]).logits.float()
    forward = forward_from_embeddings(model, batch) if implementation else plain
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = SmoothnessRegularizer()(forward, embeddings, plain(embeddings)).item()
    except CourseError:
        value = exact
    assert (value == pytest.approx(exact, rel=0.5)) is holds
