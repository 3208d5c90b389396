"""How a border check is written: above a function, in a dataclass, of each entry, of a type."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial, wraps
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from course_lib.errors import CourseError, unknown_name

# A check takes the argument's name and its value, and returns the value to go on with.
Check = Callable[[str, Any], Any]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Known = TypeVar("Known", bound=str)


def border(**checks: Check) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Check a function's arguments before it runs, and hand it what the checks return.

    An argument whose annotation is one of `course_lib.checks.types`, a `Literal` or a class of this library, such
    as `Count`, `Seed | None` or `Sequence[Pattern]`, is checked by it; what no annotation says is named here.

    Args:
        checks: a check for each further argument that has one, by the argument's name.

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
            all_checks = {**annotated_checks(function), **checks}
            for name in [name for name in bound.arguments if name in all_checks]:
                bound.arguments[name] = all_checks[name](name, bound.arguments[name])
            return function(*bound.args, **bound.kwargs)

        return checked

    return decorate


def check_fields(instance: object, /, **checks: Check) -> None:
    """Check the fields of a dataclass, in its `__post_init__`; they stay as they were given.

    Args:
        instance: the object. Annotations of its own class are read as `border` reads them.
        checks: a check for each further field that has one, by the field's name.

    Raises:
        CourseError: from the first check that refuses.
    """
    owner: Any = type(instance)
    for name, check in {**annotated_checks(owner), **checks}.items():
        check(name, getattr(instance, name))


@cache
def annotated_checks(owner: Callable[..., Any]) -> dict[str, Check]:
    """Return the checks that the annotations of a function or a class carry, by argument or field.

    There are none where an annotation names what only type checkers import.
    """
    try:
        hints = inspect.get_annotations(owner, eval_str=True)
    except NameError:
        return {}
    found = {name: _carried(hint) for name, hint in hints.items() if name != "return"}
    return {name: check for name, check in found.items() if check is not None}


def _carried(hint: Any) -> Check | None:
    """Return the check of `Annotated[int, check]`, a `Literal` or an own class, also inside `| None`, `Sequence[…]`."""
    if get_origin(hint) is Annotated:
        carried: Check = hint.__metadata__[0]
        return carried
    if get_origin(hint) is Literal:
        return a_choice(*get_args(hint))
    if _is_own_class(hint):
        return of_type(f"{hint.__module__}.{hint.__qualname__}")
    if get_origin(hint) is Sequence:
        entry = _carried(get_args(hint)[0])
        return entry and each(entry)
    if get_origin(hint) in (Union, UnionType) and get_args(hint)[1:] == (NoneType,):
        inner = _carried(get_args(hint)[0])
        return inner and optional(inner)
    return None


def _is_own_class(hint: Any) -> bool:
    """Return whether it is a class of this library, and no protocol: those are told by what they can do."""
    is_own = isinstance(hint, type) and hint.__module__.startswith("course_lib.")
    return is_own and not getattr(hint, "_is_protocol", False)


def check_choice(kind: str, value: Any, known: Iterable[Known]) -> Known:
    """Return a name that is one of the known ones.

    Args:
        kind: what it names, for example "profile".
        value: the name.
        known: every name that is accepted.

    Raises:
        CourseError: it is none of them; the error names the nearest.
    """
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise unknown_name(kind, value, names)
    return value


def a_choice(*known: str) -> Check:
    """Return the check of a name that is one of `known`."""
    return lambda name, value: check_choice(name, value, known)


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
        if isinstance(values, (str, bytes, Mapping, type)) or not hasattr(values, "__iter__"):
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
    """Return a value as an error shows it, None included."""
    return _Nothing() if value is None else value
