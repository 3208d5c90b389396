"""The search for a steadier condition: what it compares, and how it chooses."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd
import pytest

from course_lib.errors import CourseError
from course_lib.icl.experiments import conditions
from course_lib.icl.experiments.conditions import (
    CONDITIONS,
    SEARCH_PAIRS,
    choose_condition,
    condition_run,
    condition_table,
    condition_tasks,
    split_rows,
)
from course_lib.icl.experiments.embedded import EMBEDDED_PAIRS


def pair(condition: str, number: int, num_h1: int) -> dict[str, Any]:
    names = {"h1": "sentiment.domain", "h2": "sentiment.short", "set": number}
    return {"condition": condition, **names, "calibration": "median", "n": 100, "num_h1": num_h1}


def alone(condition: str, number: int, num_right: int) -> dict[str, Any]:
    names = {"feature": "sentiment.short", "set": number}
    return {"condition": condition, **names, "calibration": "median", "n": 100, "num_right": num_right}


def test_no_searched_pair_is_reported() -> None:
    reported = {frozenset(names) for names in EMBEDDED_PAIRS}
    assert not reported & {frozenset(names) for names in SEARCH_PAIRS}
    assert not {"sentiment", "nli"} & {name for names in SEARCH_PAIRS for name in names}


def test_each_other_condition_changes_one_thing() -> None:
    first, *others = map(asdict, CONDITIONS.values())
    assert all(len(first.items() - other.items()) == 1 for other in others)
    assert len({tuple(other.items()) for other in others}) == len(others)


def test_every_condition_sees_the_same_measurements() -> None:
    tasks = pd.DataFrame(condition_tasks(num_sets=2))
    per_condition = tasks.groupby("condition", sort=False).size()
    assert list(per_condition.index) == list(CONDITIONS)
    assert per_condition.nunique() == 1
    assert not tasks.duplicated().any()


def test_a_table_has_visibility_and_spread() -> None:
    rows = [pair("a", 0, 40), pair("a", 1, 60), alone("a", 0, 70), alone("a", 1, 80)]
    (row,) = condition_table(rows).to_dict("records")
    assert row["visibility"] == pytest.approx(0.75)
    assert row["spread"] == pytest.approx(0.02**0.5)
    assert row["chance_spread"] == pytest.approx(0.05)
    assert row["unsteadiness"] == pytest.approx(0.02**0.5 / 0.25)


def test_a_calm_model_that_sees_nothing_is_not_chosen() -> None:
    calm = [pair("blind", 0, 50), pair("blind", 1, 51), alone("blind", 0, 50), alone("blind", 1, 50)]
    seeing = [pair("seeing", 0, 40), pair("seeing", 1, 50), alone("seeing", 0, 90), alone("seeing", 1, 90)]
    assert choose_condition(condition_table(calm + seeing)) == "seeing"


def test_at_the_same_visibility_the_smaller_spread_is_chosen() -> None:
    rows = [pair("wide", 0, 20), pair("wide", 1, 80), alone("wide", 0, 80)]
    rows += [pair("narrow", 0, 55), pair("narrow", 1, 60), alone("narrow", 0, 80)]
    assert choose_condition(condition_table(rows)) == "narrow"


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(CourseError, match="at least two"):
        condition_table([pair("a", 0, 40), alone("a", 0, 70)])
    with pytest.raises(CourseError, match="no rows"):
        condition_table([pair("a", 0, 40)], "contextual")
    blind = condition_table([pair("a", 0, 40), pair("a", 1, 50), alone("a", 0, 40)])
    with pytest.raises(CourseError, match="none of these"):
        choose_condition(blind)


def test_rows_are_parted_by_what_was_measured() -> None:
    rows = [
        pair("16 demonstrations", 0, 40),
        alone("16 demonstrations", 0, 70),
        pair("64 demonstrations", 0, 1),
    ]
    assert split_rows(rows, "16 demonstrations") == ([rows[0]], [rows[1]])
    assert split_rows(rows) == ([rows[0], rows[2]], [rows[1]])
    with pytest.raises(CourseError, match="condition"):
        split_rows(rows, "17 demonstrations")


@pytest.mark.parametrize("h2", [None, "sentiment.short"])
def test_a_condition_reaches_the_measurement(monkeypatch: pytest.MonkeyPatch, h2: str | None) -> None:
    calls = []

    def record(*names: Any, **options: Any) -> list[dict[str, Any]]:
        calls.append((names, options))
        return [{"set": names[-1]}]

    monkeypatch.setattr(conditions, "bias_run", record)
    monkeypatch.setattr(conditions, "feature_run", record)
    rows = condition_run("64 demonstrations", "sentiment.domain", h2, 3, test_size=8)
    assert rows == [{"condition": "64 demonstrations", "set": 3}]
    ((names, options),) = calls
    assert names == (("sentiment.domain", 3) if h2 is None else ("sentiment.domain", h2, 3))
    assert (options["num_demonstrations"], options["template"], options["alternating"]) == (64, None, False)
