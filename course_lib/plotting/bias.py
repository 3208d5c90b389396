"""Figures of chapter 4: which feature a model follows, how steadily, and what an intervention changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from course_lib.icl.experiments.tables import checked_rows
from course_lib.plotting.style import (
    legend_below,
    mark_chance,
    markers_only,
    name_rows,
    panels,
    plot_intervals,
)
from course_lib.statistics import Interval

CALIBRATION_NAMES = {"none": "raw", "contextual": "contextual", "median": "at the median"}
KIND_NAMES = {
    "instruction": "instruction",
    "verbalizer": "label\nwords",
    "explanation": "expla-\nnations",
    "disambiguation": "disambig.\nexamples",
}


def pair_name(h1: str, h2: str) -> str:
    """Name a pair of hypotheses for an axis.

    Args:
        h1: name of a hypothesis.
        h2: name of another.

    Returns:
        The name.

    Example:
        >>> pair_name("sentiment", "sentiment.domain")
        'sentiment / domain'
    """
    return f"{h1} / {h2.rpartition('.')[2]}"


def row_names(table: pd.DataFrame) -> list[str]:
    """Name the rows of a table of pairs for an axis: by pair, and by model where there are several.

    Args:
        table: rows with h1, h2 and, if they have it, model.
    """
    return _by_model(table, [pair_name(h1, h2) for h1, h2 in zip(table.h1, table.h2, strict=True)])


def _by_model(table: pd.DataFrame, names: list[str]) -> list[str]:
    """Add the model to each row's name where the table has several."""
    models = list(table.model) if "model" in table else []
    if len(set(models)) < 2:
        return names
    return [f"{name}, {model or 'not named'}" for name, model in zip(names, models, strict=True)]


def intervals(axes: Axes, table: pd.DataFrame, value: str, names: Sequence[str], *, xlabel: str) -> Axes:
    """Draw a share with its interval for each name, a series for each calibration, and a line at 0.5.

    Args:
        axes: where to draw.
        table: a row for each name and calibration: calibration, low, high, and the share.
        value: the share's column.
        names: name of each row.
        xlabel: what the share is.

    Returns:
        The same axes; the first name is on top.
    """
    rows = list(dict.fromkeys(names))
    table = table.assign(name=names)
    calibrations = list(dict.fromkeys(table.calibration))
    for number, calibration in enumerate(calibrations):
        part = table[table.calibration == calibration]
        offset = 0.22 * (number - (len(calibrations) - 1) / 2)
        heights = [rows.index(name) + offset for name in part["name"]]
        drawn = [Interval(*ends, n=0) for ends in zip(part[value], part.low, part.high, strict=True)]
        label = CALIBRATION_NAMES[calibration]
        plot_intervals(axes, heights, drawn, number=number, across=True, label=label)
    mark_chance(axes)
    name_rows(axes, rows)
    axes.set(xlabel=xlabel, xlim=(0, 1))
    return axes


def bias_figure(pairs: pd.DataFrame, features: pd.DataFrame | None = None) -> Figure:
    """Draw the preference in every pair, and beside it how visible each feature is alone.

    Args:
        pairs: what `icl.bias_table` gave; of several models each has a row of its own.
        features: what `icl.feature_table` gave; without it the second panel is left out.

    Returns:
        A figure of one or two panels.
    """
    names = row_names(pairs)
    alone: list[str] = []
    if features is not None:
        alone = _by_model(features, [feature.rpartition(".")[2] for feature in features.feature])
    num_rows = max(len(set(names)), len(set(alone)))
    num_panels = 1 if features is None else 2
    figure, axes = panels(1, num_panels, width=5.4, height=0.42 * num_rows + 1.5, squeeze=False)
    axes = axes[0]
    intervals(axes[0], pairs, "h1_accuracy", names, xlabel="h1-accuracy (0: follows h2, 1: follows h1)")
    axes[0].set_title("two features that agree in the demonstrations")
    if features is not None:
        intervals(axes[1], features, "accuracy", alone, xlabel="accuracy on the feature alone")
        axes[1].set_title("one feature alone")
    legend_below(figure, axes[0], ncols=3)
    return figure


def bias_sentence(pairs: pd.DataFrame, calibration: str = "median") -> str:
    """Say for how many pairs the interval leaves out 0.5, and which.

    Args:
        pairs: what `icl.bias_table` gave.
        calibration: the calibration looked at.
    """
    looked_at = pairs[pairs.calibration == calibration]
    named = [
        f"{name} {row['h1_accuracy']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        for name, row in zip(row_names(looked_at), looked_at.to_dict("records"), strict=True)
        if row["has_preference"]
    ]
    which = ": " + "; ".join(named) if named else ""
    return (
        f"Decided {CALIBRATION_NAMES[calibration]}, the interval leaves out 0.5 for {len(named)} of "
        f"{len(looked_at)} pairs{which}."
    )


