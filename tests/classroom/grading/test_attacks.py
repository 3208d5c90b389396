"""The attack suite: no attack gains a mark, harms another submission, leaves a process or stops the run."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from course_lib.classroom.grading.sandbox.isolation import Worker
from course_lib.classroom.grading.worker.channel import encode
from tests.classroom.grading.conftest import Judge, notebook, processes_with

NUM_TASKS = 5
# Wrong answers of the right form: what an attack is to turn into marks.
WRONG = """
import numpy as np
def compare_models(rows, unit): return []
def summarise_gaps(train, heldout): return np.zeros((train.shape[1], 3))
def descend(curvatures, start, learning_rate, rate, num_steps):
    return {"points": np.zeros((num_steps + 1, len(start))), "overshoot": None}
def stop_early(losses, patience, min_delta): return 0, 0
def choose_degree(x_train, y_train, x_validation, y_validation, x_test):
    return {"degree": 0, "validation_errors": {0: 1.0}, "predictions": 0 * x_test}
"""
FRAMES = """
import inspect, json, os, socket, stat, struct
def frame(message):
    data = json.dumps(message).encode()
    return struct.pack(">I", len(data)) + data
def to_judge(message):
    for descriptor in range(3, 64):
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
                os.write(descriptor, frame(message))
        except OSError:
            pass
def question():
    for info in inspect.stack():
        if "request" in info.frame.f_locals:
            return info.frame.f_locals["request"]
"""


PATCHES = {
    "json": "import json\njson.dumps = json.loads = lambda *a, **k: '{}'",
    "stdout": "import sys, io\nsys.stdout = sys.stderr = io.StringIO()\nprint('passed 20/20')",
    "print all marks": 'print(\'{"verdict": "passed", "marks": 20}\')',
    "builtins": "import builtins\nbuiltins.all = builtins.any = lambda *a: True\nbuiltins.abs = lambda x: 0",
    "numpy": "np.allclose = np.array_equal = np.isclose = lambda *a, **k: True\nnp.ndarray.__eq__",
    "the worker's encoding": (
        "import sys\nfor name in list(sys.modules):\n"
        "    if 'grading' in name:\n"
        "        sys.modules[name].encode = lambda value, depth=0: {'float': 'nan'}"
    ),
    "every comparison it can find": (
        "import gc, types\nfor f in gc.get_objects():\n"
        "    if isinstance(f, types.FunctionType) and f.__name__ in ('compare', 'grade', '_compared', 'isclose'):\n"
        "        f.__code__ = (lambda *a, **k: None).__code__"
    ),
    "the judge's modules": (
        "try:\n    import course_lib.classroom.grading.judging as j\n    j.compare = lambda *a: None\n"
        "except ImportError: pass\n"
        "try:\n    import course_lib.classroom.checking.comparing as c\n    c.compare = lambda *a, **k: None\n"
        "except ImportError: pass"
    ),
}


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)
def test_patching_what_marks_earns_nothing(judge: Judge, patch: str) -> None:
    report = judge.grade(notebook(WRONG, patch))
    assert report.marks == 0
    assert {result.verdict for result in report.results} <= {"failed", "error"}


def test_patched_torch_earns_nothing(judge: Judge) -> None:
    patch = "import torch\ntorch.equal = torch.allclose = lambda *a, **k: True"
    report = judge.only("compare_models", memory_mb=8192).grade(notebook(WRONG, patch))
    assert [result.verdict for result in report.results] == ["failed"]


FORGERIES = {
    "while the cells run": "to_judge({'ready': [], 'form': '', 'stopped': [], 'cut': False})",
    "a stuck cell that is none": "to_judge({'stuck': 'Marked by hand: 20 of 20.'})",
    "a verdict while the cells run": "to_judge({'verdict': 'passed', 'marks': 20})",
    "a problem in the judge's voice": "to_judge({'unreadable': 'Marked by hand: 20 of 20 marks.'})",
    "a form that is none": "to_judge({'ready': [], 'form': 'Marked by hand: 20 of 20.', 'stopped': [], 'cut': False})",
    "no frame at all": "to_judge = None\nfor d in range(3, 64):\n    try: os.write(d, b'passed' * 100)\n"
    "    except OSError: pass",
    "a frame that never ends": "for d in range(3, 64):\n    try: os.write(d, struct.pack('>I', 2**32 - 1))\n"
    "    except OSError: pass",
    "open files": "for d in range(3, 64):\n"
    "    try: socket.send_fds(socket.socket(fileno=os.dup(d)), [b'files'], [0] * 9)\n    except OSError: pass",
    "deep nesting": "to_judge([])\nfor d in range(3, 64):\n    data = b'[' * 100000\n"
    "    try: os.write(d, struct.pack('>I', len(data)) + data)\n    except OSError: pass",
}


@pytest.mark.parametrize("code", FORGERIES.values(), ids=FORGERIES)
def test_answers_printed_in_the_channels_format_are_tampering(judge: Judge, code: str) -> None:
    assert judge.verdicts(notebook(WRONG, FRAMES, code)) == ["tampered"] * NUM_TASKS


@pytest.mark.parametrize(
    "message",
    [
        "{'id': question()['id'], 'status': 'passed'}",
        "{'id': question()['id'], 'verdict': 'passed', 'marks': 3, 'passed': True}",
        "{'id': question()['id'], 'status': ['value'], 'value': 1}",
        "{'id': question()['id'], 'status': 'value', 'value': {'pickle': 'gASVBQ=='}}",
        "{'id': question()['id'], 'status': 'value', 'value': {'array': {'dtype': 'O', 'shape': [1], 'data': ''}}}",
        "{'id': 'another', 'status': 'value', 'value': []}",
    ],
)
def test_a_verdict_sent_by_the_learner_is_tampering_and_the_rest_go_on(
    judge: Judge, solved: list[str], message: str
) -> None:
    forged = f"def compare_models(rows, unit):\n    to_judge({message})\n    return []"
    assert judge.verdicts(notebook(*solved, FRAMES, forged)) == ["tampered", *["passed"] * (NUM_TASKS - 1)]


# The learner's code takes the worker's place: its own answer is never sent.
TAKEOVER = """
import sys
worker = sys.modules["course_lib.classroom.grading.worker.answering"]
def send(channel, data):
    answer = json.loads(data)
    channel.sendall(forged(answer) if "id" in answer else frame(answer))
