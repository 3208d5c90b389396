"""How often a right notebook gets full marks on a busy machine.

Each run is a whole `course grade` of one notebook, with the sandbox looked for anew.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from course_lib.grading.gradebook import grade_class
from course_lib.grading.journal import Graded
from course_lib.pipeline.assignments import build_assignment
from course_lib.pipeline.catalogue import course_root
from tests.reliability._load import busy_processes

ASSIGNMENT = "a1"


def run(argv: Sequence[str]) -> int:
    """Measure, print each run that lost marks, and then the count."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability judge_loop", description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--busy", type=int, default=6, help="busy processes beside")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, busy_processes(options.busy):
        right = sum(_is_right(Path(folder), number) for number in range(1, options.runs + 1))
    print(f"full marks in {right} of {options.runs} runs, with {options.busy} busy processes beside")
    return 0 if right == options.runs else 1


def _is_right(folder: Path, number: int) -> bool:
    notebook = folder / "solved.ipynb"
    if not notebook.exists():
        root = course_root(Path(__file__))
        notebook.write_text(build_assignment(root, ASSIGNMENT, 0, solutions=True), encoding="utf-8")
    started = time.monotonic()
    (graded,) = grade_class(notebook, ASSIGNMENT, folder / f"{number}.csv", progress=False).graded
    lost = _lost(graded)
    seconds = time.monotonic() - started
    print(
        f"run {number}: {graded.report.marks} marks in {seconds:.0f} s under {graded.isolation}{lost}",
        flush=True,
    )
    return not lost


def _lost(graded: Graded) -> str:
    results = graded.report.results
    if results and all(result.marks == result.out_of for result in results):
        return ""
    failed = [f"{one.task} {one.verdict}: {one.message}" for one in results if one.marks < one.out_of]
    return "; ".join(["", graded.report.problem, *failed, *graded.report.cell_errors])
