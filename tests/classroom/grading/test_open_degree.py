"""a1's open task: every mistake loses the same parts with every draw of the hidden inputs, right answers none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from course_lib.classroom.assignments.assignment import Case, Variant, load_assignment
from tests.classroom.grading.test_assignment_tasks import fit_of, plainly_chosen, solution
from tests.classroom.grading.test_mistakes import DRAWS

# Some thirty mistakes with ten draws of six cases, each fitted anew.
pytestmark = pytest.mark.slow

TASK = load_assignment("a1").tasks[-1]
FORMS = pytest.mark.parametrize("variant", TASK.variants, ids=lambda variant: variant.name)
TEST, ERRORS, CHOICE = "test error", "validation errors as reported", "choice by validation error"
DEGREES = np.arange(13)
Answer = dict[str, Any]


@cache
def cases_of(variant_name: str, seed: int) -> list[Case]:
    """Draw the hidden cases once for all tests."""
    (variant,) = [variant for variant in TASK.variants if variant.name == variant_name]
    return TASK.drawn_cases(seed, variant)


@cache
def right_answers(variant_name: str, seed: int) -> list[Answer]:
    """Give the answers of a plain solution."""
    return [plainly_chosen(*case.arguments.values()) for case in cases_of(variant_name, seed)]


def lost(variant: Variant, seed: int, answers: list[Answer]) -> list[str]:
    """Give the parts that answers lose."""
    assert TASK.measure is not None
    measured = TASK.measure(cases_of(variant.name, seed), answers)
    return [part.name for part in measured if not part.passed]


@dataclass(frozen=True)
class Fits:
    """What the fits of all degrees give: errors on training points, differences on validation points, predictions."""

    train: Any
    differences: Any
    predictions: Any


def fits_to(case: Case, *names: str) -> Fits:
    """Fit each degree to the points of some sets."""
    given = case.arguments
    x, y = (np.concatenate([given[f"{axis}_{name}"] for name in names]) for axis in "xy")
    fits = [fit_of(x, y, degree) for degree in DEGREES]
    return Fits(
        np.array([np.mean((fit(given["x_train"]) - given["y_train"]) ** 2) for fit in fits]),
        np.array([fit(given["x_validation"]) - given["y_validation"] for fit in fits]),
        np.array([fit(given["x_test"]) for fit in fits]),
    )


@cache
def fits_of(variant_name: str, seed: int, *names: str) -> list[Fits]:
    """Give the fits for each case of a draw."""
    return [fits_to(case, *names) for case in cases_of(variant_name, seed)]


Change = Callable[[Fits, Answer], Answer]


def changed(variant: Variant, seed: int, change: Change, sets: tuple[str, ...] = ("train",)) -> list[Answer]:
    """Give the right answers, changed by what fits to some sets give."""
    fits = fits_of(variant.name, seed, *sets)
    answers = right_answers(variant.name, seed)
    return [{**answer, **change(fit, answer)} for fit, answer in zip(fits, answers, strict=True)]


def reporting(error_of: Callable[[Any], Any]) -> Change:
    """Give a change that reports other validation errors, from the differences of each degree's fit."""
    return lambda fits, answer: {
        "validation_errors": {degree: error_of(fits.differences[degree]) for degree in range(13)}
    }


