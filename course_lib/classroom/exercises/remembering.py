"""What a learner has passed, kept in a file of the user's cache. Nothing here breaks a check.

COURSE_PROGRESS=off turns it off: nothing is read and nothing is written. `course run` and the
tests set it, since what they run is nobody's progress.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from course_lib.classroom.checking.showing import shortened
from course_lib.errors import CourseError
from course_lib.locations import cache_folder, cache_trouble, written_whole

PROGRESS_VARIABLE = "COURSE_PROGRESS"
OFF = "off"
# Another kernel holds the lock for milliseconds; a check does not wait longer than this for it.
LOCK_SECONDS = 5.0
LOCK_POLL_SECONDS = 0.01
# What goes wrong with files, paths, locks (some file systems know none) and damaged content.
_TROUBLE = (OSError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Memory:
    """What is remembered of one exercise.

    Args:
        attempts: how many checks it took until it was passed, that one included; so far, if it is open.
        passed_at: when it was first passed, with the zone of the clock there; None while it is open.
    """

    attempts: int = 0
    passed_at: datetime | None = None


def progress_file() -> Path:
    """Give the file that progress is kept in; it need not exist."""
    return cache_folder() / "progress" / "exercises.json"


def is_off() -> bool:
    """Say whether COURSE_PROGRESS=off: nothing is remembered and nothing recalled."""
    return os.environ.get(PROGRESS_VARIABLE) == OFF


def remember(name: str, passed: bool) -> str:
    """Count an attempt at an exercise; once it is passed, nothing changes any more.

    Args:
        name: the exercise's name.
        passed: whether this attempt was right.

    Returns:
        One line on why it could not be remembered, or on what was found damaged; mostly empty.
    """
    if is_off():
        return ""
    try:
        return _count_attempt(progress_file(), name, passed)
    except _TROUBLE as error:
        return f"Not remembered for `course progress`: {_reason(error)}."


def recall() -> tuple[dict[str, Memory], str]:
    """Give what is remembered of each exercise.

    Returns:
        The memories by the exercises' names, and one line on why they cannot be read; mostly empty.
    """
    if is_off():
        return {}, f"Progress is off here: {PROGRESS_VARIABLE}={OFF}."
    try:
        return _read(progress_file()), ""
    except _TROUBLE as error:
        return {}, f"What was remembered cannot be read: {_reason(error)}."


def forget() -> bool:
    """Forget all progress, also where its file is damaged.

    Returns:
        Whether there was anything to forget.

    Raises:
        CourseError: if the file cannot be removed.
    """
    path = progress_file()
    with cache_trouble("a reset of the progress"):
        if not path.exists():
            return False
        try:
            with _locked(path):
                path.unlink(missing_ok=True)
        except NotImplementedError as error:
            raise CourseError(
                "The cache's file system knows no locks.", given=str(path), mend="Remove this file yourself."
            ) from error
    return True


def _count_attempt(path: Path, name: str, passed: bool) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        memories, note = _read_or_set_aside(path)
        before = memories.get(name, Memory())
        if before.passed_at is None:
            now = datetime.now().astimezone() if passed else None
            memories[name] = Memory(before.attempts + 1, now)
            _write(path, memories)
    return note


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    from filelock import FileLock

    lock = FileLock(f"{path}.lock", timeout=LOCK_SECONDS)
    with lock.acquire(poll_interval=LOCK_POLL_SECONDS):
        yield


def _read_or_set_aside(path: Path) -> tuple[dict[str, Memory], str]:
    """Read the file; a damaged one goes under another name, so that nothing of it is lost."""
    try:
        return _read(path), ""
    except ValueError:
        aside = path.with_name(f"{path.stem}.damaged{path.suffix}")
        os.replace(path, aside)
        return {}, f"The progress so far could not be read. It is kept as {aside.name}; a new record begins."


def _read(path: Path) -> dict[str, Memory]:
    """Read the file; none is an empty one.

    Raises:
        ValueError: if it is damaged.
        OSError: if it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it holds no exercises")
    return {name: _as_memory(name, entry) for name, entry in content.items()}


def _as_memory(name: str, entry: Any) -> Memory:
    fields = entry if isinstance(entry, dict) else {}
    attempts, passed_at = fields.get("attempts"), fields.get("passed_at")
    if type(attempts) is not int or attempts < 1 or not isinstance(passed_at, str | None):
        raise ValueError(f"its entry for {name} is damaged")
    return Memory(attempts, datetime.fromisoformat(passed_at) if passed_at is not None else None)


def _write(path: Path, memories: Mapping[str, Memory]) -> None:
    content = {name: _as_entry(memory) for name, memory in memories.items()}
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _as_entry(memory: Memory) -> dict[str, Any]:
    passed_at = memory.passed_at.isoformat(timespec="seconds") if memory.passed_at else None
    return {"attempts": memory.attempts, "passed_at": passed_at}


def _reason(error: Exception) -> str:
    """Give what went wrong on one line."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return shortened(" ".join(text.split()).rstrip("."), limit=160)
