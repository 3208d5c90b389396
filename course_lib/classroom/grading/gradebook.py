"""Grading a class: two submissions at a time, a journal to go on from, and the gradebook as CSV."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import random
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib.classroom.assignments.assignment import Assignment, load_rubric
from course_lib.classroom.grading.expecting import PlannedTask, plan
from course_lib.classroom.grading.journal import NUM_SEEDS, Graded, Journal, Setting, only_run
from course_lib.classroom.grading.judging import Report, grade_notebook
from course_lib.classroom.grading.reports.platforms import MarksFile, MarksFiles
from course_lib.classroom.grading.reports.tables import safe_table, write_table
from course_lib.classroom.grading.sandbox.course_copy import copy_course
from course_lib.classroom.grading.sandbox.isolation import Isolation, find_isolation
from course_lib.classroom.grading.sandbox.temporary import remove_left_over, temporary_folder
from course_lib.classroom.grading.submissions import Submission, UnreadableSubmissionError, find_submissions
from course_lib.classroom.limits import Limits
from course_lib.errors import CourseError
from course_lib.locations import check_writable_folder, written_whole

MAX_PATIENCE = 100
MAX_JOBS = 1000


@dataclass(frozen=True)
class GradedClass:
    """All graded submissions of a run.

    Args:
        setting: what shaped the marks.
        assignment: the assignment.
        isolation: how submissions were run.
        graded: in the order of their labels.
        submissions: what was handed in, by label.
        marks_files: what was written for learning platforms.
    """

    setting: Setting
    assignment: Assignment
    isolation: Isolation
    graded: list[Graded]
    submissions: Mapping[str, Submission] = field(default_factory=dict)
    marks_files: Sequence[MarksFile] = ()

    def learner_name(self, graded: Graded) -> str:
        """Give the name of a submission's learner; empty if nothing tells it."""
        submission = self.submissions.get(graded.label)
        learner = submission.learner if submission is not None else None
        return learner.name if learner is not None else ""


