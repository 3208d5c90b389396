"""Grading in containers: what the engine is asked for, and what becomes of its containers.

The engine here is a stand-in that starts the worker without a container; the attacks of `test_attacks.py` run in
real containers where COURSE_TEST_IMAGE names an image.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from course_lib.classroom.assignments.assignment import load_assignment
from course_lib.classroom.grading.judging import PRINTED_TOO_MUCH
from course_lib.classroom.grading.sandbox import container
from course_lib.classroom.grading.sandbox.container import (
    Image,
    container_command,
    find_image,
    remove_left_over_containers,
)
from course_lib.classroom.grading.sandbox.course_copy import copy_course
from course_lib.classroom.grading.sandbox.isolation import find_isolation
from course_lib.classroom.limits import Limits
from course_lib.errors import CourseError
from tests.classroom.grading.conftest import ROOT, Judge, first_assignments_judge, notebook
from tests.classroom.grading.test_attacks import WRONG

# Knows one image; a container is a process, named by a file with its number.
STAND_IN = """\
#!{python}
import os, signal, subprocess, sys
from pathlib import Path
folder, asked = Path({folder!r}), sys.argv[1:]
with open(folder / "asked", "a") as log:
    log.write(" ".join(asked[:3]) + "\\n")
if asked[:2] == ["image", "inspect"]:
    if asked[-1] != "course-sandbox":
        sys.exit("no such image")
elif asked[0] == "ps":
    print("\\n".join(path.name for path in (folder / "containers").iterdir()))
elif asked[0] == "rm":
    path = folder / "containers" / asked[-1]
    if not path.exists():
        sys.exit("no such container")
    pid = int(path.read_text())
    path.unlink()
    if pid:
        os.killpg(pid, signal.SIGKILL)
elif asked[0] == "run":
    name, volume = (asked[asked.index(option) + 1] for option in ("--name", "--volume"))
    inside = asked[asked.index("course-sandbox") + 1 :]
    course = volume.split(":")[0]
    command = [sys.executable if part == "python3" else part.replace("/course", course) for part in inside]
    process = subprocess.Popen(["timeout", *command], start_new_session=True, env={{"PATH": "/usr/bin:/bin"}})
    path = folder / "containers" / name
    path.write_text(str(process.pid))
    code = process.wait()
    path.unlink(missing_ok=True)
    sys.exit(code if code >= 0 else 128 - code)
"""


@dataclass(frozen=True)
class Engine:
    """The stand-in: what it was asked, and the containers that it has."""

    folder: Path

    def asked(self) -> list[str]:
        """Give the beginnings of all command lines."""
        return (self.folder / "asked").read_text().splitlines()

    def containers(self) -> list[str]:
        """Give the names of the containers that run."""
        return [path.name for path in (self.folder / "containers").iterdir()]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A machine with the stand-in as its only engine."""
    folder = tmp_path / "engine"
    (folder / "containers").mkdir(parents=True)
    program = folder / "docker"
    program.write_text(STAND_IN.format(python=sys.executable, folder=str(folder)))
    program.chmod(0o755)
    monkeypatch.setattr(container, "ENGINES", ("docker",))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Engine(folder)


@pytest.fixture
def contained(tmp_path: Path, engine: Engine) -> Judge:
    """A judge that grades in the stand-in's containers."""
    course = copy_course(tmp_path / "copy", load_assignment("a1").blocked)
    isolation = find_isolation(course, "course-sandbox")
    return first_assignments_judge(course, isolation)


def test_a_submission_is_graded_over_standard_input_and_output(
    contained: Judge, engine: Engine, solved: list[str]
) -> None:
    assert contained.isolation.kind == "container"
    assert contained.isolation.note == ""
    assert contained.verdicts(notebook(*solved)) == ["passed"] * 5
    assert engine.containers() == []


def test_what_is_printed_does_not_reach_the_judge(contained: Judge, solved: list[str]) -> None:
    noisy = """
import os, subprocess, sys
print("a" * 50_000_000, flush=True)
sys.stderr.write("b" * 10**6)
os.write(1, b"\\x00\\x00\\x00\\x02{}")
assert sys.stdin.read() == ""
subprocess.run(["echo", "c"], check=True)
"""
    report = contained.grade(notebook(noisy, *solved))
    assert [result.verdict for result in report.results] == ["passed"] * 5
    assert report.cell_errors == ()
    assert report.notes == (PRINTED_TOO_MUCH,)


