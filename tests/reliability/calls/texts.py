"""Right calls of `course_lib.texts` and `course_lib.prompts.verbalizers`."""

from __future__ import annotations

from typing import Any

import pandas as pd
from datasets import Dataset

from course_lib import texts
from course_lib.prompts import verbalizers
from tests.reliability import _parts as parts
from tests.reliability import _wrong_values as wrong
from tests.reliability.fuzz import Call

WORDS = [" bad", " good"]
TWO_WORDS = wrong.either(wrong.texts(least=2, empty_ok=False), wrong.repeated)
SOME_TEXTS = wrong.texts(least=0)
NUMBER = wrong.count()


def calls() -> list[Call]:
    """Return the calls."""
    return [*_text_calls(), *_verbalizer_calls()]


def _scored() -> Dataset:
    return Dataset.from_dict({"text": ["a", "b", "c"], "score": [2.0, -2.0, 0.1]})


def _tables() -> dict[str, pd.DataFrame]:
    return {"one": pd.DataFrame({"text": ["a word", "two"], "document_id": ["0", "1"]})}


def _no_score(right: Dataset) -> wrong.Wrong:
    for what, scores in (
        ("null", [1.0, None, 2.0]),
        ("NaN", [1.0, float("nan"), 2.0]),
        ("infinity", [1.0, float("inf"), 2.0]),
        ("a text", ["1", "2", "x"]),
    ):
        yield f"{what} among the scores", Dataset.from_dict({"text": ["a", "b", "c"], "score": scores})


def _no_label(right: Dataset) -> wrong.Wrong:
    yield "null among the labels", Dataset.from_dict({"text": list("abcd"), "label": [0, 1, None, 1]})


def _text_calls() -> list[Call]:
    dataset = wrong.either(wrong.dataset("label"), _no_label)
    return [
        Call(
            texts.load_texts,
            lambda: {"name": "movie", "split": "test", "source": None},
            {
                "name": wrong.name,
                "split": wrong.optional(wrong.name),
                "source": wrong.optional(wrong.either(wrong.text, wrong.named("a source", "folder"))),
            },
        ),
        Call(
            texts.load_texts,
            lambda: {"name": "yelp", "source": "./no such folder"},
            {"source": wrong.either(wrong.text, wrong.named("a zero byte", "a\0b"))},
            setting="hub",
            refused=True,
        ),
        Call(
            texts.with_binary_labels,
            lambda: {"texts": _scored(), "margin": 0.5},
            {
                "texts": wrong.either(wrong.dataset("score"), _no_score),
                "margin": wrong.either(wrong.number(least=0), wrong.named("too far", 100.0)),
            },
        ),
        Call(
            texts.sample_texts,
            lambda: {"texts": parts.texts(), "num_examples": 2, "seed": 0, "label": "label"},
            {
                "texts": dataset,
                "num_examples": wrong.count(most=4),
                "seed": wrong.seed,
                "label": wrong.optional(wrong.name),
            },
        ),
        Call(
            texts.labelled_splits,
            lambda: {"name": "movie", "num_heldout": 4, "heldout": "test", "seed": 0},
            {
                "name": wrong.name,
                "num_heldout": NUMBER,
                "heldout": wrong.either(wrong.name, wrong.named("train", "train"), without=()),
                "seed": wrong.seed,
            },
        ),
        Call(texts.normalise, lambda: {"text": "Fine!"}, {"text": wrong.text}),
        Call(
            texts.assign_groups,
            lambda: {"tables": _tables(), "text_columns": ["text"]},
            {
                "tables": wrong.mapping_of(wrong.either(wrong.frame("text", "document_id"))),
                "text_columns": wrong.either(wrong.texts(), wrong.named("an unknown one", ["words"])),
            },
        ),
    ]


def _tokenizer() -> Any:
    return parts.language_model().tokenizer


def _label_ids(right: verbalizers.LabelIds) -> wrong.Wrong:
    yield from wrong.thing(right)
    yield "no context", verbalizers.LabelIds([], [[1], [2]])
    yield "no labels", verbalizers.LabelIds([1], [])
    yield "a label without a token", verbalizers.LabelIds([1], [[1], []])


def _verbalizer_calls() -> list[Call]:
    verbalizer = verbalizers.Verbalizer(["bad", "good"])
    beginnings = wrong.named("one begins with the other", [" good", " good enough"])
    odd_spaces = wrong.either(
        wrong.named("white space of one", [" bad", "good"]), wrong.named("white space alone", [" bad", " "])
    )
    return [
        Call(
            verbalizers.Verbalizer,
            lambda: {"label_words": ["bad", "good"], "separator": " "},
            {
                "label_words": wrong.either(TWO_WORDS, wrong.named("white space", ["bad ", "good"])),
                "separator": wrong.text,
            },
        ),
        Call(
            verbalizer.token_ids,
            lambda: {"tokenizer": _tokenizer(), "prompt": "It is"},
            {"tokenizer": wrong.thing, "prompt": wrong.text},
        ),
        Call(
            verbalizers.find_label_ids,
            lambda: {"tokenizer": _tokenizer(), "prompts": ["It is"], "continuations": WORDS},
            {
                "tokenizer": wrong.thing,
                "prompts": SOME_TEXTS,
                "continuations": wrong.either(TWO_WORDS, beginnings, odd_spaces),
            },
        ),
        Call(
            verbalizers.text_ids,
            lambda: {"tokenizer": _tokenizer(), "texts": ["It is"]},
            {"tokenizer": wrong.thing, "texts": SOME_TEXTS},
        ),
        Call(
            verbalizers.check_continuations,
            lambda: {"continuations": WORDS},
            {"continuations": wrong.either(TWO_WORDS, odd_spaces)},
        ),
        Call(
            verbalizers.lay_out_rows,
            lambda: {"examples": [verbalizers.LabelIds([7, 8], [[1], [2]])]},
            {"examples": wrong.list_of(_label_ids, least=0)},
        ),
    ]
