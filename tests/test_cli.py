from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from course_lib import __version__, cli
from course_lib.classroom import exercises
from course_lib.classroom.pipeline import catalogue, execute
from course_lib.errors import CourseError
from course_lib.locations import RECORD_FILE

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


@pytest.mark.parametrize(("user", "more"), [(0, ["--allow-root"]), (1000, [])])
def test_lab_opens_the_notebooks(user: int, more: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str]) -> types.SimpleNamespace:
        commands.append(command)
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert call("lab").exit_code == 0
    assert call("lab", "--", "--port", "9999").exit_code == 0
    command = [sys.executable, "-m", "jupyterlab", str(catalogue.course_root() / "notebooks"), *more]
    assert commands == [command, [*command, "--port", "9999"]]


@pytest.mark.parametrize(
    "arguments", [["-h"], ["run", "-h"], ["ppt", "-h"], ["ppt", "tune", "-h"], ["bias", "-h"]]
)
def test_help_has_its_short_name(arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 0
    assert "Usage: " in result.stdout


def test_the_version_is_told() -> None:
    result = call("--version")
    assert (result.exit_code, result.stdout) == (0, f"course {__version__}\n")


def test_a_relative_cache_is_one_place_in_a_command_and_its_kernel(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSE_CACHE", "here")
    code = (
        "from course_lib import locations\nfrom course_lib.classroom import pipeline\n"
        "pipeline.headline(str(locations.cache_folder()))"
    )
    (checkout / "notebooks" / "src" / "01_failing.py").write_text(
        f"# %% [markdown]\n# # A lesson\n\n# %%\n{code}\n"
    )
    result = call("run", "--profile", "smoke")
    assert result.exit_code == 0, result.output
    record = json.loads((checkout / "build" / "smoke" / "01_failing.json").read_text())
    assert record["headline"] == str(checkout / "here")


def test_a_run_names_the_notebook_that_it_keeps(checkout: Path) -> None:
    call("build")
    path = checkout / "notebooks" / "01_failing.ipynb"
    content = path.read_bytes()
    marked = b"\xef\xbb\xbf" + content.replace(b"weights[", b"print('mine')  # weights[")
    path.write_bytes(marked)
    result = call("run", "--profile", "smoke")
    assert result.exit_code == 0, result.output
    assert "kept, and run as it is: notebooks/01_failing.ipynb" in result.stdout
    assert "mine" in (checkout / "build" / "smoke" / "01_failing.html").read_text()
    path.write_bytes(b"<<<<<<< HEAD\n" + content)
    result = call("run", "--profile", "smoke")
    assert result.exit_code == 2
    assert "kept as it is" in result.stderr
    assert path.read_bytes() == b"<<<<<<< HEAD\n" + content
    result = call("build", "--force")
    assert "changed: notebooks/01_failing.ipynb (yours is now 01_failing.yours.ipynb)" in result.stdout
    assert path.with_name("01_failing.yours.ipynb").read_bytes() == b"<<<<<<< HEAD\n" + content


def test_what_is_written_into_results_is_kept(checkout: Path) -> None:
    source = checkout / "notebooks" / "src" / "01_failing.py"
    source.write_text(FAILING.replace('weights["missing"]', "print(weights)"))
    assert call("run", "--profile", "smoke").exit_code == 0
    folder = checkout / "build" / "smoke"
    executed = folder / "01_failing.ipynb"
    noted = executed.read_text().replace("A lesson", "My notes on a lesson")
    executed.write_text(noted)
    (folder / "notes.txt").write_text("mine")
    result = call("run", "--profile", "smoke", "--force")
    assert "kept: 01_failing.ipynb" in result.stdout
    assert (folder / "01_failing.yours.ipynb").read_text() == noted
    result = call("clean", "--yes")
    assert result.exit_code == 0
    assert "notes.txt" in result.stdout
    left = sorted(path.name for path in (checkout / "build").rglob("*") if path.is_file())
    assert left == [RECORD_FILE, "01_failing.yours.ipynb", "notes.txt"]
    for name in left[1:]:
        (folder / name).unlink()
    assert call("clean", "--yes").exit_code == 0
    assert not (checkout / "build").exists()


@pytest.mark.parametrize("place", ["build", "build/smoke"])
def test_a_file_in_the_place_of_the_results_is_refused_before_any_cell_runs(
    checkout: Path, place: str
) -> None:
    (checkout / place).parent.mkdir(exist_ok=True)
    (checkout / place).write_text("mine")
    result = call("run", "--profile", "smoke")
    assert result.exit_code == 2
    assert "A file stands where a folder" in result.stderr
    assert (checkout / place).read_text() == "mine"


def test_downloads_are_cleaned_outside_a_checkout_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("COURSE_CACHE", str(cache))
    monkeypatch.setattr(catalogue, "course_root", lambda: (_ for _ in ()).throw(CourseError("no checkout")))
    mine = [
        "models/llama/weights.bin",
        "assets/mine/a.txt",
        "texts/thesis.txt",
        "runs/bias.jsonl",
        "notes.txt",
    ]
    ours = [
        "assets/snli-08df73c1f115/snli.tar",
        "texts/snli-v2-08df73c1/data.arrow",
        "texts/snli-v2-08df73c1.lock",
    ]
    for name in [*mine, *ours]:
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_text(name)
    assert call("clean", "--yes").exit_code == 2
    assert call("clean", "--assets", "--yes").exit_code == 0
    assert sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()) == sorted(mine)


HANGING = """# %% [markdown]
# # A lesson that hangs

# %%
import os, pathlib, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
pathlib.Path("started").write_text(str(os.getpid()))
signal.pause()
"""


# What is started behind an ampersand ignores Ctrl-C, and so would all that it starts.
_HEEDS_CTRL_C = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('course_lib', run_name='__main__')"
)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_a_run_that_hangs_and_says_so(checkout: Path, times: int) -> None:
    (checkout / "notebooks" / "src" / "01_failing.py").write_text(HANGING)
    command = [sys.executable, "-c", _HEEDS_CTRL_C, "run", "--profile", "smoke"]
    with subprocess.Popen(
        command, cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        started = checkout / "notebooks" / "started"
        while not (started.is_file() and started.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        told = process.stderr.readline() + process.stderr.readline()
        assert told == "\nStopping. Ctrl-C again ends at once.\n"
        if times == 2:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=100)
    assert process.returncode == 130
    kernel = int(started.read_text())
    assert not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE


def test_help_imports_nothing_heavy_and_works_as_a_module() -> None:
    code = "import sys, course_lib.cli; print({'torch', 'transformers', 'nbformat', 'jupytext'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
    done = subprocess.run([sys.executable, "-m", "course_lib", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(
        name in done.stdout for name in ("run", "build", "lab", "assets", "clean", "progress", "reference")
    )
