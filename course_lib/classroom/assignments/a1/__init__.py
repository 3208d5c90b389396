"""Assignment a1, Complexity and overfitting: the trusted side. The notebook: notebooks/src/assignments/a1.py."""

from __future__ import annotations

from course_lib.classroom.assignments.a1 import (
    choose_degree,
    compare_models,
    descend,
    stop_early,
    summarise_gaps,
)
from course_lib.classroom.assignments.assignment import Assignment, tasks

ASSIGNMENT = Assignment(
    name="a1",
    title="Complexity and overfitting",
    tasks=tasks(compare_models, summarise_gaps, descend, stop_early, choose_degree),
    # `gradient_descent` does one step of a fixed size; the rest of the task would be a loop around it.
    blocked=("course_lib.complexity.descent.gradient_descent",),
)
