"""A generalization gap with its spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from course_lib.classroom.assignments.assignment import Case
from course_lib.classroom.assignments.building import Changes

TITLE = "A generalization gap with its interval over seeds"
MARKS = 4
HINT = "Differences first, one for each seed and size; then one summary a column, three numbers a row."


def _gaps(train: np.ndarray, heldout: np.ndarray) -> np.ndarray:
    return np.asarray(train, dtype=float) - np.asarray(heldout, dtype=float)


def _standard_errors(
    train: np.ndarray,
    heldout: np.ndarray,
    *,
    ddof: int = 1,
    axis: int = 0,
    root: bool = True,
    width: float = 2,
) -> np.ndarray:
    gaps = _gaps(train, heldout)
    mean, spread = gaps.mean(axis=axis), gaps.std(axis=axis, ddof=ddof)
    half = width * spread / (np.sqrt(gaps.shape[axis]) if root else 1)
    return np.stack([mean - half, mean, mean + half], axis=1)


def _quartiles(
    train: np.ndarray, heldout: np.ndarray, *, axis: int = 0, levels: Sequence[float] = (0.25, 0.5, 0.75)
) -> np.ndarray:
    return np.stack(list(np.quantile(_gaps(train, heldout), levels, axis=axis)), axis=1)


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    shapes = [(3, 2), (5, 4), (4, 4), (8, 1), (2, 3)]
    pairs = [_accuracies(rng, *shape) for shape in shapes]
    # Gaps below 0, whole numbers, and runs that are all alike.
    pairs.append(_accuracies(rng, 6, 2)[::-1])
    pairs.append((np.array([[1, 0], [1, 1], [1, 0], [1, 0]]), np.array([[0, 1], [0, 0], [0, 1], [1, 1]])))
    pairs.append((np.full((3, 2), 0.75), np.full((3, 2), 0.75)))
    return [Case({"train": train, "heldout": heldout}) for train, heldout in pairs]


def _accuracies(rng: np.random.Generator, num_seeds: int, num_sizes: int) -> tuple[np.ndarray, np.ndarray]:
    # A seed that learns its training set better does so at every size: the two are not independent.
    luck = rng.normal(0, 0.03, (num_seeds, 1))
    train = 0.85 + luck + rng.uniform(0, 0.1, (num_seeds, num_sizes))
    heldout = 0.6 + luck + rng.uniform(0, 0.15, (num_seeds, num_sizes))
    return np.round(train, 9), np.round(heldout, 9)


_OF_ERRORS = Changes()


@_OF_ERRORS.add
def _sign(right, train, heldout):
    """The sign is turned: a gap is training minus held-out accuracy."""
    return right(heldout, train)


@_OF_ERRORS.with_arguments(axis=1)
def _axis():
    """The summary runs over the wrong axis: seeds are rows, training sizes are columns."""


@_OF_ERRORS.with_arguments(ddof=0)
def _population():
    """The standard deviation divides by S, not by S − 1: NumPy needs `ddof=1` for that."""


@_OF_ERRORS.with_arguments(root=False)
def _deviation():
    """These are standard deviations. The standard error of a mean is smaller by √S."""


@_OF_ERRORS.with_arguments(width=1)
def _one_error():
    """One standard error stands here in place of two."""


@_OF_ERRORS.add
def _unpaired(right, train, heldout):
    """Take the difference within each seed first, then summarise the differences: both come from one run."""
    gaps = _gaps(train, heldout)
    variances = np.var(train, axis=0, ddof=1) + np.var(heldout, axis=0, ddof=1)
    half = 2 * np.sqrt(variances / len(gaps))
    return np.stack([gaps.mean(axis=0) - half, gaps.mean(axis=0), gaps.mean(axis=0) + half], axis=1)


_OF_QUARTILES = Changes()


@_OF_QUARTILES.add
def _sign_of_quartiles(right, train, heldout):
    """The sign is turned: a gap is training minus held-out accuracy."""
    return right(heldout, train)


@_OF_QUARTILES.with_arguments(axis=1)
def _axis_of_quartiles():
    """The summary runs over the wrong axis: seeds are rows, training sizes are columns."""


@_OF_QUARTILES.with_arguments(levels=(0, 0.5, 1))
def _range():
    """These are the least and the greatest gap. Quartiles leave a quarter of the seeds out on either side."""


@_OF_QUARTILES.add
def _unpaired_quartiles(right, train, heldout):
    """Take the difference within each seed first, then summarise the differences: both come from one run."""
    levels = (0.25, 0.5, 0.75)
    return np.stack(list(np.quantile(train, levels, axis=0) - np.quantile(heldout, levels, axis=0)), axis=1)


VARIANTS = (
    _OF_ERRORS.variant(
        "the mean and two standard errors",
        _standard_errors,
        middle="the mean over seeds",
        ends="the mean minus and plus **two standard errors of the mean** (the standard "
        "deviation with $S - 1$ in its denominator, divided by $\\sqrt{S}$)",
        code="half = 2 * gaps.std(axis=0, ddof=1) / np.sqrt(len(gaps))\n"
        "middle = gaps.mean(axis=0)\n"
        "return np.stack([middle - half, middle, middle + half], axis=1)",
    ),
    _OF_QUARTILES.variant(
        "the median and the quartiles",
        _quartiles,
        middle="the median over seeds",
        ends="the **lower and upper quartile** over seeds (`np.quantile` with its default, "
        "linear interpolation)",
        code="return np.stack(list(np.quantile(gaps, [0.25, 0.5, 0.75], axis=0)), axis=1)",
    ),
)
