"""The proximal point on a bowl: its steps, its noise, and what its anchor remembers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from course_lib.errors import CourseError
from course_lib.smart.experiments.leash import noisy_descent, proximal_point, weight_of_start

positive = st.floats(0.01, 100)


def test_a_step_minimises_loss_and_leash() -> None:
    curvatures, start, mu = np.array([1.0, 10.0]), np.array([-2.5, 1.5]), 4.0

    def leashed(point: np.ndarray) -> float:
        return 0.5 * np.sum(curvatures * point**2) + 0.5 * mu * np.sum((point - start) ** 2)

    found = minimize(leashed, start).x
    assert proximal_point(curvatures, start, mu, 1)[1] == pytest.approx(found, abs=1e-5)


@given(st.lists(positive, min_size=1, max_size=4), positive, st.integers(1, 20))
def test_it_never_steps_over_the_optimum(curvatures: list[float], mu: float, num_steps: int) -> None:
    path = proximal_point(curvatures, [1.0] * len(curvatures), mu, num_steps)
    assert path.shape == (num_steps + 1, len(curvatures))
    assert (path >= 0).all()
    assert (np.diff(path, axis=0) <= 0).all()


def test_without_noise_and_leash_it_is_gradient_descent() -> None:
    path = noisy_descent([2.0], [1.0], 0.25, 3, noise=0.0)
    assert path.ravel().tolist() == [1.0, 0.5, 0.25, 0.125]


def test_the_first_step_does_not_feel_the_leash() -> None:
    plain, leashed = (noisy_descent([2.0], [1.0], 0.1, 3, noise=0.0, proximal_weight=mu) for mu in (0.0, 5.0))
    assert plain[1] == leashed[1]
    assert leashed[3] > plain[3]  # it holds back from the second step on


@pytest.mark.parametrize("seed", range(3))
def test_the_leash_calms_a_noisy_walk(seed: int) -> None:
    walks = [
        noisy_descent(
            [1.0, 10.0], [0.0, 0.0], 0.05, 2000, noise=4.0, proximal_weight=mu, half_life=20, seed=seed
        )
        for mu in (0.0, 10.0)
    ]
    plain, leashed = (np.sqrt(np.mean(np.sum(walk**2, axis=1))) for walk in walks)
    assert leashed < 0.9 * plain


def test_the_published_anchor_after_150_updates_is_mostly_the_start() -> None:
    share = weight_of_start(150)
    assert share[-1] == pytest.approx(0.99**15 * 0.999**135)
    assert share[0] == 1
    assert weight_of_start(150, half_life=15)[[0, 15, 150]] == pytest.approx([1, 0.5, 0.5**10])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: proximal_point([1.0], [1.0], 0.0, 3), "proximal_weight must be .* above 0"),
        (lambda: proximal_point([0.0], [1.0], 1.0, 3), "curvature must be positive"),
        (lambda: proximal_point([1.0], [1.0], 1.0, 0), "num_steps must be"),
        (lambda: noisy_descent([1.0], [1.0], 0.1, 3, noise=-1.0), "noise must be .* of at least 0"),
        (lambda: noisy_descent([1.0], [1.0], 0.1, 3, noise=1.0, half_life=0), "half_life must be"),
        (lambda: weight_of_start(0), "num_updates must be"),
    ],
)
def test_bad_settings_are_refused(call, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        call()
