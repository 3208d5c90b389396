"""One comparison for everything an exercise may return: the first difference, in words."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from course_lib.classroom.checking.containers import in_containers_of, unpacked
from course_lib.classroom.checking.showing import shortened, show, show_error, type_name

TOLERANCE = 1e-6


def compare(got: object, expected: object, tolerance: float = TOLERANCE) -> str | None:
    """Describe the first difference between a result and what was expected.

    Right values agree in any plain container; `course_lib.classroom.checking.containers` has the rule. Two
    numbers agree when they differ by at most `tolerance * max(1, |expected|)`; NaN agrees with NaN.

    Args:
        got: what the learner's function returned; anything.
        expected: a number, truth value, text, array, tensor, list, tuple, dictionary, or None.
        tolerance: how far numbers may be apart.

    Returns:
        None if the two agree, otherwise a description without a full stop. This never fails:
        a value whose own methods raise is described as different.

    Example:
        >>> compare(1.0, 1.0 + 1e-9)
        >>> compare([True, 0.5], np.array([1.0, 0.5]))
        >>> compare(0.02, 50.0)
        'expected 50.0, got 0.02'
        >>> compare(np.zeros((10, 2)), np.zeros((11, 2)))
        'expected shape (11, 2), got (10, 2)'
        >>> compare(np.array([0.0, 5.0]), np.array([0.0, 1.0]))
        'at index [1]: expected 1.0, got 5.0 (1 of 2 entries differ)'
    """
    try:
        return _difference(in_containers_of(expected, got), unpacked(expected), tolerance)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"the result cannot be compared ({show_error(error)})"


def compare_kinds(got: object, expected: object) -> str | None:
    """Describe how two values differ in kind (number, text, array ...), whatever they hold.

    Example:
        >>> compare_kinds("2200000", 2_200_000)
        'expected a number, got text'
    """
    try:
        return _kind_difference(in_containers_of(expected, got), unpacked(expected))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"the result cannot be compared ({show_error(error)})"


def _difference(got: Any, expected: Any, tolerance: float) -> str | None:
    got, expected = unpacked(got), unpacked(expected)
    mismatch = _kind_difference(got, expected)
    if mismatch:
        return mismatch
    kind = _kind(expected)
    if kind == "a number":
        return _number_difference(got, expected, tolerance)
    if kind == "an array":
        return _array_difference(np.asarray(got), np.asarray(expected), tolerance)
    if kind in ("a tuple", "a list"):
        return _sequence_difference(got, expected, tolerance)
    if kind == "a dictionary":
        return _mapping_difference(got, expected, tolerance)
    return None if got is expected or bool(got == expected) else _values_differ(got, expected)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing (None)"
    if isinstance(value, bool):
        return "True or False"
    if isinstance(value, numbers.Real):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, np.ndarray):
        return "an array"
    if isinstance(value, tuple):
        return "a tuple"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Mapping):
        return "a dictionary"
    return f"an object of type {type_name(value)}"


def _kind_difference(got: Any, expected: Any) -> str | None:
    got_kind, expected_kind = _kind(got), _kind(expected)
    sequences = ("a tuple", "a list")
    if got_kind == expected_kind or (got_kind in sequences and expected_kind in sequences):
        return None
    described = f"expected {_described(expected, expected_kind)}, got {_described(got, got_kind)}"
    if got_kind in sequences and expected_kind == "an array":
        return f"{described} that make no array: they differ in shape"
    return described


def _described(value: Any, kind: str) -> str:
    if kind == "an array":
        return f"{kind} of shape {tuple(value.shape)}"
    if kind in ("a tuple", "a list"):
        return f"{kind} of {len(value)} values"
    return kind


def _values_differ(got: Any, expected: Any) -> str:
    texts = show(expected), show(got)
    if texts[0] == texts[1] and isinstance(got, float) and isinstance(expected, float):
        # As many digits as tell the two apart.
        texts = repr(float(expected)), repr(float(got))
    place = (
        f"; {_text_difference(got, expected)}" if isinstance(got, str) and isinstance(expected, str) else ""
    )
    return f"expected {texts[0]}, got {texts[1]}{place}"


def _text_difference(got: str, expected: str) -> str:
    """Point at the first character that differs."""
    pairs = itertools.zip_longest(got, expected)
    place = next(index for index, (ours, theirs) in enumerate(pairs) if ours != theirs)
    ours, theirs = (repr(text[place]) if place < len(text) else "the end" for text in (got, expected))
    around = f" (after {shortened(got[max(0, place - 20) : place])!r})" if place else ""
    return f"the first difference is at character {place}{around}: expected {theirs}, got {ours}"


def _number_difference(got: Any, expected: Any, tolerance: float) -> str | None:
    # Whole numbers too large for a float are compared as they are.
    if got == expected or _close(np.asarray(float(got)), np.asarray(float(expected)), tolerance):
        return None
    if np.isnan(float(got)):
        return f"got NaN (not a number), expected {show(expected)}"
    return _values_differ(got, expected)


def _array_difference(got: np.ndarray, expected: np.ndarray, tolerance: float) -> str | None:
    if got.shape != expected.shape:
        return f"expected shape {expected.shape}, got {got.shape}"
    numeric = got.dtype.kind in "iuf" and expected.dtype.kind in "iuf"
    if not numeric and got.dtype.kind != expected.dtype.kind:
        return f"expected {_contents(expected)}, got {_contents(got)}"
    differs = ~_close(got, expected, tolerance) if numeric else np.asarray(got != expected, dtype=bool)
    if not differs.any():
        return None
    first = tuple(int(i) for i in np.argwhere(differs)[0])
    place = "at index [" + ", ".join(map(str, first)) + "]"
    entry = _difference(got[first], expected[first], 0.0) or _values_differ(got[first], expected[first])
    cut = got.dtype.kind in "iu" and expected.dtype.kind == "f"
    advice = f"; your array has dtype {got.dtype}, which holds whole numbers only" if cut else ""
    if got.dtype in (np.float16, np.float32) and expected.dtype == np.float64:
        advice = f"; your array has dtype {got.dtype}, which keeps fewer digits than float64"
    return f"{place}: {entry} ({int(differs.sum())} of {differs.size} entries differ{advice})"


def _contents(array: np.ndarray) -> str:
    names = {"b": "truth values", "i": "numbers", "u": "numbers", "f": "numbers", "U": "texts"}
    return names.get(array.dtype.kind, f"values that are no plain numbers (dtype {array.dtype})")


def _close(got: np.ndarray, expected: np.ndarray, tolerance: float) -> np.ndarray:
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    both_nan = np.isnan(got) & np.isnan(expected)
    with np.errstate(all="ignore"):
        near = np.abs(got - expected) <= tolerance * np.maximum(1.0, np.abs(expected))
    # Around an infinite expectation everything would count as near.
    return (got == expected) | both_nan | (near & np.isfinite(expected))


def _sequence_difference(got: Any, expected: Any, tolerance: float) -> str | None:
    if len(got) != len(expected):
        return f"expected {len(expected)} values, got {len(got)}"
    for index, (got_item, expected_item) in enumerate(zip(got, expected, strict=True)):
        difference = _difference(got_item, expected_item, tolerance)
        if difference:
            return f"in value {index + 1} of {len(expected)}: {difference}"
    return None


def _mapping_difference(got: Mapping, expected: Mapping, tolerance: float) -> str | None:
    missing = [key for key in expected if key not in got]
    if missing:
        return f"the key {show(missing[0])} is missing"
    extra = [key for key in got if key not in expected]
    if extra:
        return f"the key {show(extra[0])} was not expected"
    for key, value in expected.items():
        difference = _difference(got[key], value, tolerance)
        if difference:
            return f"at key {show(key)}: {difference}"
    return None
