"""What the judge makes of a worker's replies: verdict, marks, message and hint, without any worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from course_lib.classroom.assignments.assignment import Case, Measured, Task, Variant
from course_lib.classroom.checking.explaining import RAISED
from course_lib.classroom.grading import judging
from course_lib.classroom.grading.expecting import PlannedTask
from course_lib.classroom.grading.judging import TaskResult
from course_lib.classroom.grading.sandbox.isolation import Isolation, WorkerTimeoutError
from course_lib.classroom.grading.worker.channel import ChannelError, encode
from course_lib.classroom.limits import Limits

RIGHT = [2.0, 4.0]
MISSING = {"status": "missing"}
RAISES = {"status": "error", "message": "ZeroDivisionError: division by zero"}


def given(value: Any) -> dict[str, Any]:
    """Give a worker's reply with a value."""
    return {"status": "value", "value": encode(value)}


class Session:
    """Stands for the worker: gives the replies one after the other."""

    def __init__(self, replies: Sequence[Any], cell_errors: Sequence[str] = ()) -> None:
        self.replies: Iterator[Any] = iter(replies)
        self.cell_errors = list(cell_errors)
        self.num_stopped = 0
        self.num_renewed = 0

    def ask(self, *_: object) -> Any:
        """Give the next reply."""
        return next(self.replies)

    def renew(self) -> None:
        """Count the workers."""
        self.num_renewed += 1

    def _stop(self, verdict: str, message: str) -> judging._Stopped:
        return judging._Stopped(verdict, message)


def planned(
    mistakes: Sequence[tuple[str, list[Any]]] = (), measure: Callable[..., Sequence[Measured]] | None = None
) -> PlannedTask:
    """Plan a task of 6 marks with two hidden inputs."""
    cases = [Case({"x": 1}, {}), Case({"x": 2}, {})]
    variant = Variant("only", reference=lambda x: 2.0 * x)
    task = Task("a1.double", "Doubling", 6, lambda *_: cases, (variant,), "Read it again.", measure=measure)
    return PlannedTask(task, "only", cases, [[1], [2]], [] if measure else RIGHT, list(mistakes))


def graded(replies: Sequence[Any], plan: PlannedTask | None = None, **session: Any) -> TaskResult:
    """Grade the task from these replies."""
    return judging._grade_task(plan or planned(), Session(replies, **session))  # type: ignore[arg-type]


def answered(*values: Any, plan: PlannedTask | None = None) -> TaskResult:
    """Grade the task from these values."""
    return graded([given(value) for value in values], plan)


def test_right_values_earn_all_marks() -> None:
    message = "Right on all 2 hidden inputs."
    assert answered(*RIGHT) == TaskResult("a1.double", "passed", 6, 6, message)


def test_one_wrong_value_earns_none_and_is_told() -> None:
    result = answered(2.0, 5.0)
    assert (result.verdict, result.marks, result.out_of, result.hint) == ("failed", 0, 6, "Read it again.")
    assert result.message.startswith("Right on 1 of 2 hidden inputs. ")
    assert "5" in result.message


def test_an_error_is_told_before_a_wrong_value() -> None:
    result = graded([given(3.0), RAISES])
    assert (result.verdict, result.marks) == ("error", 0)
    assert result.message == "Right on 0 of 2 hidden inputs. ZeroDivisionError: division by zero."


def test_what_cannot_be_marked_is_an_error() -> None:
    result = graded([given(2.0), {"status": "not plain", "message": "it is a set"}])
    assert result.verdict == "error"
    assert "What the function returned cannot be marked: it is a set." in result.message


SQUARED = ("You squared.", [1.0, 4.0])


@pytest.mark.parametrize(
    ("values", "mistakes", "hint"),
    [
        ((1.0, 4.0), [SQUARED], "You squared."),
        ((1.0, 5.0), [SQUARED], "Read it again."),
        # Another one gives the same values: neither is told.
        ((1.0, 4.0), [SQUARED, ("You guessed.", [1.0, 4.0])], "Read it again."),
        ((1.0, 4.0), [SQUARED, ("You squared.", [1.0, 4.0])], "You squared."),
        # The mistake raises on the first input and cannot be told from the right answer on the second.
        ((1.0, 4.0), [("You divided.", [RAISED, 4.0])], "Read it again."),
        ((1.0, 9.0), [("You divided.", [RAISED, 9.0])], "You divided."),
        ((2.001, 4.001), [], judging._ROUNDED_HINT),
        ((2.001, 5.0), [], "Read it again."),
    ],
)
def test_the_hint_is_that_of_the_one_mistake_that_explains_all_values(
    values: tuple[float, ...], mistakes: list[tuple[str, list[Any]]], hint: str
) -> None:
    assert answered(*values, plan=planned(mistakes)).hint == hint


def test_a_mistake_is_seen_in_the_values_that_are_there() -> None:
    assert graded([given(1.0), RAISES], planned([SQUARED])).hint == "You squared."


@pytest.mark.parametrize(
    ("cell_errors", "hint"),
    [
        ([], ""),
        (["code cell 1: NotImplementedError: a1.double"], ""),
        (["code cell 1: NotImplementedError: a1.double", "code cell 2: NameError: x"], judging._FAILED_CELLS),
    ],
)
def test_a_missing_function_points_at_cells_that_failed(cell_errors: list[str], hint: str) -> None:
    result = graded([MISSING], cell_errors=cell_errors)
    assert (result.verdict, result.marks, result.hint) == ("missing", 0, hint)
    assert "`double`" in result.message


