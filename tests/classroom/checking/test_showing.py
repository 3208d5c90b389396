from __future__ import annotations

import numpy as np

from course_lib.classroom.checking.showing import MAX_CHARACTERS, shortened, show, show_case, show_error


class Unshowable:
    def __repr__(self) -> str:
        raise SystemExit("no")


def test_long_values_are_shortened() -> None:
    assert show(np.arange(1000)) == "array([  0,   1,   2, ..., 997, 998, 999]) of shape (1000,)"
    assert show([0] * 50).endswith("... (50 in all)]")
    assert len(show("x" * 100_000)) <= MAX_CHARACTERS
    assert len(show(dict.fromkeys(range(500), "x" * 500))) <= MAX_CHARACTERS


def test_a_list_that_holds_itself_has_an_end() -> None:
    endless: list = []
    endless.append(endless)
    assert show(endless) == "[[[[...]]]]"


def test_numbers_are_readable() -> None:
    assert show(np.float64(0.1) + np.float64(0.2)) == "0.3"
    assert show(5_500_000_000) == "5_500_000_000"
    assert show(float("nan")) == "nan"
    assert show((1,)) == "(1,)"


def test_what_cannot_be_shown_is_named() -> None:
    assert show(Unshowable()) == "an object of type Unshowable that cannot be shown"
    assert show([1, Unshowable()]) == "an object of type list that cannot be shown"
    assert "int" in show(10**5000)


def test_lone_surrogates_become_escapes() -> None:
    assert shortened("a\ud800") == "a\\ud800"
    assert show_error(ValueError("\ud800")).encode("utf-8")


def test_matrices_keep_their_lines_below_each_other() -> None:
    assert show_case({"w": np.eye(2)}) == "w =\n  array([[1., 0.],\n         [0., 1.]])"