def grade_class(
    submissions: Path,
    assignment: str,
    out: Path,
    *,
    seed: int | None = None,
    jobs: int = 2,
    patience: float = 1.0,
    image: str = "",
    replace: bool = False,
    trust: bool = False,
    worksheet: Path | None = None,
    column: str = "",
    progress: bool = True,
    write_pages: Callable[[GradedClass], None] | None = None,
) -> GradedClass:
    """Grade all submissions and write the gradebook.

    A run that was stopped goes on where it was, with its seed, when it is started again.

    Args:
        submissions: as for `find_submissions`.
        assignment: as for `load_rubric`.
        out: the CSV file to write; marks that stand there already are kept.
        seed: draws the hidden cases, from 0 to `NUM_SEEDS` - 1; None goes on with the stopped run's, or draws a
            fresh one.
        jobs: submissions at a time.
        patience: what the time limits are multiplied by, for a slow or busy machine.
        image: a container image to grade in, instead of bubblewrap.
        replace: whether a finished gradebook at `out`, or another run that was stopped there, may be lost.
        trust: whether to grade in a plain process where there is no sandbox: who handed in could forge marks.
        worksheet: a table that a learning platform exported, into which the marks are filled; see `read_worksheet`.
        column: the column of it that the marks are for, where it does not tell.
        progress: whether to show a progress bar.
        write_pages: writes what else the run is for. A run that is stopped in it goes on there, and marks nothing
            anew.

    Returns:
        The graded class.

    Raises:
        CourseError: if there are no submissions, no such assignment, a gradebook or another stopped run at `out`
            already or another run that is writing there, no worker starts here or in the image, there is no sandbox
            and no `trust`, or a sandbox would show submissions what they must not see.
    """
    if not 1 <= jobs <= MAX_JOBS:
        raise CourseError(
            f"From 1 to {MAX_JOBS} submissions run at a time.", given=jobs, mend="Use --jobs 2."
        )
    if not 0 < patience <= MAX_PATIENCE:
        raise CourseError(
            f"Time limits are multiplied by more than 0 and at most {MAX_PATIENCE}.",
            given=patience,
            mend="Use --patience 3.",
        )
    if seed is not None and not 0 <= seed < NUM_SEEDS:
        raise CourseError(
            f"The seed of a run is a whole number from 0 to {NUM_SEEDS - 1}.",
            given=seed,
            mend="Copy it from the gradebook's column `seed`.",
        )
    if out.suffix != ".csv":
        raise CourseError("The gradebook is a CSV file.", given=str(out), mend=f"Use --out {out.stem}.csv.")
    _check_place(out, submissions)
    remove_left_over()
    loaded, secret_seed = load_rubric(assignment)
    found = find_submissions(submissions, ignored=[worksheet] if worksheet is not None else [])
    marks_files = MarksFiles(found, loaded, out, worksheet, column)
    with only_run(out):
        marks = [task.marks for task in loaded.tasks]
        journal = Journal(
            out, loaded.name, secret_seed, seed, marks=marks, patience=patience, replace=replace
        )
        with temporary_folder("grade") as folder:
            # The sandbox's user is another one; it has to get at the course's copy.
            os.chmod(folder, 0o755)
            course = copy_course(Path(folder, "course"), loaded.blocked)
            with _probe_file(out.parent) as probe:
                hidden = [probe, *_first_files(submissions, Path(assignment))]
                isolation = find_isolation(course, image, hidden)
            if isolation.note and not trust:
                raise _untrusted(isolation)
            planned = plan(loaded, secret_seed, journal.setting.seed)
            limits = loaded.limits.patient(patience)
            judge = _Judge(planned, loaded.form(secret_seed), course, isolation, limits)
            # Opened last: a run that cannot start leaves no journal.
            with journal:
                graded = list(_graded(found, judge, journal, jobs, progress))
                journal.mark_written()
        order = {submission.label: position for position, submission in enumerate(found)}
        graded.sort(key=lambda one: order[one.label])
        submitted = {submission.label: submission for submission in found}
        result = GradedClass(journal.setting, loaded, isolation, graded, submitted)
        write_gradebook(result, out)
        result = dataclasses.replace(result, marks_files=marks_files.write(graded, submitted))
        if write_pages is not None:
            write_pages(result)
        journal.finish()
        return result


def _check_place(out: Path, submissions: Path) -> None:
    """Refuse a gradebook that could not be written, or that would lie among what is graded."""
    if out.is_dir():
        raise CourseError(
            "A folder stands where the gradebook is to be written.", given=str(out), mend="Name a file in it."
        )
    check_writable_folder(out.parent)
    if submissions.is_dir() and submissions.resolve() in out.resolve().parents:
        raise CourseError(
            "The gradebook would lie in the folder of submissions, and be graded as one next time.",
            given=str(out),
            mend="Name a file outside of it.",
        )


def _untrusted(isolation: Isolation) -> CourseError:
    return CourseError(
        "Here submissions could forge marks: they could read the answers and each other.",
        given=isolation.note,
        mend="Install bubblewrap or use --image. If you trust all who handed in, add --trust.",
    )


