"""Take a model's taste for one label out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import Case, Variant
from course_lib.classroom.assignments.building import Changes, log_softmax, with_last

TITLE = "Take the taste for one label out"
MARKS = 4
HINT = "Stay with logarithms: make each row sum to 1, subtract the prior's logarithm, make it sum to 1 again."

Normalise = Callable[[np.ndarray], np.ndarray]
Prior = Callable[[np.ndarray, Any, Normalise], np.ndarray]


def _underflowing(values: np.ndarray) -> np.ndarray:
    return np.log(np.exp(values) / np.exp(values).sum(axis=1, keepdims=True))


def _geometric(values: np.ndarray, content_free: np.ndarray, normalise: Normalise) -> np.ndarray:
    return normalise(content_free).mean(axis=0)


def _of_items(values: np.ndarray, strength: float, normalise: Normalise) -> np.ndarray:
    return strength * np.log(np.exp(normalise(values)).mean(axis=0))


def _at_quantile(values: np.ndarray, share: float, normalise: Normalise) -> np.ndarray:
    return np.array([0.0, np.quantile(values[:, 1] - values[:, 0], 1 - share)])


def _calibrated(
    log_probabilities: np.ndarray,
    last: Any,
    *,
    prior: Prior,
    normalise: Normalise = log_softmax,
    sign: int = 1,
    answered_before: bool = False,
    sums_to_one: bool = True,
) -> dict[str, np.ndarray]:
    with np.errstate(all="ignore"):
        scores = normalise(log_probabilities) - sign * prior(log_probabilities, last, normalise)
        probabilities = np.exp(normalise(scores) if sums_to_one else scores)
    answers = (log_probabilities if answered_before else probabilities).argmax(axis=1)
    return {"probabilities": probabilities, "answers": answers}


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    # (items, labels, a share of label 1 that no item's log-odds lie exactly at)
    sizes = [(6, 2, 0.5), (8, 2, 0.4), (12, 2, 0.3), (15, 2, 0.25)]
    if variant != QUANTILE_NAME:
        sizes = [(4, 2, 0.5), (6, 3, 1.0), (9, 2, 0.7), (12, 4, 0.9)]
    drawn = [_calibration_case(rng, variant, *size) for size in sizes]
    # Labels of many tokens: as probabilities these are 0.
    drawn[-1].arguments["log_probabilities"][:] -= 900
    # One item, and items of which some have labels of many tokens.
    one, mixed = (_calibration_case(rng, variant, *size) for size in ((1, 2, 0.5), (5, 2, 0.35)))
    mixed.arguments["log_probabilities"][::2] -= 900
    if variant == GEOMETRIC_NAME:
        mixed.arguments["content_free"][0] -= 900
        one = Case({**one.arguments, "content_free": one.arguments["content_free"][:1]})
    if variant == ITEMS_NAME:
        drawn.append(_calibration_case(rng, variant, 5, 3, 0.0))
    return [*drawn, one, mixed]


def _calibration_case(
    rng: np.random.Generator, variant: str, num_items: int, num_labels: int, number: float
) -> Case:
    taste = np.linspace(0, 2.5, num_labels)
    level = rng.uniform(-6, -1, (num_items, 1))
    last: dict[str, Any] = {LAST_ARGUMENT[variant]: number}
    if variant == GEOMETRIC_NAME:
        last = {"content_free": np.round(taste - 5 + rng.normal(0, 0.8, (3, num_labels)), 2)}
    values = np.round(level + taste + rng.normal(0, 0.7, (num_items, num_labels)), 2)
    return Case({"log_probabilities": values, **last})


GEOMETRIC_NAME = "by the geometric mean of content-free inputs"
ITEMS_NAME = "by the items' own mean, to a power"
QUANTILE_NAME = "at a known share of label 1"
LAST_ARGUMENT = {GEOMETRIC_NAME: "content_free", ITEMS_NAME: "strength", QUANTILE_NAME: "share"}


_SHARED = Changes()


@_SHARED.with_arguments(sign=0)
def _not_calibrated():
    """The probabilities are those of the model, its taste for one label included."""


@_SHARED.with_arguments(sign=-1)
def _the_wrong_way():
    """The taste is put in once more, and not taken out: divide, do not multiply."""


@_SHARED.with_arguments(answered_before=True)
def _answered_before():
    """The probabilities are right, but the answers are read off those before the calibration."""


@_SHARED.with_arguments(sums_to_one=False)
def _do_not_sum_to_1():
    """The scores are right, but they do not sum to 1 over the labels."""


@_SHARED.with_arguments(normalise=_underflowing)
def _underflow():
    """Right, but very small probabilities become 0: subtract each row's largest logarithm before `exp`."""


