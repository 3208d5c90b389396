"""The narrow channel between judge and worker: length-limited frames of plain data, and nothing else.

A frame is four bytes of length and as many bytes of JSON (or, once, of the notebook). Arrays, tensors, tuples,
mappings, NaN and infinities are written as explicit tags. Nothing that comes from the other side chooses which
code runs here: there is no pickle, and no method of a returned object is called by the side that judges.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

# What a worker may send at once. Kept small: the judge reads two of these at a time and stays small itself.
MAX_REPLY_BYTES = 1 << 20
# What a worker takes; the judge is trusted, and sends whole notebooks.
MAX_REQUEST_BYTES = 64 << 20
MAX_DEPTH = 16
# What one answer may hold, an array counting as one value: each takes many times its bytes in the judge, and the keys
# of a dictionary can be chosen so that all of them have one hash.
MAX_VALUES = 20_000
MAX_KEYS = 1_000
MAX_INTEGER_BITS = 1000

_LENGTH = struct.Struct(">I")
_DTYPES = frozenset(["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"])
_SCALARS = (type(None), bool, str)
_dumps, _loads = json.dumps, json.loads


class Channel(Protocol):
    """What carries the frames: a socket, or what reads and writes like one."""

    def recv(self, count: int, /) -> bytes:
        """Receive up to `count` bytes; none if the other side has ended."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of these bytes."""


class ChannelError(Exception):
    """What came over the channel is not what the channel carries."""


class NotPlainError(Exception):
    """A value is not plain data, or too large, and cannot be sent."""


def encode(value: Any, depth: int = 0) -> Any:
    """Give a value in the form the channel carries.

    Args:
        value: None, a truth value, number, text, list, tuple, dictionary, numeric array or tensor; or any
            nesting of these.
        depth: how deep in a nesting this value stands.

    Returns:
        What JSON can hold.

    Raises:
        NotPlainError: if it is, or holds, anything else.

    Example:
        >>> encode({"gap": (float("nan"), 1)})
        {'dict': [['gap', {'tuple': [{'float': 'nan'}, 1]}]]}
    """
    if depth > MAX_DEPTH:
        raise NotPlainError(f"it is nested more than {MAX_DEPTH} deep")
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is int:
        return _checked_integer(value)
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    # Subclasses too: a named tuple, a counter, an ordered dictionary hold plain values as well.
    if issubclass(kind, list | range):
        return [encode(item, depth + 1) for item in value]
    if issubclass(kind, tuple):
        return {"tuple": [encode(item, depth + 1) for item in value]}
    if issubclass(kind, dict):
        return {"dict": [[_key(key), encode(item, depth + 1)] for key, item in value.items()]}
    if issubclass(kind, np.generic):
        return encode(_item(value), depth)
    if issubclass(kind, np.ndarray):
        array = np.asarray(value)
        # An array of texts or of anything is no block of numbers, but what it holds may be plain.
        return encode(array.tolist(), depth) if array.dtype.kind in "UO" else {"array": _array(array)}
    torch = sys.modules.get("torch")
    if torch is not None and issubclass(kind, torch.Tensor):
        return {"tensor": _array(_tensor_values(torch, value))}
    raise NotPlainError(f"it is or holds an object of type {kind.__name__}")


def check_size(data: Any) -> None:
    """Refuse an encoded answer of more values than the judge holds.

    Args:
        data: what `encode` gave, or JSON held.

    Raises:
        ChannelError: if it has more than `MAX_VALUES` values, or a dictionary more than `MAX_KEYS` keys.

    Example:
        >>> check_size([0] * 30_000)
        Traceback (most recent call last):
        ...
        course_lib.classroom.grading.worker.channel.ChannelError: it holds more than 20,000 values outside arrays
    """
    pending, count = [data], 0
    while pending:
        value = pending.pop()
        count += 1
        if type(value) is dict:
            pairs = value.get("dict")
            if type(pairs) is list and len(pairs) > MAX_KEYS:
                raise ChannelError(f"it holds a dictionary of more than {MAX_KEYS:,} keys")
            value = list(value.values())
        if type(value) is list:
            if count + len(pending) + len(value) > MAX_VALUES:
                raise ChannelError(f"it holds more than {MAX_VALUES:,} values outside arrays")
            pending += value


