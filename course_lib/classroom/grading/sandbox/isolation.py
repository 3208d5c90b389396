"""The sandbox that a worker runs in: bubblewrap, a container, or a plain process with limits."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from course_lib.classroom.grading.sandbox.bubblewrap import bubblewrap_arguments
from course_lib.classroom.grading.sandbox.container import (
    Image,
    container_command,
    find_image,
    new_container_name,
    remove_container,
    remove_left_over_containers,
)
from course_lib.classroom.grading.sandbox.seccomp import seccomp_filter
from course_lib.classroom.grading.sandbox.surroundings import COURSE, FREE_USERS, MEBIBYTE, environment
from course_lib.classroom.grading.sandbox.temporary import temporary_folder
from course_lib.classroom.grading.sandbox.watching import Watcher, family
from course_lib.classroom.grading.worker.channel import (
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    ChannelError,
    frame_length,
    framed,
    from_bytes,
    to_bytes,
)
from course_lib.classroom.grading.worker.timekeeping import Stopwatch
from course_lib.classroom.limits import Limits
from course_lib.errors import CourseError

# How often a waiting judge looks at what a worker holds.
_WATCH_SECONDS = 0.1
# What a worker takes to say that it runs, on a very busy machine.
_START_SECONDS = 300.0
# What a process takes to end on a busy machine, once its channel is closed.
_END_SECONDS = 10.0
# One after the other, so that two workers are never one user; from anywhere, since another judge may run.
_users = itertools.cycle(random.sample(FREE_USERS, len(FREE_USERS)))


@dataclass(frozen=True)
class Isolation:
    """How workers are kept apart from everything else.

    Args:
        kind: "bubblewrap", "container" or "plain process".
        note: what it does not guarantee, in a sentence; empty for the first two.
        image: the container's image.
    """

    kind: str
    note: str = ""
    image: Image | None = None


class WorkerStartError(Exception):
    """No worker runs: the machine's trouble, since none of the learner's code has run."""


class WorkerEndedError(Exception):
    """The worker's process ended, or was ended for breaking a limit."""


class WorkerTimeoutError(Exception):
    """The worker did not answer in time."""


_NO_ANSWER = (WorkerStartError, WorkerEndedError, WorkerTimeoutError, ChannelError)


def find_isolation(course: Path, image: str = "", hidden: Sequence[Path] = ()) -> Isolation:
    """Find out, by starting a worker, which isolation this machine allows.

    Args:
        course: the folder that `copy_course` wrote.
        image: a container image to run workers in.
        hidden: files that a worker must not see under bubblewrap, beside the judge's own; a container has none of
            this machine's.

    Returns:
        A container of the image if one is given; otherwise bubblewrap if a worker in it answers; otherwise a plain
        process with the reason in its note.

    Raises:
        CourseError: if no worker answers in a container of the image, or, without one, even in a plain process; if
            what is hidden can be seen in the sandbox.
    """
    if image:
        return _container(course, image)
    sandboxed = Isolation("bubblewrap")
    plain_kind = "plain process"
    if shutil.which("bwrap") is None:
        reason = "bubblewrap is not installed"
    else:
        reason = _trouble(course, sandboxed)
        if not reason:
            refuse_seen(course, sandboxed, [Path(__file__), *hidden])
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


