"""Underspecified demonstrations, which two hypotheses explain equally well, and test sets that tell them apart.

A model shown demonstrations with h1(x) = h2(x) cannot know which of the two is meant. What it answers on
texts with h1(x) ≠ h2(x) is its inductive bias (Si et al., ACL 2023, section 2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from course_lib.checks import a_choice, a_dataset, a_seed, border, check_count, check_seed, of_type
from course_lib.errors import CourseError
from course_lib.icl.hypotheses import Hypothesis, a_hypothesis, label_texts
from course_lib.icl.interventions import DIRECTIONS
from course_lib.texts import normalise

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

Cell = tuple[int, int]
CELLS: tuple[Cell, ...] = ((1, 1), (1, 0), (0, 1), (0, 0))
# What a row's text is made of, in the texts that have these columns.
TEXT_COLUMNS = ("text", "premise", "hypothesis", "question", "passage")
# A set of demonstrations that an earlier set has already is drawn again, this often at most.
MAX_DRAWS = 100


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


_TWO: dict[str, Any] = {"texts": a_dataset, "h1": a_hypothesis, "h2": a_hypothesis}
_a_pair_split = of_type("course_lib.icl.underspecified.UnderspecifiedSplit")
_a_split = of_type(
    "course_lib.icl.underspecified.UnderspecifiedSplit", "course_lib.icl.underspecified.SingleFeatureSplit"
)


@border(**_TWO)
def cell_counts(texts: Dataset, h1: Hypothesis, h2: Hypothesis) -> dict[Cell, int]:
    """Count the rows for each pair of labels; rows to which either does not apply are left out.

    Args:
        texts: rows that both hypotheses can read.
        h1: the first hypothesis.
        h2: the second.

    Returns:
        (h1(x), h2(x)) -> number of rows, for all four pairs.

    Raises:
        CourseError: as `label_texts`.
    """
    return {cell: len(rows) for cell, rows in _cells(texts, h1, h2).items()}


@border(**_TWO)
def underspecified_split(
    texts: Dataset,
    h1: Hypothesis,
    h2: Hypothesis,
    num_demonstrations: int = 16,
    test_size: int = 1200,
    num_sets: int = 3,
    seed: int = 0,
    *,
    num_held_back: int = 0,
) -> list[UnderspecifiedSplit]:
    """Draw sets of underspecified demonstrations, each with its disambiguating test set.

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
    _check_hypotheses(h1, h2)
    _check_sizes(num_demonstrations, test_size, num_sets, seed)
    _check_even("num_held_back", num_held_back, least=0)
    cells = _cells(texts, h1, h2)
    draw = _Draw(texts, f"{h1.name} against {h2.name}", _shown(cells))
    agreeing = {1: cells[1, 1], 0: cells[0, 0]}
    disagreeing = {1: cells[1, 0], 0: cells[0, 1]}
    splits = []
    for rng, demonstrations in _demonstration_sets(draw, agreeing, num_demonstrations, num_sets, seed):
        shown = [row for row, _ in demonstrations]
        held_back = draw.balanced(disagreeing, num_held_back, rng, texts_of=shown)
        if len(held_back) < num_held_back:
            raise draw.too_few("to hold back for disambiguating demonstrations", num_held_back)
        apart = [*shown, *(row for row, _ in held_back)]
        test = draw.test_set(disagreeing, test_size, rng, apart_from=apart)
        h1_labels = [label for _, label in test]
        splits.append(
            UnderspecifiedSplit(
                demonstrations=texts.select(shown),
                demonstration_labels=[label for _, label in demonstrations],
                test=texts.select([row for row, _ in test]),
                h1_labels=h1_labels,
                h2_labels=[1 - label for label in h1_labels],
                n=len(test),
                held_back=texts.select([row for row, _ in held_back]),
                held_back_h1_labels=[label for _, label in held_back],
            )
        )
    return splits


