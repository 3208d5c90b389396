"""Exercises of lesson 06, Pre-trained prompt tuning."""

from __future__ import annotations

from typing import Any

import numpy as np

from course_lib.classroom.exercises.framework import Inputs, exercise


def pair_label(first: tuple[str, int], second: tuple[str, int]) -> int:
    """Give the label of two sentences for the pre-training task of sentence pairs.

    Args:
        first: the document of the first sentence, and its position there.
        second: the same of the second sentence.

    Returns:
        0 (yes) for neighbours of one document, in either order; 1 (maybe) for others of one document; 2 (no)
        for two documents.
    """
    if first[0] != second[0]:
        return 2
    return 0 if abs(first[1] - second[1]) == 1 else 1


def answer_place(order: np.ndarray, answer: int) -> int:
    """Give the place of the right option after the options were shuffled.

    Args:
        order: whole numbers of shape (n,); place i shows the option `order[i]`.
        answer: the number of the right option before.

    Returns:
        Its place from 0 on.
    """
    return int(np.flatnonzero(order == answer)[0])


def pseudo_labels(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Keep the labels that a labeller is confident of.

    Args:
        probabilities: array of shape (n, num_labels).
        thresholds: array of shape (num_labels,), the confidence that each label asks for.

    Returns:
        Whole numbers of shape (n,): the most probable label where its probability is above its own
        threshold, else -1.
    """
    labels = probabilities.argmax(axis=1)
    return np.where(probabilities.max(axis=1) > thresholds[labels], labels, -1)


def draw_balanced(labels: np.ndarray, order: np.ndarray, num_each: int) -> np.ndarray:
    """Draw as many examples of each class, the first that come in a given order.

    Args:
        labels: whole numbers of shape (n,).
        order: a permutation of 0 to n - 1.
        num_each: examples of each class.

    Returns:
        Row numbers, in the order in which they come.
    """
    ordered = labels[order]
    place_in_class = np.array([np.sum(ordered[:place] == label) for place, label in enumerate(ordered)])
    return order[place_in_class < num_each]


def paired_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Give the standard error of the mean difference of two methods that share their seeds.

    Args:
        ours: accuracies of shape (n,), one a seed.
        theirs: those of the other method, for the same seeds in the same order.

    Returns:
        The standard deviation of the differences, with n - 1 below, divided by the root of n.
    """
    differences = ours - theirs
    return float(differences.std(ddof=1) / np.sqrt(len(differences)))


# --- 06.pair_label


@exercise(
    "06.pair_label",
    pair_label,
    hint="Look at the documents first, then at how far the positions lie apart.",
)
def _pair_label(rng: np.random.Generator) -> Inputs:
    """Return 0 for neighbours of one document, 1 for others of one document (a sentence and itself too), 2
    for two documents."""
    start = int(rng.integers(3, 20))
    return [
        (("a", start), ("a", start + 1)),
        (("a", start + 1), ("a", start)),
        (("a", start), ("a", start + 2)),
        (("a", start), ("b", start + 1)),
        (("a", start + 7), ("a", start)),
        (("a", start), ("b", start + 9)),
        # Position 0 is a position like every other.
        (("a", 0), ("a", 1)),
        (("a", 1), ("a", 0)),
        (("a", 0), ("a", 2)),
        (("a", start), ("a", 0)),
        (("a", 0), ("b", 0)),
        (("a", 0), ("b", 1)),
        (("a", start), ("a", start)),  # no sentence is its own neighbour
    ]


def _with(before: Any, after: Any, first: tuple[str, int], second: tuple[str, int]) -> int:
    """Change one answer into another."""
    label = pair_label(first, second)
    return after if label == before else label


@_pair_label.mistakes.add
def _next_sentence_only(first, second):
    """Only the next sentence counts. The previous one is a neighbour as well."""
    return 2 if first[0] != second[0] else 0 if second[1] - first[1] == 1 else 1


@_pair_label.mistakes.add
def _positions_of_two_documents(first, second):
    """Positions are compared across documents. Position 4 of another text is no neighbour of position 3."""
    return 0 if abs(first[1] - second[1]) == 1 else 1 if first[0] == second[0] else 2


@_pair_label.mistakes.add
def _yes_and_no_exchanged(first, second):
    """The labels count from yes (0) over maybe (1) to no (2)."""
    return 2 - pair_label(first, second)


@_pair_label.mistakes.add
def _same_document_is_enough(first, second):
    """All of one document count as neighbours. Sentences that do not touch are a class of their own."""
    return _with(1, 0, first, second)


@_pair_label.mistakes.add
def _two_classes(first, second):
    """Sentences of one document that do not touch count as two documents. They are the class in between."""
    return _with(1, 2, first, second)


@_pair_label.mistakes.add
def _position_0_forgotten(first, second):
    """A sentence at position 0 counts as none. In Python 0 is false: compare positions, and do not test them as
    true or false."""
    return pair_label(first, second) if first[1] and second[1] else 2


@_pair_label.mistakes.add
def _within_two_sentences(first, second):
    """A sentence lies between these two. Neighbours touch."""
    return 2 if first[0] != second[0] else 0 if abs(first[1] - second[1]) <= 2 else 1


# --- 06.answer_place


@exercise(
    "06.answer_place",
    answer_place,
    hint="order[i] is the option shown at place i. Which place shows the right one?",
)
def _answer_place(rng: np.random.Generator) -> Inputs:
    """Return the place, from 0 on, at which the right option stands after shuffling."""
    # a cycle, so that what stands at place `answer` is never what shows where the answer is
    cycle = np.roll(np.arange(6), int(rng.choice([-2, -1, 1, 2])))
    return [
        (np.array([2, 0, 1]), 0),
        (np.array([1, 2, 3, 0]), 2),
        (np.array([2, 0, 1]), 2),
        (np.array([1, 2, 0]), 0),  # the last place
        (cycle, 0),
        (cycle, 3),
        (np.array([3, 1, 0, 2]), 1),
    ]


@_answer_place.mistakes.add
def _the_permutation_not_its_inverse(order, answer):
    """order[answer] is the option that stands where the answer stood. You need the place of the answer."""
    return int(order[answer])


@_answer_place.mistakes.add
def _place_before_shuffling(order, answer):
    """That is its number before. The options were shuffled."""
    return int(answer)


@_answer_place.mistakes.add
def _counted_from_one(order, answer):
    """Labels count from 0: letter A is label 0."""
    return answer_place(order, answer) + 1


@_answer_place.mistakes.add
def _always_the_first(order, answer):
    """The answer always stands first. A prompt learns that at once, and nothing else."""
    return 0


@_answer_place.mistakes.add
def _counted_from_the_end(order, answer):
    """This counts from the last place."""
    return len(order) - 1 - answer_place(order, answer)


# --- 06.pseudo_labels


@exercise(
    "06.pseudo_labels",
    pseudo_labels,
    hint="Find each sentence's most probable label, look up the threshold of that label, then compare.",
)
def _pseudo_labels(rng: np.random.Generator) -> Inputs:
    """Return the most probable label where its probability is above (not just at) its own threshold, else -1."""
    fixed = np.array(
        [[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.1, 0.55, 0.35], [0.2, 0.2, 0.6], [0.3, 0.4, 0.3]]
    )
    asked = np.array([0.8, 0.5, 0.7])
    return [
        (fixed, asked),
        (fixed[::-1], np.array([0.5, 0.6, 0.2])),
        (np.round(rng.dirichlet([0.5] * 3, 8), 3), asked),
        # just at the threshold: not above it
        (np.array([[0.5, 0.25, 0.25], [0.25, 0.75, 0.0]]), np.array([0.5, 0.75, 0.1])),
        # two labels as probable as each other: the first
        (np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]]), np.array([0.3, 0.3, 0.3])),
        # the labeller is sure, but not of its most probable label's threshold alone
        (np.array([[0.5, 0.5 - 1e-3, 1e-3]]), np.array([0.6, 0.3, 0.1])),
    ]