def _container(course: Path, name: str) -> Isolation:
    image = find_image(name)
    remove_left_over_containers(image)
    isolation = Isolation("container", image=image)
    trouble = _trouble(course, isolation)
    if trouble:
        raise CourseError(
            f"No worker answers in a container of this image: {trouble}",
            given=f"{name} ({image.engine})",
            mend="It needs Python 3.11 or newer, and NumPy; docs/grading.md says how to build one.",
        )
    return isolation


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
        # The time that it has had for all that it was asked.
        self.spent_seconds = 0.0
        self.watcher: Watcher | None = None

    def __enter__(self) -> Worker:
        self.channel, theirs = socket.socketpair()
        self.printed = tempfile.TemporaryFile()
        self.folder = temporary_folder("worker")
        with theirs:
            try:
                self.process = self._start(theirs.fileno())
            except BaseException as error:
                self._release()
                if isinstance(error, OSError):
                    raise WorkerStartError(str(error)) from None
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._release()

    def await_start(self) -> None:
        """Wait for the worker's first word, and look at it before any of the learner's code runs.

        Raises:
            WorkerStartError: if none comes.
        """
        deadline = time.monotonic() + _START_SECONDS
        try:
            if from_bytes(self._receive(lambda: self._check_start(deadline))) != {"started": True}:
                raise ChannelError("it began with another word than a worker's")
            self.watcher = Watcher(self.process.pid)
            if self.isolation.image is None:
                # In the sandbox it cannot see how long it waited for a core; what is open it can read.
                self._give(self.watcher.schedule)
        except (WorkerTimeoutError, WorkerEndedError, ChannelError, OSError) as error:
            self.kill()
            self.printed.seek(0)
            said = self.printed.read(2000).decode("utf-8", "replace").strip().splitlines()
            raise WorkerStartError(said[-1] if said else str(error) or "no answer in time") from None

    def load(self, notebook: bytes, seconds: float, skipped: Sequence[int] = ()) -> dict[str, object]:
        """Send the limits and a notebook to a worker, and wait until its cells have run.

        Args:
            notebook: the file.
            seconds: how long the cells may take.
            skipped: the numbers of code cells, from 1, that are not to run.

        Raises:
            WorkerStartError: if no worker runs.
            WorkerTimeoutError, WorkerEndedError, ChannelError: if the cells did not run.
        """
        if self.watcher is None:
            self.await_start()
        limits = {**self._process_limits(), "skipped": list(skipped)}
        return self._exchange([to_bytes(limits, MAX_REQUEST_BYTES), notebook], seconds)

    def call(self, request: Mapping[str, object], seconds: float) -> dict[str, object]:
        """Send one call and wait for its answer.

        Args:
            request: `id`, `task`, `function` and encoded `arguments`.
            seconds: how long to wait.

        Raises:
            WorkerTimeoutError, WorkerEndedError: if none came.
            ChannelError: if what came is no answer to this call.
        """
        if self._ready(select.POLLIN, 0.0):
            if not self._peeked():
                raise WorkerEndedError(self._reason())
            raise ChannelError("an answer came before its question")
        reply = self._exchange([to_bytes(request, MAX_REQUEST_BYTES)], seconds)
        if reply.get("id") != request["id"]:
            raise ChannelError("an answer to another question")
        return reply

    def kill(self) -> None:
        """End the worker and everything it started.

        Under bubblewrap the namespace dies with its init, and a container with its first process. A plain process's
        family is its group and its descendants; what has left both is not found.
        """
        if self.isolation.image is not None:
            remove_container(self.isolation.image, self.container)
        for pid in reversed(list(family(self.process.pid))):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _start(self, descriptor: int) -> subprocess.Popen[bytes]:
        if self.isolation.image is not None:
            return self._start_container(self.isolation.image, descriptor)
        if self.isolation.kind == "bubblewrap":
            return self._start_sandboxed(_worker_command(sys.executable, COURSE, descriptor), descriptor)
        return self._start_plain(_worker_command(sys.executable, str(self.course), descriptor), descriptor)

    def _start_container(self, image: Image, descriptor: int) -> subprocess.Popen[bytes]:
        self.container = new_container_name()
        command = _worker_command("python3", COURSE, None)
        return subprocess.Popen(
            container_command(image, self.container, self.course, self.limits, command),
            stdin=descriptor,
            stdout=descriptor,
            stderr=self.printed,
            start_new_session=True,
        )

    def _start_sandboxed(self, command: list[str], descriptor: int) -> subprocess.Popen[bytes]:
        # Arguments go through a file: a command line could be read inside, and would tell of the host.
        parts = bubblewrap_arguments(self.course, self.limits)
        with tempfile.TemporaryFile() as arguments, tempfile.TemporaryFile() as rules:
            arguments.write(b"\0".join(part.encode() for part in parts))
            arguments.seek(0)
            descriptors, filtered = [descriptor, arguments.fileno()], []
            if program := seccomp_filter():
                rules.write(program)
                rules.seek(0)
                descriptors.append(rules.fileno())
                filtered = ["--seccomp", str(rules.fileno())]
            return subprocess.Popen(
                ["bwrap", "--args", str(arguments.fileno()), *filtered, "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=self.printed,
                stderr=self.printed,
                pass_fds=descriptors,
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
            env=environment(self.folder.name),
            cwd=self.folder.name,
        )

    def _process_limits(self) -> dict[str, object]:
        in_container = self.isolation.image is not None
        own_user = os.geteuid() == 0 or in_container
        # A container has its user already.
        user = next(_users) if own_user and not in_container else None
        if user is not None and self.isolation.kind == "plain process":
            os.chown(self.folder.name, user, user)
        return {
            "memory": self.limits.memory_mb * MEBIBYTE,
            "file_size": self.limits.file_mb * MEBIBYTE,
            # Without a user of its own, what that user already runs counts too.
            "processes": self.limits.processes + (0 if own_user else _own_processes()),
            "open_files": 256,
            "cpu_seconds": int(self.limits.total_seconds) + 1,
            "user": user,
            "cell_seconds": self.limits.cell_seconds,
        }

    def _give(self, descriptor: int | None) -> None:
        if descriptor is None:
            self.channel.sendall(b"\0")
        else:
            socket.send_fds(self.channel, [b"\0"], [descriptor])

    def _check_start(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise WorkerTimeoutError
        if self.process.poll() is not None and not self._ready(select.POLLIN, 0.0):
            raise WorkerEndedError(self._reason())

    def _exchange(self, messages: Sequence[bytes], seconds: float) -> dict[str, object]:
        """Send messages and wait for the answer to the last."""
        assert self.watcher is not None
        watch = self.watcher.stopwatch()
        check = partial(self._check, self.watcher, watch, seconds)
        try:
            for message in messages:
                self._send(framed(message), check)
            return from_bytes(self._receive(check))
        finally:
            self.spent_seconds += watch.seconds()

    def _send(self, data: bytes, check: Callable[[], None]) -> None:
        rest = memoryview(data)
        while rest:
            check()
            if not self._ready(select.POLLOUT, _WATCH_SECONDS):
                continue
            try:
                rest = rest[self.channel.send(rest, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                continue
            except OSError:
                raise WorkerEndedError(self._reason()) from None

    def _receive(self, check: Callable[[], None]) -> bytes:
        length = frame_length(self._read(4, check))
        if length > MAX_REPLY_BYTES:
            raise ChannelError("a message that is too large")
        return self._read(length, check)

    def _read(self, count: int, check: Callable[[], None]) -> bytes:
        data = bytearray()
        looked = time.monotonic()
        while len(data) < count:
            readable = self._ready(select.POLLIN, _WATCH_SECONDS)
            # By the clock: a worker that sends byte after byte is watched as well.
            if time.monotonic() - looked > _WATCH_SECONDS:
                check()
                looked = time.monotonic()
            if not readable:
                continue
            try:
                part = self.channel.recv(count - len(data))
            except ConnectionError:
                part = b""
            if not part:
                raise WorkerEndedError(self._reason())
            data += part
        return bytes(data)

    def _ready(self, event: int, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.channel, event)
        return bool(poll.poll(int(seconds * 1000)))

    def _peeked(self) -> bytes:
        """Give the first byte that waits; none if the worker has ended."""
        with contextlib.suppress(ConnectionError):
            return self.channel.recv(1, socket.MSG_PEEK)
        return b""

    def _check(self, watcher: Watcher, watch: Stopwatch, seconds: float) -> None:
        """Look at the clock and at what the worker holds while it has not answered."""
        if watch.is_over(seconds):
            raise WorkerTimeoutError
        if self.process.poll() is not None and not self._ready(select.POLLIN, 0.0):
            raise WorkerEndedError(self._reason())
        if watcher.resident_bytes() > self.limits.memory_mb * MEBIBYTE:
            raise WorkerEndedError(f"It held more than {self.limits.memory_mb} MB of memory.")
        if watcher.num_files() > self.limits.files:
            raise WorkerEndedError(f"It made more than {self.limits.files} files.")

    def _reason(self) -> str:
        try:
            code = self.process.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "It closed the channel to the judge."
        # bubblewrap gives 128 + the signal.
        number = -code if code < 0 else code - 128
        if number in (signal.SIGKILL, signal.SIGXCPU, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
            return f"Its process was ended by {signal.Signals(number).name}."
        return f"Its process ended itself (exit code {code})."

    def _release(self) -> None:
        self.channel.close()
        if self.watcher is not None:
            self.watcher.close()
        self.printed.close()
        self.folder.cleanup()


def _worker_command(python: str, course: str, descriptor: int | None) -> list[str]:
    code = (
        f"import sys; sys.path.insert(0, {course!r}); "
        f"from course_lib.classroom.grading.worker.answering import main; main({descriptor})"
    )
    return [python, "-I", "-B", "-c", code]


def _trouble(course: Path, isolation: Isolation) -> str:
    """Start a worker and have it answer; empty if it does."""
    with Worker(course, isolation, Limits()) as worker:
        try:
            value = _probe(worker, "def probe(): return 42")
        except _NO_ANSWER as error:
            return str(error) or "no answer in time"
    return "" if value == 42 else "a wrong answer"


def refuse_seen(course: Path, isolation: Isolation, hidden: Sequence[Path]) -> None:
    """Make sure that a worker cannot see what decides about marks.

    Args:
        course: the folder that `copy_course` wrote.
        isolation: how the worker runs.
        hidden: the files.

    Raises:
        CourseError: if it sees one of them, or does not answer.
    """
    # Where it lies, and no link followed: that could be a learner's, to anywhere.
    paths = [str(path.parent.resolve() / path.name) for path in hidden]
    code = "import os\ndef probe(paths): return [p for p in paths if os.path.exists(p)]"
    with Worker(course, isolation, Limits()) as worker:
        try:
            seen = _probe(worker, code, paths)
        except _NO_ANSWER as error:
            raise CourseError(
                "A worker in the sandbox did not answer.", given=error, mend="Try again."
            ) from error
    if seen != []:
        raise CourseError(
            "Submissions could see this in the sandbox, and with it answers or other submissions.",
            given=seen,
            mend="Move it out of the folders of Python and of the system; without bubblewrap, close it to other users.",
        )


def _probe(worker: Worker, code: str, *arguments: object) -> object:
    """Have a worker answer a call of our own."""
    notebook = json.dumps({"cells": [{"cell_type": "code", "source": code}]}).encode()
    call = {"id": 1, "task": "probe", "function": "probe", "arguments": list(arguments)}
    # Patient: a busy machine must not pass for one without a sandbox.
    worker.load(notebook, 120.0)
    return worker.call(call, 120.0).get("value")


def _own_processes() -> int:
    """Count the processes of this user, where the system tells; others count as a thousand."""
    if not Path("/proc/self").exists():
        return 1000
    count = 0
    for path in Path("/proc").glob("[0-9]*/task/*"):
        with contextlib.suppress(OSError):
            count += path.stat().st_uid == os.getuid()
    return count
