"""Intervals for what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from course_lib.errors import CourseError


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval.

    Example:
        >>> str(Interval(0.75, 0.7, 0.8, 5))
        '0.750 [0.700, 0.800]'
    """

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Give the mean of repeated runs with Student's t interval.

    Args:
        values: one number for each independent run (seed, demonstration set).
        confidence: how often such an interval holds the true mean.

    Returns:
        The interval; with one value its ends are infinite, since one run says nothing of the spread.

    Raises:
        CourseError: no values, or one that is not finite; a confidence that is not between 0 and 1.

    Example:
        >>> str(mean_interval([0.70, 0.75, 0.80]))
        '0.750 [0.626, 0.874]'
    """
    import numpy as np
    from scipy import stats

    numbers = np.asarray(values, dtype=float)
    if numbers.size == 0 or not np.isfinite(numbers).all():
        raise CourseError("An interval needs finite numbers, at least one.", given=list(values))
    if not 0 < confidence < 1:
        raise CourseError("A confidence lies between 0 and 1.", given=confidence, mend="Use 0.95.")
    mean = float(numbers.mean())
    if numbers.size == 1:
        return Interval(mean, -np.inf, np.inf, 1)
    half = float(stats.t.ppf(0.5 + confidence / 2, numbers.size - 1) * stats.sem(numbers))
    return Interval(mean, mean - half, mean + half, int(numbers.size))
