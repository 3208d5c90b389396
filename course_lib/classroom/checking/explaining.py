"""Usual mistakes, and which of them explains a learner's results: one rule for exercises and for assignments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from course_lib.classroom.checking.comparing import compare


class _Raised:
    """Stands for the result of a call that raised."""


RAISED: Final = _Raised()


@dataclass(frozen=True)
class Mistake:
    """A usual wrong solution.

    Args:
        name: a few words, for example "inverted".
        hint: what to tell whoever made it. It points the way and does not give the solution.
        function: the wrong implementation, with the reference's signature.
    """

    name: str
    hint: str
    function: Callable[..., Any]


class Mistakes(list[Mistake]):
    """The usual mistakes of a task, each written as a function.

    Example:
        >>> mistakes = Mistakes()
        >>> @mistakes.add
        ... def one_too_many(x):
        ...     '''This is one too many. Count again.'''
        ...     return x + 1
        >>> mistakes[0].name, mistakes[0].hint, mistakes[0].function(2)
        ('one too many', 'This is one too many. Count again.', 3)
    """

    def add(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Adds a mistake, as a decorator.

        Args:
            function: the wrong implementation. Its name is the mistake's, its docstring the hint.

        Returns:
            The function as it is.
        """
        self.append(mistake_told_by(function, function))
        return function


def mistake_told_by(function: Callable[..., Any], wrong: Callable[..., Any]) -> Mistake:
    """Returns a mistake whose name and hint are a function's name and docstring.

    Args:
        function: tells name and hint.
        wrong: the wrong implementation.
    """
    name = function.__name__.strip("_").replace("_", " ")
    return Mistake(name, " ".join((function.__doc__ or "").split()), wrong)


def explaining_hint(
    results: Sequence[Any],
    expected: Sequence[Any],
    mistaken: Iterable[tuple[str, Iterable[Any]]],
    tolerance: float,
) -> str:
    """Returns the hint of the usual mistake that gives a learner's results, right and wrong ones.

    Args:
        results: the learner's, one a case; `RAISED` where the call raised.
        expected: the right ones.
        mistaken: for each mistake its hint and its results, `RAISED` where it raises.
        tolerance: how far numbers may be apart, as in `compare`.

    Returns:
        The hint; empty if no mistake explains the results, or several with different hints do.
    """
    hints = {hint for hint, wrong in mistaken if _explains(wrong, results, expected, tolerance)}
    return hints.pop() if len(hints) == 1 else ""


def sentence(text: str) -> str:
    """Returns a text as a sentence: with a capital, and with a full stop where no mark ends it.

    Example:
        >>> sentence("expected 1, got 2"), sentence("Why?")
        ('Expected 1, got 2.', 'Why?')
    """
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _explains(
    mistaken: Iterable[Any], results: Sequence[Any], expected: Sequence[Any], tolerance: float
) -> bool:
    """Says whether a mistake gives these results.

    Cases on which one of the two raises are left out: the same mistake can be written so that it raises on an edge
    case, or so that it does not.
    """
    found = False
    for result, wrong, right in zip(results, mistaken, expected, strict=True):
        if result is RAISED or wrong is RAISED:
            continue
        if compare(result, wrong, tolerance) is not None:
            return False
        found = found or compare(wrong, right, tolerance) is not None
    return found
