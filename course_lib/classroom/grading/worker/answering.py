"""What runs inside the sandbox: it loads a notebook, answers calls of its functions, and knows no answers.

The learner's code shares this process, so nothing that is sent from here is trusted: the judge looks at the
values alone. This file, `shell.py`, `channel.py` and `timekeeping.py` are all of the judge that a sandbox can see.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import json
import os
import re
import signal
import socket
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from course_lib.classroom.grading.worker.channel import (
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    Channel,
    ChannelError,
    NotPlainError,
    check_size,
    decode,
    encode,
    from_bytes,
    receive_frame,
    send_frame,
    to_bytes,
)
from course_lib.classroom.grading.worker.shell import Shell
from course_lib.classroom.grading.worker.timekeeping import Stopwatch, waited_seconds

MAX_MESSAGE = 600
MAX_PRINTED_BYTES = 1 << 20
MAX_CELL_ERRORS = 20
_NEXT_ALARM_SECONDS, _MAX_ALARMS = 0.1, 10
# In a notebook's metadata: which form of the assignment it is.
FORM_KEY = "course_form"
FORM = re.compile(r"([a-z0-9]{1,20} [0-9]{1,3}(-[0-9]{1,3}){0,20})?")
# All that is said of a file that is no notebook.
NOT_UTF8 = "The file is not UTF-8 text."
NOT_JSON = "The file is not JSON, so it is no notebook."
TOO_LARGE = "The notebook is too large to read."
NO_CELLS = "The notebook has no cells."
NO_CODE_CELLS = "The notebook has no code cells."
UNREADABLE = (NOT_UTF8, NOT_JSON, TOO_LARGE, NO_CELLS, NO_CODE_CELLS)


class UnreadableError(Exception):
    """The file is no notebook."""


class CellTimeoutError(BaseException):
    """A cell ran too long; no `except Exception` of its own catches it."""


class StandardChannel:
    """Standard input and output as the channel to the judge."""

    def __init__(self) -> None:
        # Duplicates are not inherited by what is started.
        self._reading, self._writing = os.dup(0), os.dup(1)

    def recv(self, count: int, /) -> bytes:
        """Receive up to `count` bytes; none if the judge has hung up."""
        return os.read(self._reading, count)

    def sendall(self, data: bytes, /) -> None:
        """Send all of these bytes."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._writing, view) :]


class Printed(io.RawIOBase):
    """Where everything goes that is printed: it is counted, and not kept."""

    def __init__(self) -> None:
        self.num_bytes = 0

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def fileno(self) -> int:
        """Give the number of standard output."""
        return 1

    def write(self, data: Any, /) -> int:
        """Count these bytes."""
        self.num_bytes += len(data)
        return len(data)

    @property
    def is_cut(self) -> bool:
        """Whether more was printed than a notebook would keep."""
        return self.num_bytes > MAX_PRINTED_BYTES


def main(descriptor: int | None) -> None:
    """Serve one submission: limits, notebook, then calls until the judge hangs up.

    Args:
        descriptor: the inherited socket to the judge; None if standard input and output are the channel.
    """
    if importlib.util.find_spec("IPython") is None:
        raise SystemExit("IPython is missing: without it, cells that Jupyter runs cannot be read.")
    channel: Channel = StandardChannel() if descriptor is None else _inherited(descriptor)
    printed = _discard_output()
    send_frame(channel, to_bytes({"started": True}, MAX_REPLY_BYTES))
    schedule = _opened_schedule(channel)
    limits = from_bytes(receive_frame(channel, MAX_REQUEST_BYTES))
    confine(limits)
    received = receive_frame(channel, MAX_REQUEST_BYTES)
    try:
        notebook = parsed_notebook(received)
        cells = code_cells(notebook)
    except UnreadableError as error:
        send_frame(channel, to_bytes({"unreadable": str(error)}, MAX_REPLY_BYTES))
        return

    def give_up(number: int) -> None:
        send_frame(channel, to_bytes({"stuck": number}, MAX_REPLY_BYTES))
        os._exit(0)

    python = written_with(notebook)
    limit = CellLimit(limits["cell_seconds"], give_up, partial(waited_seconds, schedule))
    namespace, errors, stopped = run_cells(cells, limits["skipped"], limit, python)
    ready = {"ready": errors, "form": stated_form(notebook), "stopped": stopped, "cut": printed.is_cut}
    send_frame(channel, to_bytes(ready, MAX_REPLY_BYTES))
    while True:
        try:
            request = from_bytes(receive_frame(channel, MAX_REQUEST_BYTES))
        except EOFError:
            return
        send_frame(channel, _reply(request, namespace, printed))


