"""Rows that leave a feature open, or do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from course_lib.classroom.assignments.assignment import Case
from course_lib.classroom.assignments.building import Changes

TITLE = "Demonstrations from a table of features"
MARKS = 4
HINT = "One pass over the rows from top to bottom, with a count of what is still wanted of each kind of row."

Quota = dict[tuple[int, ...], int]
Order = Callable[[dict[int, list[int]]], tuple[list[int], list[int]]]


def _taking_turns(chosen: dict[int, list[int]]) -> tuple[list[int], list[int]]:
    pairs = list(zip(chosen[1], chosen[0], strict=False))
    return [row for pair in pairs for row in pair], [1, 0] * len(pairs)


def _chosen(
    h1: np.ndarray,
    h2: np.ndarray,
    h3: np.ndarray,
    document: np.ndarray,
    num_each: int,
    *,
    quota_of: Callable[[int], Quota],
    order: Order = _taking_turns,
    missing_as_zero: bool = False,
    one_a_document: bool = True,
    refuses: bool = True,
    label_of: int = 0,
) -> dict[str, list[int]] | None:
    quota = quota_of(num_each)
    depth = len(next(iter(quota)))
    used: set[int] = set()
    chosen: dict[int, list[int]] = {1: [], 0: []}
    for row, values in enumerate(np.stack([h1, h2, h3], axis=1).tolist()):
        if missing_as_zero:
            values = [max(value, 0) for value in values]
        cell = tuple(values[:depth])
        is_used = one_a_document and int(document[row]) in used
        if -1 in values or is_used or not quota.get(cell):
            continue
        quota[cell] -= 1
        used.add(int(document[row]))
        chosen[values[label_of]].append(row)
    if refuses and any(quota.values()):
        return None
    rows, labels = order(chosen)
    return {"rows": rows, "labels": labels}


def _both_of_third(num_each: int) -> Quota:
    return {(label, label, third): num_each // 2 for label in (0, 1) for third in (0, 1)}


def _against_third(num_each: int) -> Quota:
    return {(label, label, 1 - label): num_each for label in (0, 1)}


def _half_disambiguate(num_each: int) -> Quota:
    return {(first, second): num_each // 2 for first in (0, 1) for second in (0, 1)}


def _agreeing(num_each: int) -> Quota:
    return {(label, label): num_each for label in (0, 1)}


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    # (rows, documents, of each label): few documents, so that one would be used twice. The last table is too
    # small for what is asked for.
    sizes = [(60, 8, 2), (200, 14, 4), (240, 20, 6), (200, 10, 4), (12, 6, 4)]
    drawn = [_feature_table(rng, *size) for size in sizes]
    return drawn + [_just_enough(rng, QUOTAS[variant], num_each, short) for num_each, short in _SHORTS]


# (of each label, rows taken away at the end)
_SHORTS = ((2, 0), (4, 0), (4, 1), (2, 1))


def _just_enough(
    rng: np.random.Generator, quota_of: Callable[[int], Quota], num_each: int, short: int
) -> Case:
    """Draw a table with every wanted row once, the last of them at the very end, or just not.

    Behind each wanted row but the last stands one of its document with what is wanted next, and before each wanted row
    stand rows of its document that are left out: a document is used up by a row that was taken, and by no other.
    """
    wanted = [cell for cell, count in quota_of(num_each).items() for _ in range(count)]
    order = rng.permutation(len(wanted))
    cells = [(*wanted[index], *[1] * (3 - len(wanted[index]))) for index in order]
    rows: list[tuple[tuple[int, ...], int]] = []
    for document, cell in enumerate(cells):
        left_out = [
            tuple(-1 if place == hole else value for place, value in enumerate(cell)) for hole in range(3)
        ]
        rows += [(row, document) for row in left_out]
        rows.append((cell, document))
        rows += [(row, document) for row in cells[document + 1 : document + 2]]
    rows = rows[: len(rows) - short]
    table = np.array([row for row, _ in rows]).T
    documents = np.array([document for _, document in rows]) + 1
    return Case({"h1": table[0], "h2": table[1], "h3": table[2], "document": documents, "num_each": num_each})


def _feature_table(rng: np.random.Generator, num_rows: int, num_documents: int, num_each: int) -> Case:
    features = rng.choice([-1, 0, 1], size=(3, num_rows), p=[0.15, 0.425, 0.425])
    return Case(
        {
            "h1": features[0],
            "h2": features[1],
            "h3": features[2],
            "document": rng.integers(0, num_documents, num_rows),
            "num_each": num_each,
        }
    )


_SHARED = Changes()


@_SHARED.with_arguments(missing_as_zero=True)
def _missing_as_zero():
    """Rows to which a feature does not apply, -1, are taken as if it were 0. They are left out."""


@_SHARED.with_arguments(one_a_document=False)
def _documents_repeated():
    """Two rows come from one document. A document is shown at most once."""


@_SHARED.as_argument("order")
def _labels_in_blocks(chosen):
    """The right rows in another order: labels take turns, 1 first. A model leans to the label it saw last."""
    return chosen[1] + chosen[0], [1] * len(chosen[1]) + [0] * len(chosen[0])


@_SHARED.as_argument("order")
def _table_order(chosen):
    """The right rows, but in the order of the table. Labels take turns, 1 first."""
    labels = {row: label for label, rows in chosen.items() for row in rows}
    return sorted(labels), [labels[row] for row in sorted(labels)]


@_SHARED.with_arguments(refuses=False)
def _short():
    """Where the table holds too few rows this gives fewer demonstrations. Return None: a set that is short is
    not balanced."""


BALANCED_THIRD = "underspecified, balanced in a third feature"
THIRD_RULED_OUT = "underspecified, a third feature ruled out"
HALF_DISAMBIGUATE = "half of them disambiguate"
QUOTAS: dict[str, Callable[[int], Quota]] = {
    BALANCED_THIRD: _both_of_third,
    THIRD_RULED_OUT: _against_third,
    HALF_DISAMBIGUATE: _half_disambiguate,
}

_OF_THIRD = Changes(_SHARED)


@_OF_THIRD.with_arguments(quota_of=_agreeing)
def _third_ignored():
    """The third feature is not looked at, so it can go along with the label by chance."""


_OF_HALVES = Changes(_SHARED)


@_OF_HALVES.with_arguments(quota_of=_agreeing)
def _underspecified():
    """All of them have h1 = h2. Half of them are to tell the two apart."""


@_OF_HALVES.with_arguments(label_of=1)
def _labelled_by_h2():
    """The labels are those of h2. The feature intended is h1."""


VARIANTS = (
    _OF_THIRD.variant(
        BALANCED_THIRD,
        partial(_chosen, quota_of=QUOTAS[BALANCED_THIRD]),
        rule="`h1` and `h2` agree on every demonstration, and that value is its label. Of each label there "
        "are `num_each`, **half of them with the third feature 1 and half with 0** (`num_each` is even)",
        quota="{(y, y, z): num_each // 2 for y in (0, 1) for z in (0, 1)}",
        cell="(first, second, third)",
    ),
    _OF_THIRD.variant(
        THIRD_RULED_OUT,
        partial(_chosen, quota_of=QUOTAS[THIRD_RULED_OUT]),
        rule="`h1` and `h2` agree on every demonstration, and that value is its label; **the third feature "
        "has the other value**, so that nobody can take it for what is meant. Of each label there are "
        "`num_each`",
        quota="{(y, y, 1 - y): num_each for y in (0, 1)}",
        cell="(first, second, third)",
    ),
    _OF_HALVES.variant(
        HALF_DISAMBIGUATE,
        partial(_chosen, quota_of=QUOTAS[HALF_DISAMBIGUATE]),
        rule="the label is that of `h1`. Of each label there are `num_each`, **half of them with `h2` equal "
        "to the label and half with `h2` different** (`num_each` is even). The third feature can have either "
        "value",
        quota="{(y, z): num_each // 2 for y in (0, 1) for z in (0, 1)}",
        cell="(first, second)",
    ),
)
