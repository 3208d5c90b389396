"""Templates: fields, and values in their place."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from course_lib.errors import CourseError
from course_lib.prompts.templates import Template


@dataclass(frozen=True)
class Shown(Template):
    """A text with fields, as it is."""

    text: str

    @property
    def text_with_fields(self) -> str:
        """The text."""
        return self.text


def test_fields_are_named_once_and_filled() -> None:
    template = Shown("{a} and {b}, {{a}} and {a}")
    assert template.fields == ("a", "b")
    assert template.write({"a": 1, "b": "{b}", "c": None}) == "1 and {b}, {a} and 1"


@pytest.mark.parametrize("text", ["", "none", "{}", "{a b}", "{0}", "{a.b}"])
def test_fields_are_plain_names(text: str) -> None:
    with pytest.raises(CourseError, match="plain name") as caught:
        Shown(text).check_fields("such as {a}")
    assert "such as {a}" in str(caught.value)


@pytest.mark.parametrize("text", ["{a", "a}", "{a:{b}"])
def test_an_open_brace_is_an_error(text: str) -> None:
    with pytest.raises(CourseError, match="cannot be read"):
        Shown(text).check_fields("{a}")


@pytest.mark.parametrize("row", [{}, {"a": None}, {"b": "text"}])
def test_a_row_without_the_field_is_an_error(row: dict[str, str | None]) -> None:
    with pytest.raises(CourseError, match="lacks the field 'a'"):
        Shown("{a}").write(row)
