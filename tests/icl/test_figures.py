"""Figures and sentences of chapter 4: a table without its rows or columns is refused, not drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from course_lib.errors import CourseError
from course_lib.plotting import bias, icl, slider
from course_lib.prompts.verbalizers import shared_length
from tests.reliability.calls.icl_figures import _context_rows, _effects, _features, _preferences


def test_sentences_name_the_rows_that_are_missing() -> None:
    table = _context_rows()
    with pytest.raises(CourseError, match="calibration 'median' and 0 demonstrations"):
        icl.context_sentence(table[table.calibration != "median"])
    with pytest.raises(CourseError, match="calibration 'none' and 8 demonstrations"):
        icl.context_claims(table, num_demonstrations=8)


def test_a_feature_that_was_not_measured_alone_is_named() -> None:
    features = _features()
    with pytest.raises(CourseError, match="feature alone") as error:
        bias.visibility_sentence(_preferences(), features[features.feature != "sentiment.short"])
    assert "sentiment.short" in str(error.value)
    assert bias.visibility_sentence(_preferences(), features).startswith("In 0 of 2 pairs")


def test_an_answer_for_each_label_is_needed() -> None:
    """One answer once was compared with every label."""
    with pytest.raises(CourseError, match="one length"):
        icl.decision_sentence({"raw": np.array([1])}, np.array([0, 1, 1]))


def test_an_intervention_that_is_missing_is_refused() -> None:
    effects = _effects()
    with pytest.raises(CourseError, match="every intervention once"):
        bias.effect_table(effects.iloc[1:])
    with pytest.raises(CourseError, match="every intervention once"):
        bias.effect_table(pd.concat([effects, effects.iloc[:1]]))


@pytest.mark.parametrize("options", [[], "text", None])
def test_a_slider_needs_options(options: Any) -> None:
    with pytest.raises(CourseError, match="options"):
        slider(print, options, label="degree")


def test_a_slider_starts_at_one_of_its_options() -> None:
    with pytest.raises(CourseError, match="start at one"):
        slider(print, [1, 2], label="degree", value=3)


def test_nothing_shares_no_beginning() -> None:
    with pytest.raises(CourseError, match="at least 1"):
        shared_length([])


def test_how_closely_a_preference_follows_what_is_seen_is_a_correlation_over_pairs() -> None:
    pairs, alone = _preferences().iloc[[0] * 4], _features().iloc[[0] * 5]
    names = [f"sentiment.{name}" for name in ("domain", "short", "punctuation", "uppercase")]
    pairs = pairs.assign(h2=names, h1_accuracy=[0.6, 0.5, 0.4, 0.3], calibration="median")
    alone = alone.assign(
        feature=["sentiment", *names], accuracy=[0.7, 0.6, 0.7, 0.8, 0.9], calibration="median"
    )
    assert "over these 4 pairs" in bias.visibility_sentence(pairs, alone).lower()
    assert "r = 1.00" in bias.visibility_sentence(pairs, alone)
    # three pairs say nothing of a correlation
    assert "correlate" not in bias.visibility_sentence(pairs[:3], alone)
