"""Right calls of `course_lib.plotting.icl` and `.bias`, and of what shows figures."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from course_lib.plotting import bias, display, icl, style, widgets
from tests.reliability import _wrong_values as wrong
from tests.reliability.calls.icl import rows as set_rows
from tests.reliability.calls.plotting import _axes, _drawn
from tests.reliability.fuzz import Call

CALIBRATION = wrong.name
MEANS = ("num_demonstrations", "accuracy", "share_of_1")
PAIR = {"h1": "sentiment", "h2": "sentiment.short"}
KINDS = tuple(bias.KIND_NAMES)
ENDS = ("low", "high")


def calls() -> list[Call]:
    """Return the calls."""
    mpl.use("Agg")
    mpl.rcParams["figure.max_open_warning"] = 0
    return [*_token_calls(), *_context_calls(), *_preference_calls(), *_effect_calls(), *_shown_calls()]


def _pairs(right: Any) -> wrong.Wrong:
    yield "a token alone", ["a"]
    yield "three", [("a", 0.5, 1)]
    yield "the wrong way round", [(0.5, "a")]
    for what, value in wrong.share(0.5):
        yield f"probability: {what}", [("a", value)]


def _token_calls() -> list[Call]:
    probabilities = lambda: {"probabilities": {"a prompt": [(" The", 0.5), ("\n", 0.25)]}}
    kinds = {
        "probabilities": wrong.mapping_of(
            wrong.either(wrong.list_of(wrong.none), _pairs, without=("mapping",))
        )
    }
    two, answers = wrong.labels(2), np.array([0, 1, 1])
    return [
        Call(icl.next_token_figure, probabilities, kinds),
        Call(icl.next_token_sentence, probabilities, kinds),
        Call(icl.visible, lambda: {"token": " The"}, {"token": wrong.text}),
        _drawn(
            icl.log_odds,
            {
                "values": np.array([-1.0, 0.5, 2.0]),
                "labels": np.array([0, 1, 1]),
                "thresholds": {"raw": 0.0},
                "names": ["bad", "good"],
            },
            {
                "values": wrong.numbers(shaped=True),
                "labels": two,
                "thresholds": wrong.either(wrong.mapping_of(wrong.number()), without=("empty",)),
                "names": wrong.either(
                    wrong.texts(least=2), wrong.named("three", ["a", "b", "c"]), without=()
                ),
            },
        ),
        Call(
            icl.decision_sentence,
            lambda: {"predictions": {"raw": answers, "labels": answers}, "labels": answers},
            {"predictions": wrong.mapping_of(two), "labels": two},
        ),
        _drawn(
            icl.tokens_read,
            {"prefix_tokens": 5, "item_tokens": [3, 4]},
            {"prefix_tokens": wrong.count(least=0), "item_tokens": wrong.list_of(wrong.count(least=0))},
        ),
    ]


def _context_rows() -> pd.DataFrame:
    row = {"accuracy": 0.5, "share_of_1": 0.4, "low": 0.4, "high": 0.6}
    return pd.DataFrame(
        {**row, "num_demonstrations": count, "calibration": calibration, "set": number}
        for count in (0, 16)
        for calibration in icl.CALIBRATION_NAMES
        for number in (0, 1)
    )


def _without_rows(column: str, value: Any) -> wrong.Kind:
    """A table without the rows of one value."""

    def missing(right: pd.DataFrame) -> wrong.Wrong:
        yield f"no rows of {value}", right[right[column] != value]

    return missing


def _context_calls() -> list[Call]:
    runs = wrong.either(
        wrong.frame("calibration", "set", finite=MEANS), _without_rows("calibration", "none"), without=()
    )
    means = wrong.either(
        wrong.frame("calibration", finite=MEANS), _without_rows("calibration", "median"), without=()
    )
    intervals = wrong.either(means, wrong.frame(finite=ENDS), without=())
    return [
        Call(
            icl.context_figure,
            lambda: {"reference": _context_rows(), "live": _context_rows()},
            {"reference": runs, "live": runs},
        ),
        Call(icl.context_sentence, lambda: {"table": _context_rows()}, {"table": intervals}),
        Call(
            icl.context_claims,
            lambda: {"table": _context_rows(), "num_demonstrations": 16},
            {
                "table": wrong.either(intervals, _without_rows("num_demonstrations", 16), without=()),
                "num_demonstrations": wrong.either(wrong.count(), wrong.named("not measured", 8), without=()),
            },
        ),
        Call(icl.context_headline, lambda: {"table": _context_rows()}, {"table": means}),
    ]


def _preferences() -> pd.DataFrame:
    row = {**PAIR, "calibration": "median", "model": "one", "low": 0.6, "high": 0.8}
    rows = [{**row, "h1_accuracy": 0.7}, {**row, "h2": "sentiment.domain", "h1_accuracy": 0.75}]
    return pd.DataFrame(rows).assign(has_preference=True)


def _features() -> pd.DataFrame:
    row = {"calibration": "median", "model": "one", "low": 0.6, "high": 0.8, "accuracy": 0.7}
    names = ("sentiment", "sentiment.short", "sentiment.domain")
    return pd.DataFrame({**row, "feature": name} for name in names)


def _shares(*columns: str, value: str) -> wrong.Kind:
    """A table of shares, whose intervals' ends may be NaN, and infinite of one set."""
    ends = wrong.either(
        wrong.frame(finite=ENDS),
        without=("infinite in high", *(f"{what} in {end}" for what in ("NaN", "None") for end in ENDS)),
    )
    unknown = lambda right: iter([("an unknown calibration", right.assign(calibration="no such name"))])
    return wrong.either(wrong.frame(*columns, "calibration", finite=(value,)), ends, unknown, without=())


