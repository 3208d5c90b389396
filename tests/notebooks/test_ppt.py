"""The lessons on prompts."""

from __future__ import annotations

from tests.notebooks.lesson_checks import LessonChecks

LESSONS = ("05", "06")


class TestLessons(LessonChecks):
    pass
