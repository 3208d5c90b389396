"""Answers with and without calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from course_lib.errors import CourseError
from course_lib.icl.calibration import (
    CONTENT_FREE_INPUTS,
    content_free_rows,
    contextual_scores,
    decide,
    median_scores,
)
from course_lib.icl.prompting import TEMPLATES

few = settings(max_examples=60, deadline=None, derandomize=True)
log_probabilities = st.integers(1, 12).flatmap(
    lambda n: arrays(np.float64, (n, 2), elements=st.floats(-20, -0.01))
)


def test_the_worked_example_flips() -> None:
    p, content_free = np.log([[0.3, 0.7]]), np.log([[0.2, 0.8]])
    np.testing.assert_allclose(contextual_scores(p, content_free), [[1.5, 0.875]])
    assert decide(p).predictions.tolist() == [1]
    assert decide(p, "contextual", content_free).predictions.tolist() == [0]


def test_content_free_probabilities_are_averaged_over_the_inputs() -> None:
    content_free = np.log([[0.1, 0.9], [0.3, 0.7]])
    np.testing.assert_allclose(contextual_scores(np.log([[0.3, 0.7]]), content_free), [[1.5, 0.875]])


def test_only_the_labels_own_shares_count() -> None:
    # the label words hold a thousandth of the probability, and a millionth behind one empty input
    p = np.log([[0.3, 0.7]]) + np.log(1e-3)
    content_free = np.log([[0.1, 0.9], [0.3, 0.7]]) + np.log([[1e-6], [0.5]])
    np.testing.assert_allclose(contextual_scores(p, content_free), [[1.5, 0.875]])


@given(values=log_probabilities, shift=st.floats(-5, 5))
@few
def test_a_taste_for_one_label_is_taken_out(values: np.ndarray, shift: float) -> None:
    values = values.round(2)
    biased = values + np.array([0.0, shift])
    before, after = decide(values, "median"), decide(biased, "median")
    np.testing.assert_allclose(before.scores, after.scores, atol=1e-9)
    content_free = np.log([[0.5, 0.5]])
    plain = contextual_scores(values, content_free)
    again = contextual_scores(biased, content_free + np.array([0.0, shift]))
    np.testing.assert_allclose(plain[:, 0] / plain[:, 1], again[:, 0] / again[:, 1], rtol=1e-6)


def test_the_median_splits_the_items_in_halves_and_names_the_tie() -> None:
    difference = np.array([-3.0, -2.5, -2.0, -1.0])
    values = np.stack([np.full(4, -1.0), difference - 1], axis=1)
    assert decide(values).predictions.tolist() == [0, 0, 0, 0]
    even = decide(values, "median")
    assert (even.predictions.tolist(), even.num_ties) == ([0, 0, 1, 1], 0)
    odd = decide(values[:3], "median")
    assert (odd.predictions.tolist(), odd.num_ties) == ([0, 0, 1], 1)


def test_equal_answers_everywhere_are_all_ties() -> None:
    same = decide(np.full((6, 2), -1.0), "median")
    assert (same.predictions.tolist(), same.num_ties) == ([0] * 6, 6)
    assert decide(np.full((6, 3), -1.0)).num_ties == 6


def test_content_free_rows_fill_every_field() -> None:
    rows = content_free_rows(TEMPLATES["pair"])
    assert [row["premise"] for row in rows] == list(CONTENT_FREE_INPUTS) == ["N/A", "", "[MASK]"]
    assert TEMPLATES["pair"].fill(rows[0]) == "Premise: N/A\nHypothesis: N/A\nLabel:"
    assert TEMPLATES["text"].fill(content_free_rows(TEMPLATES["text"])[1]) == "Input:  Label:"


def test_no_items_have_no_answers() -> None:
    for calibration, content_free in (("none", None), ("contextual", np.log([[0.5, 0.5]]))):
        assert decide(np.zeros((0, 2)), calibration, content_free).predictions.shape == (0,)


def test_what_was_not_scored_is_no_probability_of_zero() -> None:
    for missing in (np.nan, -np.inf):
        with pytest.raises(CourseError, match="not finite"):
            decide(np.array([[-1.0, missing]]))
        with pytest.raises(CourseError, match="not finite"):
            decide(np.array([[-1.0, -2.0]]), "contextual", np.array([[-1.0, missing]]))


def test_bad_calls_are_refused() -> None:
    values = np.array([[-1.0, -2.0, -3.0]])
    with pytest.raises(CourseError, match="two labels"):
        decide(values, "median")
    with pytest.raises(CourseError, match="two labels"):
        median_scores(np.zeros((0, 2)))
    with pytest.raises(CourseError, match="Did you mean 'median'"):
        decide(values, "medain")
    with pytest.raises(CourseError, match="belong to contextual"):
        decide(values, "contextual")
    with pytest.raises(CourseError, match="belong to contextual"):
        decide(values, "none", values)
    with pytest.raises(CourseError, match="same 3 labels"):
        decide(values, "contextual", np.array([[-1.0, -2.0]]))
    with pytest.raises(CourseError, match="same 3 labels"):
        decide(values, "contextual", np.zeros((0, 3)))
    with pytest.raises(CourseError, match="num_labels"):
        decide(np.array([-1.0, -2.0]))
