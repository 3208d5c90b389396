"""What is measured of a fine-tuning run: distance, flips, and what is forgotten."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from course_lib.complexity import retrieval_accuracy
from course_lib.complexity.updating import caption_pairs, learning_rate_sweep
from course_lib.errors import CourseError
from course_lib.models import load_encoder

RUN_COLUMNS = [
    "kind",
    "learning_rate",
    "seed",
    "accuracy",
    "loss",
    "distance",
    "late_flip_share",
    "retrieval_before",
    "retrieval_after",
]
STEP_COLUMNS = ["kind", "learning_rate", "seed", "step", "batch_loss", "step_distance", "flip_share"]


def test_every_caption_is_drawn_once() -> None:
    pairs = caption_pairs(1000)
    assert len(set(pairs["premise"])) == len(set(pairs["document_id"])) == 1000
    assert set(pairs["label"]) == {0}
    assert set(pairs["split"]) == {"validation"}
    assert list(caption_pairs(20)["premise"]) == list(pairs["premise"])[:20]


def test_more_captions_than_there_are_is_an_error() -> None:
    with pytest.raises(CourseError, match="Ask for a number"):
        caption_pairs(100_000)


def test_the_pretrained_encoder_finds_most_captions_again() -> None:
    """Measured 0.91, 0.83 and 0.84 over three draws; chance is 0.01."""
    assert retrieval_accuracy(load_encoder(), caption_pairs(100)) > 0.8


def test_retrieval_needs_the_right_caption() -> None:
    encoder = load_encoder()
    pairs = caption_pairs(20)
    wrong = pairs.to_pandas()
    wrong["premise"] = np.roll(wrong["premise"], 1)
    assert retrieval_accuracy(encoder, type(pairs).from_pandas(wrong)) < 0.2


@pytest.fixture(scope="module")
def sweep() -> tuple[pd.DataFrame, pd.DataFrame]:
    return learning_rate_sweep(
        [1e-5, 1e-3], [0], num_train=8, num_heldout=8, num_steps=2, num_pairs=8, progress=False
    )


def test_a_sweep_gives_a_table_of_runs_and_one_of_steps(sweep: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, steps = sweep
    assert list(runs.columns) == RUN_COLUMNS
    assert list(steps.columns) == STEP_COLUMNS
    assert list(runs["learning_rate"]) == [1e-5, 1e-3]
    assert list(steps["step"]) == [1, 2, 1, 2]


def test_larger_steps_lead_further_away(sweep: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, steps = sweep
    assert runs["distance"][1] > 10 * runs["distance"][0] > 0
    assert list(steps.groupby("learning_rate")["step_distance"].last()) == list(runs["distance"])


def test_every_run_starts_from_the_same_pretrained_weights(sweep: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    assert sweep[0]["retrieval_before"].nunique() == 1


def test_a_run_gives_the_same_numbers_twice(sweep: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    again = learning_rate_sweep(
        [1e-3], [0], num_train=8, num_heldout=8, num_steps=2, num_pairs=8, progress=False
    )
    for first, second in zip(sweep, again, strict=True):
        part = first[first["learning_rate"] == 1e-3].reset_index(drop=True)
        pd.testing.assert_frame_equal(part, second)
