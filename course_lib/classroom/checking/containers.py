"""What a result holds, whatever plain container it came in: one rule for exercises and for assignments.

Right values count in a list, a tuple, a range, an array or a tensor, and nested in any of these. A number is Python's,
NumPy's, or an array or tensor of shape (). True and False stand for 1 and 0 where numbers are asked for. Shapes count.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from course_lib.classroom.checking.showing import is_tensor, tensor_as_array


def in_containers_of(expected: Any, got: Any) -> Any:
    """Give a result in the containers that are expected.

    Args:
        expected: a number, truth value, text, array, tensor, list, tuple, dictionary, or None.
        got: anything.

    Returns:
        The same values; an array where an array or a tensor is expected, a list where a list or a tuple is. What
        has no place in these containers stays as it is.

    Raises:
        Exception: whatever the methods of a hostile value raise.

    Example:
        >>> in_containers_of(np.zeros(2), [True, 0.5])
        array([1. , 0.5])
        >>> in_containers_of({"points": [1, 2]}, {"points": np.array([3, 4])})
        {'points': [3, 4]}
    """
    expected, got = unpacked(expected), unpacked(got)
    if isinstance(expected, np.ndarray):
        return _as_array(expected, got)
    if isinstance(expected, Mapping):
        return _as_mapping(expected, got)
    if isinstance(expected, list | tuple):
        return _as_sequence(expected, got)
    is_number = isinstance(expected, numbers.Real) and not isinstance(expected, bool)
    return int(got) if type(got) is bool and is_number else got


def unpacked(value: Any) -> Any:
    """Give a tensor as an array, the number inside an array of shape (), and every other value as it is.

    Example:
        >>> unpacked(np.array(3.0))
        3.0
    """
    value = tensor_as_array(value) if is_tensor(value) else value
    is_scalar = isinstance(value, np.ndarray | np.generic) and tuple(value.shape) == ()
    return value.item() if is_scalar else value


def _as_array(expected: np.ndarray, got: Any) -> Any:
    if not isinstance(got, list | tuple | range | np.ndarray):
        return got
    try:
        array = np.asarray(_without_tensors(got))
    except (TypeError, ValueError, OverflowError):
        # Rows of different lengths make no array.
        return got
    if expected.dtype.kind not in "iuf":
        return array
    # A list of whole numbers has no dtype that could cut off anything.
    is_free = not isinstance(got, np.ndarray) and array.dtype.kind in "iu"
    return array.astype(expected.dtype) if is_free and expected.dtype.kind == "f" else _as_numbers(array)


def _as_numbers(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "b":
        return array.astype(int)
    # Fractions, and whole numbers too large for NumPy's.
    is_of_numbers = array.dtype.kind == "O" and all(isinstance(entry, numbers.Real) for entry in array.flat)
    return array.astype(float) if is_of_numbers else array


def _without_tensors(value: Any) -> Any:
    if is_tensor(value):
        return tensor_as_array(value)
    return [_without_tensors(part) for part in value] if isinstance(value, list | tuple) else value


def _as_sequence(expected: list | tuple, got: Any) -> Any:
    got = got.tolist() if isinstance(got, np.ndarray) else got
    if not isinstance(got, list | tuple | range):
        return got
    if len(got) != len(expected):
        return list(got)
    return [in_containers_of(part, own) for part, own in zip(expected, got, strict=True)]


def _as_mapping(expected: Mapping, got: Any) -> Any:
    if not isinstance(got, Mapping):
        return got
    return {key: in_containers_of(expected.get(key), value) for key, value in got.items()}
