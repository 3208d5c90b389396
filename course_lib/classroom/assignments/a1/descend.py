"""Gradient descent that reports where it oversteps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import Case, Mistake, Variant
from course_lib.classroom.assignments.building import Changes

TITLE = "Gradient descent that reports its first overstep"
MARKS = 5
HINT = "Keep every point, the start included; then look for the first step that changes a coordinate's sign."


def _descended(
    curvatures: Sequence[float],
    start: Sequence[float],
    learning_rate: float,
    rate: float,
    num_steps: int,
    *,
    move: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> dict[str, Any]:
    curvature, point = np.asarray(curvatures, dtype=float), np.asarray(start, dtype=float)
    velocity, points = np.zeros_like(point), [point]
    for step in range(num_steps):
        point, velocity = move(point, velocity, curvature, learning_rate, rate, step)
        points.append(point)
    return {"points": np.stack(points), "overshoot": _overshoot(points)}


def _overshoot(points: Sequence[np.ndarray], *, to_zero: bool = False) -> int | None:
    for step in range(1, len(points)):
        products = points[step] * points[step - 1]
        if np.any(products <= 0 if to_zero else products < 0):
            return step
    return None


def _inverse_time(
    point: Any, velocity: Any, curvature: Any, eta: float, rate: float, step: int, *, first: int = 0
) -> Any:
    return point - eta / (1 + rate * (step + first)) * curvature * point, velocity


def _exponential(
    point: Any, velocity: Any, curvature: Any, eta: float, rate: float, step: int, *, first: int = 0
) -> Any:
    return point - eta * rate ** (step + first) * curvature * point, velocity


def _heavy_ball(point: Any, velocity: Any, curvature: Any, eta: float, rate: float, step: int) -> Any:
    velocity = rate * velocity - eta * curvature * point
    return point + velocity, velocity


def _averaged(point: Any, velocity: Any, curvature: Any, eta: float, rate: float, step: int) -> Any:
    velocity = rate * velocity - (1 - rate) * eta * curvature * point
    return point + velocity, velocity


def _nesterov(point: Any, velocity: Any, curvature: Any, eta: float, rate: float, step: int) -> Any:
    velocity = rate * velocity - eta * curvature * (point + rate * velocity)
    return point + velocity, velocity


# (curvatures, start, learning rate, rate, steps), exact in floating point: steps that end at 0 and go through 0, from
# either side; an overstep of the second axis alone, of the first alone, and of several steps; a start at 0; no step.
_EXACT_DESCENTS: tuple[tuple[list[float], list[float], float, float, int], ...] = (
    ([1.0], [2.0], 1.0, 0.5, 3),
    ([1.0, 2.0], [-2.0, -1.0], 0.5, 0.5, 4),
    ([0.5, 3.0], [1.0, 1.0], 0.5, 0.5, 2),
    ([3.0, 0.5], [-1.0, -1.0], 0.5, 0.5, 2),
    ([1.0], [1.0], 2.5, 0.5, 4),
    ([1.0, 2.0], [0.0, 1.0], 0.25, 0.5, 2),
    ([2.0], [1.5], 0.25, 0.5, 0),
)


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    # (axes, the learning rate times the largest curvature, steps): below 1 nothing oversteps without momentum.
    sizes = [(1, 0.6, 3), (1, 1.7, 4), (2, 1.4, 6), (3, 2.3, 8), (2, 0.3, 12), (1, 1.2, 1)]
    exact = [
        Case(
            {
                "curvatures": np.array(curvatures),
                "start": np.array(start),
                "learning_rate": learning_rate,
                "rate": rate,
                "num_steps": num_steps,
            }
        )
        for curvatures, start, learning_rate, rate, num_steps in _EXACT_DESCENTS
    ]
    return [_descent_case(rng, *size) for size in sizes] + exact


def _descent_case(rng: np.random.Generator, num_axes: int, product: float, num_steps: int) -> Case:
    curvatures = np.round(rng.uniform(0.5, 4, num_axes), 3)
    return Case(
        {
            "curvatures": curvatures,
            "start": np.round(rng.uniform(0.5, 3, num_axes) * rng.choice([-1, 1], num_axes), 3),
            "learning_rate": round(float(product * rng.uniform(0.95, 1.05) / curvatures.max()), 5),
            "rate": round(float(rng.uniform(0.3, 0.9)), 3),
            "num_steps": num_steps,
        }
    )


_SHARED = Changes()


@_SHARED.as_argument("move")
def _plain(point, velocity, curvature, eta, rate, step):
    """This is plain gradient descent with a fixed step: `rate` has no effect on it."""
    return point - eta * curvature * point, velocity


@_SHARED.add
def _start_missing(right, **case):
    """The start belongs to the points: after T steps there are T + 1 of them."""
    result = right(**case)
    return {**result, "points": result["points"][1:]}


@_SHARED.add
def _counted_from_zero(right, **case):
    """The points are right; the step that oversteps is counted from 1, the start being 0."""
    result = right(**case)
    step = result["overshoot"]
    return {**result, "overshoot": None if step is None else step - 1}


@_SHARED.add
def _moved_away(right, **case):
    """A step can overstep the minimum and still come nearer to it. Ask whether a coordinate changes its sign."""
    result = right(**case)
    distances = np.linalg.norm(result["points"], axis=1)
    away = [step for step in range(1, len(distances)) if distances[step] > distances[step - 1]]
    return {**result, "overshoot": away[0] if away else None}


@_SHARED.add
def _zero_has_a_sign(right, **case):
    """A coordinate that is exactly 0 has no sign, so that a step to 0 or from 0 does not overstep."""
    result = right(**case)
    return {**result, "overshoot": _overshoot(result["points"], to_zero=True)}


def _descent_variant(name: str, move: Callable, rule: str, code: str, wrong: Callable, hint: str) -> Variant:
    right = partial(_descended, move=move)
    mistakes = [Mistake("rule", hint, partial(right, move=wrong)), *_SHARED.of(right)]
    return Variant(name, {"name": name, "rule": rule, "code": code}, right, mistakes)


VARIANTS = (
    _descent_variant(
        "a step size that decays with the inverse of time",
        _inverse_time,
        r"\eta_t = \frac{\eta}{1 + r\,t}, \qquad x_{t+1} = x_t - \eta_t \nabla f(x_t), \qquad t = 0, 1, \dots",
        "point = point - learning_rate / (1 + rate * step) * curvatures * point",
        partial(_inverse_time, first=1),
        "The first step has t = 0: its step size is η itself.",
    ),
    _descent_variant(
        "a step size that decays exponentially",
        _exponential,
        r"\eta_t = \eta\,r^t, \qquad x_{t+1} = x_t - \eta_t \nabla f(x_t), \qquad t = 0, 1, \dots",
        "point = point - learning_rate * rate**step * curvatures * point",
        partial(_exponential, first=1),
        "The first step has t = 0: its step size is η itself.",
    ),
    _descent_variant(
        "heavy-ball momentum",
        _heavy_ball,
        r"v_{t+1} = r\,v_t - \eta \nabla f(x_t), \qquad x_{t+1} = x_t + v_{t+1}, \qquad v_0 = 0",
        "velocity = rate * velocity - learning_rate * curvatures * point\npoint = point + velocity",
        _averaged,
        "The gradient enters with η alone, not with η (1 − r).",
    ),
    _descent_variant(
        "Nesterov momentum",
        _nesterov,
        r"v_{t+1} = r\,v_t - \eta \nabla f(x_t + r\,v_t), \qquad x_{t+1} = x_t + v_{t+1}, \qquad v_0 = 0",
        "velocity = rate * velocity - learning_rate * curvatures * (point + rate * velocity)\n"
        "point = point + velocity",
        _heavy_ball,
        "The gradient is taken at x_t. Nesterov takes it where the momentum alone would lead, at x_t + r v_t.",
    ),
)