@_pseudo_labels.mistakes.add
def _nothing_left_out(probabilities, thresholds):
    """Every sentence keeps its label. Those that the labeller is unsure of are to be left out."""
    return probabilities.argmax(axis=1)


@_pseudo_labels.mistakes.add
def _first_threshold_for_all(probabilities, thresholds):
    """One threshold is used for all labels. Each label has its own."""
    return np.where(probabilities.max(axis=1) > thresholds[0], probabilities.argmax(axis=1), -1)


@_pseudo_labels.mistakes.add
def _any_label_above_its_threshold(probabilities, thresholds):
    """A label that is not the most probable one was given because its threshold is low."""
    return np.where((probabilities > thresholds).any(axis=1), (probabilities > thresholds).argmax(axis=1), -1)


@_pseudo_labels.mistakes.add
def _kept_and_left_out_exchanged(probabilities, thresholds):
    """The sure ones are left out and the unsure ones kept."""
    return np.where(pseudo_labels(probabilities, thresholds) < 0, probabilities.argmax(axis=1), -1)


@_pseudo_labels.mistakes.add
def _left_out_as_label_0(probabilities, thresholds):
    """What is left out becomes label 0, a real label. Mark it with -1."""
    return np.maximum(pseudo_labels(probabilities, thresholds), 0)


