"""The sandbox that a worker runs in: bubblewrap where it works, a plain process with limits elsewhere."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from course_lib.errors import CourseError
from course_lib.grading.channel import (
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    ChannelError,
    frame_length,
    from_bytes,
    send_frame,
    to_bytes,
)
from course_lib.grading.temporary import temporary_folder

HOME = "/home/learner"
COURSE = "/course"
MEBIBYTE = 1 << 20
# Users that neither Debian nor systemd gives to anyone (see systemd's table of user ids).
_FREE_USERS = range(60_600, 61_000)
# How often a waiting judge looks at what a worker holds.
_WATCH_SECONDS = 0.1
_LIBRARIES = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")


@dataclass(frozen=True)
class Limits:
    """What a worker and everything it starts may use.

    Args:
        call_seconds: wall-clock time of one call.
        load_seconds: wall-clock time of running the notebook's cells.
        total_seconds: wall-clock time of a whole submission, after which no further call begins.
        memory_mb: memory of each process, and of all together.
        processes: processes and threads.
        disk_mb: its home and its temporary folder, each.
        files: files in them.
        file_mb: one file, and everything printed.
    """

    call_seconds: float = 10.0
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
            load_seconds=factor * self.load_seconds,
            total_seconds=factor * self.total_seconds,
        )


@dataclass(frozen=True)
class Isolation:
    """How workers are kept apart from everything else.

    Args:
        kind: "bubblewrap" or "plain process".
        note: what it does not guarantee, in a sentence; empty for bubblewrap.
    """

    kind: str
    note: str = ""


class WorkerEndedError(Exception):
    """The worker's process ended, or was ended for breaking a limit."""


class WorkerTimeoutError(Exception):
    """The worker did not answer in time."""


def find_isolation(course: Path) -> Isolation:
    """Find out, by starting a worker, which isolation this machine allows.

    Args:
        course: the folder that `copy_course` wrote.

    Returns:
        bubblewrap if a worker in it answers, otherwise a plain process with the reason in its note.

    Raises:
        CourseError: if no worker answers even in a plain process.
    """
    sandboxed = Isolation("bubblewrap")
    plain_kind = "plain process"
    if shutil.which("bwrap") is None:
        reason = "bubblewrap is not installed"
    else:
        reason = _trouble(course, sandboxed)
        if not reason:
            return sandboxed
        reason = f"bubblewrap does not work here ({reason})"
    own_user = " under a user of its own" if os.geteuid() == 0 else " under your own user"
    note = (
        f"Isolation is WEAKER: {reason}. Submissions run in a plain process{own_user}, with limits on time, memory "
        "and files, but they can reach the network and see the files that user can read."
    )
    trouble = _trouble(course, Isolation(plain_kind, note))
    if trouble:
        raise CourseError("No worker starts on this machine.", given=trouble, mend="Install bubblewrap.")
    return Isolation(plain_kind, note)


