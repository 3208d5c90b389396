"""bubblewrap's part of the sandbox: which of the machine's files a worker sees, and as whom."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from course_lib.classroom.grading.sandbox.surroundings import COURSE, HOME, MEBIBYTE, environment
from course_lib.classroom.limits import Limits

_LIBRARIES = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin")
# What Python needs of its folder, in which other things may lie too: submissions, or a checkout.
_PYTHON_PARTS = ("bin", "lib", "lib64", "pyvenv.cfg")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")


def bubblewrap_arguments(course: Path, limits: Limits) -> list[str]:
    """Give bubblewrap's arguments: what is there, read-only, and an empty home.

    Args:
        course: the folder that `copy_course` wrote.
        limits: sizes of the writable folders.
    """
    size = str(limits.disk_mb * MEBIBYTE)
    # As root the worker becomes a user of its own, for which it needs these two capabilities until it is; they
    # are gone once it is no longer root. Otherwise a user namespace gives it one.
    own_user = (
        ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        if os.geteuid() == 0
        else ["--unshare-user", "--cap-drop", "ALL", "--uid", "60600", "--gid", "60600"]
    )
    arguments = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += ["--hostname", "sandbox", "--die-with-parent", "--new-session", *own_user, "--clearenv"]
    for name, value in environment(HOME).items():
        arguments += ["--setenv", name, value]
    arguments += [part for path in _LIBRARIES for part in _library(path)]
    for path in _SYSTEM_FILES:
        arguments += ["--ro-bind-try", path, path]
    # Before Python, whose folder may lie in the machine's /tmp.
    for folder in (HOME, "/tmp"):
        arguments += ["--perms", "1777", "--size", size, "--tmpfs", folder]
    for python in _python_folders():
        # bubblewrap would make the folders above it readable to root alone.
        above = [part for part in (*reversed(python.parents), python) if part != Path("/")]
        arguments += [part for folder in above for part in ("--perms", "0755", "--dir", str(folder))]
        for part in _PYTHON_PARTS:
            arguments += ["--ro-bind-try", str(python / part), str(python / part)]
    # An installed course holds the judge: the copy stands in for it.
    installed = Path(sysconfig.get_paths()["purelib"], "course_lib")
    if installed.is_dir():
        arguments += ["--tmpfs", str(installed), "--remount-ro", str(installed)]
    # Neither /proc nor terminals: what they tell of the whole machine, another sandbox can change.
    arguments += ["--ro-bind", str(course), COURSE, "--dev", "/dev", "--tmpfs", "/dev/pts"]
    read_only = [part for folder in ("/dev/pts", "/dev", "/") for part in ("--remount-ro", folder)]
    return [*arguments, *read_only, "--chdir", HOME]


def _library(path: str) -> list[str]:
    if os.path.islink(path):
        return ["--symlink", os.readlink(path), path]
    return ["--ro-bind", path, path] if os.path.isdir(path) else []


def _python_folders() -> list[Path]:
    """Give the folders of the interpreter and its packages that the system's folders do not hold already."""
    folders: list[Path] = []
    for text in (sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix):
        path = Path(text).resolve()
        if not any(path.is_relative_to(known) for known in (Path("/usr"), *folders)):
            folders.append(path)
    return folders
