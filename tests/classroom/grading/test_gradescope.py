"""The Gradescope archive, unpacked and run as Gradescope's documentation describes."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from course_lib.classroom.assignments.assignment import (
    Assignment,
    assignment_names,
    load_assignment,
    load_rubric,
)
from course_lib.classroom.grading import gradescope
from course_lib.classroom.grading.gradescope import write_archive
from course_lib.classroom.pipeline.assignments import build_assignment, write_assignment
from course_lib.errors import CourseError
from tests.classroom.grading.conftest import ROOT, SECRET_SEED, instructors_cells, notebook

ASSIGNMENTS = [load_assignment(name) for name in assignment_names()]

STATUS = ("passed", "failed")
FORMATS = ("text", "html", "simple_format", "md", "ansi")
VISIBILITY = ("hidden", "after_due_date", "after_published", "visible")


@pytest.fixture
def autograder(tmp_path: Path) -> Path:
    """The folder that Gradescope makes of the first assignment's archive."""
    return unpacked("a1", tmp_path)


def unpacked(name: str, folder: Path) -> Path:
    """Write an assignment's archive and unpack it as Gradescope does."""
    write_assignment(name, SECRET_SEED, folder / "set", ROOT)
    archive = write_archive(str(folder / "set"), folder / f"{name}.zip")
    root = folder / "autograder"
    with zipfile.ZipFile(archive) as file:
        assert {"setup.sh", "run_autograder"} <= set(file.namelist())
        file.extractall(root / "source")
        for name in ("setup.sh", "run_autograder"):
            (root / "source" / name).chmod(file.getinfo(name).external_attr >> 16)
    shutil.copy2(root / "source" / "run_autograder", root / "run_autograder")
    (root / "submission").mkdir()
    (root / "results").mkdir()
    return root


def run(root: Path) -> dict[str, Any]:
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(root)}
    done = subprocess.run(
        [root / "run_autograder"], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "hidden inputs of seed" in done.stdout
    return check_format(json.loads((root / "results" / "results.json").read_text(encoding="utf-8")))


def check_format(results: dict[str, Any]) -> dict[str, Any]:
    """Hold a results.json against the autograder specification."""
    allowed = {"score", "execution_time", "output", "output_format", "test_output_format", "test_name_format"}
    allowed |= {"visibility", "stdout_visibility", "extra_data", "tests", "leaderboard"}
    assert set(results) <= allowed
    assert isinstance(results["score"], int | float)
    assert results["output_format"] in FORMATS
    assert results["visibility"] in VISIBILITY
    assert results["stdout_visibility"] == "hidden"
    fields = {"score", "max_score", "status", "name", "name_format", "number", "output", "output_format"}
    for test in results["tests"]:
        assert set(test) <= fields | {"tags", "visibility", "extra_data"}
        assert 0 <= test["score"] <= test["max_score"]
        assert test["status"] in STATUS
        assert test["output_format"] in FORMATS
        assert isinstance(test["number"], str)
    return results


@pytest.mark.usefixtures("judge")
@pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda assignment: assignment.name)
def test_a_solved_notebook_gets_all_marks(assignment: Assignment, tmp_path: Path) -> None:
    root = unpacked(assignment.name, tmp_path)
    solved = instructors_cells(assignment.name, SECRET_SEED)
    (root / "submission" / "my work.ipynb").write_bytes(notebook(*solved))
    results = run(root)
    assert results["score"] == 20
    assert [test["status"] for test in results["tests"]] == ["passed"] * len(assignment.tasks)
    assert stat.S_IMODE((root / "source").stat().st_mode) == 0o700


@pytest.mark.usefixtures("judge")
def test_an_attack_gets_none_and_the_results_are_still_valid(autograder: Path, solved: list[str]) -> None:
    attack = f"""
import json, os
open({str(autograder / "results" / "results.json")!r}, "w").write(json.dumps(dict(score=20)))
"""
    (autograder / "submission" / "a1.ipynb").write_bytes(notebook(solved[2], attack))
    (autograder / "submission" / "notes.txt").write_text("Only a note.")
    results = run(autograder)
    assert [(test["score"], test["status"]) for test in results["tests"]] == [
        (3, "passed"),
        *[(0, "failed")] * 4,
    ]
    assert results["score"] == 3
    assert "FileNotFoundError" in results["output"]


@pytest.mark.usefixtures("judge")
def test_what_cannot_be_read_is_said(autograder: Path) -> None:
    assert "no submission" in run(autograder)["output"]
    (autograder / "submission" / "b.ipynb").write_text("hello")
    assert "not JSON" in run(autograder)["output"]
    (autograder / "submission" / "c.ipynb").write_text("hello")
    results = run(autograder)
    assert "Hand in one notebook, a1.ipynb" in results["output"]
    assert (results["score"], results["tests"]) == (0, [])


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["plot.png", "work.ipynb"], "work"),
        (["data/plot.png", "src/work.ipynb", "notes.txt"], "src/work"),
        (["a1.ipynb", "old.ipynb", "a1 (1).ipynb"], "a1"),
        (["Copy of a1.ipynb", "old.ipynb"], "Copy of a1"),
        (["plot.png"], "plot.png"),
        (["a.ipynb", "b.ipynb"], ""),
        (["x/a1.ipynb", "y/a1.ipynb"], ""),
    ],
)
def test_the_notebook_among_what_was_handed_in(tmp_path: Path, names: list[str], taken: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("hello")
    if taken:
        assert gradescope._the_submission(tmp_path, "a1").label == taken
        return
    with pytest.raises(CourseError, match="several notebooks"):
        gradescope._the_submission(tmp_path, "a1")


def test_one_course_gives_one_archive(tmp_path: Path) -> None:
    first, second = (write_archive("a1", tmp_path / name).read_bytes() for name in ("1.zip", "2.zip"))
    assert first == second
    for script in ("setup.sh", "run_autograder"):
        text = zipfile.ZipFile(tmp_path / "1.zip").read(script)
        subprocess.run(["bash", "-n"], input=text, check=True)
        assert text.startswith(b"#!/usr/bin/env bash\n")


@pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda assignment: assignment.name)
def test_what_may_be_imported_is_said_and_installed(assignment: Assignment, tmp_path: Path) -> None:
    script = zipfile.ZipFile(write_archive(assignment.name, tmp_path / "a.zip")).read("setup.sh").decode()
    installed = shlex.split(script.rpartition("pip install ")[2])
    text = build_assignment(ROOT, assignment.name, SECRET_SEED)
    for name, requirement in assignment.packages.items():
        assert importlib.util.find_spec(name) is not None
        assert requirement in installed
        assert f"`{name}`" in text
    # Without IPython no worker starts.
    assert any(requirement.startswith("ipython") for requirement in installed)


def test_the_archive_has_the_marks_of_its_rubric(tmp_path: Path) -> None:
    write_assignment("a1", SECRET_SEED, tmp_path / "set", ROOT)
    path = tmp_path / "set" / "rubric.json"
    rubric = json.loads(path.read_text())
    rubric["marks"]["a1.descend"] = 9
    path.write_text(json.dumps(rubric))
    with zipfile.ZipFile(write_archive(str(path), tmp_path / "a.zip")) as file:
        file.extract("rubric.json", tmp_path / "unpacked")
    inside, seed = load_rubric(str(tmp_path / "unpacked" / "rubric.json"))
    assert (inside.tasks, seed) == (load_rubric(str(path))[0].tasks, SECRET_SEED)
    assert {task.name: task.marks for task in inside.tasks} == rubric["marks"]
