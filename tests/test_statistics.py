"""Measures of predictions, and intervals for what was measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.errors import CourseError
from course_lib.statistics import (
    expected_calibration_error,
    flip_shares,
    hierarchical_bootstrap,
    mean_interval,
)

numbers = st.floats(-1e6, 1e6)


def test_an_interval_is_what_the_hand_gives() -> None:
    # Mean 3, sample variance 2.5, standard error sqrt(2.5 / 5), t of 4 degrees of freedom 2.776.
    interval = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764451 * math.sqrt(0.5)
    assert interval == pytest.approx((3.0, 3.0 - half, 3.0 + half, 5))


def test_two_values_make_a_wide_interval() -> None:
    # t of one degree of freedom is 12.706.
    assert mean_interval([0.0, 1.0]).high == pytest.approx(0.5 + 12.7062047 * 0.5)


def test_one_value_says_nothing_of_the_spread() -> None:
    assert mean_interval([0.7]) == (0.7, -math.inf, math.inf, 1)


def test_equal_values_leave_no_doubt() -> None:
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5, 3)


@given(st.lists(numbers, min_size=2, max_size=20))
def test_the_mean_lies_in_the_middle(values: list[float]) -> None:
    interval = mean_interval(values)
    assert interval.low <= interval.mean <= interval.high
    assert interval.mean - interval.low == pytest.approx(interval.high - interval.mean, rel=1e-6, abs=1e-6)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=10), st.floats(-100, 100), st.floats(0.1, 10))
def test_the_interval_moves_and_stretches_with_the_values(
    values: list[float], shift: float, scale: float
) -> None:
    plain = mean_interval(values)
    moved = mean_interval([shift + scale * value for value in values])
    assert moved[:3] == pytest.approx([shift + scale * end for end in plain[:3]], rel=1e-6, abs=1e-6)


@given(st.lists(numbers, min_size=2, max_size=20), st.floats(0.01, 0.98))
def test_more_confidence_is_a_wider_interval(values: list[float], confidence: float) -> None:
    narrow = mean_interval(values, confidence=confidence)
    wide = mean_interval(values, confidence=confidence + 0.01)
    assert wide.low <= narrow.low <= narrow.high <= wide.high


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf]])
def test_what_is_no_number_is_refused(values: list[float]) -> None:
    with pytest.raises(CourseError, match=r"values(\[\d\])? must"):
        mean_interval(values)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_outside_0_to_1_is_refused(confidence: float) -> None:
    with pytest.raises(CourseError, match="above 0 and below 1"):
        mean_interval([1.0, 2.0], confidence=confidence)


def test_an_interval_reads_as_mean_and_ends() -> None:
    assert str(mean_interval([0.7, 0.75, 0.8])) == "0.750 [0.626, 0.874]"


def test_flips_are_counted_from_step_to_step() -> None:
    predictions = [
        np.array([0, 1, 2, 0]),
        np.array([0, 1, 2, 1]),
        np.array([1, 0, 0, 1]),
        np.array([1, 0, 0, 1]),
    ]
    assert flip_shares(predictions).tolist() == [0.25, 0.75, 0.0]


def test_one_moment_has_no_flips() -> None:
    with pytest.raises(CourseError, match="hold at least 2"):
        flip_shares([np.zeros(3, dtype=int)])


def test_calibration_error_is_what_the_hand_gives() -> None:
    """Two bins: sure at .9 and right half the time, sure at .6 and always right; |.5 - .9| and |1 - .6|."""
    confidence = np.array([0.9, 0.9, 0.6, 0.6])
    logits = np.stack([np.log(confidence), np.log(1 - confidence)], axis=1)
    assert expected_calibration_error(logits, np.array([0, 1, 0, 0])) == pytest.approx(0.4)
    # in one bin for all, too sure and not sure enough cancel out: .75 sure, .75 right
    assert expected_calibration_error(logits, np.array([0, 1, 0, 0]), num_bins=1) == pytest.approx(0)


def test_certain_and_always_right_is_calibrated() -> None:
    logits = np.array([[500.0, -500.0], [-500.0, 500.0]])
    assert expected_calibration_error(logits, np.array([0, 1])) == 0
    assert expected_calibration_error(logits, np.array([1, 0])) == 1


@given(st.integers(1, 30), st.integers(2, 5), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_calibration_error_is_at_least_the_overall_gap(
    n: int, classes: int, num_bins: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, 3, (n, classes)), rng.integers(0, classes, n)
    error = expected_calibration_error(logits, labels, num_bins=num_bins)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    overall = abs((logits.argmax(axis=1) == labels).mean() - probabilities.max(axis=1).mean())
    assert overall - 1e-9 <= error <= 1


def test_who_is_certain_is_in_the_last_bin_with_who_is_almost() -> None:
    """Sure at 1 and wrong, sure at .95 and right: together |.5 - .975|."""
    logits = np.array([[500.0, -500.0], [math.log(0.95), math.log(0.05)]])
    assert expected_calibration_error(logits, np.array([1, 0])) == pytest.approx(0.475)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.empty((0, 2)), []),
        (np.array([[0.0, np.nan]]), [0]),
        (np.ones((2, 2)), [0]),
        (np.ones((1, 2)), [2]),
        (np.ones((1, 2)), [-1]),
    ],
)
def test_calibration_of_what_is_no_prediction_is_refused(logits: np.ndarray, labels: list[int]) -> None:
    with pytest.raises(CourseError, match=r"(logits|labels) must"):
        expected_calibration_error(logits, labels)


def test_the_bootstrap_repeats_with_its_seed_and_holds_its_mean() -> None:
    rng = np.random.default_rng(0)
    sets = [rng.random(size).tolist() for size in (7, 20, 3)]
    first, again, other = (hierarchical_bootstrap(sets, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first.low <= first.mean <= first.high
    assert first.n == 3


def test_every_set_is_drawn_as_often() -> None:
    """Of two sets a quarter of the draws are twice the first, a quarter twice the second."""
    interval = hierarchical_bootstrap([[0.0, 0.0], [1.0]])
    assert (interval.low, interval.mean, interval.high) == (0, 0.5, 1)
    middle = hierarchical_bootstrap([[0.0, 0.0], [1.0]], confidence=0.4)
    assert (middle.low, middle.high) == (0.5, 0.5)


def test_more_resamples_than_any_digit_needs_are_refused() -> None:
    assert hierarchical_bootstrap([[1, 0]], num_resamples=1_000_000).mean == 0.5
    with pytest.raises(CourseError, match="num_resamples must be a whole number from 1 to 1000000"):
        hierarchical_bootstrap([[1, 0]], num_resamples=1_000_001)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    """Sets with means of their own, spread .15 around .6: items alone would cover far too rarely."""
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        means = np.clip(rng.normal(0.6, 0.15, 10), 0, 1)
        sets = [rng.random(60) < mean for mean in means]
        interval = hierarchical_bootstrap(sets, num_resamples=500, seed=seed)
        covered += interval.low <= 0.6 <= interval.high
    assert covered >= 88


def test_with_equal_sets_the_bootstrap_is_that_of_the_items() -> None:
    """60 answers, half right, in 6 sets of equal means: a standard error near sqrt(.25 / 60) for the items."""
    interval = hierarchical_bootstrap([[0, 1] * 5] * 6, num_resamples=20_000)
    assert (interval.high - interval.low) / (2 * 1.96) == pytest.approx(math.sqrt(0.25 / 60), rel=0.1)


def test_one_set_says_nothing_of_how_sets_differ() -> None:
    assert hierarchical_bootstrap([[1, 0]])[:3] == (0.5, -math.inf, math.inf)


@pytest.mark.parametrize("values", [[], [[1.0], []], [[1.0, math.nan]]])
def test_a_bootstrap_of_nothing_is_refused(values: list) -> None:
    with pytest.raises(CourseError, match=r"values(\[\d\])? must"):
        hierarchical_bootstrap(values)


def test_moments_of_other_lengths_are_refused() -> None:
    with pytest.raises(CourseError, match="as many predictions"):
        flip_shares([[0, 1], [0, 1, 1]])
