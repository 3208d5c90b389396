"""Wrong places and broken files, made anew in an empty folder each time."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from tests.reliability._wrong_values import Kind, Wrong

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
# What only the columns that are read must not hold.
HOLES = (
    "null in it",
    "white space in it",
    "other names",
    "nulls alone",
)
_ROWS = [{"text": "good", "label": "1"}, {"text": "bad", "label": "0"}]
_TOO_LONG = "a" * 300


def folder() -> Path:
    """Return an empty folder, which goes when this process ends."""
    return Path(tempfile.mkdtemp(dir=_all_folders().name))


@functools.cache
def _all_folders() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fuzz-")


def _file(name: str, content: bytes) -> Path:
    path = folder() / name
    path.write_bytes(content)
    return path


# --- places ----------------------------------------------------------------------------------------


def no_folder(right: Path) -> Wrong:
    """A folder to read from."""
    yield "a missing folder", folder() / "none"
    yield "an empty folder", folder()
    yield "a file", _file("a", b"x")
    yield "a name that is too long", folder() / _TOO_LONG


def no_output_folder(right: Path) -> Wrong:
    """A folder to write into."""
    yield "a file", _file("a", b"x")
    yield "below a file", _file("a", b"x") / "new"
    yield "a name that is too long", folder() / _TOO_LONG
    yield "a zero byte", folder() / "a\0b"


def no_output_file(right: Path) -> Wrong:
    """A file to write."""
    yield "a folder", folder()
    yield "below a file", _file("a", b"x") / right.name
    yield "a name that is too long", folder() / f"{_TOO_LONG}{right.suffix}"
    yield "a zero byte", folder() / f"a\0b{right.suffix}"


def somebody_elses_file(right: Path) -> Wrong:
    """A file that may be replaced only if the course wrote it."""
    yield "somebody else's file", _file(right.name, b"x")
    link = folder() / right.name
    link.symlink_to("nowhere")
    yield "a broken link", link
    pipe = folder() / right.name
    os.mkfifo(pipe)
    yield "a pipe", pipe


def full_folder(right: Path) -> Wrong:
    """A folder that may hold only what the course wrote."""
    yield "a folder with a file", _file("a", b"x").parent
    nested = folder()
    (nested / "a").mkdir()
    (nested / "a" / "b").symlink_to("nowhere")
    yield "a folder with a link in a folder", nested


def edited(name: str, contents: Mapping[str, bytes]) -> Kind:
    """A folder whose file of this name must be whole."""

    def wrong(right: Path) -> Wrong:
        for what, content in contents.items():
            yield what, _file(name, content).parent

    return wrong


# --- tables ----------------------------------------------------------------------------------------


def table_file(suffix: str) -> Path:
    """Return a right file of texts and labels."""
    path = folder() / f"a{suffix}"
    if suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(_ROWS), path)
    elif suffix in (".json", ".jsonl"):
        lines = [json.dumps(row) for row in _ROWS]
        path.write_text(f"[{','.join(lines)}]" if suffix == ".json" else "\n".join(lines))
    else:
        separator = "," if suffix == ".csv" else "\t"
        path.write_text(
            "".join(f"{separator.join(line)}\n" for line in [list(_ROWS[0]), *map(dict.values, _ROWS)])
        )
    return path


def no_table_file(right: Path) -> Wrong:
    """A user's file of rows with a text in every field of the column `text`."""
    suffix, content = right.suffix, right.read_bytes()
    yield "a missing file", folder() / f"none{suffix}"
    yield "a folder", right.parent
    yield "a name that is too long", folder() / f"{_TOO_LONG}{suffix}"
    yield "below a file", right / f"a{suffix}"
    yield "another suffix", _file("a.xlsx", content)
    yield "no suffix", _file("a", content)
    broken = _broken_parquet if suffix == ".parquet" else _broken_text
    for what, value in {"empty": b"", "a mark alone": b"\xef\xbb\xbf", **broken(suffix, content)}.items():
        if not (what == "a mark alone" and suffix == ".parquet"):
            yield what, _file(f"a{suffix}", value)


