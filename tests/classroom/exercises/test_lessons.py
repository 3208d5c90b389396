"""Every exercise of every lesson: its reference, its stub, its mistakes, its neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from course_lib.classroom import exercises
from course_lib.classroom.checking.showing import show_case
from course_lib.classroom.exercises import EXERCISES, Exercise, Mistake, check

SEEDS = range(5)
BY_NAME = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=list(EXERCISES))
MISTAKES = [(exercise, mistake) for exercise in EXERCISES.values() for mistake in exercise.mistakes]


def handed_in(exercise: Exercise, function: Callable) -> Any:
    return function if exercise.kind == "function" else function()


@BY_NAME
@pytest.mark.parametrize("seed", SEEDS)
def test_the_reference_passes(exercise: Exercise, seed: int) -> None:
    feedback = check(exercise.name, handed_in(exercise, exercise.reference), seed)
    assert feedback.passed, str(feedback)


def as_lists(value: Any) -> Any:
    """Give arrays and tuples as lists."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return [as_lists(part) for part in value] if isinstance(value, list | tuple) else value


def as_tensors(value: Any) -> Any:
    """Give arrays and numbers as tensors."""
    if isinstance(value, list | tuple):
        return [as_tensors(part) for part in value]
    is_number = isinstance(value, int | float | np.ndarray)
    return torch.tensor(value, dtype=torch.float64) if is_number else value


def as_truth_values(value: Any) -> Any:
    """Give an array of nothing but 0 and 1 as truth values."""
    is_binary = isinstance(value, np.ndarray) and set(value.ravel().tolist()) <= {0, 1}
    return value.astype(bool) if is_binary else value


@BY_NAME
@pytest.mark.parametrize("container", [as_lists, as_tensors, as_truth_values])
def test_right_values_pass_in_any_container(exercise: Exercise, container: Callable[[Any], Any]) -> None:
    solution = handed_in(exercise, lambda **case: container(exercise.reference(**case)))
    assert check(exercise.name, solution).passed


@BY_NAME
def test_the_stub_is_not_written_yet(exercise: Exercise) -> None:
    def stub(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(exercise.name)

    solution = stub if exercise.kind == "function" else None
    assert check(exercise.name, solution).status == "not written yet"


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES, ids=[f"{e.name}-{m.name}" for e, m in MISTAKES])
def test_every_mistake_gets_its_own_hint(exercise: Exercise, mistake: Mistake) -> None:
    for seed in SEEDS:
        feedback = check(exercise.name, handed_in(exercise, mistake.function), seed)
        assert feedback.status == "failed", str(feedback)
        assert feedback.hint == mistake.hint, str(feedback)


@BY_NAME
def test_the_parts_of_an_exercise_fit(exercise: Exercise) -> None:
    cases = exercise.cases(0)
    assert all(tuple(case) == exercise.parameters for case in cases)
    assert len(cases) >= 4 or exercise.kind == "answer"
    names = [mistake.name for mistake in exercise.mistakes]
    assert len(set(names)) == len(names) >= 4
    assert exercise.task.endswith((".", "?"))
    assert all(text.endswith((".", "?")) for text in (exercise.hint, *(m.hint for m in exercise.mistakes)))


@BY_NAME
def test_the_same_seed_gives_the_same_feedback(exercise: Exercise) -> None:
    wrong = handed_in(exercise, exercise.mistakes[0].function)
    assert check(exercise.name, wrong, 7) == check(exercise.name, wrong, 7)
    shown = [[show_case(case) for case in exercise.cases(seed)] for seed in (7, 7, 8)]
    assert shown[0] == shown[1]
    assert shown[0] != shown[2] or exercise.kind == "answer"


def normal_equations(x_train: Any, y_train: Any, x_heldout: Any, y_heldout: Any, degree: int) -> list[float]:
    design = np.vander(x_train, degree + 1)
    weights = np.linalg.solve(design.T @ design, design.T @ y_train)
    pairs = ((x_train, y_train), (x_heldout, y_heldout))
    return [float(np.mean((np.vander(x, degree + 1) @ weights - y) ** 2)) for x, y in pairs]


def polyfit(x_train: Any, y_train: Any, x_heldout: Any, y_heldout: Any, degree: int) -> Any:
    fit = np.polyfit(x_train, y_train, degree)
    return (
        np.mean((np.polyval(fit, x_train) - y_train) ** 2),
        np.mean((np.polyval(fit, x_heldout) - y_heldout) ** 2),
    )


