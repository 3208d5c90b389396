"""Runs of one experiment at several settings, gathered in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from tqdm.auto import tqdm


def run_table(
    run_task: Callable[..., Sequence[Mapping[str, Any]]],
    tasks: Iterable[Mapping[str, Any]],
    *,
    progress: bool = True,
    **settings: Any,
) -> pd.DataFrame:
    """Run tasks here, one after the other, and return all their rows.

    Args:
        run_task: called as `run_task(**task, **settings, progress=progress)`; returns that task's rows.
        tasks: keyword arguments of each call.
        progress: whether to show progress bars.
        **settings: keyword arguments that all calls share.

    Returns:
        The rows, in the order of the tasks.
    """
    bar = tqdm(list(tasks), desc="runs", disable=not progress)
    return pd.DataFrame([row for task in bar for row in run_task(**task, **settings, progress=progress)])
