"""Long work killed at random moments: what it ends with, byte for byte, beside an undisturbed run.

Each subject is work in a folder of its own, in a process that is killed (SIGKILL, with all that it started) after a
random time and started again until it ends. After every kill what the user had there is looked at; after every
finished run its files are compared with those of an undisturbed one.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability._killed_work import SUBJECTS, Subject

# Loaded once, so that the kills fall into the work and not into its imports.
HEAVY = (
    "torch", "transformers", "peft", "datasets", "pandas", "sklearn.linear_model", "course_lib.cli",
    "course_lib.smart.trainer", "tests.ppt.training_worker",
)  # fmt: skip
# A run that takes this many times the undisturbed one hangs.
HANGS = 20


@dataclass
class Figure:
    """What came of a subject.

    Args:
        kills: processes killed while they worked.
        finished: runs that ended, each after some kills.
        seconds: of the undisturbed run.
        trouble: a line for each difference, each damage after a kill and each run that failed.
    """

    kills: int = 0
    finished: int = 0
    seconds: float = 0.0
    trouble: list[str] = field(default_factory=list)


def run(argv: list[str]) -> int:
    """Run the figure from the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability kills", description=__doc__)
    parser.add_argument("subjects", nargs="*", help=f"{', '.join(SUBJECTS)}; all by default")
    parser.add_argument("--kills", type=int, default=100, help="of each subject")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    trouble = 0
    for name in options.subjects or SUBJECTS:
        figure = kill_often(SUBJECTS[name], options.kills, options.seed)
        trouble += len(figure.trouble)
        print("".join(f"  {line}\n" for line in figure.trouble), end="")
        print(
            f"{name}: {figure.kills} kills, {figure.finished} runs ended, undisturbed {figure.seconds:.1f} s, "
            f"{len(figure.trouble)} troubles",
            flush=True,
        )
    return int(trouble > 0)


def kill_often(subject: Subject, num_kills: int, seed: int = 0) -> Figure:
    """Kill a subject's work until there are enough kills, and let the last run end.

    Args:
        subject: the work.
        num_kills: how often it is killed.
        seed: seed of the moments.
    """
    for name in HEAVY:
        importlib.import_module(name)
    figure, rng = Figure(), random.Random(f"{subject.name} {seed}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(subject.surroundings())
        with _folder() as folder:
            subject.prepare(folder)
            started = time.perf_counter()
            if _worked(subject, folder, limit=3600) != 0:
                raise SystemExit(f"{subject.name}: the undisturbed run failed; see {_log(folder)}")
            figure.seconds = time.perf_counter() - started
            right = subject.result(folder)
        while figure.kills < num_kills:
            with _folder() as folder:
                subject.prepare(folder)
                _one_run(subject, folder, right, num_kills, rng, figure)
    return figure


def _one_run(
    subject: Subject,
    folder: Path,
    right: dict[str, bytes],
    num_kills: int,
    rng: random.Random,
    figure: Figure,
) -> None:
    status: int | None = None
    while status is None:
        limit = rng.uniform(0, 1.1 * figure.seconds) if figure.kills < num_kills else HANGS * figure.seconds
        status = _worked(subject, folder, limit)
        if status is None:
            figure.kills += 1
            figure.trouble += [f"after kill {figure.kills}: {line}" for line in subject.damage(folder)]
            if figure.kills > num_kills:
                figure.trouble.append(f"a run took longer than {limit:.0f} s")
                return
        print(f"{subject.name}: {figure.kills} kills", file=sys.stderr, flush=True)
    figure.finished += 1
    if status != 0:
        said = _log(folder).read_text(encoding="utf-8", errors="replace")[-600:]
        figure.trouble.append(f"a run after {figure.kills} kills ended with {status}: {said}")
        return
    found = subject.result(folder)
    figure.trouble += [
        f"another {name} after {figure.kills} kills"
        for name in sorted(right.keys() | found.keys())
        if right.get(name) != found.get(name)
    ]


def _worked(subject: Subject, folder: Path, limit: float) -> int | None:
    """Let the work run for so many seconds; return its exit status, or None where it had to be killed."""
    _log(folder).touch()
    child = os.fork()
    if child == 0:
        os.setsid()
        output = os.open(_log(folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os._exit(_status(subject, folder))
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # it had no time yet to lead a group
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _status(subject: Subject, folder: Path) -> int:
    try:
        subject.work(folder)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
        return 70
    return 0


def _log(folder: Path) -> Path:
    return folder.with_suffix(".log")


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        (parent / "work").mkdir()
        yield parent / "work"
    finally:
        shutil.rmtree(parent, ignore_errors=True)