def decode(data: Any, *, tensors: bool = False) -> Any:
    """Give the value that `encode` wrote.

    Args:
        data: what JSON held; anything, since it may come from a hostile worker.
        tensors: whether tensors come back as tensors; otherwise they are arrays, and torch is not needed.

    Raises:
        ChannelError: if `encode` cannot have written it.

    Example:
        >>> decode({"tuple": [{"float": "-inf"}, 1]})
        (-inf, 1)
    """
    try:
        return _decoded(data, tensors, depth=0)
    except (TypeError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise ChannelError(f"not plain data: {type(error).__name__}") from None


def to_bytes(message: Any, limit: int) -> bytes:
    """Write a message of encoded values as JSON.

    Raises:
        NotPlainError: if it takes more than `limit` bytes.
    """
    data = _dumps(message, allow_nan=False).encode("utf-8", "surrogatepass")
    if len(data) > limit:
        raise NotPlainError(f"it takes {len(data):,} bytes; {limit:,} are allowed")
    return data


def from_bytes(data: bytes) -> dict[str, Any]:
    """Read a message, a JSON object.

    Raises:
        ChannelError: if it is none.
    """
    try:
        message = _loads(data.decode("utf-8", "surrogatepass"), parse_constant=_refuse)
    except (ValueError, RecursionError, MemoryError):
        raise ChannelError("a message is not JSON") from None
    if type(message) is not dict:
        raise ChannelError("a message is not an object")
    return message


def send_frame(channel: Channel, data: bytes) -> None:
    """Send one frame; a socket's timeout applies."""
    channel.sendall(framed(data))


def framed(data: bytes) -> bytes:
    """Give one frame as it goes over the channel."""
    return _LENGTH.pack(len(data)) + data


def receive_frame(channel: Channel, limit: int) -> bytes:
    """Receive one frame; a socket's timeout applies to each part of it.

    Raises:
        EOFError: if the other side has ended.
        ChannelError: if it announces more than `limit` bytes.
    """
    (length,) = _LENGTH.unpack(_receive(channel, _LENGTH.size))
    if length > limit:
        raise ChannelError(f"a message of {length:,} bytes; {limit:,} are allowed")
    return _receive(channel, length)


def frame_length(header: bytes) -> int:
    """Give the length that a frame's first four bytes announce."""
    return int(_LENGTH.unpack(header)[0])


def _receive(channel: Channel, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = channel.recv(min(count, 1 << 16))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _checked_integer(value: int) -> int:
    if value.bit_length() > MAX_INTEGER_BITS:
        raise NotPlainError("it holds a whole number of more than 300 digits")
    return value


def _key(key: Any) -> Any:
    key = _item(key) if issubclass(type(key), np.generic) else key
    if type(key) not in (*_SCALARS, int, float):
        raise NotPlainError(f"it holds a dictionary with a key of type {type(key).__name__}")
    return encode(key)


def _item(value: np.generic) -> Any:
    item = np.generic.item(value)
    if issubclass(type(item), np.generic):
        raise NotPlainError(f"it holds a number of type {type(value).__name__}")
    return item


def _array(array: np.ndarray) -> dict[str, Any]:
    array = np.ascontiguousarray(array).reshape(array.shape)
    plain = array.astype(array.dtype.newbyteorder("<"))
    if plain.dtype.str not in _DTYPES:
        raise NotPlainError(f"it is or holds an array of dtype {array.dtype}")
    # Before the bytes are written out: base64 takes a third more.
    if plain.nbytes > MAX_REQUEST_BYTES:
        raise NotPlainError(f"it holds an array of {plain.nbytes:,} bytes")
    data = base64.b64encode(plain.tobytes()).decode("ascii")
    return {"dtype": plain.dtype.str, "shape": list(plain.shape), "data": data}


def _tensor_values(torch: Any, tensor: Any) -> np.ndarray:
    if tensor.layout is not torch.strided:
        raise NotPlainError("it is or holds a sparse tensor")
    dense = tensor.detach().cpu()
    # NumPy has no bfloat16.
    return (dense.float() if dense.dtype is torch.bfloat16 else dense).numpy()


def _decoded(data: Any, tensors: bool, depth: int) -> Any:
    if depth > 2 * MAX_DEPTH:
        raise ValueError("too deep")
    if type(data) in (*_SCALARS, int, float):
        return data
    if type(data) is list:
        return [_decoded(item, tensors, depth + 1) for item in data]
    ((tag, content),) = data.items()
    if tag == "float" and content in ("nan", "inf", "-inf"):
        return float(content)
    if tag == "tuple" and type(content) is list:
        return tuple(_decoded(content, tensors, depth + 1))
    if tag == "dict" and type(content) is list:
        return _decoded_dictionary(content, tensors, depth)
    if tag == "array":
        return _decoded_array(content)
    if tag == "tensor":
        return _as_tensor(_decoded_array(content)) if tensors else _decoded_array(content)
    raise ValueError("unknown tag")


def _decoded_dictionary(pairs: Sequence[Any], tensors: bool, depth: int) -> dict[Any, Any]:
    result = {}
    for key, value in pairs:
        key = _decoded(key, tensors, depth + 1)
        if type(key) not in (*_SCALARS, int, float):
            raise ValueError("not a key")
        result[key] = _decoded(value, tensors, depth + 1)
    return result


def _decoded_array(content: Any) -> np.ndarray:
    if type(content) is not dict or set(content) != {"dtype", "shape", "data"}:
        raise ValueError("not an array")
    dtype, shape, text = content["dtype"], content["shape"], content["data"]
    if type(dtype) is not str or dtype not in _DTYPES or type(text) is not str or type(shape) is not list:
        raise ValueError("not an array")
    if len(shape) > 8 or any(type(size) is not int or not 0 <= size < 2**31 for size in shape):
        raise ValueError("not a shape")
    data = base64.b64decode(text, validate=True)
    if len(data) != math.prod(shape) * np.dtype(dtype).itemsize:
        raise ValueError("as many values as the shape says")
    # A copy: what frombuffer gives cannot be written to.
    return np.frombuffer(bytearray(data), dtype=dtype).reshape(shape)


def _as_tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(array)
