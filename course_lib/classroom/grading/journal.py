"""What is graded already, kept beside the gradebook while a run lasts, so that a stopped one goes on."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from course_lib.classroom.grading.judging import NOT_STARTED, Report, TaskResult
from course_lib.classroom.grading.submissions import Submission, UnreadableSubmissionError
from course_lib.errors import CourseError
from course_lib.runs.journal import JsonLines

# A spreadsheet shows, and so saves, eleven digits of a number.
NUM_SEEDS = 10**11


@dataclass(frozen=True)
class Setting:
    """What shaped the marks of a run: the same setting gives the same marks.

    Args:
        assignment: its name.
        secret_seed: the instructor's, for the form of each task.
        seed: the run's, for the hidden cases.
        marks: what each task is worth.
    """

    assignment: str
    secret_seed: int
    seed: int
    marks: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Graded:
    """A graded submission.

    Args:
        label: what it is called.
        sha256: of the file, so that an appeal can show which file was marked; empty if it could not be read.
        isolation: how it was run.
        report: how it ended.
    """

    label: str
    sha256: str
    isolation: str
    report: Report


@contextlib.contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Keep a gradebook to one run as long as it lasts; that it was killed lets the next one in.

    Args:
        out: the gradebook; the lock lies beside it.

    Raises:
        CourseError: if another run is writing this gradebook.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.with_name(f".{out.name}.course-lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise CourseError(
            "Another run of `course grade` is writing this gradebook.",
            given=str(out),
            mend="Wait until it has ended, or name another file with --out.",
        ) from None
    try:
        yield
    finally:
        # Before it is let go: who opens it now meets a file that is locked, or makes one of its own.
        path.unlink(missing_ok=True)
        lock.release()


def fresh_seed() -> int:
    """Draw the seed of a run."""
    return secrets.randbelow(NUM_SEEDS)


class Journal:
    """The graded submissions of a run, in a file of `JsonLines`.

    Args:
        out: the gradebook; the journal lies beside it.
        assignment: its name.
        secret_seed: the instructor's.
        seed: the run's; None goes on with that of a stopped run of this assignment, or draws a fresh one.
        marks: what each task is worth.
        patience: what the time limits are multiplied by: with more of it, timeouts are not kept.
        replace: whether a finished gradebook, or a stopped run with another setting, may be lost.

    Raises:
        CourseError: if either would be lost and may not.
    """

    def __init__(
        self,
        out: Path,
        assignment: str,
        secret_seed: int,
        seed: int | None,
        *,
        marks: Sequence[int] = (),
        patience: float = 1.0,
        replace: bool = False,
    ) -> None:
        self.path = out.with_name(f".{out.name}.journal")
        self.patience = patience
        self.lines = JsonLines(self.path)
        parsed = list(self.lines)
        known = parsed[0].get("setting", {}) if parsed else {}
        if seed is None:
            same = (known.get("assignment"), known.get("secret_seed")) == (assignment, secret_seed)
            seed = known["seed"] if same else fresh_seed()
        self.setting = Setting(assignment, secret_seed, seed, list(marks))
        self.is_resumed = known == asdict(self.setting)
        labelled = {entry["label"]: entry for entry in parsed if "label" in entry}
        self.entries = labelled if self.is_resumed else {}
        is_written = self.is_resumed and any("written" in entry for entry in parsed)
        if replace:
            return
        if labelled and not self.is_resumed:
            raise CourseError(
                "A run with another assignment, other marks or another seed was stopped here, and what it graded "
                "would be lost.",
                given=str(self.path),
                mend="Start that one again, name another file with --out, or add --replace.",
            )
        # A run that was stopped while it wrote its pages has written the gradebook itself.
        if out.exists() and not is_written:
            raise CourseError(
                "This gradebook is written already, and may be all that tells how its marks came about.",
                given=str(out),
                mend="Name another file with --out to grade again, or add --replace.",
            )

    def __enter__(self) -> Journal:
        if not self.is_resumed:
            self.finish()
            self.lines.append({"setting": asdict(self.setting)})
        return self

    def __exit__(self, *_: object) -> None:
        """Keep the journal: whoever ends the run takes it away."""

    def find(self, submission: Submission) -> Graded | None:
        """Give what is known of a submission, if its file is still the same, and it had time and a sandbox."""
        entry = self.entries.get(submission.label)
        if entry is None or _digest(submission) != entry["sha256"]:
            return None
        report = entry["report"]
        results = tuple(TaskResult(**result) for result in report["results"])
        if report["problem"].startswith(NOT_STARTED):
            return None
        if entry["patience"] < self.patience and any(result.verdict == "timeout" for result in results):
            return None
        whole = Report(results, tuple(report["cell_errors"]), report["problem"], tuple(report["notes"]))
        return Graded(entry["label"], entry["sha256"], entry["isolation"], whole)

    def append(self, graded: Graded) -> None:
        """Keep a graded submission."""
        self.lines.append({**asdict(graded), "patience": self.patience})

    def mark_written(self) -> None:
        """Keep that the gradebook is about to be written, by this run."""
        self.lines.append({"written": True})

    def finish(self) -> None:
        """Take the journal away: everything is written."""
        self.path.unlink(missing_ok=True)


def _digest(submission: Submission) -> str:
    try:
        return hashlib.sha256(submission.read()).hexdigest()
    except UnreadableSubmissionError:
        return ""
