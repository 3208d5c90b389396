"""The lessons on model complexity and overfitting, and of fine-tuning that updates too much."""

from __future__ import annotations

from tests.notebooks.lesson_checks import LessonChecks

LESSONS = ("00", "01", "02")


class TestLessons(LessonChecks):
    pass
