"""Right calls of what writes prompts, scores them and measures: with a scorer that knows its answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.icl import prompting
from course_lib.icl.experiments import conditions, context_size, embedded, measuring, pairs, pooling
from course_lib.icl.interventions import find_intervention
from course_lib.icl.scorers import endpoint, prefix_cached, reading
from course_lib.icl.scorers.naive import NaiveScorer
from course_lib.icl.underspecified import SingleFeaturePool, UnderspecifiedPool
from course_lib.prompts.verbalizers import Verbalizer, shared_length
from tests.reliability import _parts as parts
from tests.reliability import _wrong_values as wrong
from tests.reliability.calls.icl import SENTIMENT, SHORT, split, texts
from tests.reliability.calls.models import DEVICE, SOURCE
from tests.reliability.fuzz import Call

COUNT, SET_NUMBER = wrong.count(), wrong.count(least=0)
ROWS = [{"text": "Dull."}, {"text": "Great."}]
WORDS = wrong.texts(least=2, empty_ok=False)
FIELD = wrong.either(wrong.filled_text, without=("number", "empty"))
CALIBRATIONS = wrong.list_of(wrong.name)
TEMPLATE = wrong.optional(wrong.name)
PAIR: dict[str, wrong.Kind] = {
    "h1": wrong.name,
    "h2": wrong.name,
    "kind": wrong.either(wrong.name, without=()),
    "direction": wrong.either(wrong.name, without=()),
}
STEERED = {"h1": "sentiment", "h2": "sentiment.short", "kind": "instruction", "direction": "h1"}
SIZES = {"num_demonstrations": 4, "test_size": 6, "seed": 0}
SIZE_KINDS = {
    "num_demonstrations": wrong.count(least=2),
    "test_size": wrong.count(least=2),
    "seed": wrong.seed,
}


class Scorer:
    """Scores every item alike, or by what it is given."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer

    def log_probabilities(
        self, prefix: str, items: Sequence[str], continuations: Sequence[str], progress: bool = True
    ) -> Any:
        if self.answer is not None:
            return self.answer
        return np.log([[0.25, 0.75] if "good" in item else [0.75, 0.25] for item in items])


def a_scorer(right: Any) -> wrong.Wrong:
    """A scorer that gives two finite scores for every item."""
    yield from wrong.thing(right)
    for what, answer in (
        ("no scores", np.zeros((0, 2))),
        ("one row for all", np.zeros((1, 2))),
        ("one column", np.zeros((6, 1))),
        ("text", "text"),
        ("NaN", np.full((6, 2), np.nan)),
    ):
        yield f"gives {what}", Scorer(answer)


def calls() -> list[Call]:
    """Return the calls."""
    return [
        *_prompt_calls(),
        *_scorer_calls(),
        *_endpoint_calls(),
        *_measure_calls(),
        *_drawing_calls(),
        *_run_calls(),
    ]


def prompt() -> prompting.DemonstrationPrompt:
    """Return the prompt of plain texts."""
    return prompting.DemonstrationPrompt(prompting.InstanceTemplate(), Verbalizer(["0", "1"]))


def _templates(right: str) -> wrong.Wrong:
    yield from wrong.filled_text(right)
    for text in (
        "no field",
        "{}",
        "{a.b}",
        "{text",
        "{text!z}",
        "{text:d}",
        "{text:{width}}",
        "{0}",
        "{a[0]}",
    ):
        yield text, text


