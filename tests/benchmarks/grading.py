"""The judge: a class of forty mixed submissions, killed half-way, resumed, and compared with an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.classroom.grading.conftest import ROOT, code_cells, notebook
from tests.classroom.grading.test_attacks import FRAMES, WRONG

ASSIGNMENT, SEED, JOBS = "a1", 1, 2
HOSTILE = {
    "hangs in a call": "def descend(*a):\n    while True: pass",
    "hangs in a cell": "while True: pass",
    "forks": "import os\ndef stop_early(*a):\n    while True:\n        try: os.fork()\n        except OSError: pass",
    "forges": f"{FRAMES}\nto_judge({{'ready': [], 'form': '', 'stopped': []}})",
    "ends": "def descend(*a):\n    import os; os._exit(0)",
    "fills memory": "def descend(*a): return [bytearray(10**9) for _ in range(50)]",
}
# The peak of the process itself; what `getrusage` gives takes over that of the process which started it.
RUN = (
    "from course_lib.cli import app; app(standalone_mode=False); "
    "print(*[line for line in open('/proc/self/status') if line.startswith('VmHWM')])"
)


def forty_submissions() -> Iterator[tuple[str, str, bytes]]:
    """Give kind, name and content of each submission."""
    from course_lib.classroom.pipeline.assignments import build_assignment

    solved = code_cells(build_assignment(ROOT, ASSIGNMENT, 0, solutions=True))
    untouched = build_assignment(ROOT, ASSIGNMENT, 0).encode()
    for number in range(18):
        yield "solved", f"{number:02} solved", notebook(*solved, f"# {number}")
    for number in range(8):
        yield "solved in part", f"{number:02} in part", notebook(*solved[: 3 + number])
    for number in range(4):
        yield "untouched", f"{number:02} untouched", untouched
    for number in range(2):
        yield "wrong", f"{number:02} wrong", notebook(WRONG)
    for name, code in HOSTILE.items():
        yield "hostile", name, notebook(*solved, code)
    yield "unreadable", "no json", b"hello"
    yield "unreadable", "200 MB", b"0" * (200 << 20)


def command(submissions: Path, out: Path) -> list[str]:
    """Give the command line of one run."""
    options = ["--assignment", ASSIGNMENT, "--seed", str(SEED), "--jobs", str(JOBS)]
    return [sys.executable, "-c", RUN, "grade", str(submissions), *options, "--out", str(out)]


def killed_at(submissions: Path, out: Path, num_graded: int) -> int:
    """Start a run, kill it once so many submissions are graded, and give how many were."""
    journal = out.with_name(f".{out.name}.journal")
    run = subprocess.Popen(command(submissions, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None and _num_graded(journal) < num_graded:
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    return _num_graded(journal)


def _num_graded(journal: Path) -> int:
    return journal.read_text(encoding="utf-8").count('"label"') if journal.is_file() else 0


def table() -> str:
    """Grade the class twice, once killed half-way, and give the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "submissions")
        folder.mkdir()
        kinds: Counter[str] = Counter()
        for kind, label, content in forty_submissions():
            (folder / f"{label}.ipynb").write_bytes(content)
            kinds[kind] += 1
        whole, resumed = Path(name, "whole.csv"), Path(name, "resumed.csv")
        started = time.perf_counter()
        done = subprocess.run(command(folder, whole), stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - started
        num_killed = killed_at(folder, resumed, kinds.total() // 2)
        subprocess.run(command(folder, resumed), stdout=subprocess.DEVNULL, check=True)
        same = "the same, byte for byte" if whole.read_bytes() == resumed.read_bytes() else "ANOTHER"
    memory = int(done.stdout.split("VmHWM:")[1].split()[0]) / 1024
    (isolation,) = [line for line in done.stdout.splitlines() if line.startswith("isolation: ")]
    mixture = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    total = kinds.total()
    return "\n".join(
        [
            f"| {total} submissions of {ASSIGNMENT}, {JOBS} at a time | |",
            "| --- | --- |",
            f"| all together | {seconds:,.0f} s |",
            f"| one of them | {seconds / total:.1f} s |",
            f"| peak memory of the judge's main process | {memory:,.0f} MiB |",
            f"| gradebook of a run killed after {num_killed} and resumed | {same} |",
            "",
            f"{mixture[0].upper()}{mixture[1:]}; {isolation.split(';')[0].removeprefix('isolation: ')}; "
            f"{os.cpu_count()} cores, load {os.getloadavg()[2]:.1f} of the last quarter of an hour.",
        ]
    )
