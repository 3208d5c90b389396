"""Accuracy over the number of demonstrations, on the embedded model and real sentences."""

from __future__ import annotations

import pytest

from course_lib.errors import CourseError
from course_lib.icl.experiments import context_size as accuracy
from course_lib.icl.experiments.context_size import context_run, context_table
from course_lib.texts import labelled_splits, sample_texts


def test_a_run_repeats_itself_and_counts_what_it_says() -> None:
    rows = context_run(1, 4, num_items=8)
    assert rows == context_run(1, 4, num_items=8)
    assert [row["calibration"] for row in rows] == ["none", "contextual", "median"]
    for row in rows:
        assert (row["n"], row["set"], row["num_demonstrations"]) == (8, 1, 4)
        assert row["accuracy"] * 8 == int(row["accuracy"] * 8)
    assert rows[2]["share_of_1"] == 0.5


def test_without_demonstrations_the_prompt_is_the_item_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(scorer, prompt, prefix, test, **options):
        seen.append((prefix, prompt.item(test[0])))
        return iter(())

    monkeypatch.setattr(accuracy, "calibrated_predictions", record)
    context_run(0, 0, num_items=4)
    ((prefix, item),) = seen
    assert prefix == ""
    assert item.startswith("Input: ")


def test_demonstrations_are_never_among_the_items() -> None:
    pool, heldout = labelled_splits("movie", num_heldout=40)
    shown = sample_texts(pool, 64, seed=3)
    assert not set(shown["group"]) & set(heldout["group"])
    assert shown["text"][:8] == sample_texts(pool, 8, seed=3)["text"][:]


def test_one_demonstration_is_refused() -> None:
    with pytest.raises(CourseError, match="one label only"):
        context_run(0, 1, num_items=4)


def test_a_table_has_an_interval_over_sets() -> None:
    rows = [
        {"num_demonstrations": 4, "set": k, "calibration": "none", "accuracy": a, "share_of_1": 0.5}
        for k, a in enumerate((0.4, 0.5, 0.6))
    ]
    (row,) = context_table(rows).to_dict("records")
    assert row["accuracy"] == pytest.approx(0.5)
    assert row["low"] < 0.4 < 0.6 < row["high"]
    assert row["num_sets"] == 3