worker.send_frame = send
"""
TAKEOVERS = {
    "a verdict": 'frame({"id": answer["id"], "status": "passed", "marks": 3, "verdict": "passed"})',
    "a value and a verdict": 'frame({**answer, "status": "passed", "passed": True, "marks": 20})',
    "another question": 'frame({**answer, "id": "0" * 32})',
    "no question": 'frame({"status": "value", "value": []})',
    "two answers": "frame(answer) + frame(answer)",
    "a number": "frame(20)",
    "too long": 'struct.pack(">I", 2**31) + b"x" * 1000',
    "an error that is none": 'frame({**answer, "status": "error", "message": {"marks": 20}})',
    "an object": 'frame({**answer, "value": {"object": ["os", "system", "true"]}})',
}


@pytest.mark.parametrize("code", TAKEOVERS.values(), ids=TAKEOVERS)
def test_a_worker_taken_over_is_tampering(judge: Judge, code: str) -> None:
    forged = f"def forged(answer): return {code}"
    tasks = judge.only("compare_models", "descend")
    assert tasks.verdicts(notebook(WRONG, FRAMES, forged, TAKEOVER)) == ["tampered", "tampered"]


# Small on the way, large or slow in the process that reads it.
SWELLING = {
    "keys of one hash": "{'dict': [[k * (2**61 - 1), 0] for k in range(30_000)]}",
    "many small lists": "eval('[' + ','.join(['[' * 15 + ']' * 15] * 30_000) + ']')",
}


@pytest.mark.parametrize("value", SWELLING.values(), ids=SWELLING)
def test_an_answer_that_swells_in_the_judge_is_tampering(judge: Judge, value: str) -> None:
    forged = f"def forged(answer): return frame({{**answer, 'status': 'value', 'value': {value}}})"
    tasks = judge.only("compare_models", "stop_early")
    tracemalloc.start()
    try:
        report = tasks.grade(notebook(WRONG, FRAMES, forged, TAKEOVER))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Refused before it is decoded, which for keys of one hash takes seconds.
    assert [result.verdict for result in report.results] == ["tampered", "tampered"]
    assert peak < 120 << 20


def test_an_honest_answer_of_too_many_values_is_told_so(judge: Judge) -> None:
    many = "def compare_models(rows, unit): return [0] * 30_000"
    (result,) = judge.only("compare_models").grade(notebook(WRONG, many)).results
    assert (result.verdict, "more than 20,000 values" in result.message) == ("error", True)


def test_a_worker_taken_over_that_claims_values_is_judged_by_them(judge: Judge) -> None:
    forged = "def forged(answer): return frame({'id': answer['id'], 'status': 'value', 'value': []})"
    report = judge.grade(notebook(WRONG, FRAMES, forged, TAKEOVER))
    assert {result.verdict for result in report.results} == {"failed"}
    assert report.marks == 0


def test_a_right_value_sent_by_hand_is_a_value_and_nothing_more(judge: Judge) -> None:
    """What counts is the value: a wrong one sent by hand is as wrong as one returned."""
    by_hand = """
