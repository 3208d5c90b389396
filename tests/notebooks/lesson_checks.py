"""What is checked of every lesson, run at the smoke profile once as a learner's and once with its solutions.

Each chapter's lessons have a file of tests of their own, so that processes can share them.
"""

from __future__ import annotations

import io
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

from course_lib.classroom.exercises import EXERCISES
from course_lib.classroom.pipeline.catalogue import course_root, lessons
from course_lib.classroom.pipeline.execute import execute_notebook, find_headline
from course_lib.classroom.pipeline.progress import RunProgress

ROOT = course_root(Path(__file__).parent)
# Seconds; far from what a cell takes, so that a busy machine fails no lesson.
CELL_TIME_LIMIT, LESSON_TIME_LIMIT = 1800, 3600
NAMES = [lesson.name for lesson in lessons(ROOT)]


@cache
def executed(name: str, folder: str) -> nbformat.NotebookNode:
    path = ROOT / folder / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    quiet = RunProgress(Console(file=io.StringIO()), [], 1)
    execute_notebook(
        notebook, path=path, profile="smoke", time_limit=CELL_TIME_LIMIT, progress=quiet
    )
    return notebook


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_check(cell: nbformat.NotebookNode) -> bool:
    return "exercises.check(" in cell.source


def shown_texts(cell: nbformat.NotebookNode) -> list[str]:
    """Everything a reader sees of a cell as text, without progress bars."""
    kinds = ("text/plain", "text/html")
    shown = [output["data"].get(kind, "") for output in cell.outputs if "data" in output for kind in kinds]
    printed = [
        output["text"]
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stdout"
    ]
    # a table's style carries a random id, a widget and a Python object their addresses
    return [
        re.sub(r"T_[0-9a-f]{5}|0x[0-9a-f]+|model_id='?\w+", "", text)
        for text in [*shown, *printed]
        if "%|" not in text
    ]


def verdicts(notebook: nbformat.NotebookNode, number: str) -> dict[str, str]:
    """Give the text of each exercise's check in an executed lesson."""
    checks = [cell for cell in code_cells(notebook) if is_check(cell)]
    names = [re.search(r'check\("([^"]+)"', cell.source)[1] for cell in checks]
    texts = [cell.outputs[-1]["data"]["text/plain"] for cell in checks]
    assert all(name.startswith(f"{number}.") for name in names)
    return dict(zip(names, texts, strict=True))


@pytest.mark.timeout(LESSON_TIME_LIMIT)
class LessonChecks:
    """The tests of a lesson; a chapter's file names its lessons in LESSONS."""

    def test_learners_notebook_runs_and_its_stubs_are_not_written_yet(self, name: str) -> None:
        notebook = executed(name, "notebooks")
        found = verdicts(notebook, name[:2])
        assert set(found) == {exercise for exercise in EXERCISES if exercise.startswith(name[:2])}
        assert all("not written yet" in text for text in found.values()), found
        assert find_headline(notebook)

    def test_solutions_pass_their_checks(self, with_exercises: str) -> None:
        found = verdicts(executed(with_exercises, "notebooks/solutions"), with_exercises[:2])
        assert len(found) >= 3
        assert all("passed" in text for text in found.values()), found

    def test_two_runs_show_the_same_numbers(self, with_exercises: str) -> None:
        """Cells that both notebooks hold: all but the exercises', their checks and those that show seconds."""
        folders = ("notebooks", "notebooks/solutions")
        learners, solved = (code_cells(executed(with_exercises, folder)) for folder in folders)
        pairs = [
            (one, other)
            for one, other in zip(learners, solved, strict=True)
            if one.source == other.source
            and not is_check(one)
            and "timed" not in one.metadata.get("tags", [])
        ]
        first, second = ([text for pair in pairs for text in shown_texts(pair[run])] for run in (0, 1))
        assert first == second
        assert len(first) > 10

    def test_every_figure_has_a_text_alternative_and_a_sentence(self, name: str) -> None:
        pages = [
            output["data"].get("text/html", "")
            for cell in code_cells(executed(name, "notebooks"))
            for output in cell.outputs
            if "data" in output
        ]
        figures = [page for page in pages if "<img" in page]
        assert figures
        for page in figures:
            assert len(re.search(r"alt='([^']*)'", page)[1]) > 30
            assert len(re.search(r"<figcaption[^>]*>([^<]*)<", page)[1]) > 30
