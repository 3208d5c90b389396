"""Marks for a learning platform: a file with the columns that Moodle, Canvas or Google Classroom have.

The file is the table that the platform itself exported, its marks filled in; or, without one, a table with the columns
that the platform documents and what the names of the submissions tell.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.classroom.assignments.assignment import Assignment
from course_lib.classroom.grading.learners import Learner, plain_stem
from course_lib.classroom.grading.reports.tables import Table, read_table, safe_cell, safe_table, write_table
from course_lib.classroom.grading.submissions import Submission
from course_lib.errors import CourseError
from course_lib.locations import check_output_file, written_output

if TYPE_CHECKING:
    from course_lib.classroom.grading.journal import Graded

# Moodle: "Download grading worksheet" of an assignment; "Upload grading worksheet" takes it back.
MOODLE_COLUMNS = (
    "Identifier",
    "Full name",
    "Email address",
    "Status",
    "Grade",
    "Maximum Grade",
    "Grade can be changed",
    "Last modified (submission)",
    "Last modified (grade)",
    "Feedback comments",
)
# Canvas: "Export" of the gradebook; "Import" takes it back. The assignments' columns stand between these and totals.
CANVAS_COLUMNS = ("Student", "ID", "SIS Login ID", "Section")
_CANVAS_TOTAL = re.compile(r"(Current|Final|Override) (Score|Points|Grade|Status)")
_POINTS = "Points Possible"
# Google Classroom: "Download all grades as CSV"; it takes no file back, the marks are copied.
CLASSROOM_COLUMNS = ("Last Name", "First Name", "Email Address")
NAMES = {"moodle": "Moodle", "canvas": "Canvas", "classroom": "Google Classroom"}


@dataclass(frozen=True)
class Worksheet:
    """A table that a platform exported.

    Args:
        platform: which one.
        table: the table.
        column: the number of the column for the marks.
    """

    platform: str
    table: Table
    column: int

    @property
    def header(self) -> list[str]:
        """The names of its columns."""
        return [name.strip() for name in self.table.rows[0]]


@dataclass(frozen=True)
class MarksFile:
    """A file of marks for a platform.

    Args:
        path: where it is.
        platform: what it is for.
        num_marks: how many marks are in it.
        left_out: whom it has no mark of, a sentence each.
    """

    path: Path
    platform: str
    num_marks: int
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Mark:
    """What one learner is given: no marks where nothing was marked, and then a reason."""

    learner: Learner
    marks: str
    comment: str


def read_worksheet(path: Path, assignment: Assignment, column: str = "") -> Worksheet:
    """Read a table that a platform exported, and find the column for the marks.

    Args:
        path: Moodle's grading worksheet, or the exported gradebook of Canvas or Google Classroom.
        assignment: what was graded.
        column: the column's title, or that without the number behind it; by default the one that names the assignment,
            or the only one there is.

    Raises:
        CourseError: if it is no such table, or has no such column, or the platform gives other points for it.
    """
    table = read_table(path)
    header = [name.strip() for name in table.rows[0]]
    platform = _platform_of(header)
    if not platform:
        raise CourseError(
            "This table has the columns of no platform: Moodle's grading worksheet, or a gradebook of Canvas or "
            "Google Classroom, exported in English.",
            given=f"{path}: {', '.join(header[:8])}",
            mend="Export it again; or leave it out.",
        )
    worksheet = Worksheet(platform, table, _column(platform, header, assignment, column))
    points = _points(worksheet)
    if any(value != assignment.marks for value in points):
        raise CourseError(
            f"{NAMES[platform]} gives other points for this column than the assignment has marks.",
            given=f"{max(points):g}, and {assignment.marks} marks",
            mend="Change the points there and export again, or the marks in rubric.json.",
        )
    return worksheet


class MarksFiles:
    """The files of marks of one run: one for each platform that names of submissions tell of.

    Args:
        found: what was handed in.
        assignment: what is graded.
        out: the gradebook; the files lie beside it.
        worksheet: as for `read_worksheet`; None for tables of our own.
        column: as for `read_worksheet`.

    Raises:
        CourseError: as `read_worksheet` does; if nothing was handed in as that platform names it, or a file cannot be
            written. Nothing was graded until then.
    """

    def __init__(
        self,
        found: Sequence[Submission],
        assignment: Assignment,
        out: Path,
        worksheet: Path | None = None,
        column: str = "",
    ) -> None:
        self.assignment = assignment
        if column and worksheet is None:
            raise CourseError(
                "A column is one of a worksheet, and none is given.",
                given=column,
                mend="Name the platform's table with --worksheet, or leave --column out.",
            )
        self.worksheet = read_worksheet(worksheet, assignment, column) if worksheet is not None else None
        platforms = sorted({one.learner.platform for one in found if one.learner is not None})
        if self.worksheet is not None and self.worksheet.platform not in platforms:
            raise CourseError(
                f"No submission is named as {NAMES[self.worksheet.platform]} names its downloads.",
                given=str(worksheet),
                mend="Grade the download as it came, or leave the worksheet out.",
            )
        self.paths = {platform: out.with_name(f"{out.stem}_{platform}.csv") for platform in platforms}
        for path in self.paths.values():
            if worksheet is not None and path.resolve() == worksheet.resolve():
                raise CourseError(
                    "The worksheet would be written over.", given=str(path), mend="Name another --out."
                )
            check_output_file(path)

    def write(self, graded: Iterable[Graded], submissions: Mapping[str, Submission]) -> list[MarksFile]:
        """Write the files.

        Args:
            graded: all graded submissions.
            submissions: what was handed in, by label.
        """
        handed_in: dict[tuple[str, str], list[tuple[Graded, Submission, Learner]]] = {}
        for one in graded:
            submission = submissions[one.label]
            if (learner := submission.learner) is not None:
                key = (learner.platform, learner.number or _folded(learner.name))
                handed_in.setdefault(key, []).append((one, submission, learner))
        marks = [self._mark(given) for given in handed_in.values()]
        return [
            self._write(platform, path, [mark for mark in marks if mark.learner.platform == platform])
            for platform, path in self.paths.items()
        ]

    def _mark(self, given: list[tuple[Graded, Submission, Learner]]) -> _Mark:
        """Give a learner's mark: that of the one notebook, or of the one that is named as the assignment."""
        learner = given[0][2]
        named = [one for one in given if plain_stem(one[1].path) == self.assignment.name]
        chosen = given if len(given) == 1 else named
        if len(chosen) != 1:
            names = ", ".join(one[0].label for one in given)
            return _Mark(learner, "", f"Not marked. There are several notebooks: {names}.")
        report = chosen[0][0].report
        if report.problem:
            return _Mark(learner, "", f"Not marked. {report.problem}")
        parts = (f"{part.task.partition('.')[2]}: {part.marks} of {part.out_of}" for part in report.results)
        return _Mark(learner, str(report.marks), "; ".join(parts))

    def _write(self, platform: str, path: Path, marks: list[_Mark]) -> MarksFile:
        left_out = [f"{mark.learner.name}: {mark.comment}" for mark in marks if not mark.marks]
        if self.worksheet is not None and self.worksheet.platform == platform:
            table, missing = _filled(self.worksheet, marks)
        else:
            table, missing = _MAKERS[platform](marks, self.assignment)
        left_out += [f"{mark.learner.name}: {self._reason(platform)}" for mark in missing if mark.marks]
        with written_output(path) as temporary:
            write_table(temporary, table)
        return MarksFile(path, platform, len(marks) - len(left_out), tuple(left_out))

    def _reason(self, platform: str) -> str:
        if self.worksheet is not None and self.worksheet.platform == platform:
            return "not in the worksheet, or several there have this name."
        return "the name of the file does not say who it is."


