"""Assignments from their sources: the student's notebook, the instructor's, and the rubric.

A source, `notebooks/src/assignments/NAME.py`, is written like a lesson's. Where the form of a task differs it holds
a placeholder `<<name>>`, for which the assignment's variants give the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import jupytext
from nbformat.v4 import new_markdown_cell

from course_lib.classroom.assignments.assignment import RUBRIC, Assignment, load_assignment, rubric_of
from course_lib.classroom.grading.worker.answering import FORM_KEY
from course_lib.classroom.pipeline.catalogue import SOURCE_FOLDER, course_root
from course_lib.classroom.pipeline.cells import checked_cells, notebook_text, with_colab, with_solutions
from course_lib.classroom.pipeline.colab import course_repository
from course_lib.classroom.pipeline.stubs import split_exercise
from course_lib.errors import CourseError
from course_lib.locations import check_writable_folder, written_whole

if TYPE_CHECKING:
    from nbformat import NotebookNode

STUDENT_FOLDER = Path("notebooks", "assignments")
INSTRUCTOR_FOLDER = STUDENT_FOLDER / "instructor"
# The form that lies in the repository. It is public: who gives marks draws a form of their own.
PUBLIC_SEED = 0

_PLACEHOLDER = re.compile(r"(?P<before>^[ #]*)?<<(?P<name>[a-z0-9_.]+)>>", re.MULTILINE)


def sources(root: Path) -> list[str]:
    """List the names of the assignments that have a source."""
    return sorted(path.stem for path in (root / SOURCE_FOLDER / "assignments").glob("*.py"))


def built_notebooks(root: Path, name: str, repository: str) -> Iterator[tuple[Path, str]]:
    """Build the notebooks of an assignment's public form.

    Args:
        root: the checkout.
        name: the assignment.
        repository: the address that Colab installs the course from.

    Yields:
        Path and text of the student's notebook, then of the instructor's.
    """
    for folder, solutions in ((STUDENT_FOLDER, False), (INSTRUCTOR_FOLDER, True)):
        path = root / folder / f"{name}.ipynb"
        yield path, build_assignment(root, name, PUBLIC_SEED, repository=repository, solutions=solutions)


def build_assignment(
    root: Path, name: str, secret_seed: int, *, repository: str = "", solutions: bool = False
) -> str:
    """Build one notebook of an assignment.

    Args:
        root: the checkout.
        name: the assignment.
        secret_seed: the instructor's; it picks the form of each task, and is in no notebook.
        repository: the address that Colab installs the course from.
        solutions: whether it is the instructor's: with solutions, and the rubric on top.

    Returns:
        The text of the .ipynb file: the same, byte for byte, every time.

    Raises:
        CourseError: if there is no such assignment, a placeholder has no text, the source breaks the thinness
            rule, or its exercises are not the assignment's tasks.
    """
    assignment = load_assignment(name)
    path = root / SOURCE_FOLDER / "assignments" / f"{name}.py"
    if not path.is_file():
        raise CourseError("This assignment has no source.", given=str(path), mend="Write it.")
    text = filled(path.read_text(encoding="utf-8"), assignment.texts(secret_seed))
    cells = checked_cells(jupytext.reads(text, fmt="py:percent").cells, path.name, name)
    _check_tasks(cells, assignment)
    cells = with_colab(cells, STUDENT_FOLDER / f"{name}.ipynb", repository)
    form = {FORM_KEY: assignment.form(secret_seed)}
    if not solutions:
        return notebook_text([_with_stub(cell) for cell in cells], **form)
    notice = "**The instructor's version: it holds the solutions.**\n\n" + rubric_table(
        assignment, secret_seed
    )
    return notebook_text([new_markdown_cell(notice), *with_solutions(cells)], **form)


def write_assignment(name: str, secret_seed: int, folder: Path, root: Path | None = None) -> list[Path]:
    """Write what an instructor needs to set an assignment.

    Args:
        name: the assignment.
        secret_seed: picks the form of each task; keep it, and the folder, from students.
        folder: where to.
        root: the checkout; found from the current folder by default.

    Returns:
        The files: `student/NAME.ipynb` to hand out; `instructor/NAME.ipynb`, `rubric.md` and `rubric.json`, which
        `course grade --assignment` takes, to keep.

    Raises:
        CourseError: as `build_assignment` does; if a file of these is there and says anything else, or the
            folder cannot be written.
    """
    for part in ("student", "instructor"):
        check_writable_folder(folder / part)
    root = root or course_root()
    assignment, repository = load_assignment(name), course_repository(root)
    texts = {
        folder / "student" / f"{name}.ipynb": build_assignment(
            root, name, secret_seed, repository=repository
        ),
        folder / "instructor" / f"{name}.ipynb": build_assignment(
            root, name, secret_seed, repository=repository, solutions=True
        ),
        folder / "rubric.md": f"# {assignment.title}\n\n{rubric_table(assignment, secret_seed)}\n",
        folder / RUBRIC: json.dumps(rubric_of(assignment, secret_seed), indent=1) + "\n",
    }
    _refuse_others(texts)
    for path, text in texts.items():
        with written_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return list(texts)


def _refuse_others(texts: Mapping[Path, str]) -> None:
    """Keep what is there: it may be handed out already, and changed since; no other seed could grade it."""
    others = [
        str(path)
        for path, text in texts.items()
        if path.exists() and (path.is_dir() or path.read_bytes() != text.encode())
    ]
    if others:
        raise CourseError(
            "This folder holds another assignment, this one of another seed, or files that were changed.",
            given=others,
            mend="Name another folder with --out.",
        )


def rubric_table(assignment: Assignment, secret_seed: int) -> str:
    """Give the rubric as a Markdown table."""
    rows = [
        f"| `{task.function}` | {task.title} | {task.variant(secret_seed).name} | {task.marks} |"
        for task in assignment.tasks
    ]
    header = ["| task | what it asks | form | marks |", "| --- | --- | --- | --- |"]
    return "\n".join([*header, *rows, f"| together | | | {assignment.marks} |"])


def filled(source: str, texts: Mapping[str, str]) -> str:
    """Replace the placeholders of a source.

    Args:
        source: the text with `<<name>>` in it.
        texts: what each name stands for. Further lines of a text that begins its line are indented like the first.

    Raises:
        CourseError: if a placeholder has no text, or a text no placeholder.

    Example:
        >>> filled("# <<a>>!", {"a": "one\\ntwo"})
        '# one\\n# two!'
    """
    names = {match["name"] for match in _PLACEHOLDER.finditer(source)}
    if names != set(texts):
        raise CourseError(
            "The placeholders of the source are not those of the assignment's texts.",
            given=sorted(names ^ set(texts)),
            mend="Give every variant the same texts, and use each in the source.",
        )

    def text(match: re.Match[str]) -> str:
        before = match["before"] or ""
        return before + texts[match["name"]].replace("\n", f"\n{before}")

    return _PLACEHOLDER.sub(text, source)


def _check_tasks(cells: list[NotebookNode], assignment: Assignment) -> None:
    found = [cell.metadata["exercise"] for cell in cells if "exercise" in cell.metadata]
    tasks = [task.name for task in assignment.tasks]
    if found != tasks:
        raise CourseError(
            "The source's exercises are not the assignment's tasks in order.",
            given=found,
            mend=f"The tasks are {', '.join(tasks)}.",
        )


def _with_stub(cell: NotebookNode) -> NotebookNode:
    if "exercise" in cell.metadata:
        cell.source = split_exercise(cell.metadata["exercise"], cell.source).stub()
    return cell
