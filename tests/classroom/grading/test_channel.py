from __future__ import annotations

import json
import math
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.classroom.exercises import compare
from course_lib.classroom.grading.worker.channel import (
    MAX_DEPTH,
    MAX_REPLY_BYTES,
    ChannelError,
    NotPlainError,
    decode,
    encode,
    from_bytes,
    receive_frame,
    send_frame,
    to_bytes,
)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**90), 2**90) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_plain_data_comes_back_as_it_was(value: object) -> None:
    back = decode(from_bytes(to_bytes({"value": encode(value)}, MAX_REPLY_BYTES))["value"])
    assert type(back) is type(value)
    assert repr(back) == repr(value)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float32", "float64", ">f8", ">i4"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_arrays_come_back_with_shape_and_kind(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    back = decode(json.loads(json.dumps(encode(array))))
    assert back.shape == shape
    assert back.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(back, array)
    back[...] = 0  # a learner's function may write into its argument


def test_tensors_come_back_as_tensors_or_arrays() -> None:
    import torch

    tensor = torch.tensor([[1.5, float("nan")]], requires_grad=True)
    data = encode(tensor)
    assert isinstance(decode(data), np.ndarray)
    assert torch.equal(decode(data, tensors=True).nan_to_num(), tensor.detach().nan_to_num())
    assert decode(encode(torch.ones(2, dtype=torch.bfloat16))).tolist() == [1.0, 1.0]


class Pair(NamedTuple):
    name: str
    ratio: float


def test_other_plain_containers_come_back_as_lists_tuples_and_dictionaries() -> None:
    assert decode(encode(np.array(["b", "a"]))) == ["b", "a"]
    assert decode(encode(np.array([("a", 2.5), None], dtype=object))) == [("a", 2.5), None]
    assert decode(encode(Counter("aab"))) == {"a": 2, "b": 1}
    assert decode(encode(Pair("a", 0.5))) == ("a", 0.5)
    assert decode(encode(range(3))) == [0, 1, 2]


class Loud(float):
    def __float__(self) -> float:
        raise AssertionError("its methods are not called")

    __repr__ = __eq__ = __hash__ = __float__  # type: ignore[assignment]


@pytest.mark.parametrize(
    "make",
    [
        object,
        lambda: Loud(1.0),
        lambda: [Loud(1.0)],
        lambda: {Loud: 1},
        lambda: {(1, 2): 3},
        lambda: b"bytes",
        lambda: {1, 2},
        lambda: 1j,
        lambda: 10**400,
        lambda: np.array([object()]),
        lambda: np.datetime64("2020-01-01"),
        lambda: len,
    ],
)
def test_anything_else_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(NotPlainError):
        encode(make())


def test_deep_and_large_values_are_refused() -> None:
    deep: list = []
    for _ in range(50):
        deep = [deep]
    with pytest.raises(NotPlainError, match="nested"):
        encode(deep)
    with pytest.raises(NotPlainError, match="bytes"):
        to_bytes({"value": "x" * MAX_REPLY_BYTES}, MAX_REPLY_BYTES)


def _nested(wrap: Callable[[Any], Any], times: int) -> Any:
    value: Any = 0
    for _ in range(times):
        value = wrap(value)
    return value


def _in_list(value: Any) -> list:
    return [value]


def _in_tuple(value: Any) -> tuple:
    return (value,)


def _in_dictionary(value: Any) -> dict:
    return {"key": value}


WRAPS = pytest.mark.parametrize("wrap", [_in_list, _in_tuple, _in_dictionary])


@WRAPS
def test_a_nesting_is_carried_up_to_the_limit_and_not_beyond(wrap: Callable[[Any], Any]) -> None:
    deepest = _nested(wrap, MAX_DEPTH)
    assert decode(encode(deepest)) == deepest
    with pytest.raises(NotPlainError, match="nested"):
        encode(_nested(wrap, MAX_DEPTH + 1))


@pytest.mark.parametrize(
    ("wrap", "levels"),
    [
        (_in_list, 2 * MAX_DEPTH),
        (lambda value: {"tuple": [value]}, MAX_DEPTH),
        (lambda value: {"dict": [["key", value]]}, 2 * MAX_DEPTH),
    ],
)
def test_what_is_nested_deeper_than_any_answer_is_not_read(wrap: Callable[[Any], Any], levels: int) -> None:
    decode(_nested(wrap, levels))
    with pytest.raises(ChannelError):
        decode(_nested(wrap, levels + 1))


def test_a_message_of_just_the_limit_is_carried_and_none_above_it() -> None:
    data = to_bytes({"value": "x" * 89}, 102)
    assert len(data) == 102
    with pytest.raises(NotPlainError, match="102 bytes"):
        to_bytes({"value": "x" * 89}, 101)
    here, there = socket.socketpair()
    with here, there:
        send_frame(here, data)
        assert receive_frame(there, 102) == data
        send_frame(here, data)
        with pytest.raises(ChannelError, match="102 bytes"):
            receive_frame(there, 101)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_only_a_tag_carries_what_json_has_no_number_for(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_bytes({"value": number}, MAX_REPLY_BYTES)


ARRAY = {"dtype": "<f8", "shape": [1], "data": "AAAAAAAAAAA="}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"float": 1.0},
        {"float": "1e999"},
        {"tuple": {"a": 1}},
        {"dict": [[1]]},
        {"dict": [[[1], 2]]},
        {"dict": 7},
        {"object": "os.system"},
        {"tuple": [], "dict": []},
        {"array": []},
        {"array": {**ARRAY, "dtype": "O"}},
        {"array": {**ARRAY, "dtype": ["<f8"]}},
        {"array": {**ARRAY, "dtype": "|V8"}},
        {"array": {**ARRAY, "shape": [2]}},
        {"array": {**ARRAY, "shape": [-1]}},
        {"array": {**ARRAY, "shape": [True]}},
        {"array": {**ARRAY, "shape": [10**30, 0]}},
        {"array": {**ARRAY, "shape": [1] * 100}},
        {"array": {**ARRAY, "data": "not base64!"}},
        {"array": {**ARRAY, "more": 1}},
    ],
)
def test_what_encode_cannot_have_written_is_refused(data: object) -> None:
    with pytest.raises(ChannelError):
        decode(data)
    with pytest.raises(ChannelError):
        decode([data])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"[" * 100_000,
        b'{"a": ' + b"9" * 10_000,
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(ChannelError):
        from_bytes(data)


@given(st.binary(max_size=200))
def test_no_bytes_get_through_as_anything_else(data: bytes) -> None:
    try:
        message = from_bytes(data)
    except ChannelError:
        return
    assert type(message) is dict


def test_a_deep_answer_is_refused_and_compared_ones_agree() -> None:
    nested: object = []
    for _ in range(200):
        nested = [nested]
    with pytest.raises(ChannelError):
        decode(nested)
    value = {"points": np.ones((2, 3)), "overshoot": None}
    assert compare(decode(encode(value)), value) is None
