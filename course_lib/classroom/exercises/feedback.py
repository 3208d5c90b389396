"""What a check says: as text in a terminal, as HTML in a notebook."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Literal

Status = Literal["passed", "failed", "not written yet", "error"]

# Mark, words, and an accent that reads on white and on black. The words carry the meaning.
_LOOKS: dict[str, tuple[str, str, str]] = {
    "passed": ("✓", "passed", "#1a8a5f"),
    "failed": ("✗", "not right yet", "#d55e00"),
    "not written yet": ("○", "not written yet", "#767676"),
    "error": ("✗", "stopped with an error", "#d55e00"),
}


@dataclass(frozen=True, repr=False)
class Feedback:
    """The outcome of one check. Displays itself as the last line of a cell.

    `bool(feedback)` is `feedback.passed`.

    Args:
        status: "passed", "failed", "not written yet" or "error".
        exercise: the exercise's name.
        message: what happened, in a sentence or two.
        case: the input it happened on, one argument a line; empty if there is none.
        expected: what was expected for this input, as text.
        got: what came, as text.
        hint: what to look at next.
        note: one line beside the matter, for example that the attempt could not be remembered.

    Example:
        >>> print(Feedback("failed", "01.parameter_ratio", "Expected 50.0, got 0.02.", hint="P over N."))
        ✗ 01.parameter_ratio: not right yet
          Expected 50.0, got 0.02.
          hint: P over N.
    """

    status: Status
    exercise: str
    message: str
    case: str = ""
    expected: str = ""
    got: str = ""
    hint: str = ""
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the solution is right."""
        return self.status == "passed"

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        mark, words, _ = _LOOKS[self.status]
        lines = [f"{mark} {self.exercise}: {words}", *_indented(self.message, 2)]
        for label, text in self._details():
            lines += _labelled(label, text)
        lines += _indented(f"({self.note})", 2) if self.note else []
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        mark, words, accent = _LOOKS[self.status]
        rows = "".join(_html_row(label, text) for label, text in self._details())
        note = f'<div style="font-size: smaller;">({html.escape(self.note)})</div>' if self.note else ""
        frame = f"border-left: 4px solid {accent}; padding: 0.4em 0.8em; margin: 0.4em 0;"
        return (
            f'<div role="status" style="{frame}">'
            f'<div><strong><span style="color: {accent};">{mark}</span> '
            f"{html.escape(self.exercise)}: {words}</strong></div>"
            f'<div style="white-space: pre-wrap;">{html.escape(self.message)}</div>{rows}{note}</div>'
        )

    def _details(self) -> list[tuple[str, str]]:
        labelled = [("input", self.case), ("expected", self.expected), ("got", self.got), ("hint", self.hint)]
        return [(label, text) for label, text in labelled if text]


def _indented(text: str, width: int) -> list[str]:
    return [" " * width + line for line in text.splitlines()]


def _labelled(label: str, text: str) -> list[str]:
    if "\n" not in text:
        return [f"  {label}: {text}"]
    return [f"  {label}:", *_indented(text, 4)]


def _html_row(label: str, text: str) -> str:
    # Colours are inherited, so that the row reads in light and in dark themes.
    font = "" if label == "hint" else " font-family: monospace;"
    return (
        '<div style="display: flex; gap: 0.8em; margin-top: 0.3em;">'
        f'<strong style="flex: 0 0 5em;">{label}</strong>'
        f'<div style="white-space: pre-wrap; overflow-wrap: anywhere;{font}">{html.escape(text)}</div></div>'
    )