# What is reported or predicted wrongly, and what that loses.
REPORTED: dict[str, tuple[Change, list[str]]] = {
    "roots": (reporting(lambda difference: np.sqrt(np.mean(difference**2))), [ERRORS]),
    "sums": (reporting(lambda difference: np.sum(difference**2)), [ERRORS]),
    "absolute errors": (reporting(lambda difference: np.mean(np.abs(difference))), [ERRORS]),
    "the median": (reporting(lambda difference: np.median(difference**2)), [ERRORS]),
    "variances": (reporting(np.var), [ERRORS]),
    "divided by one less": (
        reporting(lambda difference: np.sum(difference**2) / (len(difference) - 1)),
        [ERRORS],
    ),
    "halves": (reporting(lambda difference: np.mean(difference**2) / 2), [ERRORS]),
    "the last point left out": (reporting(lambda difference: np.mean(difference[:-1] ** 2)), [ERRORS]),
    "two places": (reporting(lambda difference: round(float(np.mean(difference**2)), 2)), [ERRORS]),
    "degrees from 1": (
        lambda fits, answer: {
            "validation_errors": {d: error for d, error in answer["validation_errors"].items() if d}
        },
        [ERRORS],
    ),
    "degrees below 12": (
        lambda fits, answer: {
            "validation_errors": {d: error for d, error in answer["validation_errors"].items() if d < 12}
        },
        [ERRORS],
    ),
    "predictions of the degree above": (
        lambda fits, answer: {"predictions": fits.predictions[min(answer["degree"] + 1, 12)]},
        [TEST],
    ),
    "predictions of the degree below": (
        lambda fits, answer: {"predictions": fits.predictions[max(answer["degree"] - 1, 0)]},
        [TEST],
    ),
    "predictions rounded to one place": (
        lambda fits, answer: {"predictions": np.round(answer["predictions"], 1)},
        [TEST],
    ),
    "predictions in rising order": (
        lambda fits, answer: {"predictions": np.sort(answer["predictions"])},
        [TEST],
    ),
}


# The same with fits to other points.
FITTED: dict[str, tuple[tuple[str, ...], Change, list[str]]] = {
    "fits to the validation points": (("validation",), reporting(lambda d: np.mean(d**2)), [ERRORS]),
    "fits to all points": (("train", "validation"), reporting(lambda d: np.mean(d**2)), [ERRORS]),
    "predictions of a fit to all points": (
        ("train", "validation"),
        lambda fits, answer: {"predictions": fits.predictions[answer["degree"]]},
        [TEST],
    ),
}


def _first_rise(validation: Any) -> int:
    return next((d for d in range(12) if validation[d + 1] >= validation[d]), 12)


def _one_error_bar(validation: Any) -> int:
    return int(np.flatnonzero(validation <= validation.min() * (1 + np.sqrt(2 / 80)))[0])


def _criterion(train: Any, num_points: int, weight: float) -> int:
    return int(np.argmin(num_points * np.log(train) + weight * (DEGREES + 1)))


# Wrong choices, from the errors of each degree; `n` is the number of training points.
FAR: dict[str, Callable[..., int]] = {
    "from degree 1": lambda train, validation, n: 1 + int(np.argmin(validation[1:])),
    "from degree 2": lambda train, validation, n: 2 + int(np.argmin(validation[2:])),
    "below degree 12": lambda train, validation, n: int(np.argmin(validation[:-1])),
    "below degree 10": lambda train, validation, n: int(np.argmin(validation[:10])),
    "odd degrees": lambda train, validation, n: 1 + 2 * int(np.argmin(validation[1::2])),
    "even degrees": lambda train, validation, n: 2 * int(np.argmin(validation[::2])),
    "first rise": lambda train, validation, n: _first_rise(validation),
    "first rise from above": lambda train, validation, n: 12 - _first_rise(validation[::-1]),
    "training error": lambda train, validation, n: int(np.argmin(train)),
    "smallest gap": lambda train, validation, n: int(np.argmin(np.abs(validation - train))),
    "largest fall": lambda train, validation, n: 1 + int(np.argmin(np.diff(validation))),
    "largest error": lambda train, validation, n: int(np.argmax(validation)),
    "one more": lambda train, validation, n: min(int(np.argmin(validation)) + 1, 12),
    "one less": lambda train, validation, n: max(int(np.argmin(validation)) - 1, 0),
    "one place": lambda train, validation, n: int(np.argmin(np.round(validation, 1))),
    **{f"always {d}": lambda train, validation, n, d=d: int(d) for d in DEGREES},
}
NEAR: dict[str, Callable[..., int]] = {
    "first within a twentieth": lambda train, validation, n: int(
        np.flatnonzero(validation <= 1.05 * validation.min())[0]
    ),
    "last within a twentieth": lambda train, validation, n: int(
        np.flatnonzero(validation <= 1.05 * validation.min())[-1]
    ),
    "first within a tenth": lambda train, validation, n: int(
        np.flatnonzero(validation <= 1.1 * validation.min())[0]
    ),
    "one error bar": lambda train, validation, n: _one_error_bar(validation),
    "two places": lambda train, validation, n: int(np.argmin(np.round(validation, 2))),
    "training errors added": lambda train, validation, n: int(np.argmin(train + validation)),
    "an information criterion": lambda train, validation, n: _criterion(train, n, 2),
    "a Bayesian criterion": lambda train, validation, n: _criterion(train, n, np.log(n)),
}


