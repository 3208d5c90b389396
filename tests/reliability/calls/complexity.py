"""Right calls of `course_lib.complexity`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset

from course_lib.complexity import capacity, descent, polynomial, ratio, updating
from tests.reliability import _parts as parts
from tests.reliability import _wrong_values as wrong
from tests.reliability.fuzz import Call

POINTS = {"x": [-0.5, 0.0, 0.5], "y": [0.1, 0.2, 0.3]}
RUN = {"num_train": 4, "num_heldout": 4, "num_steps": 1, "num_pairs": 4, "progress": False}
SIZES: dict[str, Any] = {
    **dict.fromkeys(("num_train", "num_heldout", "num_steps", "num_pairs"), wrong.count()),
    "progress": wrong.flag,
}
SAMPLE = {"num_heldout": 4, "num_epochs": 1, "learning_rate": 1e-4, "texts": "movie", "progress": False}
SAMPLE_KINDS: dict[str, Any] = {
    "num_heldout": wrong.count(),
    "num_epochs": wrong.count(),
    "learning_rate": wrong.number(above=0),
    "texts": wrong.name,
    "progress": wrong.flag,
}


def calls() -> list[Call]:
    """Return the calls."""
    return [*_descent_calls(), *_polynomial_calls(), *_run_calls()]


def _descent_calls() -> list[Call]:
    return [
        Call(
            descent.gradient_descent,
            lambda: {"gradient": lambda x: x, "start": [1.0, 2.0], "learning_rate": 0.1, "num_steps": 3},
            {
                "gradient": wrong.function,
                "start": wrong.either(wrong.numbers(), without=("number", "scalar array")),
                "learning_rate": wrong.number(above=0),
                "num_steps": wrong.count(),
            },
        ),
        Call(descent.bowl, lambda: {"curvatures": [1.0, 10.0]}, {"curvatures": wrong.numbers()}),
        Call(
            descent.largest_stable_step,
            lambda: {"curvatures": [1.0, 10.0]},
            {"curvatures": wrong.numbers(kind=wrong.either(wrong.number(above=0), without=("bool",)))},
        ),
        Call(
            ratio.parameter_ratio,
            lambda: {"num_parameters": 6.0, "num_examples": 2.0},
            {"num_parameters": wrong.number(least=0), "num_examples": wrong.number(above=0)},
        ),
    ]


def _polynomial_calls() -> list[Call]:
    shaped = wrong.numbers(shaped=True)
    degree = wrong.count(least=0)
    return [
        Call(polynomial.true_curve, lambda: {"x": np.array([0.0, 0.5])}, {"x": wrong.numbers(least_size=0)}),
        Call(
            polynomial.draw_points,
            lambda: {"num_points": 4, "noise": 0.3, "seed": 0},
            {"num_points": wrong.count(), "noise": wrong.number(least=0), "seed": wrong.seed},
        ),
        Call(
            polynomial.fit_polynomial,
            lambda: {**POINTS, "degree": 2},
            {"x": shaped, "y": shaped, "degree": degree},
        ),
        Call(
            polynomial.mean_squared_error,
            lambda: {**POINTS, "polynomial": np.polynomial.Legendre([0.0, 1.0])},
            {"x": shaped, "y": shaped, "polynomial": wrong.thing},
        ),
        Call(
            polynomial.degree_sweep,
            lambda: {"degrees": [1, 2], "num_points": 5, "noise": 0.1, "seeds": [0, 1]},
            {
                "degrees": wrong.list_of(degree),
                "num_points": wrong.count(),
                "noise": wrong.number(least=0),
                "seeds": wrong.list_of(wrong.seed),
            },
        ),
    ]


def _run_calls() -> list[Call]:
    return [
        Call(
            capacity.sample_size_sweep,
            lambda: {"train_sizes": [4], "seeds": [0], **SAMPLE},
            {
                "train_sizes": wrong.either(
                    wrong.list_of(wrong.count(least=2)), wrong.named("more than there are", [4, 10**6])
                ),
                "seeds": wrong.list_of(wrong.seed),
                **SAMPLE_KINDS,
            },
            slow=True,
        ),
        Call(
            capacity.sample_size_run,
            lambda: {"train_size": 4, "seed": 0, **SAMPLE},
            {"train_size": wrong.count(least=2), "seed": wrong.seed, **SAMPLE_KINDS},
            slow=True,
        ),
        Call(
            capacity.generalization_gaps,
            lambda: {"rows": _gap_rows()},
            {"rows": wrong.frame("model", "num_examples", "seed", "parameter_ratio", "side", "accuracy")},
        ),
        Call(
            updating.caption_pairs,
            lambda: {"num_pairs": 4, "seed": 0},
            {"num_pairs": wrong.count(), "seed": wrong.seed},
        ),
        Call(
            updating.retrieval_accuracy,
            lambda: {"encoder": parts.classifier(), "pairs": _pairs()},
            {
                "encoder": wrong.thing,
                "pairs": wrong.dataset("premise", "hypothesis", text_columns=("premise", "hypothesis")),
            },
        ),
        Call(
            updating.learning_rate_sweep,
            lambda: {"learning_rates": [1e-4], "seeds": [0], **RUN},
            {
                "learning_rates": wrong.list_of(wrong.number(above=0)),
                "seeds": wrong.list_of(wrong.seed),
                **SIZES,
            },
            slow=True,
        ),
        Call(
            updating.learning_rate_run,
            lambda: {"learning_rate": 1e-4, "seed": 0, **RUN},
            {"learning_rate": wrong.number(above=0), "seed": wrong.seed, **SIZES},
            slow=True,
        ),
        Call(
            updating.split_run_rows,
            lambda: {"rows": pd.DataFrame([{"kind": "run", "a": 1}, {"kind": "step", "b": 2}])},
            {"rows": wrong.frame("kind")},
        ),
    ]


def _gap_rows() -> pd.DataFrame:
    row = {"model": "m", "num_examples": 4, "seed": 0, "parameter_ratio": 2.0}
    return pd.DataFrame([{**row, "side": side, "accuracy": 0.5} for side in ("train", "held-out")])


def _pairs() -> Dataset:
    return Dataset.from_dict({"premise": ["A dog runs.", "It rains."], "hypothesis": ["A dog.", "Rain."]})
