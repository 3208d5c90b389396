"""Exercises of lesson 01, Complexity and overfitting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial

from course_lib.classroom.exercises.framework import Case, Inputs, answer_exercise, exercise


def parameter_ratio(num_parameters: int, num_examples: int) -> float:
    """Give P/N, the number of parameters per training example.

    Args:
        num_parameters: P.
        num_examples: N, at least 1.

    Returns:
        The ratio.
    """
    return num_parameters / num_examples


def polynomial_errors(
    x_train: np.ndarray, y_train: np.ndarray, x_heldout: np.ndarray, y_heldout: np.ndarray, degree: int
) -> tuple[float, float]:
    """Fit a polynomial to the training points and give its error on them and on held-out points.

    Args:
        x_train: array of shape (n,).
        y_train: array of shape (n,).
        x_heldout: array of shape (m,).
        y_heldout: array of shape (m,).
        degree: the polynomial's degree, below n.

    Returns:
        The mean squared errors on the training and on the held-out points.
    """
    fit = Polynomial.fit(x_train, y_train, degree)
    return _mean_squared(fit(x_train) - y_train), _mean_squared(fit(x_heldout) - y_heldout)


def select_degree(
    degrees: Sequence[int], train_errors: Sequence[float], heldout_errors: Sequence[float]
) -> int:
    """Choose the degree of least held-out error, the smallest one on ties.

    Args:
        degrees: the candidates, in any order.
        train_errors: each candidate's error on the training points.
        heldout_errors: each candidate's error on the held-out points.

    Returns:
        The degree.
    """
    return min(zip(heldout_errors, degrees, strict=True))[1]


def _mean_squared(errors: np.ndarray) -> float:
    return float(np.mean(errors**2))


# --- 01.parameter_ratio


@exercise(
    "01.parameter_ratio",
    parameter_ratio,
    hint="P/N is one division: how many parameters are there for each example?",
)
def _parameter_ratio(rng: np.random.Generator) -> Inputs:
    """Return P/N, the number of parameters per training example, without rounding."""
    return [
        (60_000_000, 1_200_000),  # AlexNet
        (110_000_000, 20_000),  # BERT, fine-tuning
        (110_000_000, 3_300_000_000),  # BERT, pre-training: below one
        (7, 2),  # not a whole number
        (3, 8),
        (int(rng.integers(1_000, 9_000)), int(rng.integers(10_000, 90_000))),
    ]


@_parameter_ratio.mistakes.add
def _inverted(num_parameters, num_examples):
    """You have N/P. In P/N the parameters stand above and the examples below."""
    return num_examples / num_parameters


@_parameter_ratio.mistakes.add
def _integer_division(num_parameters, num_examples):
    """// cuts off what stands behind the point. Use / for a ratio."""
    return num_parameters // num_examples


@_parameter_ratio.mistakes.add
def _rounded_to_a_whole_number(num_parameters, num_examples):
    """The ratio is rounded. Return it as it is: BERT's P/N in pre-training is about 0.033, and would be lost."""
    return round(num_parameters / num_examples)


@_parameter_ratio.mistakes.add
def _rounded_to_one_decimal(num_parameters, num_examples):
    """The ratio is rounded. Return it as it is: BERT's P/N in pre-training is about 0.033, and would be lost."""
    return round(num_parameters / num_examples, 1)


@_parameter_ratio.mistakes.add
def _rounded_to_two_decimals(num_parameters, num_examples):
    """The ratio is rounded. Return it as it is: BERT's P/N in pre-training is about 0.033, and would be lost."""
    return round(num_parameters / num_examples, 2)


# --- 01.polynomial_errors


@exercise(
    "01.polynomial_errors",
    polynomial_errors,
    # Normal equations lose a few digits against a fit by QR.
    tolerance=1e-4,
    hint="Fit once, on the training points only. Then take the mean of the squared differences between "
    "prediction and y, first on the training points, then on the held-out ones.",
)
def _polynomial_errors(rng: np.random.Generator) -> Inputs:
    """Fit a polynomial to the training points by least squares, and return the mean squared errors
    (train_error, heldout_error)."""
    # (training points, held-out points, degree); the last fit goes through every training point.
    sizes = [(5, 4, 1), (5, 4, 0), (12, 8, 3), (20, 10, 5), (6, 8, 5)]
    return [_polynomial_case(rng, *size) for size in sizes]


def _polynomial_case(
    rng: np.random.Generator, num_train: int, num_heldout: int, degree: int
) -> tuple[Any, ...]:
    x_train, x_heldout = _spread(rng, num_train), _spread(rng, num_heldout)
    return x_train, _noisy_sine(rng, x_train), x_heldout, _noisy_sine(rng, x_heldout), degree


def _spread(rng: np.random.Generator, count: int) -> np.ndarray:
    # Points well apart: every way to solve least squares then gives the same fit.
    jitter = rng.uniform(-0.2, 0.2, count) * 2 / count
    return np.round(np.linspace(-1, 1, count) + jitter, 2)


