"""Training and held-out accuracy over the number of examples, at a tiny size on the real encoder."""

from __future__ import annotations

import pandas as pd
import pytest

from course_lib.complexity import generalization_gaps, sample_size_sweep
from course_lib.complexity.capacity import ENCODER, LINEAR, sample_size_run
from course_lib.errors import CourseError

COLUMNS = [
    "model",
    "num_examples",
    "seed",
    "side",
    "accuracy",
    "loss",
    "num_parameters",
    "parameter_ratio",
    "seconds",
]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.DataFrame(sample_size_run(8, 3, num_heldout=12, num_epochs=1))


def test_a_run_has_a_row_for_each_model_and_side(rows: pd.DataFrame) -> None:
    assert list(rows.columns) == COLUMNS
    assert list(zip(rows["model"], rows["side"], strict=True)) == [
        (ENCODER, "train"),
        (ENCODER, "held-out"),
        (LINEAR, "train"),
        (LINEAR, "held-out"),
    ]
    assert set(rows["num_examples"]) == {8}
    assert set(rows["seed"]) == {3}


def test_a_run_counts_the_parameters_of_both_models(rows: pd.DataFrame) -> None:
    encoder, linear = (rows[rows["model"] == name].iloc[0] for name in (ENCODER, LINEAR))
    assert (
        encoder["num_parameters"] == 22_713_216 + 2 * 385
    )  # the encoder and a head of 384 + 1 for each label
    assert encoder["parameter_ratio"] == encoder["num_parameters"] / 8
    assert 20 < linear["num_parameters"] < 400


def test_a_run_gives_the_same_numbers_twice(rows: pd.DataFrame) -> None:
    again = pd.DataFrame(sample_size_run(8, 3, num_heldout=12, num_epochs=1))
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), rows.drop(columns="seconds"))


def test_the_linear_model_learns_its_own_examples(rows: pd.DataFrame) -> None:
    train = rows[(rows["model"] == LINEAR) & (rows["side"] == "train")].iloc[0]
    assert train["accuracy"] == 1.0


def test_more_examples_than_there_are_is_an_error_before_anything_is_trained() -> None:
    with pytest.raises(CourseError, match="Ask for a number from 1 to"):
        sample_size_sweep([1_000_000], [0], num_heldout=8, num_epochs=1, progress=False)


def test_the_gap_is_training_minus_heldout_accuracy() -> None:
    rows = pd.DataFrame(
        [
            {
                "model": "m",
                "num_examples": n,
                "seed": s,
                "parameter_ratio": 1 / n,
                "side": side,
                "accuracy": a,
            }
            for n, s, side, a in [
                (8, 0, "train", 1.0),
                (8, 0, "held-out", 0.625),
                (8, 1, "train", 0.875),
                (8, 1, "held-out", 0.75),
            ]
        ]
    )
    assert list(generalization_gaps(rows)["gap"]) == [0.375, 0.125]
