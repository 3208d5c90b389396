"""Assignment a3, Pre-trained prompt tuning: the trusted side. The notebook: notebooks/src/assignments/a3.py."""

from __future__ import annotations

from course_lib.classroom.assignments.a3.build_choices import BUILD_CHOICES
from course_lib.classroom.assignments.a3.draw_few_shot import DRAW_FEW_SHOT
from course_lib.classroom.assignments.a3.label_loss import LABEL_LOSS
from course_lib.classroom.assignments.a3.report import REPORT
from course_lib.classroom.assignments.a3.start_rows import START_ROWS
from course_lib.classroom.assignments.a3.tune_prompt import TUNE_PROMPT
from course_lib.classroom.assignments.assignment import Assignment

ASSIGNMENT = Assignment(
    name="a3",
    title="Pre-trained prompt tuning",
    tasks=(BUILD_CHOICES, START_ROWS, LABEL_LOSS, DRAW_FEW_SHOT, REPORT, TUNE_PROMPT),
    # No task is one of these, but each is near enough to start from.
    blocked=(
        "course_lib.ppt.pretraining.examples.build_nss_examples",
        "course_lib.ppt.soft_prompt.initialise",
        "course_lib.ppt.label_scoring.label_loss",
        "course_lib.ppt.label_scoring.label_scores",
        "course_lib.ppt.fewshot.splits.few_shot_split",
    ),
)
