"""Exercises of lesson 02, Aggressive updating."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib.classroom.checking.showing import show
from course_lib.classroom.exercises.framework import Inputs, exercise

Weights = Mapping[str, np.ndarray]


def gradient_descent(
    gradient: Callable[[Any], Any], start: float | np.ndarray, learning_rate: float, num_steps: int
) -> np.ndarray:
    """Follow the negative gradient and give every point on the way.

    Args:
        gradient: gives the gradient at a point, in the point's shape.
        start: a number, or an array of shape (D,).
        learning_rate: the step is this times the gradient.
        num_steps: how many steps, at least 0.

    Returns:
        Array of shape (num_steps + 1,) or (num_steps + 1, D): the start and the point after
        each step.
    """
    points = [np.asarray(start, dtype=float)]
    for _ in range(num_steps):
        points.append(points[-1] - learning_rate * np.asarray(gradient(points[-1])))
    return np.stack(points)


def largest_stable_step(curvatures: np.ndarray) -> float:
    """Give the learning rate from which on gradient descent no longer converges on a quadratic bowl.

    Args:
        curvatures: array of shape (D,), the bowl's second derivatives, all positive.

    Returns:
        The learning rate.
    """
    return float(2 / np.max(curvatures))


def flip_share(predictions: np.ndarray) -> np.ndarray:
    """Give the share of predictions that differ from one checkpoint to the next.

    Args:
        predictions: whole numbers of shape (T, n), the predicted classes of n examples at T
            checkpoints.

    Returns:
        Array of shape (T - 1,) with shares from 0 to 1.
    """
    return np.mean(predictions[1:] != predictions[:-1], axis=1)


def relative_distance(before: Weights, after: Weights) -> float:
    """Give the distance between two sets of weights as a share of the first one's norm.

    Args:
        before: arrays by name.
        after: arrays of the same names and shapes.

    Returns:
        The root of the sum of squared differences over all entries, divided by the root of the
        sum of squares of `before`.
    """
    return float(_norm([after[name] - before[name] for name in before]) / _norm(list(before.values())))


def _norm(arrays: list[np.ndarray]) -> float:
    return float(np.sqrt(sum(np.sum(np.square(array)) for array in arrays)))


# --- 02.gradient_descent


@dataclass(frozen=True)
class _Gradient:
    """A gradient that shows its formula to the learner."""

    formula: str
    function: Callable[[Any], Any]

    def __call__(self, w: Any) -> Any:
        return self.function(w)

    def __repr__(self) -> str:
        return f"the function w -> {self.formula}"


def _bowl_gradient(curvatures: np.ndarray, optimum: np.ndarray) -> _Gradient:
    formula = f"{show(curvatures)} * (w - {show(optimum)})"
    return _Gradient(formula, lambda w: curvatures * (w - optimum))


@exercise(
    "02.gradient_descent",
    gradient_descent,
    hint="Each step is w = w - learning_rate * gradient(w), with the gradient at the newest point. "
    "Collect the start and the point after every step, then make one array of them.",
)
def _gradient_descent(rng: np.random.Generator) -> Inputs:
    """Take num_steps steps against the gradient, and return all points as one array, the start first:
    [num_steps + 1] for a start that is a number, [num_steps + 1, D] for an array [D]."""
    parabola = _Gradient("2 * w", lambda w: 2 * w)
    bowl = _bowl_gradient(np.array([1.0, 10.0]), np.array([0.0, 0.0]))
    drawn = _bowl_gradient(np.round(rng.uniform(0.5, 3, 3), 1), np.round(rng.normal(0, 1, 3), 1))
    two_valleys = _Gradient("4 * w**3 - 2 * w", lambda w: 4 * w**3 - 2 * w)
    return [
        (parabola, 1.0, 0.1, 3),
        (parabola, -2.0, 1.1, 4),  # steps over the optimum, further each time
        (bowl, np.array([3.0, 1.0]), 0.15, 10),
        (drawn, np.round(rng.normal(0, 2, 3), 1), 0.2, 5),
        (two_valleys, 0.5, 0.05, 6),
        (parabola, 1.5, 0.1, 0),  # no step: the start alone
    ]


@_gradient_descent.mistakes.add
def _ascent(gradient, start, learning_rate, num_steps):
    """The steps go up the slope. Subtract the gradient, do not add it."""
    return gradient_descent(gradient, start, -learning_rate, num_steps)


@_gradient_descent.mistakes.add
def _start_left_out(**case):
    """The start is missing. Put it first, so that there are num_steps + 1 points."""
    return gradient_descent(**case)[1:]


@_gradient_descent.mistakes.add
def _one_gradient_for_all_steps(gradient, start, learning_rate, num_steps):
    """Every step uses the gradient at the start. Compute it anew at each point you reach."""
    return gradient_descent(lambda w: gradient(start), start, learning_rate, num_steps)


@_gradient_descent.mistakes.add
def _one_step_too_few(**case):
    """The last point is missing. num_steps steps give num_steps + 1 points."""
    return gradient_descent(**case)[:-1]


@_gradient_descent.mistakes.add
def _one_step_too_many(gradient, start, learning_rate, num_steps):
    """There is one step too many. num_steps steps give num_steps + 1 points, the start included."""
    return gradient_descent(gradient, start, learning_rate, num_steps + 1)


@_gradient_descent.mistakes.add
def _last_point_only(**case):
    """This is the last point only. Return all points on the way, from the start on."""
    return gradient_descent(**case)[-1]


@_gradient_descent.mistakes.add
def _learning_rate_left_out(gradient, start, learning_rate, num_steps):
    """The steps are whole gradients. Multiply the gradient by the learning rate."""
    return gradient_descent(gradient, start, 1.0, num_steps)


# --- 02.largest_stable_step


@exercise(
    "02.largest_stable_step",
    largest_stable_step,
    hint="Along a direction of curvature h, a step multiplies the distance from the optimum by "
    "1 - learning_rate * h. When does this leave the range from -1 to 1, and in which direction first?",
)
def _largest_stable_step(rng: np.random.Generator) -> Inputs:
    """Return the learning rate at which gradient descent on a quadratic bowl stops converging: one number
    for all its curvatures."""
    return [
        (np.array([1.0, 10.0]),),
        (np.array([4.0]),),
        (np.array([3.0, 3.0, 3.0]),),
        (np.array([50.0, 0.1, 2.0]),),
        (np.round(rng.lognormal(0, 1.5, 5) + 0.01, 2),),
    ]


@_largest_stable_step.mistakes.add
def _fastest_step(curvatures):
    """This step reaches the optimum of the steepest direction at once. A larger one still converges: how far
    may it overshoot?"""
    return 1 / np.max(curvatures)


@_largest_stable_step.mistakes.add
def _flattest_direction(curvatures):
    """This is the limit of the flattest direction. The steepest one diverges long before."""
    return 2 / np.min(curvatures)


@_largest_stable_step.mistakes.add
def _mean_curvature(curvatures):
    """A mean over the directions does not help: one direction that diverges is enough."""
    return 2 / np.mean(curvatures)


@_largest_stable_step.mistakes.add
def _inverted(curvatures):
    """The fraction stands on its head. The steeper the bowl, the smaller the step must be."""
    return np.max(curvatures) / 2


# --- 02.flip_share


@exercise(
    "02.flip_share",
    flip_share,
    hint="Compare each row with the row before it. T rows give T - 1 comparisons; "
    "of each, take the mean over the n predictions.",
)
def _flip_share(rng: np.random.Generator) -> Inputs:
    """For each step between checkpoints, return the share of predictions that differ from the step before."""
    return [
        (np.array([[0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 1]]),),
        (rng.integers(0, 3, (6, 10)),),
        (rng.integers(0, 2, (2, 7)),),
        (np.ones((4, 5), dtype=int),),  # nothing flips
        (np.array([[2, 0, 1]]),),  # one checkpoint: no step
    ]


@_flip_share.mistakes.add
def _against_the_first_checkpoint(predictions):
    """Every checkpoint is compared with the first. Compare it with the one just before."""
    return np.mean(predictions[1:] != predictions[0], axis=1)


@_flip_share.mistakes.add
def _counts(predictions):
    """These are counts. Divide by the number of predictions to get shares."""
    return np.sum(predictions[1:] != predictions[:-1], axis=1)


@_flip_share.mistakes.add
def _mean_over_everything(predictions):
    """This is one mean over all steps. Keep one share for each step: take the mean over axis 1 only."""
    return np.mean(predictions[1:] != predictions[:-1])


@_flip_share.mistakes.add
def _share_that_stayed(predictions):
    """This is the share that stayed the same. Count the predictions that differ."""
    return np.mean(predictions[1:] == predictions[:-1], axis=1)


@_flip_share.mistakes.add
def _mean_over_the_steps(predictions):
    """The mean runs over the checkpoints and leaves one number for each prediction. Take it over axis 1, the
    predictions."""
    return np.mean(predictions[1:] != predictions[:-1], axis=0)


# --- 02.relative_distance


@exercise(
    "02.relative_distance",
    relative_distance,
    hint="Think of all arrays as one long vector: the root of the sum of all squared differences, "
    "divided by the root of the sum of all squares of before.",
)
def _relative_distance(rng: np.random.Generator) -> Inputs:
    """Return how far all weights together have moved, divided by the norm of the weights before."""
    names = {"embedding": (4, 3), "classifier": (2, 3), "bias": (2,), "scale": ()}
    before = {name: np.asarray(np.round(rng.normal(0, 1, shape), 2)) for name, shape in names.items()}
    after = {name: np.asarray(np.round(w + rng.normal(0, 0.3, w.shape), 2)) for name, w in before.items()}
    query, key = np.array([1.0, 2.0]), np.array([-4.0, 4.0])
    return [
        ({"weight": np.array([3.0, 4.0])}, {"weight": np.array([3.0, 5.0])}),
        (
            {"weight": np.array([3.0, 4.0]), "bias": np.array([12.0])},
            {"weight": np.array([3.0, 7.0]), "bias": np.array([16.0])},
        ),
        (before, after),
        (before, before),  # nothing moved
        ({"query": query, "key": key}, {"key": key, "query": query + 0.5}),  # another order
    ]


def _norms(before: Weights, after: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Give the norm of each array's change, and of each array."""
    changes = np.array([_norm([after[name] - before[name]]) for name in before])
    return changes, np.array([_norm([before[name]]) for name in before])


