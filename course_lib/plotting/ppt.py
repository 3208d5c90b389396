"""Figures of chapter 3: what single runs and their means reach, curves of pre-training, accuracy over examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.checks.arrays import check_numbers
from course_lib.checks.calls import an_axes, border, check_choice
from course_lib.checks.tables import check_table, table_with
from course_lib.checks.types import Count, Text
from course_lib.checks.values import mapping_to
from course_lib.plotting.style import (
    COLOURS,
    legend_below,
    letter_panels,
    mark_chance,
    name_rows,
    panels,
    plot_intervals,
    series_style,
)
from course_lib.statistics import Interval, mean_interval

# What a shipped prompt is measured beside -> how a figure names it.
HELDOUT_NAMES = {
    "trained_hybrid": "pre-trained prompt",
    "untrained_hybrid": "untrained prompt",
    "hard": "best hard pattern",
}
DIFFERENCE = ("difference", "difference_low", "difference_high")
_PILOT = table_with("finding", "variant", *DIFFERENCE, finite=("mean",))
CURVES = mapping_to(table_with(finite=("step", "loss", "accuracy")))
HELDOUT_ENDS = tuple(f"{name}_{end}" for name in HELDOUT_NAMES for end in ("low", "high"))
_HELDOUT = table_with("task", "num_test", "apart", finite=("guessing", *HELDOUT_NAMES, *HELDOUT_ENDS))
_SIZED = table_with("task", "method", finite=("num_train", "accuracy"))
_PROBED = table_with("task", finite=("layer", "accuracy", "low", "high", "guessing"))


@border(axes=an_axes, rows=table_with())
def run_intervals(
    axes: Axes, rows: pd.DataFrame, by: str, *, measure: Text = "accuracy", xlabel: Text = "accuracy"
) -> Axes:
    """Draw the mean of each group of runs with its 95 % interval, and every single run as a hollow dot.

    Args:
        axes: where to draw.
        rows: one row a run, with the columns `by` and `measure`.
        by: what groups the runs; the first group is on top.
        measure: what is drawn.
        xlabel: what it is called.

    Returns:
        The same axes.
    """
    check_choice("column", by, rows.columns)
    check_table("rows", rows, finite=[measure])
    names = list(dict.fromkeys(rows[by]))
    for place, name in enumerate(names):
        values = rows.loc[rows[by] == name, measure].tolist()
        axes.plot(values, [place] * len(values), "o", color="0.45", markerfacecolor="none", markersize=4.5)
        plot_intervals(axes, [place], [mean_interval(values)], number=0, across=True)
    name_rows(axes, names)
    axes.set(xlabel=xlabel)
    return axes


@border(rows=table_with("finding", "variant", finite=("accuracy",)))
def pilot_figure(rows: pd.DataFrame) -> Figure:
    """Draw what the pilot compares, a panel for each finding.

    Args:
        rows: what `ppt.pilot_run` gave: `finding`, `variant`, `accuracy`.

    Returns:
        A figure.
    """
    findings = list(dict.fromkeys(rows.finding))
    figure, axes = panels((len(findings) + 1) // 2, 2, width=5.4, height=2.4, squeeze=False)
    for panel, finding in zip(axes.flat, findings, strict=False):
        run_intervals(panel, rows[rows.finding == finding], "variant")
        mark_chance(panel)
        panel.set(title=finding, xlim=(0.3, 1))
    for panel in axes.flat[len(findings) :]:
        panel.remove()
    letter_panels(figure)
    return figure


@border(rows=table_with("finding", "variant", "seed", finite=("accuracy",)))
def pilot_sentence(rows: pd.DataFrame) -> str:
    """Say for each finding which variant does best and which worst, on average over the seeds.

    Args:
        rows: what `pilot_figure` draws.
    """
    means = rows.groupby(["finding", "variant"], sort=False).accuracy.mean()
    parts = []
    for finding in dict.fromkeys(rows.finding):
        of_finding = means[finding]
        best, worst = of_finding.idxmax(), of_finding.idxmin()
        parts.append(f"{finding}, from {of_finding[worst]:.2f} ({worst}) to {of_finding[best]:.2f} ({best})")
    return f"Mean accuracy over {rows.seed.nunique()} seeds: {'; '.join(parts)}."


@border(differences=_PILOT)
def pilot_table(differences: pd.DataFrame) -> pd.DataFrame:
    """Lay out the pilot's means and paired differences from the first variant of each finding.

    Args:
        differences: what `ppt.pilot_differences` gave.

    Returns:
        Cells of text, differences in points; a star marks an interval that leaves out 0.
    """
    first = ~differences.finding.duplicated()
    rows = differences.to_dict("records")
    return pd.DataFrame(
        {
            "finding": differences.finding,
            "variant": differences.variant,
            "accuracy": [f"{row['mean']:.3f}" for row in rows],
            "against the first, in points": [
                "" if is_first else _points(row) for row, is_first in zip(rows, first, strict=True)
            ],
        }
    ).set_index(["finding", "variant"])


@border(differences=_PILOT)
def pilot_verdict(differences: pd.DataFrame) -> str:
    """Say for each finding which of its differences from the first variant leave out zero.

    Args:
        differences: what `ppt.pilot_differences` gave.
    """
    parts = []
    for finding, part in differences.groupby("finding", sort=False):
        first, *others = part.to_dict("records")
        apart = [row for row in others if row["difference_low"] > 0 or row["difference_high"] < 0]
        said = ", ".join(f"{row['variant']} {_points(row)}" for row in apart)
        verdict = said or f"nothing differs from {first['variant']} by more than the seeds do"
        parts.append(f"{finding}: {verdict}")
    return "; ".join(parts) + "."


def _points(row: Mapping[Any, Any]) -> str:
    """Write a paired difference in points, with a star where its interval leaves out 0."""
    value, low, high = (100 * row[f"difference{end}"] for end in ("", "_low", "_high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]" + ("" if low <= 0 <= high else " *")


@border(rows=table_with("task", "method", "seed", finite=("accuracy",)))
def few_shot_figure(rows: pd.DataFrame) -> Figure:
    """Draw what each method reaches from few examples, a panel for each task.

    Args:
        rows: what `ppt.few_shot_run` gave: `task`, `method`, `accuracy`, `seed`.

    Returns:
        A figure.
    """
    task_names = list(dict.fromkeys(rows.task))
    height = 0.4 * rows.method.nunique() + 1.2
    figure, axes = panels(1, len(task_names), width=3.7, height=height, sharey=True, squeeze=False)
    for panel, task in zip(axes[0], task_names, strict=True):
        run_intervals(panel, rows[rows.task == task], "method")
        panel.set_title(task)
    letter_panels(figure)
    return figure


_COSTS = ("spread", "trained_parameters", "bytes_stored")


@border(table=table_with("task", "method", "low", "high", *_COSTS, *DIFFERENCE, finite=("mean",)))
def few_shot_cells(table: pd.DataFrame, against: str = "prompt tuning") -> pd.DataFrame:
    """Lay out what each method reaches and what it costs to store.

    Args:
        table: what `ppt.few_shot_table` gave, with `against` as its `against`.
        against: the method that the others are compared with.

    Returns:
        Cells of text, differences in points; a star marks an interval that leaves out 0.
    """
    rows = table.to_dict("records")
    return pd.DataFrame(
        {
            "task": table.task,
            "method": table.method,
            "mean accuracy": [f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" for row in rows],
            "spread": [f"{row['spread']:.3f}" for row in rows],
            f"less {against}": ["" if row["method"] == against else _points(row) for row in rows],
            "trained parameters": [f"{row['trained_parameters']:,}" for row in rows],
            "bytes a task": [f"{row['bytes_stored']:,}" for row in rows],
        }
    ).set_index(["task", "method"])


@border(table=table_with("task", "method", *DIFFERENCE))
def difference_sentence(table: pd.DataFrame, method: str, against: str) -> str:
    """Say for each task how far a method lies above another, with a star where the interval leaves out zero.

    Args:
        table: what `ppt.few_shot_table` gave, with `against` as its `against`.
        method: the method.
        against: what it was compared with.
    """
    parts = [
        f"{row['task']} {_points(row)}"
        for row in table[table.method == check_choice("method", method, table.method)].to_dict("records")
    ]
    return f"{method} less {against}, in points, seed by seed, a star where zero is left out: {'; '.join(parts)}."


@border(shares=check_numbers)
def place_figure(shares: Sequence[float]) -> Figure:
    """Draw how often each option of multiple-choice examples is the right one.

    Args:
        shares: share of the examples for each option, from A on.

    Returns:
        A figure; a dotted line shows what even shares would be.
    """
    figure, axes = panels(1, 1, width=5.2, height=2.6)
    letters = [chr(ord("A") + place) for place in range(len(shares))]
    axes.bar(letters, shares, color=COLOURS[0], width=0.6)
    axes.axhline(1 / len(shares), color="black", linestyle=":", linewidth=1)
    axes.set(xlabel="right option", ylabel="share of examples", ylim=(0, 1.6 / len(shares)))
    return figure


@border(shares=check_numbers)
def place_sentence(shares: Sequence[float], num_examples: Count) -> str:
    """Say how even the shares are, beside what chance allows.

    Args:
        shares: what `place_figure` draws.
        num_examples: examples that were counted.
    """
    even = 1 / len(shares)
    allowed = 2 * (even * (1 - even) / num_examples) ** 0.5
    return (
        f"Shares from {min(shares):.3f} to {max(shares):.3f}, where even ones are {even:.3f}; in "
        f"{num_examples:,} examples two standard deviations of chance are {allowed:.3f}."
    )


@border(curves=CURVES)
def training_figure(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw loss and accuracy on held-out examples over the steps of pre-training.

    Args:
        curves: name of the prompt -> its evaluations: `step`, `loss`, `accuracy`.

    Returns:
        A figure of two panels.
    """
    figure, axes = panels(1, 2, width=4.6, height=3.4)
    for number, (name, evaluations) in enumerate(curves.items()):
        table = pd.DataFrame(evaluations)
        for panel, value in zip(axes, ("loss", "accuracy"), strict=True):
            panel.plot(table["step"], table[value], label=name, **series_style(number))
    axes[0].set(xlabel="steps", ylabel="held-out loss, in nats", title="loss")
    axes[1].set(xlabel="steps", ylabel="held-out accuracy", title="accuracy")
    legend_below(figure, axes[0], ncols=len(curves))
    letter_panels(figure)
    return figure


