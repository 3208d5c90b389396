"""Wrong inputs made from right ones: for each kind of argument, values that must be refused.

A kind is a function that takes the right value and yields (what is wrong, the wrong value). It says what
the argument means, without asking the function that is tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

Wrong = Iterator[tuple[str, Any]]
Kind = Callable[[Any], Wrong]

HUGE = 10**12
ODD_TEXTS = ("\x00", "\ud800", "‮abc", "가" * 50, "🙂", "../../etc", "no such name", "a\nb")
# Those of them that are plain names of something.
PLAIN_ODD_TEXTS = tuple(f"odd text {text!a}" for text in ODD_TEXTS if text.replace(" ", "").isalnum())


class Opaque:
    """An object of a type that no function knows."""

    def __repr__(self) -> str:
        return "an opaque object"


def none(right: Any) -> Wrong:
    """Nothing at all."""
    yield "None", None


def _no_number(right: Any) -> Wrong:
    yield from none(right)
    yield "empty text", ""
    yield "text of a number", str(right)
    yield "list of it", [right]
    yield "mapping", {"value": right}
    yield "object", Opaque()
    yield "NaN", math.nan
    yield "infinite", math.inf
    yield "negative infinite", -math.inf
    yield "complex", complex(1, 1)
    yield "NaN of NumPy", np.float64("nan")


def count(*, least: int = 1, most: int | None = None) -> Kind:
    """A whole number of things."""

    def wrong(right: Any) -> Wrong:
        yield from _no_number(right)
        yield "below the least", least - 1
        yield "far below", -HUGE
        yield "fraction", (right or 0) + 0.5
        yield "bool", True
        yield "huge", HUGE
        yield "huge float", 1e300
        if most is not None:
            yield "above the most", most + 1

    return wrong


def number(
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> Kind:
    """A finite number within bounds."""

    def wrong(right: Any) -> Wrong:
        yield from _no_number(right)
        yield "bool", True
        if above is not None:
            yield from (("at the open bound", above), ("below it", above - 1), ("far below it", -1e300))
        if least is not None:
            yield from (("below the bound", least - 1e-6), ("far below it", -1e300))
        if below is not None:
            yield from (("at the open bound", below), ("above it", below + 1), ("far above it", 1e300))
        if most is not None:
            yield from (("above the bound", most + 1e-6), ("far above it", 1e300))

    return wrong


def share(right: Any) -> Wrong:
    """A number from 0 to 1."""
    yield from number(least=0, most=1)(right)


def open_share(right: Any) -> Wrong:
    """A number between 0 and 1."""
    yield from number(above=0, below=1)(right)


def seed(right: Any) -> Wrong:
    """A seed."""
    yield from count(least=0, most=2**32 - 1)(right)
    yield "two to the 32", 2**32


def name(right: Any) -> Wrong:
    """A name of a known thing."""
    yield from _no_text(right)
    yield "empty", ""
    yield from ((f"odd text {text!a}", text) for text in ODD_TEXTS)
    yield "longer", f"{right}x"
    yield "with a space", f" {right} "


def text(right: Any) -> Wrong:
    """Any text."""
    yield from _no_text(right)


def filled_text(right: Any) -> Wrong:
    """A text that is not empty."""
    yield from _no_text(right)
    yield "empty", ""


def _no_text(right: Any) -> Wrong:
    yield from none(right)
    yield "number", 3
    yield "NaN", math.nan
    yield "bytes", b"text"
    yield "half a character", "a\ud800b"
    yield "list of it", [right]
    yield "mapping", {"text": right}
    yield "object", Opaque()


def flag(right: Any) -> Wrong:
    """True or False."""
    yield from none(right)
    yield "text", "yes"
    yield "two", 2
    yield "list", [True]
    yield "NaN", math.nan


def thing(right: Any) -> Wrong:
    """An object of one type: a model, a data set, a hypothesis."""
    yield from none(right)
    yield "number", 3
    yield "NaN", math.nan
    yield "text", "text"
    yield "empty list", []
    yield "mapping", {}
    yield "array", np.zeros(3)
    yield "tensor", torch.zeros(3)
    yield "object", Opaque()
    yield "its type", type(right)


def function(right: Any) -> Wrong:
    """A function."""
    yield from none(right)
    yield "number", 3
    yield "text", "len"
    yield "list", [len]
    yield "object", Opaque()


def _no_list(right: Any) -> Wrong:
    yield from none(right)
    yield "number", 3
    yield "NaN", math.nan
    yield "text", "text"
    yield "mapping", {"a": 1}
    yield "object", Opaque()


def list_of(kind: Kind, *, least: int = 1) -> Kind:
    """A list of at least `least` entries of one kind."""

    def wrong(right: Any) -> Wrong:
        entries = list(right)
        yield from _no_list(right)
        if least:
            yield "too short", entries[: least - 1]
        for what, value in kind(entries[-1]):
            yield f"last entry: {what}", [*entries[:-1], value]

    return wrong


def numbers(*, num_dims: int = 1, kind: Kind = none, least_size: int = 1, shaped: bool = False) -> Kind:
    """An array of finite numbers; `shaped` where its sizes must fit another argument's."""

    def wrong(right: Any) -> Wrong:
        array = np.asarray(right, dtype=float)
        yield from _no_list(right)
        if least_size:
            yield "empty", np.zeros((0,) * num_dims)
        yield "scalar array", np.array(1.0)
        yield "one dimension more", array[None]
        yield "a column", array[..., None]
        yield "texts", array.astype(str)
        yield "objects", np.full(array.shape, None)
        yield "complex", array.astype(complex) + 1j
        for what, value in (("NaN", math.nan), ("infinite", math.inf), ("negative infinite", -math.inf)):
            broken = array.copy()
            broken[(-1,) * array.ndim] = value
            yield f"{what} in it", broken
            yield f"{what} in it, as a list", broken.tolist()
        if array.ndim > 1:
            yield "ragged", [*array[:-1].tolist(), array[-1][:-1].tolist()]
            yield "flat", array.ravel()
        if shaped:
            yield "shorter", array[:-1]
            yield "longer", np.concatenate([array, array[-1:]])
            yield (
                "one row that would broadcast",
                array[:1] if len(array) > 1 else np.concatenate([array, array]),
            )
        for what, value in kind(float(array.ravel()[-1])):
            broken = array.tolist()
            if num_dims == 1:
                yield f"last entry: {what}", [*broken[:-1], value]

    return wrong


