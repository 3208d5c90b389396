"""Assignment a3, Pre-trained prompt tuning: the trusted side. The notebook: notebooks/src/assignments/a3.py."""

from __future__ import annotations

from course_lib.classroom.assignments.a3 import (
    build_choices,
    draw_few_shot,
    label_loss,
    report,
    start_rows,
    tune_prompt,
)
from course_lib.classroom.assignments.assignment import Assignment, tasks

ASSIGNMENT = Assignment(
    name="a3",
    title="Pre-trained prompt tuning",
    tasks=tasks(build_choices, start_rows, label_loss, draw_few_shot, report, tune_prompt),
    # No task is one of these, but each is near enough to start from.
    blocked=(
        "course_lib.ppt.pretraining.examples.build_nss_examples",
        "course_lib.ppt.soft_prompt.initialise",
        "course_lib.ppt.label_scoring.label_loss",
        "course_lib.ppt.label_scoring.label_scores",
        "course_lib.ppt.fewshot.splits.few_shot_split",
    ),
)