def _prompt_calls() -> list[Call]:
    demonstrations = lambda: {"demonstrations": ROWS, "labels": [0, 1]}
    label = wrong.list_of(wrong.count(least=0, most=1))
    tokenizer = lambda: parts.language_model().tokenizer
    return [
        Call(
            prompting.InstanceTemplate,
            lambda: {"instance": "Input: {text}", "cue": " Label:", "joint": " "},
            {
                "instance": _templates,
                "cue": wrong.either(wrong.text, wrong.named("ends in a space", "Label: "), without=()),
                "joint": wrong.text,
            },
        ),
        Call(
            prompting.InstanceTemplate().fill,
            lambda: {"row": {"text": "Fine."}, "explanation": "It is."},
            {"row": wrong.mapping_of(FIELD), "explanation": wrong.optional(wrong.text)},
        ),
        Call(
            prompting.DemonstrationPrompt,
            lambda: {
                "template": prompting.InstanceTemplate(),
                "verbalizer": Verbalizer(["0", "1"]),
                "instruction": "Judge.",
                "explanations": ["It is bad.", "It is good."],
                "separator": "\n\n",
                "zero_shot": False,
                "chat": False,
                "tokenizer": None,
            },
            {
                "template": wrong.thing,
                "verbalizer": wrong.thing,
                "instruction": wrong.optional(wrong.text),
                "explanations": wrong.optional(wrong.texts(least=2)),
                "separator": wrong.either(wrong.filled_text, wrong.named("no white space", "--"), without=()),
                "zero_shot": wrong.flag,
                "chat": wrong.flag,
                "tokenizer": wrong.optional(wrong.thing),
            },
        ),
        Call(
            prompt().prefix,
            demonstrations,
            {"demonstrations": wrong.list_of(wrong.mapping_of(FIELD), least=2), "labels": label},
        ),
        Call(prompt().item, lambda: {"row": {"text": "Fine."}}, {"row": wrong.mapping_of(FIELD)}),
        Call(
            prompting.prompt_ids,
            lambda: {"tokenizer": tokenizer(), "prefix": "It", "items": [" is", " was"], "context_length": 9},
            {
                "tokenizer": wrong.thing,
                "prefix": wrong.text,
                "items": wrong.texts(least=0),
                "context_length": wrong.optional(COUNT),
            },
        ),
        Call(
            shared_length,
            lambda: {"sequences": [[1, 2, 3], [1, 2]]},
            {"sequences": wrong.list_of(wrong.either(wrong.none, wrong.named("text", "12"), without=()))},
        ),
    ]


def _scorer_calls() -> list[Call]:
    loaded = lambda: {"model": parts.language_model().model, "tokenizer": parts.language_model().tokenizer}
    kinds: dict[str, wrong.Kind] = {"model": wrong.thing, "tokenizer": wrong.thing, "batch_size": COUNT}
    asked = lambda: {"prefix": "It", "items": [" is"], "continuations": [" bad", " good"], "progress": False}
    asked_kinds = {
        "prefix": wrong.text,
        "items": wrong.texts(least=0),
        "continuations": WORDS,
        "progress": wrong.flag,
    }
    naive = lambda **asked: NaiveScorer(**loaded()).log_probabilities(**asked)
    cached = lambda **asked: prefix_cached.PrefixCachedScorer(**loaded()).log_probabilities(**asked)
    return [
        Call(NaiveScorer, lambda: {**loaded(), "batch_size": 2}, kinds),
        Call(
            prefix_cached.PrefixCachedScorer,
            lambda: {**loaded(), "batch_size": 2, "dtype": None},
            {**kinds, "dtype": wrong.optional(wrong.name)},
        ),
        Call(naive, asked, asked_kinds, setting="NaiveScorer.log_probabilities"),
        Call(cached, asked, asked_kinds, setting="PrefixCachedScorer.log_probabilities"),
        Call(
            reading.label_rows,
            lambda: {
                "tokenizer": loaded()["tokenizer"],
                "prefix": "It",
                "items": [" is"],
                "continuations": [" a", " b"],
            },
            {
                "tokenizer": wrong.thing,
                **{name: asked_kinds[name] for name in ("prefix", "items", "continuations")},
            },
        ),
        Call(
            prefix_cached.find_scorer,
            lambda: {"model_source": "embedded", "batch_size": 2, "dtype": "float32", "device": "cpu"},
            {
                "model_source": SOURCE,
                "batch_size": COUNT,
                "dtype": wrong.optional(wrong.name),
                "device": DEVICE,
            },
            slow=True,
        ),
    ]


def _address(right: str) -> wrong.Wrong:
    yield from wrong.filled_text(right)
    for text in (
        "localhost:8000",
        "ftp://host",
        "http://",
        "http://:80",
        "http://host:port",
        "http://[",
        "\0",
    ):
        yield repr(text), text


def _key(right: str) -> wrong.Wrong:
    yield from wrong.text(right)
    yield "two lines", "a\nb"
    yield "letters that no header holds", "열쇠"


