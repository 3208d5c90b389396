"""A machine that is slow to start a sandbox, or cannot: its trouble, and no learner's."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from course_lib.classroom.grading import judging
from course_lib.classroom.grading.journal import Graded, Journal
from course_lib.classroom.grading.sandbox import isolation as sandbox
from course_lib.classroom.grading.sandbox.course_copy import copy_course
from course_lib.classroom.grading.sandbox.isolation import Worker, WorkerStartError, find_isolation
from course_lib.classroom.grading.sandbox.watching import Watcher
from course_lib.classroom.grading.submissions import Submission
from course_lib.classroom.grading.worker.timekeeping import MOST_PATIENCE, Stopwatch
from course_lib.classroom.limits import Limits
from tests.classroom.grading.conftest import Judge, notebook
from tests.classroom.grading.test_attacks import only_under_bubblewrap

FULL_MARKS = ["passed"] * 5


def use_bubblewrap(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a script before bubblewrap on the path; it has the real one's place in $BWRAP."""
    program = folder / "bin" / "bwrap"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\nBWRAP={shutil.which('bwrap')}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def sandboxed(judge: Judge) -> Judge:
    only_under_bubblewrap(judge, "a container starts without bubblewrap")
    return judge


@pytest.mark.parametrize("script", ['sleep 1; exec "$BWRAP" "$@"', 'sleep 1; "$BWRAP" "$@"'])
def test_a_bubblewrap_that_takes_a_second_costs_no_marks(
    sandboxed: Judge, solved: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """Meanwhile its processes see the machine's own files, however many, and hold what memory they like."""
    use_bubblewrap(tmp_path, script, monkeypatch)
    monkeypatch.setattr(sandbox, "_WATCH_SECONDS", 0.01)
    course = copy_course(tmp_path / "course")
    assert find_isolation(course).kind == "bubblewrap"
    modest = replace(sandboxed, course=sandboxed.course, limits=replace(sandboxed.limits, files=50))
    assert modest.verdicts(notebook(*solved)) == FULL_MARKS


def test_files_are_counted_in_the_sandboxs_own_folders(sandboxed: Judge) -> None:
    with Worker(sandboxed.course, sandboxed.isolation, sandboxed.limits) as worker:
        make = "for i in range(30): open(f'file{i}', 'w').close()"
        worker.load(notebook(make), 120)
        assert worker.watcher is not None
        assert 30 < worker.watcher.num_files() < 60
    # What has the machine's root has none of its own.
    watcher = Watcher(os.getpid())
    assert watcher.num_files() == 0
    watcher.close()


def test_a_sandbox_that_fails_now_and_then_is_started_again(
    sandboxed: Judge, solved: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = tmp_path / "failed"
    once = f'[ -e {flag} ] || {{ touch {flag}; echo "no memory" >&2; exit 1; }}\nexec "$BWRAP" "$@"'
    use_bubblewrap(tmp_path, once, monkeypatch)
    assert sandboxed.verdicts(notebook(*solved)) == FULL_MARKS
    assert flag.exists()


def test_where_no_sandbox_starts_there_is_no_mark_and_no_verdict(
    sandboxed: Judge, solved: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_bubblewrap(tmp_path, 'echo "no memory" >&2; exit 1', monkeypatch)
    report = sandboxed.grade(notebook(*solved))
    assert report.results == ()
    assert report.problem == "No sandbox started on this machine, grade it again: no memory"
    # A run that goes on tries it again.
    submission = Submission("alice", lambda: notebook(*solved))
    sha256 = hashlib.sha256(notebook(*solved)).hexdigest()
    with Journal(tmp_path / "g.csv", "a1", 0, 5, marks=[]) as journal:
        journal.append(Graded("alice", sha256, "bubblewrap", report))
    assert Journal(tmp_path / "g.csv", "a1", 0, 5, marks=[]).find(submission) is None


def test_what_ended_every_task_is_tried_once_more(
    sandboxed: Judge, solved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the machine itself ends the process for want of memory."""
    loads: list[int] = []
    load = Worker.load

    def killed_at_first(worker: Worker, *arguments: object) -> dict[str, object]:
        loads.append(1)
        if len(loads) == 1:
            worker.kill()
        return load(worker, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(judging.Worker, "load", killed_at_first)
    tasks = sandboxed.only("compare_models", "descend")
    assert tasks.verdicts(notebook(*solved)) == ["passed", "passed"]
    assert len(loads) == 2


def test_a_worker_that_never_speaks_is_a_start_that_failed(
    sandboxed: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_bubblewrap(tmp_path, "exec sleep 1000", monkeypatch)
    monkeypatch.setattr(sandbox, "_START_SECONDS", 0.5)
    with Worker(sandboxed.course, sandboxed.isolation, Limits()) as worker:
        with pytest.raises(WorkerStartError):
            worker.load(notebook("x = 1"), 10)
        assert worker.process.poll() is not None


class Clock:
    """A process's time, set by hand: on the wall, waited for a core, and worked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = self.waited = self.worked = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.wall)

    def stopwatch(self) -> Stopwatch:
        return Stopwatch(lambda: self.waited, lambda: self.worked)

    def pass_by(self, wall: float, waited: float = 0.0, worked: float = 0.0) -> None:
        self.wall += wall
        self.waited += waited
        self.worked += worked


@pytest.mark.parametrize(
    ("wall", "waited", "worked", "seconds"),
    [
        (10.0, 0.0, 10.0, 10.0),  # works, on a machine of its own
        (10.0, 0.0, 0.0, 10.0),  # sleeps
        (10.0, 7.5, 2.5, 2.5),  # works, and three others as well
        (10.0, 9.0, 10.0, 10.0),  # waits for its own children, which work
        (10.0, 0.0, 40.0, 10.0),  # works on four cores
    ],
)
def test_waiting_for_a_core_is_not_the_learners_time(
    monkeypatch: pytest.MonkeyPatch, wall: float, waited: float, worked: float, seconds: float
) -> None:
    clock = Clock(monkeypatch)
    watch = clock.stopwatch()
    clock.pass_by(wall, waited, worked)
    assert watch.seconds() == pytest.approx(seconds)
    assert watch.is_over(seconds - 0.1)
    assert not watch.is_over(seconds + 0.1)


def test_no_machine_is_so_busy_that_a_call_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    watch = clock.stopwatch()
    clock.pass_by(MOST_PATIENCE - 1, MOST_PATIENCE - 1)
    assert not watch.is_over(1.0)
    clock.pass_by(2, 2)
    assert watch.is_over(1.0)
    # And as much of a submission's time is used up.
    assert watch.seconds() == pytest.approx((MOST_PATIENCE + 1) / MOST_PATIENCE)


@pytest.mark.slow
def test_a_busy_machine_gives_no_timeout(sandboxed: Judge, solved: list[str]) -> None:
    """Each call works for half a second, on a core that four others want as well, and has two seconds."""
    from tests.reliability._load import busy_processes

    working = """
import time
right = compare_models
def compare_models(rows, unit):
    began = time.process_time()
    while time.process_time() - began < 0.5: pass
    return right(rows, unit)
compare_models([], "FLOPs")
"""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        with busy_processes(4):
            hasty = sandboxed.only("compare_models", call_seconds=2, cell_seconds=2, load_seconds=20)
            report = hasty.grade(notebook(*solved, working))
    finally:
        os.sched_setaffinity(0, cores)
    assert [result.verdict for result in report.results] == ["passed"], report
