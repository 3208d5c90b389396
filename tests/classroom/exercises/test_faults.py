"""Every exercise's inputs hold its boundaries: mistakes at each are refused whatever the seed, solutions never.

Two kinds of mistakes: those that learners make, written out below, and every small fault that can be made in the
shipped solution (an operator, a constant, a condition).
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from course_lib.classroom.exercises import EXERCISES
from course_lib.classroom.exercises.framework import check_exercise
from course_lib.classroom.exercises.lessons import lesson02, lesson04, lesson05, lesson06
from tests.reliability._mutations import mutate, mutations

SEEDS = range(20)
FUNCTIONS = sorted(name for name, exercise in EXERCISES.items() if exercise.kind == "function")
# Faults that change nothing: lengths that always agree, and a conversion of what is a number already.
SAME = ("strict=True", "True  →  False", "np.asarray(start, dtype=float)")


def _ece(confidence: Any, is_right: Any, num_bins: int, bins: Any) -> float:
    gaps = [abs(np.sum((is_right - confidence)[bins == k])) for k in range(-1, num_bins + 1)]
    return float(np.sum(gaps) / len(confidence))


def _fill(labels: Any, order: Any, num_each: int) -> Any:
    kept: list[int] = []
    for row in order:
        if sum(labels[k] == labels[row] for k in kept) <= num_each:
            kept.append(row)
    return np.array(kept)


def _truthy_pair(first: Any, second: Any) -> int:
    if not (first[1] and second[1]) or first[0] != second[0]:
        return 2
    return 0 if abs(first[1] - second[1]) == 1 else 1


def _anchor_from(weights: Any, beta: float, start: Any, rest: Any) -> Any:
    anchor = start
    for current in rest:
        anchor = (1 - beta) * current + beta * anchor
    return anchor


PLANTED: dict[str, dict[str, Callable[..., Any]]] = {
    "01.parameter_ratio": {
        "whole numbers": lambda num_parameters, num_examples: num_parameters // num_examples,
        "rounded": lambda num_parameters, num_examples: round(num_parameters / num_examples, 2),
        "inverted": lambda num_parameters, num_examples: num_examples / num_parameters,
    },
    "01.select_degree": {
        "training error": lambda degrees, train_errors, heldout_errors: degrees[int(np.argmin(train_errors))],
        "last of a tie": lambda degrees, train_errors, heldout_errors: max(
            d for d, e in zip(degrees, heldout_errors, strict=True) if e == min(heldout_errors)
        ),
        "place, not degree": lambda degrees, train_errors, heldout_errors: int(np.argmin(heldout_errors)),
        "smallest gap": lambda degrees, train_errors, heldout_errors: degrees[
            int(np.argmin(np.subtract(heldout_errors, train_errors)))
        ],
    },
    "02.gradient_descent": {
        "start left out": lambda gradient, start, learning_rate, num_steps: lesson02.gradient_descent(
            gradient, start, learning_rate, num_steps
        )[1:],
        "one step too many": lambda gradient, start, learning_rate, num_steps: lesson02.gradient_descent(
            gradient, start, learning_rate, num_steps + 1
        ),
        "last point alone": lambda gradient, start, learning_rate, num_steps: lesson02.gradient_descent(
            gradient, start, learning_rate, num_steps
        )[-1:],
    },
    "02.largest_stable_step": {
        "flattest axis": lambda curvatures: 2 / np.min(curvatures),
        "mean": lambda curvatures: 2 / np.mean(curvatures),
        "first": lambda curvatures: 2 / curvatures[0],
        "last": lambda curvatures: 2 / curvatures[-1],
    },
    "02.flip_share": {
        "one number": lambda predictions: np.mean(predictions[1:] != predictions[:-1]),
        "against the start": lambda predictions: np.mean(predictions[1:] != predictions[:1], axis=1),
        "counts": lambda predictions: np.sum(predictions[1:] != predictions[:-1], axis=1),
    },
    "03.symmetric_kl": {
        "plain exponentials": lambda logits_p, logits_q: _plain_kl(logits_p, logits_q),
    },
    "03.project": {
        "lower side only": lambda delta, epsilon: np.maximum(delta, -epsilon),
        "absolute": lambda delta, epsilon: np.minimum(np.abs(delta), epsilon),
    },
    "03.ascent_step": {
        "without the absolute value": lambda delta, gradient, step_size, epsilon: np.clip(
            delta + step_size * gradient / np.max(gradient), -epsilon, epsilon
        ),
        "smallest entry": lambda delta, gradient, step_size, epsilon: np.clip(
            delta + step_size * gradient / np.abs(np.min(gradient)), -epsilon, epsilon
        ),
        "row by row": lambda delta, gradient, step_size, epsilon: np.clip(
            delta + step_size * gradient / np.abs(gradient).max(axis=1, keepdims=True), -epsilon, epsilon
        ),
        "sign": lambda delta, gradient, step_size, epsilon: np.clip(
            delta + step_size * np.sign(gradient), -epsilon, epsilon
        ),
    },
    "04.momentum_anchor": {
        "from zero": lambda weights, beta: _anchor_from(weights, beta, 0 * weights[0], weights),
        "last left out": lambda weights, beta: _anchor_from(weights, beta, weights[0], weights[1:-1]),
        "weights exchanged": lambda weights, beta: _anchor_from(weights, 1 - beta, weights[0], weights[1:]),
    },
    "04.weight_left": {
        "early alone": lambda beta, late_beta, num_early, num_updates: beta ** min(num_early, num_updates),
        "early not bounded": lambda beta, late_beta, num_early, num_updates: (
            beta**num_early * late_beta ** (num_updates - num_early)
        ),
    },
    "04.expected_calibration_error": {
        "edges belong below": lambda confidence, is_right, num_bins: _ece(
            confidence, is_right, num_bins, np.maximum(np.ceil(confidence * num_bins).astype(int) - 1, 0)
        ),
        "certain left out": lambda confidence, is_right, num_bins: _ece(
            confidence[confidence < 1], is_right[confidence < 1], num_bins,
            (confidence[confidence < 1] * num_bins).astype(int),
        ),
        "bins from one half": lambda confidence, is_right, num_bins: _ece(
            confidence, is_right, num_bins,
            np.clip(((confidence - 0.5) * 2 * num_bins).astype(int), 0, num_bins - 1),
        ),
        "bins not weighted": lambda confidence, is_right, num_bins: float(
            np.mean([abs(np.mean(c - r)) for c, r in lesson04._per_bin(confidence, is_right, num_bins)])
        ),
    },
    "05.answer_column": {
        "last column": lambda attention_mask, num_virtual_tokens: np.full(
            len(attention_mask), num_virtual_tokens + attention_mask.shape[1] - 1
        ),
        "one too far": lambda attention_mask, num_virtual_tokens: num_virtual_tokens + attention_mask.sum(axis=1),
        "prompt forgotten": lambda attention_mask, num_virtual_tokens: attention_mask.sum(axis=1) - 1,
    },
    "05.answer_loss": {
        "base two": lambda logits, label_ids, label: lesson05.answer_loss(logits, label_ids, label) / np.log(2),
        "whole vocabulary": lambda logits, label_ids, label: float(
            np.log(np.exp(logits).sum()) - logits[label_ids[label]]
        ),
    },
    "05.random_rows": {
        "sample deviation": lambda table, noise: table.mean(axis=0) + table.std(axis=0, ddof=1) * noise,
        "one deviation": lambda table, noise: table.mean(axis=0) + table.std() * noise,
        "one mean": lambda table, noise: table.mean() + table.std(axis=0) * noise,
    },
    "06.pair_label": {
        "position 0 counts as none": _truthy_pair,
        "next only": lambda first, second: (
            2 if first[0] != second[0] else 0 if second[1] - first[1] == 1 else 1
        ),
        "itself is a neighbour": lambda first, second: (
            2 if first[0] != second[0] else 0 if abs(first[1] - second[1]) <= 1 else 1
        ),
    },
    "06.answer_place": {
        "place 0 counts as none": lambda order, answer: int(np.flatnonzero(order == answer)[0]) or len(order),
        "from 1": lambda order, answer: int(np.flatnonzero(order == answer)[0]) + 1,
    },
    "06.pseudo_labels": {
        "at the threshold too": lambda probabilities, thresholds: np.where(
            probabilities.max(axis=1) >= thresholds[probabilities.argmax(axis=1)], probabilities.argmax(axis=1), -1
        ),
        "lowest threshold": lambda probabilities, thresholds: np.where(
            probabilities.max(axis=1) > thresholds.min(), probabilities.argmax(axis=1), -1
        ),
        "0 for unsure": lambda probabilities, thresholds: np.where(
            probabilities.max(axis=1) > thresholds[probabilities.argmax(axis=1)], probabilities.argmax(axis=1), 0
        ),
    },
    "06.draw_balanced": {
        "one more": _fill,
        "cut to the smallest class": lambda labels, order, num_each: lesson06.draw_balanced(
            labels, order, min(num_each, *np.unique(labels, return_counts=True)[1])
        ),
        "two classes only": lambda labels, order, num_each: np.array(
            [row for row in lesson06.draw_balanced(labels, order, num_each) if labels[row] < 2]
        ),
    },
    "06.paired_error": {
        "population": lambda ours, theirs: float((ours - theirs).std() / np.sqrt(len(ours))),
        "unpaired": lambda ours, theirs: float(
            np.sqrt(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(theirs))
        ),
        "deviation": lambda ours, theirs: float((ours - theirs).std(ddof=1)),
    },
    "07.choose_label": {
        "last of a tie": lambda logits, label_ids: int(
            len(label_ids) - 1 - np.argmax(logits[label_ids][::-1])
        ),
        "token, not label": lambda logits, label_ids: int(label_ids[np.argmax(logits[label_ids])]),
        "whole vocabulary": lambda logits, label_ids: int(np.argmax(logits)),
    },
    "07.median_predictions": {
        "at the median too": lambda log_odds: (log_odds >= np.median(log_odds)).astype(int),
        "upper half by rank": lambda log_odds: (
            np.argsort(np.argsort(log_odds)) >= (len(log_odds) + 1) // 2
        ).astype(int),
    },
    "08.h_accuracy": {
        "undecided counts as wrong": lambda predictions, hypothesis_labels: float(
            np.mean(predictions == hypothesis_labels)
        ),
        "ones only": lambda predictions, hypothesis_labels: float(
            np.mean(predictions[hypothesis_labels == 1] == 1)
        ),
    },
    "08.underspecified_rows": {
        "undecided agree": lambda h1, h2: (np.flatnonzero(h1 == h2), np.flatnonzero(h1 != h2)),
        "ones only": lambda h1, h2: (np.flatnonzero((h1 == 1) & (h2 == 1)), np.flatnonzero(h1 + h2 == 1)),
    },
    "08.standard_error": {
        "population": lambda agrees: float(agrees.mean(axis=1).std() / np.sqrt(len(agrees))),
        "items as the unit": lambda agrees: float(agrees.std(ddof=1) / np.sqrt(agrees.size)),
        "along items": lambda agrees: float(agrees.mean(axis=0).std(ddof=1) / np.sqrt(agrees.shape[1])),
    },
    "09.intended_change": {
        "distance": lambda h1_before, h1_after, direction: abs(h1_after - h1_before),
        "h1 alone": lambda h1_before, h1_after, direction: h1_after - h1_before,
    },
    "09.explained_demonstrations": {
        "no space": lambda texts, labels, explanations: [
            f"{t}{explanations[k]} Label: {k}" for t, k in zip(texts, labels, strict=True)
        ],
        "no colon": lambda texts, labels, explanations: [
            f"{t} {explanations[k]} Label {k}" for t, k in zip(texts, labels, strict=True)
        ],
        "by place": lambda texts, labels, explanations: [
            f"{t} {explanations[i % 2]} Label: {k}" for i, (t, k) in enumerate(zip(texts, labels, strict=True))
        ],
    },
    "09.paired_change": {
        "population": lambda before, after: (
            float(np.mean(after - before)), float(np.std(after - before) / np.sqrt(len(before))),
        ),
        "exchanged": lambda before, after: (
            float(np.mean(before - after)), float(np.std(after - before, ddof=1) / np.sqrt(len(before))),
        ),
    },
}  # fmt: skip


def _plain_kl(logits_p: Any, logits_q: Any) -> float:
    p = np.exp(logits_p) / np.exp(logits_p).sum(axis=-1, keepdims=True)
    q = np.exp(logits_q) / np.exp(logits_q).sum(axis=-1, keepdims=True)
    return float(np.mean(np.sum((p - q) * (np.log(p) - np.log(q)), axis=-1)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_solution_passes_with_every_seed(name: str) -> None:
    exercise = EXERCISES[name]
    assert all(check_exercise(exercise, exercise.reference, seed).passed for seed in SEEDS)


@pytest.mark.parametrize(
    ("name", "mistake"), [(name, one) for name, known in PLANTED.items() for one in known]
)
def test_a_mistake_at_a_boundary_fails_with_every_seed(name: str, mistake: str) -> None:
    wrong = PLANTED[name][mistake]
    assert not [seed for seed in SEEDS if check_exercise(EXERCISES[name], wrong, seed).passed]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_usual_mistakes_fail_with_every_seed(name: str) -> None:
    exercise = EXERCISES[name]
    passed = [
        mistake.name
        for mistake in exercise.mistakes
        if any(check_exercise(exercise, mistake.function, seed).passed for seed in range(5))
    ]
    assert passed == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_small_fault_in_the_solution_fails(name: str) -> None:
    reference = EXERCISES[name].reference
    source = textwrap.dedent(inspect.getsource(reference))
    alive = []
    for mutation in mutations(source):
        names = dict(vars(inspect.getmodule(reference)))
        exec(compile(mutate(source, mutation.index), "fault", "exec"), names)
        faulty = names[reference.__name__]
        if any(check_exercise(EXERCISES[name], faulty, seed).passed for seed in range(3)):
            alive.append(mutation.says)
    assert [says for says in alive if not any(same in says for same in SAME)] == []
