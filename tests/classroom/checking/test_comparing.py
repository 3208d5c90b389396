from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from course_lib.classroom.checking.comparing import compare, compare_kinds


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (50, 50.0),
        (np.float32(0.1), 0.1),
        (np.array(3.0), 3),
        (torch.tensor(3.0, dtype=torch.bfloat16), 3),
        (Fraction(1, 2), 0.5),
        (10**400, 10**400),
        (float("nan"), float("nan")),
        (float("inf"), float("inf")),
        ([1.0, 2.0], (1.0, 2.0)),
        (np.array([1.0, 2.0]), (1.0, 2.0)),
        (np.array([1, 2]), np.array([1.0, 2.0])),
        (torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([1.0, 2.0])),
        (torch.tensor([1, 2]), torch.tensor([1, 2])),
        ({"b": np.ones(2), "a": 1}, {"a": 1.0, "b": np.ones(2)}),
        (np.array([]), np.zeros(0)),
        (np.array(["a"]), np.array(["a"])),
        (np.bool_(True), True),
        ("text", "text"),
        (None, None),
    ],
)
def test_equal_values_have_no_difference(got: Any, expected: Any) -> None:
    assert compare(got, expected) is None


@pytest.mark.parametrize(
    ("got", "expected", "words"),
    [
        (0.02, 50.0, "expected 50.0, got 0.02"),
        (float("nan"), 0.5, "got NaN (not a number), expected 0.5"),
        (1e9, float("inf"), "expected inf, got 1000000000.0"),
        ("50", 50, "expected a number, got text"),
        (1, True, "expected True or False, got a number"),
        (2j, 2, "got an object of type complex"),
        (np.ones(1), 1, "expected a number, got an array of shape (1,)"),
        (np.ones((10, 2)), np.ones((11, 2)), "expected shape (11, 2), got (10, 2)"),
        ([1, 2], np.ones(2), "at index [1]: expected 1.0, got 2.0 (1 of 2 entries differ)"),
        ([1, 2, 3], np.ones(2), "expected shape (2,), got (3,)"),
        ([[1, 2]], np.ones(2), "expected shape (2,), got (1, 2)"),
        ([[1], [1, 1]], np.ones((2, 2)), "got a list of 2 values that make no array: they differ in shape"),
        ({1, 2}, np.ones(2), "expected an array of shape (2,), got an object of type set"),
        ([1.0, None], np.ones(2), "expected numbers, got values that are no plain numbers (dtype object)"),
        (["1", "1"], np.ones(2), "expected numbers, got texts"),
        ([1, 1], np.array(["1", "1"]), "expected texts, got numbers"),
        ([1, 0], np.array([True, False]), "expected truth values, got numbers"),
        ([True, False], ["True", "False"], "expected text, got True or False"),
        (1.0, np.ones(2), "expected an array of shape (2,), got a number"),
        (torch.ones(2), np.zeros(2), "at index [0]: expected 0.0, got 1.0 (2 of 2 entries differ"),
        (torch.ones(1), 1, "expected a number, got an array of shape (1,)"),
        (torch.ones(2), torch.zeros(2), "at index [0]: expected 0.0, got 1.0 (2 of 2 entries differ)"),
        (np.array(["a", "b"]), np.ones(2), "expected numbers, got texts"),
        (np.array([True, False]), np.ones(2), "at index [1]: expected 1.0, got 0"),
        (np.array([True, False]), np.array([True, True]), "at index [1]: expected True, got False"),
        (np.array([[1.0, np.nan]]), np.array([[1.0, 2.0]]), "at index [0, 1]: got NaN (not a number)"),
        (
            np.array([0, 1]),
            np.array([0.5, 1.0]),
            "your array has dtype int64, which holds whole numbers only",
        ),
        ((1, 2, 3), (1, 2), "expected 2 values, got 3"),
        ((1, 3), (1, 2), "in value 2 of 2: expected 2, got 3"),
        (7, (1, 2), "expected a tuple of 2 values, got a number"),
        ({"a": 1}, {"a": 1, "b": 2}, "the key 'b' is missing"),
        ({"a": 1, "b": 2}, {"a": 1}, "the key 'b' was not expected"),
        ({"a": [1, 5]}, {"a": [1, 2]}, "at key 'a': in value 2 of 2: expected 2, got 5"),
        ("b", "a", "expected 'a', got 'b'"),
        ("good: 1", "good:  1", "at character 6 (after 'good: '): expected ' ', got '1'"),
        ("ab", "abc", "at character 2 (after 'ab'): expected 'c', got the end"),
        (float(np.float32(0.1)), 0.1, "expected 0.1, got 0.10000000149011612"),
        (
            np.float32([0.1]),
            np.array([0.1]),
            "got 0.10000000149011612 (1 of 1 entries differ; your array has",
        ),
        (
            torch.tensor([0.1]),
            np.array([0.1]),
            "your array has dtype float32, which keeps fewer digits than float64",
        ),
        (1, None, "expected nothing (None), got a number"),
        (10**400, 1.0, "cannot be compared"),
    ],
)
def test_the_first_difference_is_described(got: Any, expected: Any, words: str) -> None:
    # Exact, so that digits which float32 loses differ, too.
    assert words in str(compare(got, expected, tolerance=1e-12))


