"""Assignment a4, In-context learning: the trusted side. The notebook: notebooks/src/assignments/a4.py."""

from __future__ import annotations

from course_lib.classroom.assignments.a4 import (
    bias_over_sets,
    calibrate,
    choose_demonstrations,
    plan_measurement,
    score_labels,
)
from course_lib.classroom.assignments.assignment import Assignment, tasks

ASSIGNMENT = Assignment(
    name="a4",
    title="In-context learning",
    tasks=tasks(choose_demonstrations, bias_over_sets, calibrate, score_labels, plan_measurement),
    blocked=(
        "course_lib.icl.calibration.contextual_scores",
        "course_lib.icl.calibration.median_scores",
        "course_lib.icl.underspecified.underspecified_split",
        "course_lib.icl.underspecified.disambiguating_demonstrations",
        "course_lib.statistics.mean_interval",
        "course_lib.statistics.hierarchical_bootstrap",
    ),
)
