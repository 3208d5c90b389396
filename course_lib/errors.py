"""CourseError: what is wrong, what was given, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CourseError(Exception):
    """An error that a user of the course can mend.

    Args:
        problem: what is wrong, as one sentence.
        given: the value that caused it, if there is one.
        mend: what to do about it, as one sentence.

    Example:
        >>> print(CourseError("The learning rate must be positive.", given=-1, mend="Try 1e-4."))
        The learning rate must be positive. Given: -1. What to do: Try 1e-4.
    """

    def __init__(self, problem: str, *, given: object = None, mend: str = "") -> None:
        self.problem = problem
        self.given = given
        self.mend = mend
        super().__init__(problem, given, mend)

    def __str__(self) -> str:
        parts = [self.problem]
        if self.given is not None:
            parts.append(f"Given: {_shown(self.given)}.")
        if self.mend:
            parts.append(f"What to do: {self.mend}")
        return " ".join(parts)

    def __reduce__(self) -> tuple:
        return _rebuild, (type(self), self.problem, self.given, self.mend)


def unknown_name(kind: str, given: object, known: Iterable[str]) -> CourseError:
    """Build the error for a name that is not known, with the nearest known ones.

    Args:
        kind: what the name names, for example "text".
        given: the name that was asked for.
        known: every name that would have been accepted.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> print(unknown_name("profile", "smok", ["smoke", "default", "full"]))
        There is no profile of this name. Given: 'smok'. What to do: Did you mean 'smoke'? Known: smoke, default, full.
    """
    known = [str(name) for name in known]
    near = difflib.get_close_matches(str(given), known, n=3, cutoff=0.5)
    hint = "Did you mean " + " or ".join(f"'{name}'" for name in near) + "? " if near else ""
    listing = ", ".join(known) if known else "none"
    return CourseError(f"There is no {kind} of this name.", given=given, mend=f"{hint}Known: {listing}.")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def _rebuild(cls: type, problem: str, given: object, mend: str) -> CourseError:
    return cls(problem, given=given, mend=mend)