def visibility_sentence(pairs: pd.DataFrame, features: pd.DataFrame, calibration: str = "median") -> str:
    """Say in how many pairs the model follows the feature that it sees better alone.

    Args:
        pairs: what `icl.bias_table` gave.
        features: what `icl.feature_table` gave.
        calibration: the calibration looked at.
    """
    alone = features[features.calibration == calibration].to_dict("records")
    accuracy = {(row.get("model"), row["feature"]): row["accuracy"] for row in alone}
    table = pairs[pairs.calibration == calibration]
    agrees = [
        (row["h1_accuracy"] > 0.5)
        == (accuracy[row.get("model"), row["h1"]] > accuracy[row.get("model"), row["h2"]])
        for row in table.to_dict("records")
    ]
    exceptions = [name for name, does in zip(row_names(table), agrees, strict=True) if not does]
    which = f" (not in {', '.join(exceptions)})" if exceptions else ""
    return (
        f"In {sum(agrees)} of {len(agrees)} pairs the model leans to the feature that it finds again more often "
        f"when it is shown alone{which}."
    )


def set_figure(rows: Sequence[Mapping[str, Any]], num_first: int = 3, calibration: str = "median") -> Figure:
    """Draw every demonstration set's h1-accuracy, and the mean of the first few beside that of all.

    Args:
        rows: what `icl.bias_run` gave for several sets.
        num_first: the sets that a smaller experiment would have had.
        calibration: the calibration looked at.
    """
    table = pd.DataFrame(checked_rows(rows)).query("calibration == @calibration")
    table = table.assign(accuracy=table.num_h1 / table.n, pair=row_names(table))
    pairs = list(dict.fromkeys(table.pair))
    figure, axes = panels(1, 1, width=7.2, height=0.45 * len(pairs) + 1.6)
    parts = {f"sets 1 to {num_first}": table["set"] < num_first, "later sets": table["set"] >= num_first}
    for number, (label, is_part) in enumerate(parts.items()):
        part = table[is_part]
        heights = [pairs.index(name) + 0.12 * (2 * number - 1) for name in part.pair]
        style = markers_only(number, fillstyle=("full", "none")[number])
        axes.plot(part.accuracy, heights, label=label, **style)
    means = table.groupby("pair", sort=False).accuracy.mean()
    axes.plot(means, range(len(pairs)), linestyle="", marker="|", markersize=22, color="black", label="mean")
    mark_chance(axes)
    name_rows(axes, pairs)
    axes.set(xlabel="h1-accuracy behind one set of demonstrations", xlim=(0, 1))
    legend_below(figure, axes, ncols=3)
    return figure


def published_figure(pairs: pd.DataFrame, published: pd.DataFrame, calibration: str = "median") -> Figure:
    """Draw our h1-accuracy with its interval beside the published ones.

    Args:
        pairs: what `icl.bias_table` gave.
        published: what `icl.published_baselines` gave for the same h2.
        calibration: of ours.
    """
    ours = pairs[pairs.calibration == calibration]
    names = row_names(ours)
    figure, axes = panels(1, 1, width=7.2, height=0.45 * len(names) + 1.6)
    intervals(axes, ours, "h1_accuracy", names, xlabel="h1-accuracy (0: follows h2, 1: follows h1)")
    for number, model in enumerate(published.columns, start=1):
        measured = published.loc[list(ours.h2), model]
        axes.plot(measured, range(len(names)), label=model, **markers_only(number))
    handles, labels = axes.get_legend_handles_labels()
    labels = ["the embedded model" if name in CALIBRATION_NAMES.values() else name for name in labels]
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def condition_figure(table: pd.DataFrame) -> Figure:
    """Draw what the search for a steadier condition saw.

    Args:
        table: what `icl.condition_table` gave.
    """
    places = range(len(table))
    figure, axes = panels(1, 2, width=4.6, height=0.42 * len(table) + 1.5, sharey=True)
    axes[0].plot(table.visibility, places, **markers_only(0))
    mark_chance(axes[0])
    axes[0].set(xlabel="accuracy on one feature alone", title="how visible features are")
    axes[1].plot(table.spread, places, label="measured", **markers_only(0))
    chance = markers_only(1, fillstyle="none")
    axes[1].plot(table.chance_spread, places, label="from the number of items alone", **chance)
    axes[1].set(xlabel="standard deviation of h1-accuracy", title="how far sets differ")
    axes[1].set_xlim(left=0)
    name_rows(axes[0], list(table.condition))
    legend_below(figure, axes[1], ncols=2)
    return figure


def effect_table(effects: pd.DataFrame, value: str = "change") -> pd.DataFrame:
    """Lay out changes: a row for each pair or feature, a column for each intervention.

    Args:
        effects: what `icl.intervention_effects` or `icl.published_effects` gave for one direction, or what
            `icl.steering` gave.
        value: the column to show.
    """
    names = (
        [pair_name(h1, h2) for h1, h2 in zip(effects.h1, effects.h2, strict=True)]
        if "h2" in effects
        else [f"{task} / {feature}" for task, feature in zip(effects.task, effects.feature, strict=True)]
    )
    table = effects.assign(name=names).pivot(index="name", columns="intervention", values=value)
    return table.loc[list(dict.fromkeys(names)), list(KIND_NAMES)]