def confine(limits: dict[str, Any]) -> None:
    """Limit this process and all that it starts, and become another user where the judge says so.

    Args:
        limits: `memory`, `file_size` in bytes, `processes`, `open_files`, `cpu_seconds`; `user` is a user id,
            or None to stay; `cell_seconds` and `skipped` are for `run_cells`.
    """
    import resource

    rows = {
        "RLIMIT_CORE": 0,
        "RLIMIT_AS": limits["memory"],
        "RLIMIT_FSIZE": limits["file_size"],
        "RLIMIT_NPROC": limits["processes"],
        "RLIMIT_NOFILE": limits["open_files"],
        "RLIMIT_CPU": limits["cpu_seconds"],
    }
    for name, value in rows.items():
        # Not every system has every limit.
        if hasattr(resource, name):
            _lower(resource, getattr(resource, name), value)
    if limits["user"] is not None:
        os.setgroups([])
        os.setresgid(limits["user"], limits["user"], limits["user"])
        os.setresuid(limits["user"], limits["user"], limits["user"])


def parsed_notebook(file: bytes) -> dict[str, Any]:
    """Give what a notebook file holds.

    Args:
        file: its bytes.

    Raises:
        UnreadableError: if it is not UTF-8, or no JSON object.
    """
    try:
        content = json.loads(file.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UnreadableError(NOT_UTF8) from None
    except (ValueError, RecursionError):
        raise UnreadableError(NOT_JSON) from None
    except MemoryError:
        raise UnreadableError(TOO_LARGE) from None
    if not isinstance(content, dict):
        raise UnreadableError(NO_CELLS)
    return content


def code_cells(notebook: dict[str, Any]) -> list[str]:
    """Give the sources of a notebook's code cells, in the order of the file.

    Args:
        notebook: what `parsed_notebook` gives.

    Raises:
        UnreadableError: if it has no code cells.
    """
    cells = _cells(notebook)
    if not cells:
        raise UnreadableError(NO_CELLS)
    sources = [_source(cell) for cell in cells if isinstance(cell, dict) and cell.get("cell_type") == "code"]
    if not sources:
        raise UnreadableError(NO_CODE_CELLS)
    return sources


def stated_form(notebook: dict[str, Any]) -> str:
    """Give the form of the assignment that a notebook was handed out in; empty if it does not say.

    Example:
        >>> stated_form({"metadata": {"course_form": "a1 2-1"}}), stated_form({})
        ('a1 2-1', '')
    """
    metadata = notebook.get("metadata")
    form = metadata.get(FORM_KEY) if isinstance(metadata, dict) else None
    return form if isinstance(form, str) and FORM.fullmatch(form) else ""


def written_with(notebook: dict[str, Any]) -> str:
    """Give the version of Python that a notebook says it was written with; empty if it does not say."""
    metadata = notebook.get("metadata")
    language = metadata.get("language_info") if isinstance(metadata, dict) else None
    version = language.get("version") if isinstance(language, dict) else None
    return version if isinstance(version, str) else ""


@dataclass(frozen=True)
class CellLimit:
    """How long a cell may run.

    Args:
        seconds: time for each, see `Stopwatch`.
        give_up: called with the number of a cell that catches every alarm; it is not to return.
        waited: gives the seconds that this process has waited for a core.
    """

    seconds: float
    give_up: Callable[[int], None]
    waited: Callable[[], float]

    def watch(self) -> Stopwatch:
        """Start to measure a cell's time."""
        return Stopwatch(self.waited, _worked_seconds)


def run_cells(
    cells: list[str], skipped: Sequence[int], limit: CellLimit, python: str = ""
) -> tuple[dict[str, Any], list[str], list[int]]:
    """Run code cells one after the other; one that fails or runs too long does not stop the next.

    Args:
        cells: their sources.
        skipped: the numbers, from 1, of cells not to run.
        limit: how long each may run.
        python: as `written_with` gives it.

    Returns:
        The names they defined, what each failing cell said, and the numbers of those that ran too long.
    """
    module = types.ModuleType("__main__")
    shell = Shell(module.__dict__, python)
    # What %%writefile writes can be imported, as in Jupyter.
    sys.path.append(os.getcwd())
    sys.modules["__main__"] = module
    errors: list[str] = []
    stopped: list[int] = []
    for number, source in enumerate(cells, start=1):
        if number in skipped:
            continue
        try:
            messages = _run_cell(shell, source, number, limit)
        except CellTimeoutError:
            # Again, since the alarm may have come before the last one was off.
            signal.setitimer(signal.ITIMER_REAL, 0)
            messages = [too_long(number, limit.seconds)]
            stopped.append(number)
        errors += messages
    return module.__dict__, errors[:MAX_CELL_ERRORS], stopped


def _inherited(descriptor: int) -> socket.socket:
    channel = socket.socket(fileno=descriptor)
    # The sandbox has few processes and files for its user; nothing forked may hold the channel by accident.
    channel.set_inheritable(False)
    return channel


def _discard_output() -> Printed:
    """Let what is printed go nowhere, however it is written, and read nothing."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    printed = Printed()
    # Any text can be printed, also half a character.
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(printed), "utf-8", "backslashreplace", write_through=True)
    sys.stderr = sys.stdout
    return printed


def _opened_schedule(channel: Channel) -> int | None:
    """Give the open file that tells how long this process waited for a core: in the sandbox the judge's gift."""
    if isinstance(channel, socket.socket):
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
        return descriptors[0] if descriptors else None
    try:
        return os.open("/proc/self/schedstat", os.O_RDONLY)
    except OSError:
        return None


def _worked_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _lower(resource: Any, which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(which, (value, value))
    except (ValueError, OSError) as error:
        # macOS refuses some; the report says that isolation is weaker there.
        print(f"limit {which} not set: {error}", file=sys.stderr)


def _cells(notebook: dict[str, Any]) -> list[Any]:
    """Give a notebook's cells; those of the old formats 2 and 3 lie in work sheets."""
    sheets = notebook.get("worksheets")
    parts = [notebook, *(sheets if isinstance(sheets, list) else [])]
    found = [part.get("cells") for part in parts if isinstance(part, dict)]
    return [cell for cells in found if isinstance(cells, list) for cell in cells]


def _source(cell: dict[str, Any]) -> str:
    # Formats 2 and 3 call it input.
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        return "".join(part for part in source if isinstance(part, str))
    return source if isinstance(source, str) else ""


def too_long(number: int, seconds: float) -> str:
    """Say of a cell that it ran too long."""
    return f"code cell {number}: it ran for more than {seconds:g} seconds and was stopped."


def _run_cell(shell: Shell, source: str, number: int, limit: CellLimit) -> list[str]:
    """Run a cell, and give what it said of its failures."""
    name = f"code cell {number}"
    alarms = itertools.count(1)
    watch = limit.watch()

    def stop(*_: object) -> None:
        if not watch.is_over(limit.seconds):
            return
        if next(alarms) > _MAX_ALARMS:
            limit.give_up(number)
        raise CellTimeoutError

    def start() -> None:
        nonlocal watch
        watch = limit.watch()
        signal.signal(signal.SIGALRM, stop)
        # Again and again: a bare `except` in a loop catches one after the other.
        signal.setitimer(signal.ITIMER_REAL, limit.seconds, _NEXT_ALARM_SECONDS)

    try:
        absent = shell.run(source, name, start)
    except CellTimeoutError:
        raise
    except BaseException as error:
        return [f"{name}: {_described(error)}"]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return [f"{name}: {what[:MAX_MESSAGE]}. The cell went on without it." for what in absent]


def _reply(request: dict[str, Any], namespace: dict[str, Any], printed: Printed) -> bytes:
    answer = {"id": request["id"], **_answer(request, namespace), "cut": printed.is_cut}
    try:
        return to_bytes(answer, MAX_REPLY_BYTES)
    except NotPlainError as error:
        return to_bytes({"id": request["id"], "status": "not plain", "message": str(error)}, MAX_REPLY_BYTES)


def _answer(request: dict[str, Any], namespace: dict[str, Any]) -> dict[str, Any]:
    function = namespace.get(request["function"])
    if not callable(function):
        return {"status": "missing"}
    try:
        value = encode(_called(function, request["arguments"]))
        check_size(value)
        return {"status": "value", "value": value}
    except (NotPlainError, ChannelError) as error:
        return {"status": "not plain", "message": str(error)}
    except BaseException as error:
        stub = type(error) is NotImplementedError and error.args in ((), (request["task"],))
        return {"status": "missing"} if stub else {"status": "error", "message": _described(error)}


def _called(function: Callable[..., Any], arguments: list[Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*(decode(argument, tensors=True) for argument in arguments))


def _described(error: BaseException) -> str:
    """Give an error's type and message and where it arose, also where its own text fails."""
    try:
        message = str(error)
    except BaseException:
        message = "(its message cannot be shown)"
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    trace, place = error.__traceback__, ""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name.startswith("code cell"):
            place = f"{name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    where = f" ({place})" if place and place not in text else ""
    return str(text)[:MAX_MESSAGE] + where
