"""Small random faults in the library: the share that the room's own tests notice.

Each mutant is one changed operator, constant, condition or call (`_mutations.py`). It is made in a copy of the
checkout and tried with the room's tests that run its line, the quickest first, until one fails. A run that was
stopped goes on; survivors are listed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.reliability._mutations import Mutation, mutate, mutations

CHECKOUT = Path(__file__).resolve().parents[2]
# What a copy of the checkout needs for its tests.
COPIED = ("course_lib", "tests", "data", "notebooks", "docs", "conftest.py", "pyproject.toml", "README.md")
# Each room: the files whose faults are made, and the tests that are to notice them.
ROOMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "smart": (("course_lib/smart",), ("tests/smart", "course_lib/smart")),
    "icl": (("course_lib/icl",), ("tests/icl", "course_lib/icl")),
    "ppt": (("course_lib/ppt",), ("tests/ppt", "course_lib/ppt")),
    "statistics": (
        ("course_lib/statistics.py", "course_lib/checks.py"),
        (
            "tests/test_statistics.py",
            "tests/test_checks.py",
            "course_lib/statistics.py",
            "course_lib/checks.py",
        ),
    ),
    "judge": (
        tuple(
            f"course_lib/grading/{name}.py"
            for name in ("judging", "worker", "channel", "expecting", "journal", "gradebook", "limits")
        ),
        ("tests/grading",),
    ),
}
# A mutant that makes its tests this many times slower has been noticed, too.
SLOWER, GRACE_SECONDS = 6, 60
_RUNNER = Path(__file__).with_name("_run_tests.py")


@dataclass(frozen=True)
class Mutant:
    """A fault in one file of a room."""

    room: str
    file: str
    mutation: Mutation

    @property
    def key(self) -> str:
        """What tells it from every other, and from the same place of another version of the file."""
        return f"{self.file}:{self.mutation.line}:{self.mutation.index}: {self.mutation.says}"


@dataclass
class Baseline:
    """What the room's tests do without a fault.

    Args:
        seconds: the time of each test that passes, by its id.
        tests_of: ids of the tests that run a line, by "file:line"; lines that only an import runs are not in it.
    """

    seconds: dict[str, float]
    tests_of: dict[str, list[str]]

    def tests(self, mutant: Mutant) -> list[str]:
        """Return the tests that may notice a mutant, the quickest first; all where no test is known to run it."""
        ids = self.tests_of.get(f"{mutant.file}:{mutant.mutation.line}") or list(self.seconds)
        return sorted(set(ids), key=lambda one: self.seconds.get(one, 0.0))


def run(argv: list[str]) -> int:
    """Run the figure from the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability mutants", description=__doc__)
    parser.add_argument("rooms", nargs="*", choices=[*ROOMS, []], help="all by default")
    parser.add_argument("--number", type=int, default=40, help="mutants of each room")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, default=CHECKOUT / "build" / "mutants", help="keeps what is done"
    )
    options = parser.parse_args(argv)
    survivors, total = [], 0
    for room in options.rooms or ROOMS:
        results = try_room(room, options.number, options.seed, options.workers, options.folder)
        alive = [result for result in results if not result["noticed"]]
        print(f"{room}: {len(results) - len(alive)} of {len(results)} noticed")
        print("".join(f"  alive: {result['key']}\n" for result in alive), end="", flush=True)
        survivors += alive
        total += len(results)
    noticed = total - len(survivors)
    print(f"together: {noticed} of {total} noticed, {noticed / total:.1%}")
    return int(noticed / total < 0.95)


def try_room(room: str, number: int, seed: int, workers: int, folder: Path) -> list[dict[str, Any]]:
    """Make a room's mutants and try each.

    Args:
        room: a key of `ROOMS`.
        number: how many mutants.
        seed: seed of their draw.
        workers: processes that share them.
        folder: where results are kept; a mutant that is there is not tried again.

    Returns:
        A mapping a mutant: key, room, noticed, and by which test.
    """
    chosen = choose(room, number, seed)
    journal = folder / f"{room}.jsonl"
    done = _read(journal)
    todo = [mutant for mutant in chosen if mutant.key not in done]
    if todo:
        baseline = _baseline(room, folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            shares = [todo[start::workers] for start in range(workers)]
            copies = [Path(scratch) / str(number) for number in range(workers)]
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(_try_share, shares, copies, [baseline] * workers, [journal] * workers))
    done = _read(journal)
    return [done[mutant.key] for mutant in chosen]


