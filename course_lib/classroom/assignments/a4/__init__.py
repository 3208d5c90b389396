"""Assignment a4, In-context learning: the trusted side. The notebook: notebooks/src/assignments/a4.py."""

from __future__ import annotations

from course_lib.classroom.assignments.a4.bias_over_sets import BIAS_OVER_SETS
from course_lib.classroom.assignments.a4.calibrate import CALIBRATE
from course_lib.classroom.assignments.a4.choose_demonstrations import CHOOSE_DEMONSTRATIONS
from course_lib.classroom.assignments.a4.plan_measurement import PLAN_MEASUREMENT
from course_lib.classroom.assignments.a4.score_labels import SCORE_LABELS
from course_lib.classroom.assignments.assignment import Assignment

ASSIGNMENT = Assignment(
    name="a4",
    title="In-context learning",
    tasks=(CHOOSE_DEMONSTRATIONS, BIAS_OVER_SETS, CALIBRATE, SCORE_LABELS, PLAN_MEASUREMENT),
    blocked=(
        "course_lib.icl.calibration.contextual_scores",
        "course_lib.icl.calibration.median_scores",
        "course_lib.icl.underspecified.underspecified_split",
        "course_lib.icl.underspecified.disambiguating_demonstrations",
        "course_lib.statistics.mean_interval",
        "course_lib.statistics.hierarchical_bootstrap",
    ),
)