CONTAINERS = {
    "list": lambda values: values.tolist(),
    "tuple": lambda values: tuple(map(tuple, values.tolist())),
    "array": np.asarray,
    "objects": lambda values: values.astype(object),
    "rows": list,
    "tensor": torch.tensor,
    "tensor with a gradient": lambda values: torch.tensor(values, dtype=torch.float64, requires_grad=True),
    "tensors": lambda values: [torch.tensor(row, dtype=torch.float64, requires_grad=True) for row in values],
    "fractions": lambda values: [[Fraction(number) for number in row] for row in values.tolist()],
}
VALUES = [np.array([[0.25, 2.0], [-1.5, 0.0]]), np.array([[1, 0], [0, 1]])]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("values", VALUES, ids=["fractions", "whole"])
def test_right_values_agree_in_any_container_and_wrong_ones_in_none(
    values: np.ndarray, container: str
) -> None:
    put = CONTAINERS[container]
    for expected in (values, torch.tensor(values), values.tolist(), tuple(map(tuple, values.tolist()))):
        assert compare(put(values), expected) is None
        assert compare({"a": (put(values), 1)}, {"a": [expected, 1]}) is None
        assert compare(put(values[:1]), expected)
        assert compare(put(values + 1), expected)


@pytest.mark.parametrize("container", [list, tuple, np.array, torch.tensor])
def test_truth_values_count_as_1_and_0_among_numbers(container: Any) -> None:
    for expected in (np.array([1, 0]), np.array([1.0, 0.0]), [1, 0], (1.0, 0.0), torch.tensor([1, 0])):
        assert compare(container([True, False]), expected) is None
        assert compare(container([True, True]), expected)
    assert compare(True, 1) is None
    assert compare(container([True, False]), [True, False]) is None
    assert compare(container([1, 0]), [True, False])


def test_a_range_and_texts_count_in_any_container() -> None:
    assert compare(range(3), np.arange(3)) is None
    assert compare(range(3), [0, 1, 2]) is None
    assert compare([], np.zeros(0)) is None
    assert compare(["a", "b"], np.array(["a", "b"])) is None
    assert compare(np.array(["a", "b"]), ["a", "b"]) is None


def test_tolerance_is_relative_above_one_and_absolute_below() -> None:
    assert compare(1000.5, 1000.0, tolerance=1e-3) is None
    assert compare(0.0005, 0.0, tolerance=1e-3) is None
    assert compare(0.002, 0.0, tolerance=1e-3) is not None
    assert compare(1.0 + 1e-12, 1.0, tolerance=0.0) is not None


def test_hostile_values_are_different_and_not_fatal() -> None:
    class Hostile(float):
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no")

        __hash__ = None  # type: ignore[assignment]

    assert "cannot be compared (RuntimeError: no)" in str(compare(Hostile(1.0), 1.0))


def test_kinds_say_nothing_about_values() -> None:
    assert compare_kinds(3, 5) is None
    assert compare_kinds("3", 5) == "expected a number, got text"


def test_an_interrupt_goes_through() -> None:
    class Interrupting:
        @property
        def __class__(self) -> type:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(Interrupting(), 1)
