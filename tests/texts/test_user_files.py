"""The reader of users' files: every value as it is written, and what has no one meaning refused by its row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.errors import CourseError
from course_lib.texts.user_files import number_labels, read_rows, split_names

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet")
# What readers of tables like to take for a hole, a number, a date or a truth value.
AS_WRITTEN = (
    "007", "1.10", "1e5", "0x1F", "+5", "1,000", "NA", "N/A", "None", "null", "nan", "NaN", "-", "inf", "true",
    "False", "2024-01-02", "01/02/2024", "12:30", "=1+1", '"quoted"', "a, b", "it's", "서울", "🙂", "  indented",
)  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows with plain means, each format in its own way."""
    names = list(rows[0])
    if path.suffix in (".csv", ".tsv"):
        separator = "," if path.suffix == ".csv" else "\t"
        lines = [names, *([row[name] for name in names] for row in rows)]
        quoted = [
            ['"' + ("" if value is None else value).replace('"', '""') + '"' for value in line]
            for line in lines
        ]
        path.write_bytes("".join(separator.join(line) + "\r\n" for line in quoted).encode())
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_values_arrive_as_they_are_written(tmp_path: Path, suffix: str) -> None:
    rows = [{"text": value, "label": value} for value in AS_WRITTEN]
    assert read_rows(write(tmp_path / f"a.{suffix}", rows), ["text", "label"]) == rows


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(
        st.text(min_size=1).filter(lambda text: text.strip() and "\0" not in text), min_size=1, max_size=5
    )
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json", "parquet"])
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, suffix: str, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("any") / f"a.{suffix}"
    rows = [{"text": text, "label": "1"} for text in texts]
    assert read_rows(write(path, rows), ["text", "label"]) == rows


def test_numbers_keep_their_digits(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"text": 1.10, "label": 1}\n{"text": true, "label": 12345678901234567890}\n'
    )
    assert read_rows(tmp_path / "a.jsonl") == [
        {"text": "1.10", "label": "1"},
        {"text": "true", "label": "12345678901234567890"},
    ]
    table = pa.table({"label": pa.array([1.0, 0.5]), "text": pa.array(["b", "a"]).dictionary_encode()})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet") == [{"label": "1", "text": "b"}, {"label": "0.5", "text": "a"}]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_hole_is_refused_with_its_row(tmp_path: Path, suffix: str) -> None:
    for column in ("text", "label"):
        rows: list[dict[str, Any]] = [{"text": f"text {i}", "label": "1"} for i in range(4)]
        rows[2][column] = None
        with pytest.raises(CourseError, match=f"Row 3 has nothing in the column `{column}`"):
            read_rows(write(tmp_path / f"a.{suffix}", rows), ["text", "label"])


def test_other_holes_are_refused_with_their_row(tmp_path: Path) -> None:
    for hole in ('{"text": "a"}', '{"text": "a", "label": NaN}', '{"text": "a", "label": "  "}'):
        (tmp_path / "a.jsonl").write_text('{"text": "b", "label": "0"}\n' + hole + "\n")
        with pytest.raises(CourseError, match="Row 2 has nothing in the column `label`"):
            read_rows(tmp_path / "a.jsonl", ["text", "label"])
    parquet.write_table(pa.table({"text": ["a", "b"], "label": [1.0, float("nan")]}), tmp_path / "a.parquet")
    with pytest.raises(CourseError, match="Row 2 has nothing in the column `label`"):
        read_rows(tmp_path / "a.parquet", ["text", "label"])


