"""A judge with the course's copy, its isolation and its plan made once, and notebooks to hand in."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from course_lib.classroom.assignments.assignment import load_assignment
from course_lib.classroom.grading.expecting import PlannedTask, plan
from course_lib.classroom.grading.judging import Report, grade_notebook
from course_lib.classroom.grading.sandbox.course_copy import copy_course
from course_lib.classroom.grading.sandbox.isolation import Isolation, find_isolation
from course_lib.classroom.limits import Limits
from course_lib.classroom.pipeline.assignments import build_assignment
from course_lib.classroom.pipeline.catalogue import course_root

ROOT = course_root(Path(__file__))
SECRET_SEED = 3
SEED = 11
# Longer than a slow, busy machine takes; only what hangs runs into it.
PATIENT = Limits(call_seconds=60, cell_seconds=60, load_seconds=120, total_seconds=300)


def notebook(*cells: str) -> bytes:
    """Give a notebook of code cells."""
    content = [{"cell_type": "code", "source": cell, "metadata": {}} for cell in cells]
    return json.dumps({"cells": content, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def code_cells(text: str) -> list[str]:
    """Give the code cells of a built notebook."""
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]


@cache
def instructors_cells(assignment: str, secret_seed: int) -> list[str]:
    """Give the code cells of the instructor's notebook of one form."""
    return code_cells(build_assignment(ROOT, assignment, secret_seed, solutions=True))


@dataclass(frozen=True)
class Judge:
    """Grades notebooks as a run does, without the class around it."""

    planned: list[PlannedTask]
    form: str
    course: Path
    isolation: Isolation
    limits: Limits = PATIENT

    def grade(self, submitted: bytes) -> Report:
        """Grade one notebook."""
        return grade_notebook(
            submitted,
            self.planned,
            form=self.form,
            course=self.course,
            isolation=self.isolation,
            limits=self.limits,
        )

    def verdicts(self, submitted: bytes) -> list[str]:
        """Grade one notebook and give the verdicts in order."""
        return [result.verdict for result in self.grade(submitted).results]

    def only(self, *functions: str, **limits: float) -> Judge:
        """Give a judge of these tasks alone, with other limits."""
        planned = [task for task in self.planned if task.task.function in functions]
        return replace(self, planned=planned, limits=replace(self.limits, **limits))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """A judge in bubblewrap; where there is none, a loud skip, and in CI a failure.

    With a container image in the variable COURSE_TEST_IMAGE, a judge in containers of it.
    """
    course = copy_course(tmp_path_factory.mktemp("judge") / "course", load_assignment("a1").blocked)
    isolation = find_isolation(course, os.environ.get("COURSE_TEST_IMAGE", ""))
    if isolation.kind == "plain process":
        message = f"THE JUDGE'S SANDBOX IS NOT TESTED HERE. {isolation.note}"
        if os.environ.get("CI"):
            pytest.fail(message)
        warnings.warn(message)
        pytest.skip(message)
    return first_assignments_judge(course, isolation)


def first_assignments_judge(course: Path, isolation: Isolation) -> Judge:
    """Give a judge of the first assignment."""
    assignment = load_assignment("a1")
    return Judge(plan(assignment, SECRET_SEED, SEED), assignment.form(SECRET_SEED), course, isolation)


@pytest.fixture(scope="session")
def solved() -> list[str]:
    """The code cells of the instructor's notebook."""
    return instructors_cells("a1", SECRET_SEED)


@pytest.fixture(scope="session")
def untouched() -> str:
    """The student's notebook as it is handed out."""
    return build_assignment(ROOT, "a1", SECRET_SEED)


def processes_with(token: str, seconds: float = 10.0) -> list[str]:
    """Give the command lines on this machine that hold a token, once they had time to end."""
    found: list[str] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = [line for line in _command_lines() if token in line]
        if not found:
            return []
        time.sleep(0.05)
    return found


def _command_lines() -> Sequence[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_text(errors="replace"))
        except OSError:
            continue
    return lines
