"""Calling a learner's function: whatever it does, the outcome is a value to look at."""

from __future__ import annotations

import copy
import inspect
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from course_lib.classroom.checking.comparing import compare
from course_lib.classroom.checking.showing import shortened, show_error


@dataclass(frozen=True)
class Trial:
    """One call of a function on one input.

    Args:
        case: the arguments by name, as they were before the call.
        value: what came back.
        error: the exception's type and message; empty if there was none.
        line: the line of the function's own file that the exception came from; empty if unknown.
        is_stub: whether the function only says that it is not written yet.
        changed: the names of the arguments that the function changed in place.
    """

    case: Mapping[str, Any]
    value: Any = None
    error: str = ""
    line: str = ""
    is_stub: bool = False
    changed: tuple[str, ...] = ()


def call(function: Callable, case: Mapping[str, Any], stub_name: str = "") -> Trial:
    """Call a function on a copy of the arguments.

    The arguments go by keyword, or by position where the function names its parameters
    otherwise.

    Args:
        function: the learner's function.
        case: the arguments by name, in the order of the expected signature.
        stub_name: the exercise's name, which an untouched stub gives to `NotImplementedError`.

    Returns:
        The trial. An exception of the function becomes part of it; only the learner's own
        interrupt (KeyboardInterrupt) goes through.

    Example:
        >>> call(lambda x: 2 * x, {"x": 3}).value
        6
        >>> call(lambda x: 1 / x, {"x": 0}).error
        'ZeroDivisionError: division by zero'
    """
    given = copy.deepcopy(dict(case))
    # Where the signature is unknown (some built-ins have none) position is the best guess.
    by_name = _binds(function, **given) is True
    try:
        with warnings.catch_warnings():
            # A NaN is named in the feedback; NumPy's warning would point into NumPy's files.
            warnings.simplefilter("ignore")
            value = function(**given) if by_name else function(*given.values())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Trial(
            case,
            error=show_error(error),
            line=_learner_line(error),
            is_stub=_is_stub(error, stub_name),
        )
    changed = tuple(name for name in case if compare(given[name], case[name], tolerance=0.0) is not None)
    return Trial(case, value=value, changed=changed)


def accepts(function: Callable, case: Mapping[str, Any]) -> bool:
    """Say whether a function can be called with these arguments, by name or by position.

    Example:
        >>> accepts(lambda a, b: a, {"x": 1, "y": 2}), accepts(lambda a: a, {"x": 1, "y": 2})
        (True, False)
    """
    return _binds(function, **case) is not False or _binds(function, *case.values()) is not False


def signature_text(function: Callable) -> str:
    """Give a function's parameters as text, for example "(a, b=1)"."""
    signature = _signature(function)
    return shortened(f"({', '.join(signature.parameters)})") if signature else "(unknown)"


def _binds(function: Callable, /, *args: Any, **kwargs: Any) -> bool | None:
    signature = _signature(function)
    if signature is None:
        return None
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _signature(function: Callable) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None


def _is_stub(error: BaseException, stub_name: str) -> bool:
    # Libraries raise NotImplementedError too, with messages of their own.
    return type(error) is NotImplementedError and error.args in ((), (stub_name,))


def _learner_line(error: BaseException) -> str:
    """Give the deepest line of the file in which the learner's function stands."""
    try:
        # The first frame is the call in this file, the second the learner's function.
        frames = traceback.extract_tb(error.__traceback__)[1:]
    except KeyboardInterrupt:
        raise
    except BaseException:
        return ""
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    if not own:
        return ""
    return shortened(f"line {own[-1].lineno}: {own[-1].line}" if own[-1].line else f"line {own[-1].lineno}")
