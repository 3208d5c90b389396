"""Temporary folders that name their process, so that what a killed run left behind can be told and removed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

_NAME = re.compile(r"course-(?:grade|worker)-(\d{1,9})-\w+")


def temporary_folder(kind: str) -> tempfile.TemporaryDirectory[str]:
    """Make a folder that goes when its context ends, or with `remove_left_over` once this process is gone.

    Args:
        kind: "grade" or "worker".
    """
    return tempfile.TemporaryDirectory(prefix=f"course-{kind}-{os.getpid()}-", ignore_cleanup_errors=True)


def remove_left_over() -> list[Path]:
    """Remove the temporary folders of judges that were killed.

    A folder stays if its process still runs (or another that got its number), or if it cannot be removed.

    Returns:
        The folders that were removed.
    """
    removed = []
    for path in Path(tempfile.gettempdir()).glob("course-*"):
        match = _NAME.fullmatch(path.name)
        # No link is followed: neither one of this name nor those inside.
        if match is None or path.is_symlink() or not path.is_dir() or process_runs(int(match[1])):
            continue
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            removed.append(path)
    return removed


def process_runs(pid: int) -> bool:
    """Say whether a process of this number runs, be it another user's."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
