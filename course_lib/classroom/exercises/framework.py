"""Exercises and how they are checked: seeded inputs, a reference, and the usual mistakes.

A wrong solution is compared with every usual mistake. The mistake that gives the same results
is most likely the one that was made, so its hint is shown.
"""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from course_lib.classroom.checking.calling import Trial, accepts, call, signature_text
from course_lib.classroom.checking.comparing import TOLERANCE, compare, compare_kinds
from course_lib.classroom.checking.explaining import RAISED, Mistake, Mistakes, explaining_hint, sentence
from course_lib.classroom.checking.showing import show, show_case
from course_lib.classroom.exercises.feedback import Feedback
from course_lib.errors import CourseError

Case = dict[str, Any]
# The arguments of each input case, in the order of the reference's parameters.
Inputs = Sequence[tuple[Any, ...]]


@dataclass(frozen=True)
class Exercise:
    """A task for a function or an answer, with what is needed to check it.

    Args:
        name: lesson and function, for example "01.parameter_ratio".
        task: what to do, in one sentence.
        reference: the right implementation; its parameters are the expected signature.
            For an answer, a function without parameters that returns it.
        inputs: draws the input cases, the simplest first: the reference's arguments, in its order.
        hint: the recipe, for whoever failed twice and whose results no usual mistake explains.
        nudge: what to tell the first time, instead of the recipe; a general one by default.
        kind: "function" (the learner hands in a function) or "answer" (a value).
        mistakes: the usual mistakes; `@exercise.mistakes.add` adds one.
        tolerance: how far numbers may be apart, as in `compare`.
    """

    name: str
    task: str
    reference: Callable[..., Any]
    inputs: Callable[[np.random.Generator], Inputs]
    hint: str
    kind: Literal["function", "answer"] = "function"
    mistakes: Mistakes = field(default_factory=Mistakes)
    tolerance: float = TOLERANCE
    nudge: str = (
        "Work the input above out by hand, one step after the other, and compare each with your function's."
    )

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the expected arguments, in order."""
        return tuple(inspect.signature(self.reference).parameters)

    @property
    def signature(self) -> str:
        """The call that is expected, for example "parameter_ratio(num_parameters, num_examples)"."""
        return f"{self.name.split('.', 1)[1]}({', '.join(self.parameters)})"

    def cases(self, seed: int) -> list[Case]:
        """Returns the input cases of a seed, as keyword arguments."""
        drawn = self.inputs(np.random.default_rng(seed))
        return [dict(zip(self.parameters, case, strict=True)) for case in drawn]


def exercise(
    name: str, reference: Callable[..., Any], *, hint: str, tolerance: float = TOLERANCE
) -> Callable[[Callable[[np.random.Generator], Inputs]], Exercise]:
    """Makes an exercise of the function that draws its inputs, as a decorator. Its docstring is the task.

    Args:
        name: as for `Exercise`, which says what the others are.
        reference: the right implementation.
        hint: the recipe.
        tolerance: how far numbers may be apart.

    Example:
        >>> @exercise("01.parameter_ratio", lambda p, n: p / n, hint="It is one division.")
        ... def parameter_ratio(rng):
        ...     '''Return P/N.'''
        ...     return [(6, 2), (int(rng.integers(1, 9)), 4)]
        >>> parameter_ratio.task, parameter_ratio.cases(seed=0)
        ('Return P/N.', [{'p': 6, 'n': 2}, {'p': 7, 'n': 4}])
    """

    def declared(inputs: Callable[[np.random.Generator], Inputs]) -> Exercise:
        task = " ".join((inputs.__doc__ or "").split())
        return Exercise(name, task, reference, inputs, hint, tolerance=tolerance)

    return declared


def answer_exercise(
    name: str,
    task: str,
    expected: Any,
    hint: str,
    mistakes: Mapping[Any, str],
    tolerance: float = TOLERANCE,
) -> Exercise:
    """Make an exercise that asks for a value.

    Args:
        name: lesson and name, for example "01.examples_for_ratio".
        task: what to do, in one sentence.
        expected: the right answer.
        hint: what to tell when no usual mistake explains the answer.
        mistakes: the hint for each usual wrong answer.
        tolerance: how far numbers may be apart, as in `compare`.

    Returns:
        The exercise.
    """
    return Exercise(
        name=name,
        task=task,
        kind="answer",
        reference=_constant(expected),
        inputs=lambda rng: [()],
        hint=hint,
        mistakes=Mistakes(Mistake(show(value), text, _constant(value)) for value, text in mistakes.items()),
        tolerance=tolerance,
    )


_LOOK_AGAIN = "Write down what the question asks for, with its units, before you compute."
_SPELLING = (
    "Only spaces, line breaks, punctuation or capitals differ: compare the texts character by character."
)
# A function that takes longer on small inputs does more work than is asked for.
_SLOW_SECONDS = 10.0


def check_exercise(exercise: Exercise, solution: Any, seed: int = 0, *, attempt: int = 2) -> Feedback:
    """Check a learner's function or answer.

    Args:
        exercise: the exercise.
        solution: the function, or the answer. It may be anything: what is wrong with it is said
            in the feedback.
        seed: draws the inputs; a whole number from 0 on. The same seed gives the same feedback.
        attempt: which attempt this is; the first is told a nudge where the second is told the recipe.

    Returns:
        The feedback on the first input that is not right, or that all are.

    Raises:
        CourseError: if the seed is not a whole number from 0 on.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise CourseError("A seed is a whole number from 0 on.", given=seed, mend="Use seed=0.")
    if solution is None or solution is ...:
        return _not_written(exercise)
    if attempt < 2:
        exercise = replace(exercise, hint=exercise.nudge if exercise.kind == "function" else _LOOK_AGAIN)
    if exercise.kind == "answer":
        return _check_answer(exercise, solution)
    return _check_function(exercise, solution, exercise.cases(seed))


