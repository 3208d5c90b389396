"""Tasks of the assignments: bugs as shown, and open tasks with good, lazy and dishonest answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from course_lib.exercises import compare
from course_lib.grading.assignments import (
    AS_GIVEN,
    Assignment,
    Task,
    Variant,
    assignment_names,
    load_assignment,
)
from course_lib.grading.course_copy import copy_course
from course_lib.pipeline.assignments import build_assignment
from tests.grading.conftest import ROOT, code_cells

ASSIGNMENTS = [load_assignment(name) for name in assignment_names()]
BUGS = [
    pytest.param(task, variant, id=f"{task.name}: {variant.name}")
    for assignment in ASSIGNMENTS
    for task in assignment.tasks
    for variant in task.variants
    if f"{task.function}.bug" in variant.texts
]
SEEDS = range(3)


@pytest.mark.parametrize(("task", "variant"), BUGS)
def test_the_function_shown_with_a_bug_runs_and_is_wrong(task: Task, variant: Variant) -> None:
    names: dict[str, Any] = {"np": np}
    exec(variant.texts[f"{task.function}.bug"], names)
    shown = names[f"{task.function}_with_bug"]
    (given,) = [mistake for mistake in variant.mistakes if mistake.hint.startswith(AS_GIVEN)]
    cases = task.drawn_cases(0, variant)
    pairs = [(case.arguments, shown(*case.arguments.values())) for case in cases]
    assert all(compare(result, given.function(**arguments)) is None for arguments, result in pairs)
    assert variant.reference is not None
    assert any(compare(result, variant.reference(**arguments)) for arguments, result in pairs)


@pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda assignment: assignment.name)
def test_marks_sum_to_twenty_and_an_open_task_gives_all_of_its_own(assignment: Assignment) -> None:
    assert assignment.marks == 20
    assert [task.name for task in assignment.tasks if task.measure] == [assignment.tasks[-1].name]


def solution(assignment: str, task: Task, variant: Variant) -> Callable[..., dict[str, Any]]:
    """Give the instructor's function for one form of a task."""
    secret_seed = next(seed for seed in range(100) if task.variant(seed).name == variant.name)
    cells = code_cells(build_assignment(ROOT, assignment, secret_seed, solutions=True))
    names: dict[str, Any] = {"np": np}
    exec(next(cell for cell in cells if f"def {task.function}(" in cell), names)
    return names[task.function]


def properties(task: Task, variant: Variant, seed: int, function: Callable[..., Any]) -> dict[str, bool]:
    """Measure a function on the hidden cases of a seed."""
    assert task.measure is not None
    cases = task.drawn_cases(seed, variant)
    measured = task.measure(cases, [function(*case.arguments.values()) for case in cases])
    assert sum(part.marks for part in measured) == task.marks
    return {part.name: part.passed for part in measured}


def open_forms(name: str) -> list:
    """Give the open task of an assignment with each of its variants."""
    task = load_assignment(name).tasks[-1]
    return [pytest.param(task, variant, id=variant.name) for variant in task.variants]


@pytest.mark.parametrize(("task", "variant"), open_forms("a2"))
def test_a_smoothly_trained_model_earns_all_and_a_plain_one_does_not(task: Task, variant: Variant) -> None:
    train = solution("a2", task, variant)

    def plain(x: Any, y: Any, x_validation: Any, y_validation: Any, epsilon: float) -> dict[str, Any]:
        return train(x, y, x_validation, y_validation, 0.0)

    def boasting(*arguments: Any) -> dict[str, Any]:
        answer = train(*arguments)
        return {**answer, "validation": {**answer["validation"], answer["penalty"]: 1.0}}

    for seed in SEEDS:
        assert all(properties(task, variant, seed, train).values())
        assert not properties(task, variant, seed, plain)["worst-case accuracy"]
    assert not properties(task, variant, 0, boasting)["validation as reported"]


@pytest.mark.parametrize(("task", "variant"), open_forms("a4"))
def test_a_plan_that_splits_the_variance_earns_all_and_a_fixed_one_does_not(
    task: Task, variant: Variant
) -> None:
    choose = solution("a4", task, variant)
    cost = variant.texts["plan_measurement.code"]

    def fixed(num_items: int) -> Callable[..., dict[str, Any]]:
        def plan(agrees: Any, prefix_tokens: int, item_tokens: int, budget: int) -> dict[str, Any]:
            tokens = eval(cost, {"n": num_items, "prefix_tokens": prefix_tokens, "item_tokens": item_tokens})
            sets = int(budget // tokens)
            error = np.sqrt(agrees.mean() * (1 - agrees.mean()) / (sets * num_items))
            return {"num_sets": sets, "num_items": num_items, "standard_error": float(error)}

        return plan

    def beyond(*arguments: Any) -> dict[str, Any]:
        answer = choose(*arguments)
        return {**answer, "num_sets": 4 * answer["num_sets"]}

    for seed in SEEDS:
        assert all(properties(task, variant, seed, choose).values())
        for num_items in (10, 40, 120):
            found = properties(task, variant, seed, fixed(num_items))
            assert (found["standard error"], found["standard error as reported"]) == (False, False)
    assert list(properties(task, variant, 0, beyond).values()) == [False, False, False]


@pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda assignment: assignment.name)
def test_what_is_blocked_is_not_in_the_copy_and_the_rest_still_parses(
    assignment: Assignment, tmp_path: Any
) -> None:
    course = copy_course(tmp_path / "course", assignment.blocked)
    for name in assignment.blocked:
        module, _, short = name.rpartition(".")
        text = course.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
        compile(text, module, "exec")
        assert f"{name} is what this assignment asks you to write." in text
        assert f"def {short}(*arguments, **named)" in text
