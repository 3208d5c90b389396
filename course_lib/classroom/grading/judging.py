"""Marking one submission: calls go to the worker, values come back, and the judge alone compares them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.classroom.assignments.assignment import Measured
from course_lib.classroom.checking.comparing import compare
from course_lib.classroom.checking.explaining import RAISED, explaining_hint, sentence
from course_lib.classroom.checking.showing import shortened, show
from course_lib.classroom.grading.expecting import PlannedTask
from course_lib.classroom.grading.sandbox.isolation import (
    Isolation,
    Worker,
    WorkerEndedError,
    WorkerStartError,
    WorkerTimeoutError,
)
from course_lib.classroom.grading.worker.answering import FORM, MAX_CELL_ERRORS, UNREADABLE, too_long
from course_lib.classroom.grading.worker.channel import ChannelError, check_size, decode
from course_lib.classroom.limits import Limits

# How often a sandbox is started before a submission stays unmarked.
_MOST_STARTS = 3
NOT_STARTED = "No sandbox started on this machine, grade it again: "
PRINTED_TOO_MUCH = "The notebook printed much. What is printed is cut off and not kept; it costs no marks."
_FAILED_CELLS = "Some cells had an error: look at those first."
# How far apart numbers are that were rounded, or computed with half the precision.
_ROUNDED = 0.006
_ROUNDED_HINT = (
    "Nearly right: the numbers are rounded, or computed in float32. Return them as they are, in float64."
)
VERDICTS = ("passed", "failed", "error", "timeout", "missing", "tampered")


@dataclass(frozen=True)
class TaskResult:
    """How one task ended.

    Args:
        task: its name.
        verdict: one of `VERDICTS`.
        marks: what was earned.
        out_of: what could be.
        message: why, in a sentence or two; of hidden inputs it tells what the learner's own code says of them.
        hint: what to look at next; empty if there is nothing to add.
    """

    task: str
    verdict: str
    marks: int
    out_of: int
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Report:
    """How one submission ended.

    Args:
        results: one for each task, in order; empty if the submission could not be read.
        cell_errors: what the notebook's failing cells said.
        problem: why the submission could not be marked; empty if it could.
        notes: what else there is to say, that cost no marks.
    """

    results: tuple[TaskResult, ...] = ()
    cell_errors: tuple[str, ...] = ()
    problem: str = ""
    notes: tuple[str, ...] = ()

    @property
    def marks(self) -> int:
        """What all tasks earned."""
        return sum(result.marks for result in self.results)


@dataclass(frozen=True)
class _Stopped:
    """The worker is of no use any more."""

    verdict: str
    message: str


class UnmarkableNotebookError(Exception):
    """The worker says that the file is no notebook, or one of another form."""


def grade_notebook(
    notebook: bytes,
    planned: Sequence[PlannedTask],
    *,
    form: str,
    course: Path,
    isolation: Isolation,
    limits: Limits,
) -> Report:
    """Run a submission in a sandbox and mark it.

    Args:
        notebook: the submitted file.
        planned: the tasks with what is expected of them.
        form: as `Assignment.form` gives it; a notebook that says it is another form is not marked.
        course: the folder that `copy_course` wrote.
        isolation: how to run it.
        limits: what it may use.

    Returns:
        The report; every task has a verdict, whatever the submission did.
    """
    for _ in range(2):
        session = _Session(notebook, form, course, isolation, limits)
        report = _report(planned, session)
        # What ended every task may have been the machine: once more, before that costs all marks.
        if not planned or session.num_stopped < len(planned):
            break
    return report


def _report(planned: Sequence[PlannedTask], session: _Session) -> Report:
    with session.stack:
        try:
            results = tuple(_grade_task(task, session) for task in planned)
        except UnmarkableNotebookError as error:
            return Report(problem=str(error))
        except WorkerStartError as error:
            return Report(problem=f"{NOT_STARTED}{error}")
    return Report(results, tuple(session.cell_errors), notes=tuple(session.notes))


class _Session:
    """A worker with the notebook loaded; a new one after a task that ended the last."""

    def __init__(
        self, notebook: bytes, form: str, course: Path, isolation: Isolation, limits: Limits
    ) -> None:
        self.notebook, self.form = notebook, form
        self.course, self.isolation, self.limits = course, isolation, limits
        self.stack = ExitStack()
        self.worker: Worker | None = None
        self.left_seconds = limits.total_seconds
        self.cell_errors: list[str] = []
        self.notes: list[str] = []
        # Tasks that ended because the worker did, or because its time was up.
        self.num_stopped = 0
        self.loads_for_nothing = False
        # Cells that ran too long; what comes after a task that ended the worker does not wait for them again.
        self.skipped: list[int] = []
        # A notebook that cannot even be loaded is not tried again.
        self.unusable: _Stopped | None = None

    def ask(self, task: PlannedTask, arguments: list[Any]) -> dict[str, Any] | _Stopped:
        """Call the learner's function once."""
        if self.left_seconds <= 0:
            return self._late()
        if self.worker is None and self.unusable is None:
            self._load()
        if self.worker is None:
            return self.unusable or _Stopped("error", "The notebook could not be loaded.")
        request = {
            "id": secrets.token_hex(16),
            "task": task.task.name,
            "function": task.task.function,
            "arguments": arguments,
        }
        try:
            with self._timed(self.worker):
                reply = self.worker.call(request, self._at_most(self.limits.call_seconds))
        except WorkerTimeoutError:
            if self.left_seconds <= 0:
                return self._late()
            return self._stop("timeout", f"No answer within {self.limits.call_seconds:g} seconds.")
        except WorkerEndedError as error:
            return self._stop("error", str(error))
        except ChannelError as error:
            return self._stop("tampered", _tampered(error))
        self._note_printing(reply)
        return reply

    def renew(self) -> None:
        """Take another worker for the next call, one that remembers nothing; to load it costs the learner no time."""
        self._end()
        self.loads_for_nothing = True

    def _load(self) -> None:
        """Load the notebook, and once more without a cell that cannot be stopped."""
        left_seconds = self.left_seconds
        self.worker = self._start()
        try:
            with self._timed(self.worker):
                seconds = self._at_most(self.limits.load_seconds)
                reply = self.worker.load(self.notebook, seconds, self.skipped)
            if self.loads_for_nothing:
                self.left_seconds, self.loads_for_nothing = left_seconds, False
            if stuck := _stuck_cell(reply, self.skipped):
                # Said at once, it would load the notebook for ever.
                if self.worker.spent_seconds < self.limits.cell_seconds / 2:
                    raise ChannelError("a cell that is said to hang before it could")
                self._end()
                self.cell_errors.append(too_long(stuck, self.limits.cell_seconds))
                self.skipped.append(stuck)
                return self._load()
            errors, stopped = _loaded(reply, self.form)
            self.cell_errors += [error for error in errors if error not in self.cell_errors]
            self.skipped += stopped
            self._note_printing(reply)
        except WorkerTimeoutError:
            message = f"The notebook's cells took more than {self.limits.load_seconds:g} seconds."
            self.unusable = self._late() if self.left_seconds <= 0 else self._stop("timeout", message)
        except WorkerEndedError as error:
            self.unusable = self._stop("error", f"While the notebook's cells ran: {error}")
        except ChannelError as error:
            self.unusable = self._stop("tampered", _tampered(error))
        return None

    def _start(self) -> Worker:
        """Start a worker, and another one if the machine is too busy for it."""
        for _ in range(_MOST_STARTS - 1):
            try:
                return self._started()
            except WorkerStartError:
                self._end()
        return self._started()

    def _started(self) -> Worker:
        worker = self.stack.enter_context(Worker(self.course, self.isolation, self.limits))
        worker.await_start()
        return worker

    @contextmanager
    def _timed(self, worker: Worker) -> Iterator[None]:
        before = worker.spent_seconds
        try:
            yield
        finally:
            self.left_seconds -= worker.spent_seconds - before

    def _at_most(self, seconds: float) -> float:
        return max(0.0, min(seconds, self.left_seconds))

    def _note_printing(self, reply: dict[str, Any]) -> None:
        if reply.get("cut") is True and PRINTED_TOO_MUCH not in self.notes:
            self.notes.append(PRINTED_TOO_MUCH)

    def _late(self) -> _Stopped:
        return self._stop("timeout", f"All tasks together took {self.limits.total_seconds:g} seconds.")

    def _stop(self, verdict: str, message: str) -> _Stopped:
        self._end()
        return _Stopped(verdict, message)

    def _end(self) -> None:
        self.stack.close()
        self.worker = None


