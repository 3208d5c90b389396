"""Work in tasks whose rows are kept on disk, so that a stopped run goes on where it was."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from course_lib.checks.calls import border, each
from course_lib.checks.types import Count, Flag, Text
from course_lib.checks.values import check_callable, check_file_name
from course_lib.errors import CourseError
from course_lib.locations import cache_folder, check_writable_folder
from course_lib.runs.hardware import machine_summary
from course_lib.runs.journal import Journal, Rows, a_mapping, task_key
from course_lib.runs.records import ResultRecord


@border(
    name=check_file_name,
    settings=a_mapping,
    tasks=each(a_mapping),
    run_task=check_callable,
)
def run_resumable(
    name: str,
    *,
    command: Text,
    settings: Mapping[str, Any],
    tasks: Iterable[Mapping[str, Any]],
    run_task: Callable[..., Rows],
    num_workers: Count | None = None,
    folder: Path | None = None,
    progress: Flag = True,
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
    place = cache_folder() / "runs" if folder is None else folder
    journal = Journal(check_writable_folder(place) / f"{name}.jsonl", settings)
    todo = [dict(task) for task in tasks]
    if len({task_key(task) for task in todo}) < len(todo):
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
    tasks: list[dict[str, Any]], run_task: Callable[..., Rows], num_workers: int | None
) -> Iterator[tuple[dict[str, Any], Rows, float]]:
    """Return each task with its rows and seconds, as soon as it is done."""
    if num_workers is None:
        for task in tasks:
            yield _timed(run_task, task)
        return
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


def _timed(run_task: Callable[..., Rows], task: dict[str, Any]) -> tuple[dict[str, Any], Rows, float]:
    started = time.perf_counter()
    rows = run_task(**task)
    return task, rows, time.perf_counter() - started


def _use_one_thread() -> None:
    torch.set_num_threads(1)
