"""Figures of chapter 4: next tokens, log-odds and their thresholds, accuracy over demonstrations, tokens read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.checks.arrays import check_labels, check_numbers
from course_lib.checks.calls import an_axes, border, check_choice, each
from course_lib.checks.tables import table_with
from course_lib.checks.types import Count, Text
from course_lib.checks.values import (
    check_count,
    check_mapping,
    check_number,
    check_same_length,
    check_share,
    check_text,
    check_texts,
    mapping_to,
)
from course_lib.errors import CourseError
from course_lib.icl.calibration import Calibration
from course_lib.plotting.style import (
    COLOURS,
    HATCHES,
    LINE_STYLES,
    horizontal_bars,
    letter_panels,
    markers_only,
    panels,
    plot_mean,
)

# How tables name a calibration -> how a figure does.
CALIBRATION_NAMES: dict[Calibration, str] = {
    "none": "raw",
    "contextual": "contextual calibration",
    "median": "median threshold",
}

_two_labels = partial(check_labels, num_labels=2)
# What `icl.context_run` gives, and what `icl.context_table` makes of it.
_RUNS = table_with("calibration", "set", finite=("num_demonstrations", "accuracy", "share_of_1"))
_MEANS = ("num_demonstrations", "accuracy", "share_of_1")
_INTERVALS = table_with("calibration", finite=(*_MEANS, "low", "high"))


def _a_next_token(name: str, value: Any) -> tuple[str, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise CourseError(f"{name} must be a token and its probability.", given=value)
    return check_text(name, value[0]), check_share(f"The probability of {name}", value[1])


_next_tokens = mapping_to(each(_a_next_token))


@border(probabilities=_next_tokens)
def next_token_figure(probabilities: Mapping[str, Sequence[tuple[str, float]]]) -> Figure:
    """Draw which tokens a model expects next, a panel for each prompt.

    Args:
        probabilities: panel title -> pairs of token and probability, the most probable first.

    Returns:
        A figure; a space is written ␣ and a line break ↵.
    """
    figure, axes = panels(1, len(probabilities), width=3.6, height=2.8, squeeze=False)
    for panel, (title, pairs) in zip(axes[0], probabilities.items(), strict=True):
        tokens = [visible(token) for token, _ in pairs]
        horizontal_bars(panel, tokens, [share for _, share in pairs], xlabel="probability")
        panel.set(title=title, xlim=(0, 1.15))
    letter_panels(figure)
    return figure


@border(probabilities=_next_tokens)
def next_token_sentence(probabilities: Mapping[str, Sequence[tuple[str, float]]]) -> str:
    """Say which token each prompt makes most probable.

    Args:
        probabilities: as for `next_token_figure`.
    """
    parts = [
        f"with {title}, {visible(pairs[0][0])} at {pairs[0][1]:.2f}" for title, pairs in probabilities.items()
    ]
    return f"The most probable next token: {'; '.join(parts)}."


@border()
def visible(token: Text) -> str:
    """Write a token so that white space can be seen.

    Args:
        token: the token's text.

    Returns:
        The text with marks for spaces and line breaks.

    Example:
        >>> visible(" The"), visible("\\n")
        ('␣The', '↵')
    """
    return token.replace(" ", "␣").replace("\n", "↵")


@border(
    axes=an_axes,
    values=check_numbers,
    labels=_two_labels,
    thresholds=partial(check_mapping, check=check_number, least=0),
    names=partial(check_texts, least=2),
)
def log_odds(
    axes: Axes, values: np.ndarray, labels: np.ndarray, thresholds: Mapping[str, float], names: Sequence[str]
) -> Axes:
    """Draw the log-odds of label 1 as two histograms, one for each true label, with thresholds.

    Args:
        axes: where to draw.
        values: log p(label 1) - log p(label 0), float [n].
        labels: true labels, int [n].
        thresholds: what each is called -> its place; items to its right get label 1.
        names: what label 0 and label 1 are.

    Returns:
        The same axes.
    """
    check_same_length(values=values, labels=labels)
    if len(names) != 2:
        raise CourseError("There must be a name for label 0 and one for label 1.", given=names)
    bins = np.histogram_bin_edges(values, bins=14).tolist()
    for label, name in enumerate(names):
        of_label = values[labels == label]
        axes.hist(
            of_label,
            bins=bins,
            label=f"label {label}, {name}",
            facecolor=(COLOURS[label], 0.3),
            edgecolor=COLOURS[label],
            hatch=HATCHES[label],
        )
    for number, (name, place) in enumerate(thresholds.items()):
        style = LINE_STYLES[number % len(LINE_STYLES)]
        axes.axvline(place, color="black", linestyle=style, linewidth=1.6, label=f"{name}: {place:.2f}")
    axes.set(xlabel="log-odds, log p(1) − log p(0), in nats", ylabel="reviews")
    axes.locator_params(axis="y", integer=True)
    axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return axes


@border(predictions=mapping_to(_two_labels), labels=_two_labels)
def decision_sentence(predictions: Mapping[str, np.ndarray], labels: np.ndarray) -> str:
    """Say for each way of deciding how often the answer is label 1, and how often it is right.

    Args:
        predictions: name -> answers, int [n].
        labels: true labels, int [n].
    """
    for name, answers in predictions.items():
        check_same_length(**{"labels": labels, f"predictions[{name!r}]": answers})
    parts = [
        f"{name}, label 1 for {_percent(answers.mean())}, right for {_percent((answers == labels).mean())}"
        for name, answers in predictions.items()
    ]
    return f"Of {len(labels)} reviews: {'; '.join(parts)}."


@border(reference=_RUNS, live=_RUNS)
def context_figure(reference: pd.DataFrame, live: pd.DataFrame) -> Figure:
    """Draw accuracy and label shares over the number of demonstrations, raw and calibrated.

    Args:
        reference: rows of `icl.context_run` over several sets: means with 95 % intervals over the sets.
        live: the same of a smaller run, drawn as hollow markers, its mean over the sets.

    Returns:
        A figure of two panels.

    Raises:
        CourseError: a column is missing, or the rows of a calibration.
    """
    for name, rows in (("reference", reference), ("live", live)):
        for calibration in CALIBRATION_NAMES:
            check_choice(f"calibration in {name}", calibration, map(str, rows["calibration"]))
    figure, axes = panels(1, 2, width=4.8, height=4.0)
    counts = sorted({*reference["num_demonstrations"], *live["num_demonstrations"]})
    for panel, value in zip(axes, ("accuracy", "share_of_1"), strict=True):
        _context_panel(panel, reference, live, value, counts)
    axes[0].set(title="accuracy", ylabel="share of reviews that are right")
    axes[1].set(title="answers of label 1", ylabel="share of reviews", ylim=(-0.04, 1.12))
    handles, labels = axes[0].get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))
    order = sorted(entries, key=lambda label: label.endswith("your run"))
    named = [label if label.endswith("your run") else f"{label}, reference" for label in order]
    figure.legend([entries[label] for label in order], named, loc="outside lower center", ncols=2, fontsize=9)
    letter_panels(figure)
    return figure


def _context_panel(
    axes: Axes, reference: pd.DataFrame, live: pd.DataFrame, value: str, counts: list[int]
) -> None:
    """Draw one value of every calibration, side by side at each number of demonstrations."""
    axes.axhline(0.5, color="0.4", linewidth=1)
    for number, (calibration, name) in enumerate(CALIBRATION_NAMES.items()):
        shift = 0.12 * (number - 1)
        tables = [
            rows[rows["calibration"] == calibration].pivot_table(
                index="num_demonstrations", columns="set", values=value
            )
            for rows in (reference, live)
        ]
        places = [[counts.index(count) + shift for count in table.index] for table in tables]
        plot_mean(axes, places[0], tables[0].to_numpy(), label=name, number=number)
        style = markers_only(number, markerfacecolor="white", markersize=9)
        axes.plot(places[1], tables[1].mean(axis=1), zorder=3, label=f"{name}, your run", **style)
    axes.set_xticks(range(len(counts)), [str(count) for count in counts])
    axes.set_xlabel("demonstrations")


@border(table=_INTERVALS)
def context_sentence(table: pd.DataFrame) -> str:
    """Say how accuracy changes from no demonstration to the most, for each calibration.

    Args:
        table: what `icl.context_table` gives.
    """
    fewest, most = min(table["num_demonstrations"]), max(table["num_demonstrations"])
    parts = [
        f"{name}, {_percent(_row(table, fewest, key).accuracy)} and {_with_interval(_row(table, most, key))}"
        for key, name in CALIBRATION_NAMES.items()
    ]
    shares = [_row(table, count, "none").share_of_1 for count in (fewest, most)]
    return (
        f"Reference accuracy with {fewest} and {most} demonstrations: {'; '.join(parts)}. "
        f"Raw, label 1 is the answer to {_percent(shares[0])} and {_percent(shares[1])}."
    )


@border(table=_INTERVALS)
def context_claims(table: pd.DataFrame, num_demonstrations: Count = 16) -> list[tuple[str, str]]:
    """Put what papers claim about in-context learning beside what was measured.

    Args:
        table: what `icl.context_table` gives, of several sets.
        num_demonstrations: where raw and calibrated answers are compared.

    Returns:
        Pairs of claim and measurement.
    """
    fewest, most = min(table["num_demonstrations"]), max(table["num_demonstrations"])
    raw, contextual, median = (_row(table, num_demonstrations, key) for key in CALIBRATION_NAMES)
    ends = {key: [_row(table, count, key) for count in (fewest, most)] for key in ("none", "median")}
    return [
        (
            "More demonstrations give higher accuracy (Brown et al. 2020).",
            f"from {fewest} to {most} demonstrations, raw {_percent(ends['none'][0].accuracy)} to "
            f"{_with_interval(ends['none'][1])}, with a median threshold {_percent(ends['median'][0].accuracy)} "
            f"to {_with_interval(ends['median'][1])}.",
        ),
        (
            "The prompt biases a model towards some labels (Zhao et al. 2021).",
            f"half of the reviews have label 1; with {num_demonstrations} demonstrations the raw answer is "
            f"label 1 for {_percent(raw.share_of_1)} of them.",
        ),
        (
            "Contextual calibration raises GPT-3's accuracy, by up to 30 points (Zhao et al. 2021).",
            f"raw {_with_interval(raw)}, contextual {_with_interval(contextual)}, "
            f"{100 * (contextual.accuracy - raw.accuracy):+.1f} points; a median threshold "
            f"{_with_interval(median)}, {100 * (median.accuracy - raw.accuracy):+.1f} points.",
        ),
        (
            "Calibrated accuracy depends less on which demonstrations are shown (Zhao et al. 2021).",
            "half-widths of the 95 % intervals over the sets: "
            + ", ".join(f"{name} {_half_width(row)}" for name, row in zip(
                CALIBRATION_NAMES.values(), (raw, contextual, median), strict=True
            ))
            + "; a raw interval is narrow, too, where the answer is nearly always the same label.",
        ),
    ]  # fmt: skip


@border(table=table_with("calibration", finite=_MEANS))
def context_headline(table: pd.DataFrame) -> str:
    """Say in one sentence how accurate raw and thresholded answers are with the most demonstrations.

    Args:
        table: what `icl.context_table` gives.
    """
    most = max(table["num_demonstrations"])
    raw, median = (_row(table, most, key) for key in ("none", "median"))
    return (
        f"With {most} demonstrations the raw answer is label 1 for {_percent(raw.share_of_1)} of balanced reviews, "
        f"and right for {_percent(raw.accuracy)}; with a median threshold {_percent(median.accuracy)} are right."
    )


def _row(table: pd.DataFrame, num_demonstrations: int, calibration: Calibration) -> pd.Series:
    chosen = (table["num_demonstrations"] == num_demonstrations) & (table["calibration"] == calibration)
    if not chosen.any():
        raise CourseError(
            f"The table has no row of calibration {calibration!r} and {num_demonstrations} demonstrations.",
            given=table[["num_demonstrations", "calibration"]].to_dict("records"),
        )
    return table[chosen].iloc[0]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _with_interval(row: pd.Series) -> str:
    return f"{_percent(row.accuracy)} [{100 * row.low:.0f}, {100 * row.high:.0f}]"


def _half_width(row: pd.Series) -> str:
    return f"±{100 * (row.high - row.accuracy):.0f} points"


@border(
    axes=an_axes,
    prefix_tokens=partial(check_count, least=0),
    item_tokens=each(partial(check_count, least=0)),
)
def tokens_read(axes: Axes, prefix_tokens: int, item_tokens: Sequence[int]) -> Axes:
    """Draw how many tokens a model reads, with whole prompts and with the prefix read once.

    Args:
        axes: where to draw.
        prefix_tokens: tokens of the shared part.
        item_tokens: tokens of each item [n].

    Returns:
        The same axes.
    """
    own, num_items = sum(item_tokens), len(item_tokens)
    prefixes = [num_items * prefix_tokens, prefix_tokens]
    axes.barh([0, 1], prefixes, color=COLOURS[0], label="prefix")
    bars = axes.barh([0, 1], [own, own], left=prefixes, color=COLOURS[4], hatch=HATCHES[1], label="items")
    axes.bar_label(bars, [f"{prefix + own:,}" for prefix in prefixes], padding=4)
    axes.set_yticks([0, 1], ["whole prompts", "prefix once"])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlabel=f"tokens read for {num_items} reviews", xlim=(0, 1.2 * (prefixes[0] + own)))
    axes.legend(loc="lower right")
    return axes
