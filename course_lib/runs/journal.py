"""The journal of resumable work: what is finished, as lines of JSON that a stop at any moment leaves readable."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, cast

from course_lib.checks.calls import Check
from course_lib.checks.values import check_mapping, check_path, check_rows, not_negative
from course_lib.errors import CourseError
from course_lib.locations import check_writable_folder

a_mapping = partial(check_mapping, least=0)
some_rows = partial(check_rows, least=0)

# What one task gives: plain mappings, or typed ones.
Rows = Sequence[Mapping[str, Any]]


class FinishedTask(TypedDict):
    """What a journal keeps of a task.

    Args:
        settings: what it shares with the others of its run.
        task: its own arguments.
        rows: its results.
        seconds: how long it took.
    """

    settings: dict[str, Any]
    task: dict[str, Any]
    rows: list[dict[str, Any]]
    seconds: float


class JsonLines:
    """A file of JSON objects, one a line; a torn last line counts as not written.

    Several processes may add to one file: what is added goes to the disk at once, in whole lines.

    Args:
        path: the file; it need not exist yet.

    Raises:
        CourseError: nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = check_path("path", path)
        check_writable_folder(self.path.parent)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the objects; lines that are none are passed over.

        Raises:
            CourseError: the file cannot be read.
        """
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise CourseError(
                "This journal of finished tasks cannot be read.", given=str(self.path), mend="Move it away."
            ) from error
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry

    def append(self, *entries: Mapping[str, Any]) -> None:
        """Add objects, in one piece.

        Args:
            entries: values that JSON can keep.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(entry) + "\n" for entry in entries)
        with self.path.open("ab", buffering=0) as file:
            file.write(("\n" * self._is_torn() + lines).encode())
            os.fsync(file.fileno())

    def _is_torn(self) -> bool:
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if not size:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"


class Journal:
    """The finished tasks of one run, each with its rows, in a file of `JsonLines`.

    Args:
        path: the file; it need not exist yet.
        settings: what all tasks share; lines with other settings are as if not there.

    Raises:
        CourseError: nothing can be written there; settings that JSON cannot keep.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.lines = JsonLines(path)
        self.settings = to_plain(a_mapping("settings", settings))
        self.entries: dict[str, FinishedTask] = {}
        for entry in self.lines:
            try:
                if entry["settings"] == self.settings:
                    self.entries[task_key(entry["task"])] = _checked_entry(entry)
            except (KeyError, CourseError):
                continue  # no line of ours

    def find(self, task: Mapping[str, Any]) -> FinishedTask | None:
        """Return what was written of a task; None if it is not finished."""
        return self.entries.get(task_key(task))

    def append(self, task: Mapping[str, Any], rows: Rows, seconds: float) -> None:
        """Write down a finished task.

        Raises:
            CourseError: rows, or a task, that JSON cannot keep.
        """
        entry = _checked_entry({"settings": self.settings, "task": task, "rows": rows, "seconds": seconds})
        self.lines.append(entry)
        self.entries[task_key(task)] = entry


def task_key(task: Mapping[str, Any]) -> str:
    """Return what tells a task from others: its arguments as JSON, in the order of their names."""
    return json.dumps(to_plain(a_mapping("task", task)), sort_keys=True)


def to_plain(value: Any) -> Any:
    """Return the value as JSON gives it back: tuples as lists, keys as strings, NumPy's numbers as Python's.

    Raises:
        CourseError: JSON cannot keep it, such as NaN.
    """
    try:
        return json.loads(json.dumps(value, default=_plain_number, allow_nan=False))
    except (ValueError, TypeError, RecursionError) as error:
        raise _no_json(value) from error


def _plain_number(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise _no_json(value)


def _no_json(value: Any) -> CourseError:
    return CourseError(
        "A record holds only finite numbers, strings, lists and mappings.",
        given=value,
        mend="Put the number itself into the row, not the object that holds it; leave NaN and infinity out.",
    )


def _checked_entry(entry: Mapping[str, Any]) -> FinishedTask:
    checks: dict[str, Check] = {
        **dict.fromkeys(("settings", "task"), a_mapping),
        **{"rows": some_rows, "seconds": not_negative},
    }
    return cast(FinishedTask, to_plain({name: check(name, entry[name]) for name, check in checks.items()}))
