"""Assignment a1, Complexity and overfitting: the trusted side. The notebook: notebooks/src/assignments/a1.py."""

from __future__ import annotations

from course_lib.classroom.assignments.a1.choose_degree import CHOOSE_DEGREE
from course_lib.classroom.assignments.a1.compare_models import COMPARE_MODELS
from course_lib.classroom.assignments.a1.descend import DESCEND
from course_lib.classroom.assignments.a1.stop_early import STOP_EARLY
from course_lib.classroom.assignments.a1.summarise_gaps import SUMMARISE_GAPS
from course_lib.classroom.assignments.assignment import Assignment

ASSIGNMENT = Assignment(
    name="a1",
    title="Complexity and overfitting",
    tasks=(COMPARE_MODELS, SUMMARISE_GAPS, DESCEND, STOP_EARLY, CHOOSE_DEGREE),
    # `gradient_descent` does one step of a fixed size; the rest of the task would be a loop around it.
    blocked=("course_lib.complexity.descent.gradient_descent",),
)
