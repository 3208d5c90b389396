"""Assignment a2, SMART: the trusted side. The notebook: notebooks/src/assignments/a2.py."""

from __future__ import annotations

from course_lib.classroom.assignments.a2.ascend import ASCEND
from course_lib.classroom.assignments.a2.divergence import DIVERGENCE
from course_lib.classroom.assignments.a2.follow import FOLLOW
from course_lib.classroom.assignments.a2.smoothness import SMOOTHNESS
from course_lib.classroom.assignments.a2.train_smoothly import TRAIN_SMOOTHLY
from course_lib.classroom.assignments.assignment import Assignment

ASSIGNMENT = Assignment(
    name="a2",
    title="SMART",
    tasks=(ASCEND, DIVERGENCE, FOLLOW, SMOOTHNESS, TRAIN_SMOOTHLY),
    blocked=(
        "course_lib.smart.smoothness.project",
        "course_lib.smart.smoothness.normalise",
        "course_lib.smart.smoothness.SmoothnessRegularizer",
        "course_lib.smart.divergence.symmetric_kl",
        "course_lib.smart.proximal.beta_from_half_life",
    ),
)