@border(texts=a_dataset, hypothesis=a_hypothesis)
def single_feature_split(
    texts: Dataset,
    hypothesis: Hypothesis,
    num_demonstrations: int = 16,
    test_size: int = 1200,
    num_sets: int = 3,
    seed: int = 0,
) -> list[SingleFeatureSplit]:
    """Draw demonstrations and test sets for one feature alone: can a model see it at all?

    No other feature is looked at. Demonstrations and test set are kept apart as in `underspecified_split`.

    Args:
        texts: the rows to draw from.
        hypothesis: the feature that labels both.
        num_demonstrations: demonstrations of a set, half of them of label 1.
        test_size: test rows at most, half of them of label 1; fewer where the texts have no more.
        num_sets: sets to draw.
        seed: seed of all draws.

    Returns:
        One split for each set.

    Raises:
        CourseError: as `underspecified_split`.
    """
    _check_sizes(num_demonstrations, test_size, num_sets, seed)
    labels = label_texts(texts, hypothesis)
    cells = {value: [row for row, label in enumerate(labels) if label == value] for value in (1, 0)}
    draw = _Draw(texts, hypothesis.name, {value: len(rows) for value, rows in cells.items()})
    splits = []
    for rng, demonstrations in _demonstration_sets(draw, cells, num_demonstrations, num_sets, seed):
        shown = [row for row, _ in demonstrations]
        test = draw.test_set(cells, test_size, rng, apart_from=shown)
        splits.append(
            SingleFeatureSplit(
                demonstrations=texts.select(shown),
                demonstration_labels=[label for _, label in demonstrations],
                test=texts.select([row for row, _ in test]),
                labels=[label for _, label in test],
                n=len(test),
            )
        )
    return splits


@border(split=_a_pair_split, direction=a_choice(*DIRECTIONS), seed=a_seed)
def disambiguating_demonstrations(
    split: UnderspecifiedSplit, direction: str, seed: int = 0
) -> UnderspecifiedSplit:
    """Replace half of the demonstrations by ones with h1 ≠ h2, labelled by the intended feature.

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
    import numpy as np
    from datasets import concatenate_datasets

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
    """Give the same demonstrations with labels 1, 0, 1, 0, …, each label's in the order they had.

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


# --- drawing ---------------------------------------------------------------------------------------


