"""From a lesson's source to its notebooks: the learner's version and the one with solutions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.classroom.pipeline.catalogue import (
    LEARNER_FOLDER,
    SOLUTION_FOLDER,
    Lesson,
    course_root,
    lessons,
    read_source,
)
from course_lib.classroom.pipeline.colab import colab_badge, colab_cell, course_repository
from course_lib.classroom.pipeline.stubs import has_markers, split_exercise
from course_lib.classroom.pipeline.thinness import thinness_violations
from course_lib.errors import CourseError
from course_lib.locations import (
    RECORD_FILE,
    is_own_file,
    recorded_paths,
    set_aside,
    written_output,
    written_whole,
)

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
    """What a build did, or would do, with one file.

    Args:
        path: the notebook, or the record of what the course wrote.
        state: "new", "changed", "same", "removed" (its source is gone) or "kept" (it is not what the course wrote).
        aside: where a learner's version was put that was in the way; only with `force`.
    """

    path: Path
    state: str
    aside: Path | None = None


def build(root: Path | None = None, *, write: bool = True, force: bool = False) -> list[Change]:
    """Build every notebook from its source; those already in step are not written again.

    Only what the course wrote, byte for byte, is replaced or removed: `notebooks/.course_files.sha256` says what
    that is. A notebook in which a learner has written, or that was only run and saved, is kept as it is. Other
    notebooks are none of a build's business.

    Args:
        root: the checkout; found from the current folder by default.
        write: False only says what would change.
        force: puts notebooks that would be kept aside, and builds them anew.

    Returns:
        One change for each notebook, in the order of the course, and one for the record if it changes.

    Raises:
        CourseError: if a source breaks the thinness rule or an exercise is malformed; then nothing is
            written.
    """
    root = root or course_root()
    folder = root / LEARNER_FOLDER
    record = folder / RECORD_FILE
    recorded = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []
    built = dict(_built_notebooks(root))
    changes = [_bring_in_step(path, text, folder, write, force) for path, text in built.items()]
    changes += [_remove_orphan(path, folder, write) for path in _orphans(folder, built)]
    kept = [change.path for change in changes if change.state == "kept"]
    lines = _record_lines(folder, built, kept, recorded)
    if lines == recorded:
        return changes
    if write:
        with written_whole(record) as temporary:
            temporary.write_text("\n".join([*lines, ""]), encoding="utf-8", newline="\n")
            temporary.chmod(0o644)
    return [*changes, Change(record, "changed" if recorded else "new")]


def _bring_in_step(path: Path, text: str, folder: Path, write: bool, force: bool) -> Change:
    state, aside = _state(path, text, folder), None
    if state == "kept" and force:
        state = "changed"
        aside = set_aside(path) if write else None
    if write and state in ("new", "changed"):
        with written_output(path, folder) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
            temporary.chmod(0o644)
    return Change(path, state, aside)


def _remove_orphan(path: Path, folder: Path, write: bool) -> Change:
    if not is_own_file(path, folder):
        return Change(path, "kept")
    if write:
        path.unlink()
    return Change(path, "removed")


def _record_lines(folder: Path, built: dict[Path, str], kept: list[Path], old: list[str]) -> list[str]:
    """Give the record's lines: one for each notebook as it is built, and what was known of those kept."""
    ends = tuple(f"  {path.relative_to(folder).as_posix()}" for path in kept)
    lines = {line for line in old if ends and line.endswith(ends)}
    lines |= {f"{_digest(text)}  {path.relative_to(folder).as_posix()}" for path, text in built.items()}
    return sorted(lines, key=lambda line: (line.partition("  ")[2], line))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


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
    from course_lib.classroom.pipeline import assignments

    catalogue = lessons(root)
    repository = course_repository(root)
    for lesson in catalogue:
        for folder, solutions in ((LEARNER_FOLDER, False), (SOLUTION_FOLDER, True)):
            text = build_notebook(lesson, catalogue=catalogue, repository=repository, solutions=solutions)
            yield root / folder / f"{lesson.name}.ipynb", text
    for name in assignments.sources(root):
        yield from assignments.built_notebooks(root, name, repository)


def _state(path: Path, text: str, folder: Path) -> str:
    if not os.path.lexists(path):
        return "new"
    if path.is_file() and path.read_bytes().replace(b"\r\n", b"\n") == text.encode("utf-8"):
        return "same"
    return "changed" if is_own_file(path, folder) else "kept"


def _orphans(folder: Path, built: dict[Path, str]) -> list[Path]:
    """Find notebooks that an earlier build wrote and that no source belongs to any more."""
    recorded = {folder / name for name in recorded_paths(folder)}
    return sorted(path for path in recorded if path not in built and path.is_file())


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