def _platform_of(header: list[str]) -> str:
    names = set(header)
    if {"Identifier", "Grade"} <= names:
        return "moodle"
    if header[0] in ("Student", "LastName") and {"ID", "Section"} <= names:
        return "canvas"
    return "classroom" if set(CLASSROOM_COLUMNS) <= names else ""


def _column(platform: str, header: list[str], assignment: Assignment, column: str) -> int:
    """Give the number of the column for the marks."""
    if platform == "moodle":
        return header.index("Grade")
    last = "Section" if platform == "canvas" else "Email Address"
    candidates = {
        number: name
        for number, name in enumerate(header)
        if number > header.index(last) and name and not _CANVAS_TOTAL.search(name)
    }
    plain = {number: _without_number(name) for number, name in candidates.items()}
    if column:
        found = [number for number in candidates if column in (candidates[number], plain[number])]
    else:
        called = re.compile(
            rf"\b({re.escape(assignment.name)}|{re.escape(assignment.title)})\b", re.IGNORECASE
        )
        found = [number for number, name in plain.items() if called.search(name)]
        found = found or list(candidates)
    if len(found) != 1:
        raise CourseError(
            "The worksheet does not tell which column is this assignment's.",
            given=f"{column or assignment.name} of {', '.join(candidates.values()) or 'no columns'}",
            mend="Name it with --column.",
        )
    return found[0]


