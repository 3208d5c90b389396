"""What stands in for bubblewrap where there is none, and what is said of it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from course_lib.classroom.assignments.assignment import load_assignment
from course_lib.classroom.grading.judging import PRINTED_TOO_MUCH
from course_lib.classroom.grading.sandbox import isolation as sandbox
from course_lib.classroom.grading.sandbox.bubblewrap import bubblewrap_arguments
from course_lib.classroom.grading.sandbox.course_copy import copy_course
from course_lib.classroom.grading.sandbox.isolation import Isolation, find_isolation
from course_lib.classroom.limits import Limits
from course_lib.errors import CourseError
from tests.classroom.grading.conftest import Judge, first_assignments_judge, notebook
from tests.classroom.grading.test_attacks import WRONG


@pytest.fixture
def course(tmp_path: Path) -> Path:
    return copy_course(tmp_path / "course", load_assignment("a1").blocked)


@pytest.fixture
def plain(tmp_path: Path, course: Path, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """A judge on a machine without bubblewrap."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    # As root the worker is another user, who has to reach the course's copy.
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder != Path("/tmp"):
            folder.chmod(0o755)
    try:
        isolation = find_isolation(course)
    except CourseError as error:
        pytest.skip(
            f"no plain worker here, as the judge is root and others cannot read its Python: {error.given}"
        )
    return first_assignments_judge(course, isolation)


def test_without_bubblewrap_the_judge_works_and_says_that_isolation_is_weaker(
    plain: Judge, solved: list[str]
) -> None:
    assert plain.isolation.kind == "plain process"
    assert "WEAKER: bubblewrap is not installed" in plain.isolation.note
    assert plain.verdicts(notebook(*solved)) == ["passed"] * 5
    report = plain.grade(notebook(*solved, "print('x' * 50_000_000)"))
    assert ([result.verdict for result in report.results], report.cell_errors) == (["passed"] * 5, ())
    assert report.notes == (PRINTED_TOO_MUCH,)
    hanging = "def compare_models(rows, unit):\n    while True: pass"
    hasty = plain.only("compare_models", "descend", call_seconds=2)
    assert hasty.verdicts(notebook(WRONG, hanging)) == ["timeout", "failed"]
    greedy = "def compare_models(rows, unit): return [bytearray(10**9) for _ in range(50)]"
    assert plain.only("compare_models").verdicts(notebook(WRONG, greedy)) == ["error"]


def test_where_bubblewrap_does_not_work_the_reason_is_said(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trouble(course: Path, isolation: Isolation) -> str:
        return "no permission to make namespaces" if isolation.kind == "bubblewrap" else ""

    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/bwrap")
    monkeypatch.setattr(sandbox, "_trouble", trouble)
    found = find_isolation(course)
    assert found.kind == "plain process"
    assert "no permission to make namespaces" in found.note


def test_where_no_worker_starts_that_is_an_error(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_trouble", lambda course, isolation: "broken")
    with pytest.raises(CourseError, match="No worker starts"):
        find_isolation(course)


def test_a_blocked_name_must_exist(tmp_path: Path) -> None:
    for number, name in enumerate(["course_lib.nowhere.name", "course_lib.statistics.nothing"]):
        with pytest.raises(CourseError, match="blocked name"):
            copy_course(tmp_path / str(number), [name])


def test_a_blocked_module_refuses_its_import(tmp_path: Path) -> None:
    course = copy_course(tmp_path / "course", ["course_lib.complexity.descent"])
    with pytest.raises(ImportError, match="asks you to write"):
        exec((course / "course_lib" / "complexity" / "descent.py").read_text())


def test_a_python_below_tmp_is_bound_over_the_sandboxs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/tmp/course/.venv")
    arguments = bubblewrap_arguments(Path("/course"), Limits())
    places = [place for place, part in enumerate(arguments) if part == "/tmp"]
    (empty,) = [place for place in places if arguments[place - 1] == "--tmpfs"]
    assert empty < arguments.index("/tmp/course/.venv/bin")
