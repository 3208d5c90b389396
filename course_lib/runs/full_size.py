"""How a reference result is made: at full size, resumable, on every core."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from course_lib.runs.hardware import choose_device
from course_lib.runs.journal import Rows
from course_lib.runs.profiles import Profile
from course_lib.runs.records import ResultRecord
from course_lib.runs.resuming import run_resumable

FULL = Profile("full")


def run_reference(
    name: str,
    settings: Mapping[str, Any],
    tasks: Iterable[Mapping[str, Any]],
    run_task: Callable[..., Rows],
) -> ResultRecord:
    """Run the tasks of a reference result; `course reference` repeats it, and goes on where it stopped.

    Args:
        name: the record's name, which the command takes.
        settings: what all tasks share.
        tasks: keyword arguments of each call.
        run_task: see `run_resumable`.

    Returns:
        The record.
    """
    return run_resumable(
        name,
        command=f"course reference {name}",
        settings=settings,
        tasks=tasks,
        run_task=run_task,
        num_workers=num_workers(),
    )


def num_workers() -> int:
    """Return how many processes share a reference result: one a core, and one in all where a GPU does the work."""
    return 1 if choose_device().type == "cuda" else os.cpu_count() or 1
