"""Small random faults in the library: the share that the room's own tests notice.

Each mutant is one changed operator, constant, condition or call (`_mutations.py`). It is made in a copy of the
checkout and tried with the room's tests that run its line, the quickest first, until one fails; then with the rest
of their files, whose tests may look at what a shared fixture ran. Survivors are listed; those that change nothing
that a test should see are told apart, with the reason, in `explained_mutants.toml`. Left out are the tests marked
slow and, for the judge, those of the assignments' tasks, of whole classes and of platforms, which take too long here.

A run that was stopped goes on, and a survivor is tried again by the next run. The draw is by name: a change of the
library leaves the mutants of all other functions as they were.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
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
        ("course_lib/statistics.py", "course_lib/checks"),
        (
            "tests/test_statistics.py",
            "tests/test_checks.py",
            "course_lib/statistics.py",
            "course_lib/checks",
        ),
    ),
    "judge": (
        (
            "course_lib/classroom/limits.py",
            *(
                f"course_lib/classroom/grading/{name}.py"
                for name in (
                    "judging",
                    "worker/answering",
                    "worker/channel",
                    "expecting",
                    "journal",
                    "gradebook",
                )
            ),
        ),
        tuple(
            f"tests/classroom/grading/test_{name}.py"
            for name in (
                *(
                    "verdicts",
                    "worker",
                    "journal",
                    "channel",
                    "shell",
                    "printing",
                    "start",
                    "sandbox",
                    "gradebook",
                ),
                *("attacks", "submissions", "temporary", "two_sandboxes"),
            )
        ),
    ),
}
# A mutant that makes its tests this many times slower has been noticed, too.
SLOWER, GRACE_SECONDS = 6, 60
_RUNNER = Path(__file__).with_name("_run_tests.py")
# Survivors that no test should notice, and why.
EXPLAINED = Path(__file__).with_name("explained_mutants.toml")


@dataclass(frozen=True)
class Mutant:
    """A fault in one file of a room.

    Args:
        room: the room.
        file: the file, from the checkout.
        mutation: the fault.
        number: which of the faults that read alike in its function, from 1.
    """

    room: str
    file: str
    mutation: Mutation
    number: int

    @property
    def key(self) -> str:
        """What tells it from every other, wherever the function stands in its file."""
        again = f" ({self.number})" if self.number > 1 else ""
        return f"{self.file} {self.mutation.scope}: {self.mutation.says}{again}"


@dataclass
class Baseline:
    """What the room's tests do without a fault.

    Args:
        seconds: the time of each test that passes, by its id.
        tests_of: ids of the tests that run a line, by "file:line"; lines that only an import runs are not in it.
    """

    seconds: dict[str, float]
    tests_of: dict[str, list[str]]

    def add(self, report: dict[str, Any]) -> None:
        """Take in what one file of tests does."""
        self.seconds.update(report["seconds"])
        for line, tests in report["tests_of"].items():
            self.tests_of.setdefault(line, []).extend(tests)

    def tests(self, mutant: Mutant) -> list[str]:
        """Return the tests that may notice a mutant: those that run its line, then the rest of their files."""
        running = set(self.tests_of.get(f"{mutant.file}:{mutant.mutation.line}", ()))
        files = {_file_of(one) for one in running or self.seconds}
        known = [one for one in self.seconds if _file_of(one) in files]
        return sorted(known, key=lambda one: (one not in running, self.seconds[one]))


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
    explained = explanations()
    results = []
    for room in options.rooms or ROOMS:
        found = try_room(room, options.number, options.seed, options.workers, options.folder)
        print(f"{room}: {_counted(found, explained)}")
        for result in found:
            if not result["noticed"]:
                print(f"  {explained.get(result['key'], 'ALIVE')} | {result['key']}", flush=True)
        results += found
    print(f"together: {_counted(results, explained)}")
    noticed = sum(result["noticed"] for result in results)
    return int(noticed / len(results) < 0.95)


def explanations() -> dict[str, str]:
    """Give the mutants that no test should notice, each with the reason."""
    return dict(tomllib.loads(EXPLAINED.read_text(encoding="utf-8")))


def _counted(results: list[dict[str, Any]], explained: dict[str, str]) -> str:
    alive = [result["key"] for result in results if not result["noticed"]]
    noticed = len(results) - len(alive)
    apart = sum(key in explained for key in alive)
    share, of_others = noticed / len(results), noticed / max(1, len(results) - apart)
    return (
        f"{noticed} of {len(results)} noticed ({share:.1%}; without the explained {of_others:.1%}), "
        f"{apart} explained, {len(alive) - apart} alive"
    )


def try_room(room: str, number: int, seed: int, workers: int, folder: Path) -> list[dict[str, Any]]:
    """Make a room's mutants and try each.

    Args:
        room: a key of `ROOMS`.
        number: how many mutants.
        seed: seed of their draw.
        workers: processes that share them.
        folder: where results are kept; a mutant that was noticed is not tried again.

    Returns:
        A mapping a mutant: key, room, noticed, and by which test.
    """
    chosen = choose(room, number, seed)
    journal = folder / f"{room}.jsonl"
    done = _read(journal)
    explained = explanations()
    tried = {key for key, result in done.items() if result["noticed"]}
    todo = [one for one in chosen if one.key not in tried | explained.keys()]
    if todo:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            copies = [Path(scratch) / str(number) for number in range(workers)]
            for copy in copies:
                _copy_checkout(copy)
            baseline = _baseline(room, copies[0], folder)
            shares = [todo[start::workers] for start in range(workers)]
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(_try_share, shares, copies, [baseline] * workers, [journal] * workers))
    done = _read(journal)
    # What is explained counts as not noticed, and need not be tried.
    return [done.get(one.key, {"key": one.key, "room": room, "noticed": False}) for one in chosen]


def choose(room: str, number: int, seed: int) -> list[Mutant]:
    """Draw a room's mutants, the same for the same seed."""
    everything = [mutant for path in _sources(room) for mutant in mutants_of(room, path)]
    return sorted(everything, key=lambda one: _digest(str(seed), one.key))[:number]


