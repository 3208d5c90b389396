"""The lessons on SMART."""

from __future__ import annotations

from tests.notebooks.lesson_checks import LessonChecks

LESSONS = ("03", "04")


class TestLessons(LessonChecks):
    pass