def _calibration_variant(name: str, prior: Prior, changes: Changes, **texts: str) -> Variant:
    argument = LAST_ARGUMENT[name]
    right = with_last(partial(_calibrated, prior=prior), argument)
    example = np.log([[0.2, 0.8], [0.4, 0.6]]) if name == GEOMETRIC_NAME else 0.5
    value = right(log_probabilities=np.log([[0.3, 0.6], [0.1, 0.4]]), **{argument: example})["probabilities"]
    return changes.variant(name, right, **texts, argument=argument, value=str(value.round(4).tolist()))


_OF_GEOMETRIC, _OF_ITEMS, _OF_QUANTILES = Changes(_SHARED), Changes(_SHARED), Changes(_SHARED)


@_OF_GEOMETRIC.as_argument("prior")
def _arithmetic(values, content_free, normalise):
    """This is the ordinary mean of the content-free probabilities. The geometric one is asked for."""
    return np.log(np.exp(normalise(content_free)).mean(axis=0))


@_OF_GEOMETRIC.as_argument("prior")
def _first_input_only(values, content_free, normalise):
    """Only the first content-free input is used. Take them all."""
    return normalise(content_free)[0]


@_OF_ITEMS.as_argument("prior")
def _full_strength(values, strength, normalise):
    """`strength` has no effect: the prior goes to this power."""
    return _of_items(values, 1.0, normalise)


@_OF_ITEMS.as_argument("prior")
def _geometric_of_items(values, strength, normalise):
    """The prior is the mean of the logarithms. Take the mean of the probabilities."""
    return strength * normalise(values).mean(axis=0)


@_OF_ITEMS.as_argument("prior")
def _before_they_sum_to_1(values, strength, normalise):
    """An item whose labels are all likely weighs more in this mean. Make each sum to 1 first."""
    return strength * np.log(np.exp(values).mean(axis=0))


@_OF_QUANTILES.as_argument("prior")
def _other_side(values, share, normalise):
    """This share of the items gets label 0. It is that of label 1."""
    return _at_quantile(values, 1 - share, normalise)


@_OF_QUANTILES.as_argument("prior")
def _median(values, share, normalise):
    """This is the median, whatever the share is."""
    return _at_quantile(values, 0.5, normalise)


@_OF_QUANTILES.as_argument("prior")
def _mean(values, share, normalise):
    """The log-odds are moved by their mean. Take the quantile."""
    return np.array([0, np.mean(values[:, 1] - values[:, 0])])


VARIANTS = (
    _calibration_variant(
        GEOMETRIC_NAME,
        _geometric,
        _OF_GEOMETRIC,
        rule="the prior of a label is the **geometric mean** of its probabilities behind $m$ inputs without "
        "content. `content_free`, of shape $[m, C]$, holds their natural log-probabilities. Divide each item's "
        "probabilities by the prior",
        example="np.log([[0.2, 0.8], [0.4, 0.6]])",
        code="log_prior = over_labels(content_free).mean(axis=0)",
    ),
    _calibration_variant(
        ITEMS_NAME,
        _of_items,
        _OF_ITEMS,
        rule="the prior of a label is the mean of its probabilities **over the items themselves**, each "
        "item's first made to sum to 1 over the labels. Divide each item's probabilities by the prior to the "
        "power `strength`, a number from 0 to 1",
        example="0.5",
        code="log_prior = strength * np.log(np.exp(log_p).mean(axis=0))",
    ),
    _calibration_variant(
        QUANTILE_NAME,
        _at_quantile,
        _OF_QUANTILES,
        rule="there are two labels, and a share `share` of the items is known to be of label 1. Move the "
        "log-odds of label 1 (its log-probability less that of label 0) by one number for all items, so that "
        "their $1 - $ `share` quantile (`np.quantile` with its default) becomes 0. With 0.5 it is the median",
        example="0.5",
        code="log_prior = np.array([0, np.quantile(log_p[:, 1] - log_p[:, 0], 1 - share)])",
    ),
)
