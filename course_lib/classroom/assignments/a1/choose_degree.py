"""The open experiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.polynomial.legendre import legvander

from course_lib.classroom.assignments.assignment import Case, Measured, Variant
from course_lib.classroom.assignments.building import first_problem
from course_lib.classroom.checking.answers import as_numbers, as_whole_number

TITLE = "Open experiment: choose a degree without looking at the test"
MARKS = 4
HINT = (
    "Fit every degree to the training points, measure on the validation points, and use the test points "
    "only to predict."
)

# y at x, for a sharpness and a place of the middle: at 0 a curve is flat, and the sharper, the higher its best degree.
CURVES: dict[str, Callable[..., np.ndarray]] = {
    "waves": lambda x, sharpness, middle: np.sin(2.3 * sharpness * np.pi * (x - middle)),
    "a slope": lambda x, sharpness, middle: np.tanh(10 * sharpness * (x - middle)),
    "a bump": lambda x, sharpness, middle: 2 * np.exp(-20 * sharpness * (x - middle) ** 2),
}
# Besides a flat curve, for which degree 0 is best, a very sharp one, for which the last degree is, and an odd one.
NUM_BETWEEN = 3
MAX_DEGREE = 12
_SETS = ("train", "validation", "test")
# What the parts are worth.
DEGREE_MARKS = {"test error": 2, "validation errors as reported": 1, "choice by validation error": 1}
# How much worse than a choice by validation error the predictions may be, in mean squared error on test points.
WORST_FACTOR = 1.1
# How far apart the errors of two ways to solve the same least squares may be.
ROUNDING = 0.005
# How much worse a wrong choice is on test points, in some case, and how much on validation points.
LEAST_TEST_FACTOR, LEAST_VALIDATION_FACTOR = 1.12, 1.02


def _among(first: int, behind: int, step: int = 1) -> Callable[..., int]:
    """Choose the degree of least validation error among some alone."""
    return lambda train, validation: first + step * int(np.argmin(validation[first:behind:step]))


def _within(share: float, place: int) -> Callable[..., int]:
    """Choose the first or the last degree that is nearly the best."""
    return lambda train, validation: int(np.flatnonzero(validation <= (1 + share) * validation.min())[place])


def _first_rise(train: np.ndarray, validation: np.ndarray) -> int:
    """Go on to higher degrees until the validation error rises."""
    return int(np.argmax(np.append(np.diff(validation) >= 0, True)))


_ABOVE_0, _BELOW_LAST, _EVEN = _among(1, MAX_DEGREE + 1), _among(0, MAX_DEGREE), _among(0, MAX_DEGREE + 1, 2)
# Wrong choices, from the errors of each degree. Each has a higher validation error than the right one in some case,
_NEAR_CHOICES: tuple[Callable[..., int], ...] = (
    *(_within(share, place) for share in (0.05, 0.1, 0.2) for place in (0, -1)),
    lambda train, validation: int(np.argmin(np.round(validation, 2))),
    lambda train, validation: int(np.argmin(train + validation)),
)
# and each of these a higher test error, too.
_FAR_CHOICES: tuple[Callable[..., int], ...] = (
    *(_among(degree, degree + 1) for degree in range(MAX_DEGREE + 1)),
    _ABOVE_0,
    _BELOW_LAST,
    _EVEN,
    _among(1, MAX_DEGREE + 1, 2),
    _first_rise,
    lambda train, validation: MAX_DEGREE - _first_rise(train[::-1], validation[::-1]),
    lambda train, validation: min(int(np.argmin(validation)) + 1, MAX_DEGREE),
    lambda train, validation: max(int(np.argmin(validation)) - 1, 0),
    lambda train, validation: int(np.argmin(train)),
    lambda train, validation: int(np.argmin(np.abs(validation - train))),
)


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws cases until each wrong way to choose loses in one of them."""
    # The same number of points in all cases, which come in any order: only the points tell the degree.
    draw = partial(_degree_case, rng, variant, int(rng.integers(24, 31)))
    flat = _first_telling(lambda: [draw(0.0, noise=rng.uniform(0.1, 0.4))], [_ABOVE_0])
    sharp = _first_telling(lambda: [draw(rng.uniform(1, 1.4), noise=rng.uniform(0.03, 0.1))], [_BELOW_LAST])
    odd = _first_telling(lambda: [draw(rng.uniform(0.1, 1), noise=rng.uniform(0.1, 0.4))], [_EVEN])

    def with_some_between() -> list[Case]:
        sharpnesses = 0.1 + 0.9 * (np.arange(NUM_BETWEEN) + rng.random(NUM_BETWEEN)) / NUM_BETWEEN
        between = [draw(sharpness, noise=rng.uniform(0.1, 0.4)) for sharpness in sharpnesses]
        return [*flat, *sharp, *odd, *between]

    drawn = _first_telling(with_some_between, _FAR_CHOICES, _NEAR_CHOICES)
    return [drawn[place] for place in rng.permutation(len(drawn))]


