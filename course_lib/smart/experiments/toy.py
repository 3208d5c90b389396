"""A decision in two dimensions, learned with and without R_s: small enough to draw."""

from __future__ import annotations

from functools import partial

import torch
from sklearn.datasets import make_moons

from course_lib.checks.arrays import check_labels, shaped
from course_lib.checks.calls import a_model, border
from course_lib.checks.types import Count, NotNegative, Positive, Seed
from course_lib.checks.values import check_count
from course_lib.finetuning.optimizing import descend
from course_lib.smart.divergence import symmetric_kl
from course_lib.smart.smoothness import SmoothnessRegularizer, normalise, project

POINTS, LABELS, POINT = shaped(None, 2), shaped(None, whole=True), shaped(1, 1, 2)


@border(num_points=partial(check_count, least=2))
def two_moons(
    num_points: int = 40, *, noise: NotNegative = 0.25, seed: Seed = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw points of two classes that lie in interleaved half circles.

    Args:
        num_points: how many, of both classes together.
        noise: standard deviation around the half circles.
        seed: seed of the draw.

    Returns:
        Points, float tensor [n, 2], and labels, int tensor [n].
    """
    points, labels = make_moons(num_points, noise=noise, random_state=seed)
    return torch.tensor(points, dtype=torch.float32), torch.tensor(labels)


@border(points=POINTS, labels=LABELS)
def train_toy(
    points: torch.Tensor,
    labels: torch.Tensor,
    *,
    regularizer: SmoothnessRegularizer | None = None,
    smoothness_weight: NotNegative = 1.0,
    num_steps: Count = 400,
    seed: Seed = 0,
) -> torch.nn.Module:
    """Train a network of two hidden layers on points in the plane.

    Args:
        points: float tensor [n, 2].
        labels: int tensor [n].
        regularizer: R_s with a radius that suits the plane; without it the loss stands alone.
        smoothness_weight: λ_s.
        num_steps: steps of Adam on all points.
        seed: seed of the network and of the perturbations.

    Returns:
        A network from points [n, 1, 2] to logits [n, 2]; a point is a "sentence" of one "word".

    Raises:
        CourseError: as many labels as points are needed; a loss or gradient that is no longer finite.
    """
    check_labels("labels", labels, num_labels=2, num_rows=len(points))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            torch.nn.Flatten(),
            torch.nn.Linear(2, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, 2),
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        inputs = points.unsqueeze(1)

        def compute_gradient(step: int) -> float:
            logits = network(inputs)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            if regularizer is not None:
                loss = loss + smoothness_weight * regularizer(network, inputs, logits)
            loss.backward()
            return loss.item()

        list(descend(optimizer, compute_gradient, range(1, num_steps + 1)))
    return network


@border(network=a_model, points=POINTS, labels=LABELS)
def score(network: torch.nn.Module, points: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Compute accuracy and loss in nats of a network on points [n, 2].

    Args:
        network: maps points [n, 1, 2] to logits [n, 2].
        points: float tensor [n, 2].
        labels: int tensor [n].

    Returns:
        The share of points that are right, and the mean cross-entropy.
    """
    check_labels("labels", labels, num_labels=2, num_rows=len(points))
    with torch.no_grad():
        logits = network(points.unsqueeze(1))
    accuracy = (logits.argmax(dim=1) == labels).double().mean().item()
    return accuracy, torch.nn.functional.cross_entropy(logits, labels).item()


@border(network=a_model, point=POINT, delta=shaped(2))
def change_at(network: torch.nn.Module, point: torch.Tensor, delta: torch.Tensor) -> float:
    """Compute ℓ_s(f(x + δ), f(x)) for one point [1, 1, 2] and one perturbation [2].

    Args:
        network: maps points [n, 1, 2] to logits [n, C].
        point: x, float tensor [1, 1, 2].
        delta: δ, float tensor [2].

    Returns:
        The divergence in nats.
    """
    with torch.no_grad():
        return symmetric_kl(network(point + delta), network(point)).item()


@border(network=a_model, point=POINT, offsets=shaped(None))
def change_around(network: torch.nn.Module, point: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Compute ℓ_s(f(x + δ), f(x)) for perturbations on a grid.

    Args:
        network: maps points [n, 1, 2] to logits [n, C].
        point: x, float tensor [1, 1, 2].
        offsets: the values of δ along each axis, float tensor [m].

    Returns:
        Float tensor [m, m]; rows are δ₂, columns δ₁.
    """
    first, second = torch.meshgrid(offsets, offsets, indexing="xy")
    deltas = torch.stack([first, second], dim=-1).reshape(-1, 1, 2)
    with torch.no_grad():
        moved = network(point + deltas)
        return symmetric_kl(moved, network(point).expand_as(moved), "none").reshape(first.shape)


@border(network=a_model, point=POINT)
def ascent_path(
    network: torch.nn.Module,
    point: torch.Tensor,
    *,
    epsilon: Positive,
    step_size: Positive,
    noise_std: Positive,
    seed: Seed = 0,
) -> dict[str, torch.Tensor]:
    """Compute the stops of one ascent step: the noise, where the gradient leads, and the projection.

    Args:
        network: maps points [n, 1, 2] to logits [n, C].
        point: x, float tensor [1, 1, 2].
        epsilon: radius of the ball.
        step_size: η.
        noise_std: σ.
        seed: seed of the noise.

    Returns:
        "noise", "one step" and "projected", each a perturbation [2].
    """
    generator = torch.Generator().manual_seed(seed)
    noise = project(noise_std * torch.randn(point.shape, generator=generator), epsilon)
    start = noise.clone().requires_grad_()
    change = symmetric_kl(network(point + start), network(point).detach())
    (gradient,) = torch.autograd.grad(change, start)
    stepped = noise + step_size * normalise(gradient)
    stops = {"noise": noise, "one step": stepped, "projected": project(stepped, epsilon)}
    return {name: stop.flatten() for name, stop in stops.items()}
