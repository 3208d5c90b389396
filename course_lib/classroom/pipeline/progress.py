"""Live progress of a run: which notebook, which cell, how long it took, what remains."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

import rich.text
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn


class Pace:
    """An estimate of what remains of a run.

    Args:
        expected: seconds that each cell to be run took last time, in order; None where that is not known.
    """

    def __init__(self, expected: Sequence[float | None]) -> None:
        self.expected = list(expected)
        self.done: list[float] = []

    def remaining(self, current: float = 0.0) -> float | None:
        """Give the seconds that remain; cells without a last time count as the mean of those done.

        Args:
            current: seconds that the running cell has taken so far.

        Returns:
            Seconds, or None while nothing is known.
        """
        left = self.expected[len(self.done) :]
        mean = sum(self.done) / len(self.done) if self.done else None
        seconds = [mean if cell is None else cell for cell in left]
        known = [cell for cell in seconds if cell is not None]
        if not known:
            return None if left else 0.0
        filled = [sum(known) / len(known) if cell is None else cell for cell in seconds]
        return max(filled[0] - current, 0.0) + sum(filled[1:])


class RunProgress:
    """Shows a run on a console: one live line on a terminal, else one line at each start and end.

    Args:
        console: where to show it.
        expected: as for `Pace`.
        num_notebooks: how many notebooks will run.
    """

    def __init__(self, console: Console, expected: Sequence[float | None], num_notebooks: int) -> None:
        self.console = console
        self.pace = Pace(expected)
        self.num_notebooks = num_notebooks
        self.num_started = 0
        self.started = self.cell_started = time.monotonic()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20), _Times(self))
        self.live = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self.task = self.live.add_task("", total=len(expected)) if self.live else None

    def __enter__(self) -> RunProgress:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def start_notebook(self, name: str, num_cells: int) -> None:
        """Say that a notebook starts."""
        self.num_started += 1
        self.title = f"{name} ({self.num_started} of {self.num_notebooks})"
        self.num_cells = num_cells
        if self.live and self.task is not None:
            self.live.update(self.task, description=f"{self.title}, starting")
        else:
            self._say(f"{self.title}: {num_cells} cells, {self.times()}")

    def start_cell(self, number: int) -> None:
        """Say that a cell starts; cells count from 1."""
        self.cell_started = time.monotonic()
        if self.live and self.task is not None:
            self.live.update(self.task, description=f"{self.title}, cell {number} of {self.num_cells}")

    def finish_cell(self) -> float:
        """Say that the cell has ended, and give its seconds."""
        seconds = time.monotonic() - self.cell_started
        self.pace.done.append(seconds)
        if self.live and self.task is not None:
            self.live.advance(self.task)
        return seconds

    def finish_notebook(self, name: str, seconds: float, headline: str) -> None:
        """Say that a notebook has ended."""
        self._say(f"{name}: {duration(seconds)}. {headline}".rstrip())

    def times(self) -> str:
        """Give elapsed and remaining time as text."""
        now = time.monotonic()
        remaining = self.pace.remaining(now - self.cell_started)
        left = "what remains is not known yet" if remaining is None else f"about {duration(remaining)} left"
        return f"{duration(now - self.started)} elapsed, {left}"

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Times(ProgressColumn):
    """Elapsed and remaining time, refreshed while a cell runs."""

    def __init__(self, progress: RunProgress) -> None:
        super().__init__()
        self.progress = progress

    def render(self, task: Task) -> rich.text.Text:
        """Render the column."""
        return rich.text.Text(self.progress.times(), style="dim")


def duration(seconds: float) -> str:
    """Give a duration as people write it: "4.2 s", "1 min 05 s", "2 h 03 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