def _endpoint_calls() -> list[Call]:
    seconds = wrong.number(above=0)
    nobody = lambda **asked: endpoint.EndpointScorer("http://127.0.0.1:9", "m", retries=0).log_probabilities(
        **asked
    )
    return [
        Call(
            endpoint.EndpointScorer,
            lambda: {
                "base_url": "http://localhost:8000",
                "model": "m",
                "echo": False,
                "top_logprobs": 5,
                "space_in_prompt": False,
                "num_threads": 2,
                "timeout": 1.0,
                "retries": 1,
                "backoff": 0.5,
                "api_key": "key",
                "journal": Path("journal.jsonl"),
            },
            {
                "base_url": _address,
                "model": wrong.filled_text,
                "echo": wrong.flag,
                "top_logprobs": COUNT,
                "space_in_prompt": wrong.flag,
                "num_threads": COUNT,
                "timeout": wrong.either(seconds, wrong.named("an age", 1e10), without=()),
                "retries": SET_NUMBER,
                "backoff": wrong.number(least=0),
                "api_key": wrong.optional(_key),
                "journal": wrong.optional(wrong.path),
            },
        ),
        Call(
            nobody,
            lambda: {"prefix": "It", "items": [" is"], "continuations": [" bad", " good"], "progress": False},
            {
                "prefix": wrong.text,
                "items": wrong.texts(least=0),
                "continuations": WORDS,
                "progress": wrong.flag,
            },
            setting="EndpointScorer.log_probabilities",
            refused=True,
        ),
    ]


def _measure_calls() -> list[Call]:
    steering = lambda: find_intervention("instruction", "h1", SENTIMENT, SHORT)
    how = {"calibrations": ["none", "median"], "progress": False}
    kinds = {"scorer": a_scorer, "calibrations": CALIBRATIONS, "progress": wrong.flag}
    test = lambda: split().test
    return [
        Call(
            prompting.prompt_for,
            lambda: {
                "task": "sentiment",
                "intervention": steering(),
                "template": prompting.InstanceTemplate(),
            },
            # with a template of its own, a task may have any name
            {
                "task": wrong.filled_text,
                "intervention": wrong.optional(wrong.thing),
                "template": wrong.optional(wrong.thing),
            },
        ),
        Call(
            prompting.prompt_for,
            lambda: {"task": "sentiment"},
            {"task": wrong.name},
            setting="the task's own template",
        ),
        Call(
            measuring.measure_split,
            lambda: {
                "scorer": Scorer(),
                "split": split(),
                "task": "sentiment",
                "intervention": steering(),
                "template": None,
                **how,
            },
            {
                **kinds,
                "split": wrong.thing,
                "task": wrong.name,
                "intervention": wrong.optional(wrong.thing),
                "template": wrong.optional(wrong.thing),
            },
        ),
        Call(
            measuring.calibrated_predictions,
            lambda: {"scorer": Scorer(), "prompt": prompt(), "prefix": "It", "test": test(), **how},
            {
                **kinds,
                "prompt": wrong.thing,
                "prefix": wrong.text,
                "test": wrong.either(
                    wrong.dataset("text", text_columns=("text",)), without=("numbers in text",)
                ),
            },
        ),
    ]


def _drawing_calls() -> list[Call]:
    pool = lambda: UnderspecifiedPool(texts(), "sentiment", "sentiment.short")
    shown = {"template": "lines", "alternating": True, "progress": False}
    shown_kinds = {"template": TEMPLATE, "alternating": wrong.flag, "progress": wrong.flag}
    steered = {"kind": "instruction", "direction": "h1"}
    steered_kinds = {"pool": wrong.thing, "kind": PAIR["kind"], "direction": PAIR["direction"]}
    return [
        Call(
            measuring.steer_between,
            lambda: {"pool": pool(), **steered},
            steered_kinds,
        ),
        Call(
            measuring.draw_set,
            lambda: {"pool": pool(), "set_number": 0, **SIZES},
            {"pool": wrong.thing, "set_number": SET_NUMBER, **SIZE_KINDS},
        ),
        Call(
            measuring.measure_feature,
            lambda: {
                "scorer": Scorer(),
                "pool": SingleFeaturePool(texts(), "sentiment"),
                "set_number": 0,
                "num_demonstrations": 4,
                "test_size": 6,
                **shown,
            },
            {
                "scorer": a_scorer,
                "pool": wrong.thing,
                "set_number": SET_NUMBER,
                "num_demonstrations": SIZE_KINDS["num_demonstrations"],
                "test_size": SIZE_KINDS["test_size"],
                **shown_kinds,
            },
        ),
        Call(
            measuring.measure_set,
            lambda: {"scorer": Scorer(), "pool": pool(), "set_number": 0, **steered, **SIZES, **shown},
            {
                "scorer": a_scorer,
                "set_number": SET_NUMBER,
                **steered_kinds,
                **SIZE_KINDS,
                **shown_kinds,
            },
        ),
        Call(
            pooling.pool_texts,
            lambda: {"names": ["movie", "tweets"], "split": "test", "max_words": 20, "sources": None},
            {
                "names": wrong.either(wrong.list_of(wrong.name), wrong.repeated, without=()),
                "split": wrong.optional(wrong.name),
                "max_words": wrong.optional(COUNT),
                "sources": wrong.either(wrong.thing, without=("None", "mapping")),
            },
        ),
        Call(
            pooling.bias_texts,
            lambda: {"h1": "nli", "h2": "nli.overlap"},
            {
                "h1": wrong.name,
                "h2": wrong.optional(
                    wrong.either(wrong.name, wrong.named("of another task", "sentiment"), without=())
                ),
            },
        ),
    ]


