"""What makes a run repeatable: its profile, its seed, its record, and the way to resume it."""

from __future__ import annotations

import json
import os
import platform
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.checks import (
    Check,
    a_seed,
    border,
    check_callable,
    check_choice,
    check_count,
    check_fields,
    check_file_name,
    check_flag,
    check_mapping,
    check_path,
    check_rows,
    check_text,
    each,
    mapping_to,
    not_negative,
    optional,
)
from course_lib.errors import CourseError
from course_lib.locations import cache_folder, check_writable_folder, data_folder, written_whole
from course_lib.runs.hardware import machine_summary
from course_lib.runs.profiles import PROFILE_NAMES, PROFILE_VARIABLE, Profile, profile

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "PROFILE_NAMES",
    "PROFILE_VARIABLE",
    "Journal",
    "Profile",
    "ResultRecord",
    "load_published",
    "load_record",
    "package_versions",
    "profile",
    "run_resumable",
    "seed_everything",
]

a_mapping = partial(check_mapping, least=0)
some_rows = partial(check_rows, least=0)


@border(seed=a_seed)
def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's random generators, on every device.

    Args:
        seed: a whole number from 0 to 2**32 - 1.

    Raises:
        CourseError: if the seed is outside that range.
    """
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@dataclass
class ResultRecord:
    """A table of results with everything needed to make it again.

    Args:
        name: what was measured; the file is `data/results/<name>.json`.
        command: the command that repeats it.
        settings: every setting that shaped the numbers.
        rows: the table, one mapping a row.
        seconds: how long the measured work took, summed over resumed parts.
        versions: package versions.
        machine: processor, whether it computes in bfloat16 natively, cores, device; see `machine_summary`.
        created: date in UTC.

    Raises:
        CourseError: a name that is no plain file name; another type; a value that JSON cannot keep, such as NaN.
    """

    name: str
    command: str
    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    seconds: float
    versions: dict[str, str] = field(default_factory=lambda: package_versions())
    machine: dict[str, Any] = field(default_factory=machine_summary)
    created: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d"))

    def __post_init__(self) -> None:
        check_fields(
            self,
            name=check_file_name,
            command=check_text,
            settings=a_mapping,
            rows=some_rows,
            seconds=not_negative,
            versions=mapping_to(check_text),
            machine=check_mapping,
            created=check_text,
        )
        _plain([self.settings, self.rows, self.machine])

    def table(self) -> pd.DataFrame:
        """Give the rows as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def save(self, folder: Path | None = None) -> Path:
        """Write the record as JSON, whole or not at all, and give its path.

        Raises:
            CourseError: nothing can be written there.
        """
        path = _place(folder, data_folder() / "results") / f"{self.name}.json"
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return path


@border(folder=optional(check_path))
def load_record(name: str, folder: Path | None = None) -> ResultRecord:
    """Read a reference result of `data/results/`.

    Args:
        name: the record's name, without ".json".
        folder: where to look instead.

    Raises:
        CourseError: if there is none of this name, or the file is damaged.
    """
    path = _file_named("reference result", name, folder or data_folder() / "results", ".json")
    try:
        return ResultRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError, CourseError) as error:
        raise CourseError(
            "This reference result cannot be read.",
            given=str(path),
            mend="Restore it from git, or make it again with `course reference`.",
        ) from error


def load_published(name: str) -> pd.DataFrame:
    """Read figures that others published from `data/published/`; comment lines there give the source.

    Args:
        name: the table's name, without ".csv".

    Raises:
        CourseError: if there is none of this name.
    """
    import pandas as pd

    return pd.read_csv(_file_named("published table", name, data_folder() / "published", ".csv"), comment="#")


def _file_named(kind: str, name: str, folder: Path, suffix: str) -> Path:
    known = sorted(file.stem for file in folder.glob(f"*{suffix}")) if os.path.isdir(folder) else []
    return folder / f"{check_choice(kind, name, known)}{suffix}"


def _place(folder: Path | None, usual: Path) -> Path:
    return check_writable_folder(usual if folder is None else folder)


