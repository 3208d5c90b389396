"""R_s: the perturbation stays in its ball, climbs, and costs no weight gradients."""

from __future__ import annotations

import warnings
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from course_lib.errors import CourseError
from course_lib.smart import (
    DropoutReplay,
    SmoothnessRegularizer,
    forward_from_embeddings,
    squared_difference,
    symmetric_kl,
    word_embeddings,
)
from course_lib.smart.divergence import DIVERGENCES
from course_lib.smart.smoothness import Norm, normalise, project
from tests.smart.tiny import ARCHITECTURES, few, tiny_batch, tiny_classifier

# A radius at which float64 measures R_s well and the network is far from linear.
LARGE = {"epsilon": 0.1, "step_size": 0.1, "noise_std": 0.03}
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])
both_norms = pytest.mark.parametrize("norm", get_args(Norm))


def embeddings(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Word embeddings [2, 3, 4]."""
    return torch.randn(2, 3, 4, dtype=dtype, generator=torch.Generator().manual_seed(1))


def weights(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Weights [4, 3] of `network`."""
    return torch.randn(4, 3, dtype=dtype, generator=torch.Generator().manual_seed(2))


def network(x: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """A small smooth classifier, word embeddings [B, T, 4] to logits [B, 3]."""
    return (x @ (weights(x.dtype) if weight is None else weight)).tanh().sum(dim=1)


def size(delta: torch.Tensor, norm: str) -> torch.Tensor:
    """The norm of each example's perturbation, [B]."""
    return torch.linalg.vector_norm(delta, ord=float(norm), dim=(1, 2))


def model_and_embeddings(architecture: str = "Bert", **settings: Any) -> tuple[Any, Any, torch.Tensor]:
    """A tiny model, it as a function of its word embeddings, and these."""
    model, batch = tiny_classifier(architecture, **settings), tiny_batch()
    return model, forward_from_embeddings(model, batch), word_embeddings(model, batch["input_ids"]).detach()


# --- the ball ----------------------------------------------------------------------------------------


@few
@given(
    norm=st.sampled_from(get_args(Norm)),
    num_steps=st.integers(1, 4),
    epsilon=st.floats(1e-8, 10),
    step_size=st.floats(1e-8, 10),
    noise_std=st.floats(1e-8, 10),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_perturbation_stays_in_the_ball_and_off_the_padding(
    norm, num_steps, epsilon, step_size, noise_std, dtype
) -> None:
    x = embeddings(dtype)
    regularizer = SmoothnessRegularizer(epsilon, step_size, noise_std, num_steps, norm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # next to a tiny ball float32 sees no change
        delta = regularizer.perturb(network, x, network(x), MASK)
    assert delta.shape == x.shape
    assert not delta.requires_grad
    assert (size(delta, norm) <= epsilon * (1 + 1e-6)).all()
    assert not delta[MASK == 0].any()


@both_norms
def test_projection_leaves_what_is_inside_and_moves_the_rest_to_the_surface(norm) -> None:
    delta = torch.stack([torch.full((2, 2), 0.1), torch.full((2, 2), -9.0)])
    moved = project(delta, 1.0, norm)
    torch.testing.assert_close(moved[0], delta[0])
    assert size(moved, norm)[1].item() == pytest.approx(1)
    torch.testing.assert_close(project(moved, 1.0, norm), moved)


@both_norms
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e30])
def test_a_gradient_of_any_size_is_scaled_to_one(norm, scale) -> None:
    gradient = torch.tensor([[[3.0, -4.0]], [[0.0, 0.0]]]) * scale
    unit = normalise(gradient, norm)
    assert size(unit, norm).tolist() == pytest.approx([1, 0])


@both_norms
def test_every_point_that_the_ascent_visits_lies_in_the_ball_the_noise_included(norm) -> None:
    x, visited = embeddings(), []

    def watched(point: torch.Tensor) -> torch.Tensor:
        visited.append(point.detach() - x)
        return network(point)

    SmoothnessRegularizer(0.01, 0.01, noise_std=1.0, num_steps=3, norm=norm).perturb(watched, x, network(x))
    assert len(visited) == 3
    assert all((size(delta, norm) <= 0.01 * (1 + 1e-9)).all() for delta in visited)


@both_norms
def test_examples_do_not_share_their_normalisation(norm) -> None:
    x = embeddings()
    outputs = lambda x: network(x) * torch.tensor([[1.0], [1000.0]], dtype=x.dtype)
    regularizer = SmoothnessRegularizer(noise_std=1e-9, norm=norm, divergence="squared_difference")
    assert size(regularizer.perturb(outputs, x, outputs(x)), norm).tolist() == pytest.approx([1e-5, 1e-5])


def test_a_third_of_the_initial_noise_lies_outside_the_ball_and_is_projected() -> None:
    x = torch.zeros(4, 48, 384)
    outside = (torch.randn_like(x).abs() > 1).float().mean().item()
    assert outside == pytest.approx(0.3173, abs=0.01)

    constant = lambda x: 0 * x.mean(dim=1)[:, :2]  # a gradient of zero: the noise is all there is
    with pytest.warns(UserWarning, match="does not change"):
        delta = SmoothnessRegularizer().perturb(constant, x, constant(x))
    on_the_surface = (delta.abs() >= 1e-5 * (1 - 1e-6)).float().mean().item()
    assert on_the_surface == pytest.approx(0.3173, abs=0.01)
    assert delta.abs().max().item() == pytest.approx(1e-5)


def test_at_a_step_of_100_epsilon_97_percent_of_the_coordinates_are_clipped() -> None:
    x = torch.zeros(4, 48, 384, dtype=torch.float64)
    slope = torch.randn(48, 384, dtype=torch.float64)  # the gradient, Gaussian
    linear = lambda x: (x * slope).sum(dim=(1, 2)).unsqueeze(-1)
    delta = SmoothnessRegularizer(divergence="squared_difference").perturb(linear, x, linear(x))
    clipped = delta.abs() >= 1e-5 * (1 - 1e-9)
    assert clipped.double().mean().item() == pytest.approx(0.97, abs=0.01)
    # so one step is close to ε · sign(g), up to the side of the plane that the noise fell on
    agreement = (delta.sign() * slope.sign()).mean(dim=(1, 2)).abs()
    assert (agreement > 0.95).all()


# --- the ascent --------------------------------------------------------------------------------------


@pytest.mark.parametrize("divergence", DIVERGENCES)
@both_norms
def test_ascent_finds_more_change_than_the_noise_it_starts_from(norm, divergence) -> None:
    model, _, _ = model_and_embeddings(num_labels=3)
    batch, model = tiny_batch(), model.double()
    forward = forward_from_embeddings(model, batch)
    x = word_embeddings(model, batch["input_ids"]).detach()
    with torch.no_grad():
        clean = forward(x)
        found = {steps: [] for steps in (0, 1, 3)}
        for seed in range(15):
            torch.manual_seed(seed)
            noise = project(LARGE["noise_std"] * torch.randn_like(x), LARGE["epsilon"], norm)
            found[0].append(DIVERGENCES[divergence](forward(x + noise), clean).item())
            for steps in (1, 3):
                torch.manual_seed(seed)
                regularizer = SmoothnessRegularizer(
                    **LARGE, num_steps=steps, norm=norm, divergence=divergence
                )
                found[steps].append(regularizer(forward, x, clean).item())
    mean = {steps: sum(values) / len(values) for steps, values in found.items()}
    assert mean[1] > 3 * mean[0]
    assert mean[3] > mean[1]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("num_labels", "divergence"), [(2, "symmetric_kl"), (1, "squared_difference")])
def test_r_s_is_positive_on_every_architecture_at_the_published_settings(
    architecture, num_labels, divergence
) -> None:
    model, forward, x = model_and_embeddings(architecture, num_labels=num_labels)
    value = SmoothnessRegularizer(divergence=divergence)(
        forward, x, forward(x), tiny_batch()["attention_mask"]
    )
    value.backward()
    assert 0 < value.item() < 1e-3
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@few
@given(
    seed=st.integers(0, 2**32),
    norm=st.sampled_from(get_args(Norm)),
    divergence=st.sampled_from(list(DIVERGENCES)),
)
def test_r_s_is_never_negative(seed, norm, divergence) -> None:
    torch.manual_seed(seed)
    x = torch.randn(2, 3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = SmoothnessRegularizer(norm=norm, divergence=divergence)(network, x, network(x))
    assert value >= 0


def test_r_s_is_the_mean_of_the_change_that_the_perturbation_makes() -> None:
    x, regularizer = embeddings(), SmoothnessRegularizer(**LARGE)
    torch.manual_seed(5)
    delta = regularizer.perturb(network, x, network(x))
    each = symmetric_kl(network(x + delta), network(x), "none")
    torch.manual_seed(5)
    assert regularizer(network, x, network(x)).item() == pytest.approx(each.mean().item(), rel=1e-12)


def test_the_same_seed_finds_the_same_perturbation() -> None:
    _, forward, x = model_and_embeddings()
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append(SmoothnessRegularizer().perturb(forward, x, forward(x)))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_ascent_draws_noise_only_from_the_generator_that_dropout_uses() -> None:
    model, batch = tiny_classifier().train(), tiny_batch()
    replay = DropoutReplay(torch.device("cpu"))
    clean = model(**batch).logits
    x = word_embeddings(model, batch["input_ids"])
    state = torch.get_rng_state()
    SmoothnessRegularizer(num_steps=3).perturb(forward_from_embeddings(model, batch, replay), x, clean)
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    torch.randn_like(x)
    assert torch.equal(torch.get_rng_state(), after)


# --- gradients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("divergence", "distance"), [("symmetric_kl", symmetric_kl), ("squared_difference", squared_difference)]
)
def test_gradient_of_r_s_is_that_of_finite_differences_with_the_perturbation_held(
    divergence, distance
) -> None:
    x, weight = embeddings(), weights().requires_grad_()
    forward = lambda x: network(x, weight)
    regularizer = SmoothnessRegularizer(**LARGE, divergence=divergence)

    torch.manual_seed(5)
    (ours,) = torch.autograd.grad(regularizer(forward, x, forward(x), MASK), weight)
    torch.manual_seed(5)
    delta = regularizer.perturb(forward, x, forward(x), MASK)
    held = lambda weight: distance(network(x + delta, weight), network(x, weight))

    assert torch.autograd.gradcheck(held, weight)
    torch.testing.assert_close(ours, torch.autograd.grad(held(weight), weight)[0])


def test_gradient_flows_through_the_clean_and_through_the_perturbed_pass() -> None:
    x, weight = embeddings(), weights().requires_grad_()
    forward = lambda x: network(x, weight)
    gradients = []
    for clean in (forward(x), forward(x).detach()):
        torch.manual_seed(5)
        value = SmoothnessRegularizer(**LARGE)(forward, x, clean)
        gradients.append(torch.autograd.grad(value, weight)[0])
    assert not torch.allclose(*gradients, rtol=0.1)


def test_gradient_of_r_s_reaches_the_embedding_table_through_the_perturbed_pass() -> None:
    model, batch = tiny_classifier(), tiny_batch()
    forward, x = forward_from_embeddings(model, batch), word_embeddings(model, batch["input_ids"])
    # the clean pass detached: what arrives came through the perturbed one
    SmoothnessRegularizer(**LARGE)(forward, x, forward(x).detach()).backward()
    assert model.get_input_embeddings().weight.grad.abs().max() > 0


class Products(TorchDispatchMode):
    """Keeps the shapes of the matrix products that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.mm.default:
            self.shapes.add(tuple(result.shape))
        return result


def test_ascent_computes_and_keeps_no_weight_gradient() -> None:
    model, forward, x = model_and_embeddings()
    clean = forward(x)
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = None if number % 2 else torch.ones_like(parameter)
    feed_forward = {(37, 16), (16, 37)}  # shapes of weights, and of no activation

    with Products() as during_ascent:
        SmoothnessRegularizer().perturb(forward, x, clean)
    assert during_ascent.shapes
    assert not during_ascent.shapes & feed_forward
    for number, parameter in enumerate(model.parameters()):
        assert parameter.grad is None if number % 2 else parameter.grad.eq(1).all()

    with Products() as during_training:
        clean.sum().backward()
    assert during_training.shapes & feed_forward == feed_forward


def test_ascent_leaves_the_graph_of_the_clean_pass_to_the_backward_pass() -> None:
    model, forward, x = model_and_embeddings()
    clean = forward(x)
    (clean.sum() + SmoothnessRegularizer()(forward, x, clean)).backward()
    assert model.classifier.weight.grad.abs().max() > 0


# --- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["epsilon", "step_size", "noise_std"])
@pytest.mark.parametrize("value", [0, -1e-5, float("nan"), float("inf"), "1e-5", None])
def test_settings_that_are_not_positive_numbers_are_refused(name, value) -> None:
    if value is None and name != "epsilon":
        SmoothnessRegularizer(**{name: value})  # follows ε
        return
    with pytest.raises(CourseError, match=f"{name} must be a finite number above 0"):
        SmoothnessRegularizer(**{name: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 0}, "num_steps must be a whole number from 1"),
        ({"num_steps": 1.5}, "num_steps must be a whole number from 1"),
        ({"norm": "1"}, "norm"),
        ({"divergence": "kl"}, "symmetric_kl"),
    ],
)
def test_other_settings_out_of_range_are_refused(settings, message) -> None:
    with pytest.raises(CourseError, match=message):
        SmoothnessRegularizer(**settings)


LEAF = torch.ones(2, 3, requires_grad=True)


@pytest.mark.parametrize(
    "ignorant",
    [
        lambda x: torch.ones(2, 3),
        lambda x: LEAF * 1,
        lambda x: x.detach().sum(dim=1)[:, :3] * 0,
        lambda x: x.sum(dim=1)[:, :3] * 0,
    ],
    ids=["constant", "weights only", "detached", "times zero"],
)
def test_a_forward_that_ignores_its_input_gets_a_warning_and_r_s_of_0(ignorant) -> None:
    x = embeddings(torch.float32)
    with pytest.warns(UserWarning, match="Does `forward` use its argument"):
        value = SmoothnessRegularizer(num_steps=2)(ignorant, x, ignorant(x), MASK)
    assert value.item() == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused_in_the_clean_and_the_perturbed_pass(bad) -> None:
    x = embeddings()
    with pytest.raises(CourseError, match="logits are not finite"):
        SmoothnessRegularizer()(network, x, torch.full((2, 3), bad, dtype=x.dtype))

    passes = iter([1.0, bad])  # the ascent goes well
    with pytest.raises(CourseError, match="perturbed logits are not finite"):
        SmoothnessRegularizer()(lambda x: network(x) * next(passes), x, network(x))


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    x = embeddings()
    steep = lambda x: (network(x) - network(x).detach()).abs().sqrt()
    with pytest.raises(CourseError, match="gradient"):
        SmoothnessRegularizer().perturb(steep, x, network(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_in_embeddings_logits_and_autocast(dtype) -> None:
    x = embeddings(torch.float32)
    regularizer = SmoothnessRegularizer()
    with pytest.raises(CourseError, match="vanishes"):
        regularizer(network, x.to(dtype), network(x))
    with pytest.raises(CourseError, match="vanishes"):
        regularizer(network, x, network(x).to(dtype))
    with torch.autocast("cpu", dtype=dtype), pytest.raises(CourseError, match="autocast"):
        regularizer(network, x, network(x))
    assert regularizer(network, x, network(x)) > 0


def test_clean_logits_of_another_shape_are_refused() -> None:
    x = embeddings()
    outputs = lambda x: network(x)[:, :1]
    regularizer = SmoothnessRegularizer(divergence="squared_difference")
    with pytest.raises(CourseError, match="one shape"):
        regularizer(outputs, x, outputs(x).squeeze(-1))


@pytest.mark.parametrize("mask", [torch.ones(2, 1), torch.ones(2, 4), torch.ones(3)])
def test_an_attention_mask_of_another_shape_is_refused(mask) -> None:
    with pytest.raises(CourseError, match="attention mask"):
        SmoothnessRegularizer()(network, embeddings(), network(embeddings()), mask)


def test_token_ids_in_place_of_embeddings_are_refused() -> None:
    with pytest.raises(CourseError, match="int64"):
        SmoothnessRegularizer()(network, torch.ones(2, 3, 4, dtype=torch.long), network(embeddings()))


def test_inference_mode_is_refused_and_no_grad_is_not() -> None:
    x = embeddings()
    with torch.no_grad():
        assert SmoothnessRegularizer(**LARGE)(network, x, network(x)) > 0
    with torch.inference_mode(), pytest.raises(CourseError, match="no_grad"):
        SmoothnessRegularizer(**LARGE)(network, x, network(x))


def test_step_size_and_noise_follow_the_radius_unless_they_are_given() -> None:
    x = embeddings()
    found = []
    for settings in ({}, {"step_size": 5.0, "noise_std": 0.05}, {"step_size": 0.01, "noise_std": 0.05}):
        torch.manual_seed(0)
        found.append(SmoothnessRegularizer(epsilon=0.05, **settings)(network, x, network(x)).item())
    assert found[0] == found[1] != found[2]
