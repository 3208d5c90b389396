"""Right calls of `course_lib.icl`, on hand-made texts and rows."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset

from course_lib.icl import (
    bias,
    calibration,
    drawing,
    features,
    hypotheses,
    invariance,
    prompting,
    underspecified,
)
from course_lib.icl.experiments import conditions, effects, pairs, tables
from course_lib.icl.experiments import context_size as accuracy
from course_lib.icl.interventions import all_interventions, find_intervention
from course_lib.runs import load_published
from tests.reliability import _wrong_values as wrong
from tests.reliability.fuzz import Call

SENTIMENT, SHORT = hypotheses.find_hypothesis("sentiment"), hypotheses.find_hypothesis("sentiment.short")
PAIR = {"h1": "sentiment", "h2": "sentiment.short"}
TWO_LABELS = wrong.texts(least=2, empty_ok=False)
EVEN = wrong.count(least=2)
# a row may hold nothing where a feature does not apply
TEXTS = wrong.either(wrong.dataset("text", text_columns=("text",)), without=("null in text",))
LABELLED = wrong.either(wrong.dataset("text", "label", text_columns=("text",)), without=("null in text",))
NUMBERS = wrong.numbers(shaped=True)
NO_KIND = wrong.optional(wrong.name)
WEIGHT = wrong.number()


@cache
def texts() -> Dataset:
    """Return good and bad texts, short and long ones, eight of each kind."""
    rows = [
        {"text": f"{'good' if label else 'bad'} {number}" + " word" * (25 * long), "label": label}
        for number in range(8)
        for label in (0, 1)
        for long in (0, 1)
    ]
    return Dataset.from_list(rows)


@cache
def split() -> underspecified.UnderspecifiedSplit:
    """Return a set of four demonstrations with its test set."""
    return underspecified.underspecified_split(texts(), SENTIMENT, SHORT, 4, 6, 1, num_held_back=2)[0]


def rows(**more: Any) -> list[dict[str, Any]]:
    """Return rows of two sets, as `bias_run` gives them."""
    row = {**PAIR, "calibration": "median", "n": 10, "share_of_1": 0.5, "num_ties": 0, "model": "one"}
    return [{**row, **more, "set": number, "num_h1": 4 + number} for number in (0, 1)]


def steered_rows() -> list[dict[str, Any]]:
    """Return rows without an intervention, and with one in both directions."""
    return [
        row
        for kind, direction in ((None, None), ("instruction", "h1"), ("instruction", "h2"))
        for row in rows(intervention=kind, direction=direction)
    ]


def feature_rows() -> list[dict[str, Any]]:
    """Return rows of two sets, as `feature_run` gives them."""
    row = {
        "model": "one",
        "feature": "sentiment",
        "calibration": "median",
        "n": 10,
        "share_of_1": 0.5,
        "num_ties": 0,
    }
    return [{**row, "set": number, "num_right": 8 + number} for number in (0, 1)]


def calls() -> list[Call]:
    """Return the calls."""
    return [
        *_hypothesis_calls(),
        *_intervention_calls(),
        *_calibration_calls(),
        *_split_calls(),
        *_table_calls(),
        *_effect_calls(),
        *_condition_calls(),
        *_invariance_calls(),
        Call(
            pairs.own_share,
            lambda: {"count": 5, "process_index": 0, "num_processes": 3},
            {
                "count": wrong.count(least=0),
                "process_index": wrong.count(least=0, most=2),
                "num_processes": wrong.count(),
            },
        ),
    ]


def _hypothesis_calls() -> list[Call]:
    two = {"one": wrong.name, "zero": wrong.name, "name": wrong.text}
    return [
        Call(features.words_of, lambda: {"text": "It isn't."}, {"text": wrong.text}),
        Call(features.content_words, lambda: {"text": "the king"}, {"text": wrong.text}),
        Call(
            hypotheses.domain_hypothesis,
            lambda: {"one": "movie", "zero": "product", "name": "mine"},
            two,
        ),
        Call(
            hypotheses.genre_hypothesis,
            lambda: {"one": "fiction", "zero": "government", "name": "mine"},
            two,
        ),
        Call(hypotheses.find_hypothesis, lambda: {"hypothesis": "sentiment"}, {"hypothesis": wrong.name}),
        Call(
            hypotheses.column_hypothesis,
            lambda: {"column": "is_question", "task": "sentiment"},
            {"column": wrong.text, "task": wrong.text},
        ),
        Call(hypotheses.competitors, lambda: {"h1": "sentiment"}, {"h1": wrong.name}),
        Call(
            drawing.label_texts,
            lambda: {"texts": texts(), "hypothesis": SHORT},
            {"texts": TEXTS, "hypothesis": wrong.thing},
        ),
    ]


def _intervention_calls() -> list[Call]:
    labels = {"labels": TWO_LABELS}
    two = {"h1": wrong.thing, "h2": wrong.thing, **labels}
    return [
        Call(
            find_intervention,
            lambda: {
                "kind": "instruction",
                "direction": "h1",
                "h1": SENTIMENT,
                "h2": SHORT,
                "labels": ("0", "1"),
            },
            {"kind": wrong.name, "direction": wrong.name, **two},
        ),
        Call(
            all_interventions,
            lambda: {"h1": SENTIMENT, "h2": SHORT, "labels": ("0", "1")},
            two,
        ),
    ]


def _calibration_calls() -> list[Call]:
    probabilities = np.log([[0.3, 0.7], [0.6, 0.4]])
    shown = wrong.numbers(num_dims=2, least_size=0)
    some = wrong.numbers(num_dims=2)
    return [
        Call(
            calibration.decide,
            lambda: {"log_probabilities": probabilities, "calibration": "none"},
            {"log_probabilities": shown, "calibration": wrong.name},
        ),
        Call(
            calibration.decide,
            lambda: {
                "log_probabilities": probabilities,
                "calibration": "contextual",
                "content_free": probabilities,
            },
            {"log_probabilities": shown, "content_free": some},
            setting="contextual",
        ),
        Call(
            calibration.contextual_scores,
            lambda: {"log_probabilities": probabilities, "content_free": probabilities},
            {"log_probabilities": shown, "content_free": some},
        ),
        Call(
            calibration.median_scores,
            lambda: {"log_probabilities": probabilities},
            {"log_probabilities": some},
        ),
        Call(
            calibration.content_free_rows,
            lambda: {"template": prompting.InstanceTemplate(), "inputs": ["N/A", ""]},
            {"template": wrong.thing, "inputs": wrong.texts()},
        ),
        Call(
            bias.h_accuracy,
            lambda: {"predictions": [0, 1, 1], "hypothesis_labels": [0, 0, 1]},
            {"predictions": wrong.labels(2), "hypothesis_labels": wrong.labels(2)},
        ),
    ]


def _split_calls() -> list[Call]:
    drawn = lambda: {"num_demonstrations": 4, "test_size": 6, "num_sets": 1, "seed": 0}
    sizes = {"num_demonstrations": EVEN, "test_size": EVEN, "num_sets": wrong.count(), "seed": wrong.seed}
    two = {"texts": LABELLED, "h1": wrong.thing, "h2": wrong.thing}
    return [
        Call(underspecified.cell_counts, lambda: {"texts": texts(), "h1": SENTIMENT, "h2": SHORT}, two),
        Call(
            underspecified.underspecified_split,
            lambda: {"texts": texts(), "h1": SENTIMENT, "h2": SHORT, **drawn(), "num_held_back": 2},
            {**two, **sizes, "num_held_back": wrong.count(least=0)},
        ),
        Call(
            underspecified.disambiguating_demonstrations,
            lambda: {"split": split(), "direction": "h1", "seed": 0},
            {"split": wrong.thing, "direction": wrong.name, "seed": wrong.seed},
        ),
        Call(underspecified.alternate, lambda: {"split": split()}, {"split": wrong.thing}),
    ]


def _table_calls() -> list[Call]:
    counted = wrong.number_columns("num_h1", kind=wrong.count(least=0, most=10))
    one_model = {"rows": wrong.number_columns("n", kind=wrong.count()), "calibration": wrong.name}
    return [
        Call(
            tables.checked_rows,
            lambda: {"rows": rows(), "columns": ["h1"]},
            {
                "rows": wrong.either(
                    wrong.rows("calibration", "set", "n", "h1"), wrong.number_columns("n", kind=wrong.count())
                ),
                "columns": wrong.texts(least=0),
            },
        ),
        Call(tables.table_of, lambda: {"rows": rows(), "calibration": "median"}, one_model),
        Call(tables.table_of_one_model, lambda: {"rows": rows(), "calibration": "median"}, one_model),
        Call(
            tables.bias_table,
            lambda: {"rows": rows()},
            {"rows": wrong.either(counted, wrong.number_columns("share_of_1", kind=wrong.share))},
        ),
        Call(
            tables.feature_table,
            lambda: {"rows": feature_rows()},
            {"rows": wrong.number_columns("num_right", kind=wrong.count(least=0, most=10))},
        ),
        Call(
            tables.compare_models,
            lambda: {
                "rows": [*rows(), *rows(model="two")],
                "first": "one",
                "second": "two",
                "calibration": "median",
            },
            {"rows": counted, "first": wrong.name, "second": wrong.name, "calibration": wrong.name},
        ),
        Call(
            accuracy.context_table,
            lambda: {
                "rows": [
                    {"num_demonstrations": 4, "calibration": "none", "accuracy": 0.5, "share_of_1": 0.5},
                    {"num_demonstrations": 4, "calibration": "none", "accuracy": 0.6, "share_of_1": 0.4},
                ]
            },
            {
                "rows": wrong.either(
                    wrong.rows("num_demonstrations", "calibration"),
                    wrong.number_columns("accuracy", "share_of_1", kind=wrong.share),
                )
            },
        ),
    ]


def _effect_calls() -> list[Call]:
    counted = wrong.number_columns("num_h1", kind=wrong.count(least=0, most=10))
    steered = {"rows": wrong.either(counted, wrong.rows("h1", "h2")), "calibration": wrong.name}
    published = lambda: load_published("icl_interventions")
    columns = wrong.frame("model", "task", "feature", "baseline")
    return [
        Call(
            effects.intended_change,
            lambda: {"h1_before": 0.5, "h1_after": 0.75, "direction": "h1"},
            {"h1_before": wrong.share, "h1_after": wrong.share, "direction": wrong.name},
        ),
        Call(
            effects.intervention_effects,
            lambda: {"rows": steered_rows(), "calibration": "median"},
            steered,
        ),
        Call(effects.steering, lambda: {"rows": steered_rows(), "calibration": "median"}, steered),
        Call(
            effects.published_effects,
            lambda: {"published": published(), "model": "davinci"},
            {
                "published": wrong.either(columns, wrong.frame("steer", "instruction")),
                "model": wrong.name,
            },
        ),
        Call(
            effects.published_baselines,
            lambda: {"published": published(), "h2": ["sentiment.short"]},
            {"published": columns, "h2": wrong.list_of(wrong.name)},
        ),
    ]


def _condition_rows() -> list[dict[str, Any]]:
    return [{"condition": "16 demonstrations", **row} for row in (*rows(), *feature_rows())]


def _condition_calls() -> list[Call]:
    table = lambda: pd.DataFrame({"condition": ["a", "b"], "unsteadiness": [0.5, 0.25]})
    return [
        Call(conditions.find_condition, lambda: {"name": "16 demonstrations"}, {"name": wrong.name}),
        Call(conditions.condition_tasks, lambda: {"num_sets": 2}, {"num_sets": wrong.count()}),
        Call(
            conditions.split_rows,
            lambda: {"rows": _condition_rows(), "condition": "16 demonstrations"},
            {"rows": wrong.rows("condition"), "condition": NO_KIND},
        ),
        Call(
            conditions.condition_table,
            lambda: {"rows": _condition_rows(), "calibration": "median"},
            {
                "rows": wrong.either(wrong.rows("condition"), wrong.number_columns("n", kind=wrong.count())),
                "calibration": wrong.name,
            },
        ),
        Call(
            conditions.choose_condition,
            lambda: {"table": table()},
            {"table": wrong.frame("condition", "unsteadiness")},
        ),
    ]


def _invariance_calls() -> list[Call]:
    values = wrong.numbers()
    return [
        Call(
            invariance.equivariance_error,
            lambda: {
                "layer": np.tanh,
                "change": np.negative,
                "values": np.array([1.0, 2.0]),
                "change_output": None,
            },
            {
                "layer": wrong.function,
                "change": wrong.function,
                "values": values,
                "change_output": wrong.optional(wrong.function),
            },
        ),
        Call(
            invariance.dense,
            lambda: {"values": np.array([1.0, 2.0]), "weights": np.eye(2)},
            {"values": NUMBERS, "weights": wrong.numbers(num_dims=2)},
        ),
        Call(
            invariance.convolution,
            lambda: {"values": np.array([1.0, 2.0]), "kernel": np.array([0.5, 0.5])},
            {"values": values, "kernel": values},
        ),
        Call(
            invariance.recurrence,
            lambda: {"values": np.array([1.0, 2.0]), "state_weight": 0.5, "input_weight": 0.5},
            {"values": values, "state_weight": WEIGHT, "input_weight": WEIGHT},
        ),
        Call(
            invariance.graph_layer,
            lambda: {"nodes": np.array([1.0, 2.0]), "adjacency": np.eye(2), "own": 0.5, "neighbours": 0.5},
            {
                "nodes": NUMBERS,
                "adjacency": wrong.numbers(num_dims=2, shaped=True),
                "own": WEIGHT,
                "neighbours": WEIGHT,
            },
        ),
        Call(
            invariance.invariance_table,
            lambda: {"num_places": 4, "seed": 0},
            {"num_places": wrong.count(least=3), "seed": wrong.seed},
        ),
    ]