@border(curves=CURVES)
def training_sentence(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Say where each curve begins, and what its best evaluation is.

    Args:
        curves: what `training_figure` draws.
    """
    parts = []
    for name, table in curves.items():
        evaluations = pd.DataFrame(table).to_dict("records")
        best = max(evaluations, key=lambda each: (each["accuracy"], -each["loss"]))
        first = evaluations[0]["accuracy"]
        parts.append(f"{name} from {first:.2f} to {best['accuracy']:.2f} after {best['step']} steps")
    return f"Held-out accuracy: {'; '.join(parts)}."


@border(rows=_HELDOUT)
def heldout_figure(rows: pd.DataFrame) -> Figure:
    """Draw pre-trained prompts beside untrained ones and the best hard pattern, on held-out examples.

    Args:
        rows: the record `ppt_prompts`: a row a prompt.

    Returns:
        A figure; a dotted mark shows what guessing gives.
    """
    figure, axes = panels(1, 1, width=7.0, height=0.9 * len(rows) + 1.4)
    for place, row in enumerate(rows.to_dict("records")):
        for number, name in enumerate(HELDOUT_NAMES):
            interval = Interval(row[name], row[f"{name}_low"], row[f"{name}_high"], row["num_test"])
            label = HELDOUT_NAMES[name] if place == 0 else None
            shift = 0.2 * (number - 1)
            plot_intervals(axes, [place + shift], [interval], number=number, across=True, label=label)
        label = "guessing" if place == 0 else None
        axes.plot([row["guessing"]] * 2, [place - 0.35, place + 0.35], ":", color="black", label=label)
    name_rows(axes, list(rows.task))
    axes.set(xlabel="accuracy on held-out documents", xlim=(0, 1))
    legend_below(figure, axes, ncols=4)
    return figure


@border(rows=_HELDOUT)
def heldout_sentence(rows: pd.DataFrame) -> str:
    """Say for each prompt what it reaches beside the better of its rivals, and whether the intervals part.

    Args:
        rows: what `heldout_figure` draws.
    """
    return f"On held-out documents: {'; '.join(map(_beside_rival, rows.to_dict('records')))}."


def _beside_rival(row: Mapping[Any, Any]) -> str:
    rival = max(("untrained_hybrid", "hard"), key=lambda name: row[name])
    verdict = "intervals apart" if row["apart"] else "intervals overlap"
    return f"{row['task']} {row['trained_hybrid']:.2f} beside {row[rival]:.2f} ({HELDOUT_NAMES[rival]}; {verdict})"


@border(rows=_SIZED)
def sample_efficiency_figure(rows: pd.DataFrame) -> Figure:
    """Draw accuracy over the number of training examples, a line for each method and a panel for each task.

    Args:
        rows: what `ppt.few_shot_run` gave: `task`, `method`, `num_train`, `accuracy`.

    Returns:
        A figure: lines through the means, and every single run as a hollow mark, since few seeds give no interval.
    """
    task_names = list(dict.fromkeys(rows.task))
    figure, axes = panels(1, len(task_names), width=5.4, height=3.8, sharey=True, squeeze=False)
    for panel, task in zip(axes[0], task_names, strict=True):
        of_task = rows[rows.task == task]
        for number, method in enumerate(dict.fromkeys(of_task.method)):
            runs = of_task[of_task.method == method]
            means = runs.groupby("num_train").accuracy.mean()
            style = series_style(number)
            panel.plot(means.index, means, label=method, **style)
            hollow = {**style, "linestyle": "none", "markerfacecolor": "none", "alpha": 0.6}
            panel.plot(runs.num_train, runs.accuracy, **hollow)
        sizes = sorted(set(of_task.num_train))
        panel.set_xscale("log", base=2)
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.set(title=task, xlabel="training examples")
    axes[0][0].set_ylabel("accuracy")
    legend_below(figure, axes[0][0], ncols=3)
    return figure


@border(rows=_SIZED)
def sample_efficiency_sentence(rows: pd.DataFrame) -> str:
    """Say for each method from where to where its mean accuracy goes as examples grow.

    Args:
        rows: what `sample_efficiency_figure` draws.
    """
    means = rows.groupby(["method", "num_train"], sort=False).accuracy.mean()
    sizes = sorted(set(rows.num_train))
    first, last = sizes[0], sizes[-1]
    parts = [
        f"{method} from {means[method][first]:.2f} to {means[method][last]:.2f}"
        for method in dict.fromkeys(rows.method)
    ]
    return f"Mean accuracy with {first} and with {last} examples: {'; '.join(parts)}."


@border(rows=_PROBED)
def probe_figure(rows: pd.DataFrame) -> Figure:
    """Draw what linear probes of the hidden states reach, over the layers and with intervals.

    Args:
        rows: the record `ppt_probe`: `task`, `layer`, `accuracy`, `low`, `high`, `guessing`.

    Returns:
        A figure; the dotted lines, in each task's colour, are what guessing gives.
    """
    figure, axes = panels(1, 1, width=7.0, height=3.6)
    for number, (task, part) in enumerate(rows.groupby("task", sort=False)):
        style = series_style(number)
        axes.plot(part.layer, part.accuracy, label=task, **style)
        axes.fill_between(part.layer, part.low, part.high, color=style["color"], alpha=0.15, linewidth=0)
        axes.axhline(part.guessing.iloc[0], color=style["color"], linestyle=":", linewidth=1)
    axes.set(xlabel="layer", ylabel="accuracy of a linear probe")
    legend_below(figure, axes, ncols=4)
    return figure


@border(rows=_PROBED)
def probe_sentence(rows: pd.DataFrame) -> str:
    """Say for each task what its best layer reaches beside guessing, and what the last layer does.

    Args:
        rows: what `probe_figure` draws.
    """
    parts = []
    for task, part in rows.groupby("task", sort=False):
        layers = part.to_dict("records")
        best = max(layers, key=lambda row: row["accuracy"])
        last = max(layers, key=lambda row: row["layer"])
        parts.append(
            f"{task} {best['accuracy']:.2f} [{best['low']:.2f}, {best['high']:.2f}] in layer {best['layer']}, "
            f"{last['accuracy']:.2f} in the last (guessing {best['guessing']:.2f})"
        )
    return f"Best layer of each task: {'; '.join(parts)}."