def compare_models(rows, unit):
    to_judge({"id": question()["id"], "status": "value", "value": []})
    import time; time.sleep(100)
"""
    report = judge.only("compare_models", call_seconds=3).grade(notebook(WRONG, FRAMES, by_hand))
    assert report.marks == 0


EXITS = {
    "os._exit": "os._exit(0)",
    "SIGKILL to itself": "os.kill(os.getpid(), 9)",
    "SIGKILL to all": "os.kill(-1, 9); os.kill(os.getpid(), 9)",
    "a crash": "import ctypes; ctypes.string_at(0)",
    "closing the channel": "os.closerange(3, 64); import time; time.sleep(100)",
}


@pytest.mark.parametrize("code", EXITS.values(), ids=EXITS)
def test_a_worker_that_ends_is_an_error_of_that_task_alone(
    judge: Judge, solved: list[str], code: str
) -> None:
    if "closerange" in code:
        only_under_bubblewrap(
            judge, "a container's engine keeps the channel open, so the judge waits its time"
        )
    ending = f"def compare_models(rows, unit):\n    import os\n    {code}"
    assert judge.verdicts(notebook(*solved, ending)) == ["error", *["passed"] * (NUM_TASKS - 1)]


def test_ending_while_the_cells_run_is_an_error_of_all(judge: Judge, solved: list[str]) -> None:
    report = judge.grade(notebook(*solved, "import os; os._exit(0)"))
    assert [result.verdict for result in report.results] == ["error"] * NUM_TASKS
    assert "While the notebook's cells ran" in report.results[0].message


@pytest.mark.parametrize(
    "code", ["raise SystemExit(0)", "raise KeyboardInterrupt", "import sys; sys.exit('20/20')"]
)
def test_sys_exit_is_an_error_of_the_call(judge: Judge, code: str) -> None:
    ending = f"def compare_models(rows, unit):\n    {code}"
    assert judge.only("compare_models").verdicts(notebook(WRONG, ending)) == ["error"]
    assert judge.only("compare_models").verdicts(notebook(WRONG, code)) == ["failed"]


def test_killing_the_parent_does_not_reach_the_judge(judge: Judge, solved: list[str]) -> None:
    killing = """
import os, signal
def kill_everyone():
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP):
        for pid in (os.getppid(), 1, *range(3, 400)):
            try: os.kill(pid, number)
            except OSError: pass
kill_everyone()
"""
    # a container's first process can be asked to end, and then it ends everything in it
    verdict = "error" if judge.isolation.kind == "container" else "passed"
    assert judge.verdicts(notebook(*solved, killing)) == [verdict] * NUM_TASKS


def test_nothing_goes_on_after_the_answer(judge: Judge, solved: list[str]) -> None:
    token = f"token{secrets.token_hex(8)}"
    lingering = f"""
import os, subprocess, sys, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", "{token}"], start_new_session=True)
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(1000)", "{token}"])
    os._exit(0)
