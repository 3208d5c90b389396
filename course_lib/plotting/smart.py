"""Figures of chapter 2: smooth decisions, the ascent step, and what each arm of an ablation does."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from course_lib.checks.arrays import check_labels, check_numbers, shaped
from course_lib.checks.calls import a_model, an_axes, border
from course_lib.checks.tables import check_table, table_with
from course_lib.checks.types import Positive, Text
from course_lib.checks.values import check_mapping, mapping_to
from course_lib.plotting.style import (
    COLOURS,
    HATCHES,
    MARKERS,
    legend_below,
    letter_panels,
    markers_only,
    name_rows,
    panels,
    plot_intervals,
    series_style,
)
from course_lib.statistics import mean_interval

CANDIDATE = ["family", "learning_rate", "smoothness_weight", "epsilon", "mu", "half_life", "label_smoothing"]
_LABELLED = {"points": shaped(None, 2), "labels": shaped(None, whole=True)}
DIFFERENCES = table_with("texts", "train_size", "arm", "low", "high", "differs", finite=("mean",))


@border(axes=an_axes, network=a_model, **_LABELLED)
def decision(
    axes: Axes, network: torch.nn.Module, points: torch.Tensor, labels: torch.Tensor, *, title: Text
) -> Axes:
    """Draw how sure a network of two inputs is, everywhere in the plane.

    Args:
        axes: where to draw.
        network: maps points [n, 1, 2] to logits [n, 2].
        points: training points, float tensor [n, 2].
        labels: int tensor [n].
        title: the panel's title.

    Returns:
        The same axes.
    """
    check_labels("labels", labels, num_labels=2, num_rows=len(points))
    first, second = torch.meshgrid(torch.linspace(-2, 3, 160), torch.linspace(-1.5, 2, 120), indexing="xy")
    grid = torch.stack([first, second], dim=-1).reshape(-1, 1, 2)
    with torch.no_grad():
        probabilities = network(grid).softmax(dim=1)[:, 1].reshape(first.shape)
    axes.contourf(first, second, probabilities, levels=21, cmap="PuOr", vmin=0, vmax=1)
    axes.contour(first, second, probabilities, levels=[0.5], colors="black", linewidths=1.2)
    for label, (face, edge) in enumerate((("white", "black"), ("black", "white"))):
        style: dict[str, Any] = {"s": 30, "marker": MARKERS[label], "facecolor": face, "edgecolors": edge}
        x, y = points[labels == label].T
        axes.scatter(x, y, label=f"class {label}", **style)
    axes.grid(visible=False)
    axes.set(xlabel="input x₁", ylabel="input x₂", title=title)
    return axes


@border(networks=mapping_to(a_model), **_LABELLED)
def decision_figure(
    networks: dict[str, torch.nn.Module], points: torch.Tensor, labels: torch.Tensor
) -> Figure:
    """Draw the decisions of several networks as small multiples.

    Args:
        networks: panel title -> network from points [n, 1, 2] to logits [n, 2].
        points: training points, float tensor [n, 2].
        labels: int tensor [n].

    Returns:
        A figure with a panel for each network.
    """
    figure, axes = panels(1, len(networks), width=4.0, height=3.6, squeeze=False, sharey=True)
    for panel, (title, network) in zip(axes[0], networks.items(), strict=True):
        decision(panel, network, points, labels, title=title)
        panel.label_outer()
    figure.colorbar(ScalarMappable(cmap="PuOr"), ax=axes[0], label="probability of class 1")
    legend_below(figure, axes[0][0], ncols=2, facecolor="0.8", frameon=True)
    return figure


@border(axes=an_axes, offsets=shaped(None), change=shaped(None, None), path=mapping_to(shaped(2)))
def ascent(
    axes: Axes,
    offsets: torch.Tensor,
    change: torch.Tensor,
    path: dict[str, torch.Tensor],
    *,
    epsilon: Positive,
) -> Axes:
    """Draw one ascent step: the change of the output over δ, the ball, and where the step goes.

    Args:
        axes: where to draw.
        offsets: float tensor [m], the values of δ along each axis.
        change: ℓ_s(f(x + δ), f(x)), float tensor [m, m]; rows are δ₂, columns δ₁.
        path: name of each stop -> δ there, float tensor [2], in order.
        epsilon: radius of the ball.

    Returns:
        The same axes.
    """
    filled = axes.contourf(offsets, offsets, change, levels=18, cmap="Greys")
    axes.figure.colorbar(filled, ax=axes, label="change of the output ℓ_s")
    axes.set_aspect("equal")
    corners = epsilon * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
    axes.plot(*corners.T, color=COLOURS[2], label=f"ball, ε = {epsilon:g}")
    for number, (name, stop) in enumerate(path.items()):
        style: dict[str, Any] = {"color": COLOURS[number], "marker": MARKERS[number], "edgecolors": "white"}
        x, y = stop.tolist()
        axes.scatter(x, y, s=70, zorder=3, label=name, **style)
    arrow = {"arrowstyle": "->", "color": COLOURS[1]}
    for before, after in pairwise(path.values()):
        axes.annotate("", xy=tuple(after), xytext=tuple(before), arrowprops=arrow)
    axes.grid(visible=False)
    axes.set(xlabel="perturbation δ₁", ylabel="perturbation δ₂")
    axes.legend(loc="upper left", fontsize=9, frameon=True)
    return axes


@border(axes=an_axes, rows=table_with("model", finite=("epsilon", "smoothness")))
def smoothness_over_radius(axes: Axes, rows: pd.DataFrame) -> Axes:
    """Draw R_s over the radius of the ball, a line for each model.

    Args:
        axes: where to draw.
        rows: what `smart.robustness.smoothness_over_radius` gives.

    Returns:
        The same axes, both scales logarithmic.
    """
    for number, (name, part) in enumerate(rows.groupby("model", sort=False)):
        axes.plot(part["epsilon"], part["smoothness"], label=name, **series_style(number))
    axes.set(xscale="log", yscale="log", xlabel="radius ε of the ball", ylabel="R_s in nats")
    axes.legend()
    return axes


@border(axes=an_axes, table=table_with())
def flip_bars(axes: Axes, table: pd.DataFrame) -> Axes:
    """Draw how often predictions flip under each change, a group of bars for each change.

    Args:
        axes: where to draw.
        table: flip rates, a row for each model and a column for each change.

    Returns:
        The same axes.
    """
    check_table("table", table, finite=list(table.columns))
    width = 0.8 / len(table)
    for number, (name, rates) in enumerate(table.iterrows()):
        places = [place + (number - (len(table) - 1) / 2) * width for place in range(len(rates))]
        axes.bar(places, rates, width=width, label=name, color=COLOURS[number], hatch=HATCHES[number])
    axes.set_xticks(range(len(table.columns)), table.columns)
    axes.grid(visible=False, axis="x")
    axes.set(ylabel="share of predictions that flip", xlabel="change of the text")
    axes.legend()
    return axes


@border(axes=an_axes, paths=mapping_to(partial(check_numbers, num_dims=2)))
def noisy_paths(axes: Axes, paths: dict[str, np.ndarray]) -> Axes:
    """Draw walks towards the origin of the plane.

    Args:
        axes: where to draw.
        paths: name -> points [steps + 1, 2].

    Returns:
        The same axes.
    """
    for number, (name, points) in enumerate(paths.items()):
        style = {**series_style(number), "marker": "", "linewidth": 1.1}
        axes.plot(points[:, 0], points[:, 1], label=name, **style)
    axes.plot(0, 0, marker="+", color="black", markersize=12, linestyle="", label="minimum")
    axes.set(xlabel="weight θ₁ (flat direction)", ylabel="weight θ₂ (steep direction)")
    axes.legend(fontsize=9)
    return axes


@border(axes=an_axes, shares=mapping_to(check_numbers))
def anchor_shares(axes: Axes, shares: dict[str, np.ndarray]) -> Axes:
    """Draw how much of the anchor is still the start, over the run.

    Args:
        axes: where to draw.
        shares: name -> shares [updates + 1] of a run.

    Returns:
        The same axes.
    """
    for number, (name, share) in enumerate(shares.items()):
        done = np.linspace(0, 1, len(share))
        axes.plot(done, share, label=name, markevery=0.2, **series_style(number))
    axes.set(xlabel="share of the run that is done", ylabel="weight of θ₀ in the anchor", ylim=(0, 1.03))
    axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return axes


Metric = Literal["accuracy", "loss", "calibration_error", "typos", "noise", "distance", "churn"]
# What each metric's axis says.
ABLATION_METRICS: dict[str, str] = {
    "accuracy": "accuracy",
    "loss": "loss in nats",
    "calibration_error": "calibration error",
    "typos": "flips under typos",
    "noise": "flips under noise",
    "distance": "distance moved",
    "churn": "flips in a step (churn)",
}


@border(axes=an_axes, rows=table_with("arm", "train_size"))
def arm_intervals(axes: Axes, rows: pd.DataFrame, metric: Metric) -> Axes:
    """Draw one metric of every arm, means with 95 % intervals over the seeds, a series for each N.

    Args:
        axes: where to draw.
        rows: what `smart.ablation.ablation_run` gave, of one of the texts.
        metric: one of `ABLATION_METRICS`.

    Returns:
        The same axes; the first arm is on top.
    """
    check_table("rows", rows, finite=[metric])
    arms = list(dict.fromkeys(rows["arm"]))
    sizes = sorted(set(rows["train_size"]))
    for number, size in enumerate(sizes):
        of_size = rows[rows["train_size"] == size]
        intervals = [mean_interval(of_size[of_size["arm"] == arm][metric].to_numpy()) for arm in arms]
        places = np.arange(len(arms)) + 0.3 * (number - (len(sizes) - 1) / 2)
        plot_intervals(axes, places, intervals, number=number, across=True, label=f"N = {size}")
    name_rows(axes, arms)
    axes.locator_params(axis="x", nbins=4)
    axes.set(xlabel=ABLATION_METRICS[metric])
    return axes


@border(rows=table_with("arm", "train_size", *ABLATION_METRICS))
def ablation_figure(rows: pd.DataFrame) -> Figure:
    """Draw all metrics of an ablation on one of the texts as small multiples.

    Args:
        rows: what `smart.ablation.ablation_run` gave, of one of the texts.

    Returns:
        A figure with a panel for each of `ABLATION_METRICS`, and the legend in the last place.
    """
    figure, axes = panels(2, 4, width=3.1, height=3.2, sharey=True)
    flat = list(axes.flat)
    for panel, metric in zip(flat, get_args(Metric), strict=False):
        arm_intervals(panel, rows, metric)
    handles, labels = flat[0].get_legend_handles_labels()
    flat[-1].axis("off")
    flat[-1].legend(handles, labels, loc="center", title="training examples")
    return figure


@border(rows=table_with(*CANDIDATE, finite=("accuracy", "loss")))
def search_figure(rows: pd.DataFrame) -> Figure:
    """Draw what the search saw: development accuracy and loss of every candidate.

    Args:
        rows: what `smart.search.search_run` gave, of one of the texts.

    Returns:
        A figure of two panels; a candidate is a line, its mean over the seeds a marker in its family's style.
    """
    means = rows.groupby(list(CANDIDATE), dropna=False, sort=False)[["accuracy", "loss"]].mean().reset_index()
    labels = [candidate_label(row) for row in means.to_dict("records")]
    families = list(dict.fromkeys(means["family"]))
    figure, axes = panels(1, 2, width=5.2, height=0.26 * len(means) + 1.2, sharey=True)
    for panel, metric in zip(axes, ("accuracy", "loss"), strict=True):
        for number, family in enumerate(families):
            places = [place for place, name in enumerate(means["family"]) if name == family]
            panel.plot(means[metric].iloc[places], places, label=family, **markers_only(number))
        panel.set(xlabel=f"development {ABLATION_METRICS[metric]}")
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].invert_yaxis()
    letter_panels(figure)
    return figure


@border(row=partial(check_mapping, keys=CANDIDATE))
def candidate_label(row: dict) -> str:
    """Say what a candidate of the search is, in the lesson's symbols.

    Args:
        row: a row of a record of `smart.search.search_run`.

    Returns:
        The label.
    """
    if row["family"] == "R_s":
        return f"R_s, ε = {row['epsilon']:g}, λ_s = {row['smoothness_weight']:g}"
    if row["family"] == "D_Breg":
        is_published = row["half_life"] is None or row["half_life"] != row["half_life"]
        anchor = "published β" if is_published else f"half-life {100 * row['half_life']:g} %"
        return f"D_Breg, μ = {row['mu']:g}, {anchor}"
    if row["family"] == "label smoothing":
        return f"label smoothing {row['label_smoothing']:g}"
    return f"plain, learning rate {row['learning_rate']:g}"


FULL_SMART = "R_s + D_Breg"
CONTROLS = ("label smoothing", "early stopping", "a third of the rate")


@border(rows=table_with("arm", finite=("train_size", "accuracy", "loss", "typos")))
def ablation_sentence(rows: pd.DataFrame) -> str:
    """Say what full SMART does beside plain fine-tuning, for each number of training examples.

    Args:
        rows: what `smart.ablation.ablation_run` gave, of one of the texts.
    """
    parts = []
    for size, part in rows.groupby("train_size"):
        means = part.groupby("arm").mean(numeric_only=True)
        plain, smart = means.loc["plain"], means.loc[FULL_SMART]
        parts.append(
            f"With N = {size}, plain and full SMART: accuracy {plain.accuracy:.3f} and {smart.accuracy:.3f}, "
            f"loss {plain.loss:.2f} and {smart.loss:.2f}, flips under typos {100 * plain.typos:.1f} % and "
            f"{100 * smart.typos:.1f} %."
        )
    return " ".join(parts)


@border(differences=mapping_to(DIFFERENCES))
def difference_table(differences: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Lay out paired differences with their intervals, a column for each metric.

    Args:
        differences: metric -> what `smart.ablation.paired_differences` gave.

    Returns:
        Cells of text; a star marks an interval that leaves out 0.
    """
    first = next(iter(differences.values()))
    table = first[["texts", "train_size", "arm"]].rename(columns={"train_size": "N"})
    for metric, rows in differences.items():
        table[ABLATION_METRICS.get(metric, metric)] = [
            f"{row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]{' *' if row['differs'] else ''}"
            for row in rows.to_dict("records")
        ]
    return table.set_index(["texts", "N", "arm"])


@border(differences=mapping_to(DIFFERENCES, "accuracy", "loss"))
def ablation_verdict(differences: dict[str, pd.DataFrame]) -> str:
    """Say what full SMART and the best control change against plain fine-tuning, over all settings.

    Args:
        differences: metric -> what `smart.ablation.paired_differences` gave; "accuracy" and "loss" at least.
    """
    loss = differences["loss"].groupby("arm")["mean"].mean()
    best_control = min(CONTROLS, key=lambda name: loss[name])
    return (
        f"full SMART changes accuracy by {_change(differences['accuracy'], FULL_SMART, 100, ' points')} and loss by "
        f"{_change(differences['loss'], FULL_SMART, 1, ' nats')}; the best control, {best_control}, changes "
        f"accuracy by {_change(differences['accuracy'], best_control, 100, ' points')} and loss by "
        f"{_change(differences['loss'], best_control, 1, ' nats')}."
    )


def _change(rows: pd.DataFrame, arm: str, scale: float, unit: str) -> str:
    of_arm = rows[rows["arm"] == arm]
    return (
        f"{scale * of_arm['mean'].mean():+.2f}{unit} (its interval leaves out 0 in {int(of_arm['differs'].sum())} "
        f"of {len(of_arm)} settings)"
    )
