"""Assignment a4, In-context learning: the trusted side. The notebook: notebooks/src/assignments/a4.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import (
    AS_GIVEN,
    Assignment,
    Case,
    Measured,
    Mistake,
    Task,
    Variant,
    first_problem,
    shown_source,
)
from course_lib.classroom.checking.answers import as_numbers, as_whole_number

# --- a4.choose_demonstrations: rows that leave a feature open, or do not

Quota = dict[tuple[int, ...], int]
Order = Callable[[dict[int, list[int]]], tuple[list[int], list[int]]]


def _taking_turns(chosen: dict[int, list[int]]) -> tuple[list[int], list[int]]:
    pairs = list(zip(chosen[1], chosen[0], strict=False))
    return [row for pair in pairs for row in pair], [1, 0] * len(pairs)


def _in_blocks(chosen: dict[int, list[int]]) -> tuple[list[int], list[int]]:
    return chosen[1] + chosen[0], [1] * len(chosen[1]) + [0] * len(chosen[0])


def _in_table_order(chosen: dict[int, list[int]]) -> tuple[list[int], list[int]]:
    labels = {row: label for label, rows in chosen.items() for row in rows}
    return sorted(labels), [labels[row] for row in sorted(labels)]


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


def _demonstration_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    # (rows, documents, of each label): few documents, so that one would be used twice. The last table is too
    # small for what is asked for.
    sizes = [(60, 8, 2), (200, 14, 4), (240, 20, 6), (200, 10, 4), (12, 6, 4)]
    cases = [_feature_table(rng, *size) for size in sizes]
    return cases + [_just_enough(rng, QUOTAS[variant], num_each, short) for num_each, short in _SHORTS]


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


def _demonstration_variant(name: str, texts: Mapping[str, str], *further: Mistake) -> Variant:
    right = partial(_chosen, quota_of=QUOTAS[name])
    return Variant(
        name,
        {f"choose_demonstrations.{key}": text for key, text in texts.items()},
        right,
        (
            Mistake(
                "missing as zero",
                "Rows to which a feature does not apply, -1, are taken as if it were 0. They are left out.",
                partial(right, missing_as_zero=True),
            ),
            Mistake(
                "documents repeated",
                "Two rows come from one document. A document is shown at most once.",
                partial(right, one_a_document=False),
            ),
            Mistake(
                "in blocks",
                "The right rows in another order: labels take turns, 1 first. A model leans to the label it saw last.",
                partial(right, order=_in_blocks),
            ),
            Mistake(
                "table order",
                "The right rows, but in the order of the table. Labels take turns, 1 first.",
                partial(right, order=_in_table_order),
            ),
            Mistake(
                "short",
                "Where the table holds too few rows this gives fewer demonstrations. Return None: a set that is "
                "short is not balanced.",
                partial(right, refuses=False),
            ),
            *further,
        ),
    )


BALANCED_THIRD = "underspecified, balanced in a third feature"
THIRD_RULED_OUT = "underspecified, a third feature ruled out"
HALF_DISAMBIGUATE = "half of them disambiguate"
QUOTAS: dict[str, Callable[[int], Quota]] = {
    BALANCED_THIRD: _both_of_third,
    THIRD_RULED_OUT: _against_third,
    HALF_DISAMBIGUATE: _half_disambiguate,
}

_THIRD_IGNORED = Mistake(
    "third ignored",
    "The third feature is not looked at, so it can go along with the label by chance.",
    partial(_chosen, quota_of=_agreeing),
)

CHOOSE_DEMONSTRATIONS = Task(
    name="a4.choose_demonstrations",
    title="Demonstrations from a table of features",
    marks=4,
    cases=_demonstration_cases,
    variants=(
        _demonstration_variant(
            BALANCED_THIRD,
            {
                "rule": "`h1` and `h2` agree on every demonstration, and that value is its label. Of each label there "
                "are `num_each`, **half of them with the third feature 1 and half with 0** (`num_each` is even)",
                "quota": "{(y, y, z): num_each // 2 for y in (0, 1) for z in (0, 1)}",
                "cell": "(first, second, third)",
            },
            _THIRD_IGNORED,
        ),
        _demonstration_variant(
            THIRD_RULED_OUT,
            {
                "rule": "`h1` and `h2` agree on every demonstration, and that value is its label; **the third feature "
                "has the other value**, so that nobody can take it for what is meant. Of each label there are "
                "`num_each`",
                "quota": "{(y, y, 1 - y): num_each for y in (0, 1)}",
                "cell": "(first, second, third)",
            },
            _THIRD_IGNORED,
        ),
        _demonstration_variant(
            HALF_DISAMBIGUATE,
            {
                "rule": "the label is that of `h1`. Of each label there are `num_each`, **half of them with `h2` equal "
                "to the label and half with `h2` different** (`num_each` is even). The third feature can have either "
                "value",
                "quota": "{(y, z): num_each // 2 for y in (0, 1) for z in (0, 1)}",
                "cell": "(first, second)",
            },
            Mistake(
                "underspecified",
                "All of them have h1 = h2. Half of them are to tell the two apart.",
                partial(_chosen, quota_of=_agreeing),
            ),
            Mistake(
                "labelled by h2",
                "The labels are those of h2. The feature intended is h1.",
                partial(_chosen, quota_of=_half_disambiguate, label_of=1),
            ),
        ),
    ),
    hint="One pass over the rows from top to bottom, with a count of what is still wanted of each kind of row.",
)


# --- a4.bias_over_sets: h1-accuracy with an interval whose unit is the set

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


def _ends_of_values(values: np.ndarray, draws: np.ndarray) -> list[float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return [low, np.mean(values), high]


def _two_errors(values: np.ndarray, draws: np.ndarray) -> list[float]:
    return _student(values, 1.96)


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


def _items_as_unit(
    predictions: np.ndarray, h1: np.ndarray, h2: np.ndarray, critical: float
) -> dict[str, Any]:
    right = _biased(predictions, h1, h2, critical, value=_balanced, interval=_student)
    kept = (h1 != -1) & (h2 != -1) & (h1 != h2) & (predictions != -1)
    mean, error = right["interval"][1], np.std((predictions == h1)[kept], ddof=1) / np.sqrt(kept.sum())
    return {**right, "interval": [mean - critical * error, mean, mean + critical * error]}


def _by_name(function: Callable[..., Any], last_name: str) -> Callable[..., Any]:
    """Give a function of four arguments the name that its variant has for the last."""

    def named(predictions: Any, h1: Any, h2: Any, **last: Any) -> Any:
        return function(predictions, h1, h2, last[last_name])

    return named


# Student's factor for each number of sets.
_CRITICAL = {2: 12.706, 3: 4.303, 4: 3.182, 6: 2.571, 10: 2.262}


def _bias_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    cases = [_bias_case(rng, variant, *size) for size in ((3, 20), (4, 40), (6, 60), (10, 40), (2, 21))]
    return [*cases, *(_agreeing_sets(rng, variant, feature) for feature in (1, 2))]


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


def _bias_variant(
    name: str,
    value: Value,
    interval: IntervalOf,
    texts: Mapping[str, str],
    further: Sequence[tuple[str, str, Callable[..., Any]]],
) -> Variant:
    right = partial(_biased, value=value, interval=interval)
    mistakes: list[tuple[str, str, Callable[..., Any]]] = [
        (
            "agreeing kept",
            "Items with h1 = h2 are among them. They do not tell the two features apart.",
            partial(right, keep_agreeing=True),
        ),
        (
            "unanswered wrong",
            "An item without an answer counts as a wrong one. Nothing is known of it: leave it out.",
            partial(right, unanswered="kept"),
        ),
        (
            "unanswered as 0",
            "An item without an answer counts as the answer 0. Nothing is known of it: leave it out.",
            partial(right, unanswered="as 0"),
        ),
        ("h2", "These are the figures of h2. Those of h1 are asked for.", partial(right, swap=True)),
        *further,
    ]
    return Variant(
        name,
        {f"bias_over_sets.{key}": text for key, text in texts.items()},
        _by_name(right, texts["argument"]),
        tuple(Mistake(key, hint, _by_name(wrong, texts["argument"])) for key, hint, wrong in mistakes),
    )


BIAS_OVER_SETS = Task(
    name="a4.bias_over_sets",
    title="h1-accuracy with an interval over demonstration sets",
    marks=4,
    cases=_bias_cases,
    variants=(
        _bias_variant(
            BALANCED_NAME,
            _balanced,
            _student,
            {
                "value": "the mean of two accuracies under `h1`: that on its items with `h1` = 1 and that on its items "
                "with `h1` = 0, so that **both halves weigh the same** however many items they have",
                "ends": "minus and plus `critical` standard errors of the mean over sets. (`critical` is Student's "
                "factor for this number of sets; the standard error is the standard deviation with $S - 1$ in its "
                "denominator, divided by $\\sqrt{S}$.)",
                "argument": "critical",
                "example": "12.706",
                "value_code": "np.mean([np.mean(said[label == half] == half) for half in (0, 1)])",
                "ends_code": "half = critical * np.std(values, ddof=1) / np.sqrt(len(values))\n"
                "low, high = np.mean(values) - half, np.mean(values) + half",
            },
            (
                (
                    "not balanced",
                    "The larger half of the items weighs more. Take each half's accuracy first, then their mean.",
                    partial(_biased, value=_accuracy, interval=_student),
                ),
                (
                    "population",
                    "The standard deviation divides by S, not by S − 1: NumPy needs `ddof=1` for that.",
                    partial(_biased, value=_balanced, interval=partial(_student, ddof=0)),
                ),
                (
                    "deviation",
                    "This is the spread of single sets. The standard error of their mean is smaller by √S.",
                    partial(_biased, value=_balanced, interval=partial(_student, root=False)),
                ),
                (
                    "items as unit",
                    "The interval takes items for independent witnesses. Items of one set share its demonstrations: "
                    "the set is the unit.",
                    _items_as_unit,
                ),
            ),
        ),
        _bias_variant(
            PREFERENCE_NAME,
            _preference,
            _percentile,
            {
                "value": "**h1-accuracy less h2-accuracy** on its items, from −1 to 1",
                "ends": "the 2.5 % and 97.5 % quantiles of a bootstrap over sets (`np.quantile` with its default). "
                "Each row of `draws`, of shape $[R, S]$, holds the numbers of the sets of one resample: take the mean "
                "of their values",
                "argument": "draws",
                "example": "np.array([[0, 0], [0, 1], [1, 1]])",
                "value_code": "2 * np.mean(said == label) - 1",
                "ends_code": "resampled = np.array(values)[draws].mean(axis=1)\n"
                "low, high = np.quantile(resampled, [0.025, 0.975])",
            },
            (
                (
                    "accuracy",
                    "This is h1-accuracy. Its difference to h2-accuracy is asked for.",
                    partial(_biased, value=_accuracy, interval=_percentile),
                ),
                (
                    "ninety",
                    "This interval leaves out 5 % on either side. It is 2.5 %.",
                    partial(_biased, value=_preference, interval=partial(_percentile, levels=(0.05, 0.95))),
                ),
                (
                    "not resampled",
                    "These are quantiles of the sets' own values: how sets differ, and not how sure their mean is.",
                    partial(_biased, value=_preference, interval=_ends_of_values),
                ),
                (
                    "standard errors",
                    "The ends are standard errors away from the mean. The quantiles of the resamples are asked for.",
                    partial(_biased, value=_preference, interval=_two_errors),
                ),
            ),
        ),
    ),
    hint="Which items are left in a set? Then one number a set, and only then mean and interval over the sets.",
)


# --- a4.calibrate: take a model's taste for one label out

Normalise = Callable[[np.ndarray], np.ndarray]
Prior = Callable[[np.ndarray, Any, Normalise], np.ndarray]


def _over_labels(values: np.ndarray) -> np.ndarray:
    shifted = values - values.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _underflowing(values: np.ndarray) -> np.ndarray:
    return np.log(np.exp(values) / np.exp(values).sum(axis=1, keepdims=True))


def _geometric(values: np.ndarray, content_free: np.ndarray, normalise: Normalise) -> np.ndarray:
    return normalise(content_free).mean(axis=0)


def _arithmetic(values: np.ndarray, content_free: np.ndarray, normalise: Normalise) -> np.ndarray:
    return np.log(np.exp(normalise(content_free)).mean(axis=0))


def _of_items(values: np.ndarray, strength: float, normalise: Normalise) -> np.ndarray:
    return strength * np.log(np.exp(normalise(values)).mean(axis=0))


def _at_quantile(values: np.ndarray, share: float, normalise: Normalise) -> np.ndarray:
    return np.array([0.0, np.quantile(values[:, 1] - values[:, 0], 1 - share)])


def _calibrated(
    values: np.ndarray,
    last: Any,
    *,
    prior: Prior,
    normalise: Normalise = _over_labels,
    sign: int = 1,
    answered_before: bool = False,
    sums_to_one: bool = True,
) -> dict[str, np.ndarray]:
    with np.errstate(all="ignore"):
        scores = normalise(values) - sign * prior(values, last, normalise)
        probabilities = np.exp(normalise(scores) if sums_to_one else scores)
    answers = (values if answered_before else probabilities).argmax(axis=1)
    return {"probabilities": probabilities, "answers": answers}


def _two_arguments(function: Callable[..., Any], last_name: str) -> Callable[..., Any]:
    def named(log_probabilities: Any, **last: Any) -> Any:
        return function(log_probabilities, last[last_name])

    return named


def _calibration_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    # (items, labels, a share of label 1 that no item's log-odds lie exactly at)
    sizes = [(6, 2, 0.5), (8, 2, 0.4), (12, 2, 0.3), (15, 2, 0.25)]
    if variant != QUANTILE_NAME:
        sizes = [(4, 2, 0.5), (6, 3, 1.0), (9, 2, 0.7), (12, 4, 0.9)]
    cases = [_calibration_case(rng, variant, *size) for size in sizes]
    # Labels of many tokens: as probabilities these are 0.
    cases[-1].arguments["log_probabilities"][:] -= 900
    # One item, and items of which some have labels of many tokens.
    one, mixed = (_calibration_case(rng, variant, *size) for size in ((1, 2, 0.5), (5, 2, 0.35)))
    mixed.arguments["log_probabilities"][::2] -= 900
    if variant == GEOMETRIC_NAME:
        mixed.arguments["content_free"][0] -= 900
        one = Case({**one.arguments, "content_free": one.arguments["content_free"][:1]})
    if variant == ITEMS_NAME:
        cases.append(_calibration_case(rng, variant, 5, 3, 0.0))
    return [*cases, one, mixed]


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


def _calibration_variant(
    name: str, prior: Prior, texts: Mapping[str, str], further: Sequence[tuple[str, str, Prior]]
) -> Variant:
    right = partial(_calibrated, prior=prior)
    argument = LAST_ARGUMENT[name]
    mistakes: list[tuple[str, str, Callable[..., Any]]] = [
        (
            "not calibrated",
            "The probabilities are those of the model, its taste for one label included.",
            partial(right, sign=0),
        ),
        (
            "the wrong way",
            "The taste is put in once more, and not taken out: divide, do not multiply.",
            partial(right, sign=-1),
        ),
        (
            "answered before",
            "The probabilities are right, but the answers are read off those before the calibration.",
            partial(right, answered_before=True),
        ),
        (
            "do not sum to 1",
            "The scores are right, but they do not sum to 1 over the labels.",
            partial(right, sums_to_one=False),
        ),
        (
            "underflow",
            "Right, but very small probabilities become 0: subtract each row's largest logarithm before `exp`.",
            partial(right, normalise=_underflowing),
        ),
        *((key, hint, partial(_calibrated, prior=wrong)) for key, hint, wrong in further),
    ]
    example = np.log([[0.2, 0.8], [0.4, 0.6]]) if name == GEOMETRIC_NAME else 0.5
    value = right(np.log([[0.3, 0.6], [0.1, 0.4]]), example)["probabilities"]
    texts = {**texts, "argument": argument, "value": str(value.round(4).tolist())}
    return Variant(
        name,
        {f"calibrate.{key}": text for key, text in texts.items()},
        _two_arguments(right, argument),
        tuple(Mistake(key, hint, _two_arguments(wrong, argument)) for key, hint, wrong in mistakes),
    )


CALIBRATE = Task(
    name="a4.calibrate",
    title="Take the taste for one label out",
    marks=4,
    cases=_calibration_cases,
    variants=(
        _calibration_variant(
            GEOMETRIC_NAME,
            _geometric,
            {
                "rule": "the prior of a label is the **geometric mean** of its probabilities behind $m$ inputs without "
                "content. `content_free`, of shape $[m, C]$, holds their natural log-probabilities. Divide each item's "
                "probabilities by the prior",
                "example": "np.log([[0.2, 0.8], [0.4, 0.6]])",
                "code": "log_prior = over_labels(content_free).mean(axis=0)",
            },
            (
                (
                    "arithmetic",
                    "This is the ordinary mean of the content-free probabilities. The geometric one is asked for.",
                    _arithmetic,
                ),
                (
                    "first input only",
                    "Only the first content-free input is used. Take them all.",
                    lambda values, content_free, normalise: normalise(content_free)[0],
                ),
            ),
        ),
        _calibration_variant(
            ITEMS_NAME,
            _of_items,
            {
                "rule": "the prior of a label is the mean of its probabilities **over the items themselves**, each "
                "item's first made to sum to 1 over the labels. Divide each item's probabilities by the prior to the "
                "power `strength`, a number from 0 to 1",
                "example": "0.5",
                "code": "log_prior = strength * np.log(np.exp(log_p).mean(axis=0))",
            },
            (
                (
                    "full strength",
                    "`strength` has no effect: the prior goes to this power.",
                    lambda values, strength, normalise: _of_items(values, 1.0, normalise),
                ),
                (
                    "geometric",
                    "The prior is the mean of the logarithms. Take the mean of the probabilities.",
                    lambda values, strength, normalise: strength * normalise(values).mean(axis=0),
                ),
                (
                    "before they sum to 1",
                    "An item whose labels are all likely weighs more in this mean. Make each sum to 1 first.",
                    lambda values, strength, normalise: strength * np.log(np.exp(values).mean(axis=0)),
                ),
            ),
        ),
        _calibration_variant(
            QUANTILE_NAME,
            _at_quantile,
            {
                "rule": "there are two labels, and a share `share` of the items is known to be of label 1. Move the "
                "log-odds of label 1 (its log-probability less that of label 0) by one number for all items, so that "
                "their $1 - $ `share` quantile (`np.quantile` with its default) becomes 0. With 0.5 it is the median",
                "example": "0.5",
                "code": "log_prior = np.array([0, np.quantile(log_p[:, 1] - log_p[:, 0], 1 - share)])",
            },
            (
                (
                    "other side",
                    "This share of the items gets label 0. It is that of label 1.",
                    lambda values, share, normalise: _at_quantile(values, 1 - share, normalise),
                ),
                (
                    "median",
                    "This is the median, whatever the share is.",
                    lambda values, share, normalise: _at_quantile(values, 0.5, normalise),
                ),
                (
                    "mean",
                    "The log-odds are moved by their mean. Take the quantile.",
                    lambda values, share, normalise: np.array([0, np.mean(values[:, 1] - values[:, 0])]),
                ),
            ),
        ),
    ),
    hint="Stay with logarithms: make each row sum to 1, subtract the prior's logarithm, make it sum to 1 again.",
)


# --- a4.score_labels: find the bug. The given functions are shown as they stand.


def _score_right(logits, prompt_length, label_ids):  # type: ignore[no-untyped-def]
    shifted = logits - logits.max(axis=2, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    scores = []
    for row, ids in zip(log_p, label_ids, strict=True):
        ids = ids[ids != -1]
        places = prompt_length - 1 + np.arange(len(ids))
        scores.append(row[places, ids].sum())
    return {"scores": np.array(scores), "answer": int(np.argmax(scores))}


def _score_one_late(logits, prompt_length, label_ids):  # type: ignore[no-untyped-def]
    shifted = logits - logits.max(axis=2, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    scores = []
    for row, ids in zip(log_p, label_ids, strict=True):
        ids = ids[ids != -1]
        places = prompt_length + np.arange(len(ids))
        scores.append(row[places, ids].sum())
    return {"scores": np.array(scores), "answer": int(np.argmax(scores))}


def _score_padding(logits, prompt_length, label_ids):  # type: ignore[no-untyped-def]
    shifted = logits - logits.max(axis=2, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    scores = []
    for row, ids in zip(log_p, label_ids, strict=True):
        places = prompt_length - 1 + np.arange(len(ids))
        scores.append(row[places, ids].sum())
    return {"scores": np.array(scores), "answer": int(np.argmax(scores))}


def _score_first_token(logits, prompt_length, label_ids):  # type: ignore[no-untyped-def]
    shifted = logits - logits.max(axis=2, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    scores = []
    for row, ids in zip(log_p, label_ids, strict=True):
        ids = ids[ids != -1]
        scores.append(row[prompt_length - 1, ids[0]])
    return {"scores": np.array(scores), "answer": int(np.argmax(scores))}


def _score_other_axis(logits, prompt_length, label_ids):  # type: ignore[no-untyped-def]
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    scores = []
    for row, ids in zip(log_p, label_ids, strict=True):
        ids = ids[ids != -1]
        places = prompt_length - 1 + np.arange(len(ids))
        scores.append(row[places, ids].sum())
    return {"scores": np.array(scores), "answer": int(np.argmax(scores))}


def _score_raw(logits, prompt_length, label_ids):  # type: ignore[no-untyped-def]
    """Add up logits."""
    places = [prompt_length - 1 + np.arange((ids != -1).sum()) for ids in label_ids]
    scores = [row[at, ids[ids != -1]].sum() for row, at, ids in zip(logits, places, label_ids, strict=True)]
    return {"scores": np.array(scores), "answer": int(np.argmax(scores))}


def _score_mean(logits, prompt_length, label_ids):  # type: ignore[no-untyped-def]
    """Divide by the number of tokens."""
    scores = _score_right(logits, prompt_length, label_ids)["scores"] / (label_ids != -1).sum(axis=1)
    return {"scores": scores, "answer": int(np.argmax(scores))}


def _scoring_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    # (tokens of the prompt, tokens of each label, words of the vocabulary)
    sizes = [(2, (1, 2), 4), (5, (3, 1, 2), 7), (3, (2, 2), 5), (6, (1, 3), 9), (1, (2, 3, 3), 6)]
    cases = [_scoring_case(rng, *size) for size in sizes]
    # One label; logits in the thousands, of either sign and at some places alone; the best label first, and last.
    cases.append(_scoring_case(rng, 2, (2,), 5))
    for shift in (1000.0, -1000.0):
        cases.append(_scoring_case(rng, 3, (2, 1), 5))
        cases[-1].arguments["logits"][:] += shift
    cases.append(_scoring_case(rng, 3, (1, 2), 5))
    cases[-1].arguments["logits"][:, ::2] += 1000.0
    return [
        *cases,
        _with_best(_scoring_case(rng, 2, (2, 1, 2), 6), 0),
        _with_best(_scoring_case(rng, 2, (1, 1, 2), 6), -1),
    ]


def _with_best(case: Case, best: int) -> Case:
    """Make one label's last token all but certain, and the others' all but impossible."""
    logits, label_ids = case.arguments["logits"], case.arguments["label_ids"]
    for label, ids in enumerate(label_ids):
        last = int((ids != -1).sum()) - 1
        certain = label == best % len(label_ids)
        logits[label, case.arguments["prompt_length"] - 1 + last, ids[last]] += 50.0 if certain else -50.0
    return case


def _scoring_case(
    rng: np.random.Generator, prompt_length: int, lengths: Sequence[int], num_words: int
) -> Case:
    longest = max(lengths)
    label_ids = rng.integers(0, num_words - 1, (len(lengths), longest))
    # As where every label begins with the same token for a space.
    label_ids[:, 0] = label_ids[0, 0]
    label_ids[np.arange(longest) >= np.array(lengths)[:, None]] = -1
    prompt = rng.normal(0, 2, (1, prompt_length, num_words))
    behind = rng.normal(0, 2, (len(lengths), longest, num_words))
    logits = np.concatenate([np.repeat(prompt, len(lengths), axis=0), behind], axis=1)
    return Case({"logits": np.round(logits, 2), "prompt_length": prompt_length, "label_ids": label_ids})


def _scoring_bug(name: str, function: Callable, hint: str, symptom: str) -> Variant:
    others = {
        "one late": (
            _score_one_late,
            "What is the model's guess for a token read off: that token, or the one before?",
        ),
        "padding": (_score_padding, "A label's padding is no token; as an index, -1 is the last word."),
        "first token": (_score_first_token, "The first token alone is scored. A label is all of its tokens."),
        "other axis": (_score_other_axis, "The probabilities of all words at one place sum to 1."),
        "raw": (_score_raw, "These are sums of logits, which are no log-probabilities."),
        "mean": (_score_mean, "These are means over a label's tokens. Its log-probability is their sum."),
    }
    mistakes = [
        Mistake(key, (AS_GIVEN + hint) if wrong is function else text, wrong)
        for key, (wrong, text) in others.items()
    ]
    texts = {"bug": shown_source(function, "score_labels_with_bug"), "symptom": symptom}
    return Variant(
        name, {f"score_labels.{key}": text for key, text in texts.items()}, _score_right, tuple(mistakes)
    )


SCORE_LABELS = Task(
    name="a4.score_labels",
    title="Find the bug in a scorer of labels with several tokens",
    marks=4,
    cases=_scoring_cases,
    variants=(
        _scoring_bug(
            "the bug is in the places",
            _score_one_late,
            "Take a prompt of one token and a label of one token. Which row of logits is the guess for the label?",
            "a label that the model finds certain gets a low score",
        ),
        _scoring_bug(
            "the bug is in the padding",
            _score_padding,
            "Follow the tokens of the shortest label, and look at what its last index points to.",
            "a label's score changes when a longer label is added beside it",
        ),
        _scoring_bug(
            "the bug is in the tokens",
            _score_first_token,
            "Which tokens does a score depend on? Try two labels that begin alike.",
            "where all labels begin with the same token, the answer is always 0",
        ),
        _scoring_bug(
            "the bug is in the probabilities",
            _score_other_axis,
            "Sum up the probabilities of all words at one place.",
            "a score depends on logits at places of the prompt that have nothing to do with the label",
        ),
    ),
    hint="Write a prompt of two tokens and a label of two below each other, and draw which row guesses which token.",
)


# --- a4.plan_measurement: the open experiment

# What the parts are worth.
PLANNING_MARKS = {"within the budget": 1, "standard error": 2, "standard error as reported": 1}
LEAST_ITEMS = 10
# Sets of the earlier run, and items a set: enough to tell how far sets differ, also where they hardly do.
EARLIER_SETS, EARLIER_ITEMS = 100, 100
# What drawing and checking a set costs where every item reads its whole prompt, in tokens.
SET_TOKENS = 40_000
CACHED_NAME = "the prefix is read once a set"
WHOLE_NAME = "whole prompts, and a fixed cost of each set"
# How much wider than the best plan's the true standard error may be.
WORST_WIDTH = 1.06
# The same for a plan that does not look at the earlier run: it is wider than this in one case of each pair.
LEAST_WIDTH_OF_ONE_PLAN = 1.075
# The same for a plan that splits the earlier run's variance: nobody is to lose marks by an earlier run that misleads.
MOST_WIDTH_OF_A_SPLIT = 1.02
# How far the reported standard error may be from what the earlier run says.
REPORT_TOLERANCE = 0.1


def _set_cost(variant: str, num_items: Any, prefix_tokens: int, item_tokens: int) -> Any:
    if variant == CACHED_NAME:
        return prefix_tokens + num_items * item_tokens
    return SET_TOKENS + num_items * (prefix_tokens + item_tokens)


# (tokens of the prefix, of an item)
PROMPTS = {
    CACHED_NAME: ((800, 40), (2400, 40), (5000, 60)),
    WHOLE_NAME: ((360, 40), (760, 40), (1900, 60)),
}


def _planning_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    pairs = [_planning_pair(rng, variant, *sizes) for sizes in PROMPTS[variant]]
    cases = [case for pair in pairs for case in pair]
    return [cases[number] for number in rng.permutation(len(cases))]


def _planning_pair(
    rng: np.random.Generator, variant: str, prefix_tokens: int, item_tokens: int
) -> list[Case]:
    """Draw two cases that differ in how far sets differ, and in nothing else that a call is told.

    Drawn again until no plan is good in both: what to do is to be seen in the earlier run alone.
    """
    while True:
        budget = int(rng.integers(40, 80)) * int(_set_cost(variant, 30, prefix_tokens, item_tokens))
        given = {"prefix_tokens": prefix_tokens, "item_tokens": item_tokens, "budget": budget}
        pair = [_planning_case(rng, variant, given, spread) for spread in _spreads(rng)]
        items, sets = _plans(pair[0])
        widths = np.max([_width(case, sets, items) for case in pair], axis=0)
        if widths.min() > LEAST_WIDTH_OF_ONE_PLAN:
            return pair


def _spreads(rng: np.random.Generator) -> tuple[float, float]:
    return rng.uniform(0.04, 0.05), rng.uniform(0.24, 0.3)


def _planning_case(rng: np.random.Generator, variant: str, given: Mapping[str, int], spread: float) -> Case:
    """Draw an earlier run, again until what it says of the variances ends in a good plan."""
    mean = rng.uniform(0.4, 0.6)
    precision = mean * (1 - mean) / spread**2 - 1
    hidden = {"between": spread**2, "within": mean * (1 - mean) - spread**2, "variant": variant}
    while True:
        shares = rng.beta(mean * precision, (1 - mean) * precision, EARLIER_SETS)
        agrees = (rng.random((EARLIER_SETS, EARLIER_ITEMS)) < shares[:, None]).astype(int)
        case = Case({"agrees": agrees, **given}, hidden)
        items, sets = _plans(case)
        best = np.argmin(_variance(*_variances(agrees), sets, items))
        if _width(case, sets[best], items[best]) <= MOST_WIDTH_OF_A_SPLIT:
            return case


def _planning_properties(cases: Sequence[Case], answers: Sequence[Any]) -> list[Measured]:
    unusable = first_problem(map(_plan_problem, answers))
    if unusable:
        return [Measured(name, marks, False, unusable) for name, marks in PLANNING_MARKS.items()]
    plans = [_plan_of(answer) for answer in answers]
    allowed = all(_is_allowed(case, *plan) for case, plan in zip(cases, plans, strict=True))
    widest = max(float(_width(case, *plan)) for case, plan in zip(cases, plans, strict=True))
    problem = first_problem(map(_report_problem, cases, answers))
    found = {
        "within the budget": (
            allowed,
            "every plan is, and uses most of it."
            if allowed
            else "a plan costs more than the budget or less than half of it, or has too few sets or items.",
        ),
        "standard error": (
            allowed and widest <= WORST_WIDTH,
            f"at worst {min(widest, 999):.2f} times that of the best plan; {WORST_WIDTH} is allowed, within the "
            "budget.",
        ),
        "standard error as reported": (
            not problem,
            problem or "it is what the earlier run says of such a plan.",
        ),
    }
    return [Measured(name, marks, *found[name]) for name, marks in PLANNING_MARKS.items()]


def _plan_problem(answer: Any) -> str:
    """Look at the plan, on which all marks rest."""
    if not isinstance(answer, Mapping):
        return "the function returns no dictionary."
    for key in ("num_sets", "num_items"):
        if key not in answer:
            return f'the key "{key}" is missing.'
        number = as_whole_number(answer[key])
        if number is None or not 0 < number < 10**9:
            return f'"{key}" is no whole number above 0.'
    return ""


def _plan_of(answer: Mapping[str, Any]) -> tuple[int, int]:
    return int(answer["num_sets"]), int(answer["num_items"])


def _is_allowed(case: Case, num_sets: int, num_items: int) -> bool:
    given = case.arguments
    set_cost = _set_cost(case.hidden["variant"], num_items, given["prefix_tokens"], given["item_tokens"])
    used = num_sets * set_cost / given["budget"]
    return num_sets >= 2 and num_items >= LEAST_ITEMS and 0.5 <= used <= 1


def _width(case: Case, num_sets: Any, num_items: Any) -> Any:
    """Give the true standard error of a plan, or of several, divided by that of the best plan."""
    between, within = case.hidden["between"], case.hidden["within"]
    items, sets = _plans(case)
    best = np.min(_variance(between, within, sets, items))
    return np.sqrt(_variance(between, within, num_sets, num_items) / best)


def _plans(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Give every number of items with as many sets as the budget has room for."""
    given, items = case.arguments, np.arange(LEAST_ITEMS, 2000)
    sets = given["budget"] // _set_cost(
        case.hidden["variant"], items, given["prefix_tokens"], given["item_tokens"]
    )
    return items[sets >= 2], sets[sets >= 2]


