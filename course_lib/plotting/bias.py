"""Figures of chapter 4: which feature a model follows, how steadily, and what an intervention changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.stats import pearsonr

from course_lib.checks.arrays import check_numbers
from course_lib.checks.calls import Check, an_axes, border, check_choice, optional
from course_lib.checks.tables import check_columns, check_table, table_with, with_columns
from course_lib.checks.types import Count, Positive, Text
from course_lib.checks.values import check_flag, check_same_length, check_text, check_texts, mapping_to
from course_lib.errors import CourseError
from course_lib.icl.calibration import Calibration
from course_lib.icl.experiments.tables import table_of
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


def _shares(*columns: str, value: str) -> Check:
    """Return the check of a table of shares with their intervals; an interval's ends may be NaN, of one set alone."""

    def checked(name: str, rows: Any) -> pd.DataFrame:
        table = check_table(name, rows, (*columns, "calibration", "low", "high"), finite=[value])
        # Of one set an interval's ends are infinite.
        for end, endless in (("low", -math.inf), ("high", math.inf)):
            finite = [0.0 if one != one or one == endless else one for one in table[end]]
            check_numbers(f"{end} of {name}", finite)
        for calibration in table.calibration:
            check_choice("calibration", calibration, CALIBRATION_NAMES)
        return table

    return checked


