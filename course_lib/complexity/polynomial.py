"""Under-, well and overfitted curves, small enough to see every point.

The polynomials are written in Legendre's basis on [-1, 1], where least squares stays stable at high
degrees. With more coefficients than points, the fit of least norm is taken, as gradient descent from
zero would find it; that is where double descent shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from course_lib.checks.arrays import check_numbers
from course_lib.checks.calls import border, each, of_type
from course_lib.checks.types import Count, NotNegative, Seed
from course_lib.checks.values import check_count
from course_lib.errors import CourseError

# Beyond this degree least squares in float64 says nothing any more.
MOST_DEGREE = 10_000

_a_degree = partial(check_count, least=0, most=MOST_DEGREE)
_a_polynomial = of_type("numpy.polynomial.legendre.Legendre")


@border(x=partial(check_numbers, least_size=0))
def true_curve(x: np.ndarray) -> np.ndarray:
    """Compute the curve that the noisy points are drawn around, one and a half waves over [-1, 1].

    Args:
        x: float array [n].

    Returns:
        Float array [n].
    """
    return np.sin(1.5 * np.pi * x)


@border()
def draw_points(
    num_points: Count, *, noise: NotNegative = 0.3, seed: Seed = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw points around the true curve.

    Args:
        num_points: how many.
        noise: standard deviation of the vertical noise.
        seed: seed of the draw.

    Returns:
        x, sorted, uniform on [-1, 1], and y; both float arrays [num_points].

    Raises:
        CourseError: fewer than one point, or negative noise.
    """
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-1, 1, num_points))
    return x, true_curve(x) + noise * rng.standard_normal(num_points)


@border(x=check_numbers, y=check_numbers, degree=_a_degree)
def fit_polynomial(x: np.ndarray, y: np.ndarray, degree: int) -> np.polynomial.Legendre:
    """Fit a polynomial by least squares; of several equally good ones, the one of least norm.

    Args:
        x: float array [n], in [-1, 1].
        y: float array [n].
        degree: highest power, at least 0; the polynomial has degree + 1 coefficients.

    Returns:
        The polynomial, to be called with an array of x.

    Raises:
        CourseError: x and y of unequal length or empty, or a negative degree.
    """
    _check_pairs(x, y)
    features = np.polynomial.legendre.legvander(x, degree)
    coefficients = np.linalg.lstsq(features, y, rcond=None)[0]
    return np.polynomial.Legendre(coefficients)


@border(polynomial=_a_polynomial, x=check_numbers, y=check_numbers)
def mean_squared_error(polynomial: np.polynomial.Legendre, x: np.ndarray, y: np.ndarray) -> float:
    """Compute the mean squared distance between a polynomial and points.

    Args:
        polynomial: what `fit_polynomial` gives.
        x: float array [n].
        y: float array [n].

    Returns:
        The error, at least 0.

    Raises:
        CourseError: x and y of unequal length or empty, or a number that is not finite.
    """
    _check_pairs(x, y)
    return float(np.mean((polynomial(x) - y) ** 2))


def _check_pairs(x: np.ndarray, y: np.ndarray) -> None:
    if len(x) != len(y):
        raise CourseError("There must be as many y as x.", given=(len(x), len(y)))


@border(degrees=each(_a_degree))
def degree_sweep(
    degrees: Sequence[int],
    *,
    num_points: Count = 20,
    noise: NotNegative = 0.3,
    seeds: Sequence[Seed] = range(50),
) -> pd.DataFrame:
    """Fit polynomials of growing degree to several draws of the points.

    Args:
        degrees: degrees to fit.
        num_points: training points N of each draw; 500 further points are held out.
        noise: standard deviation of the noise.
        seeds: one draw each.

    Returns:
        Columns: degree, parameter_ratio ((degree + 1) / N), seed, train_error, heldout_error.

    Raises:
        CourseError: no degrees or seeds, or one that `fit_polynomial` or `draw_points` refuses.
    """
    rows = []
    for seed in seeds:
        x, y = draw_points(num_points, noise=noise, seed=seed)
        x_heldout, y_heldout = draw_points(500, noise=noise, seed=seed + 1_000_000)
        for degree in degrees:
            polynomial = fit_polynomial(x, y, degree)
            rows.append(
                {
                    "degree": degree,
                    "parameter_ratio": (degree + 1) / num_points,
                    "seed": seed,
                    "train_error": mean_squared_error(polynomial, x, y),
                    "heldout_error": mean_squared_error(polynomial, x_heldout, y_heldout),
                }
            )
    return pd.DataFrame(rows)