def scores(right: Any) -> Wrong:
    """Scores [n, num_labels] that go with n labels."""
    yield from numbers(num_dims=2, shaped=True)(right)
    yield "no column", np.zeros((len(right), 0))
    yield "one column", np.asarray(right)[:, :1]


def labels(num_labels: int | None, *, shaped: bool = True) -> Kind:
    """Labels from 0, as many as there are rows."""

    def wrong(right: Any) -> Wrong:
        array = np.asarray(right)
        yield from _no_list(right)
        yield "empty", []
        yield "a column", array[:, None]
        yield "a row", array[None]
        yield "texts", [str(value) for value in array]
        yield "fractions", array + 0.5
        yield "floats", array.astype(float)
        yield "NaN in it", [*array[:-1].tolist(), math.nan]
        yield "None in it", [*array[:-1].tolist(), None]
        yield "negative", [*array[:-1].tolist(), -1]
        yield "ignored label", [*array[:-1].tolist(), -100]
        yield "huge", [*array[:-1].tolist(), HUGE]
        if num_labels is not None:
            yield "outside", [*array[:-1].tolist(), num_labels]
        if shaped:
            yield "shorter", array[:-1]
            yield "longer", np.concatenate([array, array[-1:]])
            yield "one that would broadcast", array[:1]

    return wrong


def texts(*, least: int = 1, empty_ok: bool = True) -> Kind:
    """A list of texts."""

    def wrong(right: Any) -> Wrong:
        entries = list(right)
        yield from _no_list(right)
        if least:
            yield "too few", entries[: least - 1]
        for what, value in (
            ("None", None),
            ("number", 3),
            ("NaN", math.nan),
            ("bytes", b"x"),
            ("half a character", "x\ud800"),
            ("list", ["x"]),
        ):
            yield f"{what} in it", [*entries[:-1], value]
        if not empty_ok:
            yield "empty text in it", [*entries[:-1], ""]

    return wrong


def rows(*columns: str, least: int = 1) -> Kind:
    """Rows of a table with named columns."""

    def wrong(right: Any) -> Wrong:
        found = [dict(row) for row in right]
        yield from _no_list(right)
        if least:
            yield "no rows", []
        yield "a row that is none", [*found[:-1], None]
        yield "a row that is a list", [*found[:-1], list(found[-1])]
        for column in columns:
            yield (
                f"no {column}",
                [{key: value for key, value in row.items() if key != column} for row in found],
            )
            yield (
                f"one row without {column}",
                [
                    *found[:-1],
                    {key: value for key, value in found[-1].items() if key != column},
                ],
            )

    return wrong