def _first_telling(
    draw: Callable[[], list[Case]], far: Sequence[Callable[..., int]], near: Sequence[Callable[..., int]] = ()
) -> list[Case]:
    """Draw cases until every wrong choice is seen to be wrong in one of them."""
    while True:
        cases = draw()
        errors = [_errors_of_degrees(case) for case in cases]
        if all(_is_seen(choose, errors, LEAST_TEST_FACTOR) for choose in far) and all(
            _is_seen(choose, errors, 0.0) for choose in near
        ):
            return cases


def _is_seen(choose: Callable[..., int], errors: Sequence[Any], least_test_factor: float) -> bool:
    on_validation, on_test = np.max([_factors(choose, *of_case) for of_case in errors], axis=0)
    return bool(on_validation > LEAST_VALIDATION_FACTOR and on_test > least_test_factor)


def _factors(
    choose: Callable[..., int], train: np.ndarray, validation: np.ndarray, test: np.ndarray
) -> tuple[float, float]:
    """Give how much worse a choice is than that by validation error, on validation and on test points."""
    chosen, best = choose(train, validation), int(np.argmin(validation))
    return float(validation[chosen] / validation[best]), float(test[chosen] / test[best])


def _degree_case(
    rng: np.random.Generator, variant: str, num_train: int, sharpness: float, *, noise: float
) -> Case:
    curve = partial(CURVES[variant], sharpness=sharpness, middle=rng.uniform(-0.2, 0.2))
    sets = {
        name: _points(rng, curve, noise, count)
        for name, count in (("train", num_train), ("validation", 80), ("test", 300))
    }
    arguments = {f"{axis}_{name}": sets[name]["xy".index(axis)] for name in sets for axis in "xy"}
    y_test = arguments.pop("y_test")
    return Case(arguments, {"y_test": y_test})


