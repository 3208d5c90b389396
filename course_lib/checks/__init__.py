"""Border checks: each says in one sentence what was expected, what came, and what to do.

A public function checks what it is given here, before it works, and goes on with what the check returns:
plain numbers, and NumPy arrays of the dtype and shape that were asked for. `border` is the short way to say
it, one check an argument, above the function:

    @border(values=check_numbers, confidence=partial(check_share, closed=False), seed=a_seed)
    def mean_of(values, *, confidence=0.95, seed=0): ...
"""

from __future__ import annotations

import inspect
import math
import numbers
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from course_lib.errors import CourseError, unknown_name

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from datasets import Dataset

# More of anything than this is a slip: it would take the machine's memory or a day.
MOST = 10_000_000

# A check takes the argument's name and its value, and returns the value to go on with.
Check = Callable[[str, Any], Any]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Name = TypeVar("Name", bound=str)


def border(**checks: Check) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Check a function's arguments before it runs, and hand it what the checks return.

    Args:
        checks: a check for each argument that has one, by the argument's name.

    Returns:
        The decorator. Defaults are not checked.

    Raises:
        TypeError: where it is applied, if the function has no argument of such a name.

    Example:
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
            raise CourseError(f"{name} must be a list.", given=_shown(values))
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


def a_choice(*known: str) -> Check:
    """Return the check of a name that is one of `known`."""
    return lambda name, value: check_choice(name, value, known)


def a_seed(name: str, value: Any) -> int:
    """Return a seed; `check_seed` as a check of an argument."""
    return check_seed(value)


def check_text(name: str, value: Any, *, empty_ok: bool = True) -> str:
    """Return a text.

    Raises:
        CourseError: it is no str, or empty where it may not be.
    """
    if not isinstance(value, str):
        raise CourseError(f"{name} must be a text.", given=_shown(value))
    if not (value or empty_ok):
        raise CourseError(f"{name} must not be empty.", given=value)
    return value


def check_path(name: str, value: Any) -> Path:
    """Return a path.

    Raises:
        CourseError: it is neither a Path nor a text, or empty, or holds a character that no path may hold.
    """
    if not isinstance(value, (str, Path)) or not str(value) or "\0" in str(value):
        raise CourseError(
            f"{name} must be a path.", given=_shown(value), mend='Write, for example, "out.csv".'
        )
    return Path(value)


def check_file_name(name: str, value: Any) -> str:
    """Return a file's name: letters, digits, dots, dashes and underscores, and no place of its own.

    Raises:
        CourseError: it is no text, empty, begins with a dot, or could lead to another folder.
    """
    text = check_text(name, value, empty_ok=False)
    if text.startswith(".") or not all(letter.isalnum() or letter in "._- " for letter in text):
        raise CourseError(f"{name} must be a plain file name, without a folder.", given=value)
    return text


def check_flag(name: str, value: Any) -> bool:
    """Return a bool.

    Raises:
        CourseError: it is neither True nor False.
    """
    if not isinstance(value, bool):
        raise CourseError(f"{name} must be True or False.", given=_shown(value))
    return value


def check_callable(name: str, value: Any) -> Callable[..., Any]:
    """Return a function.

    Raises:
        CourseError: it cannot be called.
    """
    if not callable(value):
        raise CourseError(f"{name} must be a function.", given=_shown(value))
    return value


def check_count(name: str, value: Any, *, least: int = 1, most: int = MOST) -> int:
    """Return a whole number of things.

    Args:
        name: what is counted, as the caller's argument is called.
        value: an int or one of NumPy's; neither a bool nor a float.
        least: the smallest that is accepted.
        most: the largest that is accepted.

    Raises:
        CourseError: it is no whole number, or outside the range.

    Example:
        >>> check_count("batch_size", 16)
        16
        >>> check_count("batch_size", 2.5)
        Traceback (most recent call last):
        ...
        course_lib.errors.CourseError: batch_size must be a whole number from 1 to 10000000. Given: 2.5.
    """
    if not _is_whole(value) or not least <= value <= most:
        raise CourseError(f"{name} must be a whole number from {least} to {most}.", given=_shown(value))
    return int(value)


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """Return a finite number.

    Args:
        name: what it is, as the caller's argument is called.
        value: a real number; neither a bool nor a text.
        above: it must be larger than this.
        least: it must be at least this.
        below: it must be smaller than this.
        most: it must be at most this.

    Raises:
        CourseError: it is no finite number, or outside the range.

    Example:
        >>> check_number("learning_rate", float("inf"), above=0)
        Traceback (most recent call last):
        ...
        course_lib.errors.CourseError: learning_rate must be a finite number above 0. Given: inf.
    """
    bounds = (("above", above), ("of at least", least), ("below", below), ("of at most", most))
    inside = (
        _is_real(value)
        and math.isfinite(value)
        and (above is None or value > above)
        and (least is None or value >= least)
        and (below is None or value < below)
        and (most is None or value <= most)
    )
    if not inside:
        wanted = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        raise CourseError(f"{name} must be a finite number {wanted}".rstrip() + ".", given=_shown(value))
    return float(value)


