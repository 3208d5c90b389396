"""Cells of a source as a notebook: what they may hold, and the notebook's text; for lessons and for assignments."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from nbformat.v4 import new_code_cell

from course_lib.classroom.pipeline.colab import colab_badge, colab_cell
from course_lib.classroom.pipeline.stubs import has_markers, split_exercise
from course_lib.classroom.pipeline.thinness import thinness_violations
from course_lib.errors import CourseError

if TYPE_CHECKING:
    from nbformat import NotebookNode

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# What a cell of the source may say about itself; everything else is jupytext's own bookkeeping.
_CELL_METADATA = ("exercise", "tags")


def notebook_text(cells: list[NotebookNode], **metadata: str) -> str:
    """Give the text of a notebook of these cells: the same, byte for byte, every time.

    Args:
        cells: the cells.
        metadata: what the notebook says of itself beside `METADATA`.
    """
    for position, cell in enumerate(cells):
        cell["id"] = cell_id(position, cell.source)
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={**METADATA, **metadata})
    notebook.nbformat_minor = 5
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def cell_id(position: int, source: str) -> str:
    """Give the id of a generated cell: a short hash of its position and source."""
    return hashlib.sha256(f"{position}\n{source}".encode()).hexdigest()[:12]


def checked_cells(cells: list[NotebookNode], file_name: str, prefix: str) -> list[NotebookNode]:
    """Check a source's cells, and leave them what they may say about themselves.

    Args:
        cells: the cells of a source.
        file_name: the source, for messages.
        prefix: what its exercises' names begin with, "01" or "a1".

    Raises:
        CourseError: if one breaks the thinness rule or an exercise is malformed.
    """
    names = [cell.metadata["exercise"] for cell in cells if "exercise" in cell.metadata]
    for position, cell in enumerate(cells, start=1):
        problems = thinness_violations(cell)
        if "exercise" in cell.metadata:
            problems += _exercise_problems(cell.metadata["exercise"], prefix, names)
        elif cell.cell_type == "code" and has_markers(cell.source):
            problems.append("it holds solution markers but no exercise name")
        if problems:
            raise CourseError(
                f"{file_name}, cell {position}: " + "; ".join(problems) + ".",
                given=_first_lines(cell.source),
                mend="Move the work into course_lib, or mark the cell as the exercise it is.",
            )
        cell.metadata = {key: cell.metadata[key] for key in _CELL_METADATA if key in cell.metadata}
    return cells


def _exercise_problems(name: object, prefix: str, names: list[object]) -> list[str]:
    problems = []
    if not str(name).startswith(f"{prefix}."):
        problems.append(f"its exercise is named {name!r}; the name begins with '{prefix}.'")
    if names.count(name) > 1:
        problems.append(f"two exercises are named {name!r}")
    return problems


def with_colab(cells: list[NotebookNode], path: Path, repository: str) -> list[NotebookNode]:
    """Put the badge into the title's cell and the Colab cell under it.

    Args:
        cells: the notebook's cells, the title's first.
        path: the notebook's path in the repository.
        repository: the address that Colab installs the course from; may be empty.
    """
    install = new_code_cell(colab_cell(repository), metadata={"tags": ["colab"]})
    if not cells or cells[0].cell_type != "markdown":
        return [install, *cells]
    badge = colab_badge(repository, path.as_posix())
    if badge:
        cells[0].source += f"\n\n{badge}"
    return [cells[0], install, *cells[1:]]


def with_solutions(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Keep the solutions of exercises, without their markers."""
    for cell in cells:
        if "exercise" in cell.metadata:
            cell.source = split_exercise(cell.metadata["exercise"], cell.source).solved()
    return cells


def _first_lines(source: str, num_lines: int = 3) -> str:
    return "\n".join(source.splitlines()[:num_lines])