# Until the other one runs its program, it holds this end.
os.close(writing)
assert os.read(reading, 1) == b""
"""
    assert judge.verdicts(notebook(*solved, lingering)) == ["passed"] * NUM_TASKS
    assert processes_with(token) == []


HANGS = {
    "an endless loop": "while True: pass",
    "sleep": "import time; time.sleep(1000)",
    "a signal handler against its end": "import signal\n    for n in (2, 15): signal.signal(n, signal.SIG_IGN)\n"
    "    while True: pass",
    "an endless comprehension": "return [x for x in iter(int, 1) if x]",
    "a lock": "import threading; l = threading.Lock(); l.acquire(); l.acquire()",
    "it stops itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "behind its children, who take the core": "import os\n    for _ in range(6):\n        if os.fork() == 0: break\n"
    "    while True: pass",
    "behind children that nobody counts": "import os, signal, time\n    signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    "    while True:\n        try: pid = os.fork()\n        except OSError: continue\n"
    "        if pid == 0:\n            while time.process_time() < 0.05: pass\n            os._exit(0)",
    "at the end of the queue": "import os\n    os.nice(19)\n"
    "    try: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n    except OSError: pass\n"
    "    while True: pass",
}


@pytest.mark.parametrize("code", HANGS.values(), ids=HANGS)
def test_hanging_is_a_timeout(judge: Judge, code: str) -> None:
    hanging = f"def compare_models(rows, unit):\n    {code}"
    hasty = judge.only("compare_models", "summarise_gaps", call_seconds=2)
    assert hasty.verdicts(notebook(WRONG, hanging)) == ["timeout", "failed"]


CELLS_THAT_HANG = {
    "a loop": "while True: pass",
    "a loop that catches exceptions": "while True:\n    try:\n        while True: pass\n    except Exception: continue",
    "a loop that catches everything": "while True:\n    try: sum(range(1000))\n    except: continue",
    "one that waits once more": "import time\ntry: time.sleep(99)\nexcept BaseException: time.sleep(99)",
    "sleep": "import time; time.sleep(1000)",
}


@pytest.mark.parametrize("code", CELLS_THAT_HANG.values(), ids=CELLS_THAT_HANG)
def test_a_hanging_cell_costs_nothing_but_itself(judge: Judge, solved: list[str], code: str) -> None:
    hasty = judge.only("compare_models", "stop_early", cell_seconds=3)
    report = hasty.grade(notebook(*solved, code))
    assert [result.verdict for result in report.results] == ["passed", "passed"]
    assert report.cell_errors == (
        f"code cell {len(solved) + 1}: it ran for more than 3 seconds and was stopped.",
    )


def test_an_alarm_that_a_cell_sets_stops_no_later_call(judge: Judge, solved: list[str]) -> None:
    alarm = "import signal; signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)"
    assert judge.only("compare_models").verdicts(notebook(*solved, alarm)) == ["passed"]


def test_hanging_functions_with_hanging_examples_leave_time_for_the_others(
    judge: Judge, solved: list[str]
) -> None:
    hanging = "def {0}(*a):\n    while True: pass"
    cells = [hanging.format("compare_models"), "compare_models()", hanging.format("descend"), "descend()"]
    hasty = judge.only(
        "compare_models", "descend", "stop_early", call_seconds=3, cell_seconds=8, total_seconds=40
    )
    # 16 seconds for the examples, once, and 3 for each call.
    report = hasty.grade(notebook(*solved, *cells))
    assert [result.verdict for result in report.results] == ["timeout", "timeout", "passed"]
    assert len(report.cell_errors) == 2


# What tells the worker how long it waited for a core is a file; this one says that it always did.
FALSE_CLOCK = """
import os
with open("clock", "w") as file: file.write("0 9000000000000000000 0")
fake = os.open("clock", os.O_RDONLY)
for descriptor in range(3, fake):
    try:
        if len(os.pread(descriptor, 100, 0).split()) == 3: os.dup2(fake, descriptor)
    except OSError: pass