def _points(
    rng: np.random.Generator, curve: Callable[[np.ndarray], np.ndarray], noise: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    # One point in each of `count` equal parts: no draw leaves a gap that makes the best degree a matter of luck.
    x = -1 + 2 * (np.arange(count) + rng.random(count)) / count
    x = rng.permutation(x)
    return x, curve(x) + rng.normal(0, noise, count)


def measure(cases: Sequence[Case], answers: Sequence[Any]) -> list[Measured]:
    """Measures the properties of the answers."""
    unusable = first_problem(map(_form_problem, answers))
    if unusable:
        return [Measured(name, marks, False, unusable) for name, marks in DEGREE_MARKS.items()]
    errors = [_errors_of_degrees(case) for case in cases]
    validation = [of_case[1] for of_case in errors]
    factors = list(map(_error_factor, cases, errors, answers))
    problems = {
        "test error": first_problem(map(_prediction_problem, cases, answers)),
        "validation errors as reported": first_problem(map(_validation_problem, validation, answers)),
        "choice by validation error": first_problem(map(_choice_problem, validation, answers)),
    }
    factor = (
        f"at worst {min(max(factors), 999):.2f} times that of a choice by validation error; "
        f"{WORST_FACTOR} is allowed."
    )
    if max(factors) > WORST_FACTOR:
        problems["test error"] = problems["test error"] or factor
    well = {
        "test error": factor,
        "validation errors as reported": "they are those of least-squares fits to the training points.",
        "choice by validation error": "of all degrees, yours has the least.",
    }
    return [
        Measured(name, marks, not problems[name], problems[name] or well[name])
        for name, marks in DEGREE_MARKS.items()
    ]


def _form_problem(answer: Any) -> str:
    return "" if isinstance(answer, Mapping) else "the function returns no dictionary."


def _missing(answer: Mapping[str, Any], *keys: str) -> str:
    return first_problem(f'the key "{key}" is missing.' for key in keys if key not in answer)


def _error_factor(case: Case, errors: Sequence[np.ndarray], answer: Mapping[str, Any]) -> float:
    _, validation, test = errors
    predictions, y_test = as_numbers(answer.get("predictions")), case.hidden["y_test"]
    if predictions.shape != y_test.shape or not np.isfinite(predictions).all():
        return float("inf")
    return float(np.mean((predictions - y_test) ** 2) / test[np.argmin(validation)])


def _prediction_problem(case: Case, answer: Mapping[str, Any]) -> str:
    """Compare the predictions with a fit's: a better method than the fit of the degree is another task."""
    malformed = _missing(answer, "degree", "predictions") or _degree_problem(answer)
    if malformed:
        return malformed
    given = case.arguments
    degree, predictions = int(answer["degree"]), as_numbers(answer["predictions"])
    own = _predictions(given, given["x_test"])[degree]
    if predictions.shape != own.shape:
        return '"predictions" is no array of one number for each test point.'
    if np.allclose(predictions, own, rtol=0.01, atol=0.01):
        return ""
    return "the predictions are not those of the fit of your degree to the training points."


def _validation_problem(validation: np.ndarray, answer: Mapping[str, Any]) -> str:
    if "validation_errors" not in answer:
        return _missing(answer, "validation_errors")
    reported = answer["validation_errors"]
    if isinstance(reported, list | tuple | np.ndarray):
        # In the order of the degrees: it says the same.
        reported = dict(enumerate(reported))
    if not isinstance(reported, Mapping):
        return '"validation_errors" is no dictionary.'
    if set(reported) != set(range(MAX_DEGREE + 1)):
        return f"asked for are those of the degrees from 0 to {MAX_DEGREE}, each once."
    errors = {degree: as_numbers(reported[degree]) for degree in range(MAX_DEGREE + 1)}
    no_numbers = [
        degree for degree, error in errors.items() if error.size != 1 or not np.isfinite(error).all()
    ]
    if no_numbers:
        return f'"validation_errors" holds no finite number for degree {no_numbers[0]}.'
    # Another way to solve the same least squares ends in other roundings.
    wrong = [
        degree
        for degree, own in enumerate(validation)
        if not abs(errors[degree].sum() - own) <= ROUNDING * own
    ]
    if not wrong:
        return ""
    return f"a fit of degree {wrong[0]} to the training points alone has another mean squared error."


def _choice_problem(validation: np.ndarray, answer: Mapping[str, Any]) -> str:
    """Compare the degree with the one that has the least validation error, whatever was reported."""
    malformed = _missing(answer, "degree") or _degree_problem(answer)
    if malformed:
        return malformed
    chosen = validation[int(answer["degree"])]
    return "" if chosen <= (1 + ROUNDING) * validation.min() else "another degree has a lower one."


def _degree_problem(answer: Mapping[str, Any]) -> str:
    degree = as_whole_number(answer["degree"])
    if degree is not None and 0 <= degree <= MAX_DEGREE:
        return ""
    return f"the degree is no whole number from 0 to {MAX_DEGREE}."


def _errors_of_degrees(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the mean squared errors of each degree's fit on training, validation and test points."""
    given = {**case.arguments, **case.hidden}
    x, y = (np.concatenate([given[f"{axis}_{name}"] for name in _SETS]) for axis in "xy")
    squares = (_predictions(given, x) - y) ** 2
    ends = np.cumsum([len(given[f"x_{name}"]) for name in _SETS])
    train, validation, test = (part.mean(axis=1) for part in np.split(squares, ends[:-1], axis=1))
    return train, validation, test


def _predictions(given: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """Give what the fit of each degree to the training points says at x, an array [degrees, points]."""
    basis, triangle = np.linalg.qr(legvander(given["x_train"], MAX_DEGREE))
    # In an orthogonal basis, the fit of a degree is that of the degree below and one term more.
    terms = np.linalg.solve(triangle.T, legvander(x, MAX_DEGREE).T)
    return np.asarray(np.cumsum((basis.T @ given["y_train"])[:, None] * terms, axis=0))


VARIANTS = tuple(Variant(curve, {"curve": curve}) for curve in CURVES)
