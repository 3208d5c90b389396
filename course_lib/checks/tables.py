"""Checks of tables: rows, data frames, data sets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from course_lib.checks.calls import Check, a_dataset, a_frame
from course_lib.checks.values import check_number, check_rows
from course_lib.errors import CourseError

if TYPE_CHECKING:
    from datasets import Dataset


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
    _refuse_lacking(name, list(map(str, frame.columns)), len(frame), columns, least)
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
    needed = [*columns, *(column for column in finite if column not in columns)]
    if not isinstance(rows, pd.DataFrame):
        rows = pd.DataFrame(check_rows(name, rows, needed))
    table = check_columns(name, rows, needed)
    for column in finite:
        for value in table[column]:
            check_number(f"{column} of {name}", value.item() if hasattr(value, "item") else value)
    return table


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
    _refuse_lacking(name, texts.column_names, len(texts), columns, least)
    return texts


def dataset_with(*columns: str) -> Check:
    """Return the check of a data set's columns."""
    return partial(check_dataset, columns=columns)


def _refuse_lacking(name: str, found: list[str], num_rows: int, columns: Sequence[str], least: int) -> None:
    if not set(columns) <= set(found) or num_rows < least:
        raise CourseError(
            f"{name} must have the columns {', '.join(columns)} and at least {least} rows.",
            given=f"columns {found}, {num_rows} rows",
        )