def test_a_container_that_hangs_is_removed_and_the_next_task_gets_another(
    contained: Judge, engine: Engine
) -> None:
    hanging = "def compare_models(rows, unit):\n    while True: pass"
    hasty = contained.only("compare_models", "descend", call_seconds=2)
    assert hasty.verdicts(notebook(WRONG, hanging)) == ["timeout", "failed"]
    assert engine.containers() == []
    # one for the probe, and two for the tasks
    assert sum(line.startswith("run ") for line in engine.asked()) == 3


def test_a_worker_that_ends_itself_is_an_error(contained: Judge) -> None:
    leaving = "import os\ndef compare_models(rows, unit): os._exit(3)"
    results = contained.only("compare_models").grade(notebook(WRONG, leaving)).results
    assert [result.verdict for result in results] == ["error"]
    assert "exit code 3" in results[0].message


def test_containers_of_killed_judges_are_removed(engine: Engine) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    mine, other = f"course-worker-{os.getpid()}-ab", "someone-elses"
    for name in (mine, other, f"course-worker-{ended.pid}-cd"):
        (engine.folder / "containers" / name).write_text("0")
    remove_left_over_containers(Image("docker", "course-sandbox"))
    assert sorted(engine.containers()) == sorted([mine, other])


def test_an_image_that_is_not_there_is_an_error(engine: Engine) -> None:
    with pytest.raises(CourseError, match="docker cannot find this image: no such image"):
        find_image("corse-sandbox")


def test_without_an_engine_an_image_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CourseError, match="Docker or Podman"):
        find_image("course-sandbox")


def test_an_image_without_python_is_an_error_and_no_weaker_sandbox_is_taken(
    engine: Engine, tmp_path: Path
) -> None:
    program = engine.folder / "docker"
    program.write_text(program.read_text().replace('"python3"', '"python4"'))
    with pytest.raises(CourseError, match="No worker answers in a container"):
        find_isolation(copy_course(tmp_path / "copy"), "course-sandbox")


@pytest.mark.parametrize("engine_name", ["docker", "podman"])
def test_a_container_has_no_network_no_rights_and_nothing_to_write_but_its_home(engine_name: str) -> None:
    limits = Limits(memory_mb=512, processes=7, disk_mb=2, files=99)
    command = container_command(
        Image(engine_name, "image"), "name", Path("/copy"), limits, ["python3", "-c", ""]
    )
    line = " ".join(command)
    for wanted in (
        f"{engine_name} run --rm --interactive --name name --pull never",
        "--network none",
        "--read-only",
        "--ipc none",
        "--cap-drop ALL --security-opt no-new-privileges",
        "--memory 512m --memory-swap 512m --pids-limit 7",
        "--volume /copy:/course:ro",
        "--tmpfs /home/learner:rw,nosuid,nodev,mode=1777,size=2097152",
        "--env OMP_NUM_THREADS=1",
        "--entrypoint timeout image -s KILL 160 python3 -c",
    ):
        assert wanted in line, wanted
    assert ("nr_inodes=99" in line) == (engine_name == "docker")
    assert ("--read-only-tmpfs=false" in line) == (engine_name == "podman")
    user = command[command.index("--user") + 1]
    assert 60_600 <= int(user.split(":")[0]) < 61_000
    # nothing of this machine's environment
    assert command.count("--env") == 8
    assert command.count("--volume") == 1


def test_the_image_takes_the_librarys_requirements_alone() -> None:
    text = (ROOT / "docs" / "sandbox.Containerfile").read_text()
    (program,) = re.findall(r"sed '(.*)' /tmp/requirements.txt", text)
    kept = subprocess.run(
        ["sed", program, str(ROOT / "requirements.txt")], capture_output=True, text=True, check=True
    ).stdout
    assert "\nnumpy==" in kept
    assert "\ntorch==" in kept
    for left_out in ("jupyterlab", "pytest", "-e ."):
        assert left_out not in kept