def with_choice(variant: Variant, seed: int, choose: Callable[..., int]) -> list[Answer]:
    """Give answers with another choice, their predictions those of its fit."""

    num_points = len(cases_of(variant.name, seed)[0].arguments["x_train"])

    def change(fits: Fits, answer: Answer) -> Answer:
        degree = choose(fits.train, np.mean(fits.differences**2, axis=1), num_points)
        return {"degree": degree, "predictions": fits.predictions[degree]}

    return changed(variant, seed, change)


@FORMS
def test_a_choice_by_validation_error_earns_all_with_every_draw(variant: Variant) -> None:
    choose = solution("a1", TASK, variant)

    def by_normal_equations(x: Any, y: Any, x_validation: Any, y_validation: Any, x_test: Any) -> Answer:
        def fit(degree: int) -> Callable[[Any], Any]:
            design = np.polynomial.chebyshev.chebvander(x, degree)
            weights = np.linalg.solve(design.T @ design, design.T @ y)
            return lambda at: np.polynomial.chebyshev.chebval(at, weights)

        errors = {d: float(np.mean((fit(d)(x_validation) - y_validation) ** 2)) for d in range(13)}
        degree = min(errors, key=errors.__getitem__)
        return {"degree": degree, "validation_errors": errors, "predictions": fit(degree)(x_test)}

    def with_polyfit(x: Any, y: Any, x_validation: Any, y_validation: Any, x_test: Any) -> Answer:
        fits = [np.poly1d(np.polyfit(x, y, degree)) for degree in range(13)]
        errors = [np.mean((fit(x_validation) - y_validation) ** 2) for fit in fits]
        best = int(np.argmin(errors))
        return {"degree": best, "validation_errors": errors, "predictions": fits[best](x_test)}

    for seed in DRAWS[::2]:
        for right in (choose, by_normal_equations, with_polyfit):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answers = [right(*case.arguments.values()) for case in cases_of(variant.name, seed)]
            assert lost(variant, seed, answers) == []
        assert lost(variant, seed, right_answers(variant.name, seed)) == []


@FORMS
def test_a_wrong_choice_loses_with_every_draw(variant: Variant) -> None:
    kept = {
        (name, seed)
        for name, choose in FAR.items()
        for seed in DRAWS[::2]
        if lost(variant, seed, with_choice(variant, seed, choose)) != [TEST, CHOICE]
    } | {
        (name, seed)
        for name, choose in NEAR.items()
        for seed in DRAWS[::2]
        if CHOICE not in lost(variant, seed, with_choice(variant, seed, choose))
    }
    assert kept == set()


@FORMS
def test_a_wrong_figure_loses_its_part_with_every_draw(variant: Variant) -> None:
    wrong = {name: (("train",), *rest) for name, rest in REPORTED.items()} | FITTED
    kept = {
        (name, seed)
        for name, (sets, change, parts) in wrong.items()
        for seed in DRAWS[::2]
        if lost(variant, seed, changed(variant, seed, change, sets)) != parts
    }
    assert kept == set()


@FORMS
def test_some_case_has_its_best_degree_at_each_end(variant: Variant) -> None:
    for seed in DRAWS[::2]:
        chosen = [answer["degree"] for answer in right_answers(variant.name, seed)]
        assert {0, 12} <= set(chosen)
