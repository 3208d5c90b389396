"""The proximal point on a quadratic bowl, where every step can be drawn and solved exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from course_lib.checks.arrays import check_numbers
from course_lib.checks.calls import border
from course_lib.checks.types import Count, NotNegative, OpenShare, Positive, Seed, Share
from course_lib.errors import CourseError
from course_lib.smart.proximal import beta_from_half_life


@border(curvatures=check_numbers, start=check_numbers)
def proximal_point(
    curvatures: Sequence[float], start: Sequence[float], proximal_weight: Positive, num_steps: Count
) -> np.ndarray:
    """Follow the proximal point method on the bowl F(θ) = ½ Σ c θ², each step solved exactly.

    Args:
        curvatures: second derivatives c along each axis [D], positive.
        start: θ_0 [D].
        proximal_weight: weight of the leash ½ μ ‖θ - θ_t‖², positive.
        num_steps: how many steps.

    Returns:
        The points visited, the start included, float array [num_steps + 1, D].

    Raises:
        CourseError: curvatures or μ that are not positive, or fewer than one step.

    Source: Rockafellar, 1976, "Monotone Operators and the Proximal Point Algorithm"; with D_Breg in place
    of the squared distance Jiang et al. 2020, equation (3).

    Example:
        >>> proximal_point([1.0], [1.0], proximal_weight=1.0, num_steps=2).ravel().tolist()
        [1.0, 0.5, 0.25]
    """
    c, theta = _bowl(curvatures, start)
    factors = proximal_weight / (c + proximal_weight)
    return theta * factors ** np.arange(num_steps + 1)[:, None]


@border(curvatures=check_numbers, start=check_numbers)
def noisy_descent(
    curvatures: Sequence[float],
    start: Sequence[float],
    learning_rate: Positive,
    num_steps: Count,
    *,
    noise: NotNegative,
    proximal_weight: NotNegative = 0.0,
    half_life: Positive = 10.0,
    seed: Seed = 0,
) -> np.ndarray:
    """Descend the bowl with noisy gradients, with or without a leash to a momentum anchor.

    Args:
        curvatures: second derivatives c along each axis [D], positive.
        start: θ_0 [D].
        learning_rate: step size.
        num_steps: how many steps.
        noise: standard deviation of the noise of each gradient entry, as mini-batches make it.
        proximal_weight: weight of the leash ½ μ ‖θ - θ̃‖²; 0 leaves it out.
        half_life: half-life of the anchor θ̃, in steps.
        seed: seed of the noise.

    Returns:
        The points visited, the start included, float array [num_steps + 1, D].

    Raises:
        CourseError: curvatures that are not positive, μ or noise negative, or fewer than one step.
    """
    c, theta = _bowl(curvatures, start)
    beta = beta_from_half_life(half_life)
    rng = np.random.default_rng(seed)
    points = [theta]
    anchor = points[0]
    for _ in range(num_steps):
        gradient = c * points[-1] + noise * rng.normal(size=len(c)) + proximal_weight * (points[-1] - anchor)
        points.append(points[-1] - learning_rate * gradient)
        anchor = (1 - beta) * points[-1] + beta * anchor
    return np.stack(points)


@border()
def weight_of_start(
    num_updates: Count,
    *,
    beta: OpenShare = 0.99,
    late_beta: OpenShare = 0.999,
    late_beta_start: Share = 0.1,
    half_life: Positive | None = None,
) -> np.ndarray:
    """Compute how much of the anchor is still the untrained start, over a run.

    Args:
        num_updates: updates of the whole run.
        beta: β of the first updates; the defaults are the published values.
        late_beta: β of the later updates.
        late_beta_start: share of the updates after which `late_beta` holds.
        half_life: instead of both β: updates after which an old weight counts half.

    Returns:
        Shares from 1 down, float array [num_updates + 1].

    Raises:
        CourseError: fewer than one update.

    Example:
        >>> weight_of_start(150)[-1].round(3).item()
        0.751
    """
    if half_life is not None:
        beta = late_beta = beta_from_half_life(half_life)
    is_late = np.arange(num_updates) / num_updates >= late_beta_start
    return np.concatenate([[1.0], np.cumprod(np.where(is_late, late_beta, beta))])


def _bowl(curvatures: Sequence[float], start: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return curvatures and start as arrays of one length."""
    c, theta = np.asarray(curvatures), np.asarray(start)
    if not c.min() > 0 or len(c) != len(theta):
        raise CourseError(
            "Every curvature must be positive, and the start as long as they are.",
            given=(c.tolist(), theta.tolist()),
        )
    return c, theta
