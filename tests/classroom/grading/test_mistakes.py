"""Every mistake at a boundary loses with every draw of the hidden inputs, and right answers keep all marks.

The judge's own comparison is called on the functions, without a sandbox.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import pytest

from course_lib.classroom.assignments.assignment import Task, Variant, assignment_names, load_assignment
from course_lib.classroom.exercises import compare
from course_lib.classroom.grading.worker.channel import decode, encode
from tests.classroom.grading.conftest import instructors_cells
from tests.classroom.grading.planted import PLANTED
from tests.classroom.grading.planted.edits import edited

DRAWS = range(20)
CLOSED = [
    pytest.param(task, variant, id=f"{task.name}: {variant.name}")
    for name in assignment_names()
    for task in load_assignment(name).tasks
    for variant in task.variants
    if variant.reference is not None
]
Calls = list[tuple[list[Any], Any]]


def solution_of(task: Task, variant: Variant) -> str:
    """Give the instructor's code for one form of a task."""
    secret_seed = next(seed for seed in range(100) if task.variant(seed).name == variant.name)
    cells = instructors_cells(task.name.partition(".")[0], secret_seed)
    return next(cell for cell in cells if f"def {task.function}(" in cell)


def function_of(source: str, task: Task) -> Callable[..., Any]:
    """Give the function that a cell defines."""
    names: dict[str, Any] = {"np": np}
    exec(source, names)
    return names[task.function]


TASKS = {task.name: task for name in assignment_names() for task in load_assignment(name).tasks}


@cache
def calls_of(task_name: str, variant_name: str, seed: int) -> Calls:
    """Give the hidden inputs of a draw, and what is expected of each."""
    task = TASKS[task_name]
    (variant,) = [variant for variant in task.variants if variant.name == variant_name]
    assert variant.reference is not None
    cases = task.drawn_cases(seed, variant)
    return [
        (list(case.arguments.values()), variant.reference(**copy.deepcopy(dict(case.arguments))))
        for case in cases
    ]


def is_right(task: Task, variant: Variant, seed: int, function: Callable[..., Any]) -> bool:
    """Say whether a function earns the marks of a closed task."""
    return all(_is_right(task, *call, function) for call in calls_of(task.name, variant.name, seed))


def _is_right(task: Task, arguments: list[Any], expected: Any, function: Callable[..., Any]) -> bool:
    try:
        value = decode(encode(function(*copy.deepcopy(arguments))))
    except Exception:
        return False
    return compare(value, expected, task.tolerance) is None


def draws_passed(task: Task, variant: Variant, function: Callable[..., Any]) -> int:
    """Count the draws with which a function earns the marks."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return sum(is_right(task, variant, seed, function) for seed in DRAWS)


def altered(value: Any, number: Callable[[float], float]) -> Any:
    """Give a result with another number for each of its numbers that is not whole."""
    if isinstance(value, dict):
        return {key: altered(part, number) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [altered(part, number) for part in value]
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.vectorize(number, otypes=[float])(value)
    return number(value) if isinstance(value, float) else value


# Ways to return right numbers not as they are.
INEXACT: dict[str, Callable[[float], float]] = {
    "six places": lambda number: round(float(number), 6),
    "half the precision": lambda number: float(np.float32(number)),
}


def inexact(function: Callable[..., Any], number: Callable[[float], float]) -> Callable[..., Any]:
    """Give a function whose numbers are rounded in some way."""
    return lambda *arguments: altered(function(*arguments), number)


def has_fractions(task: Task, variant: Variant) -> bool:
    """Say whether a task asks for numbers that are not whole."""
    exact = [expected for _, expected in calls_of(task.name, variant.name, 0)]
    return any(compare(altered(value, lambda number: number + 1), value, 0.5) for value in exact)


@pytest.mark.parametrize(("task", "variant"), CLOSED)
def test_right_answers_keep_all_marks_and_mistakes_lose_them_with_every_draw(
    task: Task, variant: Variant
) -> None:
    source = solution_of(task, variant)
    right = function_of(source, task)
    assert variant.reference is not None
    assert draws_passed(task, variant, right) == len(DRAWS)
    passed = {
        **{
            name: draws_passed(task, variant, function_of(text, task)) for name, text in planted(task, source)
        },
        **{
            mistake.name: draws_passed(task, variant, by_position(task, variant, mistake.function))
            for mistake in variant.mistakes
        },
    }
    if has_fractions(task, variant):
        passed |= {
            name: draws_passed(task, variant, inexact(right, number)) for name, number in INEXACT.items()
        }
    assert len(passed) >= 15
    assert {name: count for name, count in passed.items() if count} == {}


def planted(task: Task, source: str) -> Iterable[tuple[str, str]]:
    """Give the mistakes of a task that its form's code has a place for, as code."""
    texts = [(name, edited(source, edits, task.function)) for name, edits in PLANTED[task.name]]
    return [(name, text) for name, text in texts if text]


def by_position(task: Task, variant: Variant, function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a mistake of the assignment's own, which takes its arguments by name, to be called by position."""
    names = list(task.drawn_cases(0, variant)[0].arguments)
    return lambda *arguments: function(**dict(zip(names, arguments, strict=True)))


def test_every_planted_mistake_has_a_place_in_some_form() -> None:
    placed = {
        (name, mistake)
        for name in PLANTED
        for variant in TASKS[name].variants
        for mistake, _ in planted(TASKS[name], solution_of(TASKS[name], variant))
    }
    assert {(name, mistake) for name, mistakes in PLANTED.items() for mistake, _ in mistakes} == placed
