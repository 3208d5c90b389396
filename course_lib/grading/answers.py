"""What an answer holds, whatever plain container it came in: one rule for all tasks.

Right values earn the marks in a list, a tuple, an array or a tensor, and nested in any of these. A number is Python's,
NumPy's, or an array of shape (). True and False stand for 1 and 0 where numbers are asked for. Shapes count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from course_lib.exercises.comparing import compare


def compare_answer(got: Any, expected: Any, tolerance: float) -> str | None:
    """Describe the first difference between an answer and what is expected, whatever the containers.

    Args:
        got: plain data.
        expected: a number, text, array, list, tuple, dictionary, or None.
        tolerance: how far numbers may be apart, as in `course_lib.exercises.compare`.

    Returns:
        None if the two agree, otherwise a description without a full stop.

    Example:
        >>> compare_answer({"points": [(0, 1)]}, {"points": np.array([[0.0, 1.0]])}, 1e-9)
        >>> compare_answer([0.0, 1.0], np.array([[0.0, 1.0]]), 1e-9)
        'expected shape (1, 2), got (2,)'
    """
    return compare(_in_containers_of(expected, got), expected, tolerance)


def as_numbers(values: Any) -> np.ndarray:
    """Give an array of numbers; an empty one for what holds anything else.

    Example:
        >>> as_numbers([(1, 2), np.array([3, 4])]).shape
        (2, 2)
    """
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError, OverflowError):
        return np.empty(0)


def as_whole_number(value: Any) -> int | None:
    """Give a whole number; None for anything else.

    Example:
        >>> as_whole_number(np.float64(12.0))
        12
    """
    value = _unpacked(value)
    is_whole = type(value) is int or (type(value) is float and value.is_integer())
    return int(value) if is_whole else None


def _unpacked(value: Any) -> Any:
    is_scalar = isinstance(value, np.generic | np.ndarray) and value.shape == ()
    return value.item() if is_scalar else value


def _in_containers_of(expected: Any, got: Any) -> Any:
    """Give an answer in the containers that are expected; what has no place in them stays as it is."""
    expected, got = _unpacked(expected), _unpacked(got)
    if isinstance(expected, np.ndarray):
        return _as_array(got)
    if isinstance(expected, Mapping):
        return _as_mapping(expected, got)
    if isinstance(expected, list | tuple):
        return _as_sequence(expected, got)
    return int(got) if type(got) is bool and type(expected) in (int, float) else got


def _as_array(got: Any) -> Any:
    if not isinstance(got, list | tuple | np.ndarray):
        return got
    try:
        array = np.asarray(got)
    except (TypeError, ValueError, OverflowError):
        return got
    if array.dtype.kind == "b":
        return array.astype(int)
    # Truth values among numbers have become 1 and 0; texts, and numbers too large for an array, stay what they are.
    return array if array.dtype.kind in "iuf" else got


def _as_sequence(expected: list | tuple, got: Any) -> Any:
    got = got.tolist() if isinstance(got, np.ndarray) else got
    if not isinstance(got, list | tuple) or len(got) != len(expected):
        return got
    return [_in_containers_of(part, own) for part, own in zip(expected, got, strict=True)]


def _as_mapping(expected: Mapping, got: Any) -> Any:
    if not isinstance(got, Mapping):
        return got
    return {key: _in_containers_of(expected.get(key), value) for key, value in got.items()}