"""


@pytest.mark.parametrize(
    "code",
    [
        "import signal; signal.signal(14, signal.SIG_IGN)\nwhile True: pass",
        "sum(iter(int, 1))",
        f"{FALSE_CLOCK}\nimport time; time.sleep(99)",
    ],
    ids=["ignores the alarm", "never comes back to Python", "a clock of its own"],
)
def test_cells_that_do_not_let_themselves_be_stopped_are_a_timeout(judge: Judge, code: str) -> None:
    hasty = judge.only("compare_models", "stop_early", cell_seconds=1, load_seconds=5)
    report = hasty.grade(notebook(code))
    assert [result.verdict for result in report.results] == ["timeout", "timeout"]


def test_cells_that_are_said_to_hang_do_not_load_the_notebook_for_ever(judge: Judge) -> None:
    again = "import os, time\nto_judge({'stuck': int(time.time() * 1000)})\nos._exit(0)"
    started = time.monotonic()
    assert judge.verdicts(notebook(WRONG, FRAMES, again)) == ["tampered"] * NUM_TASKS
    assert time.monotonic() - started < judge.limits.total_seconds


def test_hanging_in_every_task_ends_with_the_total(judge: Judge) -> None:
    names = ["compare_models", "summarise_gaps", "descend", "stop_early", "choose_degree"]
    hanging = "\n".join(f"def {name}(*a):\n    while True: pass" for name in names)
    hasty = judge.only(*names, call_seconds=2, total_seconds=3)
    report = hasty.grade(notebook(hanging))
    assert [result.verdict for result in report.results] == ["timeout"] * NUM_TASKS
    assert "together" in report.results[-1].message


GLUTTONY = {
    "fork bomb": "import os\n    while True:\n        try: os.fork()\n        except OSError: pass",
    "threads": "import threading, time\n    while True:\n"
    "        threading.Thread(target=time.sleep, args=(99,)).start()",
    "50 GB": "return [bytearray(10**9) for _ in range(50)]",
    "50 GB of zeros": "return np.zeros((50, 10**9), dtype=np.uint8)",
    "memory of many processes": "import os\n    for _ in range(8):\n        if os.fork() == 0: break\n"
    "    kept = b'x' * (200 << 20)\n    while True: pass",
    "a large file": "open('large', 'wb').write(b'x' * 10**8)",
    "many large files": "for i in range(10_000): open(f'file{i}', 'wb').write(b'x' * 10**7)",
    "a million files": "import time\n    for i in range(10**6): open(f'/tmp/file{i}', 'w').close()\n"
    "    time.sleep(1000)",
    "open files": "kept = [open('/dev/null') for _ in range(100_000)]",
}


@pytest.mark.parametrize("name", ["fork bomb", "50 GB"])
def test_taking_too_much_is_an_error_or_a_timeout(judge: Judge, name: str) -> None:
    greedy = f"def compare_models(rows, unit):\n    {GLUTTONY[name]}"
    report = judge.only("compare_models", call_seconds=8, memory_mb=1024).grade(notebook(WRONG, greedy))
    assert report.results[0].verdict in ("error", "timeout")
    assert report.marks == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("threads", "can't start new thread"),
        ("50 GB of zeros", "MemoryError"),
        ("a large file", "File too large"),
        ("many large files", "No space left"),
        ("open files", "Too many open files"),
        ("memory of many processes", "more than 1024 MB"),
        ("a million files", "more than 20000 files"),
    ],
)
def test_what_it_held_too_much_of_is_named(judge: Judge, name: str, message: str) -> None:
    if name in ("memory of many processes", "a million files"):
        only_under_bubblewrap(judge, "a container's engine limits them")
    greedy = f"def compare_models(rows, unit):\n    {GLUTTONY[name]}"
    modest = judge.only("compare_models", memory_mb=1024)
    (result,) = modest.grade(notebook(WRONG, greedy)).results
    assert (result.verdict, message in result.message) == ("error", True), result.message


def test_forks_are_counted(judge: Judge) -> None:
    look = """
import os, time
def look():
    forked = 0
    try:
        while forked < 500:
            if os.fork() == 0:
                time.sleep(1000)
            forked += 1
    except OSError as error:
        return [forked, error.errno]
"""
    forked, number = inside(judge, look)  # type: ignore[misc]
    assert (forked <= judge.limits.processes, number) == (True, errno.EAGAIN)


def test_an_answer_that_trickles_in_hides_no_memory(judge: Judge) -> None:
    only_under_bubblewrap(judge, "a container's engine limits the memory")
    trickle = """
import os, time
worker = __import__("sys").modules["course_lib.classroom.grading.worker.answering"]
def slowly(channel, data):
    if b'"id"' in data:
        for _ in range(4):
            if os.fork() == 0:
                kept = bytearray(b"x" * (200 << 20))
                time.sleep(1000)
        channel.sendall((100_000).to_bytes(4, "big"))
        for _ in range(100_000):
            channel.sendall(b" ")
            time.sleep(0.03)
    channel.sendall(len(data).to_bytes(4, "big") + data)
worker.send_frame = slowly
"""
    greedy = judge.only("compare_models", call_seconds=30, memory_mb=512)
    (result,) = greedy.grade(notebook(WRONG, trickle)).results
    assert (result.verdict, result.message) == ("error", "It held more than 512 MB of memory.")


def test_loading_again_and_again_ends_with_the_total(judge: Judge) -> None:
    names = ["compare_models", "summarise_gaps", "descend", "stop_early"]
    slow = "import time; time.sleep(2)\n" + "\n".join(f"def {name}(*a): time.sleep(99)" for name in names)
    hasty = judge.only(*names, call_seconds=2, total_seconds=5)
    started = time.monotonic()
    assert hasty.verdicts(notebook(slow)) == ["timeout"] * 4
    # Of a busy machine are the seconds that ending a worker takes.
    assert time.monotonic() - started < 5 + 15


REFUSED_CALLS = """
import ctypes, errno, os, platform
call = ctypes.CDLL(None, use_errno=True).syscall
NUMBERS = {"x86_64": {"shmget": (29, 0, 1 << 20, 0o1666), "memfd_create": (319, b"m", 0), "keyctl": (250, 0, -3, 0),
                      "add_key": (248, b"user", b"k", b"v", 1, -3), "unshare": (272, 0x10000000),
                      "mount": (165, b"t", b"/tmp", b"tmpfs", 0, 0), "clone": (56, 0x10000000 | 17, 0, 0, 0, 0),
                      "io_uring_setup": (425, 1, 0), "ptrace": (101, 0, 0, 0, 0), "x32": (0x40000000 + 39,)},
           "aarch64": {"shmget": (194, 0, 1 << 20, 0o1666), "memfd_create": (279, b"m", 0), "keyctl": (219, 0, -3, 0),
                       "add_key": (217, b"user", b"k", b"v", 1, -3), "unshare": (97, 0x10000000),
                       "mount": (40, b"t", b"/tmp", b"tmpfs", 0, 0), "clone": (220, 0x10000000 | 17, 0, 0, 0, 0)}}
