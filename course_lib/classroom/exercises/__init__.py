"""Instant checks: hand in a function or an answer, and see at once what differs.

Example:
    >>> from course_lib.classroom import exercises
    >>> def parameter_ratio(num_parameters, num_examples):
    ...     return num_parameters / num_examples
    >>> exercises.check("01.parameter_ratio", parameter_ratio)
    ✓ 01.parameter_ratio: passed
      Right on all 6 inputs.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from course_lib.classroom.checking.comparing import compare
from course_lib.classroom.checking.explaining import Mistake
from course_lib.classroom.exercises import lessons
from course_lib.classroom.exercises.feedback import Feedback
from course_lib.classroom.exercises.framework import Exercise, answer_exercise, check_exercise
from course_lib.classroom.exercises.overview import Progress, overview
from course_lib.classroom.exercises.remembering import recall, remember
from course_lib.errors import unknown_name

__all__ = [
    "EXERCISES",
    "Exercise",
    "Feedback",
    "Mistake",
    "Progress",
    "answer_exercise",
    "check",
    "check_exercise",
    "compare",
    "progress",
]

EXERCISES: dict[str, Exercise] = {
    found.name: found
    for module in iter_modules(lessons.__path__, f"{lessons.__name__}.")
    for found in vars(import_module(module.name)).values()
    if isinstance(found, Exercise)
}
# How often each exercise failed in a row in this session.
_failures: dict[str, int] = {}


def check(name: str, solution: Any, seed: int = 0) -> Feedback:
    """Check a learner's function or answer, and say at once what differs.

    As the last line of a notebook's cell the feedback displays itself. Attempts, and when the
    exercise was first passed, are remembered for `progress`; an untouched stub is no attempt.

    Args:
        name: the exercise, for example "01.parameter_ratio".
        solution: the learner's function, or the answer. It is called on seeded inputs; whatever
            it does wrong is said in the feedback and never raised.
        seed: draws the inputs; a whole number from 0 on.

    Returns:
        The feedback: status, input, expected and got, and a hint. Where the attempt cannot be
        remembered, one line says so, and all else is the same.

    Raises:
        CourseError: if there is no exercise of this name, or the seed is not valid.

    Example:
        >>> def parameter_ratio(num_parameters, num_examples):
        ...     return num_examples / num_parameters
        >>> check("01.parameter_ratio", parameter_ratio)
        ✗ 01.parameter_ratio: not right yet
          Expected 50.0, got 0.02.
          input:
            num_parameters = 60_000_000
            num_examples = 1_200_000
          expected: 50.0
          got: 0.02
          hint: You have N/P. In P/N the parameters stand above and the examples below.
        >>> check("01.examples_for_ratio", None).status
        'not written yet'
    """
    if not isinstance(name, str) or name not in EXERCISES:
        raise unknown_name("exercise", name, EXERCISES)
    exercise = EXERCISES[name]
    attempt = _failures.get(name, 0) + 1
    feedback = check_exercise(exercise, solution, seed, attempt=attempt)
    if feedback.status == "not written yet":
        return feedback
    _failures[name] = 0 if feedback.passed else attempt
    notes = [feedback.note, remember(exercise.name, feedback.passed)]
    return replace(feedback, note="; ".join(filter(None, notes)))


def progress() -> Progress:
    """Show which exercises are passed and which are open; `course progress` shows the same.

    As the last line of a notebook's cell the table displays itself. It is kept in the user's
    cache, which on Colab lasts as long as the machine.

    Returns:
        A row for each lesson: exercises passed of all, which are open, and attempts. What
        cannot be read counts as open, and one line says so.
    """
    memories, note = recall()
    return overview(EXERCISES, memories, note)
