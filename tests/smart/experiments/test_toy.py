"""The toy of lesson 03 shows what the lesson says it shows."""

from __future__ import annotations

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.smart import SmoothnessRegularizer
from course_lib.smart.experiments.toy import (
    ascent_path,
    change_around,
    change_at,
    score,
    train_toy,
    two_moons,
)

REGULARIZER = SmoothnessRegularizer(epsilon=0.1, step_size=0.1, noise_std=0.05)


@pytest.fixture(scope="module")
def trained() -> dict[str, torch.nn.Module]:
    points, labels = two_moons(40)
    return {
        "plain": train_toy(points, labels),
        "smooth": train_toy(points, labels, regularizer=REGULARIZER),
    }


def test_the_term_takes_overconfidence_away(trained: dict[str, torch.nn.Module]) -> None:
    """Measured: loss 1.34 without the term and 0.27 with it, at an accuracy of .89."""
    new = two_moons(1000, seed=1)
    plain, smooth = (score(trained[name], *new) for name in ("plain", "smooth"))
    assert smooth[1] < 0.5 * plain[1]
    assert abs(smooth[0] - plain[0]) < 0.05


def test_the_ascent_goes_up_and_stays_in_the_ball(trained: dict[str, torch.nn.Module]) -> None:
    point = two_moons(40)[0][7].view(1, 1, 2)
    path = ascent_path(trained["plain"], point, epsilon=0.3, step_size=0.4, noise_std=0.15, seed=3)
    change = {name: change_at(trained["plain"], point, stop) for name, stop in path.items()}
    assert path["projected"].abs().max() <= 0.3 < path["one step"].abs().max()
    assert change["projected"] > change["noise"]


def test_the_map_agrees_with_its_points(trained: dict[str, torch.nn.Module]) -> None:
    point, offsets = torch.zeros(1, 1, 2), torch.tensor([-0.5, 0.0, 0.5])
    change = change_around(trained["plain"], point, offsets)
    # not always exactly 0: a product of matrices may round a row by its place in the batch
    assert change[1, 1].item() == pytest.approx(0, abs=1e-12)
    # rows are the second axis, columns the first
    expected = change_at(trained["plain"], point, torch.tensor([0.5, -0.5]))
    assert change[0, 2].item() == pytest.approx(expected, rel=1e-5)


def test_one_seed_gives_the_same_network_twice() -> None:
    points, labels = two_moons(40)
    runs = [train_toy(points, labels, regularizer=REGULARIZER, num_steps=5) for _ in range(2)]
    assert all(map(torch.equal, *(network.state_dict().values() for network in runs)))


def test_every_point_needs_a_label() -> None:
    points, labels = two_moons(40)
    with pytest.raises(CourseError, match="label"):
        train_toy(points, labels[:-1])
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2))
    with pytest.raises(CourseError, match="label"):
        score(network, points, labels[:1])