def _tampered(error: Exception) -> str:
    return f"The notebook's code wrote to the channel that its answers go through: {error}."


def _stuck_cell(reply: dict[str, Any], skipped: Sequence[int]) -> int:
    """Give the number of the cell that caught every alarm; 0 if there is none."""
    if "stuck" not in reply:
        return 0
    number = reply["stuck"]
    if set(reply) != {"stuck"} or type(number) is not int or number < 1 or number in skipped:
        raise ChannelError("a message that the worker does not send")
    return number


def _loaded(reply: dict[str, Any], form: str) -> tuple[list[str], list[int]]:
    """Give what the failing cells said, and the numbers of those that ran too long."""
    # Only what the worker says itself: the sentence stands in the gradebook as if it were the judge's.
    if set(reply) == {"unreadable"} and reply["unreadable"] in UNREADABLE:
        raise UnmarkableNotebookError(reply["unreadable"])
    if set(reply) != {"ready", "form", "stopped", "cut"}:
        raise ChannelError("a message that the worker does not send")
    errors, stated, stopped = reply["ready"], reply["form"], reply["stopped"]
    if not _is_list_of(str, errors) or not _is_list_of(int, stopped) or not _is_list_of(str, [stated]):
        raise ChannelError("a message that the worker does not send")
    if not FORM.fullmatch(stated):
        raise ChannelError("a form that no assignment has")
    if stated not in ("", form):
        raise UnmarkableNotebookError(
            f"The notebook is another form of the assignment: it says {stated}, and marked is {form}."
        )
    return [shortened(text) for text in errors[:MAX_CELL_ERRORS]], stopped