def mutants_of(room: str, path: Path) -> list[Mutant]:
    """List the mutants that can be made in a file of a room."""
    file, seen, found = str(path.relative_to(CHECKOUT)), Counter[tuple[str, str]](), []
    for mutation in mutations(path.read_text(encoding="utf-8")):
        seen[mutation.scope, mutation.says] += 1
        found.append(Mutant(room, file, mutation, seen[mutation.scope, mutation.says]))
    return found


def _sources(room: str) -> list[Path]:
    paths = (path for place in ROOMS[room][0] for path in _python_files(CHECKOUT / place))
    return sorted(path for path in paths if path.name != "__init__.py")


def _python_files(place: Path) -> Iterable[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _try_share(mutants: list[Mutant], copy: Path, baseline: Baseline, journal: Path) -> None:
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


def _baseline(room: str, copy: Path, folder: Path) -> Baseline:
    """Run the room's tests without a fault, with the lines that each runs.

    What a file of tests gave is kept while the file and the room's sources stay.
    """
    sources = _digest(*(path.read_text(encoding="utf-8") for path in _sources(room)))
    baseline = Baseline({}, {})
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        with TestServer(copy, "--report", str(report)) as server:
            for part in _parts(room):
                kept = folder / f"tests-{_digest(sources, *_texts(CHECKOUT / part))[:24]}.json"
                if not kept.is_file():
                    report.unlink(missing_ok=True)
                    status, said = server.run([part], 3600)
                    print(f"without a fault: {part}: {said}", file=sys.stderr, flush=True)
                    if not report.is_file():
                        raise SystemExit(f"{part} does not run without a fault: {status}, {said}")
                    shutil.copy2(report, kept)
                baseline.add(json.loads(kept.read_text(encoding="utf-8")))
    return baseline


def _parts(room: str) -> list[str]:
    """Give the room's files of tests, and the places of its doctests."""
    places = [CHECKOUT / place for place in ROOMS[room][1]]
    tests = [
        path
        for place in places
        if "tests" in place.relative_to(CHECKOUT).parts
        for path in _python_files(place)
    ]
    doctests = [place for place in places if "tests" not in place.relative_to(CHECKOUT).parts]
    named = [path for path in tests if path.name.startswith("test_")] + doctests
    return [str(path.relative_to(CHECKOUT)) for path in named]


def _texts(part: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in _python_files(part)]


def _file_of(test: str) -> str:
    return test.partition("::")[0]


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
