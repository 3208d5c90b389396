"""Figures of chapter 1: fits, P/N, growing N, and steps that are too large."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.checks.arrays import check_numbers
from course_lib.checks.calls import Check, an_axes, border, check_choice, optional
from course_lib.checks.tables import table_with
from course_lib.checks.types import Text
from course_lib.checks.values import check_callable, check_same_length, mapping_to
from course_lib.plotting.style import (
    legend_below,
    letter_panels,
    panels,
    plot_hollow,
    plot_mean,
    series_style,
)
from course_lib.statistics import mean_interval

Curve = Callable[[np.ndarray], np.ndarray]

SIZE_RUNS = table_with("num_examples", "seed", "side", "model", finite=("accuracy", "loss"))
RATE_MEASURES = ("accuracy", "distance", "late_flip_share", "retrieval_before", "retrieval_after")
RATE_RUNS = table_with("learning_rate", "seed", finite=RATE_MEASURES)


_POINTS: dict[str, Check] = {"x": check_numbers, "y": check_numbers, "truth": check_callable}


@border(axes=an_axes, **_POINTS, curve=check_callable)
def fitted_curve(
    axes: Axes, x: np.ndarray, y: np.ndarray, curve: Curve, *, truth: Curve, title: Text
) -> Axes:
    """Draw points, the curve fitted to them, and the curve they were drawn around.

    Args:
        axes: where to draw.
        x: training inputs [n].
        y: training targets [n].
        curve: the fit.
        truth: the curve without noise.
        title: the panel's title.

    Returns:
        The same axes.
    """
    check_same_length(x=x, y=y)
    grid = np.linspace(-1, 1, 400)
    axes.plot(grid, truth(grid), color="0.6", linestyle=":", label="true curve")
    axes.plot(grid, curve(grid), color=series_style(1)["color"], label="fit")
    axes.scatter(x, y, color=series_style(0)["color"], zorder=3, s=28, label="training points")
    axes.set(ylim=(-2.2, 2.2), xlabel="input x", ylabel="target y", title=title)
    return axes


@border(**_POINTS, curves=mapping_to(check_callable))
def fit_figure(x: np.ndarray, y: np.ndarray, curves: dict[str, Curve], *, truth: Curve) -> Figure:
    """Draw several fits to the same points as small multiples.

    Args:
        x: training inputs [n].
        y: training targets [n].
        curves: panel title -> fitted curve.
        truth: the curve without noise.

    Returns:
        A figure with a panel for each curve.
    """
    figure, axes = panels(1, len(curves), width=3.9, height=3.2, squeeze=False, sharey=True)
    for panel, (title, curve) in zip(axes[0], curves.items(), strict=True):
        fitted_curve(panel, x, y, curve, truth=truth, title=title)
        panel.label_outer()
    axes[0][0].legend(loc="upper left", fontsize=9)
    return figure


@border(axes=an_axes, rows=table_with(finite=("parameter_ratio", "train_error", "heldout_error")))
def errors_over_ratio(axes: Axes, rows: pd.DataFrame) -> Axes:
    """Draw training and held-out error over P/N, medians over the draws.

    Args:
        axes: where to draw.
        rows: what `complexity.degree_sweep` gives.

    Returns:
        The same axes, both scales logarithmic.
    """
    medians = rows.groupby("parameter_ratio")[["train_error", "heldout_error"]].median()
    for number, (column, label) in enumerate((("heldout_error", "held-out"), ("train_error", "training"))):
        # errors of an exact fit are rounding noise; they are drawn at the floor of the figure
        axes.plot(medians.index, medians[column].clip(lower=1e-3), label=label, **series_style(1 - number))
    axes.axvline(1, color="0.4", linewidth=1)
    axes.text(1.08, 0.01, "P = N", color="0.3")
    axes.set(
        xscale="log",
        yscale="log",
        ylim=(8e-4, 1e7),
        xlabel="P/N: coefficients per training point",
        ylabel="mean squared error",
    )
    axes.legend()
    return axes


@border(rows=SIZE_RUNS, live=optional(SIZE_RUNS))
def sample_size_figure(rows: pd.DataFrame, live: pd.DataFrame | None = None) -> Figure:
    """Draw accuracy, loss and gap over the number of training examples.

    Args:
        rows: what `complexity.sample_size_sweep` gives, over several seeds.
        live: the same from a smaller run, drawn as hollow markers.

    Returns:
        A figure of three panels.
    """
    figure, (left, middle, right) = panels(1, 3, width=4.3, height=3.8)
    for number, (model, of_model) in enumerate(rows.groupby("model", sort=True)):
        for side, filled in (("train", False), ("held-out", True)):
            style = {"linestyle": "-" if filled else ":", "alpha": 1.0 if filled else 0.7}
            label = f"{model}, {'held-out' if filled else 'training'}"
            part = of_model[of_model["side"] == side]
            for axes, value in ((left, "accuracy"), (middle, "loss")):
                sizes, values = _by_size(part, value)
                plot_mean(axes, sizes, values, label=label, number=number, **style)
                if live is not None:
                    same = live[(live["model"] == model) & (live["side"] == side)]
                    plot_hollow(axes, same["num_examples"], same[value], number=number)
        sizes, values = _gaps_by_size(of_model)
        plot_mean(right, sizes, values, label=str(model), number=number)
    left.set(title="accuracy", ylabel="share of texts that are right", ylim=(0.45, 1.02))
    middle.set(title="loss", ylabel="cross-entropy in nats", ylim=(0, None))
    right.set(title="gap", ylabel="training minus held-out accuracy", ylim=(0, None))
    for axes in (left, middle, right):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("training examples N")
        axes.xaxis.set_major_formatter("{x:.0f}")
    right.legend(fontsize=9)
    legend_below(figure, left, ncols=2, fontsize=9)
    letter_panels(figure)
    return figure


def _by_size(rows: pd.DataFrame, value: str) -> tuple[Any, np.ndarray]:
    table = rows.pivot_table(index="num_examples", columns="seed", values=value)
    return table.index, table.to_numpy()


def _gaps_by_size(rows: pd.DataFrame) -> tuple[Any, np.ndarray]:
    sizes, train = _by_size(rows[rows["side"] == "train"], "accuracy")
    return sizes, train - _by_size(rows[rows["side"] == "held-out"], "accuracy")[1]


@border(gaps=table_with("model", "num_examples", finite=("gap",)))
def gap_sentence(gaps: pd.DataFrame, model: str) -> str:
    """Say in one sentence how the gap of a model changes from its least to its largest N.

    Args:
        gaps: what `complexity.generalization_gaps` gives.
        model: the model to speak of.
    """
    part = gaps[gaps["model"] == check_choice("model", model, gaps["model"])]
    small, large = part["num_examples"].min(), part["num_examples"].max()
    at_small = mean_interval(part.loc[part["num_examples"] == small, "gap"])
    at_large = mean_interval(part.loc[part["num_examples"] == large, "gap"])
    verb = "shrinks" if at_large.mean < at_small.mean else "does not shrink"
    runs = f"{at_small.n} seeds, 95 % intervals" if at_small.n > 1 else "one seed"
    first, last = (_percentage_points(interval) for interval in (at_small, at_large))
    return f"The gap of the {model} {verb} from {first} at N = {small} to {last} at N = {large} ({runs})."


def _percentage_points(interval: Any) -> str:
    if interval.n == 1:
        return f"{100 * interval.mean:.1f} points"
    return f"{100 * interval.mean:.1f} points [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


@border(axes=an_axes, points=partial(check_numbers, num_dims=2), function=check_callable)
def descent_1d(axes: Axes, points: np.ndarray, function: Curve, *, title: Text) -> Axes:
    """Draw the points that gradient descent visits on a curve.

    Args:
        axes: where to draw.
        points: float array [steps + 1, 1].
        function: maps [n, 1] to [n].
        title: the panel's title.

    Returns:
        The same axes.
    """
    grid = np.linspace(-3, 3, 200)
    axes.plot(grid, function(grid[:, None]), color="0.6")
    seen = points[np.abs(points[:, 0]) <= 3]
    axes.plot(seen[:, 0], function(seen), **{**series_style(1), "linestyle": "--", "linewidth": 1})
    axes.plot(seen[:1, 0], function(seen[:1]), marker="*", markersize=14, color=series_style(0)["color"])
    axes.set(xlim=(-3.1, 3.1), ylim=(-0.3, 5), xlabel="weight θ", ylabel="loss F(θ)", title=title)
    return axes


@border(paths=mapping_to(partial(check_numbers, num_dims=2)), function=check_callable)
def descent_figure(paths: dict[str, np.ndarray], function: Curve) -> Figure:
    """Draw several runs of gradient descent on one function as small multiples.

    Args:
        paths: panel title -> points [steps + 1, D].
        function: maps [..., D] to [...].

    Returns:
        A figure with a panel for each path.
    """
    draw = descent_1d if next(iter(paths.values())).shape[1] == 1 else descent_2d
    figure, axes = panels(1, len(paths), width=3.5, height=3.2, squeeze=False)
    for panel, (title, points) in zip(axes[0], paths.items(), strict=True):
        draw(panel, points, function, title=title)
    return figure


@border(axes=an_axes, points=partial(check_numbers, num_dims=2), function=check_callable)
def descent_2d(axes: Axes, points: np.ndarray, function: Curve, *, title: Text) -> Axes:
    """Draw the path of gradient descent over the level lines of a bowl.

    Args:
        axes: where to draw.
        points: float array [steps + 1, 2].
        function: maps [..., 2] to [...].
        title: the panel's title.

    Returns:
        The same axes.
    """
    first, second = np.meshgrid(np.linspace(-3, 3, 120), np.linspace(-3, 3, 120))
    heights = function(np.stack([first, second], axis=-1))
    levels = heights.max() * np.linspace(0.05, 1, 8) ** 2
    axes.contour(first, second, heights, levels=levels, colors="0.7", linewidths=0.8)
    axes.plot(points[:, 0], points[:, 1], **{**series_style(1), "markersize": 4, "linewidth": 1.2})
    axes.plot(*points[0], marker="*", markersize=14, color=series_style(0)["color"])
    axes.plot(0, 0, marker="x", color="black")
    axes.set(xlim=(-3, 3), ylim=(-3, 3), xlabel="weight θ₁", ylabel="weight θ₂", title=title)
    return axes


@border(runs=RATE_RUNS, live=optional(RATE_RUNS))
def learning_rate_figure(runs: pd.DataFrame, live: pd.DataFrame | None = None) -> Figure:
    """Draw accuracy, distance, late flips and retrieval over the learning rate.

    Args:
        runs: the table of runs of `complexity.learning_rate_sweep`, over several seeds.
        live: the same from a smaller run, drawn as hollow markers.

    Returns:
        A figure of four panels.
    """
    figure, axes = panels(1, 4, width=3.5, height=3.3)
    columns = (
        ("accuracy", "held-out accuracy", "share of texts that are right"),
        ("distance", "distance moved", "‖θ − θ₀‖ / ‖θ₀‖"),
        ("late_flip_share", "churn", "predictions that flip in a step"),
        ("retrieval_after", "what is left", "captions found again"),
    )
    for number, (panel, (column, title, label)) in enumerate(zip(axes, columns, strict=True)):
        table = runs.pivot_table(index="learning_rate", columns="seed", values=column)
        plot_mean(panel, table.index, table.to_numpy(), label="mean over seeds", number=number)
        if live is not None:
            plot_hollow(panel, live["learning_rate"], live[column], number=number)
        panel.set(xscale="log", xlabel="learning rate", ylabel=label, title=title)
    before, least = runs["retrieval_before"].mean(), runs["learning_rate"].min()
    axes[3].axhline(before, color="0.4", linewidth=1, linestyle="--")
    axes[3].text(least, before + 0.08, "before fine-tuning", va="top", color="0.3", fontsize=9)
    axes[1].set_yscale("log")
    axes[2].set_ylim(bottom=0)
    axes[3].set_ylim(0, 1)
    letter_panels(figure)
    return figure


@border(steps=table_with("learning_rate", "step", finite=("step_distance", "flip_share")))
def step_figure(steps: pd.DataFrame) -> Figure:
    """Draw how far the weights are and how many predictions flip, step by step, for each learning rate.

    Args:
        steps: the table of steps of `complexity.learning_rate_sweep`.

    Returns:
        A figure of two panels.
    """
    figure, (left, right) = panels(1, 2, width=5.2, height=3.6)
    for number, (rate, part) in enumerate(steps.groupby("learning_rate")):
        means = part.groupby("step")[["step_distance", "flip_share"]].mean()
        style = {**series_style(number), "markevery": max(len(means) // 6, 1), "label": f"{rate:g}"}
        left.plot(means.index, means["step_distance"], **style)
        right.plot(means.index, means["flip_share"].rolling(4, min_periods=1).mean(), **style)
    left.set(
        yscale="log", xlabel="step", ylabel="‖θ − θ₀‖ / ‖θ₀‖", title="distance from the pre-trained weights"
    )
    right.set(xlabel="step", ylabel="share of predictions", title="flips from step to step (mean of 4 steps)")
    left.legend(title="learning rate", fontsize=9)
    letter_panels(figure)
    return figure


@border(runs=RATE_RUNS)
def learning_rate_sentence(runs: pd.DataFrame) -> str:
    """Say in one sentence what the largest learning rate costs beside the best one.

    Args:
        runs: the table of runs of `complexity.learning_rate_sweep`, over several seeds.

    Returns:
        The sentence.
    """
    means = runs.groupby("learning_rate").mean(numeric_only=True).to_dict("index")
    best = max(means, key=lambda rate: means[rate]["accuracy"])
    largest = runs["learning_rate"].max()
    at_best, at_largest = means[best], means[largest]
    times_as_far = at_largest["distance"] / at_best["distance"]
    return (
        f"At {largest:g} the held-out accuracy is {at_largest['accuracy']:.3f} (best: {at_best['accuracy']:.3f} "
        f"at {best:g}), the weights are {times_as_far:.1f} times as far away, "
        f"{100 * at_largest['late_flip_share']:.1f} % of the predictions flip in a step "
        f"(at {best:g}: {100 * at_best['late_flip_share']:.1f} %), and "
        f"{100 * at_largest['retrieval_after']:.0f} % of the captions are found again "
        f"(before fine-tuning: {100 * runs['retrieval_before'].mean():.0f} %)."
    )
