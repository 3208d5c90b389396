"""How a border check is written: above a function, in a dataclass, of each entry, of a type."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from course_lib.errors import CourseError

# A check takes the argument's name and its value, and returns the value to go on with.
Check = Callable[[str, Any], Any]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def border(**checks: Check) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Check a function's arguments before it runs, and hand it what the checks return.

    Args:
        checks: a check for each argument that has one, by the argument's name.

    Returns:
        The decorator. Defaults are not checked.

    Raises:
        TypeError: where it is applied, if the function has no argument of such a name.

    Example:
        >>> from course_lib.checks.values import check_count
        >>> @border(num_steps=check_count)
        ... def run(num_steps=3):
        ...     return num_steps
        >>> run(num_steps="3")
        Traceback (most recent call last):
        ...
        course_lib.errors.CourseError: num_steps must be a whole number from 1 to 10000000. Given: '3'.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(function)
        unknown = set(checks) - set(signature.parameters)
        if unknown:
            raise TypeError(f"{function.__qualname__} has no argument {', '.join(sorted(unknown))}")

        @wraps(function)
        def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            bound = signature.bind(*args, **kwargs)
            for name in [name for name in bound.arguments if name in checks]:
                bound.arguments[name] = checks[name](name, bound.arguments[name])
            return function(*bound.args, **bound.kwargs)

        return checked

    return decorate


def check_fields(instance: object, **checks: Check) -> None:
    """Check the fields of a dataclass, in its `__post_init__`; they stay as they were given.

    Args:
        instance: the object.
        checks: a check for each field that has one, by the field's name.

    Raises:
        CourseError: from the first check that refuses.
    """
    for name, check in checks.items():
        check(name, getattr(instance, name))


def optional(check: Check) -> Check:
    """Return the check that also accepts None."""
    return lambda name, value: None if value is None else check(name, value)


def each(check: Check, *, least: int = 1) -> Check:
    """Return the check of a list whose every entry passes `check`; it returns a list.

    Args:
        check: what an entry must pass.
        least: fewest entries that are accepted.
    """

    def checked(name: str, values: Any) -> list[Any]:
        if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__iter__"):
            raise CourseError(f"{name} must be a list.", given=shown(values))
        found = [check(f"{name}[{place}]", value) for place, value in enumerate(values)]
        if len(found) < least:
            raise CourseError(f"{name} must hold at least {least}.", given=found)
        return found

    return checked


def of_type(*types: str) -> Check:
    """Return the check of an object's type.

    Args:
        types: dotted names, such as "torch.Tensor"; a module that nobody has loaded is not loaded for it.
    """
    return partial(_check_type, types=types)


def _check_type(name: str, value: Any, types: tuple[str, ...]) -> Any:
    loaded = tuple(kind for kind in map(_loaded_type, types) if kind is not None)
    if not isinstance(value, loaded):
        wanted = " or ".join(kind.rpartition(".")[2] for kind in types)
        raise CourseError(f"{name} must be a {wanted}, not a {type(value).__name__}.", given=shown(value))
    return value


def _loaded_type(dotted: str) -> type | None:
    module, _, attribute = dotted.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None)


a_model = of_type("torch.nn.Module")

an_axes = of_type("matplotlib.axes.Axes")

a_figure = of_type("matplotlib.figure.Figure")

a_dataset = of_type("datasets.Dataset")

a_frame = of_type("pandas.DataFrame")

a_tensor = of_type("torch.Tensor")

a_model_and_tokenizer = of_type("course_lib.models.loaded.ModelAndTokenizer")


class _Nothing:
    """Stands for a None that was given: `CourseError` shows no value where it is handed None itself."""

    def __repr__(self) -> str:
        return "None"


def shown(value: Any) -> Any:
    """Returns a value as an error shows it, None included."""
    return _Nothing() if value is None else value