@_relative_distance.mistakes.add
def _norms_added(before, after):
    """The norms of the arrays are added up. Add up the squares over all arrays, then take the root once."""
    return np.divide(*(norms.sum() for norms in _norms(before, after)))


@_relative_distance.mistakes.add
def _mean_of_ratios(before, after):
    """This is the mean of one ratio for each array; a small bias counts there as much as a large matrix. Take
    one ratio over all entries."""
    return np.mean(np.divide(*_norms(before, after)))


@_relative_distance.mistakes.add
def _sum_of_ratios(before, after):
    """This is a sum of one ratio for each array. Take one ratio over all entries."""
    return np.sum(np.divide(*_norms(before, after)))


@_relative_distance.mistakes.add
def _not_divided(before, after):
    """This is the distance itself. Divide it by the norm of before, so that models of any size compare."""
    return _norm([after[name] - before[name] for name in before])


@_relative_distance.mistakes.add
def _root_forgotten(before, after):
    """The root is missing: this is the ratio of the sums of squares."""
    return relative_distance(before, after) ** 2


@_relative_distance.mistakes.add
def _divided_by_after(before, after):
    """The distance is divided by the norm of after. Divide by the norm of before, where you started."""
    return relative_distance(after, before)


@_relative_distance.mistakes.add
def _paired_by_order_distance(before, after):
    """The arrays are paired by their order. Pair them by name: after[name] with before[name]."""
    changes = [b - a for b, a in zip(before.values(), after.values(), strict=True)]
    return _norm(changes) / _norm(list(before.values()))
