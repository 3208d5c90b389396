"""Texts labelled by a hypothesis, and balanced draws from them in which no text or document is on two sides."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from course_lib.checks.calls import a_dataset, border
from course_lib.errors import CourseError
from course_lib.icl.hypotheses import Hypothesis, find_hypothesis
from course_lib.texts.groups import normalise, text_hash
from course_lib.texts.sources import IDENTITIES

# What a row's text is made of, in the texts that have these columns.
TEXT_COLUMNS = ("text", "premise", "hypothesis", "question", "passage")
# A set of demonstrations that an earlier set has already is drawn again, this often at most.
MAX_DRAWS = 100


@border(texts=a_dataset)
def label_texts(texts: Dataset, hypothesis: Hypothesis | str) -> list[int | None]:
    """Computes the label of every row under a hypothesis.

    Args:
        texts: rows with the hypothesis's `columns`.
        hypothesis: the feature, or its name.

    Returns:
        1, 0 or None (it does not apply, or a value is missing) for each row.

    Raises:
        CourseError: a column is missing; a label that is none of these, named with its row; a hypothesis that
            applies to no row.
    """
    hypothesis = find_hypothesis(hypothesis)
    missing = [column for column in hypothesis.columns if column not in texts.column_names]
    if missing:
        raise CourseError(
            f"The hypothesis {hypothesis.name} reads a column that these texts lack: {', '.join(missing)}.",
            given=texts.column_names,
            mend="Use texts of its task; `pool_texts` adds the column `domain`.",
        )
    for column in hypothesis.columns:
        _check_column(texts, column)
    labels = [_label_of(row, number, hypothesis) for number, row in _numbered_rows(texts, hypothesis.columns)]
    if all(label is None for label in labels):
        raise CourseError(
            f"The hypothesis {hypothesis.name} applies to none of these texts.",
            given=f"{len(texts)} texts",
            mend=f"Use texts of which some are of label 1 ({hypothesis.clauses[1]}) and some of label 0 "
            f"({hypothesis.clauses[0]}).",
        )
    return labels


def _label_of(row: dict[str, Any], number: int, hypothesis: Hypothesis) -> int | None:
    label = None if None in row.values() else hypothesis.label(row)
    if label is None:
        return None
    if not isinstance(label, (int, np.integer, np.bool_)) or label not in (0, 1):
        raise CourseError(
            f"The hypothesis {hypothesis.name} must give 0, 1 or None; for row {number}, counted from 1, it gives "
            "something else.",
            given=label,
        )
    return int(label)


def _check_column(texts: Dataset, column: str) -> None:
    """Refuses numbers in a column of texts, and the other way round; other columns may hold either."""
    is_number = column == "label" or column in IDENTITIES
    if not is_number and column not in (*TEXT_COLUMNS, "domain", "genre"):
        return
    dtype = str(getattr(texts.features[column], "dtype", texts.features[column]))
    if dtype != "null" and (dtype in ("string", "large_string")) == is_number:
        raise CourseError(
            f"The column `{column}` must hold {'numbers' if is_number else 'texts'}.", given=dtype
        )


def _numbered_rows(texts: Dataset, columns: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the rows with these columns alone, counted from 1; much faster than a Dataset's own rows."""
    columns = list(columns)
    values = texts.select_columns(columns)[:]
    for number, row in enumerate(zip(*(values[column] for column in columns), strict=True), start=1):
        yield number, dict(zip(columns, row, strict=True))