def check_share(name: str, value: Any, *, closed: bool = True) -> float:
    """Return a share: a number from 0 to 1, or strictly between them where `closed` is False.

    Raises:
        CourseError: it is no number, or outside the range.
    """
    return (
        check_number(name, value, least=0, most=1) if closed else check_number(name, value, above=0, below=1)
    )


def check_seed(seed: Any) -> int:
    """Return a seed.

    Args:
        seed: a whole number from 0 to 2**32 - 1.

    Raises:
        CourseError: it is no whole number, or outside that range.
    """
    if not _is_whole(seed) or not 0 <= seed < 2**32:
        raise CourseError(
            "A seed is a whole number from 0 to 2**32 - 1.", given=_shown(seed), mend="Use seed=0."
        )
    return int(seed)


def check_choice(kind: str, value: Any, known: Iterable[Name]) -> Name:
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
    import numpy as np

    array = _array(name, values)
    if array.dtype.kind not in "biuf":
        raise CourseError(f"{name} must be numbers.", given=_shown(values))
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
        raise CourseError(f"{name} must be whole numbers, not {array.dtype}.", given=_shown(labels))
    highest = "" if num_labels is None else f" to {num_labels - 1}"
    outside = array[(array < 0) | (array >= (MOST if num_labels is None else num_labels))]
    if outside.size:
        raise CourseError(f"{name} must be whole numbers from 0{highest}.", given=int(outside[0]))
    return array.astype(int)


def check_texts(name: str, texts: Any, *, least: int = 1, empty_ok: bool = True) -> list[str]:
    """Return texts as a list.

    Args:
        name: what they are.
        texts: a collection of str; a single str is refused, since it would be read letter by letter.
        least: fewest that are accepted.
        empty_ok: whether a text may be empty.

    Raises:
        CourseError: no collection, too few, or one that is no text; the error names its place.
    """
    if isinstance(texts, (str, bytes, Mapping)) or not isinstance(texts, Collection):
        raise CourseError(
            f"{name} must be a list of texts.", given=_shown(texts), mend="Put it into a list: [text]."
        )
    found = list(texts)
    if len(found) < least:
        raise CourseError(f"{name} must hold at least {least}.", given=f"{len(found)} texts")
    for place, text in enumerate(found):
        if not isinstance(text, str) or not (text or empty_ok):
            what = "empty" if isinstance(text, str) else "no text"
            raise CourseError(f"{name} must be texts; the one at {place} is {what}.", given=_shown(text))
    return found


def check_rows(name: str, rows: Any, columns: Sequence[str] = (), *, least: int = 1) -> list[dict[str, Any]]:
    """Return the rows of a table that have the named columns.

    Args:
        name: what they are.
        rows: mappings, one a row.
        columns: the columns that each must have.
        least: fewest rows that are accepted.

    Raises:
        CourseError: no list of mappings, too few, or a column that is missing; the error names row and column.
    """
    is_table = isinstance(rows, Collection) and not isinstance(rows, (str, bytes, Mapping))
    if not is_table or not all(isinstance(row, Mapping) for row in rows):
        raise CourseError(f"{name} must be a list of rows, each a mapping.", given=_shown(rows))
    if len(rows) < least:
        raise CourseError(f"{name} must hold at least {least}.", given=f"{len(rows)} rows")
    for place, row in enumerate(rows):
        missing = [column for column in columns if column not in row]
        if missing:
            raise CourseError(
                f"Row {place} of {name} lacks {', '.join(map(repr, missing))}.", given=sorted(map(str, row))
            )
    return [dict(row) for row in rows]


def _check_type(name: str, value: Any, types: tuple[str, ...]) -> Any:
    loaded = tuple(kind for kind in map(_loaded_type, types) if kind is not None)
    if not isinstance(value, loaded):
        wanted = " or ".join(kind.rpartition(".")[2] for kind in types)
        raise CourseError(f"{name} must be a {wanted}, not a {type(value).__name__}.", given=_shown(value))
    return value


def _loaded_type(dotted: str) -> type | None:
    module, _, attribute = dotted.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _array(name: str, values: Any) -> np.ndarray:
    """Return a list, array or tensor as an array; what has no rectangular shape is refused."""
    import numpy as np

    if hasattr(values, "detach"):  # a tensor; NumPy has no bfloat16
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    if isinstance(values, (str, bytes, Mapping, set, frozenset)) or values is None:
        raise CourseError(f"{name} must be a list or an array.", given=_shown(values))
    try:
        return np.asarray(list(values) if isinstance(values, range) else values)
    except (ValueError, TypeError) as error:
        raise CourseError(f"{name} must be a list or an array without gaps.", given=_shown(values)) from error


a_positive = partial(check_number, above=0)
not_negative = partial(check_number, least=0)
an_open_share = partial(check_share, closed=False)
a_model = of_type("torch.nn.Module")
an_axes = of_type("matplotlib.axes.Axes")
a_figure = of_type("matplotlib.figure.Figure")
a_dataset = of_type("datasets.Dataset")
a_frame = of_type("pandas.DataFrame")
a_tensor = of_type("torch.Tensor")
a_model_and_tokenizer = of_type("course_lib.models.loaded.ModelAndTokenizer")


