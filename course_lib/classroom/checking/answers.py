"""Numbers out of answers that may hold anything; `containers` has the rule for containers."""

from __future__ import annotations

from typing import Any

import numpy as np

from course_lib.classroom.checking.containers import unpacked


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
    value = unpacked(value)
    is_whole = type(value) is int or (type(value) is float and value.is_integer())
    return int(value) if is_whole else None
