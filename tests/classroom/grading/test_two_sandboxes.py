"""Two submissions at a time: nothing that one does can be seen by the other.

Each channel is tried between two plain processes first, where it works; a test of a channel that works nowhere would
prove nothing.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from course_lib.classroom.grading.sandbox.isolation import Worker
from tests.classroom.grading.conftest import Judge, notebook
from tests.classroom.grading.test_attacks import only_under_bubblewrap

COMMON = """
import ctypes, fcntl, glob, os, socket, struct, threading, time
libc = ctypes.CDLL(None, use_errno=True)
shared = open(os.__file__, "rb")
kept = []
def call(function, *arguments):
    result = getattr(libc, function)(*arguments)
    if result == -1:
        raise OSError(ctypes.get_errno(), function)
    return result
def mapped():
    libc.mmap.restype = ctypes.c_void_p
    address = libc.mmap(None, ctypes.c_size_t(4096), 1, 1, shared.fileno(), ctypes.c_long(0))
    ctypes.string_at(address, 1)
    return address
def futex(address, operation, value):
    return libc.syscall(202, ctypes.c_void_p(address), operation, value, None, None, 0)
LOCK = "hhqqi4x"
def safely(function):
    try:
        return function()
    except BaseException as error:
        return type(error).__name__
"""
# Each defines `send`, called in one place, and `look`, called before and afterwards in the other.
CHANNELS = {
    "flock": """
def send(): fcntl.flock(shared, fcntl.LOCK_SH)
def look():
    fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(shared, fcntl.LOCK_UN)
    return "free"
""",
    "record lock": """
def send(): fcntl.fcntl(shared, fcntl.F_SETLK, struct.pack(LOCK, fcntl.F_RDLCK, 0, 0, 0, 0))
def look(): return list(fcntl.fcntl(shared, fcntl.F_GETLK, struct.pack(LOCK, fcntl.F_WRLCK, 0, 0, 0, 0)))[:2]
""",
    "lock of an open file": """
def send(): fcntl.fcntl(shared, 37, struct.pack(LOCK, fcntl.F_RDLCK, 0, 0, 0, 0))
def look(): return list(fcntl.fcntl(shared, 36, struct.pack(LOCK, fcntl.F_WRLCK, 0, 0, 0, 0)))[:2]
""",
    "hint of a file's life": """
def send(): fcntl.fcntl(shared, 1036, struct.pack("Q", 4))
def look(): return list(fcntl.fcntl(shared, 1035, struct.pack("Q", 0)))
""",
    "inotify": """
def send(): open(os.__file__).close()
def look():
    if not kept:
        kept.append(call("inotify_init1", 0o4000))
        call("inotify_add_watch", kept[0], os.__file__.encode(), 0x20)
    try:
        return len(os.read(kept[0], 4096))
    except BlockingIOError:
        return 0
""",
    "who waits at a shared address": """
def send():
    address = mapped()
    value = struct.unpack("i", ctypes.string_at(address, 4))[0]
    threading.Thread(target=futex, args=(address, 0, value), daemon=True).start()
    time.sleep(1)
def look(): return max(futex(mapped(), 1, 1), 0)
""",
    "who maps a page": """
def send(): kept.append([mapped() for _ in range(3)])
def look():
    address = mapped()
    parts = open("/proc/self/smaps").read().partition(f"{address:08x}-")[2]
    return parts.partition("\\nPss:")[2].split()[0]
""",
    "open files of the machine": """
def send(): kept.extend(open("/dev/null") for _ in range(200))
def look(): return int(open("/proc/sys/fs/file-nr").read().split()[0]) // 100
""",
    "processes of the machine": """
def send():
    for _ in range(20):
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
def look(): return open("/proc/stat").read().partition("\\nprocesses")[2].split()[0]
""",
    "system information": """
def send():
    for _ in range(20):
        if not os.fork():
            time.sleep(20)
            os._exit(0)
