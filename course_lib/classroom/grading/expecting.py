"""The trusted process: it draws the hidden cases and computes what is expected, and never sees a submission.

It is a process of its own so that references may use torch while the judge's main process stays small. Run as
`python -m course_lib.classroom.grading.expecting`, it reads one request from stdin and writes its plan to stdout.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.classroom.assignments.assignment import Assignment, Case, Task, Variant, load_assignment
from course_lib.classroom.checking.explaining import RAISED, Mistake
from course_lib.classroom.grading.worker.channel import decode, encode
from course_lib.errors import CourseError


@dataclass(frozen=True)
class PlannedTask:
    """A task with its hidden cases and everything expected of them.

    Args:
        task: the task.
        variant: the name of its form.
        cases: the hidden cases, decoded.
        encoded: the arguments of each case as they go over the channel.
        expected: the right result of each case; empty for an open task.
        mistakes: a hint, and the result of that mistake for each case (`RAISED` where it raises).
    """

    task: Task
    variant: str
    cases: list[Case]
    encoded: list[list[Any]]
    expected: list[Any]
    mistakes: list[tuple[str, list[Any]]]


def plan(assignment: Assignment, secret_seed: int, seed: int) -> list[PlannedTask]:
    """Have the trusted process draw the cases and compute what is expected.

    Args:
        assignment: which one.
        secret_seed: the instructor's, for the variants.
        seed: the run's, for the cases.

    Raises:
        CourseError: if a reference fails.
    """
    request = {"assignment": assignment.name, "secret_seed": secret_seed, "seed": seed}
    done = subprocess.run(
        [sys.executable, "-m", "course_lib.classroom.grading.expecting"],
        input=json.dumps(request).encode(),
        capture_output=True,
    )
    if done.returncode:
        raise CourseError(
            "What is expected of this assignment cannot be computed.",
            given=assignment.name,
            mend=done.stderr.decode("utf-8", "replace").strip()[-600:],
        )
    parts = json.loads(done.stdout)
    return [_planned(task, part) for task, part in zip(assignment.tasks, parts, strict=True)]


def main() -> None:
    """Answer the request on stdin."""
    request = json.load(sys.stdin)
    assignment = load_assignment(request["assignment"])
    parts = [_part(task, request["secret_seed"], request["seed"]) for task in assignment.tasks]
    json.dump(parts, sys.stdout, allow_nan=False)


def _part(task: Task, secret_seed: int, seed: int) -> dict[str, Any]:
    variant = task.variant(secret_seed)
    cases = task.drawn_cases(seed, variant)
    return {
        "variant": variant.name,
        "cases": [
            {"arguments": encode(dict(case.arguments)), "hidden": encode(dict(case.hidden))} for case in cases
        ],
        "expected": [encode(value) for value in _expected(variant, cases)],
        "mistakes": [
            {"hint": mistake.hint, "values": [_mistaken(mistake, case) for case in cases]}
            for mistake in variant.mistakes
        ],
    }


def _expected(variant: Variant, cases: Sequence[Case]) -> list[Any]:
    if variant.reference is None:
        return []
    return [variant.reference(**copy.deepcopy(dict(case.arguments))) for case in cases]


def _mistaken(mistake: Mistake, case: Case) -> dict[str, Any] | None:
    """Give what a mistake makes of a case; None where it raises."""
    try:
        return {"value": encode(mistake.function(**copy.deepcopy(dict(case.arguments))))}
    except Exception:
        return None


def _planned(task: Task, part: dict[str, Any]) -> PlannedTask:
    cases = [Case(decode(case["arguments"]), decode(case["hidden"])) for case in part["cases"]]
    mistakes = [
        (
            mistake["hint"],
            [RAISED if value is None else decode(value["value"]) for value in mistake["values"]],
        )
        for mistake in part["mistakes"]
    ]
    return PlannedTask(
        task=task,
        variant=part["variant"],
        cases=cases,
        # The arguments go on as they were written, so that a tensor reaches the worker as one.
        encoded=[[value for _, value in case["arguments"]["dict"]] for case in part["cases"]],
        expected=[decode(value) for value in part["expected"]],
        mistakes=mistakes,
    )


if __name__ == "__main__":
    main()
