"""Every lesson runs at the smoke profile: stubs are not written yet, solutions pass, numbers repeat."""

from __future__ import annotations

import io
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

from course_lib.exercises import EXERCISES
from course_lib.pipeline.catalogue import course_root, lessons
from course_lib.pipeline.execute import CELL_TIME_LIMITS, execute_notebook, find_headline
from course_lib.pipeline.progress import RunProgress

ROOT = course_root(Path(__file__).parent)
NAMES = [lesson.name for lesson in lessons(ROOT)]
TRAINED = [name for name in NAMES if name[:2] != "00"]


@cache
def executed(name: str, folder: str, attempt: int = 1) -> nbformat.NotebookNode:
    path = ROOT / folder / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    quiet = RunProgress(Console(file=io.StringIO()), [], 1)
    execute_notebook(
        notebook, path=path, profile="smoke", time_limit=CELL_TIME_LIMITS["smoke"], progress=quiet
    )
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """What the code cells showed, without those tagged "timed": seconds differ from run to run."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [output for cell in cells if "timed" not in cell.metadata.get("tags", []) for output in cell.outputs]


def shown_texts(notebook: nbformat.NotebookNode) -> list[str]:
    """Everything a reader sees as text, without progress bars."""
    kinds = ("text/plain", "text/html")
    shown = [
        output["data"].get(kind, "") for output in outputs(notebook) if "data" in output for kind in kinds
    ]
    printed = [
        output["text"]
        for output in outputs(notebook)
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
    checks = [
        cell for cell in notebook.cells if cell.cell_type == "code" and "exercises.check(" in cell.source
    ]
    names = [re.search(r'check\("([^"]+)"', cell.source)[1] for cell in checks]
    texts = [cell.outputs[-1]["data"]["text/plain"] for cell in checks]
    assert all(name.startswith(f"{number}.") for name in names)
    return dict(zip(names, texts, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_learners_notebook_runs_and_its_stubs_are_not_written_yet(name):
    notebook = executed(name, "notebooks")
    found = verdicts(notebook, name[:2])
    assert set(found) == {exercise for exercise in EXERCISES if exercise.startswith(name[:2])}
    assert all("not written yet" in text for text in found.values()), found
    assert find_headline(notebook)


@pytest.mark.parametrize("name", TRAINED)
def test_solutions_pass_their_checks(name):
    found = verdicts(executed(name, "notebooks/solutions"), name[:2])
    assert len(found) >= 3
    assert all("passed" in text for text in found.values()), found


@pytest.mark.parametrize("name", TRAINED)
def test_two_runs_show_the_same_numbers(name):
    first = shown_texts(executed(name, "notebooks/solutions"))
    second = shown_texts(executed(name, "notebooks/solutions", attempt=2))
    assert first == second
    assert len(first) > 10


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_a_text_alternative_and_a_sentence(name):
    pages = [
        output["data"].get("text/html", "")
        for output in outputs(executed(name, "notebooks"))
        if "data" in output
    ]
    figures = [page for page in pages if "<img" in page]
    assert figures
    for page in figures:
        assert len(re.search(r"alt='([^']*)'", page)[1]) > 30
        assert len(re.search(r"<figcaption[^>]*>([^<]*)<", page)[1]) > 30
