"""What the judge sees of a worker from outside: its processes, their memory, files and time.

Nothing is looked at before the worker has said that it runs. Until then its processes may still see the machine's
own files, and what they hold is not the learner's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from course_lib.classroom.grading.sandbox.surroundings import HOME
from course_lib.classroom.grading.worker.timekeeping import Stopwatch, waited_seconds


class Watcher:
    """Looks at a worker that has just said that it runs, and at all that it starts.

    Args:
        pid: the process that was started: the worker itself, or what set up its sandbox.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._folders: list[int] = []
        # The worker is the last in line: no code of the learner's has run, so it has no children.
        *_, worker = family(pid)
        self.schedule = _opened(f"/proc/{worker}/schedstat", os.O_RDONLY)
        if _has_own_files(worker):
            opened = [_opened(f"/proc/{worker}/root{folder}", os.O_PATH) for folder in (HOME, "/tmp")]
            self._folders = [folder for folder in opened if folder is not None]

    def stopwatch(self) -> Stopwatch:
        """Start to measure the worker's time."""
        return Stopwatch(partial(waited_seconds, self.schedule), self._worked_seconds)

    def resident_bytes(self) -> int:
        """Give the memory that all its processes hold together."""
        return sum(map(_resident_bytes, family(self.pid)))

    def num_files(self) -> int:
        """Count the files of its home and of its temporary folder, and give the larger number; 0 if not its own."""
        return max(map(_files_in, self._folders), default=0)

    def close(self) -> None:
        """Let go of what was opened."""
        for descriptor in (*self._folders, self.schedule):
            if descriptor is not None:
                os.close(descriptor)

    def _worked_seconds(self) -> float:
        return sum(map(_worked_seconds, family(self.pid)))


def family(pid: int) -> Iterator[int]:
    """Give a process and all that descend from it, where the system tells."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                yield from family(int(child))


def _opened(path: str, flags: int) -> int | None:
    try:
        return os.open(path, flags)
    except OSError:
        return None


def _has_own_files(pid: int) -> bool:
    """Say whether a process has another root folder than the judge; one that cannot be seen counts as none."""
    try:
        return not os.path.samestat(os.stat(f"/proc/{pid}/root/"), os.stat("/"))
    except OSError:
        return False


def _worked_seconds(pid: int) -> float:
    """Give the seconds that a process and its ended children have worked."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # utime, stime, cutime and cstime: fields 14 to 17 in proc(5), of which two stand before the parenthesis.
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _files_in(folder: int) -> int:
    found = os.fstatvfs(folder)
    return found.f_files - found.f_ffree