def choose(room: str, number: int, seed: int) -> list[Mutant]:
    """Draw a room's mutants, the same for the same sources and seed."""
    files = sorted(
        path
        for place in ROOMS[room][0]
        for path in ((CHECKOUT / place).rglob("*.py") if (CHECKOUT / place).is_dir() else [CHECKOUT / place])
        if path.name != "__init__.py"
    )
    everything = [
        Mutant(room, str(path.relative_to(CHECKOUT)), mutation)
        for path in files
        for mutation in mutations(path.read_text(encoding="utf-8"))
    ]
    return random.Random(f"{room} {seed}").sample(everything, min(number, len(everything)))


def _try_share(mutants: list[Mutant], copy: Path, baseline: Baseline, journal: Path) -> None:
    _copy_checkout(copy)
    with TestServer(copy) as server:
        for mutant in mutants:
            result = _try(mutant, copy, baseline, server)
            with journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            verdict = "noticed" if result["noticed"] else "ALIVE  "
            print(f"{verdict} {result['seconds']:5.1f} s {mutant.key}", file=sys.stderr, flush=True)


def _try(mutant: Mutant, copy: Path, baseline: Baseline, server: TestServer) -> dict[str, Any]:
    path = copy / mutant.file
    source = path.read_text(encoding="utf-8")
    tests = baseline.tests(mutant)
    limit = SLOWER * sum(baseline.seconds.get(one, 1.0) for one in tests) + GRACE_SECONDS
    started = time.perf_counter()
    path.write_text(mutate(source, mutant.mutation.index), encoding="utf-8")
    try:
        status, said = server.run(tests, limit)
    finally:
        path.write_text(source, encoding="utf-8")
    return {
        "key": mutant.key,
        "room": mutant.room,
        "noticed": status != 0,
        "by": said,
        "tests": len(tests),
        "seconds": round(time.perf_counter() - started, 1),
    }


class TestServer:
    """A process that runs tests in a copy of the checkout; the heavy packages are loaded once."""

    __test__ = False

    def __init__(self, copy: Path, *options: str) -> None:
        self.copy, self.options = copy, options
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> TestServer:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def run(self, tests: list[str], limit: float) -> tuple[int, str]:
        """Run tests and return pytest's status and what failed; -1 where they take longer than the limit."""
        if self.process is None:
            self.process = self._started()
        timer = threading.Timer(limit, self._stop)
        timer.start()
        try:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write(json.dumps(tests) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not answer:
            self._stop()
            return -1, "slower than it may be"
        status, said = json.loads(answer)
        return status, said

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(_RUNNER), *self.options],
            cwd=self.copy,
            env={
                **os.environ,
                "PYTHONPATH": str(self.copy),
                "OMP_NUM_THREADS": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _baseline(room: str, folder: Path) -> Baseline:
    """Run the room's tests once without a fault, with the lines that each runs; kept while the sources stay."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "checkout"
        _copy_checkout(copy)
        report = Path(scratch) / "report.json"
        with TestServer(copy, "--report", str(report)) as server:
            status, said = server.run(list(ROOMS[room][1]), 3600)
        if not report.is_file():
            raise SystemExit(f"The tests of {room} do not run without a fault: {status}, {said}")
        found = json.loads(report.read_text(encoding="utf-8"))
    return Baseline(found["seconds"], found["tests_of"])


def _copy_checkout(copy: Path) -> None:
    copy.mkdir(parents=True)
    for name in COPIED:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copy2(source, copy / name)


def _read(journal: Path) -> dict[str, dict[str, Any]]:
    return {entry["key"]: entry for entry in _entries(journal)}


def _entries(journal: Path) -> Iterator[dict[str, Any]]:
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.is_file() else []
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:  # the run was stopped while it wrote
            continue
