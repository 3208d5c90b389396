"""Right calls of `course_lib.models`."""

from __future__ import annotations

from typing import Any

import torch

from course_lib import models
from course_lib.models import fingerprint
from tests.reliability import _parts as parts
from tests.reliability import _wrong_values as wrong
from tests.reliability.fuzz import Call

SOURCE = wrong.either(
    wrong.path,
    wrong.named("empty", ""),
    wrong.named("a zero byte", "a\0b"),
    wrong.named("longer than a name may be", "a" * 5000),
    wrong.named("the home of nobody", "~nobody of this name/model"),
    wrong.named("no folder", "./no such folder"),
    without=(),
)
DEVICE, DTYPE = wrong.optional(wrong.name), wrong.name
PROMPT = wrong.either(wrong.filled_text, wrong.named("longer than the context", "word " * 9000), without=())


def calls() -> list[Call]:
    """Return the calls."""
    return [*_loading_calls(), *_weight_calls(), *_text_calls()]


def _loading_calls() -> list[Call]:
    cpu = {"model_source": "embedded", "device": "cpu"}
    return [
        Call(models.choose_device, lambda: {"device": "cpu"}, {"device": DEVICE}),
        Call(models.floating_dtype, lambda: {"dtype": "float32"}, {"dtype": DTYPE}),
        Call(models.load_encoder, lambda: dict(cpu), {"model_source": SOURCE, "device": DEVICE}),
        Call(
            models.load_classifier,
            lambda: {**cpu, "num_labels": 2, "seed": 0},
            {"model_source": SOURCE, "num_labels": wrong.count(), "seed": wrong.seed, "device": DEVICE},
        ),
        Call(
            models.load_language_model,
            lambda: {**cpu, "dtype": "float32"},
            {"model_source": SOURCE, "dtype": DTYPE, "device": DEVICE},
            slow=True,
        ),
        Call(
            models.kept_language_model,
            lambda: {**cpu, "dtype": "float32"},
            {"model_source": SOURCE, "dtype": DTYPE, "device": DEVICE},
            slow=True,
        ),
    ]


def _weights(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"one": torch.full((2, 3), value), "two": torch.full((4,), value)}


def _other_weights(right: dict[str, torch.Tensor]) -> wrong.Wrong:
    yield "a name that is missing", {"one": right["one"]}
    yield "a name too many", {**right, "three": torch.ones(1)}
    yield "a shape that would broadcast", {**right, "two": torch.ones(1)}
    yield "transposed", {**right, "one": right["one"].T}
    yield "so large that their length is infinite", {**right, "one": torch.full((2, 3), 3e38)}


def _weight_calls() -> list[Call]:
    weights = wrong.either(wrong.mapping_of(wrong.tensor(shape_matters=True)), _other_weights, without=())
    return [
        Call(
            models.relative_distance,
            lambda: {"before": _weights(), "after": _weights(2.0)},
            {
                "before": wrong.either(weights, wrong.named("zeros", _weights(0.0)), without=()),
                "after": weights,
            },
        ),
        Call(
            models.encoder_weights,
            lambda: {"classifier": parts.classifier(), "copy": False},
            {"classifier": wrong.thing, "copy": wrong.flag},
        ),
        Call(
            models.count_parameters,
            lambda: {"model": parts.classifier().model, "trainable_only": False},
            {"model": wrong.thing, "trainable_only": wrong.flag},
        ),
        Call(
            fingerprint.model_fingerprint,
            lambda: {"model": parts.language_model().model, "name": None},
            {"model": wrong.thing, "name": wrong.optional(wrong.text)},
        ),
        Call(fingerprint.weights_hash, lambda: {"model": torch.nn.Linear(2, 2)}, {"model": wrong.thing}),
    ]


def _text_calls() -> list[Call]:
    loaded = lambda: {"loaded": parts.language_model(), "prompt": "It is"}
    kinds: dict[str, Any] = {"loaded": wrong.thing, "prompt": PROMPT}
    return [
        Call(
            models.embed,
            lambda: {"encoder": parts.classifier(), "texts": ["one", "two"], "batch_size": 2},
            {"encoder": wrong.thing, "texts": wrong.texts(), "batch_size": wrong.count()},
        ),
        Call(
            models.complete,
            lambda: {**loaded(), "max_new_tokens": 2},
            {**kinds, "max_new_tokens": wrong.count(most=8192)},
        ),
        Call(
            models.next_token_probabilities,
            lambda: {**loaded(), "num_tokens": 2},
            {**kinds, "num_tokens": wrong.count(most=49_152)},
        ),
    ]
