"""The time that code has had: what it waited for a core, on a busy machine, does not count.

The judge times calls and whole notebooks with it, and the worker each cell.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

# However busy the machine: so many seconds on the clock on the wall count as one at least.
MOST_PATIENCE = 20.0


class Stopwatch:
    """Measures the time that a process has had since it was started.

    A process that works or sleeps uses up its time; one that waits until a core is free uses next to none. What it
    and its children worked counts in any case, so that they cannot wait for each other for nothing.

    Args:
        waited: gives the seconds that the process has waited for a core, since it began.
        worked: gives the seconds that it and its children have worked, since it began.
    """

    def __init__(self, waited: Callable[[], float], worked: Callable[[], float]) -> None:
        self._waited, self._worked = waited, worked
        self._start = (time.monotonic(), waited(), worked())

    def seconds(self) -> float:
        """Give the time that the process has had."""
        began, waited_before, worked_before = self._start
        passed = time.monotonic() - began
        worked = min(self._worked() - worked_before, passed)
        return max(passed - (self._waited() - waited_before), worked, passed / MOST_PATIENCE)

    def is_over(self, limit: float) -> bool:
        """Say whether a limit in seconds is used up."""
        return time.monotonic() - self._start[0] > limit and self.seconds() > limit


def waited_seconds(descriptor: int | None) -> float:
    """Give the seconds that a process has waited for a core.

    Args:
        descriptor: its open /proc/PID/schedstat (Linux); None where the system does not tell: then it never waited.
    """
    # Code that shares the worker's process may have closed it, or put another file in its place.
    with contextlib.suppress(OSError, ValueError, IndexError, TypeError):
        return int(os.pread(descriptor, 100, 0).split()[1]) / 1e9  # type: ignore[arg-type]
    return 0.0
