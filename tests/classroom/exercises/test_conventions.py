"""What a result must be like stands in an exercise's task and above its cell in the notebook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from course_lib.classroom.exercises import EXERCISES

SOURCES = Path(__file__).parents[3] / "notebooks" / "src"

# The words in the task, and those in the notebook.
CONVENTIONS = [
    ("01.parameter_ratio", "without rounding", "without rounding"),
    ("02.gradient_descent", "the start first", "[num_steps + 1, D]"),
    ("02.largest_stable_step", "one number", "one number"),
    ("03.project", "absolute entry", "largest in absolute value"),
    ("03.smoothness_gradient", "mean over the batch", "over the B examples"),
    ("04.momentum_anchor", "starts at weights[0]", "starts at `weights[0]`"),
    ("04.weight_left", "from 0 to 1", "from 0 to 1"),
    ("04.expected_calibration_error", "1.0 to the last bin", "1.0 to the last bin"),
    ("05.answer_column", "count from 0", "count from 0"),
    ("05.answer_loss", "natural logarithm", "The logarithm is the natural one"),
    ("05.answer_loss", "as large as 1,000", "as large as 1,000"),
    ("05.random_rows", "ddof=0", "`ddof=0`"),
    ("06.pair_label", "a sentence and itself", "a sentence and itself"),
    ("06.answer_place", "from 0 on", "count from 0"),
    ("06.draw_balanced", "row numbers", "numbers of the first num_each rows"),
    ("06.paired_error", "ddof=1", "`ddof=1`"),
    ("07.label_log_probability", "in nats", "natural ones"),
    ("07.choose_label", "of equal ones the first", "Of equal logits the first label"),
    ("07.median_predictions", "else 0", "gets 0"),
    ("08.underspecified_rows", "from 0 on", "count from 0"),
    ("08.constant_model", "from 0 to 1", "from 0 to 1"),
    ("09.intended_change", "negative where it fell", "negative where its h-accuracy fell"),
    ("09.disambiguating_labels", "as a pair", "as a pair"),
    ("09.paired_change", "after - before", "after minus before"),
]


def _text_of(name: str) -> str:
    """Give an exercise's text and cell, as one line."""
    (path,) = SOURCES.glob(f"{name[:2]}_*.py")
    before, cell = path.read_text(encoding="utf-8").split(f'# %% exercise="{name}"\n')
    lines = [before.rpartition("# %%")[2], cell.partition("# %%")[0].partition("# solution")[0]]
    return re.sub(r"\s+", " ", " ".join(lines).replace("\n# ", " "))


@pytest.mark.parametrize(("name", "in_task", "in_notebook"), CONVENTIONS)
def test_a_convention_stands_in_the_task_and_in_the_notebook(
    name: str, in_task: str, in_notebook: str
) -> None:
    assert in_task in EXERCISES[name].task
    assert in_notebook in _text_of(name)
