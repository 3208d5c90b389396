"""The course on a machine of Colab's kind: it changes nothing there, and its first lessons run."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from course_lib.classroom.pipeline.colab import colab_cell
from tests.colab.machine import CHECKOUT, ColabMachine, build_machine, export_checkout, pinned_requirements

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAMED = ("torch", "numpy", "ipywidgets")
# torch is the tests' own; the others are not on Colab, so the first cell installs the newest.
NOT_PINNED = {"torch", "gguf", "pypi-simple", "sentencex"}
REFUSE_PROCESSES = """
import subprocess
def refuse(*command, **_):
    raise AssertionError(f"The first cell started {command}.")
subprocess.run = subprocess.Popen = refuse
"""
# "The movie was so boring that I" in the tokens of SmolLM2, as published: no token in front.
PUBLISHED_TOKENS = [504, 7704, 436, 588, 19290, 338, 339]
TOKENISE = """
from course_lib import models
tokenizer = models.load_language_model().tokenizer
print([tokenizer("The movie was so boring that I")["input_ids"], tokenizer.eos_token])
"""
DESCRIBE_COURSE = """
import json, course_lib
from course_lib import assets, locations
names = [asset.name for asset in assets.listing()]
print(json.dumps({"library": course_lib.__file__, "data": str(locations.data_folder()), "assets": names}))
"""


@dataclass(frozen=True)
class Visit:
    """A machine of Colab's kind on which lesson 00 has run.

    Args:
        machine: the machine.
        repository: the address the course came from.
        before: what was installed before lesson 00.
        complaint: what the first cell said when it had no address.
        start: lesson 00 as it ran.
    """

    machine: ColabMachine
    repository: str
    before: dict[str, str]
    complaint: str
    start: nbformat.NotebookNode


def lesson(name: str) -> nbformat.NotebookNode:
    (path,) = (CHECKOUT / "notebooks").glob(f"{name}_*.ipynb")
    return nbformat.read(path, as_version=4)


def first_cell(notebook: nbformat.NotebookNode) -> str:
    return next(cell.source for cell in notebook.cells if cell.cell_type == "code")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is removed after the tests: it holds a large environment."""
    folder = tmp_path_factory.mktemp("colab")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def visit(folder: Path) -> Visit:
    machine = build_machine(folder)
    (folder / "repository").mkdir()
    repository = export_checkout(folder / "repository")
    before, start = machine.installed(), lesson("00")
    with pytest.raises(CellExecutionError) as complaint:
        machine.run_cells([colab_cell("")])
    machine.run_notebook(start, repository)
    return Visit(machine, repository, before, f"{complaint.value.ename}: {complaint.value.evalue}", start)


def test_the_machine_is_of_colabs_kind(visit: Visit) -> None:
    assert visit.before["ipywidgets"].startswith("7.")
    assert {"google-colab", "ipykernel", "numpy", "pandas", "torch"} <= set(visit.before)
    assert not {"course-lib", *NOT_PINNED} - {"torch"} & set(visit.before)


def test_without_an_address_the_first_cell_says_what_to_set(visit: Visit) -> None:
    assert "RuntimeError: No address to install from" in visit.complaint
    assert "%env COURSE_REPOSITORY=" in visit.complaint


@pytest.mark.parametrize("name", ["00", "01"])
def test_lessons_run(visit: Visit, name: str) -> None:
    notebook = visit.start if name == "00" else lesson(name)
    if name != "00":
        visit.machine.run_notebook(notebook, visit.repository)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    assert all(cell.execution_count for cell in code)
    assert "data:image/png" in json.dumps([cell.outputs for cell in code])


def test_nothing_that_was_installed_is_changed(visit: Visit) -> None:
    after = visit.machine.installed()
    named = {name: (visit.before[name], after.get(name)) for name in NAMED}
    changed = {name: (old, after.get(name)) for name, old in visit.before.items() if after.get(name) != old}
    assert not changed, f"changed: {changed}; of these the course promised most: {named}"
    assert "course-lib" in set(after) - set(visit.before)


def test_a_second_run_of_the_first_cell_starts_no_pip_and_changes_nothing(visit: Visit) -> None:
    before = visit.machine.installed()
    visit.machine.run_cells([REFUSE_PROCESSES, first_cell(visit.start)], visit.repository)
    assert visit.machine.installed() == before


def test_the_language_model_converted_there_has_the_published_tokens(visit: Visit) -> None:
    assert visit.machine.run_cells([TOKENISE]).strip() == str([PUBLISHED_TOKENS, "<|im_end|>"])


def test_the_course_there_is_the_installed_copy_with_its_data(visit: Visit) -> None:
    course = json.loads(visit.machine.run_cells([DESCRIBE_COURSE]))
    library = Path(course["library"]).resolve().parent
    assert library.parent.name == "site-packages"
    assert library.is_relative_to(visit.machine.python.parents[1].resolve())
    assert Path(course["data"]) == library / "_data"
    assert "all-minilm-l6-v2" in course["assets"]


def test_the_oldest_versions_that_the_course_admits_are_the_ones_tested_here() -> None:
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    admitted = {
        canonicalize_name(each.name): each for each in map(Requirement, settings["project"]["dependencies"])
    }
    tested = pinned_requirements()
    assert set(admitted) - set(tested) == NOT_PINNED
    for name in set(admitted) - NOT_PINNED:
        (oldest,) = (Version(each.version) for each in admitted[name].specifier if each.operator == ">=")
        (version,) = (Version(each.version) for each in tested[name].specifier)
        assert oldest == version, name