def refused(number, *arguments):
    arguments = [each if isinstance(each, bytes) else ctypes.c_long(each) for each in arguments]
    return call(ctypes.c_long(number), *arguments) == -1 and ctypes.get_errno() == errno.EPERM
def look():
    return [name for name, parts in NUMBERS[platform.machine()].items() if not refused(*parts)]
"""


def test_calls_that_escape_the_limits_are_refused(judge: Judge) -> None:
    only_under_bubblewrap(judge, "a container's engine has a filter of its own")
    assert inside(judge, REFUSED_CALLS) == []


def test_no_core_can_be_chosen(judge: Judge) -> None:
    only_under_bubblewrap(judge, "a container's engine has a filter of its own")
    look = """
import os
def look():
    try: os.sched_setaffinity(0, range(os.cpu_count()))
    except PermissionError: return "refused"
"""
    assert inside(judge, look) == "refused"


def only_under_bubblewrap(judge: Judge, reason: str) -> None:
    """Skip where a container stands in for bubblewrap."""
    if judge.isolation.kind != "bubblewrap":
        pytest.skip(reason)


def inside(judge: Judge, code: str, *arguments: object) -> object:
    """Run `look` of some code in a sandbox and give what it returns."""
    with Worker(judge.course, judge.isolation, judge.limits) as worker:
        assert worker.load(notebook(code), 120) == {"ready": [], "form": "", "stopped": [], "cut": False}
        encoded = [encode(argument) for argument in arguments]
        request: dict[str, object] = {"id": "1", "task": "look", "function": "look", "arguments": encoded}
        reply = worker.call(request, 60)
    assert reply["status"] == "value", reply
    return reply["value"]


def test_the_judges_files_are_not_there(judge: Judge, tmp_path: Path) -> None:
    secret = tmp_path / "gradebook.csv"
    secret.write_text("a mark")
    look = """
import os
def look(paths):
    seen = [path for path in paths if os.path.lexists(path)]
    for folder, folders, files in os.walk("/", onerror=None):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/usr")]
        seen += [os.path.join(folder, name) for name in files if name.startswith("assignment_")
                 or name in ("judging.py", "expecting.py", "gradebook.csv", "lesson01.py", "a1.ipynb", "a1.py")]
    return seen
"""
    # the checkout's folder itself is there where the virtual environment lies in it, and nothing else of it
    repository = Path(__file__).parents[3]
    parts = [repository / name for name in ("README.md", ".git", "course_lib", "data", "notebooks", "tests")]
    hidden = [secret, tmp_path, *parts, judge.course, Path("/root/.ssh")]
    # a container's image has some of its own
    if judge.isolation.kind == "bubblewrap":
        hidden += [Path("/etc/passwd"), Path("/sys"), Path("/run"), Path("/var")]
    assert inside(judge, look, [str(path) for path in hidden]) == []


def test_references_cannot_be_imported(judge: Judge) -> None:
    look = """
import importlib, sys
def look(names):
    found = []
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        found.append(name)
    return found
"""
    names = ["grading.judging", "grading.assignment_a1", "grading.expecting", "exercises", "pipeline", "cli"]
    assert inside(judge, look, [f"course_lib.{name}" for name in names]) == []
    assert inside(judge, look, ["course_lib.complexity", "course_lib.statistics"]) == [
        "course_lib.complexity",
        "course_lib.statistics",
    ]


def test_what_a_task_asks_to_write_is_not_in_the_course(judge: Judge) -> None:
    look = """
