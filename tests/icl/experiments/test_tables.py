"""Rows put together: sets are counted once, models are kept apart, counts that cannot be are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from course_lib.errors import CourseError
from course_lib.icl.experiments.effects import intervention_effects, steering
from course_lib.icl.experiments.tables import bias_table, compare_models, feature_table, table_of
from course_lib.plotting.bias import bias_figure, bias_sentence, row_names, set_figure, visibility_sentence


def rows_of(
    model: str | None, counts: tuple[int, ...], *, n: int = 20, **others: Any
) -> list[dict[str, Any]]:
    names = {"h1": "sentiment", "h2": "sentiment.short", "intervention": None, "direction": None}
    return [
        {
            **({"model": model} if model else {}),
            **names,
            "set": number,
            "seed": 0,
            "calibration": "median",
            "n": n,
            "share_of_1": 0.5,
            "num_ties": 0,
            "num_h1": count,
            **others,
        }
        for number, count in enumerate(counts)
    ]


def test_models_are_not_pooled() -> None:
    """Six sets of two models once made one row of six sets, with an interval too narrow."""
    table = bias_table([*rows_of("base", (4, 5, 6)), *rows_of("tuned", (15, 16, 17))])
    assert table[["model", "num_sets", "h1_accuracy"]].to_dict("records") == [
        {"model": "base", "num_sets": 3, "h1_accuracy": 0.25},
        {"model": "tuned", "num_sets": 3, "h1_accuracy": pytest.approx(0.8)},
    ]


def test_rows_without_a_model_are_of_one_that_is_not_named() -> None:
    (row,) = bias_table(rows_of(None, (4, 5, 6))).to_dict("records")
    assert (row["model"], row["num_sets"]) == (None, 3)


def test_rows_come_back_from_a_csv_file(tmp_path: Path) -> None:
    rows = [*rows_of("base", (4, 5, 6)), *rows_of("tuned", (15, 16, 17))]
    rows += rows_of("base", (1, 2, 3), intervention="instruction", direction="h1")
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    read = pd.read_csv(tmp_path / "rows.csv").to_dict("records")
    pd.testing.assert_frame_equal(bias_table(read), bias_table(rows))


@pytest.mark.parametrize(
    "again", [rows_of("base", (4, 5, 6)), rows_of("base", (0,)), rows_of("base", (4,), share_of_1=0.1)]
)
def test_a_set_counts_once(again: list[dict[str, Any]]) -> None:
    rows = [*rows_of("base", (4, 5, 6)), *again]
    for together in (bias_table, lambda rows: table_of(rows, "median"), set_figure):
        with pytest.raises(CourseError, match="Rows 0 and 3 are of the same set"):
            together(rows)


def test_other_seeds_are_other_sets() -> None:
    (row,) = bias_table([*rows_of("base", (4, 5)), *rows_of("base", (6, 7), seed=1)]).to_dict("records")
    assert row["num_sets"] == 4


@pytest.mark.parametrize(
    "wrong",
    [{"num_h1": 99}, {"num_h1": -1}, {"num_h1": 1.5}, {"n": 0}, {"n": 2.5}, {"n": "20"}, {"num_ties": 21},
     {"share_of_1": 1.2}, {"share_of_1": "half"}, {"set": [1]}, {"model": {"a": 1}}],
)  # fmt: skip
def test_counts_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    """99 of 20 answers once were an accuracy of 1.0."""
    with pytest.raises(CourseError, match="of row 1"):
        bias_table([*rows_of("base", (4,)), {**rows_of("base", (4, 5))[1], **wrong}])


@pytest.mark.parametrize(
    "rows", [[], [{"a": 1}], {"a": 1}, "rows", [3], [{"calibration": "none", "set": 0, "n": 3}]]
)
def test_what_is_no_measurement_is_refused(rows: Any) -> None:
    for together in (bias_table, feature_table):
        with pytest.raises(CourseError):
            together(rows)


# --- two models ------------------------------------------------------------------------------------


def test_the_difference_is_paired_by_set() -> None:
    """Both models move with the set; that the second is 5 of 20 ahead in each is seen all the same."""
    rows = [*rows_of("base", (2, 8, 14)), *rows_of("tuned", (7, 13, 19))]
    (row,) = compare_models(rows, "tuned", "base").to_dict("records")
    assert row == {
        "h1": "sentiment", "h2": "sentiment.short", "intervention": None, "direction": None,
        "difference": pytest.approx(0.25), "low": pytest.approx(0.25), "high": pytest.approx(0.25),
        "differs": True, "num_sets": 3,
    }  # fmt: skip
    (back,) = compare_models(rows, "base", "tuned").to_dict("records")
    assert back["difference"] == pytest.approx(-0.25)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (rows_of("tuned", (4, 5)), "set by set"),
        (rows_of("tuned", (4, 5, 6), n=30), "set by set"),
        (rows_of("tuned", (4, 5, 6), seed=1), "set by set"),
        (rows_of("tuned", (4, 5, 6), calibration="none"), "no rows of this model"),
        ([], "no rows of this model"),
    ],
)
def test_models_on_other_sets_are_not_compared(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(CourseError, match=message):
        compare_models([*rows_of("base", (4, 5, 6)), *rows], "tuned", "base")


def test_effects_of_several_models_are_not_pooled() -> None:
    rows = [
        row
        for model in ("base", "tuned")
        for kind, direction in ((None, None), ("instruction", "h1"), ("instruction", "h2"))
        for row in rows_of(model, (4, 5, 6), intervention=kind, direction=direction)
    ]
    for compared in (intervention_effects, steering):
        with pytest.raises(CourseError, match="more than one model"):
            compared(rows)
        assert len(compared([row for row in rows if row["model"] == "base"]))


# --- figures ---------------------------------------------------------------------------------------


def test_each_model_has_a_row_in_the_figures() -> None:
    rows = [*rows_of("base", (4, 5, 6)), *rows_of("tuned", (15, 16, 17))]
    table = bias_table(rows)
    names = ["sentiment / short, base", "sentiment / short, tuned"]
    assert row_names(table) == names
    for figure in (bias_figure(table), set_figure(rows)):
        assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == names
    assert "for 2 of 2 pairs: sentiment / short, base 0.25" in bias_sentence(table)
    assert row_names(table[table.model == "base"]) == ["sentiment / short"]


def test_what_a_model_sees_alone_is_its_own() -> None:
    def alone(model: str, feature: str, count: int) -> dict[str, Any]:
        counts = {"n": 20, "num_right": count, "share_of_1": 0.5, "num_ties": 0, "set": 0}
        return {"model": model, "feature": feature, "calibration": "median", **counts}

    features = feature_table(
        [alone("base", "sentiment", 10), alone("base", "sentiment.short", 15),
         alone("tuned", "sentiment", 18), alone("tuned", "sentiment.short", 12)]
    )  # fmt: skip
    table = bias_table([*rows_of("base", (4, 5, 6)), *rows_of("tuned", (15, 16, 17))])
    assert visibility_sentence(table, features).startswith("In 2 of 2 pairs")