def check_columns(name: str, frame: Any, columns: Sequence[str], *, least: int = 1) -> pd.DataFrame:
    """Return a data frame that has the named columns.

    Args:
        name: what it holds.
        frame: the data frame.
        columns: columns that it must have.
        least: fewest rows that are accepted.

    Raises:
        CourseError: no data frame, too few rows, or a column that is missing.
    """
    a_frame(name, frame)
    missing = [column for column in columns if column not in frame.columns]
    if missing or len(frame) < least:
        raise CourseError(
            f"{name} must have the columns {', '.join(columns)} and at least {least} rows.",
            given=f"columns {list(map(str, frame.columns))}, {len(frame)} rows",
        )
    return frame


def check_table(
    name: str, rows: Any, columns: Sequence[str] = (), *, finite: Sequence[str] = ()
) -> pd.DataFrame:
    """Return rows as a data frame that has the named columns.

    Args:
        name: what they are.
        rows: a data frame, or mappings, one a row; at least one.
        columns: columns that it must have.
        finite: columns among them that must hold finite numbers.

    Raises:
        CourseError: no table, no rows, a column that is missing, or a value that is no finite number.
    """
    import pandas as pd

    needed = [*columns, *(column for column in finite if column not in columns)]
    if not isinstance(rows, pd.DataFrame):
        rows = pd.DataFrame(check_rows(name, rows, needed))
    table = check_columns(name, rows, needed)
    for column in finite:
        for value in table[column]:
            check_number(f"{column} of {name}", value.item() if hasattr(value, "item") else value)
    return table


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
        shown = ", ".join("any" if size is None else str(size) for size in wanted)
        raise CourseError(f"{name} must have the shape [{shown}], no side empty.", given=tuple(value.shape))
    if whole:
        check_labels(name, value.flatten())
    elif not value.is_floating_point() or not bool(value.isfinite().all()):
        raise CourseError(f"{name} must be finite floats.", given=value.flatten()[:5].tolist())
    return value


def shaped(*shape: int | None, whole: bool = False) -> Check:
    """Return the check of a tensor's shape and numbers."""
    return partial(check_tensor, shape=shape, whole=whole)


def check_same_length(**values: Any) -> None:
    """Check that lists that go together are of one length.

    Args:
        values: the lists, by name.

    Raises:
        CourseError: their lengths differ.
    """
    lengths = {name: len(value) for name, value in values.items()}
    if len(set(lengths.values())) > 1:
        raise CourseError(f"{' and '.join(lengths)} must be of one length.", given=lengths)


def check_mapping(
    name: str, value: Any, check: Check | None = None, *, keys: Sequence[str] = (), least: int = 1
) -> dict[Any, Any]:
    """Return a mapping as a dict, with what a check returns for each of its values.

    Args:
        name: what it is.
        value: the mapping.
        check: what each value must pass.
        keys: keys that it must have.
        least: fewest entries that are accepted.

    Raises:
        CourseError: no mapping, too few entries, a key that is missing, or a value that the check refuses.
    """
    if not isinstance(value, Mapping) or len(value) < least:
        raise CourseError(f"{name} must be a mapping of at least {least}.", given=_shown(value))
    missing = [key for key in keys if key not in value]
    if missing:
        raise CourseError(f"{name} lacks {', '.join(map(repr, missing))}.", given=list(value))
    return {key: check(f"{name}[{key!r}]", one) if check else one for key, one in value.items()}


def mapping_to(check: Check, *keys: str) -> Check:
    """Return the check of a mapping's values."""
    return partial(check_mapping, check=check, keys=keys)


def table_with(*columns: str, finite: Sequence[str] = ()) -> Check:
    """Return the check of a table's columns, of which those in `finite` must hold finite numbers."""
    return partial(check_table, columns=columns, finite=finite)


def with_columns(*columns: str) -> Check:
    """Return the check of a data frame's columns."""
    return partial(check_columns, columns=columns)


def check_dataset(name: str, texts: Any, columns: Sequence[str], *, least: int = 1) -> Dataset:
    """Return a data set that has the named columns.

    Args:
        name: what it holds.
        texts: a `datasets.Dataset`.
        columns: columns that it must have.
        least: fewest rows that are accepted.

    Raises:
        CourseError: no data set, too few rows, or a column that is missing.
    """
    a_dataset(name, texts)
    missing = [column for column in columns if column not in texts.column_names]
    if missing or len(texts) < least:
        raise CourseError(
            f"{name} must have the columns {', '.join(columns)} and at least {least} rows.",
            given=f"columns {texts.column_names}, {len(texts)} rows",
        )
    return texts


def dataset_with(*columns: str) -> Check:
    """Return the check of a data set's columns."""
    return partial(check_dataset, columns=columns)


class _Nothing:
    """Stands for a None that was given: `CourseError` shows no value where it is handed None itself."""

    def __repr__(self) -> str:
        return "None"


def _shown(value: Any) -> Any:
    return _Nothing() if value is None else value
