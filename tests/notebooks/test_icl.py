"""The lessons on in-context learning."""

from __future__ import annotations

from tests.notebooks.lesson_checks import LessonChecks

LESSONS = ("07", "08", "09")


class TestLessons(LessonChecks):
    pass
