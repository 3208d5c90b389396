"""Right calls of `course_lib.plotting`, on rows made by hand."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from course_lib.plotting import complexity, grading, ppt, smart, style
from tests.reliability import _wrong_values as wrong
from tests.reliability.fuzz import Call

COUNT, NUMBERS, TENSOR = wrong.count(), wrong.numbers(), wrong.tensor(shape_matters=True)
LABELS = wrong.tensor(shape_matters=True, floating=False, kind=wrong.labels(2))
TRUTH, BOWL = (lambda x: x), (lambda points: (np.asarray(points) ** 2).sum(axis=-1))


def _axes() -> Any:
    plt.close("all")
    return style.panels()[1]


def _network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2))


def calls() -> list[Call]:
    """Return the calls."""
    mpl.use("Agg")
    mpl.rcParams["figure.max_open_warning"] = 0
    return [*_smart_calls(), *_complexity_calls(), *_ppt_calls(), *_style_calls()]


def _drawn(function: Any, arguments: dict[str, Any], kinds: dict[str, wrong.Kind]) -> Call:
    return Call(function, lambda: {"axes": _axes(), **arguments}, {"axes": wrong.thing, **kinds})


def _table(function: Any, name: str, row: dict[str, Any], finite: tuple[str, ...], **others: Any) -> Call:
    """Make the call of a function of one table: two rows of which differ in the finite columns."""
    frame = pd.DataFrame([row, {**row, **{column: row[column] * 2 for column in finite}}])
    columns = tuple(column for column in row if column not in finite)
    return Call(function, lambda: {name: frame, **others}, {name: wrong.frame(*columns, finite=finite)})


def _smart_calls() -> list[Call]:
    points = {"points": torch.tensor([[0.0, 1.0], [1.0, 0.0]]), "labels": torch.tensor([0, 1])}
    kinds: dict[str, wrong.Kind] = {"points": TENSOR, "labels": LABELS}
    metrics = dict.fromkeys(smart.ABLATION_METRICS, 0.1)
    candidate = {
        "family": "R_s",
        "learning_rate": 1e-4,
        "smoothness_weight": 1.0,
        "epsilon": 0.1,
        "mu": 0.0,
        "half_life": None,
        "label_smoothing": 0.0,
    }
    arms = pd.DataFrame(
        [
            {"arm": arm, "train_size": 4, "seed": seed, **metrics}
            for arm in ("plain", smart.FULL_SMART)
            for seed in (0, 1)
        ]
    )
    differences = pd.DataFrame(
        [
            {
                "texts": "movie",
                "train_size": 4,
                "arm": arm,
                "mean": 0.1,
                "low": 0.0,
                "high": 0.2,
                "differs": False,
            }
            for arm in (smart.FULL_SMART, *smart.CONTROLS)
        ]
    )
    difference_kind = wrong.mapping_of(
        wrong.frame("texts", "train_size", "arm", "low", "high", "differs", finite=("mean",))
    )
    return [
        _drawn(
            smart.decision,
            {"network": _network(), **points, "title": "t"},
            {"network": wrong.thing, **kinds, "title": wrong.text},
        ),
        Call(
            smart.decision_figure,
            lambda: {"networks": {"plain": _network()}, **points},
            {"networks": wrong.mapping_of(wrong.thing), **kinds},
        ),
        _drawn(
            smart.ascent,
            {
                "offsets": torch.tensor([0.0, 0.1]),
                "change": torch.tensor([[0.1, 0.2], [0.3, 0.4]]),
                "path": {"noise": torch.tensor([0.0, 0.1]), "end": torch.tensor([0.1, 0.1])},
                "epsilon": 0.1,
            },
            {
                "offsets": TENSOR,
                "change": TENSOR,
                "path": wrong.mapping_of(TENSOR),
                "epsilon": wrong.number(above=0),
            },
        ),
        _drawn(
            smart.smoothness_over_radius,
            {"rows": pd.DataFrame([{"model": "m", "epsilon": 0.1, "smoothness": 0.2}])},
            {"rows": wrong.frame("model", finite=("epsilon", "smoothness"))},
        ),
        _drawn(
            smart.flip_bars,
            {"table": pd.DataFrame({"typos": [0.1]}, index=["plain"])},
            {"table": wrong.either(wrong.frame(finite=("typos",)), without=("no typos",))},
        ),
        _drawn(
            smart.noisy_paths,
            {"paths": {"a": np.zeros((3, 2))}},
            {"paths": wrong.mapping_of(wrong.numbers(num_dims=2))},
        ),
        _drawn(smart.anchor_shares, {"shares": {"a": [1.0, 0.5]}}, {"shares": wrong.mapping_of(NUMBERS)}),
        _drawn(
            smart.arm_intervals,
            {"rows": arms, "metric": "accuracy"},
            {"rows": wrong.frame("arm", "train_size", finite=("accuracy",)), "metric": wrong.name},
        ),
        Call(
            smart.ablation_figure,
            lambda: {"rows": arms},
            {"rows": wrong.frame("arm", "train_size", finite=tuple(metrics))},
        ),
        Call(
            smart.ablation_sentence,
            lambda: {"rows": arms},
            {"rows": wrong.frame("arm", finite=("train_size", "accuracy", "loss", "typos"))},
        ),
        _table(
            smart.search_figure, "rows", {**candidate, "accuracy": 0.4, "loss": 0.5}, ("accuracy", "loss")
        ),
        Call(smart.candidate_label, lambda: {"row": candidate}, {"row": wrong.thing}),
        Call(
            smart.difference_table,
            lambda: {"differences": {"loss": differences}},
            {"differences": difference_kind},
        ),
        Call(
            smart.ablation_verdict,
            lambda: {"differences": {"accuracy": differences, "loss": differences}},
            {"differences": difference_kind},
        ),
    ]


def _complexity_calls() -> list[Call]:
    x = {"x": [0.0, 0.5], "y": [0.1, 0.2]}
    shaped = wrong.numbers(shaped=True)
    path = [[2.0, 1.0], [1.0, 0.5]]
    points = wrong.numbers(num_dims=2)
    run = {"model": "m", "num_examples": 4, "seed": 0, "accuracy": 0.4, "loss": 0.5}
    runs = pd.DataFrame(
        [{**run, "seed": seed, "side": side} for seed in (0, 1) for side in ("train", "held-out")]
    )
    rate = ("accuracy", "distance", "late_flip_share", "retrieval_before", "retrieval_after")
    rate_row = {"learning_rate": 1e-4, "seed": 0, **dict.fromkeys(rate, 0.4)}
    return [
        _drawn(
            complexity.fitted_curve,
            {**x, "curve": TRUTH, "truth": TRUTH, "title": "t"},
            {"x": shaped, "y": shaped, "curve": wrong.function, "truth": wrong.function, "title": wrong.text},
        ),
        Call(
            complexity.fit_figure,
            lambda: {**x, "curves": {"a": TRUTH}, "truth": TRUTH},
            {"x": shaped, "y": shaped, "curves": wrong.mapping_of(wrong.function), "truth": wrong.function},
        ),
        _drawn(
            complexity.errors_over_ratio,
            {"rows": pd.DataFrame([{"parameter_ratio": 0.5, "train_error": 0.1, "heldout_error": 0.2}])},
            {"rows": wrong.frame(finite=("parameter_ratio", "train_error", "heldout_error"))},
        ),
        Call(
            complexity.sample_size_figure,
            lambda: {"rows": runs, "live": runs},
            {
                "rows": wrong.frame("model", "num_examples", "seed", "side", finite=("accuracy", "loss")),
                "live": wrong.optional(
                    wrong.frame("model", "num_examples", "side", finite=("accuracy", "loss"))
                ),
            },
        ),
        Call(
            complexity.gap_sentence,
            lambda: {"gaps": pd.DataFrame([{"model": "m", "num_examples": 4, "gap": 0.1}]), "model": "m"},
            {"gaps": wrong.frame("model", "num_examples", finite=("gap",)), "model": wrong.name},
        ),
        _drawn(
            complexity.descent_1d,
            {"points": [[2.0], [1.0]], "function": BOWL, "title": "t"},
            {"points": points, "function": wrong.function, "title": wrong.text},
        ),
        _drawn(
            complexity.descent_2d,
            {"points": path, "function": BOWL, "title": "t"},
            {"points": points, "function": wrong.function, "title": wrong.text},
        ),
        Call(
            complexity.descent_figure,
            lambda: {"paths": {"a": path}, "function": BOWL},
            {"paths": wrong.mapping_of(points), "function": wrong.function},
        ),
        _table(complexity.learning_rate_figure, "runs", rate_row, rate),
        _table(complexity.learning_rate_sentence, "runs", rate_row, rate),
        _table(
            complexity.step_figure,
            "steps",
            {"learning_rate": 1e-4, "step": 1, "step_distance": 0.1, "flip_share": 0.1},
            ("step_distance", "flip_share"),
        ),
    ]


def _ppt_calls() -> list[Call]:
    paired = {"difference": 0.1, "difference_low": 0.0, "difference_high": 0.2}
    pilot = {"finding": "f", "variant": "v", "mean": 0.4, **paired}
    few = {"task": "t", "method": "m", "seed": 0, "accuracy": 0.4}
    cells = {
        **{"task": "t", "method": "m", "mean": 0.4, "low": 0.3, "high": 0.5, "spread": 0.1},
        **{"trained_parameters": 10, "bytes_stored": 40, **paired},
    }
    held_names = [*ppt.HELDOUT_NAMES, *ppt.HELDOUT_ENDS, "guessing"]
    held = {"task": "t", "num_test": 10, "apart": False, **dict.fromkeys(held_names, 0.4)}
    probe = {"task": "t", "layer": 1, "accuracy": 0.4, "low": 0.3, "high": 0.5, "guessing": 0.4}
    sized = {"task": "t", "method": "m", "num_train": 4, "accuracy": 0.4}
    curves = lambda: {"curves": {"a": [{"step": 1, "loss": 0.5, "accuracy": 0.4}]}}
    curve_kind = {"curves": wrong.mapping_of(wrong.number_columns("step", "loss", "accuracy"))}
    found = {"finding": "f", "variant": "v", "seed": 0, "accuracy": 0.4}
    drawn = {key: found[key] for key in ("finding", "variant", "accuracy")}
    return [
        _drawn(
            ppt.run_intervals,
            {"rows": pd.DataFrame([few]), "by": "method", "measure": "accuracy", "xlabel": "x"},
            {
                "rows": wrong.frame("method", finite=("accuracy",)),
                **{"by": wrong.name, "measure": wrong.name, "xlabel": wrong.text},
            },
        ),
        _table(ppt.pilot_figure, "rows", drawn, ("accuracy",)),
        _table(ppt.pilot_sentence, "rows", found, ("accuracy",)),
        _table(ppt.pilot_table, "differences", pilot, ("mean",)),
        _table(ppt.pilot_verdict, "differences", pilot, ("mean",)),
        _table(ppt.few_shot_figure, "rows", few, ("accuracy",)),
        _table(ppt.few_shot_cells, "table", cells, ("mean",)),
        Call(
            ppt.difference_sentence,
            lambda: {"table": pd.DataFrame([cells]), "method": "m", "against": "prompt tuning"},
            {"table": wrong.frame("task", "method", *paired), "method": wrong.name},
        ),
        Call(ppt.place_figure, lambda: {"shares": [0.5, 0.5]}, {"shares": NUMBERS}),
        Call(
            ppt.place_sentence,
            lambda: {"shares": [0.5, 0.5], "num_examples": 4},
            {"shares": NUMBERS, "num_examples": COUNT},
        ),
        Call(ppt.training_figure, curves, curve_kind),
        Call(ppt.training_sentence, curves, curve_kind),
        _table(ppt.heldout_figure, "rows", held, tuple(held_names)),
        _table(ppt.heldout_sentence, "rows", held, tuple(held_names)),
        _table(ppt.sample_efficiency_figure, "rows", sized, ("num_train", "accuracy")),
        _table(ppt.sample_efficiency_sentence, "rows", sized, ("num_train", "accuracy")),
        _table(ppt.probe_figure, "rows", probe, ("layer", "accuracy", "low", "high", "guessing")),
        _table(ppt.probe_sentence, "rows", probe, ("layer", "accuracy", "low", "high", "guessing")),
    ]


def _style_calls() -> list[Call]:
    return [
        Call(
            grading.verdict_figure,
            lambda: {"counts": {"task": {"right": 2, "wrong": 1}}, "totals": [3, 5], "out_of": 20},
            {
                "counts": wrong.mapping_of(wrong.mapping_of(wrong.count(least=0))),
                "totals": NUMBERS,
                "out_of": COUNT,
            },
        ),
        Call(style.series_style, lambda: {"number": 1}, {"number": wrong.count(least=0)}),
        Call(
            style.panels,
            lambda: {"num_rows": 1, "num_columns": 2, "width": 4.0, "height": 3.0},
            {
                **dict.fromkeys(("num_rows", "num_columns"), COUNT),
                **dict.fromkeys(("width", "height"), wrong.number(above=0)),
            },
        ),
        _drawn(
            style.plot_mean,
            {"x": [1, 2], "values": [[0.1, 0.2], [0.3, 0.4]], "label": "a", "number": 0},
            {
                "values": wrong.numbers(num_dims=2, shaped=True),
                "label": wrong.text,
                "number": wrong.count(least=0),
            },
        ),
        _drawn(
            style.horizontal_bars,
            {"labels": ["a", "b"], "values": [0.1, 0.2], "xlabel": "x"},
            {"labels": wrong.texts(), "values": wrong.numbers(shaped=True), "xlabel": wrong.text},
        ),
        Call(
            style.shortened,
            lambda: {"texts": ["a long label"], "length": 8},
            {"texts": wrong.texts(least=0), "length": COUNT},
        ),
        Call(style.letter_panels, lambda: {"figure": _axes().figure}, {"figure": wrong.thing}),
    ]
