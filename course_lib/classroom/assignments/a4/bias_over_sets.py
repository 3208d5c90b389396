"""H1-accuracy with an interval whose unit is the set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import Case
from course_lib.classroom.assignments.building import Changes, with_last

TITLE = "h1-accuracy with an interval over demonstration sets"
MARKS = 4
HINT = "Which items are left in a set? Then one number a set, and only then mean and interval over the sets."

Value = Callable[[np.ndarray, np.ndarray], Any]
IntervalOf = Callable[[np.ndarray, Any], Sequence[float]]


def _balanced(said: np.ndarray, label: np.ndarray) -> float:
    return float(np.mean([np.mean(said[label == half] == half) for half in (0, 1)]))


def _accuracy(said: np.ndarray, label: np.ndarray) -> float:
    return float(np.mean(said == label))


def _preference(said: np.ndarray, label: np.ndarray) -> float:
    return 2 * _accuracy(said, label) - 1


def _student(values: np.ndarray, critical: float, *, ddof: int = 1, root: bool = True) -> list[float]:
    half = critical * np.std(values, ddof=ddof) / (np.sqrt(len(values)) if root else 1)
    return [np.mean(values) - half, np.mean(values), np.mean(values) + half]


def _percentile(
    values: np.ndarray, draws: np.ndarray, *, levels: Sequence[float] = (0.025, 0.975)
) -> list[float]:
    low, high = np.quantile(values[draws].mean(axis=1), levels)
    return [low, np.mean(values), high]


def _biased(
    predictions: np.ndarray,
    h1: np.ndarray,
    h2: np.ndarray,
    last: Any,
    *,
    value: Value,
    interval: IntervalOf,
    keep_agreeing: bool = False,
    unanswered: str = "left out",
    swap: bool = False,
) -> dict[str, Any]:
    kept = (h1 != -1) & (h2 != -1) & (keep_agreeing | (h1 != h2))
    said = np.maximum(predictions, 0) if unanswered == "as 0" else predictions
    kept = kept & (said != -1) if unanswered == "left out" else kept
    values, shares = [], []
    for answers, labels, here in zip(said, h2 if swap else h1, kept, strict=True):
        values.append(value(answers[here], labels[here]))
        shares.append(np.mean(answers[here] == 1))
    return {"interval": interval(np.array(values), last), "share_of_1": np.array(shares)}


# Student's factor for each number of sets.
_CRITICAL = {2: 12.706, 3: 4.303, 4: 3.182, 6: 2.571, 10: 2.262}


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    drawn = [_bias_case(rng, variant, *size) for size in ((3, 20), (4, 40), (6, 60), (10, 40), (2, 21))]
    return [*drawn, *(_agreeing_sets(rng, variant, feature) for feature in (1, 2))]


def _bias_case(rng: np.random.Generator, variant: str, num_sets: int, num_items: int) -> Case:
    # Fewer rows of one half than of the other, some that tell nothing apart, some without a feature. The first of each
    # is there whatever the number of items.
    kinds = [(1, 0), (0, 1), (1, 1), (0, 0), (-1, 1), (0, -1), (-1, 0), (1, -1), (-1, -1)]
    counts = (np.array([0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.0]) * num_items).astype(int)
    counts[-1] = num_items - counts[:-1].sum()
    rows = np.repeat(kinds, counts, axis=0)
    tables = np.stack([rng.permutation(rows) for _ in range(num_sets)])
    follows = rng.random((num_sets, num_items)) < rng.uniform(0.3, 0.9, (num_sets, 1))
    predictions = np.where(follows, np.maximum(tables[:, :, 0], 0), (rng.random(follows.shape) < 0.7))
    # An interface that shows its five likeliest words says nothing of an item whose labels are not among them.
    predictions[rng.random(follows.shape) < 0.12] = -1
    _answer_one_of_each(predictions, tables)
    return Case(
        {
            "predictions": predictions,
            "h1": tables[:, :, 0],
            "h2": tables[:, :, 1],
            **_interval_argument(rng, variant, num_sets),
        }
    )


def _answer_one_of_each(predictions: np.ndarray, tables: np.ndarray) -> None:
    """Let each set have an answer to an item of either half, and none to one of the larger half."""
    for said, table in zip(predictions, tables, strict=True):
        larger, smaller = (np.flatnonzero((table == kind).all(axis=1)) for kind in ((1, 0), (0, 1)))
        said[larger[0]], said[larger[1]] = -1, max(said[larger[1]], 0)
        said[smaller[0]] = max(said[smaller[0]], 0)


def _agreeing_sets(rng: np.random.Generator, variant: str, feature: int) -> Case:
    """Draw sets that all follow one feature throughout, and answer every item: values at an end, without a spread."""
    h1 = np.array([[1, 1, 1, 0, 1], [0, 1, 0, 0, 1], [1, 0, 1, 0, 0]])
    h2 = np.where(np.arange(5) < 4, 1 - h1, h1)
    predictions = (h1 if feature == 1 else h2).copy()
    return Case({"predictions": predictions, "h1": h1, "h2": h2, **_interval_argument(rng, variant, 3)})


def _interval_argument(rng: np.random.Generator, variant: str, num_sets: int) -> dict[str, Any]:
    if variant == PREFERENCE_NAME:
        return {"draws": rng.integers(0, num_sets, (200, num_sets))}
    return {"critical": _CRITICAL[num_sets]}


BALANCED_NAME = "both halves weigh the same, with Student's interval"
PREFERENCE_NAME = "preference for h1 over h2, with a bootstrap over sets"


_SHARED = Changes()


@_SHARED.with_arguments(keep_agreeing=True)
def _agreeing_kept():
    """Items with h1 = h2 are among them. They do not tell the two features apart."""


@_SHARED.with_arguments(unanswered="kept")
def _unanswered_wrong():
    """An item without an answer counts as a wrong one. Nothing is known of it: leave it out."""


@_SHARED.with_arguments(unanswered="as 0")
def _unanswered_as_0():
    """An item without an answer counts as the answer 0. Nothing is known of it: leave it out."""


@_SHARED.with_arguments(swap=True)
def _h2():
    """These are the figures of h2. Those of h1 are asked for."""


_OF_BALANCED = Changes(_SHARED)


@_OF_BALANCED.with_arguments(value=_accuracy)
def _not_balanced():
    """The larger half of the items weighs more. Take each half's accuracy first, then their mean."""


