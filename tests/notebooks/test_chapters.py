"""Every lesson is in one chapter's tests."""

from __future__ import annotations

from tests.notebooks import test_complexity, test_icl, test_ppt, test_smart
from tests.notebooks.lesson_checks import NAMES


def test_every_lesson_is_tried_once() -> None:
    chapters = (test_complexity, test_smart, test_ppt, test_icl)
    assert [number for chapter in chapters for number in chapter.LESSONS] == [name[:2] for name in NAMES]
