"""P/N compares only within one unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import Case
from course_lib.classroom.assignments.building import Changes

TITLE = "Compare models whose examples have the same unit"
MARKS = 3
HINT = "Keep the rows of the unit, compute one quotient a row, then sort by quotient and name."


def _compared(
    rows: Sequence[Mapping[str, Any]],
    unit: str,
    *,
    inverted: bool = False,
    descending: bool = True,
    mixed: bool = False,
    whole: bool = False,
    by_name: bool = True,
) -> list[tuple[str, float]]:
    kept = [row for row in rows if mixed or row["unit"] == unit]
    result = [(row["model"], row["parameters"] / row["examples"]) for row in kept]
    if inverted:
        result = [(name, 1 / ratio) for name, ratio in result]
    if whole:
        result = _rounded(result)
    sign = -1 if descending else 1
    return sorted(result, key=lambda pair: (sign * pair[1], pair[0] if by_name else ""))


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    deck = [
        _row("AlexNet", 60_000_000, 1_200_000, "image"),
        _row("DenseNet-121", 8_000_000, 1_200_000, "image"),
        _row("BERT, pre-training", 110_000_000, 3_300_000_000, "word"),
        # A unit whose name holds another's.
        _row("RoBERTa", 125_000_000, 2_200_000_000, "subword"),
    ]
    tied = [_row("tied b", 30, 12, "pair"), _row("tied a", 5, 2, "pair"), _row("larger", 9, 2, "pair")]
    # Nearly equal to the tied ones, and by name after them; one run twice; one model of two runs.
    close = [
        _row("z, nearly tied", 25_000_001, 10_000_000, "pair"),
        *[_row("tied a", 5, 2, "pair")] * 2,
        _row("trained twice", 3, 2, "pair"),
        _row("trained twice", 7, 2, "pair"),
        _row("tied b", 30, 12, "pair"),
    ]
    drawn = [
        _row(f"model {index}", int(rng.integers(10_000, 10**8)), int(rng.integers(100, 10**6)), unit)
        for index, unit in enumerate(rng.permutation(["image", "image", "image", "word", "word", "pair"]))
    ]
    pairs = [
        (deck, "image"),
        (tied + drawn, "pair"),
        (deck + drawn, "word"),
        (drawn, "image"),
        (deck, "pair"),
        (close, "pair"),
        (deck[:1], "image"),
        ([], "image"),
    ]
    return [Case({"rows": rows, "unit": unit}) for rows, unit in pairs]


def _row(model: str, parameters: int, examples: int, unit: str) -> dict[str, Any]:
    return {"model": model, "parameters": parameters, "examples": examples, "unit": str(unit)}


def _rounded(pairs: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    return [(name, float(round(quotient))) for name, quotient in pairs]


_MISTAKES = Changes()


@_MISTAKES.with_arguments(mixed=True)
def _units_mixed():
    """Rows of other units are among them. A ratio in words and one in images do not compare."""


@_MISTAKES.with_arguments(whole=True)
def _all_rounded():
    """The quotients are rounded; return them as they are."""


@_MISTAKES.add
def _rounded_at_the_end(right, rows, unit):
    """The quotients are rounded; return them as they are."""
    return _rounded(right(rows, unit))


@_MISTAKES.add
def _reversed(right, rows, unit):
    """The quotients are right, but the list runs the other way."""
    return right(rows, unit)[::-1]


@_MISTAKES.with_arguments(by_name=False)
def _ties():
    """Where two quotients are equal, the models are in the order of their names."""


@_MISTAKES.add
def _other_way_round(right, **case):
    """The quotient stands the other way round: look again at what is divided by what."""
    return right(**case, inverted=not right.keywords["inverted"])


@_MISTAKES.add
def _other_order(right, **case):
    """The quotients are right, but the list runs the other way."""
    return right(**case, descending=not right.keywords["descending"])


VARIANTS = (
    _MISTAKES.variant(
        "parameters per example, largest first",
        partial(_compared, inverted=False, descending=True),
        quotient="the number of parameters per training example",
        order="the largest quotient first",
        code='row["parameters"] / row["examples"]',
        key="(-pair[1], pair[0])",
    ),
    _MISTAKES.variant(
        "examples per parameter, smallest first",
        partial(_compared, inverted=True, descending=False),
        quotient="the number of training examples per parameter",
        order="the smallest quotient first",
        code='row["examples"] / row["parameters"]',
        key="(pair[1], pair[0])",
    ),
)