# --- 06.draw_balanced


@exercise(
    "06.draw_balanced",
    draw_balanced,
    hint="Go through the rows in the given order and take one while its class is not full.",
)
def _draw_balanced(rng: np.random.Generator) -> Inputs:
    """Return the row numbers of the first num_each examples of each class, in the order in which they come.
    A class that has fewer gives all of them."""
    return [
        (np.array([0, 0, 0, 1, 1, 1]), np.array([5, 1, 0, 2, 4, 3]), 2),
        (np.array([1, 0, 1, 0, 1]), np.array([4, 2, 0, 3, 1]), 1),
        (np.arange(12) % 3, rng.permutation(12), 2),
        (np.array([0] * 8 + [1] * 4), rng.permutation(12), 3),
        # A class that has fewer rows gives all that it has.
        (np.array([0] * 5 + [1]), rng.permutation(6), 3),
        (np.array([2, 0, 2, 2]), np.array([3, 0, 1, 2]), 2),
    ]


@_draw_balanced.mistakes.add
def _not_balanced(labels, order, num_each):
    """The first rows are taken whatever their class. Each class has a number of its own."""
    return order[: num_each * len(np.unique(labels))]


@_draw_balanced.mistakes.add
def _capped_at_the_smallest_class(labels, order, num_each):
    """Every class is cut down to the size of the smallest. Only a class that has too few gives fewer."""
    return draw_balanced(labels, order, min(num_each, int(np.unique(labels, return_counts=True)[1].min())))


@_draw_balanced.mistakes.add
def _order_not_used(labels, order, num_each):
    """The rows are taken as they stand. A draw follows the order."""
    return draw_balanced(labels, np.arange(len(labels)), num_each)


@_draw_balanced.mistakes.add
def _sorted(labels, order, num_each):
    """The rows are right but sorted. Leave them in the order in which they come."""
    return np.sort(draw_balanced(labels, order, num_each))


@_draw_balanced.mistakes.add
def _one_too_many_of_each(labels, order, num_each):
    """Each class has one row too many."""
    return draw_balanced(labels, order, num_each + 1)


@_draw_balanced.mistakes.add
def _labels_not_rows(labels, order, num_each):
    """These are the labels of the rows. Give the row numbers."""
    return labels[draw_balanced(labels, order, num_each)]


# --- 06.paired_error


@exercise(
    "06.paired_error",
    paired_error,
    hint="Take the difference for each seed first. Then it is the standard error of one list of numbers.",
)
def _paired_error(rng: np.random.Generator) -> Inputs:
    """Return the standard error of the mean difference between two methods over shared seeds, with the
    sample standard deviation (ddof=1)."""
    fixed = np.array([0.60, 0.72, 0.66, 0.81, 0.70])
    # draws of examples that are easy or hard for both methods
    shared = rng.normal(0.7, 0.08, 6)
    return [
        (fixed + np.array([0.02, 0.05, 0.03, 0.04, 0.01]), fixed),
        (np.array([0.5, 0.9, 0.7]), np.array([0.55, 0.8, 0.6])),
        (np.round(shared + rng.normal(0.03, 0.01, 6), 3), np.round(shared, 3)),
        (np.array([0.8, 0.6, 0.7, 0.9]), np.array([0.7, 0.6, 0.5, 0.8])),
    ]


@_paired_error.mistakes.add
def _not_paired(ours, theirs):
    """The two methods are treated as if their seeds had nothing in common. Take differences first."""
    return float(np.sqrt(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(ours)))


@_paired_error.mistakes.add
def _n_below(ours, theirs):
    """With n below, the spread of few numbers comes out too small. Use n - 1."""
    return float((ours - theirs).std() / np.sqrt(len(ours)))


@_paired_error.mistakes.add
def _standard_deviation(ours, theirs):
    """This is the spread of single differences. That of their mean is smaller, by the root of n."""
    return float((ours - theirs).std(ddof=1))


@_paired_error.mistakes.add
def _divided_by_n(ours, theirs):
    """This divides by n. The error of a mean shrinks with the root of n."""
    return float((ours - theirs).std(ddof=1) / len(ours))


@_paired_error.mistakes.add
def _the_mean_itself(ours, theirs):
    """This is the mean difference. The question is how sure it is."""
    return float((ours - theirs).mean())