import course_lib.complexity.descent as descent
def look():
    text = open(descent.__file__).read()
    try:
        descent.gradient_descent(lambda x: x, 1.0, 0.1, 2)
    except ImportError as error:
        return [str(error), "learning_rate * np.asarray" in text, descent.largest_stable_step([1.0, 10.0])]
"""
    message, is_in_text, stable = inside(judge, look)  # type: ignore[misc]
    assert "asks you to write" in message
    assert (is_in_text, stable) == (False, 0.2)


def test_the_environment_is_empty_and_the_user_its_own(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_INSTRUCTOR", "42")
    look = """
import ctypes, os
libc = ctypes.CDLL(None)
def capabilities():
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    return list(data)
def look():
    no_new_privileges = libc.prctl(39, 0, 0, 0, 0)
    return ["SECRET" in str(dict(os.environ)), os.getuid(), capabilities(), no_new_privileges,
            os.listdir(os.environ["HOME"])]
"""
    has_secret, user, capabilities, no_new_privileges, home = inside(judge, look)  # type: ignore[misc]
    assert not has_secret
    assert user >= 60_600
    # effective and permitted, in two halves each; what could be inherited by a program with rights is no right
    assert [capabilities[place] for place in (0, 1, 3, 4)] == [0] * 4
    assert no_new_privileges == 1
    assert home == []


def test_nothing_is_told_of_processes_and_of_the_machine(judge: Judge) -> None:
    only_under_bubblewrap(judge, "a container's engine decides what it shows")
    look = (
        "import os\ndef look(): return [p for p in ('/proc/self', '/proc/stat', '/sys') if os.path.exists(p)]"
    )
    assert inside(judge, look) == []


def test_nothing_but_the_channel_is_open(judge: Judge) -> None:
    """Neither what bubblewrap read nor what the judge has open; what tells the time is read-only."""
    look = """
import fcntl, os, stat
def look():
    found = []
    for descriptor in range(256):
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            continue
        writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        kind = "socket" if stat.S_ISSOCK(mode) else "device" if stat.S_ISCHR(mode) else "other"
        found.append([kind, writes, "" if kind != "other" else os.pread(descriptor, 200, 0).decode()])
    return found
"""
    only_under_bubblewrap(judge, "a container's standard input and output are its channel")
    *devices, clock, channel = sorted(inside(judge, look))  # type: ignore[call-overload]
    assert devices == [["device", True, ""]] * 3
    assert channel == ["socket", True, ""]
    assert clock[:2] == ["other", False]
    assert [number.isdigit() for number in clock[2].split()] == [True] * 3


def test_there_is_no_network(judge: Judge) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(1)
        look = """
import socket
def look(port):
    results = []
    for address in (("127.0.0.1", port), ("192.0.2.1", 80)):
        try:
            socket.create_connection(address, timeout=2)
            results.append("connected")
        except OSError as error:
            results.append(type(error).__name__)
    return results
"""
        assert "connected" not in inside(judge, look, server.getsockname()[1])  # type: ignore[operator]
        with pytest.raises(TimeoutError):
            server.accept()


def test_it_writes_nowhere_but_in_its_home(judge: Judge, tmp_path: Path) -> None:
    name = f"written-{secrets.token_hex(8)}"
    look = """
import os
def look(folders, name):
    written = []
    for folder in folders:
        try:
            open(os.path.join(folder, name), "w").write("x")
            written.append(folder)
        except OSError:
            pass
    return written
"""
    folders = [
        "/",
        "/home",
        "/usr",
        "/course/course_lib",
        "/dev",
        "/dev/shm",
        "/var/tmp",
        "/etc",
        str(tmp_path),
    ]
    folders += [os.path.dirname(os.__file__), str(judge.course)]
    assert inside(judge, look, [*folders, "/home/learner", "/tmp"], name) == ["/home/learner", "/tmp"]
    for folder in [*folders, "/tmp"]:
        assert not Path(folder, name).exists()
    # The next worker finds nothing of it.
    found = inside(judge, "import os\ndef look(): return os.listdir('/tmp') + os.listdir('/home/learner')")
    # Where the environment lies below /tmp, the folder on the way to it is there.
    environment = Path(sys.prefix)
    assert found == ([environment.parts[2]] if environment.is_relative_to("/tmp") else [])


HOSTILE = {
    "__eq__": "def __eq__(self, other): return True\n    __hash__ = None",
    "__repr__": "def __repr__(self): raise SystemExit",
    "__reduce__": "def __reduce__(self): import os; return os.system, ('touch /tmp/gotcha',)",
    "__array__": "def __array__(self, *a, **k): import numpy; return numpy.zeros(3)",
    "__class__": "__class__ = property(lambda self: float)",
    "__getattr__": "def __getattribute__(self, name): raise SystemExit",
    "__float__": "def __float__(self): return 50.0",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_objects_are_not_plain_data(judge: Judge, body: str) -> None:
    """By themselves, in a list, and as a dictionary's key."""
    forms = {
        "compare_models": "Hostile()",
        "descend": "[('model', Hostile())]",
        "stop_early": "{Hostile: 1}",
    }
    answers = [f"def {name}(*arguments): return {form}" for name, form in forms.items()]
    code = "\n".join([f"class Hostile:\n    {body}", *answers])
    results = judge.only(*forms).grade(notebook(WRONG, code)).results
    assert [result.verdict for result in results] == ["error"] * len(forms)
    assert all("cannot be marked" in result.message for result in results)


