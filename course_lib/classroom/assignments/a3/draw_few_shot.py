"""A few-shot split by groups, balanced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import Case, Mistake, Variant
from course_lib.classroom.assignments.building import Changes, shown

TITLE = "A few-shot split by groups, balanced over classes"
MARKS = 3
HINT = (
    "First the groups in the order of the draw, then the sides' candidates, then how many rows of each class."
)


def _few_shot(
    labels: Sequence[int],
    groups: Sequence[str],
    order: Sequence[int],
    per_class: int,
    *,
    cycle: Sequence[str] = ("train", "development"),
    one_each: bool = False,
    by_row: bool = False,
    by_name: bool = False,
    turns_by_class: bool = False,
    ordered: bool = True,
    balanced: str = "together",
) -> dict[str, list[int]]:
    order = [int(row) for row in (order if ordered else sorted(order))]
    firsts: dict[str, int] = {}
    for row in order:
        firsts.setdefault(groups[row], row)
    candidates = list(firsts.values()) if one_each else order
    classes = sorted({int(label) for label in labels})
    sides = {}
    for label in classes:
        rows = [row for row in candidates if labels[row] == label or not turns_by_class]
        sides[label] = _sides([groups[row] for row in rows], cycle, by_name=by_name)
    pools: dict[str, list[int]] = {"train": [], "development": []}
    for row in candidates:
        turn = order.index(row)
        pools[cycle[turn % len(cycle)] if by_row else sides[labels[row]][groups[row]]].append(row)
    counts = {side: [sum(labels[r] == c for r in rows) for c in classes] for side, rows in pools.items()}
    least = {side: min(per_class, *count) for side, count in counts.items()}
    if balanced == "together":
        least = dict.fromkeys(least, min(least.values()))
    if balanced == "not":
        least = dict.fromkeys(least, per_class)
    return {side: _first_of_each(rows, labels, least[side]) for side, rows in pools.items()}


def _sides(groups: Sequence[str], cycle: Sequence[str], *, by_name: bool) -> dict[str, str]:
    """Give each group's side: the groups take turns as they first occur, or by name."""
    names = list(dict.fromkeys(groups))
    names = sorted(names) if by_name else names
    return {name: cycle[turn % len(cycle)] for turn, name in enumerate(names)}


def _first_of_each(rows: Sequence[int], labels: Sequence[int], count: int) -> list[int]:
    taken: dict[int, int] = {}
    chosen = []
    for row in rows:
        label = int(labels[row])
        taken[label] = taken.get(label, 0) + 1
        if taken[label] <= count:
            chosen.append(row)
    return chosen


