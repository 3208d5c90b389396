"""Right calls of `course_lib.smart`."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch

from course_lib.smart import divergence, loss, proximal, smoothness
from course_lib.smart import embeddings as words
from course_lib.smart import trainer as training
from course_lib.smart import weight as weighing
from course_lib.smart.experiments import ablation, leash, robustness, search, toy
from tests.reliability import _parts as parts
from tests.reliability import _wrong_values as wrong
from tests.reliability.fuzz import Call

COUNT, POSITIVE, NOT_NEGATIVE = wrong.count(), wrong.number(above=0), wrong.number(least=0)
TENSOR = wrong.tensor(shape_matters=True)
LABELS = wrong.tensor(shape_matters=True, floating=False, kind=wrong.labels(2))
TEXTS = wrong.dataset("text", "label", text_columns=("text",))
REGULARIZER = smoothness.SmoothnessRegularizer(epsilon=0.1)


@cache
def _network() -> torch.nn.Module:
    return toy.train_toy(*toy.two_moons(8), num_steps=1)


def _batch() -> dict[str, torch.Tensor]:
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 1])}


def calls() -> list[Call]:
    """Return the calls."""
    return [
        *_divergence_calls(),
        *_smoothness_calls(),
        *_term_calls(),
        *_leash_calls(),
        *_toy_calls(),
        *_robustness_calls(),
        *_arm_calls(),
        *_run_calls(),
        *_search_calls(),
    ]


def _divergence_calls() -> list[Call]:
    outputs = lambda: {f"{{}}_{name}": torch.tensor([[1.0, 0.5], [0.2, 0.1]]) for name in "pq"}
    named: Callable[[str], dict[str, Any]] = lambda name: {
        key.format(name): value for key, value in outputs().items()
    }
    return [
        Call(
            divergence.symmetric_kl,
            lambda: {**named("logits"), "reduction": "none"},
            {"logits_p": TENSOR, "logits_q": TENSOR, "reduction": wrong.name},
        ),
        Call(
            divergence.squared_difference,
            lambda: {**named("outputs"), "reduction": "sum"},
            {"outputs_p": TENSOR, "outputs_q": TENSOR, "reduction": wrong.name},
        ),
        Call(divergence.find_divergence, lambda: {"name": "symmetric_kl"}, {"name": wrong.name}),
        Call(
            divergence.divergence_for,
            lambda: {"config": SimpleNamespace(num_labels=2), "labels": torch.tensor([0, 1])},
            {"config": wrong.thing, "labels": wrong.optional(wrong.function)},
        ),
    ]


def _smoothness_calls() -> list[Call]:
    delta = lambda: torch.tensor([[[0.1, 0.3]], [[0.2, 0.2]]])
    lone = wrong.either(TENSOR, without=())
    return [
        Call(
            smoothness.project,
            lambda: {"delta": delta(), "epsilon": 0.1, "norm": "2"},
            {"delta": lone, "epsilon": POSITIVE, "norm": wrong.name},
        ),
        Call(
            smoothness.normalise,
            lambda: {"gradient": delta(), "norm": "2"},
            {"gradient": lone, "norm": wrong.name},
        ),
        Call(
            smoothness.SmoothnessRegularizer,
            lambda: {
                "epsilon": 0.1,
                "step_size": 1.0,
                "noise_std": 0.1,
                "num_steps": 1,
                "norm": "inf",
                "divergence": "symmetric_kl",
            },
            {
                "epsilon": POSITIVE,
                "step_size": wrong.optional(POSITIVE),
                "noise_std": wrong.optional(POSITIVE),
                "num_steps": COUNT,
                "norm": wrong.name,
                "divergence": wrong.name,
            },
        ),
        *(
            Call(
                function,
                lambda: {
                    "forward": _network(),
                    "embeddings": delta(),
                    "clean_logits": _network()(delta()),
                    "attention_mask": torch.ones(2, 1, dtype=torch.long),
                },
                {
                    "forward": wrong.function,
                    "embeddings": TENSOR,
                    "clean_logits": TENSOR,
                    "attention_mask": wrong.optional(wrong.tensor(shape_matters=True, floating=False)),
                },
                setting=name,
            )
            for name, function in (("perturb", REGULARIZER.perturb), ("call", REGULARIZER.__call__))
        ),
    ]


def _term_calls() -> list[Call]:
    model = lambda: parts.classifier().model
    return [
        Call(proximal.beta_from_half_life, lambda: {"num_updates": 69}, {"num_updates": POSITIVE}),
        Call(
            proximal.BregmanProximalPoint,
            lambda: {
                "model": _network(),
                "proximal_weight": 1.0,
                "beta": 0.99,
                "late_beta": 0.999,
                "late_beta_start": 0.1,
                "num_steps": 5,
                "half_life": 2.0,
                "momentum": True,
                "inner_steps": 1,
                "divergence": "symmetric_kl",
            },
            {
                "model": wrong.thing,
                "proximal_weight": POSITIVE,
                "beta": wrong.open_share,
                "late_beta": wrong.open_share,
                "late_beta_start": wrong.share,
                "num_steps": wrong.optional(COUNT),
                "half_life": wrong.optional(POSITIVE),
                "momentum": wrong.flag,
                "inner_steps": COUNT,
                "divergence": wrong.name,
            },
        ),
        Call(
            proximal.BregmanProximalPoint(model(), num_steps=2).penalty,
            lambda: {"inputs": _batch(), "logits": torch.zeros(2, 2)},
            {"inputs": wrong.thing, "logits": TENSOR},
        ),
        Call(
            proximal.BregmanProximalPoint(_network(), num_steps=2).load_state_dict,
            lambda: {"state": proximal.BregmanProximalPoint(_network(), num_steps=2).state_dict()},
            {"state": wrong.mapping_of(wrong.thing)},
        ),
        Call(
            loss.SmartLoss,
            lambda: {
                "model": model(),
                "regularizer": REGULARIZER,
                "smoothness_weight": 1.0,
                "proximal": proximal.BregmanProximalPoint(model(), num_steps=2),
            },
            {
                "model": wrong.thing,
                "regularizer": wrong.optional(wrong.thing),
                "smoothness_weight": NOT_NEGATIVE,
                "proximal": wrong.optional(wrong.thing),
            },
        ),
        Call(
            weighing.smoothness_shares,
            lambda: {
                "model": model(),
                "batch": _batch(),
                "epsilons": [0.1],
                "smoothness_weight": 1.0,
                "regularizer": REGULARIZER,
            },
            {
                "model": wrong.thing,
                "batch": wrong.thing,
                "epsilons": wrong.list_of(POSITIVE),
                "smoothness_weight": POSITIVE,
                "regularizer": wrong.optional(wrong.thing),
            },
        ),
        Call(
            words.word_embeddings,
            lambda: {"model": model(), "input_ids": _batch()["input_ids"]},
            {"model": wrong.thing, "input_ids": wrong.thing},
        ),
        Call(
            words.forward_from_embeddings,
            lambda: {"model": model(), "inputs": _batch()},
            {"model": wrong.thing, "inputs": wrong.thing},
        ),
        Call(
            training.SmartTrainingArguments,
            lambda: {
                "output_dir": "/nowhere",
                "smoothness_weight": 1.0,
                "epsilon": 0.1,
                "step_size": 1.0,
                "noise_std": 0.1,
                "num_ascent_steps": 1,
                "perturbation_norm": "inf",
                "proximal_weight": 1.0,
                "beta": 0.99,
                "late_beta": 0.999,
                "late_beta_start": 0.1,
                "half_life": 3.0,
                "momentum": True,
                "inner_steps": 1,
            },
            {
                "smoothness_weight": NOT_NEGATIVE,
                "epsilon": POSITIVE,
                "step_size": wrong.optional(POSITIVE),
                "noise_std": wrong.optional(POSITIVE),
                "num_ascent_steps": COUNT,
                "perturbation_norm": wrong.name,
                "proximal_weight": NOT_NEGATIVE,
                "beta": wrong.open_share,
                "late_beta": wrong.open_share,
                "late_beta_start": wrong.share,
                "half_life": wrong.optional(POSITIVE),
                "momentum": wrong.flag,
                "inner_steps": COUNT,
            },
        ),
    ]


def _leash_calls() -> list[Call]:
    curvatures = wrong.numbers(shaped=True, kind=wrong.either(wrong.number(above=0), without=("bool",)))
    bowl, kinds = (
        {"curvatures": [1.0, 4.0], "start": [1.0, 2.0], "num_steps": 3},
        {"curvatures": curvatures, "start": wrong.numbers(shaped=True), "num_steps": COUNT},
    )
    return [
        Call(
            leash.proximal_point,
            lambda: {**bowl, "proximal_weight": 1.0},
            {**kinds, "proximal_weight": POSITIVE},
        ),
        Call(
            leash.noisy_descent,
            lambda: {
                **bowl,
                "learning_rate": 0.1,
                "noise": 0.1,
                "proximal_weight": 1.0,
                "half_life": 3.0,
                "seed": 0,
            },
            {
                **kinds,
                "learning_rate": POSITIVE,
                "noise": NOT_NEGATIVE,
                "proximal_weight": NOT_NEGATIVE,
                "half_life": POSITIVE,
                "seed": wrong.seed,
            },
        ),
        Call(
            leash.weight_of_start,
            lambda: {
                "num_updates": 5,
                "beta": 0.9,
                "late_beta": 0.99,
                "late_beta_start": 0.1,
                "half_life": None,
            },
            {
                "num_updates": COUNT,
                "beta": wrong.open_share,
                "late_beta": wrong.open_share,
                "late_beta_start": wrong.share,
            },
        ),
    ]


def _toy_calls() -> list[Call]:
    points = lambda: {"points": torch.tensor([[0.0, 1.0], [1.0, 0.0]]), "labels": torch.tensor([0, 1])}
    at = lambda: {"network": _network(), "point": torch.tensor([[[0.1, 0.2]]])}
    at_kinds = {"network": wrong.thing, "point": TENSOR}
    return [
        Call(
            toy.two_moons,
            lambda: {"num_points": 4, "noise": 0.1, "seed": 0},
            {"num_points": wrong.count(least=2), "noise": NOT_NEGATIVE, "seed": wrong.seed},
        ),
        Call(
            toy.train_toy,
            lambda: {
                **points(),
                "regularizer": REGULARIZER,
                "smoothness_weight": 1.0,
                "num_steps": 1,
                "seed": 0,
            },
            {
                "points": TENSOR,
                "labels": LABELS,
                "regularizer": wrong.optional(wrong.thing),
                "smoothness_weight": NOT_NEGATIVE,
                "num_steps": COUNT,
                "seed": wrong.seed,
            },
        ),
        Call(
            toy.score,
            lambda: {"network": _network(), **points()},
            {"network": wrong.thing, "points": TENSOR, "labels": LABELS},
        ),
        Call(
            toy.change_at, lambda: {**at(), "delta": torch.tensor([0.1, 0.1])}, {**at_kinds, "delta": TENSOR}
        ),
        Call(
            toy.change_around,
            lambda: {**at(), "offsets": torch.tensor([0.1, 0.2])},
            {**at_kinds, "offsets": TENSOR},
        ),
        Call(
            toy.ascent_path,
            lambda: {**at(), "epsilon": 0.1, "step_size": 1.0, "noise_std": 0.1, "seed": 0},
            {
                **at_kinds,
                "epsilon": POSITIVE,
                "step_size": POSITIVE,
                "noise_std": POSITIVE,
                "seed": wrong.seed,
            },
        ),
    ]


def _robustness_calls() -> list[Call]:
    rest, rest_kinds = (
        lambda: {"texts": parts.texts(), "noise": 0.1, "seed": 0},
        {"texts": TEXTS, "noise": NOT_NEGATIVE, "seed": wrong.seed},
    )
    typed = lambda: {"text": "a truly fine film", "rng": random.Random(0)}
    of_name = wrong.mapping_of(wrong.thing)
    return [
        Call(
            robustness.swap_letters,
            lambda: {**typed(), "share": 0.5},
            {"text": wrong.text, "rng": wrong.thing, "share": wrong.share},
        ),
        Call(robustness.drop_punctuation, typed, {"text": wrong.text}),
        Call(robustness.change_case, typed, {"text": wrong.text}),
        Call(
            robustness.change_texts,
            lambda: {"texts": parts.texts(), "change": "typos", "seed": 0},
            {
                "texts": wrong.dataset("text", text_columns=("text",)),
                "change": wrong.name,
                "seed": wrong.seed,
            },
        ),
        *(
            Call(
                function,
                lambda: {"classifier": parts.classifier(), **rest()},
                {"classifier": wrong.thing, **rest_kinds},
            )
            for function in (robustness.flip_rates, robustness.noise_flip_rate)
        ),
        Call(
            robustness.measure_smoothness,
            lambda: {
                "classifier": parts.classifier(),
                "texts": parts.texts(),
                "regularizer": REGULARIZER,
                "seed": 0,
            },
            {"classifier": wrong.thing, "texts": TEXTS, "regularizer": wrong.thing, "seed": wrong.seed},
        ),
        Call(
            robustness.robustness_table,
            lambda: {"classifiers": {"plain": parts.classifier()}, **rest()},
            {"classifiers": of_name, **rest_kinds},
        ),
        Call(
            robustness.smoothness_over_radius,
            lambda: {
                "classifiers": {"plain": parts.classifier()},
                "texts": parts.texts(),
                "radii": [0.1],
                "seed": 0,
            },
            {
                "classifiers": of_name,
                "texts": TEXTS,
                "radii": wrong.list_of(POSITIVE),
                "seed": wrong.seed,
            },
        ),
        Call(robustness.in_ball, lambda: {"epsilon": 0.1}, {"epsilon": POSITIVE}),
    ]


ARM: dict[str, Any] = ablation.Arm().stored()
ARM_KINDS: dict[str, wrong.Kind] = {
    "learning_rate": POSITIVE,
    "smoothness_weight": NOT_NEGATIVE,
    "epsilon": POSITIVE,
    "proximal_weight": NOT_NEGATIVE,
    "half_life": wrong.optional(POSITIVE),
    "label_smoothing": wrong.number(least=0, below=1),
    "early_stopping": wrong.flag,
}
ARMS = {"plain": ablation.Arm(), "R_s": ablation.Arm(smoothness_weight=1.0)}


def _arm_calls() -> list[Call]:
    return [
        Call(ablation.Arm, lambda: {**asdict(ablation.Arm()), "half_life": 0.5}, ARM_KINDS),
        Call(
            ablation.ablation_arms,
            lambda: {"chosen": dict.fromkeys(("plain", "R_s", "D_Breg", "label smoothing"), ablation.Arm())},
            {"chosen": wrong.mapping_of(wrong.thing)},
        ),
        Call(
            ablation.train_arm,
            lambda: {
                "arm": ablation.Arm(),
                "classifier": parts.classifier(),
                "train": parts.texts(),
                "development": parts.texts(),
                "num_steps": 2,
                "seed": 0,
                "watched": parts.texts(),
                "progress": False,
            },
            {
                "arm": wrong.thing,
                "classifier": wrong.thing,
                "train": TEXTS,
                "development": TEXTS,
                "num_steps": wrong.either(COUNT, wrong.named("one", 1)),
                "seed": wrong.seed,
                "watched": wrong.optional(TEXTS),
                "progress": wrong.flag,
            },
        ),
        Call(
            ablation.paired_differences,
            lambda: {"rows": _ablation_rows(), "metric": "accuracy", "baseline": "plain"},
            {
                "rows": wrong.frame("texts", "train_size", "seed", "arm", "accuracy"),
                "metric": wrong.name,
                "baseline": wrong.name,
            },
        ),
        Call(
            lambda **given: list(ablation.ablation_tasks(**given)),
            lambda: {"arms": {"movie": ARMS}, "train_sizes": [4], "seeds": [0]},
            {
                "arms": wrong.mapping_of(wrong.mapping_of(wrong.thing)),
                "train_sizes": wrong.list_of(COUNT),
                "seeds": wrong.list_of(wrong.seed),
            },
            setting="ablation_tasks",
        ),
    ]


def _ablation_rows() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"texts": "movie", "train_size": 4, "seed": seed, "arm": arm, "accuracy": 0.5 + 0.1 * seed}
            for seed in (0, 1)
            for arm in ("plain", "R_s")
        ]
    )


def _run_calls() -> list[Call]:
    sizes = {"num_steps": {"4": 2}, "num_development": 4, "num_test": 4, "num_changed": 2}
    size_kinds: dict[str, wrong.Kind] = {
        "num_steps": wrong.either(wrong.mapping_of(COUNT), wrong.named("of another size", {"5": 2})),
        **dict.fromkeys(("num_development", "num_test"), COUNT),
        "num_changed": wrong.count(most=4),
    }
    of_arm = wrong.either(wrong.mapping_of(wrong.thing), wrong.named("an unknown field", {**ARM, "rate": 1}))
    return [
        Call(
            ablation.ablation_run,
            lambda: {
                "texts": "movie",
                "train_size": 4,
                "seed": 0,
                "arm_name": "plain",
                "arm": ARM,
                **sizes,
                "progress": False,
            },
            {
                "texts": wrong.name,
                "train_size": COUNT,
                "seed": wrong.seed,
                "arm_name": wrong.text,
                "arm": of_arm,
                **size_kinds,
                "progress": wrong.flag,
            },
            slow=True,
        ),
        Call(
            ablation.ablation_sweep,
            lambda: {
                "arms": {"plain": ablation.Arm()},
                "texts": ["movie"],
                "train_sizes": [4],
                "seeds": [0],
                **sizes,
            },
            {
                "arms": wrong.mapping_of(wrong.thing),
                "texts": wrong.list_of(wrong.name),
                "train_sizes": wrong.either(
                    wrong.list_of(COUNT), wrong.named("more than there are", [4, 10**6])
                ),
                "seeds": wrong.list_of(wrong.seed),
                **size_kinds,
            },
            slow=True,
        ),
        Call(
            search.search_run,
            lambda: {
                "texts": "movie",
                "seed": 0,
                "arm": ARM,
                "train_size": 4,
                "num_steps": 1,
                "num_development": 4,
            },
            {
                "texts": wrong.name,
                "seed": wrong.seed,
                "arm": of_arm,
                **dict.fromkeys(("train_size", "num_steps", "num_development"), COUNT),
            },
            slow=True,
        ),
    ]


def _search_rows() -> pd.DataFrame:
    row = {**ARM, "texts": "movie", "family": "plain", "loss": 0.5, "num_development": 10}
    return pd.DataFrame([{**row, "seed": seed, "accuracy": 0.5} for seed in (0, 1)])


def _search_calls() -> list[Call]:
    columns = ("texts", "seed", "family", "accuracy", "loss", "num_development")
    names = ablation.STORED_FIELDS
    return [
        Call(search.part_candidates, lambda: {"learning_rate": 1e-4}, {"learning_rate": POSITIVE}),
        Call(search.choose, lambda: {"rows": _search_rows()}, {"rows": wrong.frame(*columns, *names)}),
        Call(search.choose_by_texts, lambda: {"record": 3}, {"record": wrong.thing}, refused=True),
        Call(search.arm_of, lambda: {"row": ARM}, {"row": wrong.mapping_of(wrong.flag)}),
        Call(
            search.search_tasks,
            lambda: {"texts": ["movie"], "arms": [ablation.Arm()], "seeds": [0]},
            {
                "texts": wrong.texts(),
                "arms": wrong.list_of(wrong.thing),
                "seeds": wrong.list_of(wrong.seed),
            },
        ),
    ]
