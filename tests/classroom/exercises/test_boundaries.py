"""Wrong solutions that differ from the right one at a boundary only: refused for every seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from course_lib.classroom.exercises import EXERCISES, Exercise, check
from course_lib.classroom.exercises.lessons.lesson03 import project
from course_lib.classroom.exercises.lessons.lesson06 import draw_balanced, pair_label

SEEDS = range(20)

PLANTED: list[tuple[str, str, Callable[..., Any]]] = [
    (
        "03.ascent_step",
        "largest entry with its sign",
        lambda delta, gradient, step_size, epsilon: project(
            delta + step_size * gradient / gradient.max(), epsilon
        ),
    ),
    (
        "03.ascent_step",
        "absolute value after the maximum",
        lambda delta, gradient, step_size, epsilon: project(
            delta + step_size * gradient / abs(gradient.max()), epsilon
        ),
    ),
    (
        "03.ascent_step",
        "sign of the gradient",
        lambda delta, gradient, step_size, epsilon: project(delta + step_size * np.sign(gradient), epsilon),
    ),
    ("07.median_predictions", ">= for >", lambda log_odds: (log_odds >= np.median(log_odds)).astype(int)),
    (
        "07.median_predictions",
        "upper middle value",
        lambda log_odds: (log_odds > np.sort(log_odds)[len(log_odds) // 2]).astype(int),
    ),
    (
        "07.median_predictions",
        "upper half by rank",
        lambda log_odds: (np.argsort(np.argsort(log_odds)) >= len(log_odds) / 2).astype(int),
    ),
    (
        "06.pair_label",
        "first position 0 taken for none",
        lambda first, second: pair_label(first, second) if first[1] else 2,
    ),
    (
        "06.pair_label",
        "second position 0 taken for none",
        lambda first, second: pair_label(first, second) if second[1] else 1,
    ),
    (
        "06.pair_label",
        "no sentence before the first",
        lambda first, second: 1 if first[0] == second[0] and first[1] == 0 else pair_label(first, second),
    ),
    (
        "06.draw_balanced",
        "capped at the smallest class",
        lambda labels, order, num_each: draw_balanced(
            labels, order, min(num_each, np.bincount(labels).min())
        ),
    ),
    (
        "06.draw_balanced",
        "capped at the smallest class that occurs",
        lambda labels, order, num_each: draw_balanced(
            labels, order, min(num_each, np.unique(labels, return_counts=True)[1].min())
        ),
    ),
    (
        "06.draw_balanced",
        "two classes",
        lambda labels, order, num_each: np.array(
            [row for row in draw_balanced(labels, order, num_each) if labels[row] < 2]
        ),
    ),
]


@pytest.mark.parametrize(
    ("name", "function"), [(n, f) for n, _, f in PLANTED], ids=[f"{n}-{what}" for n, what, _ in PLANTED]
)
def test_a_mistake_at_a_boundary_is_refused(name: str, function: Callable[..., Any]) -> None:
    accepted = [seed for seed in SEEDS if check(name, function, seed).passed]
    assert not accepted


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=list(EXERCISES))
def test_the_shipped_solution_passes(exercise: Exercise) -> None:
    solution = exercise.reference if exercise.kind == "function" else exercise.reference()
    refused = [seed for seed in SEEDS if not check(exercise.name, solution, seed).passed]
    assert not refused
