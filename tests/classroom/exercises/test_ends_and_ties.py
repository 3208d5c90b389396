"""Wrong solutions that fail at an end, at a tie or at zero only are refused; honest ways to take a bin pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from course_lib.classroom.exercises import EXERCISES, check_exercise

SEEDS = range(20)


def _right(name: str) -> Callable[..., Any]:
    return EXERCISES[name].reference


def _gap(confidence: Any, is_right: Any, bins: Any) -> float:
    """Give the calibration error for bins that are given, an example each."""
    return float(
        sum(abs(np.sum((is_right - confidence)[bins == k])) for k in np.unique(bins)) / len(confidence)
    )


def _softened_kl(logits_p: Any, logits_q: Any) -> float:
    p, q = (np.exp(x - x.max(axis=-1, keepdims=True)) for x in (logits_p, logits_q))
    p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
    return float(np.mean(np.sum((p - q) * (np.log(p + 1e-8) - np.log(q + 1e-8)), axis=-1)))


def _without_last_row(h1: Any, h2: Any, direction: str) -> Any:
    rows, labels = _right("09.disambiguating_labels")(h1, h2, direction)
    return rows[rows < len(h1) - 1], labels[rows < len(h1) - 1]


def _last_of_a_tie(probabilities: Any, thresholds: Any) -> Any:
    labels = probabilities.shape[1] - 1 - probabilities[:, ::-1].argmax(axis=1)
    return np.where(probabilities.max(axis=1) > thresholds[labels], labels, -1)


PLANTED: list[tuple[str, str, Callable[..., Any]]] = [
    (
        "01.select_degree",
        "degrees sorted, errors not",
        lambda degrees, train_errors, heldout_errors: sorted(degrees)[int(np.argmin(heldout_errors))],
    ),
    (
        "01.select_degree",
        "never the first",
        lambda degrees, train_errors, heldout_errors: (
            degrees[1 + int(np.argmin(heldout_errors[1:]))] if degrees[1:] else degrees[0]
        ),
    ),
    ("03.symmetric_kl", "a small number added in the logarithm", _softened_kl),
    (
        "04.weight_left",
        "stopped just at num_early",
        lambda beta, late_beta, num_early, num_updates: (
            1.0 if num_updates == num_early else _right("04.weight_left")(beta, late_beta, num_early, num_updates)
        ),
    ),
    (
        "04.weight_left",
        "at least one update",
        lambda beta, late_beta, num_early, num_updates: _right("04.weight_left")(
            beta, late_beta, num_early, max(num_updates, 1)
        ),
    ),
    (
        "04.weight_left",
        "at least one early update",
        lambda beta, late_beta, num_early, num_updates: _right("04.weight_left")(
            beta, late_beta, max(num_early, 1), num_updates
        ),
    ),
    (
        "04.expected_calibration_error",
        "a bin of its own for 1",
        lambda confidence, is_right, num_bins: _gap(confidence, is_right, (confidence * num_bins).astype(int)),
    ),
    (
        "04.expected_calibration_error",
        "0 left out",
        lambda confidence, is_right, num_bins: _gap(
            confidence, np.where(confidence == 0, 0, is_right), np.minimum(confidence * num_bins // 1, num_bins - 1)
        ),
    ),
    (
        "05.answer_column",
        "first 0 of the mask, of which a full row has none",
        lambda attention_mask, num_virtual_tokens: num_virtual_tokens + attention_mask.argmin(axis=1) - 1,
    ),
    (
        "05.answer_column",
        "two tokens at least",
        lambda attention_mask, num_virtual_tokens: (
            num_virtual_tokens + np.maximum(attention_mask.sum(axis=1) - 1, 1)
        ),
    ),
    (
        "06.answer_place",
        "never the last place",
        lambda order, answer: next((i for i in range(len(order) - 1) if order[i] == answer), -1),
    ),
    ("06.pseudo_labels", "last of a tie", _last_of_a_tie),
    (
        "09.intended_change",
        "no sign towards h2",
        lambda h1_before, h1_after, direction: (
            h1_after - h1_before if direction == "h1" else abs(h1_after - h1_before)
        ),
    ),
    ("09.disambiguating_labels", "last row left out", _without_last_row),
]  # fmt: skip

# Edges at which these differ by rounding alone are in no input.
BINS: dict[str, Callable[[Any, int], Any]] = {
    "np.digitize": lambda confidence, num_bins: np.digitize(confidence, np.linspace(0, 1, num_bins + 1)) - 1,
    "divided by the width": lambda confidence, num_bins: confidence // (1 / num_bins),
    "multiplied": lambda confidence, num_bins: (confidence * num_bins).astype(int),
}


@pytest.mark.parametrize(
    ("name", "function"), [(n, f) for n, _, f in PLANTED], ids=[f"{n}-{what}" for n, what, _ in PLANTED]
)
def test_a_mistake_at_an_end_or_a_tie_is_refused(name: str, function: Callable[..., Any]) -> None:
    assert not [seed for seed in SEEDS if check_exercise(EXERCISES[name], function, seed).passed]


@pytest.mark.parametrize("name", sorted({name for name, _, _ in PLANTED}))
def test_the_solution_passes(name: str) -> None:
    assert all(check_exercise(EXERCISES[name], _right(name), seed).passed for seed in SEEDS)


@pytest.mark.parametrize("way", BINS)
def test_every_honest_way_to_take_a_bin_passes(way: str) -> None:
    def solution(confidence: Any, is_right: Any, num_bins: int) -> float:
        return _gap(confidence, is_right, np.minimum(BINS[way](confidence, num_bins), num_bins - 1))

    exercise = EXERCISES["04.expected_calibration_error"]
    assert all(check_exercise(exercise, solution, seed).passed for seed in SEEDS)
