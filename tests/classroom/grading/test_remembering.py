"""Open tasks are called several times, and what is compared between the calls no call may know of another."""

from __future__ import annotations

import pytest

from course_lib.classroom.assignments.assignment import load_assignment
from course_lib.classroom.grading.expecting import plan
from course_lib.classroom.grading.sandbox.course_copy import copy_course
from course_lib.classroom.limits import Limits
from tests.classroom.grading.conftest import SECRET_SEED, SEED, Judge, instructors_cells, notebook

# Leaves word of each call wherever code can, and fails where it finds some.
REMEMBERING = """
import os, socket, subprocess, sys, time
seen = []
def remember(right):
    def remembering(*arguments):
        address, files = "\\0course-test-memory", [os.path.join(f, "memory") for f in (os.environ["HOME"], "/tmp")]
        try:
            socket.socket(socket.AF_UNIX).connect(address)
            seen.append("a process")
        except OSError:
            pass
        seen.extend(file for file in files if os.path.exists(file))
        if seen:
            raise RuntimeError(f"remembered by {seen}")
        seen.append("a variable")
        for file in files:
            open(file, "w").close()
        code = "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1].replace('@', chr(0)))"
        code += "; s.listen(); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", code, "@course-test-memory"], start_new_session=True)
        return right(*arguments)
    return remembering
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a1", "a2", "a3", "a4"])
def test_no_call_of_an_open_task_remembers_another(
    judge: Judge, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    assignment = load_assignment(name)
    (task,) = [task for task in assignment.tasks if task.measure is not None]
    course = copy_course(tmp_path_factory.mktemp(name) / "course", assignment.blocked)
    patient = assignment.limits.patient(6)
    planned = plan(assignment, SECRET_SEED, SEED)
    tasks = Judge(planned, assignment.form(SECRET_SEED), course, judge.isolation, patient).only(task.function)
    assert len(tasks.planned[0].cases) > 1
    solved = instructors_cells(name, SECRET_SEED)
    code = f"{REMEMBERING}\n{task.function} = remember({task.function})"
    (result,) = tasks.grade(notebook(*solved, code)).results
    assert (result.verdict, result.marks) == ("passed", task.marks), result.message


@pytest.mark.slow
def test_another_worker_for_the_next_call_costs_the_learner_no_time(judge: Judge, solved: list[str]) -> None:
    """Loading takes half of all time; it counts once, however many calls there are."""
    working = "import time\nbegan = time.process_time()\nwhile time.process_time() - began < 1: pass"
    tasks = judge.only("choose_degree", total_seconds=4)
    assert isinstance(tasks.limits, Limits)
    (result,) = tasks.grade(notebook(*solved, working)).results
    assert (result.verdict, result.marks) == ("passed", result.out_of), result.message
