"""A decision in two dimensions, learned with and without R_s: small enough to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_lib.errors import CourseError
from course_lib.smart.smoothness import SmoothnessRegularizer

if TYPE_CHECKING:
    import torch


def two_moons(
    num_points: int = 40, *, noise: float = 0.25, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw points of two classes that lie in interleaved half circles.

    Args:
        num_points: how many, of both classes together.
        noise: standard deviation around the half circles.
        seed: seed of the draw.

    Returns:
        Points, float tensor [n, 2], and labels, int tensor [n].
    """
    import torch
    from sklearn.datasets import make_moons

    points, labels = make_moons(num_points, noise=noise, random_state=seed)
    return torch.tensor(points, dtype=torch.float32), torch.tensor(labels)


def train_toy(
    points: torch.Tensor,
    labels: torch.Tensor,
    *,
    regularizer: SmoothnessRegularizer | None = None,
    smoothness_weight: float = 1.0,
    num_steps: int = 400,
    seed: int = 0,
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
        CourseError: as many labels as points are needed.
    """
    import torch

    if len(points) != len(labels):
        raise CourseError("Every point needs a label.", given=(len(points), len(labels)))
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
        for _ in range(num_steps):
            logits = network(inputs)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            if regularizer is not None:
                loss = loss + smoothness_weight * regularizer(network, inputs, logits)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network
