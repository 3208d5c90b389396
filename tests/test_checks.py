"""Border checks: what is right goes through as plain numbers, everything else is named."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.checks import (
    a_choice,
    a_seed,
    border,
    check_callable,
    check_choice,
    check_count,
    check_fields,
    check_flag,
    check_labels,
    check_number,
    check_numbers,
    check_rows,
    check_scores,
    check_seed,
    check_share,
    check_text,
    check_texts,
    each,
    of_type,
    optional,
)
from course_lib.errors import CourseError

NO_NUMBERS = (None, "3", True, [3], math.nan, math.inf, -math.inf, 1j, object())


@pytest.mark.parametrize("value", [1, 7, np.int64(7), 10_000_000])
def test_a_count_is_an_int(value: Any) -> None:
    assert check_count("n", value) == value
    assert type(check_count("n", value)) is int


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -1, 2.0, 2.5, 10**9])
def test_what_is_no_count_is_refused(value: Any) -> None:
    with pytest.raises(CourseError, match=r"n must be a whole number from 1 to 10000000\. Given: "):
        check_count("n", value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_what_it_was(value: float) -> None:
    assert check_number("x", value) == value


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(CourseError, match="x must be a finite number"):
        check_number("x", value)


@pytest.mark.parametrize(
    ("bounds", "right", "wrong"),
    [
        ({"above": 0}, 1e-300, 0),
        ({"least": 0}, 0, -1e-300),
        ({"below": 1}, 0.999, 1),
        ({"most": 1}, 1, 1.0001),
    ],
)
def test_a_bound_is_kept(bounds: dict[str, float], right: float, wrong: float) -> None:
    assert check_number("x", right, **bounds) == right
    with pytest.raises(CourseError, match="x must be a finite number"):
        check_number("x", wrong, **bounds)


def test_a_share_may_or_may_not_touch_its_ends() -> None:
    assert [check_share("s", end) for end in (0, 1)] == [0, 1]
    for end in (0, 1):
        with pytest.raises(CourseError, match="s must be a finite number above 0 and below 1"):
            check_share("s", end, closed=False)


@pytest.mark.parametrize("value", [*NO_NUMBERS, -1, 2**32, 1.0])
def test_what_is_no_seed_is_refused(value: Any) -> None:
    with pytest.raises(CourseError, match="A seed is"):
        check_seed(value)


def test_a_choice_names_the_nearest() -> None:
    assert check_choice("profile", "smoke", ["smoke", "full"]) == "smoke"
    with pytest.raises(CourseError, match="Did you mean 'smoke'"):
        check_choice("profile", "smok", ["smoke", "full"])
    with pytest.raises(CourseError, match="no profile"):
        check_choice("profile", None, ["smoke", "full"])


@pytest.mark.parametrize(
    "values", [[1, 2], (1.0, 2.0), np.array([1, 2]), torch.tensor([1.0, 2.0]), range(1, 3)]
)
def test_numbers_come_from_any_container(values: Any) -> None:
    found = check_numbers("values", values)
    assert found.dtype == float
    assert found.tolist() == [1.0, 2.0]


def test_numbers_come_from_bfloat16() -> None:
    assert check_numbers("values", torch.tensor([1.0, 2.0], dtype=torch.bfloat16)).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "values",
    [
        None,
        3,
        "12",
        [],
        [[1, 2]],
        [[1], [1, 2]],
        ["1", "2"],
        [1, math.nan],
        [1, math.inf],
        [None],
        {1: 2},
        {1},
    ],
)
def test_what_are_no_numbers_is_refused(values: Any) -> None:
    with pytest.raises(CourseError, match="values must"):
        check_numbers("values", values)


def test_a_number_that_is_not_finite_is_named_with_its_place() -> None:
    with pytest.raises(CourseError, match=r"the one at \[1, 0\] is not\. Given: nan"):
        check_numbers("scores", [[1, 2], [math.nan, 3]], num_dims=2)


@pytest.mark.parametrize(
    "scores", [[1.0, 2.0], [[1.0]], [[1.0, 2.0]] * 3, [["a", "b"]] * 2, [[1, math.nan]] * 2]
)
def test_scores_of_another_shape_are_refused(scores: Any) -> None:
    with pytest.raises(CourseError, match="scores must"):
        check_scores("scores", scores, num_rows=2)


@pytest.mark.parametrize("labels", [[0, 1], (0, 1), np.array([0, 1], dtype=np.uint8), torch.tensor([0, 1])])
def test_labels_come_from_any_container(labels: Any) -> None:
    assert check_labels("labels", labels, num_labels=2, num_rows=2).tolist() == [0, 1]


@pytest.mark.parametrize(
    "labels",
    [
        None,
        1,
        "01",
        ["0", "1"],
        [0.0, 1.0],
        [True, False],
        [0, 2],
        [0, -1],
        [0, -100],
        [0],
        [[0], [1]],
        [0, None],
    ],
)
def test_what_are_no_labels_is_refused(labels: Any) -> None:
    with pytest.raises(CourseError, match="labels must"):
        check_labels("labels", labels, num_labels=2, num_rows=2)


@pytest.mark.parametrize(
    "texts", [None, "word", b"word", 3, [], [1], ["a", None], ["a", float("nan")], {"a": 1}]
)
def test_what_are_no_texts_is_refused(texts: Any) -> None:
    with pytest.raises(CourseError, match="words must"):
        check_texts("words", texts)


def test_an_empty_text_is_named_where_it_is_not_allowed() -> None:
    assert check_texts("words", ("a", "")) == ["a", ""]
    with pytest.raises(CourseError, match="the one at 1 is empty"):
        check_texts("words", ["a", ""], empty_ok=False)


def test_rows_are_checked_for_their_columns() -> None:
    rows: list[dict[str, int]] = [{"a": 1, "b": 2}]
    assert check_rows("rows", rows, ["a"]) == rows
    with pytest.raises(CourseError, match="Row 1 of rows lacks 'b'"):
        check_rows("rows", [{"a": 1, "b": 2}, {"a": 1}], ["a", "b"])


@pytest.mark.parametrize("rows", [None, [], [1], {"a": 1}, "ab"])
def test_what_are_no_rows_is_refused(rows: Any) -> None:
    with pytest.raises(CourseError, match="rows must"):
        check_rows("rows", rows, ["a"])


@pytest.mark.parametrize(
    "check", [check_count, check_number, check_numbers, check_labels, check_texts, check_rows]
)
def test_a_none_is_shown(check: Callable[[str, Any], Any]) -> None:
    with pytest.raises(CourseError, match=r"Given: None"):
        check("x", None)


@border(
    num_steps=check_count,
    rates=each(check_number),
    seed=a_seed,
    kind=a_choice("a", "b"),
    texts=optional(check_texts),
)
def _run(num_steps: int, rates: Any = (), *, seed: int = 0, kind: str = "a", texts: Any = None) -> tuple:
    """Return what it was handed."""
    return num_steps, rates, seed, kind, texts


def test_a_border_hands_on_what_its_checks_return() -> None:
    assert _run(np.int64(3), (1, 2)) == (3, [1.0, 2.0], 0, "a", None)
    assert _run(num_steps=3, texts=("x",)) == (3, (), 0, "a", ["x"])
    assert _run.__doc__ == "Return what it was handed."


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"num_steps": "3"}, "num_steps"),
        ({"rates": 3}, "rates must be a list"),
        ({"rates": "12"}, "rates must be a list"),
        ({"rates": []}, "rates must hold"),
        ({"rates": [1, math.nan]}, r"rates\[1\]"),
        ({"seed": -1}, "A seed"),
        ({"kind": "c"}, "no kind"),
        ({"texts": "x"}, "texts"),
    ],
)
def test_a_border_names_the_argument(wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(CourseError, match=name):
        _run(**{"num_steps": 1, **wrong})


def test_a_border_knows_its_function() -> None:
    with pytest.raises(TypeError, match="no argument steps"):
        border(steps=check_count)(_run)


def test_fields_are_checked_and_stay() -> None:
    @dataclass(frozen=True)
    class Settings:
        size: Any

        def __post_init__(self) -> None:
            check_fields(self, size=check_count)

    assert Settings(3).size == 3
    with pytest.raises(CourseError, match="size must be"):
        Settings(2.5)


def test_a_type_is_checked_without_loading_it() -> None:
    tensor = torch.tensor([1.0])
    assert of_type("torch.Tensor", "numpy.ndarray")("x", tensor) is tensor
    for wrong in (None, [1.0], "x"):
        with pytest.raises(CourseError, match="x must be a Tensor, not a "):
            of_type("torch.Tensor")("x", wrong)
    with pytest.raises(CourseError, match="x must be a Thing"):
        of_type("never_loaded.Thing")("x", tensor)


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [(check_text, "a", 3), (check_flag, True, 1), (check_callable, len, "len"), (a_choice("a"), "a", None)],
)
def test_small_checks(check: Callable[[str, Any], Any], right: Any, wrong: Any) -> None:
    assert check("x", right) is right
    with pytest.raises(CourseError):
        check("x", wrong)
