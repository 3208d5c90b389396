"""Right calls of what reads and writes files: `runs`, `locations`, `hardware`, `user_files`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch

from course_lib import locations, runs
from course_lib.runs import hardware
from course_lib.texts import user_files
from tests.reliability import _wrong_files as places
from tests.reliability import _wrong_values as wrong
from tests.reliability.fuzz import Call

ROW, TASK = {"x": 1, "y": 0.5}, {"seed": 0}
LABEL_ROWS = [{"label": "1"}, {"label": "0"}]
# letters of any language may stand in a file's name
NO_FILE_NAME = wrong.either(wrong.name, without=("longer", "with a space", *wrong.PLAIN_ODD_TEXTS))
# a record may hold any settings that JSON can keep, and any text
SETTINGS = wrong.either(wrong.mapping_of(wrong.json_value), without=("empty",))
JSON_ROWS = wrong.either(
    wrong.rows(least=0),
    wrong.list_of(wrong.mapping_of(wrong.json_value), least=0),
    without=("last entry: empty",),
)
TASKS = wrong.either(wrong.list_of(wrong.mapping_of(wrong.json_value)), without=("last entry: empty",))
SECONDS = wrong.number(least=0)
MAYBE_PATH = wrong.optional(wrong.path)
NAMES = wrong.texts(least=0)


def calls() -> list[Call]:
    """Return the calls."""
    return [*_run_calls(), *_journal_calls(), *_location_calls(), *_hardware_calls(), *_user_file_calls()]


def _record() -> runs.ResultRecord:
    return runs.ResultRecord("demo", "course demo", {"rate": 1e-4}, [ROW], 1.5)


def _saved_record() -> Path:
    return _record().save(places.folder()).parent


def _one_row(seed: int) -> list[dict[str, Any]]:
    return [{"seed": seed}]


def _run_calls() -> list[Call]:
    profile = runs.Profile("smoke")
    machine = {"machine": {"cores": 2}, "versions": {"python": "3.11"}, "created": "2026-01-01"}
    return [
        Call(runs.Profile, lambda: {"name": "smoke"}, {"name": wrong.name}),
        Call(runs.profile, lambda: {"name": "smoke"}, {"name": wrong.optional(wrong.name)}),
        Call(profile.size, lambda: {"key": "start.num_reviews"}, {"key": wrong.name}),
        Call(runs.seed_everything, lambda: {"seed": 0}, {"seed": wrong.seed}),
        Call(
            runs.ResultRecord,
            lambda: {
                "name": "demo",
                "command": "course demo",
                "settings": {"rate": 1e-4},
                "rows": [ROW],
                "seconds": 1.5,
                **machine,
            },
            {
                "name": NO_FILE_NAME,
                "command": wrong.text,
                "settings": SETTINGS,
                "rows": JSON_ROWS,
                "seconds": SECONDS,
                "versions": wrong.mapping_of(wrong.text),
                "machine": wrong.mapping_of(wrong.json_value),
                "created": wrong.text,
            },
        ),
        Call(_record().save, lambda: {"folder": places.folder()}, {"folder": MAYBE_PATH}),
        Call(
            runs.load_record,
            lambda: {"name": "demo", "folder": _saved_record()},
            {"name": wrong.name, "folder": wrong.either(MAYBE_PATH, places.no_folder)},
        ),
        Call(
            runs.load_record,
            lambda: {"name": "demo", "folder": _saved_record()},
            {"folder": places.edited("demo.json", _broken_records())},
            setting="damaged",
        ),
        Call(runs.load_published, lambda: {"name": "smart"}, {"name": wrong.name}),
        Call(
            runs.run_resumable,
            lambda: {
                "name": "demo",
                "command": "course demo",
                "settings": {"rate": 1e-4},
                "tasks": [{"seed": 0}, {"seed": 1}],
                "run_task": _one_row,
                "num_workers": None,
                "folder": places.folder(),
                "progress": False,
            },
            {
                "name": NO_FILE_NAME,
                "command": wrong.text,
                "settings": SETTINGS,
                "tasks": wrong.either(TASKS, wrong.repeated),
                "run_task": wrong.either(
                    wrong.function, wrong.returning(None, 3, "rows", [None], [{"x": {1}}])
                ),
                "num_workers": wrong.optional(wrong.count()),
                "folder": wrong.either(MAYBE_PATH, places.no_output_folder),
                "progress": wrong.flag,
            },
        ),
        Call(
            runs.run_resumable,
            lambda: {
                "name": "demo",
                "command": "c",
                "settings": {},
                "tasks": [{"seed": 0}],
                "run_task": _one_row,
                "num_workers": 2,
                "folder": places.folder(),
                "progress": False,
            },
            {"run_task": wrong.named("a function of no module", lambda seed: [])},
            setting="workers",
            slow=True,
        ),
    ]


def _broken_records() -> dict[str, bytes]:
    whole = json.loads((_saved_record() / "demo.json").read_text())
    changes: dict[str, Any] = {"rows": "text", "seconds": "x", "settings": [], "name": 3, "more": 1}
    return {
        "empty": b"",
        "no object": b"[1]",
        "no UTF-8": b"\xff\xfe",
        **{
            f"{key} of {value!r}": json.dumps({**whole, key: value}).encode()
            for key, value in changes.items()
        },
    }


def _journal(*, path: Path | None = None) -> runs.Journal:
    return runs.Journal(path or places.folder() / "demo.jsonl", {"rate": 1e-4})


def _journal_calls() -> list[Call]:
    path = lambda: {"path": places.folder() / "demo.jsonl", "settings": {"rate": 1e-4}}
    one_task = wrong.either(wrong.mapping_of(wrong.json_value), without=("empty",))
    return [
        Call(
            runs.Journal,
            path,
            {"path": wrong.either(wrong.path, places.no_output_file), "settings": SETTINGS},
        ),
        Call(_journal().find, lambda: {"task": TASK}, {"task": one_task}),
        Call(
            _journal().append,
            lambda: {"task": TASK, "rows": [ROW], "seconds": 1.5},
            {"task": one_task, "rows": JSON_ROWS, "seconds": SECONDS},
        ),
    ]


def _written(path: Path, **more: Any) -> None:
    with locations.written_whole(path, **more) as temporary:
        temporary.write_text("text", encoding="utf-8")


def _location_calls() -> list[Call]:
    whole = functools.update_wrapper(_written, locations.written_whole)
    file, place = lambda: {"path": places.folder() / "a.csv"}, lambda: {"path": places.folder() / "new"}
    no_file = wrong.either(wrong.path, places.no_output_file)
    no_folder = wrong.either(wrong.path, places.no_output_folder)
    return [
        Call(
            locations.check_output_file,
            lambda: {**file(), "suffix": ".csv"},
            {"path": wrong.either(no_file, places.somebody_elses_file), "suffix": wrong.text},
        ),
        Call(locations.check_output_folder, place, {"path": wrong.either(no_folder, places.full_folder)}),
        Call(locations.check_writable_folder, place, {"path": no_folder}),
        Call(whole, file, {"path": wrong.path}),
    ]


def _hardware_calls() -> list[Call]:
    kind = wrong.either(wrong.text, without=())
    return [
        Call(hardware.has_native_bfloat16, lambda: {"device": "cpu"}, {"device": kind}),
        Call(
            hardware.warn_of_slow_bfloat16,
            lambda: {"dtype": torch.float32, "device": "cpu"},
            {"dtype": wrong.thing, "device": kind},
        ),
    ]


def _user_file_calls() -> list[Call]:
    return [
        *(
            Call(
                user_files.read_rows,
                functools.partial(
                    lambda suffix: {
                        "file": places.table_file(suffix),
                        "columns": ["text"],
                        "optional": ["label"],
                    },
                    suffix,
                ),
                {
                    "file": wrong.either(wrong.path, places.no_table_file),
                    "columns": wrong.either(NAMES, wrong.named("an unknown column", ["text", "none"])),
                    "optional": wrong.either(NAMES),
                },
                setting=suffix,
            )
            for suffix in places.TABLE_SUFFIXES
        ),
        Call(
            user_files.read_raw_rows,
            lambda: {"file": places.table_file(".csv")},
            {
                "file": wrong.either(
                    wrong.path, places.no_table_file, without=(*places.HOLES, "another separator")
                )
            },
        ),
        Call(user_files.is_user_file, lambda: {"name": "a.csv"}, {"name": wrong.text}),
        Call(
            user_files.number_labels,
            lambda: {"rows": LABEL_ROWS, "labels": ["0", "1"], "num_labels": 2},
            {
                "rows": wrong.either(wrong.rows("label", least=0), wrong.list_of(_label_row, least=0)),
                "labels": wrong.optional(wrong.either(wrong.texts(least=2, empty_ok=False), wrong.repeated)),
                "num_labels": wrong.count(least=2),
            },
        ),
        Call(
            user_files.split_names,
            lambda: {"what": "words", "names": "bad, good"},
            {"what": wrong.text, "names": wrong.either(wrong.filled_text, _no_names)},
        ),
    ]


def _label_row(right: dict[str, Any]) -> wrong.Wrong:
    for what, value in wrong.text(right["label"]):
        if what != "number":  # rows that were not read from a file may hold numbers
            yield what, {"label": value}


def _no_names(right: str) -> wrong.Wrong:
    yield from ((f"names {names!r}", names) for names in (",", "bad,", "bad,,good", "bad, bad", "\n"))
