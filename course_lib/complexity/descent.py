"""Gradient descent that steps over the optimum, in one and two dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from course_lib.checks.arrays import check_numbers
from course_lib.checks.calls import border
from course_lib.checks.types import Positive
from course_lib.checks.values import check_callable, check_count
from course_lib.errors import CourseError


def _a_point(name: str, value: Any) -> np.ndarray:
    """Return a point [D] from a number or D numbers."""
    return check_numbers(name, [value] if np.ndim(value) == 0 else value)


@border(gradient=check_callable, start=_a_point, num_steps=partial(check_count, most=1_000_000))
def gradient_descent(
    gradient: Callable[[np.ndarray], np.ndarray],
    start: float | Sequence[float],
    learning_rate: Positive,
    num_steps: int,
) -> np.ndarray:
    """Follow the negative gradient with steps of a fixed learning rate.

    Args:
        gradient: maps a point [D] to the gradient [D] there.
        start: the first point, a number or [D].
        learning_rate: step size, positive.
        num_steps: how many steps.

    Returns:
        The points visited, the start included, float array [num_steps + 1, D].

    Raises:
        CourseError: a start that is not finite, a learning rate that is not positive, or a number of steps
            that is not from 1 to 1,000,000.

    Example:
        >>> gradient_descent(lambda x: 2 * x, 1.0, 0.25, 2).ravel().tolist()
        [1.0, 0.5, 0.25]
    """
    points = [np.asarray(start)]
    for _ in range(num_steps):
        points.append(points[-1] - learning_rate * np.asarray(gradient(points[-1])))
    return np.stack(points)


@border(curvatures=check_numbers)
def bowl(curvatures: Sequence[float]) -> tuple[Callable, Callable]:
    """Return a quadratic bowl with its minimum at 0, and its gradient.

    Args:
        curvatures: second derivative along each axis [D].

    Returns:
        f(x) = ½ Σ c_d x_d² for points [..., D], and its gradient.

    Raises:
        CourseError: no curvatures, or one that is not finite.
    """
    c = np.asarray(curvatures)
    return (lambda x: 0.5 * np.sum(c * np.asarray(x) ** 2, axis=-1)), (lambda x: c * np.asarray(x))


@border(curvatures=check_numbers)
def largest_stable_step(curvatures: Sequence[float]) -> float:
    """Compute the learning rate above which gradient descent on a bowl moves away from the minimum.

    Each step multiplies the distance along axis d by 1 - η c_d. It shrinks only while η < 2 / c_d, so
    the steepest axis decides.

    Args:
        curvatures: second derivative along each axis, positive.

    Returns:
        2 / the largest curvature.

    Raises:
        CourseError: no curvatures, or one that is not positive.

    Example:
        >>> largest_stable_step([1.0, 10.0])
        0.2
    """
    if not min(curvatures) > 0:
        raise CourseError("Every curvature must be positive.", given=list(curvatures))
    return float(2 / max(curvatures))