class Worker:
    """One running worker and the judge's end of its channel; leaving the context ends it and all it started.

    Args:
        course: the folder that `copy_course` wrote.
        isolation: how to run it.
        limits: what it may use.
    """

    def __init__(self, course: Path, isolation: Isolation, limits: Limits) -> None:
        self.course = course
        self.isolation = isolation
        self.limits = limits

    def __enter__(self) -> Worker:
        self.channel, theirs = socket.socketpair()
        self.printed = tempfile.TemporaryFile()
        self.folder = temporary_folder("worker")
        with theirs:
            try:
                self.process = self._start(theirs.fileno())
            except BaseException:
                self._release()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._release()

    def load(self, notebook: bytes) -> dict[str, object]:
        """Send the limits and a notebook, and wait until its cells have run.

        Raises:
            WorkerTimeoutError, WorkerEndedError, ChannelError: if they did not.
        """
        deadline = time.monotonic() + self.limits.load_seconds
        self._send(to_bytes(self._process_limits(), MAX_REQUEST_BYTES), deadline)
        self._send(notebook, deadline)
        return from_bytes(self._receive(deadline))

    def call(self, request: Mapping[str, object], seconds: float) -> dict[str, object]:
        """Send one call and wait for its answer.

        Args:
            request: `id`, `task`, `function` and encoded `arguments`.
            seconds: how long to wait.

        Raises:
            WorkerTimeoutError, WorkerEndedError: if none came.
            ChannelError: if what came is no answer to this call.
        """
        if self._readable(0.0):
            raise ChannelError("an answer came before its question")
        deadline = time.monotonic() + seconds
        self._send(to_bytes(request, MAX_REQUEST_BYTES), deadline)
        reply = from_bytes(self._receive(deadline))
        if reply.get("id") != request["id"]:
            raise ChannelError("an answer to another question")
        return reply

    def kill(self) -> None:
        """End the worker and everything it started.

        Under bubblewrap the namespace dies with its init. A plain process's family is its group and its descendants;
        what has left both is not found.
        """
        for pid in reversed(list(_family(self.process.pid))):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _start(self, descriptor: int) -> subprocess.Popen[bytes]:
        course = COURSE if self.isolation.kind == "bubblewrap" else str(self.course)
        code = (
            f"import sys; sys.path.insert(0, {course!r}); "
            f"from course_lib.grading.worker import main; main({descriptor})"
        )
        command = [sys.executable, "-I", "-B", "-c", code]
        if self.isolation.kind == "bubblewrap":
            return self._start_sandboxed(command, descriptor)
        return self._start_plain(command, descriptor)

    def _start_sandboxed(self, command: list[str], descriptor: int) -> subprocess.Popen[bytes]:
        # Arguments go through a file: a command line could be read inside, and would tell of the host.
        with tempfile.TemporaryFile() as arguments:
            arguments.write(
                b"\0".join(part.encode() for part in bubblewrap_arguments(self.course, self.limits))
            )
            arguments.seek(0)
            return subprocess.Popen(
                ["bwrap", "--args", str(arguments.fileno()), "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=self.printed,
                stderr=self.printed,
                pass_fds=(descriptor, arguments.fileno()),
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
                cwd="/",
            )

    def _start_plain(self, command: list[str], descriptor: int) -> subprocess.Popen[bytes]:
        os.chmod(self.folder.name, 0o700)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.printed,
            stderr=self.printed,
            pass_fds=(descriptor,),
            start_new_session=True,
            env=_environment(self.folder.name),
            cwd=self.folder.name,
        )

    def _process_limits(self) -> dict[str, object]:
        own_user = os.geteuid() == 0
        user = secrets.choice(_FREE_USERS) if own_user else None
        if user is not None and self.isolation.kind != "bubblewrap":
            os.chown(self.folder.name, user, user)
        return {
            "memory": self.limits.memory_mb * MEBIBYTE,
            "file_size": self.limits.file_mb * MEBIBYTE,
            # Without a user of its own, what that user already runs counts too.
            "processes": self.limits.processes + (0 if own_user else _own_processes()),
            "open_files": 256,
            "cpu_seconds": int(self.limits.total_seconds) + 1,
            "user": user,
        }

    def _send(self, data: bytes, deadline: float) -> None:
        self.channel.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
            send_frame(self.channel, data)
        except TimeoutError:
            raise WorkerTimeoutError from None
        except OSError:
            raise WorkerEndedError(self._reason()) from None

    def _receive(self, deadline: float) -> bytes:
        length = frame_length(self._read(4, deadline))
        if length > MAX_REPLY_BYTES:
            raise ChannelError("a message that is too large")
        return self._read(length, deadline)

    def _read(self, count: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < count:
            if not self._readable(_WATCH_SECONDS):
                self._check(deadline)
                continue
            try:
                part = self.channel.recv(count - len(data))
            except ConnectionError:
                part = b""
            if not part:
                raise WorkerEndedError(self._reason())
            data += part
            if time.monotonic() > deadline:
                raise WorkerTimeoutError
        return bytes(data)

    def _readable(self, seconds: float) -> bool:
        import select

        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        return bool(poll.poll(int(seconds * 1000)))

    def _check(self, deadline: float) -> None:
        """Look at the clock and at what the worker holds while it has not answered."""
        if time.monotonic() > deadline:
            raise WorkerTimeoutError
        if self.process.poll() is not None and not self._readable(0.0):
            raise WorkerEndedError(self._reason())
        family = list(_family(self.process.pid))
        if sum(map(_resident_bytes, family)) > self.limits.memory_mb * MEBIBYTE:
            raise WorkerEndedError(f"It held more than {self.limits.memory_mb} MB of memory.")
        if self._count_files(family) > self.limits.files:
            raise WorkerEndedError(f"It made more than {self.limits.files} files.")

    def _count_files(self, family: list[int]) -> int:
        if self.isolation.kind != "bubblewrap" or not family:
            return 0
        counts = [_files_in(f"/proc/{family[-1]}/root{folder}") for folder in (HOME, "/tmp")]
        return max(counts)

    def _reason(self) -> str:
        try:
            code = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return "It closed the channel to the judge."
        # bubblewrap gives 128 + the signal.
        number = -code if code < 0 else code - 128
        if number in (signal.SIGKILL, signal.SIGXCPU, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
            return f"Its process was ended by {signal.Signals(number).name}."
        return f"Its process ended itself (exit code {code})."

    def _release(self) -> None:
        self.channel.close()
        self.printed.close()
        self.folder.cleanup()


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
    for name, value in _environment(HOME).items():
        arguments += ["--setenv", name, value]
    arguments += [part for path in _LIBRARIES for part in _library(path)]
    for path in _SYSTEM_FILES:
        arguments += ["--ro-bind-try", path, path]
    for python in _python_folders():
        # bubblewrap would make the folders above it readable to root alone.
        above = [part for part in reversed(python.parents) if part != Path("/")]
        arguments += [part for folder in above for part in ("--perms", "0755", "--dir", str(folder))]
        arguments += ["--ro-bind", str(python), str(python)]
    # An installed course holds the judge: the copy stands in for it.
    installed = Path(sysconfig.get_paths()["purelib"], "course_lib")
    if installed.is_dir():
        arguments += ["--tmpfs", str(installed), "--remount-ro", str(installed)]
    arguments += ["--ro-bind", str(course), COURSE, "--proc", "/proc", "--dev", "/dev"]
    for folder in (HOME, "/tmp"):
        arguments += ["--perms", "1777", "--size", size, "--tmpfs", folder]
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", HOME]


def _environment(home: str) -> dict[str, str]:
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


def _trouble(course: Path, isolation: Isolation) -> str:
    """Start a worker and have it answer; empty if it does."""
    notebook = b'{"cells": [{"cell_type": "code", "source": "def answer(): return 42"}]}'
    # Patient: a busy machine must not pass for one without a sandbox.
    with Worker(course, isolation, Limits(load_seconds=120.0)) as worker:
        try:
            worker.load(notebook)
            reply = worker.call({"id": 1, "task": "probe", "function": "answer", "arguments": []}, 120.0)
        except (WorkerEndedError, WorkerTimeoutError, ChannelError) as error:
            worker.kill()
            worker.printed.seek(0)
            said = worker.printed.read(2000).decode("utf-8", "replace").strip().splitlines()
            return said[-1] if said else str(error) or "no answer in time"
    return "" if reply.get("value") == 42 else "a wrong answer"


def _own_processes() -> int:
    """Count the processes of this user, where the system tells; others count as a thousand."""
    if not Path("/proc/self").exists():
        return 1000
    count = 0
    for path in Path("/proc").glob("[0-9]*/task/*"):
        with contextlib.suppress(OSError):
            count += path.stat().st_uid == os.getuid()
    return count


def _family(pid: int) -> Iterator[int]:
    """Give a process and all that descend from it, where the system tells."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                yield from _family(int(child))


def _resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _files_in(folder: str) -> int:
    """Count the files of a file system of its own; 0 where that cannot be seen."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_files - found.f_ffree
