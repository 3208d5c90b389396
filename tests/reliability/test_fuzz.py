"""Wrong inputs to every public function, a room at a time; `python -m tests.reliability fuzz` tries more."""

from __future__ import annotations

import math

import pytest

from course_lib.errors import CourseError
from tests.reliability import _wrong_values as wrong
from tests.reliability.fuzz import ROOMS, Call, all_calls, try_calls


@pytest.mark.parametrize("room", sorted(path.stem for path in ROOMS.glob("[a-z]*.py")))
def test_a_wrong_input_ends_in_a_course_error(room: str) -> None:
    assert try_calls(all_calls([room]), num_doubles=1, slow=False).trouble == []


def _half(value: float) -> float:
    if not value > 0:
        raise CourseError("value must be positive.", given=value)
    return value / 2


def test_what_is_accepted_or_breaks_is_found() -> None:
    found = try_calls([Call(_half, lambda: {"value": 2.0}, {"value": wrong.number(above=0)})], num_doubles=0)
    said = "\n".join(found.trouble)
    assert "(value: infinite): accepted: inf" in said
    assert "(value: bool): accepted: 0.5" in said
    assert "(value: empty text): other exception: TypeError" in said
    assert found.counts["CourseError"] > 0


def test_a_call_that_is_wrong_from_the_start_is_found() -> None:
    found = try_calls([Call(_half, lambda: {"value": math.nan}, {})], num_doubles=0)
    assert "the right call ends in CourseError" in found.trouble[0]
