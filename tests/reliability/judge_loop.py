"""How often a right notebook gets full marks on a busy machine.

The notebooks are graded as classes of a few, each by a whole `course grade` that looks for the sandbox anew.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from course_lib.classroom.grading.gradebook import grade_class
from course_lib.classroom.grading.journal import Graded
from course_lib.classroom.pipeline.assignments import build_assignment
from course_lib.classroom.pipeline.catalogue import course_root
from tests.reliability._load import busy_processes

ASSIGNMENT = "a1"


def run(argv: Sequence[str]) -> int:
    """Measure, print each notebook that lost marks, and then the count."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability judge_loop", description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="notebooks to grade")
    parser.add_argument("--busy", type=int, default=6, help="busy processes beside")
    parser.add_argument("--batch", type=int, default=10, help="notebooks of a class")
    options = parser.parse_args(argv)
    right = graded = 0
    with tempfile.TemporaryDirectory() as folder, busy_processes(options.busy):
        while graded < options.runs:
            count = min(options.batch, options.runs - graded)
            right += _num_right(Path(folder, str(graded)), count)
            graded += count
            print(
                f"full marks for {right} of {graded} notebooks, {options.busy} busy processes beside",
                flush=True,
            )
    return 0 if right == graded else 1


def _num_right(folder: Path, count: int) -> int:
    """Grade a class of right notebooks, and count those that got full marks."""
    notebook = build_assignment(course_root(Path(__file__)), ASSIGNMENT, 0, solutions=True)
    submissions = folder / "submissions"
    submissions.mkdir(parents=True)
    for number in range(count):
        (submissions / f"{number}.ipynb").write_text(notebook, encoding="utf-8")
    result = grade_class(submissions, ASSIGNMENT, folder / "gradebook.csv", progress=False)
    lost = [text for one in result.graded if (text := _lost(one))]
    print(*lost, sep="\n", end="\n" if lost else "", flush=True)
    return count - len(lost)


def _lost(graded: Graded) -> str:
    results = graded.report.results
    if results and all(result.marks == result.out_of for result in results):
        return ""
    failed = [f"{one.task} {one.verdict}: {one.message}" for one in results if one.marks < one.out_of]
    return "; ".join(
        [f"{graded.label} lost marks", graded.report.problem, *failed, *graded.report.cell_errors]
    )