def number_columns(*columns: str, kind: Kind | None = None) -> Kind:
    """Rows whose named columns hold finite numbers."""

    def wrong(right: Any) -> Wrong:
        found = [dict(row) for row in right]
        yield from rows(*columns)(right)
        for column in columns:
            for what, value in (kind or number())(found[-1][column]):
                yield f"{column}: {what}", [*found[:-1], {**found[-1], column: value}]

    return wrong


def frame(*columns: str, finite: tuple[str, ...] = ()) -> Kind:
    """A data frame with named columns, some of them of finite numbers."""

    def wrong(right: Any) -> Wrong:
        yield from thing(right)
        yield "no rows", right.iloc[:0]
        for column in (*columns, *finite):
            yield f"no {column}", right.drop(columns=column)
        for column in finite:
            values = right[column].tolist()
            for what, value in (("NaN", math.nan), ("infinite", math.inf), ("text", "text"), ("None", None)):
                yield f"{what} in {column}", right.assign(**{column: [*values[:-1], value]})

    return wrong


def dataset(*columns: str, text_columns: tuple[str, ...] = ()) -> Kind:
    """A data set with named columns, some of them texts."""

    def wrong(right: Any) -> Wrong:
        yield from thing(right)
        yield "no rows", right.select([])
        for column in columns:
            yield f"no {column}", right.remove_columns(column)
        for column in text_columns:
            values: list[Any] = list(right[column])
            rest = right.remove_columns(column)
            yield f"null in {column}", rest.add_column(column, [*values[:-1], None])
            yield f"numbers in {column}", rest.add_column(column, list(range(len(values))))

    return wrong


def tensor(*, shape_matters: bool = False, floating: bool = True, kind: Kind | None = None) -> Kind:
    """A tensor of finite floats, or of whole numbers that are of one kind."""

    def wrong(right: Any) -> Wrong:
        plain = right.detach()
        yield from none(right)
        yield "number", 3.0
        yield "text", "text"
        yield "list", right.tolist()
        yield "array", plain.numpy()
        yield "object", Opaque()
        if floating:
            yield "whole numbers", plain.long()
            yield "bools", plain > 0
            for what, value in (("NaN", math.nan), ("infinite", math.inf)):
                broken = plain.clone()
                broken.view(-1)[-1] = value
                yield f"{what} in it", broken
        if kind is not None:
            for what, value in kind(right.tolist()):
                if isinstance(value, (list, np.ndarray)) and np.asarray(value).dtype.kind in "iuf":
                    yield what, torch.as_tensor(np.asarray(value))
        if shape_matters:
            yield "one dimension more", plain[None]
            yield "a column", plain[..., None]
            yield "a scalar", plain.reshape(-1)[0]
            yield "empty", plain[:0]

    return wrong


def path(right: Any) -> Wrong:
    """A path."""
    yield from none(right)
    yield "number", 3
    yield "NaN", math.nan
    yield "list", [right]
    yield "object", Opaque()


def mapping_of(kind: Kind) -> Kind:
    """A mapping whose values are of one kind."""

    def wrong(right: Any) -> Wrong:
        yield from none(right)
        yield "number", 3
        yield "text", "text"
        yield "list", [1, 2]
        yield "empty", {}
        yield "object", Opaque()
        key = list(right)[-1]
        for what, value in kind(right[key]):
            yield f"{key}: {what}", {**right, key: value}

    return wrong


def either(*kinds: Kind, without: tuple[str, ...] = ("None",)) -> Kind:
    """An argument with values that one of the kinds calls wrong but that are allowed: named by `without`."""

    def wrong(right: Any) -> Wrong:
        for kind in kinds:
            yield from ((what, value) for what, value in kind(right) if what not in without)

    return wrong


def optional(kind: Kind) -> Kind:
    """An argument that may be None."""
    return either(kind)


def named(what: str, value: Any) -> Kind:
    """One wrong value that no other kind has."""
    return lambda right: iter([(what, value)])


def repeated(right: Any) -> Wrong:
    """A list of which no entry may be there twice."""
    yield "one twice", [*right, right[-1]]


def returning(*values: Any) -> Kind:
    """A function that must not return any of these."""
    return lambda right: ((f"returns {value!r}", partial(_give, value)) for value in values)


def _give(value: Any, *ignored: Any, **more: Any) -> Any:
    return value


def json_value(right: Any) -> Wrong:
    """A value that a JSON file can keep."""
    yield "object", Opaque()
    yield "a set", {1, 2}
    yield "bytes", b"x"
    yield "NaN", math.nan
    yield "infinite", math.inf
    yield "NaN in it", {"value": [np.float64("nan")]}
    yield "complex", complex(1, 1)
    yield "a function", len
    yield "a key that is no text", {(1, 2): 3}