def test_a_hole_in_a_column_that_is_not_read_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,note\ngood,\n")
    assert read_rows(tmp_path / "a.csv", ["text"]) == [{"text": "good"}]
    assert read_rows(tmp_path / "a.csv", ["text"], optional=["group"]) == [{"text": "good"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json"])
def test_encodings_with_a_mark_are_read(tmp_path: Path, encoding: str, suffix: str) -> None:
    rows = [{"text": "좋은 영화", "label": "1"}]
    path = write(tmp_path / f"a.{suffix}", rows)
    path.write_bytes(path.read_bytes().decode().encode(encoding))
    assert read_rows(path, ["text", "label"]) == rows


def _file(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_file("a.csv", b""), "no rows"),
        (_file("a.csv", b"\xef\xbb\xbf"), "no rows"),
        (_file("a.csv", b"text,label\n"), "no rows"),
        (_file("a.jsonl", b"\n\n"), "no rows"),
        (_file("a.json", b"[]"), "no rows"),
        (_file("a.parquet", b""), "no rows"),
        (_file("a.csv", "text,label\n좋은,1\n".encode("euc-kr")), "line 2 holds the byte"),
        (_file("a.csv", "text,label\nCaf\xe9,1\n".encode("latin-1")), "not encoded in UTF-8"),
        (_file("a.csv", "text,label\na,1\n".encode("utf-16-le")), "zero byte"),
        (_file("a.csv", b"text,label\na,b,1\n"), "Row 1 has 3 fields, and the header has 2"),
        (_file("a.csv", b"text,label\na,1\nb\n"), "Row 2 has 1 fields"),
        (_file("a.csv", b"text,label\na,1\n\nb,0\n"), "Row 2 has 0 fields"),
        (_file("a.csv", b"text,text,label\na,b,1\n"), "'text' is there twice"),
        (_file("a.csv", b"text, text,label\na,b,1\n"), "'text' is there twice"),
        (_file("a.jsonl", b'{"text": "a", "text": "b", "label": 1}\n'), "'text' is there twice"),
        (_file("a.csv", b"words,label\na,1\n"), "no column `text`"),
        (_file("a.csv", b"words,class\na,1\n"), "no column `text` and no column `label`"),
        (_file("a.csv", b"text;label\na;1\n"), "Separate the fields by commas"),
        (_file("a.csv", b'text,label\n"a" b,1\n'), "Line 2 cannot be read"),
        (_file("a.csv", b'text,label\n"a,1\nb,0\n'), "cannot be read"),
        (_file("a.tsv", b'text\tlabel\n"a\t1\nb"\t0\n'), "runs over several lines"),
        (_file("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"\n'), "Line 2 is no JSON"),
        (_file("a.jsonl", b'["a", 1]\n'), "Row 1 is no object"),
        (_file("a.jsonl", b'{"text": {"en": "a"}, "label": 1}\n'), "Row 1 has no text"),
        (_file("a.jsonl", b'{"text": "\\ud800", "label": 1}\n'), "half a character"),
        (_file("a.json", b'{"text": ["a"], "label": ["1"]'), "no JSON"),
        (_file("a.parquet", b"PAR1 and no more"), "no whole parquet file"),
        (_file("a.xlsx", b"PK"), "Rows are read from .csv"),
        (lambda folder: folder / "missing.csv", "cannot be read: No such file"),
        (lambda folder: (folder / "a.csv").mkdir() or folder / "a.csv", "cannot be read: Is a directory"),
    ],
)  # fmt: skip
def test_what_has_no_one_meaning_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(CourseError, match=message):
        read_rows(make(tmp_path), ["text", "label"])


def test_a_parquet_file_of_bytes_holds_no_text(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": [b"\xff\xfe"], "label": ["1"]}), tmp_path / "a.parquet")
    with pytest.raises(CourseError, match="Row 1 has no text"):
        read_rows(tmp_path / "a.parquet", ["text", "label"])


def test_options_stay_a_list(tmp_path: Path) -> None:
    rows = [{"query": "q", "options": ["a", "1"]}]
    for suffix in ("jsonl", "parquet"):
        assert read_rows(write(tmp_path / f"a.{suffix}", rows), ["query", "options"]) == rows


# --- labels ----------------------------------------------------------------------------------------


def test_labels_are_what_the_file_writes() -> None:
    rows = [{"label": label} for label in ("02", "01", " 01")]
    assert number_labels(rows, ["01", "02"], 2) == [1, 0, 0]
    assert number_labels([{"label": "1"}, {"label": "0"}], None, 2) == [1, 0]
    with pytest.raises(CourseError, match=r"labels other than 0, 1.*'02', '01'; first in row 1"):
        number_labels(rows, None, 2)


@pytest.mark.parametrize("labels", [["a"], ["a", "a"], ["a", " "], ["a", " a"], ["a", "b", "c"]])
def test_labels_that_fit_no_words_are_refused(labels: list[str]) -> None:
    with pytest.raises(CourseError, match="There must be 2 labels"):
        number_labels([{"label": "a"}], labels, 2)


@pytest.mark.parametrize("wrong", [None, 3, [], {}, object(), float("nan")])
def test_wrong_containers_are_refused(tmp_path: Path, wrong: Any) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,1\n")
    calls: list[Callable[[], Any]] = [
        lambda: read_rows(wrong),
        lambda: read_rows(tmp_path / "a.csv", "label"),
        lambda: number_labels([{"label": "1"}], ["0", wrong], 2),
        lambda: number_labels([{"text": wrong}], None, 2),
        lambda: number_labels([{"label": "1"}], None, [wrong]),
        lambda: split_names("words", wrong),
    ]
    for call in calls:
        with pytest.raises(CourseError):
            call()


@pytest.mark.parametrize("names", ["bad, good", " bad ,good", "bad,good"])
def test_names_are_taken_apart(names: str) -> None:
    assert split_names("words", names) == ["bad", "good"]


@pytest.mark.parametrize("names", ["", "bad,", "bad,,good", "bad, bad"])
def test_names_that_are_none_are_refused(names: str) -> None:
    with pytest.raises(CourseError, match="joined by commas"):
        split_names("words", names)
