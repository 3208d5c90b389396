"""h-accuracy and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.errors import CourseError
from course_lib.icl.bias import feature_bias, h_accuracy
from tests.smart.tiny import few

H1 = [1] * 100 + [0] * 100
H2 = [0] * 100 + [1] * 100


def answers(share_on_10: int, share_on_01: int) -> list[int]:
    """Predictions with so many of label 1 on the (1, 0) half and on the (0, 1) half, of 100 each."""
    return [1] * share_on_10 + [0] * (100 - share_on_10) + [1] * share_on_01 + [0] * (100 - share_on_01)


def test_the_published_worked_value() -> None:
    """Label 1 on 72 % of the (1, 0) half and 35 % of the (0, 1) half: h1 = 68.5, h2 = 31.5."""
    assert 100 * h_accuracy(answers(72, 35), H1) == pytest.approx(68.5)
    assert 100 * h_accuracy(answers(72, 35), H2) == pytest.approx(31.5)


def test_the_same_answer_everywhere_is_no_preference_and_shows_in_the_share() -> None:
    bias = feature_bias([answers(100, 100)] * 3, [H1] * 3, [H2] * 3)
    assert bias.h1_accuracy.mean == 0.5
    assert not bias.has_preference
    assert bias.share_of_1 == 1.0


@few
@given(st.lists(st.integers(0, 1), min_size=1, max_size=50), st.integers(0, 2**32 - 1))
def test_h1_and_h2_accuracy_add_up_to_one(h1: list[int], seed: int) -> None:
    predictions = np.random.default_rng(seed).integers(0, 2, len(h1))
    bias = feature_bias([predictions], [h1], [[1 - label for label in h1]])
    assert bias.h1_accuracy.mean + bias.h2_accuracy.mean == pytest.approx(1)
    assert bias.h1_accuracy.mean == h_accuracy(predictions, h1)


def test_sets_not_items_are_the_unit() -> None:
    """Two sets that disagree fully: 400 items would give a narrow interval, two sets a wide one."""
    bias = feature_bias([answers(100, 0), answers(0, 100)], [H1] * 2, [H2] * 2)
    assert bias.h1_accuracy[:3] == (0.5, 0.0, 1.0)
    assert bias.set_accuracies == (1.0, 0.0)
    assert bias.num_items == (200, 200)


def test_a_preference_is_an_interval_without_one_half() -> None:
    towards_h1 = feature_bias([answers(80, 20)] * 5, [H1] * 5, [H2] * 5)
    towards_h2 = feature_bias([answers(20, 80)] * 5, [H1] * 5, [H2] * 5)
    assert towards_h1.has_preference
    assert towards_h2.has_preference
    assert towards_h1.h1_accuracy.low > 0.5 > towards_h2.h1_accuracy.high
    assert towards_h2.h2_accuracy.low > 0.5


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [
        ([], []),
        ([1, 0], [1]),
        ([1, 2], [1, 0]),
        ([1, None], [1, 0]),
        ([0.5, 1], [1, 0]),
        ([[1], [0]], [1, 0]),
    ],
)
def test_what_are_no_labels_is_refused(predictions: list, labels: list) -> None:
    with pytest.raises(CourseError):
        h_accuracy(predictions, labels)


def test_items_on_which_the_hypotheses_agree_are_refused() -> None:
    with pytest.raises(CourseError, match="differ on every"):
        feature_bias([[1, 0]], [[1, 0]], [[1, 1]])


@pytest.mark.parametrize("parts", [([], [], []), ([[1]], [[1], [0]], [[0]])])
def test_every_part_needs_every_set(parts: tuple) -> None:
    with pytest.raises(CourseError, match="same number of sets"):
        feature_bias(*parts)
