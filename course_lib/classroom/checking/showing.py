"""Values as short text: what a learner gets to see of inputs, expectations and results.

Learners' values can be anything, so nothing here trusts them: an object whose `repr` fails is
named by its type.
"""

from __future__ import annotations

import inspect
import itertools
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

MAX_CHARACTERS = 600
MAX_ITEMS = 12
MAX_DEPTH = 3


def show(value: object) -> str:
    """Give a value as text, shortened where it is long.

    Args:
        value: anything. Arrays keep their first and last entries and gain their shape.

    Returns:
        The text. This never fails, whatever the value's own methods do.

    Example:
        >>> show(2_200_000), show(0.1 + 0.2), show((1, "a"))
        ('2_200_000', '0.3', "(1, 'a')")
        >>> show(list(range(100)))
        '[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... (100 in all)]'
    """
    try:
        return shortened(_text(value, depth=0))
    except KeyboardInterrupt:
        raise
    except BaseException:
        return f"an object of type {type_name(value)} that cannot be shown"


def show_case(case: Mapping[str, Any]) -> str:
    """Give the arguments of a call as text, one a line.

    Example:
        >>> print(show_case({"num_parameters": 60_000_000, "num_examples": 1_200_000}))
        num_parameters = 60_000_000
        num_examples = 1_200_000
    """
    return "\n".join(_argument_text(name, show(value)) for name, value in case.items())


def show_error(error: BaseException) -> str:
    """Give an exception's type and message, also where its own `str` fails.

    Example:
        >>> show_error(ValueError("too small"))
        'ValueError: too small'
    """
    try:
        message = str.__str__(str(error))
    except KeyboardInterrupt:
        raise
    except BaseException:
        message = "(its message cannot be shown)"
    name = type_name(error)
    return shortened(f"{name}: {message}" if message else name)


def shortened(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Cut a text to `limit` characters, and write what no page can encode as escapes.

    Example:
        >>> shortened("abcdefgh", limit=6)
        'abc...'
    """
    # A learner's subclass of str could lie about its length; this gives a plain str.
    plain = str.__str__(text)
    cut = plain if len(plain) <= limit else plain[: limit - 3] + "..."
    return cut.encode("utf-8", "backslashreplace").decode("utf-8")


def type_name(value: object) -> str:
    """Give the name of a value's type.

    Example:
        >>> type_name(3.0)
        'float'
    """
    return str(type.__getattribute__(type(value), "__name__"))


def is_tensor(value: object) -> bool:
    """Say whether a value is a torch tensor, without importing torch.

    Example:
        >>> is_tensor(np.zeros(3))
        False
    """
    # Nobody holds a tensor before torch is imported.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def tensor_as_array(tensor: Any) -> np.ndarray:
    """Give a torch tensor's values as an array."""
    detached = tensor.detach().cpu()
    # NumPy has no bfloat16.
    is_short = detached.is_floating_point() and detached.element_size() < 4
    return (detached.float() if is_short else detached).numpy()


def _argument_text(name: str, text: str) -> str:
    # The lines of a matrix stay below each other.
    return f"{name} =\n{textwrap.indent(text, '  ')}" if "\n" in text else f"{name} = {text}"


def _text(value: Any, depth: int) -> str:
    if isinstance(value, np.generic):
        return _text(value.item(), depth)
    if isinstance(value, np.ndarray):
        return _array_text("array", value)
    if is_tensor(value):
        return _array_text("tensor", tensor_as_array(value))
    if type(value) is int:
        return f"{value:_}"
    if type(value) is float:
        # Eight digits: more than any tolerance, fewer than the noise of the last bits.
        return repr(float(f"{value:.8g}"))
    if isinstance(value, str):
        return repr(shortened(value))
    if isinstance(value, (list, tuple, dict)):
        return _collection_text(value, depth)
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    return repr(value)


def _array_text(word: str, array: np.ndarray) -> str:
    body = np.array2string(
        array,
        precision=6,
        separator=", ",
        threshold=MAX_ITEMS,
        edgeitems=3,
        max_line_width=88,
        prefix=f"{word}(",
    )
    note = f" of shape {array.shape}" if array.size > MAX_ITEMS or array.size == 0 else ""
    return f"{word}({body}){note}"


def _collection_text(value: list | tuple | dict, depth: int) -> str:
    brackets = {list: ("[", "]"), tuple: ("(", ")"), dict: ("{", "}")}
    left, right = next(pair for kind, pair in brackets.items() if isinstance(value, kind))
    if depth >= MAX_DEPTH:
        return f"{left}...{right}"
    if isinstance(value, dict):
        items = [
            f"{_text(key, depth + 1)}: {_text(value[key], depth + 1)}"
            for key in itertools.islice(value, MAX_ITEMS)
        ]
    else:
        items = [_text(item, depth + 1) for item in value[:MAX_ITEMS]]
    if len(value) > MAX_ITEMS:
        items.append(f"... ({len(value)} in all)")
    comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
    return left + ", ".join(items) + comma + right
