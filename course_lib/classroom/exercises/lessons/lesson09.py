"""Exercises of lesson 09, Interventions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from course_lib.classroom.exercises.framework import Inputs, answer_exercise, exercise


def intended_change(h1_before: float, h1_after: float, direction: str) -> float:
    """Give how far h-accuracy of the intended feature rose.

    Args:
        h1_before: h1-accuracy without the intervention.
        h1_after: h1-accuracy with it.
        direction: "h1" or "h2".
    """
    change = h1_after - h1_before
    return change if direction == "h1" else -change


def explained_demonstrations(
    texts: Sequence[str], labels: Sequence[int], explanations: Sequence[str]
) -> list[str]:
    """Give "text explanation Label: label" for each demonstration."""
    return [f"{text} {explanations[label]} Label: {label}" for text, label in zip(texts, labels, strict=True)]


def disambiguating_labels(h1: np.ndarray, h2: np.ndarray, direction: str) -> tuple[np.ndarray, np.ndarray]:
    """Give the rows on which two hypotheses differ, and their labels under the intended one."""
    rows = np.flatnonzero(h1 != h2)
    return rows, (h1 if direction == "h1" else h2)[rows]


def paired_change(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Give the mean change over sets and its standard error."""
    changes = after - before
    return float(np.mean(changes)), float(np.std(changes, ddof=1) / np.sqrt(len(changes)))


# --- 09.intended_change


@exercise(
    "09.intended_change",
    intended_change,
    hint="Towards h1 it is after minus before. What is it for 1 - h1-accuracy?",
)
def _intended_change(rng: np.random.Generator) -> Inputs:
    """Return how far h-accuracy of the intended feature rose; it is negative where it fell."""
    before, after = (float(value) for value in np.round(rng.uniform(0.1, 0.9, 2), 2))
    cases = (
        (0.5, 0.7, "h1"),
        (0.56, 0.003, "h2"),
        (0.4, 0.3, "h1"),
        (0.3, 0.45, "h2"),
        (0.6, 0.6, "h1"),
        (before, after, "h2"),
    )
    return cases


@_intended_change.mistakes.add
def _always_towards_h1(h1_before, h1_after, direction):
    """The direction is not looked at. Towards h2, a fall of h1-accuracy is a success."""
    return h1_after - h1_before


@_intended_change.mistakes.add
def _upside_down(h1_before, h1_after, direction):
    """The sign is the wrong way round: after minus before for the feature that is meant."""
    return -intended_change(h1_before, h1_after, direction)


@_intended_change.mistakes.add
def _size_only(h1_before, h1_after, direction):
    """The sign is lost. An intervention may backfire, and then the change is negative."""
    return abs(h1_after - h1_before)


@_intended_change.mistakes.add
def _accuracy_afterwards(h1_before, h1_after, direction):
    """This is the h-accuracy afterwards. Take away what it was before."""
    return h1_after if direction == "h1" else 1 - h1_after


# --- 09.explained_demonstrations


@exercise(
    "09.explained_demonstrations",
    explained_demonstrations,
    hint="explanations[0] goes with label 0 and explanations[1] with label 1, wherever the text stands.",
)
def _explained_demonstrations(rng: np.random.Generator) -> Inputs:
    """Return a list of strings "text explanation Label: label", the explanation chosen by the label."""
    reasons = ["It is bad.", "It is good."]
    drawn = [0, 0, 1, *rng.integers(0, 2, 3).tolist()]
    return [
        (["Dull.", "Great."], [0, 1], reasons),
        (["Fine.", "Poor.", "Bold."], [1, 0, 1], reasons),
        (["Up.", "Down."], [1, 0], ["It falls.", "It rises."]),
        ([f"Text {n}." for n in range(6)], drawn, reasons),
    ]


@_explained_demonstrations.mistakes.add
def _chosen_by_place(texts, labels, explanations):
    """The explanations take turns. Choose each by the label of its own demonstration."""
    return [
        f"{text} {explanations[place % 2]} Label: {label}"
        for place, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]


@_explained_demonstrations.mistakes.add
def _swapped(texts, labels, explanations):
    """The explanations are swapped: label 0 gets the sentence for label 1."""
    return explained_demonstrations(texts, labels, explanations[::-1])


@_explained_demonstrations.mistakes.add
def _the_same_for_all(texts, labels, explanations):
    """All demonstrations have the explanation of label 1, also those of label 0."""
    return [f"{text} {explanations[1]} Label: {label}" for text, label in zip(texts, labels, strict=True)]