def effect_heatmap(axes: Axes, effects: pd.DataFrame, *, title: str, limit: float) -> Axes:
    """Draw the change that every intervention makes.

    Args:
        axes: where to draw.
        effects: as for `effect_table`.
        title: the panel's title.
        limit: change at which the colours end, as a share.

    Returns:
        The same axes. Numbers are points of a hundred; a star marks an interval that leaves out 0.
    """
    points = effect_table(effects).map(lambda change: f"{100 * change:+.0f}")
    if "works" in effects:
        points += effect_table(effects.assign(star=effects.works | effects.backfires), "star").map(
            {True: "*", False: ""}.get
        )
    seaborn.heatmap(
        effect_table(effects),
        ax=axes,
        annot=points,
        fmt="",
        cmap="PuOr",
        center=0,
        vmin=-limit,
        vmax=limit,
        cbar=False,
        linewidths=0.5,
        annot_kws={"fontsize": 9},
    )
    axes.set_xticklabels(KIND_NAMES.values(), rotation=0, fontsize=8)
    axes.tick_params(axis="y", rotation=0, labelsize=9)
    axes.grid(visible=False)
    axes.set(xlabel="", ylabel="", title=title)
    return axes


def effects_figure(effects: Mapping[str, pd.DataFrame], *, limit: float = 0.6) -> Figure:
    """Draw heat maps of interventions, a row for each model, a column for each direction.

    Args:
        effects: model -> what `icl.intervention_effects` or `icl.published_effects` gave.
        limit: change at which the colours end, as a share.
    """
    heights = [int(rows.groupby("direction").size().max()) // len(KIND_NAMES) for rows in effects.values()]
    figure, axes = panels(
        len(effects),
        2,
        width=5.4,
        height=0.34 * sum(heights) / len(heights) + 1.0,
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    for row, (model, rows) in zip(axes, effects.items(), strict=True):
        for panel, direction in zip(row, ("h1", "h2"), strict=True):
            towards = rows[rows.direction == direction]
            effect_heatmap(panel, towards, title=f"{model}, towards {direction}", limit=limit)
    _colour_bar(figure, axes, limit, "change towards the intended feature, points")
    return figure


def steering_figure(effects: pd.DataFrame, *, limit: float = 0.6) -> Figure:
    """Draw how far both directions of every intervention lie apart.

    Args:
        effects: what `icl.steering` gave.
        limit: difference at which the colours end, as a share.
    """
    figure, axes = panels(1, 1, width=6.4, height=0.34 * len(effects) / len(KIND_NAMES) + 1.0)
    effect_heatmap(axes, effects, title="h1-accuracy: towards h1 less towards h2", limit=limit)
    _colour_bar(figure, axes, limit, "points")
    return figure


def _colour_bar(figure: Figure, axes: Any, limit: float, label: str) -> None:
    shades = ScalarMappable(Normalize(-100 * limit, 100 * limit), cmap="PuOr")
    figure.colorbar(shades, ax=axes, label=label, shrink=0.7)


def steering_sentence(effects: pd.DataFrame) -> str:
    """Say for each kind of intervention how far its two directions lie apart.

    Args:
        effects: what `icl.steering` gave.
    """
    parts = [
        f"{kind} {100 * part.change.mean():+.0f} points (steers {int(part.works.sum())} of {len(part)} pairs)"
        for kind, part in effects.groupby("intervention", sort=False)
    ]
    return f"Mean distance between the two directions: {'; '.join(parts)}."


def effects_sentence(effects: pd.DataFrame) -> str:
    """Say how often interventions work, and which kind moves the model most.

    Args:
        effects: what `icl.intervention_effects` gave.
    """
    means = effects.groupby("intervention", sort=False).change.mean().sort_values(ascending=False)
    listed = ", ".join(f"{kind} {100 * value:+.0f} points" for kind, value in means.items())
    return (
        f"Of {len(effects)} interventions {int(effects.works.sum())} move the model towards the intended feature by "
        f"more than chance and {int(effects.backfires.sum())} away from it. Mean change: {listed}."
    )


def effect_summary(effects: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Compute the mean change of each kind of intervention in each direction, in points.

    Args:
        effects: model -> what `icl.intervention_effects` or `icl.published_effects` gave.
    """
    columns = {
        (model, f"towards {direction}"): 100
        * rows[rows.direction == direction].groupby("intervention").change.mean()
        for model, rows in effects.items()
        for direction in ("h1", "h2")
    }
    return pd.DataFrame(columns).loc[list(KIND_NAMES)].round(1)
