"""Mistakes at the boundaries of the assignments' tasks. Each is tried in every form whose code has a place for it."""

from tests.classroom.grading.planted import a1, a2, a3, a4

PLANTED = {**a1.PLANTED, **a2.PLANTED, **a3.PLANTED, **a4.PLANTED}