def _preference_calls() -> list[Call]:
    pairs = _shares("h1", "h2", value="h1_accuracy")
    features = _shares("feature", value="accuracy")
    flags = wrong.either(
        wrong.frame("has_preference"),
        lambda right: iter([("no flags", right.assign(has_preference=np.nan))]),
        without=(),
    )
    search = {"condition": "a", "visibility": 0.6, "spread": 0.1, "chance_spread": 0.05}
    return [
        Call(
            bias.pair_name,
            lambda: {"h1": "sentiment", "h2": "sentiment.short"},
            {"h1": wrong.text, "h2": wrong.text},
        ),
        Call(bias.row_names, lambda: {"table": _preferences()}, {"table": wrong.frame("h1", "h2")}),
        _drawn(
            bias.intervals,
            {"table": _preferences(), "value": "h1_accuracy", "names": ["a", "b"], "xlabel": "x"},
            {
                "table": _shares(value="h1_accuracy"),
                "value": wrong.name,
                "names": wrong.texts(least=2),
                "xlabel": wrong.text,
            },
        ),
        Call(
            bias.bias_figure,
            lambda: {"pairs": _preferences(), "features": _features()},
            {"pairs": pairs, "features": wrong.optional(features)},
        ),
        Call(
            bias.bias_sentence,
            lambda: {"pairs": _preferences(), "calibration": "median"},
            {"pairs": wrong.either(pairs, flags, without=()), "calibration": CALIBRATION},
        ),
        Call(
            bias.visibility_sentence,
            lambda: {"pairs": _preferences(), "features": _features(), "calibration": "median"},
            {
                "pairs": pairs,
                "features": wrong.either(features, _without_rows("feature", "sentiment.short"), without=()),
                "calibration": CALIBRATION,
            },
        ),
        Call(
            bias.set_figure,
            lambda: {"rows": set_rows(), "num_first": 1, "calibration": "median"},
            {
                "rows": wrong.number_columns("num_h1", kind=wrong.count(least=0, most=10)),
                "num_first": wrong.count(),
                "calibration": CALIBRATION,
            },
        ),
        Call(
            bias.published_figure,
            lambda: {"pairs": _preferences(), "published": _published(), "calibration": "median"},
            {
                "pairs": pairs,
                "published": wrong.either(
                    wrong.thing,
                    wrong.named("no rows", _published().iloc[:0]),
                    wrong.named("a row that is missing", _published().iloc[:1]),
                    wrong.named("texts", _published().astype(str)),
                    wrong.named("NaN", _published() * np.nan),
                    without=(),
                ),
                "calibration": CALIBRATION,
            },
        ),
        Call(
            bias.condition_figure,
            lambda: {"table": pd.DataFrame([search, {**search, "condition": "b"}])},
            {"table": wrong.frame("condition", finite=("visibility", "spread", "chance_spread"))},
        ),
    ]


