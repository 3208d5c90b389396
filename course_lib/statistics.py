"""Measures of predictions, and intervals for what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import softmax

from course_lib.checks.arrays import check_labels, check_numbers, check_scores
from course_lib.checks.calls import border, each
from course_lib.checks.types import Count, OpenShare, Seed
from course_lib.checks.values import check_count
from course_lib.errors import CourseError

# More resamples change no printed digit and take the machine's memory.
MOST_RESAMPLES = 1_000_000


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


@border(values=check_numbers)
def mean_interval(values: Sequence[float], *, confidence: OpenShare = 0.95) -> Interval:
    """Compute the mean of repeated runs with Student's t interval.

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
    mean, n = float(np.mean(values)), len(values)
    if n == 1:
        return Interval(mean, -np.inf, np.inf, 1)
    half = float(stats.t.ppf(0.5 + confidence / 2, n - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half, n)


@border(num_right=partial(check_count, least=0))
def share_interval(num_right: int, n: Count, *, confidence: OpenShare = 0.95) -> Interval:
    """Compute a share of items with Wilson's interval, for items that are independent of each other.

    Args:
        num_right: items of one kind, at most n.
        n: all items.
        confidence: how often such an interval holds the true share.

    Returns:
        The share with its interval; n is the number of items.

    Raises:
        CourseError: counts that cannot be; a confidence that is not between 0 and 1.

    Source: Wilson, 1927, "Probable inference, the law of succession, and statistical inference".

    Example:
        >>> str(share_interval(15, 20))
        '0.750 [0.531, 0.888]'
    """
    if num_right > n:
        raise CourseError("There cannot be more right items than items.", given=f"{num_right} of {n}")
    found = stats.binomtest(num_right, n).proportion_ci(confidence, method="wilson")
    return Interval(num_right / n, float(found.low), float(found.high), n)


@border(values=each(check_numbers), num_resamples=partial(check_count, most=MOST_RESAMPLES))
def hierarchical_bootstrap(
    values: Sequence[Sequence[float]],
    *,
    confidence: OpenShare = 0.95,
    num_resamples: int = 4000,
    seed: Seed = 0,
) -> Interval:
    """Compute the mean over sets of items with a bootstrap interval that draws sets first, then items.

    Items of one set share its demonstrations, so they are no independent witnesses: the set is the unit.

    Args:
        values: one sequence of numbers for each set.
        confidence: how often such an interval holds the true mean.
        num_resamples: bootstrap draws.
        seed: seed of the draws.

    Returns:
        The mean of the sets' means with percentile ends; n is the number of sets. With one set the ends are
        infinite, since one set says nothing of how sets differ.

    Raises:
        CourseError: no sets, an empty one, or a value that is not finite; a confidence outside 0 to 1.

    Source: Davison and Hinkley, 1997, "Bootstrap Methods and their Application", section 3.8.

    Example:
        >>> hierarchical_bootstrap([[1, 1, 0, 1], [0, 1, 0, 0]]).mean
        0.5
    """
    sets = [np.asarray(items) for items in values]
    mean = float(np.mean([items.mean() for items in sets]))
    if len(sets) == 1:
        return Interval(mean, -np.inf, np.inf, 1)
    rng = np.random.default_rng(seed)
    sizes = np.array([items.size for items in sets])
    padded = np.stack([np.pad(items, (0, sizes.max() - items.size)) for items in sets])
    drawn = rng.integers(0, len(sets), (len(sets), num_resamples))
    means = np.zeros(num_resamples)
    for chosen in drawn:  # one place of the resample at a time: a set drawn twice draws its items twice
        rows = (rng.random((num_resamples, sizes.max())) * sizes[chosen, None]).astype(int)
        is_drawn = np.arange(sizes.max()) < sizes[chosen, None]
        means += (padded[chosen[:, None], rows] * is_drawn).sum(axis=1) / sizes[chosen] / len(sets)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high), len(sets))


@border(predictions=each(check_labels, least=2))
def flip_shares(predictions: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the share of predictions that change from one step to the next.

    Args:
        predictions: int arrays [n], one for each of T moments of training.

    Returns:
        Float array [T - 1].

    Raises:
        CourseError: fewer than two moments, no predictions, or moments of different lengths.

    Example:
        >>> flip_shares([[0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 1, 1]]).tolist()
        [0.5, 0.0]
    """
    lengths = {len(moment) for moment in predictions}
    if len(lengths) > 1:
        raise CourseError("Every moment must have as many predictions.", given=sorted(lengths))
    table = np.stack(predictions)
    return (table[1:] != table[:-1]).mean(axis=1)


@border(logits=check_scores)
def expected_calibration_error(logits: np.ndarray, labels: np.ndarray, *, num_bins: Count = 10) -> float:
    """Compute how far a classifier's confidence lies from its accuracy.

    Args:
        logits: float array [n, num_labels].
        labels: int array [n].
        num_bins: bins of equal width over the confidence, the probability of the predicted label; at most 10,000,000.

    Returns:
        The mean over bins, weighted by their examples, of |accuracy - mean confidence|, from 0 to 1.

    Raises:
        CourseError: no examples, another number of labels than of logits, a label outside the logits'
            columns, or logits that are not finite.

    Source: Guo et al., ICML 2017, "On Calibration of Modern Neural Networks", equation (3).

    Example:
        >>> certain = [[9.0, -9.0]] * 4
        >>> round(expected_calibration_error(certain, [0, 0, 0, 1]), 3)
        0.25
    """
    labels = check_labels("labels", labels, num_labels=logits.shape[1], num_rows=len(logits))
    probabilities = softmax(logits, axis=1)
    confidence = probabilities.max(axis=1)
    is_right = logits.argmax(axis=1) == labels
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gaps = np.bincount(bins, weights=is_right - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))