def _report_problem(case: Case, answer: Mapping[str, Any]) -> str:
    if "standard_error" not in answer:
        return 'the key "standard_error" is missing.'
    reported = as_numbers(answer["standard_error"])
    if reported.shape != () or answer["standard_error"] is None:
        return '"standard_error" is no number.'
    variances = _variances(case.arguments["agrees"])
    own = np.sqrt(_variance(*variances, *_plan_of(answer)))
    if abs(reported - own) <= REPORT_TOLERANCE * own:
        return ""
    return "the earlier run says otherwise of such a plan: how far sets differ, and items within a set."


def _variances(agrees: np.ndarray) -> tuple[float, float]:
    """Give what a run says of the variances between sets and within a set."""
    means, count = agrees.mean(axis=1), agrees.shape[1]
    within = float(np.mean(means * (1 - means)) * count / (count - 1))
    return max(float(means.var(ddof=1)) - within / count, 0.0), within


def _variance(between: float, within: float, num_sets: Any, num_items: Any) -> Any:
    return (between + within / num_items) / num_sets


PLAN_MEASUREMENT = Task(
    name="a4.plan_measurement",
    title="Open experiment: how many sets, and how many items",
    marks=4,
    cases=_planning_cases,
    variants=(
        Variant(
            CACHED_NAME,
            {
                "plan_measurement.cost": "The prefix with the demonstrations is **read once a set**, then its items: a "
                "plan of $S$ sets of $n$ items costs $S\\,(p + n\\,q)$ tokens",
                "plan_measurement.code": "prefix_tokens + n * item_tokens",
            },
        ),
        Variant(
            WHOLE_NAME,
            {
                "plan_measurement.cost": "**Every item reads its whole prompt**, and to draw and check a set costs as "
                "much as 40,000 tokens: a plan of $S$ sets of $n$ items costs $S\\,(40000 + n\\,(p + q))$ tokens",
                "plan_measurement.code": "40_000 + n * (prefix_tokens + item_tokens)",
            },
        ),
    ),
    hint="How far do the sets' means differ, and how much of that is chance within a set? Then try every number of "
    "items with as many sets as the budget has room for.",
    measure=_planning_properties,
)

ASSIGNMENT = Assignment(
    name="a4",
    title="In-context learning",
    tasks=(CHOOSE_DEMONSTRATIONS, BIAS_OVER_SETS, CALIBRATE, SCORE_LABELS, PLAN_MEASUREMENT),
    blocked=(
        "course_lib.icl.calibration.contextual_scores",
        "course_lib.icl.calibration.median_scores",
        "course_lib.icl.underspecified.underspecified_split",
        "course_lib.icl.underspecified.disambiguating_demonstrations",
        "course_lib.statistics.mean_interval",
        "course_lib.statistics.hierarchical_bootstrap",
    ),
)
