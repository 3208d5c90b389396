"""Lazy faces: what they load, when, and what they show."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FACE = """
from typing import TYPE_CHECKING

from course_lib.lazy import lazy_face

if TYPE_CHECKING:
    from course_lib.errors import CourseError as CourseError
    from fruit.inner.green import pear as pear
    from fruit.red import apple as apple
    from fruit.red import cherry as cherry
else:
    __getattr__, __dir__, __all__ = lazy_face(__name__, __file__)
"""


@pytest.fixture
def fruit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    inner = tmp_path / "fruit" / "inner"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").write_text(FACE)
    (inner.parent / "red.py").write_text("apple, cherry, hidden = 'apple', 'cherry', 'hidden'")
    (inner / "__init__.py").write_text("")
    (inner / "green.py").write_text("pear = 'pear'")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("fruit")
    for name in [name for name in sys.modules if name.partition(".")[0] == "fruit"]:
        del sys.modules[name]


def test_a_face_loads_a_module_when_its_name_is_asked_for(fruit: ModuleType) -> None:
    assert "fruit.red" not in sys.modules
    assert (fruit.apple, fruit.pear) == ("apple", "pear")
    assert {"fruit.red", "fruit.inner.green"} <= set(sys.modules)


def test_a_face_can_show_a_name_from_elsewhere(fruit: ModuleType) -> None:
    from course_lib.errors import CourseError

    assert fruit.CourseError is CourseError


def test_a_face_shows_its_names_before_they_are_loaded(fruit: ModuleType) -> None:
    assert fruit.__all__ == ["CourseError", "apple", "cherry", "pear"]
    assert {*fruit.__all__, "__name__"} <= set(dir(fruit))
    assert "fruit.red" not in sys.modules


def test_a_face_has_no_other_names(fruit: ModuleType) -> None:
    with pytest.raises(AttributeError, match="module 'fruit' has no attribute 'hidden'"):
        _ = fruit.hidden
    with pytest.raises(ImportError, match="cannot import name 'plum' from 'fruit'"):
        exec("from fruit import plum")


def test_modules_and_stars_are_imported_through_a_face(fruit: ModuleType) -> None:
    found: dict[str, object] = {}
    exec("from fruit import red\nfrom fruit import *", found)
    assert found["red"] is sys.modules["fruit.red"]
    assert found["cherry"] == "cherry"
