"""A momentum anchor whose β has a schedule."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import Case, Variant
from course_lib.classroom.assignments.building import Changes

TITLE = "A momentum anchor whose β changes"
MARKS = 3
HINT = "Write down β for each of three updates by hand. Then one update after the other, the start first."

Schedule = Callable[[float, float, float], float]
HALF_LIFE_NAME = "a half-life that grows evenly"


def _linear(first: float, last: float, share: float) -> float:
    return first + (last - first) * share


def _cosine(first: float, last: float, share: float) -> float:
    return float(last - (last - first) * (1 + np.cos(np.pi * share)) / 2)


def _half_life(first: float, last: float, share: float) -> float:
    return float(0.5 ** (1 / _linear(first, last, share)))


def _followed(
    weights: np.ndarray,
    first: float,
    last: float,
    *,
    schedule: Schedule,
    offset: int = 0,
    short: int = 0,
    newest: int = 1,
    start: float = 1,
    swapped: bool = False,
) -> dict[str, Any]:
    weights = np.asarray(weights, dtype=float)
    num_updates = len(weights) - 1
    anchors, share_left = [start * weights[0]], 1.0
    for update in range(num_updates):
        beta = schedule(first, last, (update + offset) / max(1, num_updates - short))
        beta = 1 - beta if swapped else beta
        anchors.append(beta * anchors[-1] + (1 - beta) * weights[update + newest])
        share_left *= beta
    return {"anchors": np.stack(anchors), "start_share": share_left}


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    lives = variant == HALF_LIFE_NAME
    first, last = (1.0, 3.0) if lives else (0.5, 0.9)
    drawn = [Case({"weights": np.array([[0.0], [1.0], [2.0]]), "first": first, "last": last})]
    for num_updates, dimension in ((1, 2), (5, 3), (12, 2), (30, 1)):
        first, last = rng.uniform([0.5, 4], [2, 12]) if lives else rng.uniform([0.5, 0.9], [0.8, 0.99])
        drawn.append(_follow_case(rng, num_updates, dimension, first, last))
    # A schedule that falls, one that stays, and one from an end of the range.
    borders = [(0.9, 0.4), (0.7, 0.7), (0.0, 1.0), (0.995, 0.999)]
    if lives:
        borders = [(3.0, 0.5), (2.0, 2.0), (0.1, 200.0), (100.0, 200.0)]
    return [*drawn, *(_follow_case(rng, 4, 2, *border) for border in borders)]


def _follow_case(
    rng: np.random.Generator, num_updates: int, dimension: int, first: float, last: float
) -> Case:
    steps = np.round(rng.normal(0, 0.3, (num_updates + 1, dimension)), 2)
    return Case(
        {
            "weights": np.round(1 + np.cumsum(steps, axis=0), 2),
            "first": round(float(first), 3),
            "last": round(float(last), 3),
        }
    )


_SHARED = Changes()


@_SHARED.with_arguments(offset=1)
def _counted_from_one():
    """The schedule is one update ahead: the first update has t = 0."""


@_SHARED.with_arguments(short=1)
def _one_update_too_short():
    """The schedule reaches its end at the last update. The number of updates divides, not one less."""


@_SHARED.with_arguments(swapped=True)
def _swapped():
    """The shares are swapped: β is the share of the old anchor that is kept."""


@_SHARED.with_arguments(newest=0)
def _one_update_behind():
    """The anchor follows the weights from before the update. It takes in those from after it."""


@_SHARED.with_arguments(start=0)
def _starts_at_zero():
    """The anchor starts at 0. It starts at the weights before training."""


@_SHARED.add
def _start_missing(right, weights, first, last):
    """The anchor before the first update belongs to the anchors."""
    result = right(weights, first, last)
    return {**result, "anchors": result["anchors"][1:]}


@_SHARED.add
def _share_of_the_trained(right, weights, first, last):
    """The anchors are right. The share is that of the trained weights; the start's is asked for."""
    result = right(weights, first, last)
    return {**result, "start_share": 1 - result["start_share"]}


@_SHARED.add
def _constant_first(right, **case):
    """The first value holds throughout. It changes with every update."""
    schedule = right.keywords["schedule"]
    return right(**case, schedule=lambda first, last, share: schedule(first, last, 0))


@_SHARED.add
def _constant_last(right, **case):
    """The last value holds throughout. It is only approached."""
    schedule = right.keywords["schedule"]
    return right(**case, schedule=lambda first, last, share: schedule(first, last, 1))


@_SHARED.add
def _one_β_to_the_power_of_all(right, weights, first, last):
    """The anchors are right. The share of the start is taken as if one β had held throughout."""
    num_updates = len(weights) - 1
    beta = right.keywords["schedule"](first, last, (num_updates - 1) / num_updates)
    return {**right(weights, first, last), "start_share": beta**num_updates}


def _follow_variant(name: str, schedule: Schedule, changes: Changes, /, **texts: str) -> Variant:
    right = partial(_followed, schedule=schedule)
    first, last = (1.0, 3.0) if name == HALF_LIFE_NAME else (0.5, 0.9)
    share = right(np.array([[0.0], [1.0], [2.0]]), first, last)["start_share"]
    texts |= {"name": name, "example": f"{first}, {last}", "value": f"{share:.4f}"}
    return changes.variant(name, right, **texts)


_OF_COSINE = Changes(_SHARED)


@_OF_COSINE.with_arguments(schedule=_linear)
def _straight():
    """This β grows evenly, not along a cosine."""


_OF_HALF_LIFE = Changes(_SHARED)


@_OF_HALF_LIFE.with_arguments(
    schedule=lambda first, last, share: _linear(_half_life(first, last, 0), _half_life(first, last, 1), share)
)
def _β_evenly():
    """Here β grows evenly from one half-life's to the other's. The half-life itself does."""


VARIANTS = (
    _follow_variant(
        "a β that grows evenly",
        _linear,
        _SHARED,
        rule=r"\beta_t = a + (b - a)\,\frac{t}{T}",
        code="beta = first + (last - first) * update / num_updates",
    ),
    _follow_variant(
        "a β that grows along a half cosine",
        _cosine,
        _OF_COSINE,
        rule=r"\beta_t = b - (b - a)\,\frac{1 + \cos(\pi t / T)}{2}",
        code="beta = last - (last - first) * (1 + np.cos(np.pi * update / num_updates)) / 2",
    ),
    _follow_variant(
        HALF_LIFE_NAME,
        _half_life,
        _OF_HALF_LIFE,
        rule=r"\beta_t = \left(\tfrac{1}{2}\right)^{1 / h_t}, \qquad h_t = a + (b - a)\,\frac{t}{T}",
        code="beta = 0.5 ** (1 / (first + (last - first) * update / num_updates))",
    ),
)