def _broken_text(suffix: str, content: bytes) -> dict[str, bytes]:
    text = content.decode()
    return {
        "Korean of Windows": text.replace("good", "좋은").encode("cp949"),
        "latin-1": text.replace("good", "café").encode("latin-1"),
        "UTF-16 without a mark": text.encode("utf-16-le"),
        "half of UTF-16": text.encode("utf-16")[:-1],
        "half of UTF-32": text.encode("utf-32")[:-3],
        "a zero byte": text.replace("good", "go\0d").encode(),
        "binary": bytes(range(256)),
        **(_broken_json(text) if suffix.startswith(".json") else _broken_separated(suffix, text)),
    }


def _broken_separated(suffix: str, text: str) -> dict[str, bytes]:
    mark = "," if suffix == ".csv" else "\t"
    quoted = text.replace("good", '"good').replace("bad", 'b"d')
    cases = {
        "a header alone": text.splitlines()[0],
        "a column twice": text.replace("label", "text"),
        "a field more": text.replace("good", f"good{mark}x"),
        "a field less": text.replace(f"good{mark}", ""),
        "another separator": text.replace(mark, ";"),
        "a quote that is not closed": quoted,
        "null in it": text.replace("good", ""),
        "white space in it": text.replace("good", "  "),
        "a line without anything": text.replace("\n", "\n\n"),
        "a field that never ends": text.replace("good", '"' + "a" * 11_000_000 + '"'),
        "other names": text.replace("text", "words"),
    }
    return {what: case.encode() for what, case in cases.items()}


def _broken_json(text: str) -> dict[str, bytes]:
    cases = {
        "cut off": text[:-3],
        "no object": "[1, 2]",
        "a text": '"text"',
        "null": "null",
        "a number": "3",
        "a key twice": text.replace("label", "text"),
        "null in it": text.replace('"good"', "null"),
        "NaN in it": text.replace('"good"', "NaN"),
        "an empty text in it": text.replace("good", ""),
        "an empty list in it": text.replace('"good"', "[]"),
        "a list of lists in it": text.replace('"good"', "[[1]]"),
        "a mapping in it": text.replace('"good"', '{"en": "good"}'),
        "half a character": text.replace("good", "\\ud800"),
        "half a character in a list": text.replace('"good"', '["\\ud800"]'),
        "single quotes": text.replace('"', "'"),
        "nested too deeply": "[" * 100_000,
        "other names": text.replace("text", "words"),
    }
    return {what: case.encode() for what, case in cases.items()}


def _broken_parquet(suffix: str, content: bytes) -> dict[str, bytes]:
    kinds = {
        "no rows": pa.table({"text": pa.array([], pa.string())}),
        "no columns": pa.table({}),
        "null in it": pa.table({"text": ["a", None]}),
        "nulls alone": pa.table({"text": [None, None]}),
        "a number column's NaN": pa.table({"text": [1.0, float("nan")]}),
        "bytes in it": pa.table({"text": [b"\xff\xfe"]}),
        "a mapping in it": pa.table({"text": [{"en": "good"}]}),
        "a list of lists in it": pa.table({"text": [[["good"]]]}),
        "a list with null in it": pa.table({"text": [["good", None]]}),
        "a column twice": pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"]),
        "other names": pa.table({"words": ["a"]}),
    }
    return {
        "the first half": content[: len(content) // 2],
        "the second half": content[len(content) // 2 :],
        "zeros in the middle": content[:30] + bytes(40) + content[70:],
        "a text": b"text,label\ngood,1\n",
        **{what: _parquet(table) for what, table in kinds.items()},
    }


def _parquet(table: pa.Table) -> bytes:
    path = folder() / "a.parquet"
    parquet.write_table(table, path)
    return path.read_bytes()
