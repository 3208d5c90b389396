"""Checks of arrays and tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.checks.calls import Check, a_tensor, shown
from course_lib.checks.values import MOST
from course_lib.errors import CourseError

if TYPE_CHECKING:
    import torch


def check_numbers(name: str, values: Any, *, num_dims: int = 1, least_size: int = 1) -> np.ndarray:
    """Return finite numbers as a float64 array.

    Args:
        name: what they are.
        values: a list, an array or a tensor of numbers or of bools, which count as 0 and 1; no texts.
        num_dims: dimensions that the array must have.
        least_size: fewest numbers that are accepted.

    Raises:
        CourseError: another shape, too few, something that is no number, or one that is not finite.

    Example:
        >>> check_numbers("curvatures", [1, 2.5])
        array([1. , 2.5])
    """
    array = _array(name, values)
    if array.dtype.kind not in "biuf":
        raise CourseError(f"{name} must be numbers.", given=shown(values))
    if array.ndim != num_dims or array.size < least_size:
        raise CourseError(
            f"{name} must have {num_dims} dimension{'s' * (num_dims != 1)} and hold at least {least_size}.",
            given=array.shape,
        )
    array = array.astype(float)
    if not np.isfinite(array).all():
        place = [int(index) for index in np.argwhere(~np.isfinite(array))[0]]
        raise CourseError(
            f"{name} must be finite numbers; the one at {place} is not.", given=float(array[tuple(place)])
        )
    return array


def check_scores(
    name: str, scores: Any, *, num_rows: int | None = None, least_columns: int = 2
) -> np.ndarray:
    """Return a score for each row and label (logits, log-probabilities) as a float64 array [n, num_labels].

    Args:
        name: what they are, for example "logits".
        scores: [n, num_labels], n at least 1, finite.
        num_rows: the n that it must have.
        least_columns: fewest labels that are accepted.

    Raises:
        CourseError: another shape, or a score that is no finite number.
    """
    array = check_numbers(name, scores, num_dims=2)
    if array.shape[1] < least_columns:
        raise CourseError(
            f"{name} must have a column for each of at least {least_columns} labels.",
            given=array.shape,
        )
    if num_rows is not None and len(array) != num_rows:
        raise CourseError(f"{name} must have {num_rows} rows.", given=array.shape)
    return array


def check_labels(
    name: str, labels: Any, *, num_labels: int | None = None, num_rows: int | None = None
) -> np.ndarray:
    """Return labels as an int64 array [n].

    Args:
        name: what they are, for example "labels".
        labels: whole numbers from 0, n at least 1; whole floats, bools and texts are refused.
        num_labels: they must lie below it.
        num_rows: the n that there must be.

    Raises:
        CourseError: another shape or length, no whole number, or one outside the range.

    Example:
        >>> check_labels("labels", [0, 1, 1], num_labels=2)
        array([0, 1, 1])
    """
    array = _array(name, labels)
    if array.ndim != 1 or array.size == 0 or (num_rows is not None and len(array) != num_rows):
        wanted = "at least one" if num_rows is None else str(num_rows)
        raise CourseError(
            f"{name} must be one whole number a row, {wanted} in a single dimension.",
            given=array.shape,
        )
    if array.dtype.kind not in "iu":
        raise CourseError(f"{name} must be whole numbers, not {array.dtype}.", given=shown(labels))
    highest = "" if num_labels is None else f" to {num_labels - 1}"
    outside = array[(array < 0) | (array >= (MOST if num_labels is None else num_labels))]
    if outside.size:
        raise CourseError(f"{name} must be whole numbers from 0{highest}.", given=int(outside[0]))
    return array.astype(int)


def _array(name: str, values: Any) -> np.ndarray:
    """Return a list, array or tensor as an array; what has no rectangular shape is refused."""
    if hasattr(values, "detach"):  # a tensor; NumPy has no bfloat16
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    if isinstance(values, (str, bytes, Mapping, set, frozenset)) or values is None:
        raise CourseError(f"{name} must be a list or an array.", given=shown(values))
    try:
        return np.asarray(list(values) if isinstance(values, range) else values)
    except (ValueError, TypeError) as error:
        raise CourseError(f"{name} must be a list or an array without gaps.", given=shown(values)) from error


def check_tensor(
    name: str, value: Any, *, shape: Sequence[int | None] | None = None, whole: bool = False
) -> torch.Tensor:
    """Return a tensor of finite floats, or of whole numbers.

    Args:
        name: what it holds.
        value: the tensor, with at least one entry.
        shape: the size of each dimension, None where any is right; without it any shape is.
        whole: whether it holds whole numbers from 0 on.

    Raises:
        CourseError: no tensor, another shape or dtype, or an entry that is no such number.
    """
    a_tensor(name, value)
    wanted = value.dim() * [None] if shape is None else shape
    fits = value.dim() == len(wanted) and all(
        size in (None, found) for size, found in zip(wanted, value.shape, strict=True)
    )
    if not fits or not value.numel():
        sizes = ", ".join("any" if size is None else str(size) for size in wanted)
        raise CourseError(f"{name} must have the shape [{sizes}], no side empty.", given=tuple(value.shape))
    if whole:
        check_labels(name, value.flatten())
    elif not value.is_floating_point() or not bool(value.isfinite().all()):
        raise CourseError(f"{name} must be finite floats.", given=value.flatten()[:5].tolist())
    return value


def shaped(*shape: int | None, whole: bool = False) -> Check:
    """Return the check of a tensor's shape and numbers."""
    return partial(check_tensor, shape=shape, whole=whole)