def test_hostile_subclasses_do_not_speak_for_themselves(judge: Judge) -> None:
    code = """
class Number(float):
    def __eq__(self, other): return True
    def __sub__(self, other): return 0.0
class Right(np.ndarray):
    def __eq__(self, other): return np.ones(self.shape, dtype=bool)
def compare_models(rows, unit): return [("AlexNet", Number(1.0))]
def summarise_gaps(train, heldout): return np.zeros((train.shape[1], 3)).view(Right)
"""
    assert judge.only("compare_models", "summarise_gaps").verdicts(notebook(WRONG, code)) == [
        "error",
        "failed",
    ]


def test_hard_coded_answers_fail(judge: Judge, solved: list[str]) -> None:
    """A function that answers well only on inputs it has seen: those of the notebook and of the deck."""
    seen = """
right = compare_models
def compare_models(rows, unit):
    names = {row["model"] for row in rows}
    return right(rows, unit) if names <= {"AlexNet", "BERT", "DenseNet-121", "BERT, pre-training"} else []
"""
    report = judge.only("compare_models").grade(notebook(*solved, seen))
    assert report.results[0].verdict == "failed"
    assert "Right on 3 of 8" in report.results[0].message


RETURNS = {
    "NaN": ("np.full((train.shape[1], 3), np.nan)", "NaN"),
    "infinite": ("np.full((train.shape[1], 3), np.inf)", "got inf"),
    "wrong shape": ("np.zeros((3, 50))", "shape"),
    "no array": ("'passed'", "got text"),
    "nothing": ("None", "None"),
    "wrong dtype": ("np.zeros((train.shape[1], 3), dtype=complex)", "dtype complex128"),
    "objects": ("np.array([[object()] * 3] * train.shape[1])", "of type object"),
    "whole numbers": ("np.zeros((train.shape[1], 3), dtype=np.int8)", "whole numbers"),
    "huge": ("np.zeros((10**6, 3))", "bytes"),
    "a huge text": ("'x' * 10**7", "bytes"),
    "a huge number": ("10**5000", "300 digits"),
    "itself": ("(lambda x: x.append(x) or x)([])", "deep"),
    "the function": ("summarise_gaps", "type function"),
    "no form for text": ("'\\ud800'", "got text"),
}


@pytest.mark.parametrize(("value", "message"), RETURNS.values(), ids=RETURNS)
def test_strange_values_are_named(judge: Judge, value: str, message: str) -> None:
    code = f"def summarise_gaps(train, heldout): return {value}"
    (result,) = judge.only("summarise_gaps").grade(notebook(WRONG, code)).results
    assert result.verdict in ("failed", "error")
    assert message in result.message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{'degree': True, 'validation_errors': [1], 'predictions': 'all right'}", "each once"),
        (
            "{'degree': 3, 'validation_errors': {i: -1.0 for i in range(9)}, 'predictions': x_test}",
            "✗ test error",
        ),
        (
            "{'degree': 3, 'validation_errors': {i: float('nan') for i in range(9)}, 'predictions': 1}",
            "✗ valid",
        ),
        ("None", "returns no dictionary"),
        ("[]", "returns no dictionary"),
    ],
)
def test_the_open_task_measures_what_is_there(judge: Judge, value: str, message: str) -> None:
    code = f"def choose_degree(x_train, y_train, x_validation, y_validation, x_test): return {value}"
    (result,) = judge.only("choose_degree").grade(notebook(WRONG, code)).results
    assert result.verdict == "failed"
    assert result.marks <= 1
    assert message in result.message
