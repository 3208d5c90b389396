"""How a reference result is made: at full size, resumable, on every core."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import product
from typing import Any

from course_lib.runs.hardware import choose_device
from course_lib.runs.journal import Rows
from course_lib.runs.profiles import Profile
from course_lib.runs.records import ResultRecord
from course_lib.runs.resuming import run_resumable

FULL = Profile("full")


def run_reference(
    name: str,
    run_task: Callable[..., Rows],
    settings: Mapping[str, Any],
    tasks: Iterable[Mapping[str, Any]],
    **identity: Any,
) -> ResultRecord:
    """Run the tasks of a reference result; `course reference` repeats it, and goes on where it stopped.

    Args:
        name: the record's name, which the command takes.
        run_task: called with `settings` and a task's own arguments; see `run_resumable`.
        settings: what all tasks share.
        tasks: keyword arguments of each call.
        identity: what else the record keeps with the settings: with another value the run starts anew.

    Returns:
        The record.
    """
    return run_resumable(
        name,
        command=f"course reference {name}",
        settings={**settings, **identity},
        tasks=tasks,
        run_task=partial(run_task, **settings),
        num_workers=num_workers(),
    )


def grid(**values: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the keyword arguments of every combination, those of the last name changing fastest.

    Example:
        >>> grid(seed=(0, 1), size=(8, 16))[:3]
        [{'seed': 0, 'size': 8}, {'seed': 0, 'size': 16}, {'seed': 1, 'size': 8}]
    """
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


def num_workers() -> int:
    """Return how many processes share a reference result: one a core, and one in all where a GPU does the work."""
    return 1 if choose_device().type == "cuda" else os.cpu_count() or 1
