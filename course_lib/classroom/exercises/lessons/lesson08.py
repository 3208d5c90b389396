"""Exercises of lesson 08, Inductive bias and h-accuracy."""

from __future__ import annotations

import numpy as np

from course_lib.classroom.exercises.framework import Inputs, answer_exercise, exercise


def h_accuracy(predictions: np.ndarray, hypothesis_labels: np.ndarray) -> float:
    """Give the share of items, among those the hypothesis applies to, that get its label.

    Args:
        predictions: 0 or 1, of shape (n,).
        hypothesis_labels: 0 or 1, or -1 where the hypothesis does not apply, of shape (n,).
    """
    applies = hypothesis_labels != -1
    return float(np.mean(predictions[applies] == hypothesis_labels[applies]))


def h1_from_halves(share_10: float, share_01: float) -> float:
    """Give h1-accuracy from the shares of label 1 on the (1, 0) and (0, 1) halves of a test set."""
    return (share_10 + 1 - share_01) / 2


def underspecified_rows(h1: np.ndarray, h2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the rows fit for demonstrations and those fit for the test set.

    Args:
        h1: labels of the first hypothesis, -1 where it does not apply, of shape (n,).
        h2: labels of the second.
    """
    both_apply = (h1 != -1) & (h2 != -1)
    return np.flatnonzero(both_apply & (h1 == h2)), np.flatnonzero(both_apply & (h1 != h2))


def standard_error(agrees: np.ndarray) -> float:
    """Give the standard error of the mean h1-accuracy with sets as the unit.

    Args:
        agrees: 0 or 1 of shape (sets, items).
    """
    of_sets = agrees.mean(axis=1)
    return float(of_sets.std(ddof=1) / np.sqrt(len(of_sets)))


# --- 08.h_accuracy


@exercise(
    "08.h_accuracy",
    h_accuracy,
    hint="Keep the items whose label under the hypothesis is 0 or 1; then take the mean of 'is the same'.",
)
def _h_accuracy(rng: np.random.Generator) -> Inputs:
    """Return the share of items that get the hypothesis's label, among those it applies to (not -1)."""
    return [
        (np.array([1, 1, 0, 1]), np.array([1, 0, 0, 1])),
        (np.array([1, 0, 0, 1, 1]), np.array([1, 1, -1, 0, 1])),
        (rng.integers(0, 2, 12), np.array([-1, 0, 1, 1] * 3)),
        (np.array([1, 1, 1, 1, 0, 1]), np.array([1, -1, 1, -1, 0, 1])),
    ]


@_h_accuracy.mistakes.add
def _items_that_do_not_count_are_wrong_answers(predictions, hypothesis_labels):
    """Items to which the hypothesis does not apply count as wrong here. Leave them out of the mean."""
    return np.mean(predictions == hypothesis_labels)


@_h_accuracy.mistakes.add
def _share_of_label_1(predictions, hypothesis_labels):
    """This is how often the model says 1, whatever the hypothesis says."""
    return np.mean(predictions[hypothesis_labels != -1])


@_h_accuracy.mistakes.add
def _share_that_disagrees(predictions, hypothesis_labels):
    """This is the share of items on which the two differ: the other hypothesis's accuracy."""
    return 1 - h_accuracy(predictions, hypothesis_labels)


@_h_accuracy.mistakes.add
def _a_count(predictions, hypothesis_labels):
    """This is a number of items. Divide by how many the hypothesis applies to."""
    return np.sum(predictions == hypothesis_labels)


# --- 08.h1_from_halves


@exercise(
    "08.h1_from_halves",
    h1_from_halves,
    hint="In each half ask what h1 says and how often the model says that; then take the mean of the two.",
)
def _h1_from_halves(rng: np.random.Generator) -> Inputs:
    """Return h1-accuracy from the shares of label 1 on the (1, 0) half and on the (0, 1) half."""
    drawn = np.round(rng.uniform(0.05, 0.95, 2), 2)
    shares = ((0.72, 0.35), (1.0, 1.0), (0.2, 0.9), tuple(float(share) for share in drawn))
    return shares


@_h1_from_halves.mistakes.add
def _mean_of_the_shares(share_10, share_01):
    """On the (0, 1) half h1 says 0, so there the model follows h1 when it does not say 1."""
    return (share_10 + share_01) / 2


@_h1_from_halves.mistakes.add
def _h2_accuracy(share_10, share_01):
    """This is h2-accuracy: the halves have changed roles."""
    return (share_01 + 1 - share_10) / 2


@_h1_from_halves.mistakes.add
def _first_half_only(share_10, share_01):
    """Only the (1, 0) half counts here. A model that always says 1 would be perfect."""
    return share_10


@_h1_from_halves.mistakes.add
def _difference_of_the_shares(share_10, share_01):
    """The difference runs from -1 to 1. h-accuracy is a share: half of each half."""
    return share_10 - share_01


# --- 08.underspecified_rows


@exercise(
    "08.underspecified_rows",
    underspecified_rows,
    hint="np.flatnonzero gives the numbers of the rows where a condition holds; -1 is no label.",
)
def _underspecified_rows(rng: np.random.Generator) -> Inputs:
    """Return two arrays of row numbers, from 0 on: where both hypotheses apply and agree, and where they differ."""
    return [
        (np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0])),
        (np.array([1, -1, 0, 0, -1]), np.array([1, 1, -1, 1, -1])),
        (np.array([0, 1, -1, 1, 0, -1, 0]), np.array([0, 1, 0, 0, 1, -1, -1])),
        (
            np.array([1, 0, -1, 1, 0, -1, *rng.integers(0, 2, 4)]),
            np.array([1, 1, -1, 0, 0, 0, *rng.integers(0, 2, 4)]),
        ),
    ]


