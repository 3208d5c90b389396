"""What tasks are built of: values as texts show them, planted bugs, the problems of open answers."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pprint import pformat
from typing import Any

import numpy as np
import scipy.special

from course_lib.classroom.assignments.assignment import Variant
from course_lib.classroom.checking.explaining import Mistake, mistake_told_by

# Log-probabilities of logits over their last axis.
log_softmax = partial(scipy.special.log_softmax, axis=-1)
# How the hint to a planted bug begins where it was handed in again.
AS_GIVEN = "This behaves as the function that you were given. "


def shown(value: Any) -> str:
    """Returns a function's result as the notebook's text shows it, numbers rounded to four places.

    Example:
        >>> shown({"kept": 0, "loss": np.float64(0.25), "rows": np.array([[1.00004, 2.0]])})
        "{'kept': 0, 'loss': 0.25, 'rows': [[1.0, 2.0]]}"
    """
    return pformat(_rounded(value), width=110, sort_dicts=False)


def first_problem(problems: Iterable[str]) -> str:
    """Returns the first problem there is, for a property's message; empty if there is none.

    Args:
        problems: one for each thing that was looked at, empty where it is right.
    """
    return next(filter(None, problems), "")


def with_last(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Returns a function whose argument `last` has the name that a form of the task gives it.

    Args:
        function: takes an argument `last`.
        name: what the learner's function calls it.
    """

    def named(**case: Any) -> Any:
        return function(last=case.pop(name), **case)

    return named


class Changes(list[Callable[[Callable[..., Any]], Mistake]]):
    """Usual mistakes as changes of the right implementation, so that all forms of a task share them.

    A form's own ones follow the shared ones in `Changes(_SHARED)`.

    Example:
        >>> changes = Changes()
        >>> @changes.with_arguments(base=2)
        ... def in_bits():
        ...     '''This is in bits. Take the natural logarithm.'''
        >>> @changes.add
        ... def sign(right, x):
        ...     '''The sign is turned.'''
        ...     return -right(x)
        >>> def nats(x, base=np.e):
        ...     return float(np.log(x) / np.log(base))
        >>> [(mistake.name, mistake.function(4)) for mistake in changes.of(nats)]
        [('in bits', 2.0), ('sign', -1.3862943611198906)]
    """

    def add(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Adds a mistake, as a decorator.

        Args:
            function: the wrong implementation, which takes the right one first. Its name is the mistake's, its
                docstring the hint.

        Returns:
            The function as it is.
        """
        self.append(lambda right: mistake_told_by(function, partial(function, right)))
        return function

    def with_arguments(self, **arguments: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Adds the right implementation with other arguments as a mistake, as a decorator.

        Args:
            **arguments: what the right implementation gets besides a case.

        Returns:
            A decorator for a function that only tells the mistake's name, and the hint in its docstring.
        """

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            self.append(lambda right: mistake_told_by(function, partial(right, **arguments)))
            return function

        return add

    def as_argument(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Adds the right implementation with another part as a mistake, as a decorator.

        Args:
            name: the argument of the right implementation that takes the part.

        Returns:
            A decorator for the part, a function. Its name is the mistake's, its docstring the hint.
        """
        return lambda part: self.with_arguments(**{name: part})(part)

    def of(self, right: Callable[..., Any]) -> list[Mistake]:
        """Returns the mistakes for the right implementation of one form of the task."""
        return [change(right) for change in self]

    def variant(self, name: str, right: Callable[..., Any], /, **texts: str) -> Variant:
        """Returns one form of the task, with these mistakes.

        Args:
            name: a few words.
            right: the right implementation.
            **texts: what the source's placeholders stand for.
        """
        return Variant(name, texts, right, self.of(right))


@dataclass(frozen=True)
class Bug:
    """A mistake as changes of the right function's source; one with a form is planted in a form of the task.

    Args:
        name: a few words.
        hint: what to tell whoever made the mistake in a function of their own.
        changes: pairs of what stands in the right function and what stands there instead.
        form: the name of the form in which it is planted; empty if in none.
        ask: the hint for whoever hands the bug in as it was given.
        symptom: what the notebook says of the bug.
    """

    name: str
    hint: str
    changes: Sequence[tuple[str, str]]
    form: str = ""
    ask: str = ""
    symptom: str = ""

    def source(self, right: Callable[..., Any], name: str) -> str:
        """Returns the source with the bug, as the notebook shows it.

        Args:
            right: the right function; its parameters bear no annotations.
            name: what the notebook calls the function.

        Raises:
            ValueError: if a text to change is not in the source.
        """
        source = textwrap.dedent(inspect.getsource(right)).replace(right.__name__, name)
        for old, new in self.changes:
            if old not in source:
                raise ValueError(f"{self.name}: {old!r} is not in the right function")
            source = source.replace(old, new)
        return source.rstrip()

    def function(self, right: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function with the bug."""
        names: dict[str, Any] = {"np": np}
        exec(self.source(right, "with_bug"), names)
        return names["with_bug"]


def bug_variants(
    function: str, right: Callable[..., Any], bugs: Sequence[Bug], **texts: str
) -> tuple[Variant, ...]:
    """Returns the forms of a task that asks for the bug: one for each planted bug.

    Args:
        function: the name of the function that the learner mends.
        right: the right function.
        bugs: all mistakes, planted ones among them.
        texts: texts for the source's placeholders that all forms share.
    """
    return tuple(
        Variant(
            planted.form,
            {**texts, "bug": planted.source(right, f"{function}_with_bug"), "symptom": planted.symptom},
            right,
            [
                Mistake(bug.name, AS_GIVEN + bug.ask if bug is planted else bug.hint, bug.function(right))
                for bug in bugs
            ],
        )
        for planted in bugs
        if planted.form
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return np.round(value, 4).tolist() if isinstance(value, np.ndarray | np.floating | float) else value
