"""An error says what is wrong, what was given and what to do."""

from __future__ import annotations

from copy import deepcopy

import pytest

from course_lib.errors import CourseError, unknown_name


def test_the_message_has_problem_value_and_mend() -> None:
    error = CourseError("The rate must be positive.", given=-1, mend="Try 1e-4.")
    assert str(error) == "The rate must be positive. Given: -1. What to do: Try 1e-4."


def test_value_and_mend_may_be_missing() -> None:
    assert str(CourseError("Nothing to see.")) == "Nothing to see."


@pytest.mark.parametrize("value", [0, "", False, []])
def test_an_empty_value_is_shown_too(value: object) -> None:
    assert f"Given: {value!r}." in str(CourseError("Empty.", given=value))


def test_a_long_value_is_cut() -> None:
    message = str(CourseError("Too long.", given="x" * 5000))
    assert len(message) < 250
    assert "..." in message


def test_an_error_can_be_taken_apart_and_rebuilt() -> None:
    error = CourseError("Bad.", given=[1, 2], mend="Mend it.")
    copy = deepcopy(error)
    assert (copy.problem, copy.given, copy.mend, str(copy)) == ("Bad.", [1, 2], "Mend it.", str(error))


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    message = str(unknown_name("text", "movei", ["movie", "tweets"]))
    assert message == (
        "There is no text of this name. Given: 'movei'. What to do: Did you mean 'movie'? Known: movie, tweets."
    )


def test_a_name_near_to_nothing_gets_the_list_only() -> None:
    message = str(unknown_name("text", "zzz", ["movie"]))
    assert "Did you mean" not in message
    assert "Known: movie." in message


def test_with_nothing_known_the_message_says_so() -> None:
    assert "Known: none." in str(unknown_name("result", 3, []))