@_explained_demonstrations.mistakes.add
def _behind_the_label(texts, labels, explanations):
    """The explanation comes behind the label. A reason that follows the answer cannot lead to it."""
    return [f"{text} Label: {label} {explanations[label]}" for text, label in zip(texts, labels, strict=True)]


# --- 09.disambiguating_labels


@exercise(
    "09.disambiguating_labels",
    disambiguating_labels,
    hint="Find the rows first. Then look up the labels of h1 or of h2 at those rows.",
)
def _disambiguating_labels(rng: np.random.Generator) -> Inputs:
    """Return the numbers, from 0 on, of the rows on which h1 and h2 differ, and their labels under the
    intended one, as a pair of arrays."""
    first = np.array([1, 1, 0, 0])
    drawn = np.array([1, 0, 1, 0, *rng.integers(0, 2, 5)])
    cases = (
        (first, np.array([1, 0, 1, 0]), "h1"),
        (first, np.array([1, 0, 1, 0]), "h2"),
        (np.array([0, 1, 1]), np.array([1, 1, 0]), "h1"),  # the first row and the last
        (np.array([0, 1, 0, 1, 1]), np.array([1, 1, 1, 0, 1]), "h2"),
        (drawn, np.array([0, 1, 1, 0, *rng.integers(0, 2, 5)]), "h1"),
    )
    return cases


@_disambiguating_labels.mistakes.add
def _always_labelled_by_h1(h1, h2, direction):
    """The labels are h1's in both directions. Towards h2 they must be h2's."""
    return disambiguating_labels(h1, h2, "h1")


@_disambiguating_labels.mistakes.add
def _labelled_by_the_other_feature(h1, h2, direction):
    """The labels are those of the feature that is not meant."""
    return disambiguating_labels(h1, h2, "h2" if direction == "h1" else "h1")


@_disambiguating_labels.mistakes.add
def _rows_that_agree(h1, h2, direction):
    """These are the rows on which both agree. They leave the question open."""
    return (np.flatnonzero(h1 == h2), h1[h1 == h2])


@_disambiguating_labels.mistakes.add
def _labels_of_all_rows(h1, h2, direction):
    """There is a label for every row. Give those of the chosen rows only."""
    return (np.flatnonzero(h1 != h2), h1 if direction == "h1" else h2)


# --- 09.paired_change


@exercise(
    "09.paired_change",
    paired_change,
    hint="One difference a set; then their mean, and their standard deviation (ddof=1) over the root of n.",
)
def _paired_change(rng: np.random.Generator) -> Inputs:
    """Return the mean of after - before over sets, and the standard error of that mean (ddof=1), as a pair."""
    sets = np.round(rng.uniform(0.2, 0.8, 10), 2)
    return [
        (np.array([0.4, 0.6]), np.array([0.5, 0.8])),
        (np.array([0.2, 0.5, 0.8]), np.array([0.3, 0.5, 0.95])),
        (np.array([0.7, 0.4, 0.6, 0.5]), np.array([0.6, 0.4, 0.5, 0.2])),
        (sets, np.round(sets + rng.uniform(0, 0.2, 10), 2)),
    ]


def _unpaired_error(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.sqrt((before.var(ddof=1) + after.var(ddof=1)) / len(before)))


@_paired_change.mistakes.add
def _not_paired(before, after):
    """The error treats before and after as different sets. Subtract set by set first."""
    return (np.mean(after - before), _unpaired_error(before, after))


@_paired_change.mistakes.add
def _upside_down_change(before, after):
    """The difference is the wrong way round: after minus before."""
    return paired_change(after, before)


@_paired_change.mistakes.add
def _standard_deviation(before, after):
    """The second number is how far single sets differ. Divide it by the root of their number."""
    return (np.mean(after - before), np.std(after - before, ddof=1))


@_paired_change.mistakes.add
def _divided_by_n_not_n_less_one(before, after):
    """The standard deviation of a few differences divides by their number less one: ddof=1."""
    return (
        np.mean(after - before),
        np.std(after - before) / np.sqrt(len(before)),
    )


_PUBLISHED_CHANGE = answer_exercise(
    name="09.published_change",
    task="h1-accuracy falls from 92.4 % to 0.5 %. By how many points does h2-accuracy rise?",
    expected=91.9,
    hint="Both add up to 100 %, before and after.",
    mistakes={
        99.5: "This is h2-accuracy afterwards. It was 7.6 % before.",
        -91.9: "This is the change of h1-accuracy. h2-accuracy moves the other way.",
        0.919: "Give it in points of a hundred.",
        92.9: "The two h1-accuracies are added. Take the difference.",
    },
)