def _is_list_of(kind: type, values: Any) -> bool:
    return type(values) is list and all(type(value) is kind for value in values)


def _grade_task(planned: PlannedTask, session: _Session) -> TaskResult:
    values: list[Any] = []
    errors: list[str] = []
    for outcome in _outcomes(planned, session):
        if isinstance(outcome, _Stopped):
            session.num_stopped += outcome.verdict in ("error", "timeout")
            # The example of a task that is not written fails as well, and points nowhere.
            failed = any("NotImplementedError" not in text for text in session.cell_errors)
            hint = _FAILED_CELLS if outcome.verdict == "missing" and failed else ""
            return _result(planned, outcome.verdict, outcome.message, hint=hint)
        values.append(outcome.get("value", RAISED))
        errors.append(outcome.get("error", ""))
    if planned.task.measure is not None:
        return _measured(planned, values, errors)
    return _compared(planned, values, errors)


def _outcomes(planned: PlannedTask, session: _Session) -> Iterator[dict[str, Any] | _Stopped]:
    """Give each case's decoded value or error; what makes further calls useless ends them."""
    for number, arguments in enumerate(planned.encoded):
        if number and planned.task.measure is not None:
            # What a measure compares, no call may know of another.
            session.renew()
        reply = session.ask(planned, arguments)
        try:
            outcome = reply if isinstance(reply, _Stopped) else _read(reply, planned)
        except ChannelError as error:
            outcome = session._stop("tampered", _tampered(error))
        yield outcome
        if isinstance(outcome, _Stopped):
            return


def _read(reply: dict[str, Any], planned: PlannedTask) -> dict[str, Any] | _Stopped:
    """Check a worker's reply, which may be anything, and decode its value."""
    status, message = reply.get("status"), reply.get("message", "")
    if type(status) is not str or type(message) is not str:
        raise ChannelError("a message that the worker does not send")
    if status == "value" and "value" in reply:
        check_size(reply["value"])
        return {"value": decode(reply["value"])}
    if status == "missing":
        return _Stopped("missing", f"No function `{planned.task.function}` is written under this name.")
    if status == "error":
        return {"error": shortened(message)}
    if status == "not plain":
        return {"error": f"What the function returned cannot be marked: {shortened(message)}."}
    raise ChannelError("a message that the worker does not send")


def _compared(planned: PlannedTask, values: list[Any], errors: list[str]) -> TaskResult:
    differences = [
        error or compare(value, expected, planned.task.tolerance)
        for value, expected, error in zip(values, planned.expected, errors, strict=True)
    ]
    wrong = [difference for difference in differences if difference]
    num_cases = len(differences)
    if not wrong:
        return _result(planned, "passed", f"Right on all {num_cases} hidden inputs.")
    verdict = "error" if any(errors) else "failed"
    count = f"Right on {num_cases - len(wrong)} of {num_cases} hidden inputs."
    first = next((error for error in errors if error), wrong[0])
    hint = (
        explaining_hint(values, planned.expected, planned.mistakes, planned.task.tolerance)
        or _rounding_hint(planned, values)
        or planned.task.hint
    )
    return _result(planned, verdict, f"{count} {sentence(shortened(first))}", hint=hint)


def _rounding_hint(planned: PlannedTask, values: list[Any]) -> str:
    """Say so where all results are nearly right."""
    pairs = zip(values, planned.expected, strict=True)
    nearly = all(compare(value, right, _ROUNDED) is None for value, right in pairs)
    return _ROUNDED_HINT if nearly else ""


def _measured(planned: PlannedTask, values: list[Any], errors: list[str]) -> TaskResult:
    if any(errors):
        first = next(error for error in errors if error)
        return _result(planned, "error", sentence(first), hint=planned.task.hint)
    properties = _properties(planned, values)
    if properties is None:
        message = f"The answer has not the form that is asked for; it begins {show(values[0])[:200]}."
        return _result(planned, "failed", message, hint=planned.task.hint)
    # A rubric may give the task another worth; each property has its share of it.
    declared = sum(part.marks for part in properties)
    marks = sum(part.marks for part in properties if part.passed) * planned.task.marks // declared
    # One property a line.
    message = "\n".join(f"{'✓' if part.passed else '✗'} {part.name}: {part.message}" for part in properties)
    passed = all(part.passed for part in properties)
    hint = "" if passed else planned.task.hint
    return _result(planned, "passed" if passed else "failed", message, marks=marks, hint=hint)


def _properties(planned: PlannedTask, values: list[Any]) -> Sequence[Measured] | None:
    assert planned.task.measure is not None
    try:
        return planned.task.measure(planned.cases, values)
    except Exception:
        # Answers are anything at all; what a measure makes of a text where it awaits an array is an exception.
        return None


def _result(
    planned: PlannedTask, verdict: str, message: str, *, marks: int | None = None, hint: str = ""
) -> TaskResult:
    out_of = planned.task.marks
    earned = marks if marks is not None else (out_of if verdict == "passed" else 0)
    return TaskResult(planned.task.name, verdict, earned, out_of, message, hint)
