"""What a worker may use, and what it finds around itself."""

from __future__ import annotations

HOME = "/home/learner"
COURSE = "/course"
MEBIBYTE = 1 << 20
# Users that neither Debian nor systemd gives to anyone (see systemd's table of user ids).
FREE_USERS = range(60_600, 61_000)


def environment(home: str) -> dict[str, str]:
    """Give the environment variables of a worker, and there are no others.

    Args:
        home: its home folder.
    """
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        "HOME": home,
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "PYTHONHASHSEED": "0",
        "COURSE_PROGRESS": "off",
        **one_thread,
    }