class Pool:
    """Labelled texts, from which sets are drawn that keep texts and documents apart.

    `rows` holds, for each label, the rows that a demonstration can be.

    Args:
        texts: the rows.
        what: the hypotheses, for messages.
        counts: rows for each label or pair of labels, for messages.
        shown: label -> the rows that a demonstration can be.
    """

    def __init__(
        self, texts: Dataset, what: str, counts: Mapping[str, int], shown: Mapping[int, Sequence[int]]
    ) -> None:
        columns = [column for column in TEXT_COLUMNS if column in texts.column_names]
        if not columns:
            raise CourseError(
                "These rows hold no text.", given=texts.column_names, mend=f"Use one of {TEXT_COLUMNS}."
            )
        self.texts = texts
        self.rows = shown
        self._what, self._counts = what, counts
        self._documents = _documents(texts)
        self._values = [texts[column][:] for column in columns]
        # (seed, number of demonstrations) -> for each set the attempt at which it was new, and its rows
        self._sets: dict[tuple[int, int], list[tuple[int, frozenset[int]]]] = {}

    def demonstrations(
        self, set_number: int, num_demonstrations: int, seed: int
    ) -> tuple[np.random.Generator, list[tuple[int, int]]]:
        """Draws a set's demonstrations, (row, label), which are not those of an earlier set.

        Returns:
            The set's source of chance, for what else is drawn for it, and its demonstrations.
        """
        sets = self._sets.setdefault((seed, num_demonstrations), [])
        while len(sets) <= set_number:
            sets.append(self._new_set([rows for _, rows in sets], num_demonstrations, seed))
        return self._attempt(set_number, sets[set_number][0], num_demonstrations, seed)

    def _new_set(
        self, earlier: Collection[frozenset[int]], num_demonstrations: int, seed: int
    ) -> tuple[int, frozenset[int]]:
        for attempt in range(MAX_DRAWS):
            _, demonstrations = self._attempt(len(earlier), attempt, num_demonstrations, seed)
            rows = frozenset(row for row, _ in demonstrations)
            if rows not in earlier:
                return attempt, rows
        raise self.too_few(f"for {len(earlier) + 1} different sets of demonstrations", num_demonstrations)

    def _attempt(
        self, set_number: int, attempt: int, num_demonstrations: int, seed: int
    ) -> tuple[np.random.Generator, list[tuple[int, int]]]:
        rng = np.random.default_rng([seed, set_number, attempt])
        demonstrations = self.balanced(self.rows, num_demonstrations, rng)
        if len(demonstrations) < num_demonstrations:
            raise self.too_few("for balanced demonstrations", num_demonstrations)
        return rng, demonstrations

    def text(self, row: int) -> str:
        """Returns what makes two rows the same text."""
        return "|".join(normalise(values[row]) for values in self._values)

    def text_hash(self, row: int) -> str:
        """Returns a hash of what makes two rows the same text."""
        return text_hash(self.text(row))

    def document(self, row: int) -> str:
        """Returns the name of a row's document."""
        return self._documents[row]

    def take(
        self,
        rows: Sequence[int],
        number: int,
        rng: np.random.Generator,
        *,
        apart_from: Iterable[int] = (),
        texts_of: Iterable[int] = (),
    ) -> list[int]:
        """Draws rows at random, at most `number`, each with a text of its own.

        Args:
            rows: the rows to draw from.
            number: how many at most.
            rng: the source of chance.
            apart_from: rows whose documents and texts are left out.
            texts_of: rows whose texts alone are left out.
        """
        apart_from = list(apart_from)
        closed = {self._documents[row] for row in apart_from}
        seen = {self.text(row) for row in [*apart_from, *texts_of]}
        taken: list[int] = []
        for row in rng.permutation(rows).tolist() if len(rows) else []:
            if len(taken) == number:
                break
            if self._documents[row] in closed or self.text(row) in seen:
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
        """Draws (row, label), as many of label 1 as of label 0, at most `number`, shuffled."""
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
        """Draws (row, label) like `balanced`; none at all is an error."""
        test = self.balanced(rows, test_size, rng, apart_from=apart_from)
        if not test:
            raise self.too_few("to test on, apart from the demonstrations' documents", 2)
        return test

    def too_few(self, purpose: str, needed: int) -> CourseError:
        """Returns the error that says how many rows there are of each label."""
        counts = ", ".join(f"{label}: {count}" for label, count in self._counts.items())
        return CourseError(
            f"{self._what}: there are not enough texts of each label {purpose}. Rows by label: {counts}.",
            given=f"{needed} asked for",
            mend="Use more texts (`pool_texts` joins several data sets), or ask for fewer.",
        )


def _documents(texts: Dataset) -> list[str]:
    """Returns a name for each row's document; rows without one stand alone."""
    for column in ("group", "document_id"):
        if column in texts.column_names:
            return list(map(str, texts[column][:]))
    return [f"row {row}" for row in range(len(texts))]
