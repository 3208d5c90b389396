"""From a lesson's source to its notebooks: the learner's version and the one with solutions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.errors import CourseError
from course_lib.locations import written_whole
from course_lib.pipeline.catalogue import (
    LEARNER_FOLDER,
    SOLUTION_FOLDER,
    Lesson,
    course_root,
    lessons,
    read_source,
)
from course_lib.pipeline.colab import colab_badge, colab_cell, course_repository
from course_lib.pipeline.stubs import has_markers, split_exercise
from course_lib.pipeline.thinness import thinness_violations

if TYPE_CHECKING:
    from nbformat import NotebookNode

MAP_MARKER = "<!-- map of lessons -->"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# What a cell of the source may say about itself; everything else is jupytext's own bookkeeping.
_CELL_METADATA = ("exercise", "tags")


@dataclass(frozen=True)
class Change:
    """What a build did, or would do, with one notebook.

    Args:
        path: the notebook.
        state: "new", "changed", "same", "removed" (its source is gone) or "kept" (a learner changed it).
    """

    path: Path
    state: str


def build(root: Path | None = None, *, write: bool = True, force: bool = False) -> list[Change]:
    """Build every notebook from its source; those already in step are not written again.

    A notebook that a learner has written in is kept as it is, and so is one that no source belongs to, if a
    learner has written in it.

    Args:
        root: the checkout; found from the current folder by default.
        write: False only says what would change.
        force: overwrites notebooks that a learner has written in.

    Returns:
        One change for each notebook, in the order of the course.

    Raises:
        CourseError: if a source breaks the thinness rule or an exercise is malformed; then nothing is
            written.
    """
    root = root or course_root()
    built = dict(_built_notebooks(root))
    changes = [Change(path, _state(path, text, force)) for path, text in built.items()]
    changes += [Change(path, "removed") for path in _orphans(root, built)]
    for change in changes:
        if write and change.state in ("new", "changed"):
            with written_whole(change.path) as temporary:
                temporary.write_text(built[change.path], encoding="utf-8", newline="\n")
                temporary.chmod(0o644)
        elif write and change.state == "removed":
            change.path.unlink()
    return changes


def build_notebook(
    lesson: Lesson, *, catalogue: Sequence[Lesson], repository: str = "", solutions: bool = False
) -> str:
    """Build one notebook.

    Args:
        lesson: which one.
        catalogue: the lessons that the map of lessons lists.
        repository: the address that Colab installs the course from.
        solutions: whether exercises keep their solutions.

    Returns:
        The text of the .ipynb file: the same, byte for byte, every time.

    Raises:
        CourseError: if the source breaks the thinness rule or an exercise is malformed.
    """
    cells = checked_cells(read_source(lesson.path).cells, lesson.path.name, lesson.number)
    cells = with_colab(cells, LEARNER_FOLDER / f"{lesson.name}.ipynb", repository)
    cells = [_with_map(cell, catalogue) for cell in cells]
    return notebook_text(with_solutions(cells) if solutions else _with_stubs(cells))


def notebook_text(cells: list[NotebookNode], **metadata: str) -> str:
    """Give the text of a notebook of these cells: the same, byte for byte, every time.

    Args:
        cells: the cells.
        metadata: what the notebook says of itself beside `METADATA`.
    """
    import nbformat

    for position, cell in enumerate(cells):
        cell["id"] = cell_id(position, cell.source)
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={**METADATA, **metadata})
    notebook.nbformat_minor = 5
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def cell_id(position: int, source: str) -> str:
    """Give the id of a generated cell: a short hash of its position and source."""
    return hashlib.sha256(f"{position}\n{source}".encode()).hexdigest()[:12]


def is_edited(path: Path) -> bool:
    """Say whether someone wrote in a generated notebook: a cell's id no longer fits its source."""
    import nbformat

    try:
        cells = nbformat.read(path, as_version=4).cells
    except (ValueError, KeyError, nbformat.ValidationError):
        return False
    return any(cell.get("id") != cell_id(position, cell.source) for position, cell in enumerate(cells))


