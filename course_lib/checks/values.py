"""Checks of single values and of plain collections."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from course_lib.checks.calls import Check, shown
from course_lib.errors import CourseError

# More of anything than this is a slip: it would take the machine's memory or a day.
MOST = 10_000_000


def a_seed(name: str, value: Any) -> int:
    """Return a seed; `check_seed` as a check of an argument."""
    return check_seed(value)


def check_text(name: str, value: Any, *, empty_ok: bool = True) -> str:
    """Return a text.

    Raises:
        CourseError: it is no str, holds half a character (a lone surrogate), or is empty where it may not be.
    """
    if not _is_text(value):
        raise CourseError(f"{name} must be a text.", given=shown(value))
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
            f"{name} must be a path.", given=shown(value), mend='Write, for example, "out.csv".'
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
        raise CourseError(f"{name} must be True or False.", given=shown(value))
    return value


def check_callable(name: str, value: Any) -> Callable[..., Any]:
    """Return a function.

    Raises:
        CourseError: it cannot be called.
    """
    if not callable(value):
        raise CourseError(f"{name} must be a function.", given=shown(value))
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
        raise CourseError(f"{name} must be a whole number from {least} to {most}.", given=shown(value))
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
        raise CourseError(f"{name} must be a finite number {wanted}".rstrip() + ".", given=shown(value))
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
            "A seed is a whole number from 0 to 2**32 - 1.", given=shown(seed), mend="Use seed=0."
        )
    return int(seed)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    """Return whether it is a text of whole characters: half of one has no bytes, and no tokenizer or file takes it."""
    try:
        return isinstance(value, str) and (value.isascii() or bool(value.encode()))
    except UnicodeEncodeError:
        return False


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


a_positive = partial(check_number, above=0)

not_negative = partial(check_number, least=0)

an_open_share = partial(check_share, closed=False)


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
        raise CourseError(f"{name} must be a mapping of at least {least}.", given=shown(value))
    missing = [key for key in keys if key not in value]
    if missing:
        raise CourseError(f"{name} lacks {', '.join(map(repr, missing))}.", given=list(value))
    return {key: check(f"{name}[{key!r}]", one) if check else one for key, one in value.items()}


def mapping_to(check: Check, *keys: str) -> Check:
    """Return the check of a mapping's values."""
    return partial(check_mapping, check=check, keys=keys)


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
            f"{name} must be a list of texts.", given=shown(texts), mend="Put it into a list: [text]."
        )
    found = list(texts)
    if len(found) < least:
        raise CourseError(f"{name} must hold at least {least}.", given=f"{len(found)} texts")
    for place, text in enumerate(found):
        if not _is_text(text) or not (text or empty_ok):
            what = "empty" if text == "" else "no text"
            raise CourseError(f"{name} must be texts; the one at {place} is {what}.", given=shown(text))
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
        raise CourseError(f"{name} must be a list of rows, each a mapping.", given=shown(rows))
    if len(rows) < least:
        raise CourseError(f"{name} must hold at least {least}.", given=f"{len(rows)} rows")
    for place, row in enumerate(rows):
        missing = [column for column in columns if column not in row]
        if missing:
            raise CourseError(
                f"Row {place} of {name} lacks {', '.join(map(repr, missing))}.", given=sorted(map(str, row))
            )
    return [dict(row) for row in rows]