def _run_calls() -> list[Call]:
    """Return calls that would load a model and measure: each has a last argument that is refused for its size."""
    huge = {"num_demonstrations": 10_000, "test_size": 6}
    model = {"model_source": "embedded", "batch_size": 2}
    model_kinds = {"model_source": SOURCE, "batch_size": COUNT}
    return [
        Call(
            embedded.bias_run,
            lambda: {**STEERED, "set_number": 0, **model, **huge},
            {
                **PAIR,
                "set_number": SET_NUMBER,
                **model_kinds,
                "num_demonstrations": COUNT,
                "test_size": COUNT,
            },
            refused=True,
        ),
        Call(
            embedded.feature_run,
            lambda: {
                "feature": "nli",
                "set_number": 0,
                **model,
                **huge,
                "template": None,
                "alternating": False,
            },
            {
                "feature": wrong.name,
                "set_number": SET_NUMBER,
                **model_kinds,
                "num_demonstrations": COUNT,
                "template": TEMPLATE,
                "alternating": wrong.flag,
            },
            refused=True,
        ),
        Call(
            embedded.intervention_sweep,
            lambda: {
                "h1": "sentiment",
                "h2": "nli",
                "num_sets": 1,
                "test_size": 6,
                "model_source": "embedded",
                "progress": False,
            },
            {
                "h1": wrong.name,
                "h2": wrong.name,
                "num_sets": COUNT,
                "test_size": COUNT,
                "model_source": SOURCE,
                "progress": wrong.flag,
            },
            refused=True,
        ),
        Call(
            conditions.sweep,
            lambda: {
                "measured": [("sentiment", "nli")],
                "num_sets": 1,
                "test_size": 6,
                "condition": "16 demonstrations",
                "model_source": "embedded",
                "progress": False,
            },
            {
                "measured": wrong.list_of(
                    wrong.either(
                        wrong.none,
                        wrong.named("one name", ("nli",)),
                        wrong.named("numbers", (1, 2)),
                        without=(),
                    )
                ),
                "num_sets": COUNT,
                "test_size": COUNT,
                "condition": wrong.name,
                "model_source": SOURCE,
                "progress": wrong.flag,
            },
            refused=True,
        ),
        Call(
            conditions.condition_run,
            lambda: {
                "condition": "16 demonstrations",
                "h1": "sentiment",
                "h2": "nli",
                "set_number": 0,
                "test_size": 6,
                "model_source": "embedded",
            },
            {
                "condition": wrong.name,
                "h1": wrong.name,
                "h2": wrong.optional(wrong.name),
                "set_number": SET_NUMBER,
                "test_size": COUNT,
                "model_source": SOURCE,
            },
            refused=True,
        ),
        Call(
            context_size.context_run,
            lambda: {
                "set_number": 0,
                "num_demonstrations": 1,
                "texts": "movie",
                "num_items": 4,
                "model_source": "embedded",
                "progress": False,
            },
            {
                "set_number": SET_NUMBER,
                "num_demonstrations": SET_NUMBER,
                "texts": wrong.name,
                "num_items": COUNT,
                "model_source": SOURCE,
                "progress": wrong.flag,
            },
            refused=True,
        ),
        Call(
            pairs.measure_pair,
            lambda: {
                "model_source": "embedded",
                "texts": texts(),
                **STEERED,
                "num_sets": 1,
                "batch_size": 2,
                **huge,
            },
            {
                "model_source": SOURCE,
                "texts": wrong.dataset("text", "label"),
                **PAIR,
                "num_sets": COUNT,
                "batch_size": COUNT,
                "num_demonstrations": COUNT,
                "test_size": COUNT,
            },
            refused=True,
        ),
    ]