def filled_array(gradient: Any, start: Any, learning_rate: float, num_steps: int) -> np.ndarray:
    points = np.zeros((num_steps + 1, *np.shape(start)))
    points[0] = start
    for step in range(num_steps):
        points[step + 1] = points[step] - learning_rate * gradient(points[step])
    return points


def plain_list(gradient: Any, start: Any, learning_rate: float, num_steps: int) -> np.ndarray:
    w, points = start, [start]
    for _ in range(num_steps):
        w = w - learning_rate * gradient(w)
        points.append(w)
    return np.array(points)


def loop_over_degrees(degrees: list, train_errors: list, heldout_errors: list) -> int:
    best = min(heldout_errors)
    return min(d for d, error in zip(degrees, heldout_errors, strict=True) if error == best)


def one_long_vector(before: dict, after: dict) -> Any:
    old = np.concatenate([before[name].ravel() for name in before])
    new = np.concatenate([after[name].ravel() for name in before])
    return np.linalg.norm(new - old) / np.linalg.norm(old)


def loop_over_checkpoints(predictions: np.ndarray) -> np.ndarray:
    return np.array([np.mean(before != after) for before, after in itertools.pairwise(predictions)])


@pytest.mark.parametrize(
    ("name", "solution"),
    [
        ("01.polynomial_errors", normal_equations),
        ("01.polynomial_errors", polyfit),
        ("01.select_degree", loop_over_degrees),
        ("01.examples_for_ratio", 110e6 / 50),
        ("01.examples_for_ratio", np.int64(2_200_000)),
        ("02.gradient_descent", filled_array),
        ("02.gradient_descent", plain_list),
        ("02.largest_stable_step", lambda curvatures: 2 / max(curvatures)),
        ("02.flip_share", loop_over_checkpoints),
        ("02.relative_distance", one_long_vector),
        ("05.answer_loss", lambda logits, label_ids, label: -log_softmax(logits[label_ids])[label]),
        (
            "05.answer_loss",
            lambda logits, label_ids, label: logsumexp(logits[label_ids] - logits[label_ids[label]]),
        ),
    ],
)
def test_other_right_ways_pass(name: str, solution: Any) -> None:
    for seed in SEEDS:
        assert check(name, solution, seed), str(check(name, solution, seed))


@pytest.mark.parametrize(
    ("name", "solution"),
    [
        ("01.parameter_ratio", lambda p, n: p * n),
        ("01.polynomial_errors", lambda *args: (0.0, 0.0)),
        ("01.polynomial_errors", lambda *args: 0.0),
        ("01.select_degree", lambda *args: 1),
        ("01.examples_for_ratio", 22),
        ("01.examples_for_ratio", "2_200_000"),
        ("02.gradient_descent", lambda gradient, start, learning_rate, num_steps: np.zeros(num_steps + 1)),
        ("02.largest_stable_step", lambda curvatures: 2 / np.sum(curvatures)),
        ("02.flip_share", lambda predictions: np.zeros(len(predictions) - 1)),
        ("02.relative_distance", lambda before, after: float("nan")),
    ],
)
def test_other_wrong_ways_get_a_nudge_and_then_the_recipe(name: str, solution: Any) -> None:
    exercise = EXERCISES[name]
    exercises._failures.pop(name, None)
    first, second = check(name, solution), check(name, solution)
    assert first.status == second.status == "failed"
    assert exercise.hint not in str(first)
    assert first.hint
    assert exercise.hint == second.hint
    check(name, handed_in(exercise, exercise.reference))
    assert exercise.hint not in str(check(name, solution))


def test_points_that_share_memory_are_named() -> None:
    def in_place(gradient: Any, start: Any, learning_rate: float, num_steps: int) -> np.ndarray:
        points = [start]
        for _ in range(num_steps):
            start -= learning_rate * gradient(start)
            points.append(start)
        return np.array(points)

    feedback = check("02.gradient_descent", in_place)
    assert "changed its argument start" in feedback.message


def test_a_start_left_out_is_found_however_it_is_written() -> None:
    def left_out(gradient: Any, start: Any, learning_rate: float, num_steps: int) -> np.ndarray:
        points = []
        for _ in range(num_steps):
            start = start - learning_rate * gradient(start)
            points.append(start)
        return np.stack(points)  # raises where there is no step

    assert check("02.gradient_descent", left_out).hint.startswith("The start is missing.")


def test_a_wrong_answer_does_not_show_the_right_one() -> None:
    for answer in (5_500, 22, "text", [1]):
        feedback = check("01.examples_for_ratio", answer)
        assert "2_200_000" not in str(feedback)
        assert feedback.expected == ""


def test_a_function_is_no_answer() -> None:
    assert "asks for a value" in check("01.examples_for_ratio", len).message