def _without_number(title: str) -> str:
    """Give the title of a Canvas column without the assignment's number behind it."""
    return re.sub(r" \(\d+\)$", "", title)


def _points(worksheet: Worksheet) -> list[float]:
    """Give what points the platform has for the marks, where it says so."""
    rows = worksheet.table.rows[1:]
    if worksheet.platform == "moodle":
        numbers = [number for number, name in enumerate(worksheet.header) if name.lower() == "maximum grade"]
        cells = [row[number] for row in rows for number in numbers]
    else:
        cells = [row[worksheet.column] for row in rows if row[0].strip() in (_POINTS, "Points")]
    return [float(cell.replace(",", ".")) for cell in cells if re.fullmatch(r"\s*\d+([.,]\d+)?\s*", cell)]


def _filled(worksheet: Worksheet, marks: list[_Mark]) -> tuple[Table, list[_Mark]]:
    """Fill the marks into a platform's own table; every other cell stays as it is."""
    rows = [list(row) for row in worksheet.table.rows]
    missing = []
    for mark in marks:
        found = [row for row in rows[1:] if _is_row_of(worksheet, row, mark.learner)]
        if len(found) != 1:
            missing.append(mark)
            continue
        if mark.marks:
            found[0][worksheet.column] = mark.marks
        _comment(worksheet.header, found[0], mark)
    return Table(rows, worksheet.table.delimiter, worksheet.table.encoding), missing


def _is_row_of(worksheet: Worksheet, row: list[str], learner: Learner) -> bool:
    cells = dict(zip(worksheet.header, row, strict=False))
    if worksheet.platform == "moodle":
        number = re.search(r"\d+$", cells["Identifier"].strip())
        return number is not None and number[0] == learner.number
    if worksheet.platform == "canvas":
        return bool(learner.number) and cells["ID"].strip() == learner.number
    first, last = cells["First Name"], cells["Last Name"]
    return _folded(learner.name) in (
        _folded(f"{first} {last}"),
        _folded(f"{last} {first}"),
        _folded(last + first),
    )


def _comment(header: list[str], row: list[str], mark: _Mark) -> None:
    """Say what was marked, where the platform has a place for it and nobody has written there."""
    if "Feedback comments" in header:
        number = header.index("Feedback comments")
        row[number] = row[number] or html.escape(mark.comment)


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def _moodle_table(marks: list[_Mark], assignment: Assignment) -> tuple[Table, list[_Mark]]:
    rows = []
    for mark in marks:
        name = safe_cell(unicodedata.normalize("NFC", mark.learner.name))
        cells = [f"Participant {mark.learner.number}", name, "", "Submitted for grading", mark.marks]
        # The last but one as Moodle writes it where nothing was graded yet.
        cells += [f"{assignment.marks}.00", "Yes", "", "-", safe_cell(html.escape(mark.comment))]
        rows.append(cells)
    return Table([list(MOODLE_COLUMNS), *rows]), []


def _canvas_table(marks: list[_Mark], assignment: Assignment) -> tuple[Table, list[_Mark]]:
    known = [mark for mark in marks if mark.learner.number]
    rows = [(mark.learner.name, mark.learner.number, "", "", mark.marks) for mark in known]
    points = (f"    {_POINTS}", "", "", "", assignment.marks)
    unknown = [mark for mark in marks if not mark.learner.number]
    return safe_table([(*CANVAS_COLUMNS, assignment.title), points, *rows]), unknown


def _classroom_table(marks: list[_Mark], assignment: Assignment) -> tuple[Table, list[_Mark]]:
    rows = []
    for mark in marks:
        first, _, last = mark.learner.name.rpartition(" ")
        rows.append((last if first else "", first or last, "", mark.marks))
    return safe_table([(*CLASSROOM_COLUMNS, assignment.title), *rows]), []


_MAKERS: dict[str, Callable[[list[_Mark], Assignment], tuple[Table, list[_Mark]]]] = {
    "moodle": _moodle_table,
    "canvas": _canvas_table,
    "classroom": _classroom_table,
}
