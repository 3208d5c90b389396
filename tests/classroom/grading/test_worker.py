"""Parts of the worker by themselves: what it answers, and what it gives up before a learner's code runs."""

from __future__ import annotations

import json
import os
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
