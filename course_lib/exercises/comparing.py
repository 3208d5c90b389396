"""One comparison for everything an exercise may return: the first difference, in words."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from course_lib.exercises.showing import is_tensor, shortened, show, show_error, tensor_as_array, type_name

TOLERANCE = 1e-6


def compare(got: object, expected: object, tolerance: float = TOLERANCE) -> str | None:
    """Describe the first difference between a result and what was expected.

    Numbers may be Python's, NumPy's or arrays and tensors of shape (). A tuple may come as a
    list or as an array. Two numbers agree when they differ by at most
    `tolerance * max(1, |expected|)`; NaN agrees with NaN.

    Args:
        got: what the learner's function returned; anything.
        expected: a number, truth value, text, array, tensor, list, tuple, dictionary, or None.
        tolerance: how far numbers may be apart.

    Returns:
        None if the two agree, otherwise a description without a full stop. This never fails:
        a value whose own methods raise is described as different.

    Example:
        >>> compare(1.0, 1.0 + 1e-9)
        >>> compare(0.02, 50.0)
        'expected 50.0, got 0.02'
        >>> compare(np.zeros((10, 2)), np.zeros((11, 2)))
        'expected shape (11, 2), got (10, 2)'
        >>> compare(np.array([0.0, 5.0]), np.array([0.0, 1.0]))
        'at index [1]: expected 1.0, got 5.0 (1 of 2 entries differ)'
    """
    try:
        return _difference(got, expected, tolerance)
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
        return _kind_difference(_unpacked(got), _unpacked(expected))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"the result cannot be compared ({show_error(error)})"


def _difference(got: Any, expected: Any, tolerance: float) -> str | None:
    got, expected = _unpacked(got), _unpacked(expected)
    mismatch = _kind_difference(got, expected)
    if mismatch:
        return mismatch
    kind = _kind(expected)
    if kind == "a number":
        return _number_difference(got, expected, tolerance)
    if kind == "an array":
        return _array_difference(np.asarray(got), np.asarray(expected), tolerance)
    if kind == "a tensor":
        return _array_difference(tensor_as_array(got), tensor_as_array(expected), tolerance)
    if kind in ("a tuple", "a list"):
        return _sequence_difference(got, expected, tolerance)
    if kind == "a dictionary":
        return _mapping_difference(got, expected, tolerance)
    return None if got is expected or bool(got == expected) else _values_differ(got, expected)


def _unpacked(value: Any) -> Any:
    """Give the number inside an array or tensor of shape (), and every other value as it is."""
    is_array = isinstance(value, np.ndarray | np.generic) or is_tensor(value)
    return value.item() if is_array and tuple(value.shape) == () else value


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
    if is_tensor(value):
        return "a tensor"
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
    unpacks = got_kind in (*sequences, "an array") and expected_kind in sequences
    if got_kind == expected_kind or unpacks:
        return None
    advice = _container_advice(got_kind, expected_kind)
    described = f"expected {_described(expected, expected_kind)}, got {_described(got, got_kind)}"
    return f"{described}; {advice}" if advice else described


def container_advice(got: object, expected: object) -> str:
    """Say how to turn a container into the one that is expected; empty where another thing is wrong.

    Example:
        >>> container_advice([1, 2], np.array([1, 2]))
        'np.array(...) makes an array of it'
    """
    try:
        return _container_advice(_kind(_unpacked(got)), _kind(_unpacked(expected)))
    except KeyboardInterrupt:
        raise
    except BaseException:
        # The value's own methods raise: then it is no container that advice helps with.
        return ""


def _container_advice(got_kind: str, expected_kind: str) -> str:
    advice = {
        ("a list", "an array"): "np.array(...) makes an array of it",
        ("a tuple", "an array"): "np.array(...) makes an array of it",
        ("a tensor", "an array"): ".numpy() makes an array of it (.detach() first, if it has a gradient)",
        ("a tensor", "a list"): ".tolist() makes a list of it",
        ("a tensor", "a tuple"): ".tolist() makes a list of it",
        ("a list", "a tensor"): "torch.tensor(...) makes a tensor of it",
        ("an array", "a tensor"): "torch.from_numpy(...) makes a tensor of it",
    }
    return advice.get((got_kind, expected_kind), "")


def _described(value: Any, kind: str) -> str:
    if kind in ("an array", "a tensor"):
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
        return f"expected dtype {expected.dtype}, got {got.dtype}"
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
