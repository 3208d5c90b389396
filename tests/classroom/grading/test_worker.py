"""Parts of the worker by themselves: what it answers, and what it gives up before a learner's code runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from course_lib.classroom.grading.worker import answering as worker
from course_lib.classroom.grading.worker.channel import encode

BECOMES_ANOTHER_USER = """
import json, os
from course_lib.classroom.grading.worker.answering import confine

os.setgroups([1, 2])
limits = {"memory": 8 << 30, "file_size": 1 << 20, "processes": 64, "open_files": 64, "cpu_seconds": 60}
confine({**limits, "user": 65534})
print(json.dumps([os.getgroups(), os.getresuid(), os.getresgid()]))
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_another_user_keeps_no_group_of_the_old_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BECOMES_ANOTHER_USER], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [[], [65534] * 3, [65534] * 3]


def raising(error: BaseException) -> Callable[[], None]:
    """Give a function that raises this error."""

    def function() -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "status"),
    [
        (None, "missing"),
        (3, "missing"),
        (raising(NotImplementedError()), "missing"),
        (raising(NotImplementedError("a1.double")), "missing"),
        (raising(NotImplementedError("not for odd numbers")), "error"),
        (raising(ValueError()), "error"),
        (raising(ValueError("a1.double")), "error"),
        (raising(SystemExit()), "error"),
        (lambda: {1, 2}, "not plain"),
        (lambda: [0] * 30_000, "not plain"),
        (lambda: None, "value"),
    ],
)
def test_only_what_was_never_written_is_missing(function: Any, status: str) -> None:
    request = {"task": "a1.double", "function": "double", "arguments": []}
    assert worker._answer(request, {"double": function})["status"] == status


def test_a_function_is_called_with_the_values_that_were_sent() -> None:
    request = {"task": "a1.double", "function": "double", "arguments": [encode(2.5), encode((1, 2))]}
    answer = worker._answer(request, {"double": lambda x, pair: [2 * x, pair]})
    assert answer == {"status": "value", "value": encode([5.0, (1, 2)])}


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="only Linux tells")
def test_how_long_a_process_waited_is_read_in_its_own_or_the_judges_file() -> None:
    class Pipes:
        """Stands for a channel that is no socket."""

    own = worker._opened_schedule(Pipes())  # type: ignore[arg-type]
    assert own is not None
    assert os.readlink(f"/proc/self/fd/{own}").endswith("schedstat")
    here, there = socket.socketpair()
    with here, there:
        socket.send_fds(here, [b"0"], [own])
        gift = worker._opened_schedule(there)
        assert gift not in (None, own)
        assert os.readlink(f"/proc/self/fd/{gift}") == os.readlink(f"/proc/self/fd/{own}")
        here.sendall(b"0")
        assert worker._opened_schedule(there) is None
    os.close(gift)  # type: ignore[arg-type]
    os.close(own)


@pytest.mark.skipif(os.name != "posix", reason="a socket is inherited by its number")
def test_the_channel_is_the_socket_that_was_inherited_and_goes_no_further() -> None:
    ours, theirs = socket.socketpair()
    theirs.set_inheritable(True)
    with ours, worker._inherited(theirs.detach()) as channel:
        assert not channel.get_inheritable()
        channel.sendall(b"here")
        assert ours.recv(4) == b"here"


# Calls what an alarm calls, so that nothing depends on when one comes.
CATCHES_ALARMS = """
import signal
stop = signal.getsignal(signal.SIGALRM)
caught = 0
for _ in range({alarms}):
    try:
        stop()
    except BaseException as error:
        assert type(error).__name__ == "CellTimeoutError"
        caught += 1
"""


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no alarms")
@pytest.mark.parametrize("too_many", [0, 1])
def test_a_cell_that_catches_every_alarm_is_given_up(too_many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given_up: list[int] = []
    # No alarm is set, and any time is too long.
    limit = worker.CellLimit(0.0, given_up.append, lambda: 0.0)
    alarms = worker._MAX_ALARMS + too_many
    cells = ["x = 1", CATCHES_ALARMS.format(alarms=alarms)]
    # What a worker may change for good.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = signal.getsignal(signal.SIGALRM)
    try:
        namespace, errors, stopped = worker.run_cells(cells, [], limit)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (namespace["caught"], errors, stopped) == (alarms, [], [])
    assert given_up == [2] * too_many
