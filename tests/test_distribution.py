"""What a wheel of the course holds, and what it leaves out."""

from __future__ import annotations

import functools
import inspect
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

from course_lib import __version__
from course_lib.classroom.assignments.assignment import assignment_names, load_assignment
from tests import an_engineers_use

ROOT = Path(__file__).parents[1]
USE = ROOT / "tests" / "an_engineers_use.py"
ASSIGNMENTS = "course_lib/classroom/assignments"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as pip would, with the build backend that is installed: no index is asked."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip would install of it."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def implementations(name: str) -> Iterator[Callable[..., Any]]:
    """Give the references, usual mistakes, cases and measures of an assignment."""
    for task in load_assignment(name).tasks:
        yield task.cases
        if task.measure is not None:
            yield task.measure
        for variant in task.variants:
            yield from (mistake.function for mistake in variant.mistakes)
            if variant.reference is not None:
                yield variant.reference


def source_of(function: Callable[..., Any]) -> str:
    """Give the path, in the repository, of the file that a function stands in."""
    while isinstance(function, functools.partial):
        function = function.func
    return Path(inspect.getfile(function)).resolve().relative_to(ROOT).as_posix()


def course(folder: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "course_lib", *arguments],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_library_is_in_it(names: set[str]) -> None:
    needed = ("course_lib/py.typed", "course_lib/smart/trainer.py", "course_lib/_data/manifest.toml")
    assert set(needed) <= names
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)


def test_every_module_but_the_assignments_is_in_it(names: set[str]) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "course_lib").rglob("*.py")}
    left_out = {path for path in modules - names if not re.search(r"/assignments?[_/]a\d", path)}
    assert left_out == set()


@pytest.mark.parametrize("name", assignment_names())
def test_no_solution_is_in_it(name: str, names: set[str]) -> None:
    # what gives a right function another argument's name is no solution
    files = {source_of(function) for function in implementations(name)} - {f"{ASSIGNMENTS}/building.py"}
    assert files
    assert not files & names


def test_its_version_is_the_library_s(unpacked: Path) -> None:
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    fields = Parser().parsestr(metadata.read_text(encoding="utf-8"))
    assert (fields["Version"], fields["License-Expression"]) == (__version__, "MIT")


def test_the_version_is_read_without_importing_the_library() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "hatchling", "metadata", "version"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == __version__
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "hatchling" in {name.partition(".")[0] for name in imported}
    assert not imported & {"course_lib", "torch"}


@pytest.mark.parametrize(
    "command",
    [
        ("grade", "handed_in", "--assignment", "a1", "--out", "a1.csv"),
        ("grade", "handed_in", "--assignment", "rubric.json", "--out", "a1.csv"),
        ("gradescope", "a1", "--out", "a1.zip"),
    ],
    ids=["grade", "grade by rubric", "gradescope"],
)
def test_grading_needs_a_checkout(command: tuple[str, ...], unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "handed_in").mkdir()
    (tmp_path / "handed_in" / "jane.ipynb").write_text("{}")
    (tmp_path / "rubric.json").write_text('{"assignment": "a1", "secret_seed": 4711}')
    before = sorted(tmp_path.rglob("*"))
    done = course(unpacked, *command, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("The graded assignments are not installed")
    assert "Clone the course's repository" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def types_of(file: Path, unpacked: Path) -> str:
    """Give what mypy says of a file, strictly, that imports the library of the wheel."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", str(file)],
        cwd=unpacked, env={**os.environ, "MYPYPATH": str(unpacked)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_an_engineer_s_use_is_typed_against_the_wheel(unpacked: Path) -> None:
    assert types_of(USE, unpacked) == "Success: no issues found in 1 source file\n"


def test_a_planted_fault_of_that_use_is_found(unpacked: Path, tmp_path: Path) -> None:
    planted = tmp_path / "use.py"
    planted.write_text(USE.read_text().replace("sample_vocab", "sampled_vocabulary"))
    assert "sampled_vocabulary" in types_of(planted, unpacked)


def test_an_engineer_s_use_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    an_engineers_use.main(str(tmp_path))
    assert "soft prompt: 4" in capsys.readouterr().out
