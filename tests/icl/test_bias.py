"""h-accuracy of one set; tables over sets are in experiments/test_tables.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.errors import CourseError
from course_lib.icl.bias import h_accuracy
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


def test_the_same_answer_everywhere_is_no_preference() -> None:
    assert h_accuracy(answers(100, 100), H1) == h_accuracy(answers(100, 100), H2) == 0.5


@few
@given(st.lists(st.integers(0, 1), min_size=1, max_size=50), st.integers(0, 2**32 - 1))
def test_h1_and_h2_accuracy_add_up_to_one(h1: list[int], seed: int) -> None:
    predictions = np.random.default_rng(seed).integers(0, 2, len(h1))
    h2 = [1 - label for label in h1]
    assert h_accuracy(predictions, h1) + h_accuracy(predictions, h2) == pytest.approx(1)


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
