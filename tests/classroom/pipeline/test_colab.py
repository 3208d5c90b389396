from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell

from course_lib.classroom.pipeline.build import build
from course_lib.classroom.pipeline.colab import colab_badge, colab_cell, course_repository
from course_lib.classroom.pipeline.thinness import thinness_violations
from course_lib.errors import CourseError

ADDRESS = "git+https://github.com/owner/name"


class FakePip:
    """Stands in for subprocess.run: keeps what it was called with and "installs" the course."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.constraints: list[str] = []
        self.installed = False

    def run(self, command: list[str], *, check: bool) -> None:
        assert check
        self.commands.append(command)
        self.constraints = Path(command[command.index("-c") + 1]).read_text(encoding="utf-8").splitlines()
        self.installed = True


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> FakePip:
    """A machine without the course, on which pip is faked."""
    fake = FakePip()
    find_spec = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> object:
        return (object() if fake.installed else None) if name == "course_lib" else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    monkeypatch.setattr(subprocess, "run", fake.run)
    return fake


@pytest.fixture
def google_colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of Colab's kind."""
    package = tmp_path / "site" / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in [name for name in sys.modules if name == "google" or name.startswith("google.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def add_distribution(folder: Path, name: str, version: str) -> None:
    path = folder / f"{name}-{version}.dist-info"
    path.mkdir(parents=True)
    (path / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def run_cell(repository: str = ADDRESS) -> None:
    exec(compile(colab_cell(repository), "colab cell", "exec"), {})


def test_elsewhere_it_does_nothing(pip: FakePip) -> None:
    run_cell()
    assert pip.commands == []


@pytest.mark.usefixtures("google_colab")
def test_on_colab_it_freezes_everything_installed(pip: FakePip, tmp_path: Path) -> None:
    add_distribution(tmp_path / "site", "Local.Build", "2.13.0+cpu")
    add_distribution(tmp_path / "site", "not-a-version", "1.1build1")
    run_cell()
    assert pip.commands[0][:4] == [sys.executable, "-m", "pip", "install"]
    assert pip.commands[0][-1] == ADDRESS
    assert f"torch=={metadata.version('torch')}" in pip.constraints
    assert f"ipywidgets=={metadata.version('ipywidgets')}" in pip.constraints
    assert "local-build==2.13.0+cpu" in pip.constraints
    assert not any("not-a-version" in line for line in pip.constraints)
    names = [line.split("==")[0] for line in pip.constraints]
    assert len(names) == len(set(names))


@pytest.mark.usefixtures("google_colab")
def test_of_two_copies_the_imported_one_is_frozen(pip: FakePip, tmp_path: Path) -> None:
    add_distribution(tmp_path / "site", "numpy", "0.0.1")
    run_cell()
    assert "numpy==0.0.1" in pip.constraints


@pytest.mark.usefixtures("google_colab")
def test_a_second_time_it_does_nothing(pip: FakePip) -> None:
    run_cell()
    run_cell()
    assert len(pip.commands) == 1


@pytest.mark.usefixtures("google_colab")
def test_the_environment_names_the_address(pip: FakePip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_REPOSITORY", "/a/checkout")
    run_cell()
    assert pip.commands[0][-1] == "/a/checkout"


@pytest.mark.usefixtures("google_colab")
def test_without_an_address_it_says_what_to_set(pip: FakePip) -> None:
    with pytest.raises(RuntimeError, match="COURSE_REPOSITORY"):
        run_cell("")
    assert pip.commands == []


def test_real_pip_accepts_the_constraints(tmp_path: Path) -> None:
    """The version of an installed CPU build of torch satisfies its own constraint."""
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(f"torch=={metadata.version('torch')}\nnumpy=={metadata.version('numpy')}\n")
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--dry-run"]
    done = subprocess.run(
        [*command, "-c", str(constraints), "torch", "numpy"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout


def test_the_cell_is_thin_and_comes_first(course: Path) -> None:
    assert thinness_violations(new_code_cell(colab_cell(ADDRESS))) == []
    build(course)
    for path in (course / "notebooks").rglob("*.ipynb"):
        code = path.read_text(encoding="utf-8").partition('"cell_type": "code"')[2]
        assert "On Colab this installs" in code.partition('"cell_type"')[0]


def test_a_badge_appears_only_where_the_address_is_set(make_course) -> None:
    lesson = "# %% [markdown]\n# # Title\n"
    notebook = make_course(_01_ratio=lesson) / "notebooks" / "01_ratio.ipynb"
    build(make_course())
    assert "colab.research" not in notebook.read_text(encoding="utf-8")
    build(make_course(ADDRESS))
    address = "https://colab.research.google.com/github/owner/name/blob/main/notebooks/01_ratio.ipynb"
    assert address in notebook.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("https://github.com/owner/name.git@v1", "github/owner/name/blob/v1/a.ipynb"),
        ("git+https://example.org/owner/name", ""),
        ("", ""),
    ],
)
def test_badges_follow_the_address(repository: str, expected: str) -> None:
    badge = colab_badge(repository, "a.ipynb")
    assert expected in badge
    assert bool(badge) == bool(expected)


@pytest.mark.parametrize("text", ["[tool.course]\nrepository = 3\n", "[tool"])
def test_a_damaged_setting_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(CourseError):
        course_repository(tmp_path)