@_underspecified_rows.mistakes.add
def _rows_without_a_label_kept(h1, h2):
    """Rows where a hypothesis does not apply (-1) are kept. They can neither agree nor differ."""
    return (np.flatnonzero(h1 == h2), np.flatnonzero(h1 != h2))


@_underspecified_rows.mistakes.add
def _swapped(h1, h2):
    """The two are swapped: demonstrations are where both agree, the test set where they differ."""
    return underspecified_rows(h1, h2)[::-1]


@_underspecified_rows.mistakes.add
def _demonstrations_of_label_1_only(h1, h2):
    """Only rows with label 1 are taken as demonstrations. Both labels have to be shown."""
    return (np.flatnonzero((h1 == 1) & (h2 == 1)), underspecified_rows(h1, h2)[1])


@_underspecified_rows.mistakes.add
def _half_of_the_test_set(h1, h2):
    """Only the rows with (h1, h2) = (1, 0) are in the test set. It needs (0, 1) too, to be balanced."""
    return (underspecified_rows(h1, h2)[0], np.flatnonzero((h1 == 1) & (h2 == 0)))


# --- 08.standard_error


@exercise(
    "08.standard_error",
    standard_error,
    hint="Take each set's mean. Divide their standard deviation (ddof=1) by the root of the number of sets.",
)
def _standard_error(rng: np.random.Generator) -> Inputs:
    """Return the standard error of the mean h1-accuracy, with demonstration sets (rows) as the unit (ddof=1)."""
    return [
        (np.array([[1, 1, 1, 0], [0, 0, 1, 0]]),),
        (np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0]]),),
        (np.repeat(np.array([[1], [0], [1], [1]]), 20, axis=1),),
        ((rng.random((5, 12)) < np.array([[0.2], [0.4], [0.6], [0.8], [0.9]])).astype(int),),
    ]


@_standard_error.mistakes.add
def _items_as_the_unit(agrees):
    """Every item counts as a witness of its own. Items behind the same demonstrations are not independent."""
    return agrees.std(ddof=1) / np.sqrt(agrees.size)


@_standard_error.mistakes.add
def _standard_deviation(agrees):
    """This is how far single sets differ. The mean of several sets is steadier: divide by a root."""
    return agrees.mean(axis=1).std(ddof=1)


@_standard_error.mistakes.add
def _divided_by_n_not_n_less_one(agrees):
    """The standard deviation of a few sets divides by their number less one: ddof=1."""
    return agrees.mean(axis=1).std() / np.sqrt(len(agrees))


@_standard_error.mistakes.add
def _over_items_not_sets(agrees):
    """The mean is taken for each item over the sets. Take it for each set over its items."""
    return agrees.mean(axis=0).std(ddof=1) / np.sqrt(agrees.shape[1])


@_standard_error.mistakes.add
def _without_the_root(agrees):
    """The standard deviation is divided by the number of sets. Divide by its square root."""
    return agrees.mean(axis=1).std(ddof=1) / len(agrees)


_CONSTANT_MODEL = answer_exercise(
    name="08.constant_model",
    task="On a balanced disambiguating test set a model answers 0 to every item. What is its h2-accuracy, from 0 to 1?",
    expected=0.5,
    hint="h2 says 0 on one half of the items, the (1, 0) half.",
    mistakes={
        0: "On the (1, 0) half h2 says 0, and so does the model. Those answers agree.",
        1: "On the (0, 1) half h2 says 1, and the model says 0. Those answers do not agree.",
        50: "Give it as a share between 0 and 1.",
        0.25: "There are two kinds of test items here, not four: (1, 0) and (0, 1), as many of each.",
    },
)
