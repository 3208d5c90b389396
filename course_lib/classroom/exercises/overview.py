"""Progress across the lessons: as text in a terminal, as HTML in a notebook."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING

from course_lib.classroom.exercises.remembering import Memory

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("lesson", "passed", "open", "attempts")
TEXT_WIDTH = 100


@dataclass(frozen=True)
class LessonProgress:
    """What is passed and what is open in one lesson.

    Args:
        lesson: its number, "01".
        passed: the passed exercises, without the lesson's number.
        open: the others.
        attempts: attempts at its exercises, passed and open, together.
        finished_on: the day on which the last exercise was first passed; None while one is open.
    """

    lesson: str
    passed: tuple[str, ...]
    open: tuple[str, ...]
    attempts: int
    finished_on: date | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table, as text."""
        number = f"{len(self.passed)} of {len(self.passed) + len(self.open)}"
        left = ", ".join(self.open) or f"none since {self.finished_on}"
        return self.lesson, number, left, str(self.attempts)


@dataclass(frozen=True, repr=False)
class Progress:
    """The learner's progress. Displays itself as the last line of a cell.

    Args:
        lessons: a row for each lesson, in order.
        note: one line on why it could not be read; mostly empty.

    Example:
        >>> print(Progress((LessonProgress("01", ("parameter_ratio",), ("select_degree",), 3),)))
        1 of 2 exercises passed
        ┏━━━━━━━━┳━━━━━━━━┳━━━━━━━━━━━━━━━┳━━━━━━━━━━┓
        ┃ lesson ┃ passed ┃ open          ┃ attempts ┃
        ┡━━━━━━━━╇━━━━━━━━╇━━━━━━━━━━━━━━━╇━━━━━━━━━━┩
        │ 01     │ 1 of 2 │ select_degree │        3 │
        └────────┴────────┴───────────────┴──────────┘
    """

    lessons: tuple[LessonProgress, ...]
    note: str = ""

    @property
    def summary(self) -> str:
        """How many exercises are passed, of all."""
        num_passed = sum(len(row.passed) for row in self.lessons)
        num_open = sum(len(row.open) for row in self.lessons)
        return f"{num_passed} of {num_passed + num_open} exercises passed"

    def table(self) -> Table:
        """Give the lessons as a table for a rich console."""
        from rich.table import Table

        table = Table()
        for title in COLUMNS:
            table.add_column(
                title,
                overflow="fold",
                no_wrap=title != "open",
                justify="right" if title == "attempts" else "left",
            )
        for row in self.lessons:
            table.add_row(*row.cells)
        return table

    def __str__(self) -> str:
        from rich.console import Console

        # Inside a notebook rich would display the table by itself.
        console = Console(file=io.StringIO(), width=TEXT_WIDTH, force_jupyter=False, force_terminal=False)
        with console.capture() as capture:
            console.print(self.table())
        return "\n".join([self.summary, capture.get().rstrip("\n"), *([self.note] if self.note else [])])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        # Colours are inherited, so that the table reads in light and in dark themes.
        head = "".join(f'<th scope="col" style="text-align: left;">{title}</th>' for title in COLUMNS)
        body = "".join(_html_row(row.cells) for row in self.lessons)
        note = f'<div style="font-size: smaller;">{html.escape(self.note)}</div>' if self.note else ""
        return (
            f'<table><caption style="text-align: left;"><strong>{self.summary}</strong></caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"
        )


def overview(names: Iterable[str], memories: Mapping[str, Memory], note: str = "") -> Progress:
    """Sum up what is remembered, a row for each lesson.

    Args:
        names: the course's exercises, "01.parameter_ratio". What is remembered of others is left out.
        memories: what is remembered, by exercise.
        note: a line to show below.

    Returns:
        The progress, with lessons and exercises in the order of `names`.
    """
    lessons = groupby(names, key=lambda name: name.split(".", 1)[0])
    return Progress(tuple(_lesson(lesson, list(group), memories) for lesson, group in lessons), note)


def _lesson(lesson: str, names: list[str], memories: Mapping[str, Memory]) -> LessonProgress:
    known = {name: memories.get(name, Memory()) for name in names}
    days = {name: memory.passed_at.date() for name, memory in known.items() if memory.passed_at is not None}
    return LessonProgress(
        lesson=lesson,
        passed=tuple(_short(name) for name in names if name in days),
        open=tuple(_short(name) for name in names if name not in days),
        attempts=sum(memory.attempts for memory in known.values()),
        finished_on=max(days.values()) if len(days) == len(names) else None,
    )


def _short(name: str) -> str:
    return name.split(".", 1)[1]


def _html_row(cells: tuple[str, ...]) -> str:
    lesson, *others = (html.escape(cell) for cell in cells)
    data = "".join(f'<td style="text-align: left;">{cell}</td>' for cell in others)
    return f'<tr><th scope="row" style="text-align: left;">{lesson}</th>{data}</tr>'
