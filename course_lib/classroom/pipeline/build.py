"""From a lesson's source to its notebooks: the learner's version and the one with solutions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nbformat.v4 import new_markdown_cell

from course_lib.classroom.pipeline import assignments
from course_lib.classroom.pipeline.catalogue import (
    LEARNER_FOLDER,
    SOLUTION_FOLDER,
    Lesson,
    course_root,
    lessons,
    read_source,
)
from course_lib.classroom.pipeline.cells import checked_cells, notebook_text, with_colab, with_solutions
from course_lib.classroom.pipeline.colab import course_repository
from course_lib.classroom.pipeline.stubs import split_exercise
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


def _with_map(cell: NotebookNode, catalogue: Sequence[Lesson]) -> NotebookNode:
    if cell.cell_type == "markdown" and MAP_MARKER in cell.source.splitlines():
        cell.source = cell.source.replace(MAP_MARKER, map_of_lessons(catalogue))
    return cell


def _with_stubs(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Replace solutions by stubs; each solution unfolds under its exercise and that exercise's hints."""
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


def _cell_text(text: str) -> str:
    return text.replace("|", "\\|")
