"""Assignment a2, SMART: the trusted side. The notebook: notebooks/src/assignments/a2.py."""

from __future__ import annotations

from course_lib.classroom.assignments.a2 import ascend, divergence, follow, smoothness, train_smoothly
from course_lib.classroom.assignments.assignment import Assignment, tasks

ASSIGNMENT = Assignment(
    name="a2",
    title="SMART",
    tasks=tasks(ascend, divergence, follow, smoothness, train_smoothly),
    blocked=(
        "course_lib.smart.smoothness.project",
        "course_lib.smart.smoothness.normalise",
        "course_lib.smart.smoothness.SmoothnessRegularizer",
        "course_lib.smart.divergence.symmetric_kl",
        "course_lib.smart.proximal.beta_from_half_life",
    ),
)