def _of_calibration(table: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    check_choice("calibration in this table", calibration, map(str, table.calibration))
    return table[table.calibration == calibration]


_PAIRS = _shares("h1", "h2", value="h1_accuracy")
_FEATURES = _shares("feature", value="accuracy")


def _effects(*columns: str, with_verdict: bool = False) -> Check:
    """Return the check of a table of what interventions changed."""
    verdict = ("works", "backfires") if with_verdict else ()

    def checked(name: str, rows: Any) -> pd.DataFrame:
        table = check_table(name, rows, ("intervention", *columns, *verdict), finite=("change",))
        for kind in table.intervention:
            check_choice("intervention", kind, KIND_NAMES)
        for column in {"works", "backfires"} & set(table.columns):
            for value in table[column].tolist():
                check_flag(f"{column} of {name}", value)
        return table

    return checked


@border()
def pair_name(h1: Text, h2: Text) -> str:
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


@border(table=with_columns("h1", "h2"))
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


def _feature_names(features: pd.DataFrame) -> list[str]:
    return [name.rpartition(".")[2] for name in check_texts("feature of features", list(features.feature))]


@border(axes=an_axes, names=check_texts)
def intervals(axes: Axes, table: pd.DataFrame, value: str, names: Sequence[str], *, xlabel: Text) -> Axes:
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
    check_text("value", value)
    table = _shares(value=value)("table", table)
    check_same_length(table=table, names=names)
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


@border(pairs=_PAIRS, features=optional(_FEATURES))
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
        alone = _by_model(features, _feature_names(features))
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


@border(pairs=_PAIRS)
def bias_sentence(pairs: pd.DataFrame, calibration: Calibration = "median") -> str:
    """Say for how many pairs the interval leaves out 0.5, and which.

    Args:
        pairs: what `icl.bias_table` gave.
        calibration: the calibration looked at.
    """
    looked_at = check_columns("pairs", _of_calibration(pairs, calibration), ["has_preference"])
    for value in looked_at.has_preference.tolist():
        check_flag("has_preference of pairs", value)
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


@border(pairs=_PAIRS, features=_FEATURES)
def visibility_sentence(
    pairs: pd.DataFrame, features: pd.DataFrame, calibration: Calibration = "median"
) -> str:
    """Say in how many pairs the model follows the feature that it sees better alone, and how closely.

    Args:
        pairs: what `icl.bias_table` gave.
        features: what `icl.feature_table` gave.
        calibration: the calibration looked at.

    Raises:
        CourseError: a column is missing, the rows of this calibration, or a feature alone that a pair has.
    """
    alone = _of_calibration(features, calibration).to_dict("records")
    accuracy = {f"{row['feature']}, {row.get('model')}": row["accuracy"] for row in alone}
    table = _of_calibration(pairs, calibration)
    margins = []
    for row in table.to_dict("records"):
        first, second = (
            accuracy[check_choice("feature alone, and model,", f"{row[side]}, {row.get('model')}", accuracy)]
            for side in ("h1", "h2")
        )
        margins.append(first - second)
    agrees = [(h1 > 0.5) == (margin > 0) for h1, margin in zip(table.h1_accuracy, margins, strict=True)]
    exceptions = [name for name, does in zip(row_names(table), agrees, strict=True) if not does]
    which = f" (not in {', '.join(exceptions)})" if exceptions else ""
    return (
        f"In {sum(agrees)} of {len(agrees)} pairs the model leans to the feature that it finds again more often "
        f"when it is shown alone{which}.{_correlation_sentence(margins, list(table.h1_accuracy))}"
    )


def _correlation_sentence(margins: list[float], h1_accuracies: list[float]) -> str:
    """Say how h1-accuracy goes with the margin by which h1 is seen better, where there are pairs enough for it."""
    # Fisher's interval needs four, and neither a constant.
    if len(margins) < 4 or len(set(margins)) < 2 or len(set(h1_accuracies)) < 2:
        return ""
    found = pearsonr(margins, h1_accuracies)
    low, high = found.confidence_interval(0.95)
    return (
        f" Over these {len(margins)} pairs h1-accuracy and the margin by which h1 alone is found again more often than "
        f"h2 alone correlate with r = {found.statistic:.2f} [{low:.2f}, {high:.2f}]."
    )


@border()
def set_figure(
    rows: Sequence[Mapping[str, Any]], num_first: Count = 3, calibration: Calibration = "median"
) -> Figure:
    """Draw every demonstration set's h1-accuracy, and the mean of the first few beside that of all.

    Args:
        rows: what `icl.bias_run` gave for several sets.
        num_first: the sets that a smaller experiment would have had.
        calibration: the calibration looked at.

    Raises:
        CourseError: as `icl.bias_table`; no rows of this calibration.
    """
    table = check_table("rows", table_of(rows, calibration, ("h1", "h2", "num_h1")), finite=["set"])
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


@border(pairs=_PAIRS, published=with_columns())
def published_figure(
    pairs: pd.DataFrame, published: pd.DataFrame, calibration: Calibration = "median"
) -> Figure:
    """Draw our h1-accuracy with its interval beside the published ones.

    Args:
        pairs: what `icl.bias_table` gave.
        published: what `icl.published_baselines` gave for the same h2.
        calibration: of ours.
    """
    ours = _of_calibration(pairs, calibration)
    for h2 in ours.h2:
        check_choice("published feature", h2, map(str, published.index))
    check_numbers("published", published, num_dims=2)
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


@border(table=table_with("condition", finite=("visibility", "spread", "chance_spread")))
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


@border(effects=_effects())
def effect_table(effects: pd.DataFrame, value: Text = "change") -> pd.DataFrame:
    """Lay out changes: a row for each pair or feature, a column for each intervention.

    Args:
        effects: what `icl.intervention_effects` or `icl.published_effects` gave for one direction, or what
            `icl.steering` gave.
        value: the column to show.

    Raises:
        CourseError: a column is missing; an intervention is missing for one pair, or there twice.
    """
    pair = ("h1", "h2") if "h2" in effects else ("task", "feature")
    check_table("effects", effects, (*pair, value))
    one, other = (check_texts(f"{column} of effects", list(effects[column])) for column in pair)
    shown = pair_name if "h2" in effects else "{} / {}".format
    names = [shown(first, second) for first, second in zip(one, other, strict=True)]
    found = sorted(zip(names, effects.intervention, strict=True))
    wanted = sorted((name, kind) for name in set(names) for kind in KIND_NAMES)
    if found != wanted:
        raise CourseError(
            "Each pair or feature must have every intervention once, of one direction.", given=found
        )
    table = effects.assign(name=names).pivot(index="name", columns="intervention", values=value)
    return table.loc[list(dict.fromkeys(names)), list(KIND_NAMES)]


@border(axes=an_axes, effects=_effects())
def effect_heatmap(axes: Axes, effects: pd.DataFrame, *, title: Text, limit: Positive) -> Axes:
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


@border(effects=mapping_to(_effects("direction")))
def effects_figure(effects: Mapping[str, pd.DataFrame], *, limit: Positive = 0.6) -> Figure:
    """Draw heat maps of interventions, a row for each model, a column for each direction.

    Args:
        effects: model -> what `icl.intervention_effects` or `icl.published_effects` gave.
        limit: change at which the colours end, as a share.
    """
    tables = [
        [effect_table(_towards(rows, direction)) for direction in ("h1", "h2")] for rows in effects.values()
    ]
    heights = [max(map(len, both)) for both in tables]
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
            towards = _towards(rows, direction)
            effect_heatmap(panel, towards, title=f"{model}, towards {direction}", limit=limit)
    _colour_bar(figure, axes, limit, "change towards the intended feature, points")
    return figure


def _towards(rows: pd.DataFrame, direction: str) -> pd.DataFrame:
    check_choice("direction in these rows", direction, map(str, rows.direction))
    return rows[rows.direction == direction]


@border(effects=_effects())
def steering_figure(effects: pd.DataFrame, *, limit: Positive = 0.6) -> Figure:
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


@border(effects=_effects(with_verdict=True))
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


@border(effects=_effects(with_verdict=True))
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


@border(effects=mapping_to(_effects("direction")))
def effect_summary(effects: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Compute the mean change of each kind of intervention in each direction, in points.

    Args:
        effects: model -> what `icl.intervention_effects` or `icl.published_effects` gave.

    Raises:
        CourseError: a column is missing, or a direction or an intervention of one model.
    """
    columns = {}
    for model, rows in effects.items():
        for direction in ("h1", "h2"):
            means = _towards(rows, direction).groupby("intervention").change.mean()
            for kind in KIND_NAMES:
                check_choice(f"intervention towards {direction}", kind, means.index)
            columns[model, f"towards {direction}"] = 100 * means
    return pd.DataFrame(columns).loc[list(KIND_NAMES)].round(1)