class _Draw:
    """Draws rows of some texts, keeping texts and documents apart.

    Args:
        texts: the rows.
        what: the hypotheses, for messages.
        counts: rows for each label or pair of labels, for messages.
    """

    def __init__(self, texts: Dataset, what: str, counts: Mapping) -> None:
        self.what = what
        self.counts = counts
        self.documents = _documents(texts)
        columns = [column for column in TEXT_COLUMNS if column in texts.column_names]
        if not columns:
            raise CourseError(
                "These rows hold no text.", given=texts.column_names, mend=f"Use one of {TEXT_COLUMNS}."
            )
        self._values = [texts[column][:] for column in columns]

    def text(self, row: int) -> str:
        return "|".join(normalise(values[row]) for values in self._values)

    def take(
        self,
        rows: Sequence[int],
        number: int,
        rng: np.random.Generator,
        *,
        apart_from: Iterable[int] = (),
        texts_of: Iterable[int] = (),
    ) -> list[int]:
        """Draw rows at random, at most `number`, each with a text of its own.

        Args:
            rows: the rows to draw from.
            number: how many at most.
            rng: the source of chance.
            apart_from: rows whose documents and texts are left out.
            texts_of: rows whose texts alone are left out.
        """
        apart_from = list(apart_from)
        closed = {self.documents[row] for row in apart_from}
        seen = {self.text(row) for row in [*apart_from, *texts_of]}
        taken: list[int] = []
        for row in rng.permutation(rows).tolist() if len(rows) else []:
            if len(taken) == number:
                break
            if self.documents[row] in closed or self.text(row) in seen:
                continue
            seen.add(self.text(row))
            taken.append(row)
        return taken

    def balanced(
        self,
        rows: Mapping[int, Sequence[int]],
        number: int,
        rng: np.random.Generator,
        *,
        apart_from: Collection[int] = (),
        texts_of: Collection[int] = (),
    ) -> list[tuple[int, int]]:
        """Draw (row, label), as many of label 1 as of label 0, at most `number`, shuffled."""
        ones = self.take(rows[1], number // 2, rng, apart_from=apart_from, texts_of=texts_of)
        zeros = self.take(rows[0], number // 2, rng, apart_from=apart_from, texts_of=[*texts_of, *ones])
        half = min(len(ones), len(zeros))
        drawn = [(row, 1) for row in ones[:half]] + [(row, 0) for row in zeros[:half]]
        return [drawn[i] for i in rng.permutation(len(drawn))]

    def test_set(
        self,
        rows: Mapping[int, Sequence[int]],
        test_size: int,
        rng: np.random.Generator,
        *,
        apart_from: Collection[int],
    ) -> list[tuple[int, int]]:
        test = self.balanced(rows, test_size, rng, apart_from=apart_from)
        if not test:
            raise self.too_few("to test on, apart from the demonstrations' documents", 2)
        return test

    def too_few(self, purpose: str, needed: int) -> CourseError:
        counts = ", ".join(f"{label}: {count}" for label, count in self.counts.items())
        return CourseError(
            f"{self.what}: there are not enough texts of each label {purpose}. Rows by label: {counts}.",
            given=f"{needed} asked for",
            mend="Use more texts (`pool_texts` joins several data sets), or ask for fewer.",
        )


def _demonstration_sets(
    draw: _Draw, rows: Mapping[int, Sequence[int]], num_demonstrations: int, num_sets: int, seed: int
) -> Iterator[tuple[np.random.Generator, list[tuple[int, int]]]]:
    """Give each set's source of chance and its demonstrations, (row, label), of which no two are alike."""
    import numpy as np

    earlier: set[frozenset[int]] = set()
    for number in range(num_sets):
        for attempt in range(MAX_DRAWS):
            rng = np.random.default_rng([seed, number, attempt])
            demonstrations = draw.balanced(rows, num_demonstrations, rng)
            if len(demonstrations) < num_demonstrations:
                raise draw.too_few("for balanced demonstrations", num_demonstrations)
            shown = frozenset(row for row, _ in demonstrations)
            if shown not in earlier:
                break
        else:
            raise draw.too_few(f"for {num_sets} different sets of demonstrations", num_demonstrations)
        earlier.add(shown)
        yield rng, demonstrations


def _documents(texts: Dataset) -> list[str]:
    """Give a name for each row's document; rows without one stand alone."""
    for column in ("group", "document_id"):
        if column in texts.column_names:
            return list(map(str, texts[column][:]))
    return [f"row {row}" for row in range(len(texts))]


def _cells(texts: Dataset, h1: Hypothesis, h2: Hypothesis) -> dict[Cell, list[int]]:
    cells: dict[Cell, list[int]] = {cell: [] for cell in CELLS}
    labels = zip(label_texts(texts, h1), label_texts(texts, h2), strict=True)
    for row, (first, second) in enumerate(labels):
        if first is not None and second is not None:
            cells[first, second].append(row)
    return cells


def _shown(cells: Mapping[Cell, Sequence[int]]) -> dict[str, int]:
    return {f"(h1, h2) = {cell}": len(rows) for cell, rows in cells.items()}


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


def _check_sizes(num_demonstrations: int, test_size: int, num_sets: int, seed: int) -> None:
    _check_even("num_demonstrations", num_demonstrations, least=2)
    _check_even("test_size", test_size, least=2)
    check_count("num_sets", num_sets)
    check_seed(seed)


def _check_even(name: str, value: int, *, least: int) -> None:
    if check_count(name, value, least=least) % 2:
        raise CourseError(
            f"{name} must be an even number of at least {least}, half for each label.",
            given=value,
            mend=f"Use {max(least, 16)}.",
        )
