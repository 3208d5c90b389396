"""Right values earn the marks in any plain container, and wrong ones lose them in all."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from course_lib.classroom.assignments.assignment import Task, Variant, assignment_names, load_assignment
from course_lib.classroom.checking.answers import as_numbers, as_whole_number
from course_lib.classroom.exercises import compare
from course_lib.classroom.grading.worker.channel import decode, encode
from tests.classroom.grading.test_mistakes import CLOSED, calls_of, function_of, solution_of

OPEN = [
    pytest.param(load_assignment(name).tasks[-1], variant, id=f"{name}: {variant.name}")
    for name in assignment_names()
    for variant in load_assignment(name).tasks[-1].variants
]


def lists(value: Any) -> Any:
    """Give arrays and tuples as lists, and NumPy's numbers as Python's."""
    return _rebuilt(value.tolist() if isinstance(value, np.ndarray | np.generic) else value, list, lists)


def tuples(value: Any) -> Any:
    """Give arrays and lists as tuples."""
    return _rebuilt(value.tolist() if isinstance(value, np.ndarray | np.generic) else value, tuple, tuples)


def arrays(value: Any) -> Any:
    """Give every list of numbers or texts as one array, and every number as NumPy's."""
    if not isinstance(value, list | tuple) or not value or _holds(value, dict):
        return _rebuilt(np.array(value)[()] if isinstance(value, int | float) else value, list, arrays)
    kinds = {type(part) for part in _leaves(value)}
    try:
        return np.array(value, dtype=object if len(kinds) > 1 and kinds & {str, type(None)} else None)
    except ValueError:
        # Parts of different lengths make no array.
        return _rebuilt(value, list, arrays)


def arrays_of_none(value: Any) -> Any:
    """Give every number as an array of shape ()."""
    return np.array(value) if _is_number(value) else _rebuilt(value, list, arrays_of_none)


def rows_as_arrays(value: Any) -> Any:
    """Give every array as a list of its rows."""
    return _rebuilt(list(value) if isinstance(value, np.ndarray) else value, tuple, rows_as_arrays)


def tensors(value: Any) -> Any:
    """Give every array and every number as a tensor."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "iufb":
        return torch.from_numpy(np.ascontiguousarray(value))
    if _is_number(value):
        return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
    return _rebuilt(value, list, tensors)


def tensors_in_lists(value: Any) -> Any:
    """Give every array as a list of tensors."""
    return (
        [torch.tensor(row) for row in value]
        if isinstance(value, np.ndarray)
        else _rebuilt(value, list, tensors_in_lists)
    )


def whole_floats(value: Any) -> Any:
    """Give whole numbers as floats."""
    if isinstance(value, np.ndarray):
        return value.astype(float)
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return float(value) if is_whole else _rebuilt(value, list, whole_floats)


def subclasses(value: Any) -> Any:
    """Give dictionaries as ordered ones."""
    value = _rebuilt(value, list, subclasses)
    return OrderedDict(value) if isinstance(value, dict) else value


def _rebuilt(value: Any, container: Callable[[Any], Any], convert: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: convert(part) for key, part in value.items()}
    return container(convert(part) for part in value) if isinstance(value, list | tuple) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _leaves(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in _leaves(part)] if isinstance(value, list | tuple) else [value]


def _holds(value: Any, kind: type) -> bool:
    return any(isinstance(leaf, kind) for leaf in _leaves(value))


CONTAINERS = [
    lists,
    tuples,
    arrays,
    arrays_of_none,
    rows_as_arrays,
    tensors,
    tensors_in_lists,
    whole_floats,
    subclasses,
]


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container.__name__)
@pytest.mark.parametrize(("task", "variant"), CLOSED)
def test_right_values_earn_the_marks_in_any_container_and_wrong_ones_in_none(
    task: Task, variant: Variant, container: Callable[[Any], Any]
) -> None:
    right = function_of(solution_of(task, variant), task)
    for arguments, expected in calls_of(task.name, variant.name, 0):
        value = right(*copy.deepcopy(arguments))
        assert compare(sent(container(value)), expected, task.tolerance) is None
        for wrong in wrongs(value):
            assert compare(sent(container(wrong)), expected, task.tolerance)


def sent(value: Any) -> Any:
    """Give a value as the judge gets it."""
    return decode(encode(value))


def wrongs(value: Any) -> list[Any]:
    """Give answers of another shape, and with other values, than a right one."""
    if isinstance(value, dict):
        return [{**value, key: wrong} for key, part in value.items() for wrong in wrongs(part)]
    if isinstance(value, np.ndarray):
        return [value[None], np.concatenate([value, value[:1]]), value + 1]
    if isinstance(value, list | tuple):
        inner = [[*value[:-1], wrong] for wrong in wrongs(value[-1])] if value else []
        return [[*value, 0], [value], *inner]
    if isinstance(value, str):
        return [value + "x", None]
    return [[value], 7] if value is None else [[value], None, value + 1]


@pytest.mark.parametrize(("task", "variant"), OPEN)
def test_an_open_task_takes_its_answers_in_any_container(task: Task, variant: Variant) -> None:
    assert task.measure is not None
    cases = task.drawn_cases(0, variant)
    right = function_of(solution_of(task, variant), task)
    answers = [right(*copy.deepcopy(list(case.arguments.values()))) for case in cases]
    for container in CONTAINERS:
        found = task.measure(cases, [sent(container(answer)) for answer in answers])
        assert [(container.__name__, part.name) for part in found if not part.passed] == []


def test_penalties_may_come_in_half_the_precision_and_validation_errors_as_a_list() -> None:
    by_penalty, by_degree = load_assignment("a2").tasks[-1], load_assignment("a1").tasks[-1]
    for task, key, change in (
        (by_penalty, "models", lambda part: {float(np.float32(name)): value for name, value in part.items()}),
        (by_penalty, "penalty", np.float32),
        (by_degree, "validation_errors", lambda part: list(part.values())),
    ):
        variant = task.variants[0]
        assert task.measure is not None
        cases = task.drawn_cases(0, variant)
        right = function_of(solution_of(task, variant), task)
        answers = [right(*copy.deepcopy(list(case.arguments.values()))) for case in cases]
        found = task.measure(cases, [sent({**answer, key: change(answer[key])}) for answer in answers])
        assert all(part.passed for part in found)


@pytest.mark.parametrize("value", ["a", ["a"], None, {}, {1: 2}, [[1, 2], [3]], "1e400"])
def test_what_holds_no_numbers_gives_none(value: Any) -> None:
    assert as_whole_number(value) is None
    assert not np.isfinite(as_numbers(value)).any()


def test_whole_numbers_may_be_floats_and_truth_values_are_none() -> None:
    assert [as_whole_number(value) for value in (3, 3.0, np.int64(3), np.array(3.0))] == [3] * 4
    assert [as_whole_number(value) for value in (3.5, True, float("nan"), float("inf"), [3])] == [None] * 5


def test_truth_values_count_as_1_and_0_among_numbers_and_nowhere_else() -> None:
    assert compare([True, False], np.array([1, 0]), 1e-9) is None
    assert compare(np.array([True, False]), [1, 0], 1e-9) is None
    assert compare(True, None, 1e-9)
    assert compare([True], ["True"], 1e-9)
