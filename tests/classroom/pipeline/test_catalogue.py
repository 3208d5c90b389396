from __future__ import annotations

from pathlib import Path

import pytest

import course_lib
from course_lib.classroom.pipeline import catalogue
from course_lib.errors import CourseError


def test_lessons_are_read_from_their_sources(course: Path) -> None:
    start, ratio = catalogue.lessons(course)
    assert (start.number, start.slug, start.name) == ("00", "start", "00_start")
    assert (start.title, start.minutes, start.description) == (
        "Start here",
        "under a minute",
        "What there is.",
    )
    assert ratio.minutes == "about 1 minute"


@pytest.mark.parametrize("name", ["1", "01", "ratio", "01_ratio", "01_ratio.ipynb"])
def test_a_lesson_is_found_by_number_name_or_slug(course: Path, name: str) -> None:
    assert [lesson.name for lesson in catalogue.choose(catalogue.lessons(course), [name])] == ["01_ratio"]


def test_lessons_come_in_the_order_of_the_course_and_once(course: Path) -> None:
    found = catalogue.lessons(course)
    assert catalogue.choose(found, ["ratio", "0", "01"]) == found
    assert catalogue.choose(found, []) == found


def test_an_unknown_lesson_is_answered_with_the_nearest(course: Path) -> None:
    with pytest.raises(CourseError, match=r"Did you mean 'ratio'\?"):
        catalogue.choose(catalogue.lessons(course), ["ratoi"])


def test_the_root_is_found_from_below(course: Path) -> None:
    assert catalogue.course_root(course / "notebooks" / "src") == course


def test_outside_a_checkout_the_mend_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        course_lib, "__file__", str(tmp_path / "site-packages" / "course_lib" / "__init__.py")
    )
    with pytest.raises(CourseError, match="Clone"):
        catalogue.course_root(tmp_path)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"ratio": "# %% [markdown]\n# # A\n"}, "NN_name.py"),
        ({"_01_a": "# %% [markdown]\n# # A\n", "_01_b": "# %% [markdown]\n# # B\n"}, "same number"),
        ({"_01_a": "# %%\n1 + 1\n"}, "title"),
    ],
)
def test_a_malformed_catalogue_is_refused(make_course, sources: dict[str, str], message: str) -> None:
    with pytest.raises(CourseError, match=message):
        catalogue.lessons(make_course(**sources))
