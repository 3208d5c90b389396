"""One style for every figure: readable, and told apart without colour."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.checks.arrays import check_numbers
from course_lib.checks.calls import a_figure, an_axes, border
from course_lib.checks.types import Count, Flag, Positive, Text
from course_lib.checks.values import check_count, check_same_length, check_texts
from course_lib.statistics import Interval, mean_interval

# Okabe and Ito's palette, made to be told apart by colour-blind readers (jfly.uni-koeln.de/color,
# 2008), without its yellow, which is too faint on white. Each colour goes with a marker and a line
# style of its own, so that a figure also reads in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)))
HATCHES = ("", "//", "..", "xx", "\\\\", "oo", "++")

_a_number, _a_side = partial(check_count, least=0), partial(check_count, most=100)

RC: dict[Any, Any] = {
    "figure.dpi": 110,
    "savefig.bbox": "tight",
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
}


@border(number=_a_number)
def series_style(number: int) -> dict[str, Any]:
    """Return colour, marker and line style of the n-th series of a figure.

    Args:
        number: n, from 0.

    Returns:
        Arguments of matplotlib's `plot`.
    """
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINE_STYLES[number % len(LINE_STYLES)],
    }


@border(number=_a_number)
def markers_only(number: int, **options: Any) -> dict[str, Any]:
    """Return the style of the n-th series without its line; options override it.

    Args:
        number: n, from 0.
        **options: further arguments of matplotlib's `plot`.

    Returns:
        Arguments of matplotlib's `plot`.
    """
    return {**series_style(number), "linestyle": "", **options}


@border(num_rows=_a_side, num_columns=_a_side)
def panels(
    num_rows: int = 1, num_columns: int = 1, *, width: Positive = 4.0, height: Positive = 3.2, **options: Any
) -> Any:
    """Make a figure with panels in the course's style.

    Args:
        num_rows: rows of panels.
        num_columns: columns of panels.
        width: inches of one panel.
        height: inches of one panel.
        **options: further arguments of `matplotlib.pyplot.subplots`.

    Returns:
        The figure and its axes, one Axes or an array of them.
    """
    plt.rcParams.update(RC)
    return plt.subplots(num_rows, num_columns, figsize=(width * num_columns, height * num_rows), **options)


@border(axes=an_axes, values=partial(check_numbers, num_dims=2), number=_a_number)
def plot_mean(axes: Axes, x: Any, values: np.ndarray, *, label: Text, number: int, **options: Any) -> None:
    """Draw means with their 95 % intervals; without intervals where there is one run.

    Args:
        axes: where to draw.
        x: positions [n].
        values: one row of repeated runs for each position [n, runs].
        label: the series' name.
        number: number of the series, which decides its style.
        **options: override the style.
    """
    check_same_length(x=x, values=values)
    plot_intervals(axes, x, list(map(mean_interval, values)), number=number, label=label, **options)


@border(axes=an_axes, number=_a_number)
def plot_intervals(
    axes: Axes,
    places: Any,
    intervals: Sequence[Interval],
    *,
    number: int,
    across: Flag = False,
    **options: Any,
) -> None:
    """Draw means with their intervals; the mean alone where an end is infinite, as that of a single run is.

    Args:
        axes: where to draw.
        places: positions [n].
        intervals: one for each position.
        number: number of the series, which decides its style.
        across: whether the values run along x and the places along y, as markers without a line.
        **options: override the style; `label` names the series.
    """
    means = [interval.mean for interval in intervals]
    ends = np.abs([[each.mean - each.low, each.high - each.mean] for each in intervals]).T
    bars = np.where(np.isfinite(ends), ends, np.nan) if np.isfinite(ends).any() else None
    where = {"x": means, "y": places, "xerr": bars} if across else {"x": places, "y": means, "yerr": bars}
    style = markers_only(number) if across else series_style(number)
    axes.errorbar(**where, capsize=3, **{**style, **options})


@border(axes=an_axes, number=_a_number)
def plot_hollow(axes: Axes, x: Any, y: Any, *, number: int) -> None:
    """Draw single runs as hollow markers of a series, beside its mean.

    Args:
        axes: where to draw.
        x: positions [n].
        y: values [n].
        number: number of the series.
    """
    style = series_style(number)
    axes.scatter(x, y, marker=style["marker"], facecolors="none", edgecolors=style["color"], s=70)


@border(axes=an_axes)
def name_rows(axes: Axes, names: Collection[str]) -> None:
    """Name the rows of a panel whose values run along x; the first is on top, at 0.

    Args:
        axes: the panel.
        names: a name for each row.
    """
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.5, -0.5)


@border(axes=an_axes)
def mark_chance(axes: Axes) -> None:
    """Draw a dotted line at one half, where neither of two answers is preferred.

    Args:
        axes: where to draw.
    """
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":")


@border(figure=a_figure, axes=an_axes)
def legend_below(figure: Figure, axes: Axes, *, ncols: int, **options: Any) -> None:
    """Put the legend of one panel under the whole figure.

    Args:
        figure: the figure.
        axes: the panel whose series are named.
        ncols: columns of the legend.
        **options: further arguments of matplotlib's `legend`.
    """
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, **options)


@border(axes=an_axes, labels=check_texts, values=check_numbers)
def horizontal_bars(axes: Axes, labels: Sequence[str], values: Sequence[float], *, xlabel: Text) -> Axes:
    """Draw one bar for each label, the first on top, with its value written beside it.

    Args:
        axes: where to draw.
        labels: what each bar stands for.
        values: length of each bar.
        xlabel: what the lengths measure, with the unit.

    Returns:
        The same axes.
    """
    check_same_length(labels=labels, values=values)
    bars = axes.barh(range(len(labels)), values, color=COLOURS[0])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=xlabel, xlim=(0, 1.15 * max(values)))
    return axes


@border(texts=partial(check_texts, least=0))
def shortened(texts: Sequence[str], length: Count) -> list[str]:
    """Cut texts to a length, for labels.

    Args:
        texts: the texts.
        length: most characters of each.

    Returns:
        The texts, the cut ones with an ellipsis at their end.

    Example:
        >>> shortened(["a long label", "short"], 8)
        ['a long …', 'short']
    """
    return [text if len(text) <= length else text[: length - 1] + "…" for text in texts]


@border(figure=a_figure)
def letter_panels(figure: Figure) -> None:
    """Put (a), (b), … before the titles of a figure's panels.

    Args:
        figure: the figure.
    """
    for number, axes in enumerate(figure.axes):
        title = axes.get_title()
        axes.set_title("")
        axes.set_title(f"({chr(ord('a') + number)}) {title}", loc="left")
