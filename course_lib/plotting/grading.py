"""The figure of a graded class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.figure import Figure

from course_lib.checks.arrays import check_numbers
from course_lib.checks.calls import border
from course_lib.checks.types import Count
from course_lib.checks.values import check_count, mapping_to
from course_lib.plotting.style import COLOURS, HATCHES, panels


@border(counts=mapping_to(mapping_to(partial(check_count, least=0))), totals=check_numbers)
def verdict_figure(counts: Mapping[str, Mapping[str, int]], totals: Sequence[int], out_of: Count) -> Figure:
    """Draw how each task ended over a class, and how the marks are distributed.

    Args:
        counts: for each task, in order from the top, how many submissions ended with each verdict.
        totals: the marks of each submission.
        out_of: the marks that could be earned.

    Returns:
        A figure with two panels.
    """
    figure, (left, right) = panels(1, 2, width=5.5, height=3.6)
    # Verdicts keep their colours whether others occur or not.
    verdicts = list(dict.fromkeys(verdict for row in counts.values() for verdict in row))
    start = [0] * len(counts)
    for number, verdict in enumerate(verdicts):
        lengths = [row[verdict] for row in counts.values()]
        if not any(lengths):
            continue
        left.barh(
            range(len(counts)),
            lengths,
            left=start,
            color=COLOURS[(number + 2) % len(COLOURS)],
            hatch=HATCHES[number % len(HATCHES)],
            edgecolor="white",
            label=verdict,
        )
        start = [before + length for before, length in zip(start, lengths, strict=True)]
    left.set_yticks(range(len(counts)), list(counts))
    left.invert_yaxis()
    left.xaxis.get_major_locator().set_params(integer=True)
    left.grid(visible=False, axis="y")
    left.set(xlabel="submissions", title="How each task ended")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    right.hist(totals, bins=[mark - 0.5 for mark in range(out_of + 2)], color=COLOURS[0])
    right.yaxis.get_major_locator().set_params(integer=True)
    right.set(xlabel=f"marks of {out_of}", ylabel="submissions", title="Marks")
    return figure