def _published() -> pd.DataFrame:
    return pd.DataFrame({"davinci": [0.4, 0.6]}, index=["sentiment.short", "sentiment.domain"])


def _effects(direction: str = "h1") -> pd.DataFrame:
    row = {**PAIR, "direction": direction, "change": 0.1, "works": True, "backfires": False}
    return pd.DataFrame({**row, "intervention": kind} for kind in KINDS)


def _both() -> pd.DataFrame:
    return pd.concat([_effects("h1"), _effects("h2")], ignore_index=True)


def _effect_calls() -> list[Call]:
    def a_kind_too_many(right: pd.DataFrame) -> wrong.Wrong:
        yield "an unknown intervention", right.assign(intervention="no such name")
        yield "one twice", pd.concat([right, right.iloc[:1]])

    verdict = wrong.either(
        wrong.frame("works", "backfires"),
        lambda right: iter([("no flags", right.assign(works=np.nan))]),
        without=(),
    )
    named = wrong.frame("intervention", finite=("change",))
    missing = _without_rows("intervention", KINDS[-1])
    table = wrong.either(named, wrong.frame("h1", "h2"), missing, a_kind_too_many, without=())
    said = wrong.either(named, verdict, without=())
    both = wrong.mapping_of(
        wrong.either(
            wrong.frame("direction", "intervention", finite=("change",)),
            missing,
            _without_rows("direction", "h2"),
            without=(),
        )
    )
    limit = wrong.number(above=0)
    return [
        Call(
            bias.effect_table,
            lambda: {"effects": _effects(), "value": "change"},
            {"effects": table, "value": wrong.name},
        ),
        _drawn(
            bias.effect_heatmap,
            {"effects": _effects(), "title": "t", "limit": 0.5},
            {"effects": table, "title": wrong.text, "limit": limit},
        ),
        Call(
            bias.effects_figure,
            lambda: {"effects": {"one": _both()}, "limit": 0.5},
            {"effects": both, "limit": limit},
        ),
        Call(
            bias.steering_figure,
            lambda: {"effects": _effects(), "limit": 0.5},
            {"effects": table, "limit": limit},
        ),
        Call(bias.steering_sentence, lambda: {"effects": _effects()}, {"effects": said}),
        Call(bias.effects_sentence, lambda: {"effects": _both()}, {"effects": said}),
        Call(bias.effect_summary, lambda: {"effects": {"one": _both()}}, {"effects": both}),
    ]


def _figure(option: Any) -> Any:
    return style.panels()[0]


def _shown_calls() -> list[Call]:
    return [
        Call(
            widgets.slider,
            lambda: {"draw": _figure, "options": [1, 2], "label": "degree", "value": 2},
            {
                "draw": wrong.function,
                "options": wrong.either(wrong.list_of(wrong.none), without=("last entry: None",)),
                "label": wrong.text,
                "value": wrong.either(wrong.name, wrong.named("none of them", 3)),
            },
        ),
        Call(
            display.show,
            lambda: {"figure": _axes().figure, "caption": "What to see.", "alt": "A line."},
            {"figure": wrong.thing, "caption": wrong.filled_text, "alt": wrong.filled_text},
        ),
    ]
