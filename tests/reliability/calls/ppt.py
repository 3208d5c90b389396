"""Right calls of `course_lib.ppt`, on a tiny language model."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch

from course_lib.models import ModelAndTokenizer
from course_lib.ppt import label_scoring, optimisation, patterns, soft_prompt
from course_lib.ppt import training as pretraining
from course_lib.ppt.fewshot import pilot, tables
from course_lib.ppt.pretraining import documents, examples, labeller, probing, tasks
from course_lib.prompts.verbalizers import LabelIds, Verbalizer
from tests.ppt.tiny import VERBALIZERS, tiny_examples, tiny_language_model
from tests.reliability import _wrong_values as wrong
from tests.reliability.fuzz import Call

TWO = Verbalizer(["bad", "good"])
KIND = wrong.name
SETTINGS = optimisation.PromptTrainingSettings(num_steps=1, batch_size=2, evaluate_every=1)


@cache
def model() -> ModelAndTokenizer:
    """Return the tiny language model."""
    return tiny_language_model()


def prompt() -> soft_prompt.SoftPrompt:
    """Return a prompt for it."""
    return soft_prompt.initialise("random", model(), 3)


def calls() -> list[Call]:
    """Return the calls."""
    return [
        *_pattern_calls(),
        *_corpus_calls(),
        *_prompt_calls(),
        *_scoring_calls(),
        *_training_calls(),
        *_table_calls(),
    ]


def _pattern_calls() -> list[Call]:
    kind, options = {"kind": KIND}, wrong.count(least=2, most=16)
    return [
        Call(
            patterns.pair_pattern,
            lambda: {"kind": "hard", "first": "a", "second": "b"},
            {
                **kind,
                "first": wrong.either(wrong.name, without=("longer", f"odd text {'가' * 50!a}")),
                "second": wrong.filled_text,
            },
        ),
        Call(patterns.nli_pattern, lambda: {"kind": "hard"}, kind),
        Call(patterns.sentiment_pattern, lambda: {"kind": "soft"}, kind),
        Call(
            patterns.choice_pattern,
            lambda: {"num_options": 4, "kind": "hard"},
            {**kind, "num_options": options},
        ),
        Call(
            patterns.unified_pattern,
            lambda: {"max_options": 4, "kind": "hard"},
            {**kind, "max_options": options},
        ),
        Call(
            patterns.single_pattern,
            lambda: {"kind": "hard", "words": ["bad", "good"]},
            {**kind, "words": wrong.texts(least=2, empty_ok=False)},
        ),
        Call(
            tasks.find_pattern,
            lambda: {"task": "pair", "kind": "hard"},
            {"task": wrong.name, "kind": KIND},
        ),
        Call(patterns.lettered, lambda: {"options": ["one", "two"]}, {"options": wrong.texts(least=0)}),
        Call(patterns.labelled, lambda: {"options": ["one", "two"]}, {"options": wrong.texts(least=0)}),
        Call(
            patterns.Pattern,
            lambda: {"name": "own", "template": "{soft}{text} It was", "verbalizer": TWO},
            {"template": wrong.filled_text},
        ),
        Call(
            patterns.Pattern("own", "{text} It was", TWO).text,
            lambda: {"row": {"text": "Fine."}},
            {"row": wrong.mapping_of(wrong.filled_text)},
        ),
        Call(
            patterns.as_multiple_choice,
            lambda: {
                "row": {"text": "Fine.", "label": 1},
                "question": "{text} How was it?",
                "label_names": ["It was bad.", "It was good."],
            },
            {
                "row": wrong.mapping_of(wrong.optional(wrong.count(least=0, most=1))),
                "question": wrong.filled_text,
                "label_names": wrong.texts(least=2, empty_ok=False),
            },
        ),
        Call(
            Verbalizer,
            lambda: {"label_words": ["bad", "good"], "separator": " "},
            {"label_words": wrong.texts(least=2, empty_ok=False), "separator": wrong.text},
        ),
    ]


def _documents(num_documents: int = 9) -> list[dict[str, Any]]:
    return [
        {"document_id": number, "position": place, "text": f"Sentence {place} of document {number}."}
        for number in range(num_documents)
        for place in range(6)
    ]


def _corpus_calls() -> list[Call]:
    built = lambda: {"documents": _documents(), "num_examples": 3, "seed": 0}
    kinds = {
        "documents": wrong.rows("document_id", "position", "text"),
        "num_examples": wrong.count(),
        "seed": wrong.seed,
        "excluded": wrong.texts(least=0),
        "split": wrong.optional(wrong.function),
        "elsewhere_by": wrong.filled_text,
        "num_workers": wrong.count(),
    }
    more = {"excluded": ["none of them"], "split": None, "elsewhere_by": "", "num_workers": 1}
    kinds["elsewhere_by"] = wrong.text
    options = wrong.count(least=2, most=16)
    return [
        Call(examples.build_nsp_examples, lambda: {**built(), **more}, kinds),
        Call(
            examples.build_nss_examples,
            lambda: {**built(), **more, "num_options": 4},
            {**kinds, "num_options": options},
        ),
        Call(
            examples.build_unified_examples,
            lambda: {**built(), **more, "min_options": 2, "max_options": 4},
            {**kinds, "min_options": options, "max_options": options},
        ),
        Call(documents.split_sentences, lambda: {"text": "It rains. We are wet."}, {"text": wrong.text}),
        Call(
            examples.build_cls_examples,
            lambda: {
                "sentences": [f"Sentence {i}." for i in range(5)],
                "probabilities": np.full((5, 5), 0.01) + 0.95 * np.eye(5),
                "num_examples": 3,
                "seed": 0,
                "thresholds": [0.5] * 5,
                "excluded": [],
            },
            {
                "sentences": wrong.texts(),
                "probabilities": wrong.numbers(num_dims=2, shaped=True),
                "num_examples": wrong.count(),
                "seed": wrong.seed,
                "thresholds": wrong.numbers(kind=wrong.either(wrong.share, without=("bool",)), shaped=True),
            },
        ),
        Call(
            labeller.labeller_texts,
            lambda: {"downstream": "movie", "split": "validation"},
            {"downstream": wrong.either(wrong.name, without=("list of it",)), "split": wrong.name},
            slow=True,
        ),
    ]


def _prompt_calls() -> list[Call]:
    return [
        Call(
            soft_prompt.SoftPrompt,
            lambda: {"embeddings": torch.zeros(3, 16), "initialisation": "zeros"},
            {"embeddings": wrong.tensor(shape_matters=True), "initialisation": wrong.text},
        ),
        Call(
            soft_prompt.initialise,
            lambda: {"kind": "random", "loaded": model(), "num_virtual_tokens": 3, "seed": 0},
            {
                "kind": wrong.name,
                "loaded": wrong.thing,
                "num_virtual_tokens": wrong.optional(wrong.count()),
                "seed": wrong.seed,
            },
        ),
        Call(
            soft_prompt.initialise,
            lambda: {"kind": "text", "loaded": model(), "num_virtual_tokens": 3, "words": "w5 w6"},
            {"loaded": wrong.thing, "words": wrong.filled_text},
            setting="text",
        ),
        Call(
            soft_prompt.initialise,
            lambda: {"kind": "pretrained", "loaded": model(), "prompt": prompt()},
            {
                "loaded": wrong.thing,
                "prompt": wrong.thing,
                "num_virtual_tokens": wrong.optional(wrong.count()),
            },
            setting="pretrained",
        ),
        Call(
            soft_prompt.load_soft_prompt,
            lambda: {"folder": "/nowhere", "loaded": model()},
            {"folder": wrong.path, "loaded": wrong.thing},
            refused=True,
        ),
        Call(
            lambda folder, loaded: prompt().save(folder, loaded),
            lambda: {"folder": "/proc/nowhere/prompt", "loaded": model()},
            {"folder": wrong.path, "loaded": wrong.thing},
            setting="SoftPrompt.save",
            refused=True,
        ),
    ]


def _scoring_calls() -> list[Call]:
    return [
        Call(
            label_scoring.make_label_batch,
            lambda: {"examples": [LabelIds([7, 8], [[1], [2]])], "num_labels": 2},
            {"examples": wrong.list_of(wrong.thing), "num_labels": wrong.optional(wrong.count())},
        ),
        Call(
            label_scoring.label_loss,
            lambda: {
                "scores": torch.tensor([[-1.0, -2.0], [-3.0, -1.0]]),
                "labels": torch.tensor([0, 1]),
                "reduction": "mean",
            },
            {
                "scores": wrong.tensor(shape_matters=True),
                "labels": wrong.tensor(shape_matters=True, floating=False, kind=wrong.labels(2)),
                "reduction": wrong.name,
            },
        ),
        Call(
            pretraining.evaluate_prompt,
            lambda: {
                "loaded": model(),
                "prompt": prompt(),
                "examples": tiny_examples(4),
                "verbalizer": VERBALIZERS["one token"],
                "batch_size": 2,
            },
            {
                "loaded": wrong.thing,
                "prompt": wrong.optional(wrong.thing),
                "examples": wrong.number_columns("label", kind=wrong.count(least=0, most=2)),
                "verbalizer": wrong.thing,
                "batch_size": wrong.count(),
            },
        ),
        Call(
            probing.answer_states,
            lambda: {"loaded": model(), "texts": ["w5 w6", "w7"], "layers": [0, 2], "batch_size": 2},
            {
                "loaded": wrong.thing,
                "texts": wrong.texts(),
                "layers": wrong.list_of(wrong.count(least=0, most=2)),
                "batch_size": wrong.count(),
            },
        ),
        Call(
            probing.probe_accuracies,
            lambda: {
                "states": np.random.default_rng(0).normal(size=(8, 1, 2)),
                "labels": [0, 1] * 4,
                "test_states": np.random.default_rng(1).normal(size=(2, 1, 2)),
                "test_labels": [0, 1],
            },
            {
                "states": wrong.numbers(num_dims=3, shaped=True),
                "labels": wrong.labels(None),
                "test_states": wrong.numbers(num_dims=3, shaped=True),
                "test_labels": wrong.labels(None),
            },
        ),
    ]


def _training_calls() -> list[Call]:
    run = lambda: {
        "loaded": model(),
        "prompt": prompt(),
        "examples": tiny_examples(4),
        "verbalizer": VERBALIZERS["one token"],
        "settings": SETTINGS,
        "checkpoint_folder": None,
        "after_step": None,
        "progress": False,
    }
    kinds = {
        "loaded": wrong.thing,
        "prompt": wrong.thing,
        "examples": wrong.number_columns("label", kind=wrong.count(least=0, most=2)),
        "verbalizer": wrong.thing,
        "settings": wrong.optional(wrong.thing),
        "checkpoint_folder": wrong.optional(wrong.path),
        "after_step": wrong.optional(wrong.function),
        "progress": wrong.flag,
    }
    examples = wrong.number_columns("label", kind=wrong.count(least=0, most=2))
    return [
        Call(pretraining.train_prompt, run, kinds),
        Call(
            pretraining.pretrain_prompt,
            lambda: {**run(), "heldout": tiny_examples(3, seed=5)},
            {**kinds, "heldout": examples},
        ),
        Call(
            optimisation.PromptTrainingSettings,
            lambda: {
                "learning_rate": 1e-2,
                "num_steps": 3,
                "batch_size": 2,
                "schedule": "linear",
                "warmup_share": 0.1,
                "weight_decay": 0.0,
                "max_grad_norm": 1.0,
                "evaluate_every": 1,
                "checkpoint_every": 1,
                "keep": "last",
                "dtype": "bfloat16",
                "seed": 0,
            },
            {
                "learning_rate": wrong.number(above=0),
                "num_steps": wrong.count(),
                "batch_size": wrong.count(),
                "schedule": wrong.name,
                "warmup_share": wrong.share,
                "weight_decay": wrong.number(least=0),
                "max_grad_norm": wrong.number(above=0),
                "evaluate_every": wrong.count(),
                "checkpoint_every": wrong.optional(wrong.count()),
                "keep": wrong.name,
                "dtype": wrong.optional(wrong.name),
                "seed": wrong.seed,
            },
        ),
    ]


def _runs() -> list[dict[str, Any]]:
    return [
        {
            "task": "movie",
            "method": method,
            "seed": seed,
            "learning_rate": 0.01,
            "accuracy": 0.5 + 0.1 * seed,
            "development_accuracy": 0.6,
            "development_loss": 0.5,
            "trained_parameters": 10,
            "bytes_stored": 40,
        }
        for method in ("prompt tuning", "PPT")
        for seed in (0, 1)
    ]


def _table_calls() -> list[Call]:
    searched = ("method", "learning_rate", "task", "seed", "development_accuracy")
    return [
        Call(
            tables.choose_learning_rates,
            lambda: {"rows": _runs()},
            {"rows": wrong.either(wrong.rows(*searched), wrong.number_columns("development_accuracy"))},
        ),
        Call(
            tables.few_shot_table,
            lambda: {"rows": pd.DataFrame(_runs()), "measure": "accuracy", "against": "prompt tuning"},
            {"rows": wrong.frame("task", "method", "seed", "accuracy"), "measure": wrong.name},
        ),
        Call(
            pilot.pilot_variants,
            lambda: {"num_full": 16, "full_updates": 2},
            {"num_full": wrong.count(), "full_updates": wrong.count()},
        ),
        Call(
            tables.median_accuracy,
            lambda: {"evaluation": _evaluation()},
            {"evaluation": wrong.thing},
        ),
    ]


def _evaluation() -> Any:
    from course_lib.finetuning import Evaluation

    return Evaluation(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([1, 0]))