@contextlib.contextmanager
def _probe_file(folder: Path) -> Iterator[Path]:
    """Make a file where the gradebook will lie, as long as a sandbox is asked whether it can see it."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".course-probe-") as file:
        yield Path(file.name)


def _first_files(*paths: Path) -> list[Path]:
    """Give one file of each path that is there: a folder of the same name may lie in a sandbox, this file may not."""
    found = (next(filter(_is_own_file, (path, *path.glob("**/*.ipynb"))), None) for path in paths)
    return [file for file in found if file is not None]


def _is_own_file(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.is_file() and not path.is_symlink()
    return False


def write_gradebook(result: GradedClass, out: Path) -> None:
    """Write the gradebook as CSV: a row for each submission, and nothing that differs from run to run.

    The run's seed is in it, and the instructor's is not: a gradebook is passed on.

    Args:
        result: the graded class.
        out: the file.
    """
    tasks = result.assignment.tasks
    header = ["submission", "learner", "learner number", "late", "marks", "out of"]
    header += [column for task in tasks for column in (f"{task.name} verdict", f"{task.name} marks")]
    header += ["problem", "feedback page", "files beside it", "sha256", "isolation", "assignment", "seed"]
    setting = result.setting
    rows = []
    for one in result.graded:
        cells: list[Any] = [one.label, *_whose(result.submissions.get(one.label))]
        cells += [one.report.marks, result.assignment.marks]
        cells += [cell for part in _parts(one.report, len(tasks)) for cell in part]
        submission = result.submissions.get(one.label)
        beside = ", ".join(submission.beside) if submission else ""
        cells += [one.report.problem, page_name(one.label), beside, one.sha256, one.isolation]
        rows.append([*cells, setting.assignment, setting.seed])
    with written_whole(out) as temporary:
        write_table(temporary, safe_table([header, *rows]))


def page_name(label: str) -> str:
    """Give the file name of a submission's page: its label as far as a file name can hold it, and a hash.

    Example:
        >>> page_name("../alice/a1"), page_name("홍길동")
        ('alice_a1-07fb4bf69eff7961.html', '홍길동-9c6b9b1b1627f312.html')
    """
    # A file name has 255 bytes, and a letter up to four of them.
    readable = re.sub(r"\W+", "_", label).strip("_")[:50]
    return f"{readable}-{hashlib.sha256(label.encode('utf-8', 'replace')).hexdigest()[:16]}.html"


def _whose(submission: Submission | None) -> list[str]:
    learner = submission.learner if submission is not None else None
    return ["", "", ""] if learner is None else [learner.name, learner.number, "yes" if learner.late else ""]


@dataclass(frozen=True)
class _Judge:
    """Everything needed to mark one submission."""

    planned: Sequence[PlannedTask]
    form: str
    course: Path
    isolation: Isolation
    limits: Limits

    def grade(self, submission: Submission) -> Graded:
        try:
            notebook = submission.read()
        except UnreadableSubmissionError as error:
            return Graded(submission.label, "", "", Report(problem=str(error)))
        report = grade_notebook(
            notebook,
            self.planned,
            form=self.form,
            course=self.course,
            isolation=self.isolation,
            limits=self.limits,
        )
        return Graded(submission.label, hashlib.sha256(notebook).hexdigest(), self.isolation.kind, report)


def _graded(
    found: list[Submission], judge: _Judge, journal: Journal, jobs: int, progress: bool
) -> Iterator[Graded]:
    from tqdm import tqdm

    done = [entry for submission in found if (entry := journal.find(submission)) is not None]
    yield from done
    labels = {one.label for one in done}
    todo = [submission for submission in found if submission.label not in labels]
    bar = tqdm(total=len(found), initial=len(done), desc="graded", unit="submission", disable=not progress)
    with bar, ThreadPoolExecutor(jobs, initializer=_OwnCore(jobs)) as pool:
        futures = [pool.submit(judge.grade, submission) for submission in todo]
        try:
            for future in as_completed(futures):
                graded = future.result()
                journal.append(graded)
                bar.update()
                yield graded
        finally:
            pool.shutdown(cancel_futures=True)


class _OwnCore:
    """Gives each thread, and with it every worker that it starts, a core: none slows another's submission down."""

    def __init__(self, jobs: int) -> None:
        # Not every system lets a thread choose.
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        # Any of them: another judge may run here.
        self._cores = iter(random.sample(cores, jobs) if jobs <= len(cores) else [])

    def __call__(self) -> None:
        # Where the system forbids it, submissions share the cores.
        with contextlib.suppress(OSError, StopIteration):
            os.sched_setaffinity(0, {next(self._cores)})


def _parts(report: Report, num_tasks: int) -> list[tuple[str, int | str]]:
    if report.problem:
        return [("", "")] * num_tasks
    return [(result.verdict, result.marks) for result in report.results]
