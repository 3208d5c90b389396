"""Underspecified demonstrations, which two hypotheses explain equally well, and test sets that tell them apart.

A model shown demonstrations with h1(x) = h2(x) cannot know which of the two is meant. What it answers on
texts with h1(x) ≠ h2(x) is its inductive bias (Si et al., ACL 2023, section 2).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from datasets import Dataset, concatenate_datasets

from course_lib.checks.calls import a_dataset, border, of_type
from course_lib.checks.types import Seed
from course_lib.checks.values import check_count, check_seed
from course_lib.errors import CourseError
from course_lib.icl.drawing import Pool, label_texts
from course_lib.icl.hypotheses import Hypothesis, find_hypothesis
from course_lib.icl.interventions import Direction

Cell = tuple[int, int]
CELLS: tuple[Cell, ...] = ((1, 1), (1, 0), (0, 1), (0, 0))


@dataclass(frozen=True)
class UnderspecifiedSplit:
    """One set of demonstrations with h1 = h2, and the test set with h1 ≠ h2.

    Args:
        demonstrations: the rows shown to the model, in the order in which it sees them.
        demonstration_labels: their labels 0 and 1, as many of each.
        test: rows on which the two hypotheses differ, (h1, h2) = (1, 0) in one half, (0, 1) in the other.
        h1_labels: label of each test row under h1.
        h2_labels: label of each test row under h2, always the other one.
        n: number of test rows; less than asked for where the texts have no more.
        held_back: rows with h1 ≠ h2, half of each kind, that the test set lacks so that
            `disambiguating_demonstrations` can show them; empty unless asked for.
        held_back_h1_labels: label of each of these under h1.
    """

    demonstrations: Dataset
    demonstration_labels: list[int]
    test: Dataset
    h1_labels: list[int]
    h2_labels: list[int]
    n: int
    held_back: Dataset
    held_back_h1_labels: list[int]


@dataclass(frozen=True)
class SingleFeatureSplit:
    """Demonstrations and a balanced test set labelled by one feature alone.

    Args:
        demonstrations: the rows shown to the model, in the order in which it sees them.
        demonstration_labels: their labels 0 and 1, as many of each.
        test: the test rows.
        labels: label of each test row, as many 0 as 1.
        n: number of test rows; less than asked for where the texts have no more.
    """

    demonstrations: Dataset
    demonstration_labels: list[int]
    test: Dataset
    labels: list[int]
    n: int


Split = TypeVar("Split", UnderspecifiedSplit, SingleFeatureSplit)

_a_split = of_type(
    "course_lib.icl.underspecified.UnderspecifiedSplit", "course_lib.icl.underspecified.SingleFeatureSplit"
)


# --- pools -----------------------------------------------------------------------------------------


class UnderspecifiedPool(Pool):
    """Texts labelled once by two hypotheses, from which any number of underspecified sets is drawn.

    `cells` holds the rows for each pair of labels (h1(x), h2(x)).

    Args:
        texts: rows that both hypotheses can read.
        h1: the first hypothesis, or its name.
        h2: the second, of the same task.

    Raises:
        CourseError: hypotheses of two tasks, or twice the same; texts without text; what `label_texts` raises.
    """

    @border(texts=a_dataset)
    def __init__(self, texts: Dataset, h1: Hypothesis | str, h2: Hypothesis | str) -> None:
        self.h1, self.h2 = find_hypothesis(h1), find_hypothesis(h2)
        _check_hypotheses(self.h1, self.h2)
        self.cells: dict[Cell, list[int]] = {cell: [] for cell in CELLS}
        labels = zip(label_texts(texts, self.h1), label_texts(texts, self.h2), strict=True)
        for row, (first, second) in enumerate(labels):
            if first is not None and second is not None:
                self.cells[first, second].append(row)
        self._disagreeing = {1: self.cells[1, 0], 0: self.cells[0, 1]}
        super().__init__(
            texts,
            f"{self.h1.name} against {self.h2.name}",
            {f"(h1, h2) = {cell}": len(rows) for cell, rows in self.cells.items()},
            {1: self.cells[1, 1], 0: self.cells[0, 0]},
        )

    def draw(
        self,
        set_number: int,
        *,
        num_demonstrations: int = 16,
        test_size: int = 1200,
        seed: int = 0,
        num_held_back: int = 0,
    ) -> UnderspecifiedSplit:
        """Draws a set of demonstrations with its test set; a number and a seed always give the same one.

        Args:
            set_number: which set, from 0.
            num_demonstrations: demonstrations, half of them of label 1.
            test_size: test rows at most, half of them with (h1, h2) = (1, 0); fewer where the texts have no more.
            seed: seed of all draws.
            num_held_back: further rows with h1 ≠ h2, half of each kind, kept out of the test set for
                `disambiguating_demonstrations`, which takes num_demonstrations / 2 of them.

        Raises:
            CourseError: as `underspecified_split`.
        """
        _check_sizes(set_number, num_demonstrations, test_size, seed)
        _check_even("num_held_back", num_held_back, least=0)
        rng, demonstrations = self.demonstrations(set_number, num_demonstrations, seed)
        shown = [row for row, _ in demonstrations]
        held_back = self.balanced(self._disagreeing, num_held_back, rng, texts_of=shown)
        if len(held_back) < num_held_back:
            raise self.too_few("to hold back for disambiguating demonstrations", num_held_back)
        apart = [*shown, *(row for row, _ in held_back)]
        test = self.test_set(self._disagreeing, test_size, rng, apart_from=apart)
        h1_labels = [label for _, label in test]
        return UnderspecifiedSplit(
            demonstrations=self.texts.select(shown),
            demonstration_labels=[label for _, label in demonstrations],
            test=self.texts.select([row for row, _ in test]),
            h1_labels=h1_labels,
            h2_labels=[1 - label for label in h1_labels],
            n=len(test),
            held_back=self.texts.select([row for row, _ in held_back]),
            held_back_h1_labels=[label for _, label in held_back],
        )


class SingleFeaturePool(Pool):
    """Texts labelled once by one feature, from which sets for that feature alone are drawn.

    Args:
        texts: the rows.
        hypothesis: the feature, or its name.

    Raises:
        CourseError: texts without text; what `label_texts` raises.
    """

    @border(texts=a_dataset)
    def __init__(self, texts: Dataset, hypothesis: Hypothesis | str) -> None:
        self.hypothesis = find_hypothesis(hypothesis)
        labels = label_texts(texts, self.hypothesis)
        rows = {value: [row for row, label in enumerate(labels) if label == value] for value in (1, 0)}
        counts = {str(value): len(found) for value, found in rows.items()}
        super().__init__(texts, self.hypothesis.name, counts, rows)

    def draw(
        self, set_number: int, *, num_demonstrations: int = 16, test_size: int = 1200, seed: int = 0
    ) -> SingleFeatureSplit:
        """Draws a set of demonstrations with its test set; a number and a seed always give the same one.

        Args:
            set_number: which set, from 0.
            num_demonstrations: demonstrations, half of them of label 1.
            test_size: test rows at most, half of them of label 1; fewer where the texts have no more.
            seed: seed of all draws.

        Raises:
            CourseError: as many demonstrations of each label, or test rows, are not there; sizes that are not even.
        """
        _check_sizes(set_number, num_demonstrations, test_size, seed)
        rng, demonstrations = self.demonstrations(set_number, num_demonstrations, seed)
        shown = [row for row, _ in demonstrations]
        test = self.test_set(self.rows, test_size, rng, apart_from=shown)
        return SingleFeatureSplit(
            demonstrations=self.texts.select(shown),
            demonstration_labels=[label for _, label in demonstrations],
            test=self.texts.select([row for row, _ in test]),
            labels=[label for _, label in test],
            n=len(test),
        )


# --- splits ----------------------------------------------------------------------------------------


def cell_counts(texts: Dataset, h1: Hypothesis | str, h2: Hypothesis | str) -> dict[Cell, int]:
    """Counts the rows for each pair of labels; rows to which either does not apply are left out.

    Args:
        texts: rows that both hypotheses can read.
        h1: the first hypothesis.
        h2: the second.

    Returns:
        (h1(x), h2(x)) -> number of rows, for all four pairs.

    Raises:
        CourseError: as `UnderspecifiedPool`.
    """
    return {cell: len(rows) for cell, rows in UnderspecifiedPool(texts, h1, h2).cells.items()}


def underspecified_split(
    texts: Dataset,
    h1: Hypothesis | str,
    h2: Hypothesis | str,
    num_demonstrations: int = 16,
    test_size: int = 1200,
    num_sets: int = 3,
    seed: int = 0,
    *,
    num_held_back: int = 0,
) -> list[UnderspecifiedSplit]:
    """Draws sets of underspecified demonstrations, each with its disambiguating test set.

    Demonstrations and test set share no row, no text that is the same but for case and punctuation, and no
    document (column `group` of the course's texts, which also joins documents that share a text; otherwise
    `document_id`). Documents of the demonstrations are left out of the test set even where that makes it
    smaller. No text comes twice in a set. Each set is drawn anew from all texts, so demonstrations of two
    sets can have rows in common, but are never all the same. Set k is the same whatever `num_sets` is.

    Args:
        texts: the rows to draw from.
        h1: the first hypothesis.
        h2: the second, of the same task.
        num_demonstrations: demonstrations of a set, half of them of label 1.
        test_size: test rows at most, half of them with (h1, h2) = (1, 0); fewer where the texts have no more.
        num_sets: sets to draw.
        seed: seed of all draws.
        num_held_back: further rows with h1 ≠ h2, half of each kind, kept out of the test set for
            `disambiguating_demonstrations`, which takes num_demonstrations / 2 of them.

    Returns:
        One split for each set.

    Raises:
        CourseError: the texts cannot fill the demonstrations with as many of each label, or have too few
            rows of one kind with h1 ≠ h2; sizes that are not even; hypotheses of two tasks, or twice the
            same; what `label_texts` raises.
    """
    check_count("num_sets", num_sets)
    pool = UnderspecifiedPool(texts, h1, h2)
    sizes = {"num_demonstrations": num_demonstrations, "test_size": test_size, "num_held_back": num_held_back}
    return [pool.draw(number, seed=seed, **sizes) for number in range(num_sets)]


@border()
def disambiguating_demonstrations(
    split: UnderspecifiedSplit, direction: Direction, seed: Seed = 0
) -> UnderspecifiedSplit:
    """Replaces half of the demonstrations by ones with h1 ≠ h2, labelled by the intended feature.

    Each new demonstration takes the place of one with its own label, so the labels and their order stay as
    they are, half of each replaced. The places do not depend on the direction; the test set is the same.

    Args:
        split: a split drawn with `num_held_back` of at least half its demonstrations.
        direction: "h1" or "h2", the feature intended.
        seed: seed of the choice of places.

    Returns:
        The split with other demonstrations.

    Raises:
        CourseError: unknown direction; too few rows held back; demonstrations that are no multiple of 4.
    """
    num_demonstrations = len(split.demonstration_labels)
    if num_demonstrations % 4:
        raise CourseError(
            "To replace half of each label, the number of demonstrations must be a multiple of 4.",
            given=num_demonstrations,
            mend="Use num_demonstrations=16.",
        )
    if len(split.held_back_h1_labels) < num_demonstrations // 2:
        raise CourseError(
            f"Half of {num_demonstrations} demonstrations are to be replaced, and "
            f"{len(split.held_back_h1_labels)} rows are held back for it.",
            mend=f"Call `underspecified_split` with num_held_back={num_demonstrations // 2}.",
        )
    rng = np.random.default_rng(seed)
    rows = list(range(num_demonstrations))
    for label in (1, 0):
        places = [place for place, value in enumerate(split.demonstration_labels) if value == label]
        chosen = rng.permutation(places)[: num_demonstrations // 4]
        h1_label = label if direction == "h1" else 1 - label
        held_back = [i for i, value in enumerate(split.held_back_h1_labels) if value == h1_label]
        for place, row in zip(chosen, held_back, strict=False):
            rows[place] = num_demonstrations + row
    both = concatenate_datasets([split.demonstrations, split.held_back])
    return dataclasses.replace(split, demonstrations=both.select(rows))


@border(split=_a_split)
def alternate(split: Split) -> Split:
    """Returns the same demonstrations with labels 1, 0, 1, 0, …, each label's in the order they had.

    Args:
        split: as many demonstrations of label 1 as of label 0.
    """
    labels = split.demonstration_labels
    ones, zeros = ([row for row, label in enumerate(labels) if label == value] for value in (1, 0))
    rows = [row for pair in zip(ones, zeros, strict=True) for row in pair]
    return dataclasses.replace(
        split,
        demonstrations=split.demonstrations.select(rows),
        demonstration_labels=[labels[row] for row in rows],
    )


# --- checks ----------------------------------------------------------------------------------------


def _check_hypotheses(h1: Hypothesis, h2: Hypothesis) -> None:
    if h1.name == h2.name:
        raise CourseError("h1 and h2 are the same hypothesis.", given=h1.name, mend="Use two.")
    if h1.task != h2.task:
        raise CourseError(
            "h1 and h2 are hypotheses of different tasks.",
            given=(h1.name, h2.name),
            mend=f'Use two whose task is "{h1.task}".',
        )


def _check_sizes(set_number: int, num_demonstrations: int, test_size: int, seed: int) -> None:
    _check_even("num_demonstrations", num_demonstrations, least=2)
    _check_even("test_size", test_size, least=2)
    check_count("set_number", set_number, least=0)
    check_seed(seed)


def _check_even(name: str, value: int, *, least: int) -> None:
    if check_count(name, value, least=least) % 2:
        raise CourseError(
            f"{name} must be an even number of at least {least}, half for each label.",
            given=value,
            mend=f"Use {max(least, 16)}.",
        )
