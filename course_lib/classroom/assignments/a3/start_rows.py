"""A soft prompt that begins where word embeddings lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import Case
from course_lib.classroom.assignments.building import Changes, shown

TITLE = "A soft prompt that begins where word embeddings lie"
MARKS = 3
HINT = "First the numbers of the ordinary tokens, then their rows' norms, then the rule."


def _ordinary(
    counts: np.ndarray, special: Sequence[int], *, with_special: bool = False, with_unseen: bool = False
) -> np.ndarray:
    counts = np.asarray(counts)
    keep = np.ones(len(counts), dtype=bool) if with_unseen else counts > 0
    if not with_special:
        keep[list(special)] = False
    return np.flatnonzero(keep)


def _nearest_to_median(
    table: np.ndarray,
    counts: np.ndarray,
    special: Sequence[int],
    num_rows: int,
    *,
    centre: Callable[[np.ndarray], Any] = np.median,
    over_all: bool = False,
    later_first: bool = False,
    by_number: bool = False,
    **kept: bool,
) -> np.ndarray:
    table = np.asarray(table, dtype=float)
    norms = np.linalg.norm(table, axis=1)
    ids = _ordinary(counts, special, **kept)
    ids = ids[::-1] if later_first else ids
    distances = np.abs(norms[ids] - centre(norms if over_all else norms[ids]))
    chosen = ids[np.argsort(distances, kind="stable")[:num_rows]]
    return table[np.sort(chosen) if by_number else chosen]


def _first_rows(
    table: np.ndarray, counts: np.ndarray, special: Sequence[int], num_rows: int, **kept: bool
) -> np.ndarray:
    return np.asarray(table, dtype=float)[_ordinary(counts, special, **kept)[:num_rows]]


def _most_frequent_first(counts: np.ndarray) -> np.ndarray:
    return np.argsort(-counts, kind="stable")


def _group_means(
    table: np.ndarray,
    counts: np.ndarray,
    special: Sequence[int],
    num_rows: int,
    *,
    ranking: Callable[[np.ndarray], np.ndarray] = _most_frequent_first,
    weighted: bool = True,
    norm: Callable[[np.ndarray], Any] | None = np.median,
    over_all: bool = False,
    **kept: bool,
) -> np.ndarray:
    table, counts = np.asarray(table, dtype=float), np.asarray(counts)
    ids = _ordinary(counts, special, **kept)
    groups = np.array_split(ids[ranking(counts[ids])], num_rows)
    # A group of tokens that never occurred has no weights; a count of one each gives it some.
    weights = np.maximum(counts, 1) if weighted else np.ones(len(counts))
    means = np.stack([np.average(table[group], axis=0, weights=weights[group]) for group in groups])
    if norm is None:
        return means
    norms = np.linalg.norm(table if over_all else table[ids], axis=1)
    return norm(norms) * means / np.linalg.norm(means, axis=1, keepdims=True)


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    # (tokens, width, rows, norm of the rows of special and unseen tokens over the median): those of the median norm
    # are chosen where they are not left out, and long ones move a median over all rows. The number of ordinary
    # tokens is odd: of an even one, rounding would decide which of the two middle rows is nearer to the median.
    sizes = [(14, 3, 2, 1.0), (40, 8, 5, 4.0), (60, 5, 7, 1.0), (33, 16, 4, 4.0)]
    drawn = [_table_case(rng, *size) for size in sizes]
    return drawn + [_whole_norms(rng, *size) for size in ((6, 4, 1), (9, 9, 0), (5, 1, 1), (160, 5, 2))]


def _whole_norms(rng: np.random.Generator, num_ordinary: int, num_rows: int, num_special: int) -> Case:
    """Draw a table whose norms are whole numbers, so that the median is exact, also of an even number of rows.

    Few counts, so that many tokens are equally frequent, and the least is 1. Special tokens stand anywhere, if there
    are any.
    """
    num_tokens = num_ordinary + num_special + 2
    # The first and the last token are ordinary.
    places = rng.permutation(np.arange(1, num_tokens - 1))[: num_special + 2]
    special = places[:num_special]
    ordinary = rng.permutation(np.setdiff1d(np.arange(num_tokens), places))
    # Of six rows the middle ones have the norms 5 and 10, equally far from the median, as the ones about them are.
    rows = np.array([[0.0, -1.0], [2.0, 0.0], [3.0, 4.0], [-6.0, 8.0], [5.0, 12.0], [7.0, 24.0]])
    table, counts = np.empty((num_tokens, 2)), np.zeros(num_tokens, dtype=int)
    table[ordinary] = rows[np.arange(num_ordinary) % len(rows)]
    counts[ordinary] = rng.permutation(np.arange(num_ordinary) % 3 + 1)
    counts[special] = 9
    # Long rows of tokens that are left out move a median over all.
    table[places] = [30.0, 40.0]
    return Case(
        {"table": table, "counts": counts, "special": [int(token) for token in special], "num_rows": num_rows}
    )


def _table_case(
    rng: np.random.Generator, num_tokens: int, width: int, num_rows: int, other_norm: float
) -> Case:
    # Norms are skewed, as in real tables, so that their mean is not their median.
    norms = rng.lognormal(0, 0.6, num_tokens)
    table = rng.normal(0.3, 1, (num_tokens, width))
    table *= (norms / np.linalg.norm(table, axis=1))[:, None]
    counts = rng.permutation(np.arange(1, num_tokens + 1)) ** 2
    special = [0, 1, num_tokens - 1]
    unseen = rng.choice(np.arange(2, num_tokens - 1), num_tokens // 6, replace=False)
    counts[unseen] = 0
    # Special tokens are frequent: only their number tells them.
    counts[special] = num_tokens**2 + np.array([3, 2, 1])
    ordinary, others = _ordinary(counts, special), [*special, *unseen]
    norm = other_norm * np.median(np.linalg.norm(table[ordinary], axis=1))
    table[others] *= (norm / np.linalg.norm(table[others], axis=1))[:, None]
    table = np.round(table, 9)
    _tie_norms(table, ordinary, num_rows)
    _tie_counts(counts, ordinary, num_rows)
    return Case({"table": table, "counts": counts, "special": special, "num_rows": num_rows})


def _tie_norms(table: np.ndarray, ordinary: np.ndarray, num_rows: int) -> None:
    """Make the last row that is near enough to the median norm, and the first that is not, equally near."""
    norms = np.linalg.norm(table[ordinary], axis=1)
    signed = norms - np.median(norms)
    nearest = np.argsort(np.abs(signed))
    last = nearest[num_rows - 1]
    # On the same side of the median, which stays where it is.
    beyond = next(row for row in nearest[num_rows:] if signed[row] * signed[last] > 0)
    table[ordinary[beyond]] = -table[ordinary[last]]


def _tie_counts(counts: np.ndarray, ordinary: np.ndarray, num_rows: int) -> None:
    """Make the tokens on both sides of each border between groups equally frequent."""
    groups = np.array_split(ordinary[_most_frequent_first(counts[ordinary])], num_rows)
    for before, behind in pairwise(groups):
        counts[behind[0]] = counts[before[-1]]


_ROWS_EXAMPLE: dict[str, Any] = {
    "table": np.array([[9.0, 9.0], [3.0, 4.0], [0.0, 2.0], [6.0, 8.0], [1.0, 0.0]]),
    "counts": np.array([50, 4, 3, 2, 0]),
    "special": [0],
    "num_rows": 2,
}


_SHARED = Changes()


@_SHARED.with_arguments(with_special=True)
def _special():
    """Special tokens are among them. Their rows stand for no text."""


@_SHARED.with_arguments(with_unseen=True)
def _unseen():
    """Rows of tokens that never occurred are among them. Nothing has ever trained those."""


@_SHARED.with_arguments(over_all=True)
def _median_over_all():
    """The median is over all rows, not over the ordinary ones."""


@_SHARED.add
def _one_row(right, table, counts, special, num_rows):
    """All rows are the same vector: the prompt starts as one row repeated."""
    mean = np.asarray(table, dtype=float)[_ordinary(counts, special)].mean(axis=0)
    return np.repeat(mean[None], num_rows, axis=0)


_OF_NEAREST = Changes(_SHARED)


@_OF_NEAREST.with_arguments(centre=np.mean)
def _mean():
    """This is nearest to the mean norm, which a few long rows pull away."""


@_OF_NEAREST.with_arguments(later_first=True)
def _ties():
    """Of equally near rows, that with the lower number comes first."""


@_OF_NEAREST.with_arguments(by_number=True)
def _by_number():
    """The rows are right, but in the order of their numbers."""


@_OF_NEAREST.add
def _first_ordinary_rows(right, **case):
    """These are the first ordinary rows, whatever their norm."""
    return _first_rows(**case)


@_OF_NEAREST.add
def _first_of_all(right, **case):
    """These are the first rows of the table. What stands at the head of a vocabulary?"""
    return _first_rows(**case, with_special=True, with_unseen=True)


_OF_GROUPS = Changes(_SHARED)


@_OF_GROUPS.with_arguments(norm=None)
def _not_scaled():
    """Means are shorter than what they are means of: these rows lie nearer to the origin than any word."""


@_OF_GROUPS.with_arguments(norm=np.mean)
def _mean_norm():
    """The directions are right, but the norm is the mean one, which a few long rows pull away."""


@_OF_GROUPS.with_arguments(norm=lambda norms: 1.0)
def _unit_norm():
    """The directions are right, but the norm is 1: is that usual in this table?"""


@_OF_GROUPS.with_arguments(weighted=False)
def _unweighted():
    """In these means a rare token counts as much as a frequent one."""


@_OF_GROUPS.with_arguments(ranking=partial(np.argsort, kind="stable"))
def _rarest_first():
    """The ranking runs the other way."""


@_OF_GROUPS.with_arguments(ranking=lambda counts: np.argsort(counts, kind="stable")[::-1])
def _ties_of_counts():
    """Of equally frequent tokens, the lower number comes first."""


# NumPy's default order of equal values is any.
@_OF_GROUPS.with_arguments(ranking=lambda counts: np.argsort(-counts))
def _ties_in_any_order():
    """Of equally frequent tokens, the lower number comes first."""


@_OF_GROUPS.with_arguments(ranking=lambda counts: np.argsort(counts)[::-1])
def _ties_in_any_order_turned():
    """Of equally frequent tokens, the lower number comes first."""


VARIANTS = (
    _OF_NEAREST.variant(
        "the rows of a norm nearest to the median",
        _nearest_to_median,
        value=shown(_nearest_to_median(**_ROWS_EXAMPLE)),
        rule="Its rows are those `num_rows` ordinary rows of `table` whose Euclidean norm is nearest to "
        "the **median norm** of the ordinary rows, the nearest first; of equally near rows, that with the "
        "lower number comes first",
        code="nearest = np.argsort(np.abs(norms - np.median(norms)), kind='stable')\n"
        "return table[ids[nearest[:num_rows]]]",
    ),
    _OF_GROUPS.variant(
        "weighted means of groups by frequency rank, scaled to the median norm",
        _group_means,
        value=shown(_group_means(**_ROWS_EXAMPLE)),
        rule="Rank the ordinary tokens by `counts`, the most frequent first; of equally frequent tokens, "
        "the lower number comes first. Cut the ranking into `num_rows` groups with `np.array_split`. The row "
        "of a group is the mean of its tokens' rows **weighted by `counts`**, scaled to the **median "
        "Euclidean norm** of the ordinary rows",
        code="groups = np.array_split(ids[np.argsort(-counts[ids], kind='stable')], num_rows)\n"
        "rows = np.stack([np.average(table[g], axis=0, weights=counts[g]) for g in groups])\n"
        "return rows * np.median(norms) / np.linalg.norm(rows, axis=1, keepdims=True)",
    ),
)