@border(
    name=check_file_name,
    command=check_text,
    settings=a_mapping,
    tasks=each(a_mapping),
    run_task=check_callable,
    num_workers=optional(check_count),
    progress=check_flag,
)
def run_resumable(
    name: str,
    *,
    command: str,
    settings: Mapping[str, Any],
    tasks: Iterable[Mapping[str, Any]],
    run_task: Callable[..., list[dict[str, Any]]],
    num_workers: int | None = None,
    folder: Path | None = None,
    progress: bool = True,
) -> ResultRecord:
    """Run a list of tasks, keeping each one's rows on disk, so that a stopped run goes on where it was.

    With workers, each task runs on one thread in a process of its own, so that its numbers do not
    depend on how many cores the machine has.

    Args:
        name: the name of the record.
        command: the command that repeats the whole.
        settings: shared settings; a change of any starts from nothing.
        tasks: keyword arguments of each call, JSON-able.
        run_task: called as `run_task(**task)`; returns that task's rows. With workers it must be a
            function that another process can import, or a `functools.partial` of one.
        num_workers: processes that share the tasks; None runs them here, one after the other.
        folder: where finished tasks are kept; the cache by default.
        progress: whether to show a progress bar.

    Returns:
        The record of all tasks, in the order of `tasks`.

    Raises:
        CourseError: before any task, a folder that cannot be written, no task or one twice, settings that JSON
            cannot keep, or a function that no other process can import; with it, rows that JSON cannot keep.
    """
    from tqdm.auto import tqdm

    journal = Journal(_place(folder, cache_folder() / "runs") / f"{name}.jsonl", dict(settings))
    todo = [dict(task) for task in tasks]
    if len({_key(task) for task in todo}) < len(todo):
        raise CourseError("The same task is there twice.", given=todo, mend="Leave one of them out.")
    missing = [task for task in todo if journal.find(task) is None]
    bar = tqdm(
        total=len(todo), initial=len(todo) - len(missing), desc=name, disable=not progress, unit="task"
    )
    with bar:
        for task, rows, seconds in _finished(missing, run_task, num_workers):
            journal.append(task, rows, seconds)
            plain = {key: value for key, value in task.items() if not isinstance(value, Mapping)}
            bar.set_postfix_str(", ".join(f"{key}={value}" for key, value in plain.items()))
            bar.update()
    entries = [journal.find(task) for task in todo]
    return ResultRecord(
        name=name,
        command=command,
        settings=dict(settings),
        rows=[row for entry in entries if entry for row in entry["rows"]],
        machine={**machine_summary(), **({} if num_workers is None else {"threads": 1})},
        seconds=round(sum(entry["seconds"] for entry in entries if entry), 1),
    )


def _finished(
    tasks: list[dict[str, Any]], run_task: Callable[..., list[dict[str, Any]]], num_workers: int | None
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]], float]]:
    """Give each task with its rows and seconds, as soon as it is done."""
    if num_workers is None:
        for task in tasks:
            yield _timed(run_task, task)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing.reduction import ForkingPickler

    try:
        ForkingPickler.dumps(run_task)
    except Exception as error:
        raise CourseError(
            "No other process can import this function.",
            given=run_task,
            mend="Define it in a file, at its top level; or run the tasks here, with num_workers=None.",
        ) from error

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context, initializer=_use_one_thread) as pool:
        futures = [pool.submit(_timed, run_task, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _timed(
    run_task: Callable[..., list[dict[str, Any]]], task: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]], float]:
    started = time.perf_counter()
    rows = run_task(**task)
    return task, rows, time.perf_counter() - started


def _use_one_thread() -> None:
    import torch

    torch.set_num_threads(1)


class Journal:
    """Finished tasks of one run as lines of JSON; a torn last line counts as not written.

    Several processes may add to one journal: each line is written at once.

    Args:
        path: the file; it need not exist yet.
        settings: what all tasks share; lines with other settings are as if not there.

    Raises:
        CourseError: nothing can be written there; settings that JSON cannot keep.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = check_path("path", path)
        check_writable_folder(self.path.parent)
        self.settings = _plain(a_mapping("settings", settings))
        self.entries: dict[str, dict[str, Any]] = {}
        for line in self._lines():
            try:
                entry = json.loads(line)
                if entry["settings"] == self.settings:
                    self.entries[_key(entry["task"])] = _checked_entry(entry)
            except (ValueError, TypeError, KeyError, CourseError):
                continue  # torn, or no line of ours

    def find(self, task: Mapping[str, Any]) -> dict[str, Any] | None:
        """Give what was written of a task: its `rows` and `seconds`; None if it is not finished."""
        return self.entries.get(_key(task))

    def append(self, task: Mapping[str, Any], rows: list[dict[str, Any]], seconds: float) -> None:
        """Write down a finished task.

        Raises:
            CourseError: rows, or a task, that JSON cannot keep.
        """
        entry = _checked_entry({"settings": self.settings, "task": task, "rows": rows, "seconds": seconds})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            file.write(("\n" * self._line_is_torn() + json.dumps(entry) + "\n").encode())
            os.fsync(file.fileno())
        self.entries[_key(task)] = entry

    def _lines(self) -> list[bytes]:
        try:
            return self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise CourseError(
                "This journal of finished tasks cannot be read.", given=str(self.path), mend="Move it away."
            ) from error

    def _line_is_torn(self) -> bool:
        return self.path.stat().st_size > 0 and not self.path.read_bytes().endswith(b"\n")


def package_versions() -> dict[str, str]:
    """Give the versions of the packages that shape results."""
    names = ("torch", "transformers", "datasets", "numpy", "scikit-learn", "peft", "accelerate")
    installed = {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions()}
    versions = {name: installed[name] for name in names if name in installed}
    return {"python": platform.python_version(), **versions}


def _plain(value: Any) -> Any:
    """Give the value as JSON gives it back: tuples as lists, keys as strings, NumPy's numbers as Python's."""
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


def _checked_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    checks: dict[str, Check] = {
        **dict.fromkeys(("settings", "task"), a_mapping),
        **{"rows": some_rows, "seconds": not_negative},
    }
    return _plain({name: check(name, entry[name]) for name, check in checks.items()})


def _key(task: Mapping[str, Any]) -> str:
    return json.dumps(_plain(a_mapping("task", task)), sort_keys=True)
