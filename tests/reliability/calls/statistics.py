"""Right calls of `course_lib.statistics`."""

from __future__ import annotations

from course_lib import statistics
from tests.reliability import _wrong_values as wrong
from tests.reliability.fuzz import Call


def calls() -> list[Call]:
    """Return the calls."""
    finite_lists = wrong.list_of(wrong.numbers())
    return [
        Call(
            statistics.mean_interval,
            lambda: {"values": [0.7, 0.75, 0.8], "confidence": 0.95},
            {"values": wrong.numbers(), "confidence": wrong.open_share},
        ),
        Call(
            statistics.hierarchical_bootstrap,
            lambda: {
                "values": [[1.0, 0.0, 1.0], [0.0, 1.0]],
                "confidence": 0.9,
                "num_resamples": 50,
                "seed": 3,
            },
            {
                "values": finite_lists,
                "confidence": wrong.open_share,
                "num_resamples": wrong.count(),
                "seed": wrong.seed,
            },
        ),
        Call(
            statistics.flip_shares,
            lambda: {"predictions": [[0, 1, 1, 0], [0, 0, 1, 1]]},
            {"predictions": wrong.list_of(wrong.labels(None), least=2)},
        ),
        Call(
            statistics.expected_calibration_error,
            lambda: {"logits": [[2.0, 0.0], [0.0, 1.0], [1.0, 0.5]], "labels": [0, 1, 1], "num_bins": 5},
            {"logits": wrong.scores, "labels": wrong.labels(2), "num_bins": wrong.count()},
        ),
    ]
