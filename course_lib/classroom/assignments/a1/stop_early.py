"""Find the bug."""

from __future__ import annotations

import numpy as np

from course_lib.classroom.assignments.assignment import Case
from course_lib.classroom.assignments.building import Bug, bug_variants

TITLE = "Find the bug in an early-stopping rule"
MARKS = 4
HINT = "Take the first losses of the text above and write down `best`, `waited` and the epoch line by line."


def _stop_right(losses, patience, min_delta):
    best, best_epoch, waited = float("inf"), 0, 0
    for epoch, loss in enumerate(losses):
        if loss < best - min_delta:
            best, best_epoch, waited = loss, epoch, 0
        else:
            waited += 1
        if waited == patience:
            return best_epoch, epoch
    return best_epoch, len(losses) - 1


_IMPROVED = "            best, best_epoch, waited = loss, epoch, 0\n"
_BUGS = (
    Bug(
        "never reset",
        "Waiting starts anew after an improvement.",
        [(_IMPROVED, "            best, best_epoch = loss, epoch\n")],
        "the bug is in the waiting",
        "Follow `waited` by hand over a loss that improves after it has once got worse.",
        "training stops long before it should, although the loss kept improving",
    ),
    Bug(
        "previous",
        "An improvement is one over the best loss so far, not over the last.",
        [
            (_IMPROVED, "            best_epoch, waited = epoch, 0\n"),
            ("    best, best_epoch, waited", "    previous, best_epoch, waited"),
            ("loss < best", "loss < previous"),
            ("            waited += 1\n", "            waited += 1\n        previous = loss\n"),
        ],
        "the bug is in the comparison",
        "What is each loss compared with, and what should it be compared with?",
        "the model that is kept is sometimes worse than one it had before",
    ),
    Bug(
        "one late",
        "With patience 1, the first epoch that does not improve is the last.",
        [("waited == patience", "waited > patience")],
        "the bug is in the patience",
        "Count by hand how many epochs without improvement it takes until this returns.",
        "training always goes on for longer than the patience it was given",
    ),
    Bug("creep", "An improvement of less than `min_delta` is none.", [("best - min_delta", "best")]),
    Bug(
        "equal",
        "Lower by `min_delta` exactly is no improvement: it takes more.",
        [("loss < best", "loss <= best")],
    ),
)


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    runs: list[tuple[list[float], int, float]] = [
        ([1.0, 0.8, 0.9, 0.7, 0.75, 0.72, 0.71, 0.6], 3, 0.0),
        ([1.0, 0.9, 1.2, 1.1, 1.0, 0.95, 0.93], 3, 0.0),
        ([1.0, 0.999, 0.998, 0.997, 0.5], 2, 0.01),
        ([0.5, 0.6, 0.7], 5, 0.0),
        ([1.0, float("nan"), float("nan"), 0.2], 2, 0.0),
        # Equal losses, and those lower by `min_delta` exactly; the creep is none once it has come far enough.
        ([1.0, 1.0, 0.5, 0.5, 0.5, 0.25], 2, 0.0),
        ([1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125], 4, 0.25),
        # A first loss that is NaN, one epoch, losses far from 1, differences of nearly nothing.
        ([float("nan"), 0.75, 0.5, float("nan"), 0.25], 2, 0.0),
        ([0.5], 1, 0.0),
        ([3e9, 2e9, 1e9, 2e9], 1, 0.0),
        ([-1.0, -2.0, -3.0, -2.5, -3.25, -2.0], 2, 0.5),
        ([0.5, 0.4999999, 0.4999998, 0.4999999], 2, 0.0),
        # The last epoch is the one that stops it, or would be the next.
        ([1.0, 0.5, 0.6, 0.7], 2, 0.0),
        ([1.0, 0.5, 0.6, 0.7], 3, 0.0),
        ([1.0, 1.5, 0.5, 0.25], 1, 0.0),
    ]
    for _ in range(4):
        losses = 1 / np.arange(1, 13) + 0.15 * rng.random(12)
        runs.append((np.round(losses, 3).tolist(), int(rng.integers(2, 4)), 0.0125))
    return [Case({"losses": losses, "patience": p, "min_delta": delta}) for losses, p, delta in runs]


VARIANTS = bug_variants("stop_early", _stop_right, _BUGS)
