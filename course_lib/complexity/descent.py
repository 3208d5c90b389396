"""Gradient descent that steps over the optimum, in one and two dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from course_lib.errors import CourseError

if TYPE_CHECKING:
    import numpy as np


def gradient_descent(
    gradient: Callable[[np.ndarray], np.ndarray],
    start: float | Sequence[float],
    learning_rate: float,
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
        CourseError: learning rate not positive, or fewer than one step.

    Example:
        >>> gradient_descent(lambda x: 2 * x, 1.0, 0.25, 2).ravel().tolist()
        [1.0, 0.5, 0.25]
    """
    import numpy as np

    if not learning_rate > 0 or num_steps < 1:
        raise CourseError(
            "Gradient descent needs a positive learning rate and at least one step.",
            given=(learning_rate, num_steps),
        )
    points = [np.atleast_1d(np.asarray(start, dtype=float))]
    for _ in range(num_steps):
        points.append(points[-1] - learning_rate * np.asarray(gradient(points[-1])))
    return np.stack(points)


def bowl(curvatures: Sequence[float]) -> tuple[Callable, Callable]:
    """Give a quadratic bowl with its minimum at 0, and its gradient.

    Args:
        curvatures: second derivative along each axis [D].

    Returns:
        f(x) = ½ Σ c_d x_d² for points [..., D], and its gradient.
    """
    import numpy as np

    c = np.asarray(curvatures, dtype=float)
    return (lambda x: 0.5 * np.sum(c * np.asarray(x) ** 2, axis=-1)), (lambda x: c * np.asarray(x))


def largest_stable_step(curvatures: Sequence[float]) -> float:
    """Give the learning rate above which gradient descent on a bowl moves away from the minimum.

    Each step multiplies the distance along axis d by 1 - η c_d. It shrinks only while η < 2 / c_d, so
    the steepest axis decides.

    Args:
        curvatures: second derivative along each axis, positive.

    Raises:
        CourseError: if one is not positive.

    Example:
        >>> largest_stable_step([1.0, 10.0])
        0.2
    """
    if len(curvatures) == 0 or not min(curvatures) > 0:
        raise CourseError("Every curvature must be positive.", given=list(curvatures))
    return 2 / max(curvatures)