def _noisy_sine(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    return np.round(2 * np.sin(3 * x) + rng.normal(0, 1, x.shape), 2)


def _errors(fit: Polynomial, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Give the differences between prediction and y on the training and on the held-out points."""
    return fit(case["x_train"]) - case["y_train"], fit(case["x_heldout"]) - case["y_heldout"]


def _fit(case: Case, *sets: str) -> Polynomial:
    """Fit to the points of the named sets, "train" or "heldout"."""
    x = np.concatenate([case[f"x_{name}"] for name in sets])
    y = np.concatenate([case[f"y_{name}"] for name in sets])
    return Polynomial.fit(x, y, case["degree"])


@_polynomial_errors.mistakes.add
def _fitted_on_held_out(**case):
    """The polynomial is fitted to the held-out points. They must stay unseen: fit to the training points."""
    return tuple(_mean_squared(errors) for errors in _errors(_fit(case, "heldout"), case))


@_polynomial_errors.mistakes.add
def _fitted_on_both(**case):
    """The fit has seen the held-out points, too. Fit to the training points alone."""
    return tuple(_mean_squared(errors) for errors in _errors(_fit(case, "train", "heldout"), case))


@_polynomial_errors.mistakes.add
def _fitted_twice(**case):
    """There are two fits here, one a set. Fit once, on the training points, and measure both errors with it."""
    train_errors, _ = _errors(_fit(case, "train"), case)
    _, heldout_errors = _errors(_fit(case, "heldout"), case)
    return _mean_squared(train_errors), _mean_squared(heldout_errors)


@_polynomial_errors.mistakes.add
def _root_of_the_mean(**case):
    """These are roots of the mean squared errors. Leave out the root."""
    return tuple(float(np.sqrt(_mean_squared(errors))) for errors in _errors(_fit(case, "train"), case))


@_polynomial_errors.mistakes.add
def _sum(**case):
    """The squared errors are added up. Take their mean, so that sets of different size compare."""
    return tuple(float(np.sum(errors**2)) for errors in _errors(_fit(case, "train"), case))


@_polynomial_errors.mistakes.add
def _absolute_errors(**case):
    """These are mean absolute errors. Square the differences before you take the mean."""
    return tuple(float(np.mean(np.abs(errors))) for errors in _errors(_fit(case, "train"), case))


@_polynomial_errors.mistakes.add
def _wrong_order(**case):
    """The two errors are right, but in the wrong order: the training error comes first."""
    return polynomial_errors(**case)[::-1]


# --- 01.select_degree


@exercise(
    "01.select_degree",
    select_degree,
    hint="Find the least held-out error, then the smallest of the degrees that reach it. "
    "The degrees need not be sorted.",
)
def _select_degree(rng: np.random.Generator) -> Inputs:
    """Return the degree with the least held-out error, and the smallest such degree on ties."""
    drawn = [int(degree) for degree in rng.choice(np.arange(2, 30), size=6, replace=False)]
    return [
        ([1, 3, 5, 9], [0.9, 0.4, 0.2, 0.0], [1.1, 0.5, 0.7, 6.0]),
        ([1, 2, 4, 8], [0.8, 0.3, 0.2, 0.1], [0.9, 0.4, 0.4, 2.0]),  # a tie
        ([6, 4, 2], [0.1, 0.2, 0.3], [0.4, 0.9, 0.4]),  # a tie, the degrees not sorted
        ([3], [0.5], [0.6]),
        ([9, 1, 4], [0.0, 0.2, 0.3], [0.3, 0.5, 0.8]),  # the first is best, the degrees not sorted
        ([1, 2, 3], [0.7, 0.0, 0.0], [0.9, 0.8, 0.7]),  # the largest is best
        (drawn, _drawn_errors(rng), _drawn_errors(rng)),
    ]


def _drawn_errors(rng: np.random.Generator) -> list[float]:
    # Six different values, so that there is one best degree.
    return [round(float(error), 3) for error in (rng.permutation(6) + rng.uniform(0.1, 0.9, 6)) / 5]


@_select_degree.mistakes.add
def _by_training_error(degrees, train_errors, heldout_errors):
    """This is the degree of least training error. It favours the overfitted model: use the held-out errors."""
    return degrees[int(np.argmin(train_errors))]


@_select_degree.mistakes.add
def _index(degrees, train_errors, heldout_errors):
    """This is the position in the list. Return the degree that stands at this position."""
    return int(np.argmin(heldout_errors))


@_select_degree.mistakes.add
def _largest_error(degrees, train_errors, heldout_errors):
    """This is the degree of the largest held-out error. Look for the least."""
    return degrees[int(np.argmax(heldout_errors))]


@_select_degree.mistakes.add
def _largest_degree(degrees, train_errors, heldout_errors):
    """This is always the largest degree, whatever the errors are. Let the held-out errors decide."""
    return max(degrees)


@_select_degree.mistakes.add
def _last_on_ties_degree(degrees, train_errors, heldout_errors):
    """Of several equally good degrees this takes the last. Take the smallest: the simpler model."""
    best = min(heldout_errors)
    return [d for d, error in zip(degrees, heldout_errors, strict=True) if error == best][-1]


@_select_degree.mistakes.add
def _first_on_ties(degrees, train_errors, heldout_errors):
    """Of several equally good degrees this takes the first in the list. The list need not be sorted: take the
    smallest."""
    return degrees[int(np.argmin(heldout_errors))]


# --- 01.examples_for_ratio

_EXAMPLES_FOR_RATIO = answer_exercise(
    name="01.examples_for_ratio",
    task="You fine-tune a model of 110 million parameters and want P/N = 50, AlexNet's ratio: "
    "how many examples do you need?",
    expected=2_200_000,
    hint="Write down P/N = 50, put in P = 110,000,000, and solve for N.",
    mistakes={
        5_500: "5,500 is P/N at 20,000 examples. Here P/N is given, and N is asked for.",
        1_200_000: "1,200,000 is AlexNet's own number of examples. This model has more parameters than "
        "AlexNet.",
        5_500_000_000: "That is P times 50. More parameters for each example means fewer examples: divide.",
        2.2: "The right number of millions. Give the number of examples itself.",
        400: "That is 20,000/50. The ratio counts parameters for each example: divide the parameters.",
    },
)
