"""CSV files as spreadsheet programs and learning platforms read them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib.errors import CourseError

MAX_TABLE_BYTES = 16 << 20
# Where a cell of a spreadsheet could begin, whatever separates them, what would make it a formula.
_FORMULA = re.compile(r"(^|[;\t\r\n])(?=[=+\-@\t\r＝＋－＠])")


@dataclass(frozen=True)
class Table:
    """A CSV file as it was read, so that it can be written the same again.

    Args:
        rows: its cells, the header first; all rows are as long as the header or longer.
        delimiter: what separates cells.
        encoding: "utf-8", or "utf-8-sig" with a byte order mark.
    """

    rows: list[list[str]]
    delimiter: str = ","
    encoding: str = "utf-8-sig"


def read_table(path: Path) -> Table:
    """Read a CSV file, cell by cell as it stands there.

    Args:
        path: the file; UTF-8, separated by commas, semicolons or tabs.

    Raises:
        CourseError: if it cannot be read so.
    """
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise CourseError("This table is too large.", given=str(path), mend="Name another file.")
        data = path.read_bytes()
        encoding = "utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8"
        text = data.decode(encoding)
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        rows = [
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row
        ]
    except (OSError, ValueError, csv.Error) as error:
        raise CourseError(
            "This table cannot be read.", given=str(path), mend="Name a CSV file in UTF-8."
        ) from error
    if not rows:
        raise CourseError("This table is empty.", given=str(path), mend="Name the file that was exported.")
    width = len(rows[0])
    return Table([row + [""] * (width - len(row)) for row in rows], delimiter, encoding)


def write_table(path: Path, table: Table) -> None:
    """Write a table as it is.

    Args:
        path: the file.
        table: what to write.
    """
    with path.open("w", encoding=table.encoding, newline="") as file:
        csv.writer(file, delimiter=table.delimiter).writerows(table.rows)


def safe_table(rows: Iterable[Sequence[object]]) -> Table:
    """Give a table that spreadsheet programs open as it is meant.

    Args:
        rows: cells, the header first.

    Returns:
        The table, in which no text becomes a formula. It is written with a byte order mark: without one, spreadsheet
        programs take UTF-8 for an encoding of the country's own.
    """
    return Table([[safe_cell(value) for value in row] for row in rows])


def safe_cell(value: object) -> str:
    """Give a cell's text, which a spreadsheet cannot take for a formula.

    Example:
        >>> safe_cell("=1+1"), safe_cell(-1)
        ("'=1+1", '-1')
    """
    return _FORMULA.sub(r"\1'", value) if isinstance(value, str) else str(value)