def _check_answer(exercise: Exercise, answer: Any) -> Feedback:
    if callable(answer):
        message = "This exercise asks for a value, and a function came."
        return Feedback("failed", exercise.name, message, got=show(answer), hint=exercise.hint)
    expected = exercise.reference()
    if compare(answer, expected, exercise.tolerance) is None:
        return Feedback("passed", exercise.name, "That is the answer.")
    # The expected value stays hidden: here it is the whole solution.
    kinds_differ = compare_kinds(answer, expected)
    message = sentence(kinds_differ) if kinds_differ else f"{show(answer)} is not the answer."
    hint = _hint(exercise, [Trial({}, value=answer)], [expected]) or exercise.hint
    return Feedback("failed", exercise.name, message, got=show(answer), hint=hint)


def _check_function(exercise: Exercise, function: Any, cases: Sequence[Case]) -> Feedback:
    refusal = _refusal(exercise, function, cases[0])
    if refusal:
        return Feedback("failed", exercise.name, refusal)
    expected = [exercise.reference(**copy.deepcopy(case)) for case in cases]
    trials: list[Trial] = []
    wrong: list[int] = []
    started = time.perf_counter()
    for case, value in zip(cases, expected, strict=True):
        trial = call(function, case, stub_name=exercise.name)
        if trial.is_stub:
            return _not_written(exercise)
        if not _is_right(exercise, trial, value):
            wrong.append(len(trials))
        trials.append(trial)
    note = _note_on_time(time.perf_counter() - started, len(cases))
    if not wrong:
        return Feedback("passed", exercise.name, f"Right on all {len(cases)} inputs.", note=note)
    hint = _hint(exercise, trials, expected)
    feedback = replace(_explained(exercise, trials[wrong[0]], expected[wrong[0]], hint), note=note)
    return _with_count(feedback, num_right=len(cases) - len(wrong), num_cases=len(cases))


def _spelling_hint(got: Any, expected: Any) -> str:
    """Give a hint where texts differ in their form alone; empty elsewhere."""
    try:
        return _SPELLING if _letters(got) and _letters(got) == _letters(expected) else ""
    except KeyboardInterrupt:
        raise
    except BaseException:  # a learner's object may do anything when it is looked at
        return ""


def _letters(value: Any) -> str:
    """Give the letters and digits of a text or of a list of texts; empty for anything else."""
    texts = value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(text, str) for text in texts):
        return ""
    return "".join(letter.lower() for text in texts for letter in text if letter.isalnum())


def _note_on_time(seconds: float, num_cases: int) -> str:
    if seconds < _SLOW_SECONDS:
        return ""
    return (
        f"your function took {seconds:.0f} seconds on {num_cases} small inputs: look for a loop that runs more "
        "often than it has to"
    )


def _refusal(exercise: Exercise, function: Any, case: Case) -> str:
    """Say why the function is not even called; empty if it can be."""
    short_name = exercise.signature.split("(", 1)[0]
    if not callable(function):
        return (
            f"This exercise asks for the function itself, and {show(function)} came. "
            f"Write {short_name}, not {short_name}(...)."
        )
    if not accepts(function, case):
        return f"The function is called as {exercise.signature}, but yours takes {signature_text(function)}."
    return ""


def _is_right(exercise: Exercise, trial: Trial, expected: Any) -> bool:
    return (
        not trial.error and not trial.changed and compare(trial.value, expected, exercise.tolerance) is None
    )


def _explained(exercise: Exercise, trial: Trial, expected: Any, hint: str) -> Feedback:
    case = show_case(trial.case)
    if trial.error:
        message = f"{trial.error}\nfrom {trial.line}" if trial.line else trial.error
        return Feedback("error", exercise.name, message, case, show(expected), hint=hint)
    if trial.changed:
        names = " and ".join(trial.changed)
        message = (
            f"The function changed its argument {names}. Whoever called it would find other values there."
        )
        hint = "x -= ... and x[i] = ... write into the caller's array. Write x = x - ..., or work on a copy."
    elif trial.value is None:
        message = "Nothing came back (None). Did you forget `return`?"
    else:
        message = sentence(compare(trial.value, expected, exercise.tolerance) or "")
        hint = hint or _spelling_hint(trial.value, expected)
    texts = show(expected), show(trial.value)
    if texts[0] == texts[1]:
        # Rounded for the eye, the two look the same: the message has the digits.
        texts = "", ""
    return Feedback("failed", exercise.name, message, case, *texts, hint=hint or exercise.hint)


def _with_count(feedback: Feedback, num_right: int, num_cases: int) -> Feedback:
    if num_right == 0:
        return feedback
    count = f"Right on {num_right} of {num_cases} inputs. The first wrong one:"
    return replace(feedback, message=f"{feedback.message}\n{count}")


def _not_written(exercise: Exercise) -> Feedback:
    return Feedback("not written yet", exercise.name, f"Your task: {exercise.task}")


def _hint(exercise: Exercise, trials: Sequence[Trial], expected: Sequence[Any]) -> str:
    """Returns the hint of the mistake that explains the results; empty if none or several do."""
    mistaken = (
        (mistake.hint, (_result(call(mistake.function, trial.case)) for trial in trials))
        for mistake in exercise.mistakes
    )
    return explaining_hint([_result(trial) for trial in trials], expected, mistaken, exercise.tolerance)


def _result(trial: Trial) -> Any:
    return RAISED if trial.error else trial.value


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value
