"""The one reader of users' files: rows of CSV, TSV, JSON lines, JSON and parquet, as they are written.

Nothing is guessed: "007", "NA", "None", "1.10" and "2024-01-02" stay these texts, whatever the format. What has
no one meaning is refused with its row: a hole, a ragged row, a column named twice, an unknown encoding.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from course_lib.checks.calls import border
from course_lib.checks.types import Text
from course_lib.checks.values import check_count, check_path, check_rows, check_text, check_texts
from course_lib.errors import CourseError

# What a file begins with -> how it is encoded; a file without any of these is UTF-8.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# A field of a CSV file longer than this comes from a quote that is never closed.
_LONGEST_FIELD = 10_000_000

Row = dict[str, Any]


def read_rows(file: Path | str, columns: Sequence[str] = (), optional: Sequence[str] = ()) -> list[Row]:
    """Read the rows of a user's file.

    Args:
        file: a .csv (commas), .tsv (tabs), .jsonl, .json (an array of objects, or lines) or .parquet file; texts
            are UTF-8, or UTF-16 and UTF-32 with a byte order mark.
        columns: columns that every row must have; all are read when none is named.
        optional: further columns, read where the file has them.

    Returns:
        A mapping for each row, in the file's order. Values are texts as they are written there (a number of JSON
        with its own digits; one of parquet as short as it can be written); a list stays a list of texts.

    Raises:
        CourseError: no file, another format, or an encoding that is not known; nothing in it; a column that is
            missing, or there twice; a row with more or fewer fields than the header; a hole (null, or nothing
            but white space) in a column that is read. Rows are counted from 1, without the header.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "texts.csv").write_text("text,label\\nNA,007\\n")
        ...     read_rows(Path(folder, "texts.csv"), ["text", "label"])
        [{'text': 'NA', 'label': '007'}]
    """
    columns, optional = check_texts("columns", columns, least=0), check_texts("optional", optional, least=0)
    file = check_path("file", file)
    rows = read_raw_rows(file)
    missing = [name for name in columns if name not in rows[0]]
    if missing:
        raise CourseError(
            f"The file has no column {' and no column '.join(f'`{name}`' for name in missing)}.",
            given=f"{file}: {', '.join(map(str, rows[0]))}",
            mend=_other_separator(list(rows[0])) or "Rename the columns, or name others.",
        )
    names = [name for name in rows[0] if name in (*columns, *optional)] if columns else list(rows[0])
    return [
        {name: _filled(row.get(name), name, number, file) for name in names}
        for number, row in enumerate(rows, start=1)
    ]


@border(file=check_path)
def read_raw_rows(file: Path) -> list[Row]:
    """Read a file like `read_rows`, holes included: null of JSON and parquet is None.

    Args:
        file: see `read_rows`.

    Returns:
        Rows of which all have the same columns.

    Raises:
        CourseError: as `read_rows`, but for holes and missing columns.
    """
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise CourseError(
            f"Rows are read from {', '.join(_READERS)}.", given=str(file), mend="Save them as CSV in UTF-8."
        )
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CourseError(f"This file cannot be read: {error.strerror}.", given=str(file)) from error
    rows = reader(content, file)
    if not rows:
        raise CourseError("The file holds no rows.", given=str(file), mend="Give one row for each text.")
    return rows


@border()
def is_user_file(name: Text) -> bool:
    """Say whether a name is that of a file in a format that `read_rows` reads."""
    return Path(name).suffix.lower() in _READERS


def number_labels(
    rows: Sequence[Mapping[str, Any]], labels: Sequence[str] | None, num_labels: int
) -> list[int]:
    """Turn the column `label` of a file into numbers.

    Args:
        rows: of `read_rows`.
        labels: what the labels are called in the file, in their order; "0", "1", … by default. White space around
            a label does not count; anything else does: "01" is not "1".
        num_labels: how many labels there are.

    Returns:
        A number from 0 for each row.

    Raises:
        CourseError: another number of labels, an empty one, or one twice; a row with none of them.
    """
    check_count("num_labels", num_labels, least=2)
    rows = check_rows("rows", rows, ["label"], least=0)
    given = list(map(str, range(num_labels))) if labels is None else check_texts("labels", labels)
    names = [label.strip() for label in given]
    if len(set(names)) != num_labels or len(names) != num_labels or not all(names):
        raise CourseError(
            f"There must be {num_labels} labels, one for each label word, none empty and none twice.",
            given=names,
            mend="Name them as the file writes them, in the order of the label words.",
        )
    number_of = {name: number for number, name in enumerate(names)}
    found = [str(row["label"]).strip() for row in rows]
    unknown = [(place, label) for place, label in enumerate(found, start=1) if label not in number_of]
    if unknown:
        others = ", ".join(repr(label) for label in list(dict.fromkeys(label for _, label in unknown))[:10])
        raise CourseError(
            f"The file has labels other than {', '.join(names)}.",
            given=f"{others}; first in row {unknown[0][0]}",
            mend="Name the file's labels, as it writes them, in the order of the label words.",
        )
    return [number_of[label] for label in found]


@border()
def split_names(what: Text, names: str) -> list[str]:
    """Take apart names that a user joined by commas; white space around a name does not count.

    Args:
        what: what they name, for the error.
        names: the names.

    Raises:
        CourseError: an empty name, or one twice.

    Example:
        >>> split_names("words", "bad, good")
        ['bad', 'good']
    """
    found = [name.strip() for name in check_text(what, names).split(",")]
    if not all(found) or len(set(found)) < len(found):
        raise CourseError(
            f"The {what} are names joined by commas, none empty and none twice.",
            given=repr(names),
            mend="Write, for example, bad,good.",
        )
    return found


# --- formats ---------------------------------------------------------------------------------------


def _read_separated(content: bytes, file: Path, separator: str) -> list[Row]:
    text = _decoded(content, file)
    previous = csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        records = list(reader)
    except csv.Error as error:
        raise CourseError(
            f"Line {reader.line_num} cannot be read: {error}.",
            given=str(file),
            mend='Put a field that holds a quote into quotes, and double the quote: "He said ""no""."',
        ) from error
    finally:
        csv.field_size_limit(previous)
    while records and not records[-1]:
        records.pop()
    if not records:
        return []
    header = [name.strip() for name in records[0]]
    _refuse_twice(header, file)
    for number, record in enumerate(records[1:], start=1):
        if len(record) != len(header):
            raise CourseError(
                f"Row {number} has {len(record)} fields, and the header has {len(header)}.",
                given=f"{file}: {record}",
                mend="Put fields that hold a separator into quotes.",
            )
        if separator == "\t" and any("\n" in field for field in record):
            # most files of this kind know no quotes: a lone one would swallow the rows behind it
            raise CourseError(
                f"A field of row {number} runs over several lines.",
                given=f"{file}: {record}",
                mend="Close its quotes, or save the rows as CSV.",
            )
    return [dict(zip(header, record, strict=True)) for record in records[1:]]


def _read_comma(content: bytes, file: Path) -> list[Row]:
    return _read_separated(content, file, ",")


def _read_tab(content: bytes, file: Path) -> list[Row]:
    return _read_separated(content, file, "\t")


def _read_json_lines(content: bytes, file: Path) -> list[Row]:
    # "\n" alone: other line ends of Unicode may stand inside a text
    lines = _decoded(content, file).split("\n")
    values = [
        _json_value(line, f"Line {number}", file) for number, line in enumerate(lines, 1) if line.strip()
    ]
    return _json_rows(values, file)


def _read_json(content: bytes, file: Path) -> list[Row]:
    """Read an array of objects, or, as others also name them, lines of objects."""
    text = _decoded(content, file)
    if not text.lstrip().startswith("["):
        return _read_json_lines(content, file)
    return _json_rows(_json_value(text, "The file", file), file)


def _json_value(text: str, what: str, file: Path) -> Any:
    try:
        return json.loads(
            text,
            parse_int=str,
            parse_float=str,
            parse_constant=lambda _: None,
            object_pairs_hook=lambda pairs: _object(pairs, file),
        )
    except (ValueError, RecursionError) as error:
        raise CourseError(
            f"{what} is no JSON: {error}.", given=str(file), mend="Write one object a line."
        ) from error


def _object(pairs: list[tuple[str, Any]], file: Path) -> Row:
    _refuse_twice([name for name, _ in pairs], file)
    return dict(pairs)


def _json_rows(values: Any, file: Path) -> list[Row]:
    names: dict[str, None] = {}
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise CourseError(
                f"Row {number} is no object of columns.",
                given=f"{file}: {value}",
                mend='Write {"text": …, "label": …} for each row.',
            )
        names |= dict.fromkeys(value)
    return [{name: _json_text(value.get(name)) for name in names} for value in values]


def _json_text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return [_json_text(each) for each in value]
    return value


def _read_parquet(content: bytes, file: Path) -> list[Row]:
    if not content:
        return []
    try:
        table = pyarrow.parquet.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise CourseError("This is no whole parquet file.", given=str(file)) from error
    _refuse_twice(table.column_names, file)
    values = {name: _parquet_texts(table.column(name)) for name in table.column_names}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _parquet_texts(column: Any) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_floating(kind):
        return [None if value is None or value != value else text for value, text in _with_text(column)]
    if pa.types.is_nested(kind):
        return [_json_text(_numbers_as_text(value)) for value in column.to_pylist()]
    try:
        return column.cast(pa.string()).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError):
        return column.to_pylist()  # bytes, for one: no text, which is refused where the column is read


def _with_text(column: Any) -> Iterable[tuple[Any, str]]:
    return zip(column.to_pylist(), column.cast(pa.string()).to_pylist(), strict=True)


def _numbers_as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers_as_text(each) for each in value]
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


_READERS: dict[str, Callable[[bytes, Path], list[Row]]] = {
    ".csv": _read_comma,
    ".tsv": _read_tab,
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".parquet": _read_parquet,
}


# --- checks ----------------------------------------------------------------------------------------


def _decoded(content: bytes, file: Path) -> str:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CourseError(
            f"The file is not encoded in UTF-8: line {line} holds the byte {content[error.start]:#04x}.",
            given=str(file),
            mend="Save it in UTF-8; spreadsheet programs call that `CSV UTF-8`.",
        ) from error
    if "\0" in text:
        raise CourseError(
            "The file holds a zero byte: it is no text in UTF-8.", given=str(file), mend="Save it in UTF-8."
        )
    return text


def _filled(value: Any, name: str, number: int, file: Path) -> Any:
    """Refuse a hole; an empty field of a CSV file is one, since that is how it writes null."""
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise CourseError(
            f"Row {number} has {_nothing_or(value)} in the column `{name}`. Rows are counted from 1, without "
            "the header.",
            given=str(file),
            mend="Fill it in, or leave the row out.",
        )
    if any("\ud800" <= letter <= "\udfff" for text in texts for letter in text):
        raise CourseError(f"Row {number} has half a character in the column `{name}`.", given=str(file))
    return value


def _nothing_or(value: Any) -> str:
    return "nothing" if value is None or value == [] or isinstance(value, str) else f"no text, {value!r},"


def _refuse_twice(names: list[str], file: Path) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CourseError(
            f"The column {twice[0]!r} is there twice.", given=str(file), mend="Rename one of them."
        )


def _other_separator(names: list[str]) -> str:
    """Say what to do where the whole header was read as one column."""
    if len(names) == 1 and any(mark in names[0] for mark in (";", "\t", ",")):
        return "Separate the fields by commas in a .csv file, and by tabs in a .tsv file."
    return ""
