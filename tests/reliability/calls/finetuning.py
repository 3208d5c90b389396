"""Right calls of `course_lib.finetuning`."""

from __future__ import annotations

from typing import Any

import numpy as np

from course_lib import finetuning
from tests.reliability import _parts as parts
from tests.reliability import _wrong_values as wrong
from tests.reliability.fuzz import Call

TEXTS = wrong.dataset("text", "label", text_columns=("text",))


def calls() -> list[Call]:
    """Return the calls."""
    return [*_plain_calls(), *_model_calls()]


def _plain_calls() -> list[Call]:
    positive, count = wrong.number(above=0), wrong.count()
    return [
        Call(
            finetuning.FinetuningSettings,
            lambda: {
                "learning_rate": 1e-4,
                "num_epochs": 1,
                "num_steps": 2,
                "batch_size": 2,
                "max_length": 8,
                "weight_decay": 0.0,
                "warmup_share": 0.1,
                "max_grad_norm": 1.0,
                "seed": 0,
            },
            {
                "learning_rate": positive,
                "num_epochs": count,
                "num_steps": wrong.optional(count),
                "batch_size": count,
                "max_length": count,
                "weight_decay": wrong.number(least=0),
                "warmup_share": wrong.share,
                "max_grad_norm": positive,
                "seed": wrong.seed,
            },
        ),
        Call(
            finetuning.Evaluation,
            lambda: {"logits": np.array([[2.0, 1.0], [0.0, 3.0]]), "labels": np.array([0, 1])},
            {"logits": wrong.scores, "labels": wrong.labels(2)},
        ),
        Call(
            finetuning.length_bucketed_batches,
            lambda: {"lengths": [5, 30, 6, 31], "batch_size": 2, "seed": 0},
            {
                "lengths": wrong.list_of(wrong.count(least=0), least=0),
                "batch_size": count,
                "seed": wrong.optional(wrong.seed),
            },
        ),
        Call(
            finetuning.text_columns,
            lambda: {"texts": parts.texts()},
            {"texts": wrong.either(wrong.dataset("text"), without=("no rows",))},
        ),
    ]


def _examples() -> list[dict[str, Any]]:
    return finetuning.encode(parts.classifier(), parts.texts())


def _model_calls() -> list[Call]:
    both = lambda: {"classifier": parts.classifier(), "texts": parts.texts()}
    kinds = {"classifier": wrong.thing, "texts": TEXTS}
    return [
        Call(
            finetuning.evaluate,
            lambda: {**both(), "batch_size": 2, "max_length": 16},
            {**kinds, "batch_size": wrong.count(), "max_length": wrong.count()},
        ),
        Call(
            finetuning.encode,
            lambda: {**both(), "max_length": 16},
            {**kinds, "max_length": wrong.count()},
        ),
        Call(
            finetuning.collate,
            lambda: {"classifier": parts.classifier(), "examples": _examples()},
            {"classifier": wrong.thing, "examples": wrong.rows("input_ids", "labels")},
        ),
        Call(
            finetuning.refuse_padding_that_counts,
            lambda: {"classifier": parts.classifier(), "examples": _examples(), "batch_size": 2},
            {
                "classifier": wrong.thing,
                "examples": wrong.rows("input_ids", "labels"),
                "batch_size": wrong.count(),
            },
        ),
        Call(
            finetuning.finetune,
            lambda: {
                **both(),
                "settings": finetuning.FinetuningSettings(num_steps=1, batch_size=2),
                "extra_loss": None,
                "before_pass": None,
                "after_step": None,
                "progress": False,
            },
            {
                **kinds,
                "settings": wrong.optional(wrong.thing),
                "extra_loss": wrong.optional(wrong.function),
                "before_pass": wrong.optional(wrong.function),
                "after_step": wrong.optional(wrong.function),
                "progress": wrong.flag,
            },
        ),
    ]