@pytest.mark.parametrize(
    ("verdict", "counted"), [("error", 1), ("timeout", 1), ("missing", 0), ("tampered", 0)]
)
def test_only_what_may_be_the_machines_doing_counts_as_stopped(verdict: str, counted: int) -> None:
    session = Session([judging._Stopped(verdict, "It ended.")], ["code cell 2: NameError: x"])
    result = judging._grade_task(planned(), session)  # type: ignore[arg-type]
    assert (result.verdict, result.message, session.num_stopped) == (verdict, "It ended.", counted)


@pytest.mark.parametrize(
    "reply", [{}, {"status": 1}, {"status": "value"}, {"status": "error", "message": 3}, {"status": "passed"}]
)
def test_a_reply_that_no_worker_sends_is_tampered_with(reply: dict[str, Any]) -> None:
    result = graded([reply])
    assert (result.verdict, result.marks) == ("tampered", 0)
    assert result.message.startswith("The notebook's code wrote to the channel that its answers go through")


def grows_and_is_even(cases: Sequence[Case], values: Sequence[Any]) -> list[Measured]:
    """Measure two properties, worth 1 and 2."""
    grows = values[0] < values[1]
    is_even = all(value % 2 == 0 for value in values)
    return [Measured("it grows", 1, grows, "by some."), Measured("it is even", 2, is_even, "or odd.")]


@pytest.mark.parametrize(
    ("values", "verdict", "marks", "signs", "hint"),
    [
        ((2, 4), "passed", 6, "✓✓", ""),
        ((4, 2), "failed", 4, "✗✓", "Read it again."),
        ((1, 2), "failed", 2, "✓✗", "Read it again."),
        ((3, 1), "failed", 0, "✗✗", "Read it again."),
    ],
)
def test_each_property_of_an_open_task_has_its_share_of_the_marks(
    values: tuple[int, ...], verdict: str, marks: int, signs: str, hint: str
) -> None:
    result = answered(*values, plan=planned(measure=grows_and_is_even))
    assert (result.verdict, result.marks, result.out_of, result.hint) == (verdict, marks, 6, hint)
    lines = result.message.splitlines()
    assert [line[0] for line in lines] == list(signs)
    assert lines[0][2:] == "it grows: by some."


def test_what_cannot_be_measured_is_shown() -> None:
    result = answered("text", 4, plan=planned(measure=grows_and_is_even))
    assert (result.verdict, result.marks, result.hint) == ("failed", 0, "Read it again.")
    assert result.message == "The answer has not the form that is asked for; it begins 'text'."


def test_an_open_task_that_raises_is_an_error() -> None:
    result = graded([given(2), RAISES], planned(measure=grows_and_is_even))
    assert (result.verdict, result.marks, result.hint) == ("error", 0, "Read it again.")
    assert result.message == "ZeroDivisionError: division by zero."


@pytest.mark.parametrize(("measure", "renewed"), [(None, 0), (grows_and_is_even, 1)])
def test_only_an_open_task_has_a_new_worker_for_each_further_call(
    measure: Callable[..., Sequence[Measured]] | None, renewed: int
) -> None:
    session = Session([given(2.0), given(4.0)])
    judging._grade_task(planned(measure=measure), session)  # type: ignore[arg-type]
    assert session.num_renewed == renewed


class NeverAnswers:
    """Stands for a worker that uses up what time it is given."""

    spent_seconds = 0.0

    def call(self, request: Mapping[str, object], seconds: float) -> dict[str, object]:
        """Take all of the time, and give no answer."""
        self.spent_seconds += seconds
        raise WorkerTimeoutError


def test_a_call_that_is_too_long_ends_the_submission_only_when_no_time_is_left() -> None:
    limits = Limits(call_seconds=10, total_seconds=20.5)
    session = judging._Session(b"", "", Path(), Isolation("plain process"), limits)
    told = []
    for _ in range(3):
        session.worker = NeverAnswers()  # type: ignore[assignment]
        stopped = session.ask(planned(), [1])
        assert isinstance(stopped, judging._Stopped)
        assert (stopped.verdict, session.worker) == ("timeout", None)
        told.append(stopped.message)
    no_answer = "No answer within 10 seconds."
    assert told == [no_answer, no_answer, "All tasks together took 20.5 seconds."]


LOADED = {"ready": ["code cell 2: NameError: x"], "form": "", "stopped": [3], "cut": False}


def test_what_a_worker_says_of_its_cells_is_read() -> None:
    assert judging._loaded(LOADED, "a1 2-1") == (["code cell 2: NameError: x"], [3])


@pytest.mark.parametrize(
    "changed",
    [{"ready": "none"}, {"ready": [1]}, {"stopped": 3}, {"stopped": ["3"]}, {"form": 1}, {"form": "no form"}],
)
def test_what_no_worker_says_of_its_cells_is_tampered_with(changed: dict[str, Any]) -> None:
    with pytest.raises(ChannelError):
        judging._loaded({**LOADED, **changed}, "a1 2-1")