def map_of_lessons(catalogue: Sequence[Lesson]) -> str:
    """Give the Markdown table of the lessons that exist."""
    rows = [
        f"| [{lesson.number}]({lesson.name}.ipynb) | {_cell_text(lesson.title)} | "
        f"{_cell_text(lesson.description)} | {_cell_text(lesson.minutes)} |"
        for lesson in catalogue
    ]
    header = ["| Lesson | Title | What it is about | Time on two CPU cores |", "| --- | --- | --- | --- |"]
    return "\n".join([*header, *rows])


def _built_notebooks(root: Path) -> Iterator[tuple[Path, str]]:
    from course_lib.pipeline import assignments

    catalogue = lessons(root)
    repository = course_repository(root)
    for lesson in catalogue:
        for folder, solutions in ((LEARNER_FOLDER, False), (SOLUTION_FOLDER, True)):
            text = build_notebook(lesson, catalogue=catalogue, repository=repository, solutions=solutions)
            yield root / folder / f"{lesson.name}.ipynb", text
    for name in assignments.sources(root):
        yield from assignments.built_notebooks(root, name, repository)


def _state(path: Path, text: str, force: bool) -> str:
    if not path.is_file():
        return "new"
    if path.read_bytes() == text.encode("utf-8"):
        return "same"
    return "kept" if not force and is_edited(path) else "changed"


def _orphans(root: Path, built: dict[Path, str]) -> list[Path]:
    from course_lib.pipeline import assignments

    found = [
        path
        for folder in (LEARNER_FOLDER, SOLUTION_FOLDER)
        for path in sorted((root / folder).glob("[0-9][0-9]_*.ipynb"))
    ]
    found += sorted((root / assignments.STUDENT_FOLDER).rglob("*.ipynb"))
    return [path for path in found if path not in built and not is_edited(path)]


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
    from nbformat.v4 import new_code_cell

    install = new_code_cell(colab_cell(repository), metadata={"tags": ["colab"]})
    if not cells or cells[0].cell_type != "markdown":
        return [install, *cells]
    badge = colab_badge(repository, path.as_posix())
    if badge:
        cells[0].source += f"\n\n{badge}"
    return [cells[0], install, *cells[1:]]


def _with_map(cell: NotebookNode, catalogue: Sequence[Lesson]) -> NotebookNode:
    if cell.cell_type == "markdown" and MAP_MARKER in cell.source.splitlines():
        cell.source = cell.source.replace(MAP_MARKER, map_of_lessons(catalogue))
    return cell


def with_solutions(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Keep the solutions of exercises, without their markers."""
    for cell in cells:
        if "exercise" in cell.metadata:
            cell.source = split_exercise(cell.metadata["exercise"], cell.source).solved()
    return cells


def _with_stubs(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Replace solutions by stubs; each solution unfolds under its exercise and that exercise's hints."""
    from nbformat.v4 import new_markdown_cell

    result: list[NotebookNode] = []
    unfolding: NotebookNode | None = None
    for cell in cells:
        if unfolding is not None and not _is_hint(cell):
            result.append(unfolding)
            unfolding = None
        if "exercise" in cell.metadata:
            exercise = split_exercise(cell.metadata["exercise"], cell.source)
            cell.source = exercise.stub()
            unfolding = new_markdown_cell(_unfolding(exercise.solved()))
        result.append(cell)
    return result if unfolding is None else [*result, unfolding]


def _unfolding(code: str) -> str:
    return f"<details><summary>Solution</summary>\n\n```python\n{code}\n```\n\n</details>"


def _is_hint(cell: NotebookNode) -> bool:
    return cell.cell_type == "markdown" and cell.source.startswith("<details><summary>Hint")


def _first_lines(source: str, num_lines: int = 3) -> str:
    return "\n".join(source.splitlines()[:num_lines])


def _cell_text(text: str) -> str:
    return text.replace("|", "\\|")
