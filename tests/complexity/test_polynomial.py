"""Under-, well and overfitted polynomials, and the peak where P equals N."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.complexity import degree_sweep, draw_points, fit_polynomial, mean_squared_error
from course_lib.complexity.polynomial import true_curve
from course_lib.errors import CourseError


@given(st.integers(2, 15), st.integers(0, 10), st.integers(0, 100))
def test_a_polynomial_with_as_many_coefficients_as_points_goes_through_them(
    num_points: int, more: int, seed: int
) -> None:
    x = np.cos(np.pi * (np.arange(num_points) + 0.5) / num_points)
    y = np.random.default_rng(seed).standard_normal(num_points)
    polynomial = fit_polynomial(x, y, num_points - 1 + more)
    assert mean_squared_error(polynomial, x, y) < 1e-12


def test_with_fewer_coefficients_it_does_not() -> None:
    x, y = draw_points(20, seed=0)
    errors = [mean_squared_error(fit_polynomial(x, y, degree), x, y) for degree in range(20)]
    assert errors[10] > 1e-3
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(errors))


def test_a_straight_line_is_found_again() -> None:
    x = np.linspace(-1, 1, 10)
    line = fit_polynomial(x, 3 * x - 2, 1)
    np.testing.assert_allclose(line.coef, [-2, 3], atol=1e-12)


def test_of_many_fits_the_one_of_least_norm_is_taken() -> None:
    # Through one point at x = 1 every Legendre polynomial is 1, so the coefficients share y equally.
    np.testing.assert_allclose(fit_polynomial(np.array([1.0]), np.array([2.0]), 3).coef, [0.5] * 4)


def test_points_lie_around_the_curve() -> None:
    x, y = draw_points(5000, noise=0.3, seed=0)
    assert (np.diff(x) >= 0).all()
    assert np.abs(x).max() <= 1
    assert np.std(y - true_curve(x)) == pytest.approx(0.3, rel=0.05)
    without_noise = draw_points(5, noise=0.0, seed=1)
    np.testing.assert_array_equal(without_noise[1], true_curve(without_noise[0]))


def test_one_seed_draws_the_same_points() -> None:
    np.testing.assert_array_equal(draw_points(9, seed=4), draw_points(9, seed=4))
    assert not np.array_equal(draw_points(9, seed=4), draw_points(9, seed=5))


def test_the_heldout_error_peaks_where_p_equals_n_and_descends_again() -> None:
    degrees = [1, 3, 5, 9, 14, 19, 29, 59, 199]
    sweep = degree_sweep(degrees, num_points=20)
    medians = sweep.groupby("degree")[["parameter_ratio", "train_error", "heldout_error"]].median()
    assert medians["heldout_error"].idxmax() == 19
    assert medians.loc[19, "parameter_ratio"] == 1.0
    assert medians["heldout_error"].idxmin() in (5, 9)
    assert medians.loc[199, "heldout_error"] < medians.loc[29, "heldout_error"]
    assert medians.loc[1, "train_error"] > 0.1
    assert medians.loc[59, "train_error"] < 1e-12


def test_a_sweep_has_a_row_for_each_degree_and_seed() -> None:
    sweep = degree_sweep([0, 2], num_points=8, seeds=range(3))
    assert list(sweep.columns) == ["degree", "parameter_ratio", "seed", "train_error", "heldout_error"]
    assert len(sweep) == 6
    assert set(sweep["parameter_ratio"]) == {1 / 8, 3 / 8}


def test_bad_input_is_refused() -> None:
    with pytest.raises(CourseError, match="num_points must be"):
        draw_points(0)
    with pytest.raises(CourseError, match="noise must be"):
        draw_points(3, noise=-0.1)
    with pytest.raises(CourseError, match="as many y as x"):
        fit_polynomial(np.zeros(3), np.zeros(2), 1)
    with pytest.raises(CourseError, match="x must have"):
        fit_polynomial(np.zeros(0), np.zeros(0), 1)
    with pytest.raises(CourseError, match="degree must be"):
        fit_polynomial(np.zeros(3), np.zeros(3), -1)


def test_values_of_another_shape_are_refused() -> None:
    """A column of values once was broadcast against a row of predictions."""
    x, y = np.linspace(-1, 1, 5), np.zeros(5)
    polynomial = fit_polynomial(x, y, 1)
    for wrong in (y[:, None], y[None], y[:1], y[:4]):
        with pytest.raises(CourseError):
            mean_squared_error(polynomial, x, wrong)
