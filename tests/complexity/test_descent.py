"""Gradient descent converges below the largest stable step and moves away above it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.complexity import bowl, gradient_descent, largest_stable_step
from course_lib.errors import CourseError

curvatures = st.lists(st.floats(0.1, 10), min_size=1, max_size=3)


def distances(curvatures: list[float], learning_rate: float, num_steps: int = 400) -> np.ndarray:
    path = gradient_descent(bowl(curvatures)[1], [1.0] * len(curvatures), learning_rate, num_steps)
    return np.abs(path[:, np.argmax(curvatures)])


@given(curvatures, st.floats(0.01, 0.99))
def test_below_the_largest_stable_step_every_step_comes_nearer(curvatures: list[float], share: float) -> None:
    path = gradient_descent(
        bowl(curvatures)[1], [1.0] * len(curvatures), share * largest_stable_step(curvatures), 50
    )
    lengths = np.linalg.norm(path, axis=1)
    assert (lengths[1:] < lengths[:-1]).all() or lengths[-1] < 1e-12


@given(curvatures, st.floats(1.01, 2.0))
def test_above_it_the_steepest_axis_runs_away(curvatures: list[float], share: float) -> None:
    steepest = distances(curvatures, share * largest_stable_step(curvatures), 100)
    assert (steepest[1:] > steepest[:-1]).all()
    assert steepest[-1] > 2


@given(st.floats(0.1, 10))
def test_at_it_the_point_jumps_to_and_fro(curvature: float) -> None:
    path = gradient_descent(bowl([curvature])[1], 1.0, largest_stable_step([curvature]), 10).ravel()
    np.testing.assert_allclose(path, [1, -1] * 5 + [1], rtol=1e-9)


def test_half_the_largest_stable_step_is_there_at_once() -> None:
    assert gradient_descent(bowl([4.0])[1], 3.0, 0.25, 1).ravel().tolist() == [3.0, 0.0]


@given(curvatures, st.lists(st.floats(-5, 5), min_size=3, max_size=3))
def test_the_bowls_gradient_is_its_slope(curvatures: list[float], place: list[float]) -> None:
    value, gradient = bowl(curvatures)
    point = np.array(place[: len(curvatures)])
    h = 1e-5
    slopes = [(value(point + h * axis) - value(point - h * axis)) / (2 * h) for axis in np.eye(len(point))]
    np.testing.assert_allclose(gradient(point), slopes, atol=1e-5)


def test_the_bowl_takes_many_points_at_once() -> None:
    value, gradient = bowl([1.0, 10.0])
    points = np.array([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [1.0, 1.0]]])
    assert value(points).tolist() == [[0.5, 5.0], [2.0, 5.5]]
    assert gradient(points).shape == (2, 2, 2)


def test_the_path_has_the_start_and_every_step() -> None:
    assert gradient_descent(bowl([1.0, 2.0])[1], [1.0, 1.0], 0.1, 5).shape == (6, 2)


@pytest.mark.parametrize(("rate", "steps"), [(0.0, 1), (-1.0, 1), (float("nan"), 1), (0.1, 0)])
def test_steps_that_lead_nowhere_are_refused(rate: float, steps: int) -> None:
    with pytest.raises(CourseError, match=r"(learning_rate|num_steps) must be"):
        gradient_descent(bowl([1.0])[1], 1.0, rate, steps)


@pytest.mark.parametrize("curvatures", [[], [0.0], [1.0, -1.0]])
def test_what_is_no_bowl_has_no_largest_step(curvatures: list[float]) -> None:
    with pytest.raises(CourseError, match=r"must be positive|hold at least 1"):
        largest_stable_step(curvatures)