def _sorted_sides(*, right: Callable[..., Any], by_class: bool = False, **case: Any) -> dict[str, list[int]]:
    labels = case["labels"]
    key = (lambda row: labels[row]) if by_class else None
    return {side: sorted(rows, key=key) for side, rows in right(**case).items()}


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    # (rows, groups, classes, examples a class): the later ones ask for more than there is.
    sizes = [(16, 5, 2, 1), (60, 24, 2, 3), (90, 40, 3, 2), (40, 16, 2, 20), (60, 30, 3, 20), (80, 30, 2, 20)]
    drawn = [_split_case(rng, *size) for size in sizes]
    for groups in _SCARCE:
        drawn.append(_scarce_split(rng, groups, scarce=len(drawn) % 3, per_class=9))
    # As many as asked for, one more, and one fewer; a row of each group alone.
    drawn += [_scarce_split(rng, range(18), scarce=0, per_class=count) for count in (5, 6, 7, 9)]
    return [*drawn, _split_of(rng, [(turn, turn // 6) for turn in range(18)], per_class=1)]


def _split_case(
    rng: np.random.Generator, num_rows: int, num_groups: int, num_classes: int, per_class: int
) -> Case:
    # Every group occurs, and every class; the first class is the most frequent.
    groups = np.concatenate([np.arange(num_groups), rng.integers(0, num_groups, num_rows - num_groups)])
    shares = np.arange(num_classes + 1, 1, -1) / np.arange(2, num_classes + 2).sum()
    labels = np.concatenate(
        [np.arange(num_classes), rng.choice(num_classes, num_rows - num_classes, p=shares)]
    )
    names = [f"review {number:02}" for number in rng.permutation(num_groups)]
    return Case(
        {
            "labels": [int(label) for label in rng.permutation(labels)],
            "groups": [names[group] for group in groups],
            "order": [int(row) for row in rng.permutation(num_rows)],
            "per_class": per_class,
        }
    )


# Which of 18 groups have a row of the scarce class: it decides on the side for training, on the other one, and is not
# there at all on either. The groups 0, 4, 6, 10, 12 and 16 are for training in both forms, 5, 11 and 17 in none.
_SCARCE: tuple[Sequence[int], ...] = ((0, 5, 11, 17), (0, 4, 6, 10, 5), (0, 4, 6, 5, 11), (0, 4), (5, 11))
_NUM_GROUPS = 18


def _scarce_split(rng: np.random.Generator, groups: Sequence[int], *, scarce: int, per_class: int) -> Case:
    """Draw groups with a row of each class, but of the scarce one in some groups alone, where it is drawn first."""
    rows = []
    for turn in range(_NUM_GROUPS):
        others = [label for label in range(3) if label != scarce]
        # Both of the others are drawn first in some groups of each side.
        labels = [scarce] * (turn in groups) + (others if turn // 6 % 2 else others[::-1])
        rows += [(turn, label) for label in labels]
    return _split_of(rng, rows, per_class)


def _split_of(rng: np.random.Generator, rows: Sequence[tuple[int, int]], per_class: int) -> Case:
    """Give a case of rows, each a group and a label, in the order of the draw; their numbers and names are drawn."""
    order = [int(number) for number in rng.permutation(len(rows))]
    names = [f"review {number:02}" for number in rng.permutation(_NUM_GROUPS)]
    placed = dict(zip(order, rows, strict=True))
    return Case(
        {
            "labels": [placed[number][1] for number in range(len(rows))],
            "groups": [names[placed[number][0]] for number in range(len(rows))],
            "order": order,
            "per_class": per_class,
        }
    )


_SPLIT_EXAMPLE: dict[str, Any] = {
    "labels": [1, 1, 0, 1, 1, 1, 1, 0],
    "groups": ["a", "a", "b", "c", "d", "e", "f", "g"],
    "order": [7, 1, 5, 3, 4, 2, 0, 6],
    "per_class": 1,
}


_SHARED = Changes()


@_SHARED.with_arguments(by_row=True)
def _leak():
    """Rows of one group lie on both sides: what is learnt of a review by heart then counts as skill."""


@_SHARED.with_arguments(balanced="not")
def _unbalanced():
    """Where a class has too few rows, the sides are not balanced."""


@_SHARED.with_arguments(balanced="alone")
def _each_side_alone():
    """Each side is balanced, but they differ in size: the scarcest class of either side decides for both."""


@_SHARED.with_arguments(ordered=False)
def _file_order():
    """The rows are taken in the order of the file. `order` is the draw."""


@_SHARED.with_arguments(by_name=True)
def _by_name():
    """The groups take turns by name. They come in the order of the draw."""


@_SHARED.add
def _sorted(right, **case):
    """The right rows are in the right sides, but sorted, not in the order of the draw."""
    return _sorted_sides(**case, right=right)


@_SHARED.add
def _class_by_class(right, **case):
    """The right rows are in the right sides, but class by class, not in the order of the draw."""
    return _sorted_sides(**case, right=right, by_class=True)


@_SHARED.with_arguments(turns_by_class=True)
def _turns_by_class():
    """The turns begin anew for each class, so that one group can lie on both sides. All groups take turns once."""


@_SHARED.add
def _other_cycle(right, **case):
    """Look again at which groups go to which side."""
    alternates = len(right.keywords["cycle"]) == 2
    return right(**case, cycle=("train", "train", "development") if alternates else ("train", "development"))


def _split_variant(name: str, cycle: Sequence[str], one_each: bool, limit: str, /, **texts: str) -> Variant:
    right = partial(_few_shot, cycle=cycle, one_each=one_each)
    other_limit = Mistake("limit", limit, partial(right, one_each=not one_each))
    texts["value"] = shown(right(**_SPLIT_EXAMPLE))
    return Variant(name, texts, right, [*_SHARED.of(right), other_limit])


VARIANTS = (
    _split_variant(
        "the groups alternate",
        ("train", "development"),
        False,
        "Only the first row of each group is used. Here all of them may be.",
        turns="The first goes to training, the second to development, the third to training, and so on",
        candidates="All rows of its groups are a side's candidates",
        cycle='["train", "development"]',
        code="candidates = order",
    ),
    _split_variant(
        "two groups of three for training, one row a group",
        ("train", "train", "development"),
        True,
        "A group gives more than one row. Sentences of one review are no independent examples.",
        turns="The first and second group go to training, the third to development, the fourth and fifth "
        "to training, and so on",
        candidates="A side's candidates are its groups' first rows in `order`, **one row a group**",
        cycle='["train", "train", "development"]',
        code="candidates = [next(r for r in order if groups[r] == name) for name in names]",
    ),
)