def look():
    kept.append(ctypes.create_string_buffer(200))
    call("sysinfo", kept[-1])
    return struct.unpack_from("H", kept[-1], 80)[0] // 10
""",
    "terminals": """
def send(): kept.append(os.openpty())
def look(): return open("/proc/sys/kernel/pty/nr").read()
""",
    "asynchronous requests": """
def send(): kept.append(libc.syscall(206, 500, ctypes.byref(ctypes.c_ulong(0))))
def look(): return open("/proc/sys/fs/aio-nr").read()
""",
    "times of a device": """
def send(): os.utime("/dev/null")
def look(): return os.stat("/dev/null").st_mtime_ns
""",
    "abstract socket": """
def send():
    kept.append(socket.socket(socket.AF_UNIX))
    kept[0].bind("\\0course-test")
    kept[0].listen()
def look():
    try:
        socket.socket(socket.AF_UNIX).connect("\\0course-test")
        return "answered"
    except ConnectionRefusedError:
        return "nobody"
""",
    "loopback": """
def send(): kept.append(socket.create_server(("127.0.0.1", 47_613)))
def look():
    try:
        socket.create_connection(("127.0.0.1", 47_613), timeout=2).close()
        return "answered"
    except OSError:
        return "nobody"
""",
    "shared memory": """
def send(): kept.append(call("shmget", 0x436F7572, 4096, 0o1666))
def look(): return call("shmget", 0x436F7572, 0, 0)
""",
    "message queue": """
def send(): kept.append(call("mq_open", b"/course-test", 0o102, 0o666, None))
def look(): return call("mq_open", b"/course-test", 0, 0, None) > 0
""",
    "a file in /tmp": """
def send(): open("/tmp/course-test-file", "w").close()
def look(): return os.path.exists("/tmp/course-test-file")
""",
}
CLEAN_UP = """
def clean_up():
    safely(lambda: os.unlink("/tmp/course-test-file"))
    safely(lambda: fcntl.fcntl(shared, 1036, struct.pack("Q", 0)))
    safely(lambda: call("mq_unlink", b"/course-test"))
    safely(lambda: call("shmctl", call("shmget", 0x436F7572, 0, 0), 0, None))
"""
SERVE = """
import json, sys
for line in sys.stdin:
    print(json.dumps(safely(globals()[line.strip()])), flush=True)
"""
Ask = Callable[[str], Any]


@contextlib.contextmanager
def plain_process(code: str) -> Iterator[Ask]:
    """Run code in a process without a sandbox."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMON + code + CLEAN_UP + SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(name: str) -> Any:
        process.stdin.write(f"{name}\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    try:
        yield ask
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def sandboxed(judge: Judge, code: str) -> Iterator[Ask]:
    """Run code in a sandbox."""
    named = "def ask(name): return safely(globals()[name])"
    with Worker(judge.course, judge.isolation, judge.limits) as worker:
        worker.load(notebook(COMMON, code, named), 120)

        def ask(name: str) -> Any:
            request = {"id": "1", "task": "ask", "function": "ask", "arguments": [name]}
            return worker.call(request, 120)["value"]

        yield ask


def is_heard(sender: Ask, receiver: Ask) -> tuple[bool, list[Any]]:
    """Say whether what one does changes what the other sees, and what it saw."""
    before = receiver("look")
    sender("send")
    after = receiver("look")
    return before != after, [before, after]


@pytest.mark.parametrize("code", CHANNELS.values(), ids=CHANNELS)
def test_one_submission_hears_nothing_of_another(judge: Judge, code: str) -> None:
    only_under_bubblewrap(judge, "what a container's engine shares is the engine's")
    with plain_process(code) as sender, plain_process(code) as receiver:
        try:
            heard, seen = is_heard(sender, receiver)
        finally:
            receiver("clean_up")
        if not heard:
            pytest.skip(f"this channel is closed on this machine in any case: {seen}")
    with sandboxed(judge, code) as sender, sandboxed(judge, code) as receiver:
        heard, seen = is_heard(sender, receiver)
    assert not heard, seen