@_OF_BALANCED.with_arguments(interval=partial(_student, ddof=0))
def _population():
    """The standard deviation divides by S, not by S − 1: NumPy needs `ddof=1` for that."""


@_OF_BALANCED.with_arguments(interval=partial(_student, root=False))
def _deviation():
    """This is the spread of single sets. The standard error of their mean is smaller by √S."""


@_OF_BALANCED.add
def _items_as_unit(right, predictions, h1, h2, critical):
    """The interval takes items for independent witnesses. Items of one set share its demonstrations: the set is the
    unit."""
    result = right(predictions=predictions, h1=h1, h2=h2, critical=critical)
    kept = (h1 != -1) & (h2 != -1) & (h1 != h2) & (predictions != -1)
    mean, error = result["interval"][1], np.std((predictions == h1)[kept], ddof=1) / np.sqrt(kept.sum())
    return {**result, "interval": [mean - critical * error, mean, mean + critical * error]}


_OF_PREFERENCE = Changes(_SHARED)


@_OF_PREFERENCE.with_arguments(value=_accuracy)
def _accuracy_alone():
    """This is h1-accuracy. Its difference to h2-accuracy is asked for."""


@_OF_PREFERENCE.with_arguments(interval=partial(_percentile, levels=(0.05, 0.95)))
def _ninety():
    """This interval leaves out 5 % on either side. It is 2.5 %."""


@_OF_PREFERENCE.as_argument("interval")
def _not_resampled(values, draws):
    """These are quantiles of the sets' own values: how sets differ, and not how sure their mean is."""
    low, high = np.quantile(values, [0.025, 0.975])
    return [low, np.mean(values), high]


@_OF_PREFERENCE.with_arguments(interval=lambda values, draws: _student(values, 1.96))
def _standard_errors():
    """The ends are standard errors away from the mean. The quantiles of the resamples are asked for."""


VARIANTS = (
    _OF_BALANCED.variant(
        BALANCED_NAME,
        with_last(partial(_biased, value=_balanced, interval=_student), "critical"),
        value="the mean of two accuracies under `h1`: that on its items with `h1` = 1 and that on its items "
        "with `h1` = 0, so that **both halves weigh the same** however many items they have",
        ends="minus and plus `critical` standard errors of the mean over sets. (`critical` is Student's "
        "factor for this number of sets; the standard error is the standard deviation with $S - 1$ in its "
        "denominator, divided by $\\sqrt{S}$.)",
        argument="critical",
        example="12.706",
        value_code="np.mean([np.mean(said[label == half] == half) for half in (0, 1)])",
        ends_code="half = critical * np.std(values, ddof=1) / np.sqrt(len(values))\n"
        "low, high = np.mean(values) - half, np.mean(values) + half",
    ),
    _OF_PREFERENCE.variant(
        PREFERENCE_NAME,
        with_last(partial(_biased, value=_preference, interval=_percentile), "draws"),
        value="**h1-accuracy less h2-accuracy** on its items, from −1 to 1",
        ends="the 2.5 % and 97.5 % quantiles of a bootstrap over sets (`np.quantile` with its default). "
        "Each row of `draws`, of shape $[R, S]$, holds the numbers of the sets of one resample: take the mean "
        "of their values",
        argument="draws",
        example="np.array([[0, 0], [0, 1], [1, 1]])",
        value_code="2 * np.mean(said == label) - 1",
        ends_code="resampled = np.array(values)[draws].mean(axis=1)\n"
        "low, high = np.quantile(resampled, [0.025, 0.975])",
    ),
)
