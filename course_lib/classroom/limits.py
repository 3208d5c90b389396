"""What a submission may use: an assignment says it, and the sandbox keeps it."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Limits:
    """What a worker and everything it starts may use.

    Time is what `Stopwatch` measures: the clock on the wall, without the time that the worker waited for a core.

    Args:
        call_seconds: time of one call.
        cell_seconds: time of one cell, after which the next begins.
        load_seconds: time of running all the notebook's cells.
        total_seconds: time of a whole submission, after which no further call begins.
        memory_mb: memory of each process, and of all together.
        processes: processes and threads.
        disk_mb: its home and its temporary folder, each.
        files: files in them.
        file_mb: one file.
    """

    call_seconds: float = 10.0
    cell_seconds: float = 10.0
    load_seconds: float = 30.0
    total_seconds: float = 60.0
    memory_mb: int = 2048
    processes: int = 32
    disk_mb: int = 64
    files: int = 20_000
    file_mb: int = 16

    def patient(self, factor: float) -> Limits:
        """Give the same limits with every time multiplied."""
        return replace(
            self,
            call_seconds=factor * self.call_seconds,
            cell_seconds=factor * self.cell_seconds,
            load_seconds=factor * self.load_seconds,
            total_seconds=factor * self.total_seconds,
        )
