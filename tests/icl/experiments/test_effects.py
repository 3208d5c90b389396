"""Changes by interventions: signs, pairing by set, and the published table."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.errors import CourseError
from course_lib.icl.experiments.effects import (
    PUBLISHED_FEATURES,
    intended_change,
    intervention_effects,
    published_baselines,
    published_effects,
    steering,
)
from course_lib.icl.experiments.embedded import EMBEDDED_PAIRS
from course_lib.runs import load_published, load_record

SHARES = st.floats(0, 1)


def row(number: int, num_h1: int, kind: str | None = None, direction: str | None = None) -> dict[str, Any]:
    return {
        "h1": "sentiment",
        "h2": "sentiment.short",
        "set": number,
        "intervention": kind,
        "direction": direction,
        "calibration": "median",
        "n": 10,
        "num_h1": num_h1,
    }


@given(SHARES, SHARES)
def test_towards_h2_the_change_is_that_of_h2_accuracy(before: float, after: float) -> None:
    assert intended_change(before, after, "h2") == pytest.approx((1 - after) - (1 - before))
    assert intended_change(before, after, "h1") == -intended_change(before, after, "h2")


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(CourseError, match="direction"):
        intended_change(0.5, 0.6, "h3")


def test_changes_are_paired_by_set() -> None:
    before, after = [2, 5, 8], [4, 7, 10]
    rows = [row(number, count) for number, count in enumerate(before)]
    rows += [row(number, count, "instruction", "h1") for number, count in enumerate(after)]
    (effect,) = intervention_effects(rows[::-1]).to_dict("records")
    assert effect["baseline"] == pytest.approx(0.5)
    assert effect["h1_accuracy"] == pytest.approx(0.7)
    # every set moves by the same 0.2: paired, there is no spread at all
    assert (effect["low"], effect["change"], effect["high"]) == pytest.approx((0.2, 0.2, 0.2))
    assert effect["works"]
    assert not effect["backfires"]


def test_a_move_away_from_the_intended_feature_backfires() -> None:
    rows = [row(number, 4 + number) for number in range(3)]
    rows += [row(number, 6 + number, "explanation", "h2") for number in range(3)]
    (effect,) = intervention_effects(rows).to_dict("records")
    assert effect["change"] == pytest.approx(-0.2)
    assert effect["backfires"]
    assert not effect["works"]


def test_one_set_gives_no_verdict() -> None:
    rows = [row(0, 2), row(0, 9, "verbalizer", "h1")]
    (effect,) = intervention_effects(rows).to_dict("records")
    assert not effect["works"]
    assert not effect["backfires"]


def test_an_intervention_without_its_baseline_is_refused() -> None:
    rows = [row(0, 5), row(1, 6, "instruction", "h1")]
    with pytest.raises(CourseError, match="same set without it"):
        intervention_effects(rows)


def test_what_both_directions_do_alike_is_no_steering() -> None:
    rows = [row(number, 2) for number in range(3)]
    for number in range(3):  # both directions bring the model to no preference
        rows += [row(number, 5, "explanation", direction) for direction in ("h1", "h2")]
    towards_h1 = intervention_effects(rows).set_index("direction").loc["h1"]
    assert towards_h1["works"]
    (effect,) = steering(rows).to_dict("records")
    assert effect["change"] == 0
    assert not effect["works"]


def test_steering_is_the_distance_between_the_directions_paired_by_set() -> None:
    rows = [row(number, 3 + number, "instruction", "h1") for number in range(3)]
    rows += [row(number, 1 + number, "instruction", "h2") for number in range(3)]
    (effect,) = steering(rows).to_dict("records")
    assert (effect["low"], effect["change"], effect["high"]) == pytest.approx((0.2, 0.2, 0.2))
    with pytest.raises(CourseError, match="Both directions"):
        steering(rows[:5])


def test_a_calibration_without_rows_is_refused() -> None:
    with pytest.raises(CourseError, match="no rows"):
        intervention_effects([row(0, 5)], "contextual")


def test_the_published_table_is_whole() -> None:
    published = load_published("icl_interventions")
    assert published.groupby(["model", "steer"]).size().to_dict() == {
        ("davinci", "h1"): 13,
        ("davinci", "h2"): 18,
        ("text-davinci-002", "h1"): 13,
        ("text-davinci-002", "h2"): 18,
    }
    assert published.drop(columns=["model", "steer", "task", "feature"]).stack().between(0, 100).all()
    # the baseline is one measurement, repeated for both directions
    assert (published.groupby(["model", "task", "feature"]).baseline.nunique() == 1).all()


def test_published_changes_are_shares_towards_the_intended_feature() -> None:
    effects = published_effects(load_published("icl_interventions"), "davinci").set_index(
        ["task", "feature", "direction", "intervention"]
    )
    assert effects.change["sentiment", "domain", "h2", "disambiguation"] == pytest.approx(0.558)
    assert effects.change["nli", "genre", "h1", "disambiguation"] == pytest.approx(0.419)


def test_published_features_have_our_names_in_our_order() -> None:
    effects = published_effects(load_published("icl_interventions"), "davinci")
    shown = list(dict.fromkeys(zip(effects.task, effects.feature, strict=True)))
    measured = [tuple(h2.split(".")) for _, h2 in EMBEDDED_PAIRS]
    assert shown[: len(measured)] == measured
    assert ("nli", "genre") in shown
    assert ("sentiment", "capitalization") not in shown
    shorter = effects.set_index(["task", "feature", "direction", "intervention"]).baseline
    assert shorter["nli", "shorter", "h1", "verbalizer"] == pytest.approx(0.477)


def test_steering_keeps_the_order_of_the_rows() -> None:
    rows = load_record("icl_interventions").rows
    expected = list(dict.fromkeys((row["h1"], row["h2"]) for row in rows))
    table = steering(rows)
    assert list(dict.fromkeys(zip(table.h1, table.h2, strict=True))) == expected


def test_every_measured_pair_has_its_published_counterpart() -> None:
    baselines = published_baselines(load_published("icl_interventions"), [h2 for _, h2 in EMBEDDED_PAIRS])
    assert list(baselines.index) == [h2 for _, h2 in EMBEDDED_PAIRS]
    assert baselines.loc["sentiment.domain"].to_dict() == pytest.approx(
        {"davinci": 0.561, "text-davinci-002": 0.924}
    )
    assert baselines.loc["nli.shorter", "davinci"] == pytest.approx(0.477)
    assert not baselines.isna().any(axis=None)


def test_unknown_published_names_are_refused() -> None:
    published = load_published("icl_interventions")
    with pytest.raises(CourseError, match="davinci"):
        published_effects(published, "gpt")
    with pytest.raises(CourseError, match="published feature"):
        published_baselines(published, ["sentiment.food"])
    assert "sentiment.food" not in PUBLISHED_FEATURES
