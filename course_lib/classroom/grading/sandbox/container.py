"""A container's part of the sandbox: Docker or Podman, with an image that the instructor offers."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from course_lib.classroom.grading.sandbox.surroundings import COURSE, FREE_USERS, HOME, MEBIBYTE, environment
from course_lib.classroom.grading.sandbox.temporary import process_runs
from course_lib.classroom.limits import Limits
from course_lib.errors import CourseError

ENGINES = ("docker", "podman")
# Podman would add writable folders to a container that is read-only.
_ENGINE_OPTIONS: dict[str, list[str]] = {"docker": [], "podman": ["--read-only-tmpfs=false"]}
_NAME = re.compile(r"course-worker-(\d{1,9})-\w+")
# What an engine takes to say something, on a busy machine.
_ENGINE_SECONDS = 300.0
# Beyond what the limits allow, the container ends by itself, should its judge have been killed.
_SPARE_SECONDS = 60.0


@dataclass(frozen=True)
class Image:
    """A container image and the engine that runs it.

    Args:
        engine: the engine's program, "docker" or "podman".
        name: the image, as the engine knows it; it has Python 3.11 or newer and what the assignment imports.
    """

    engine: str
    name: str


def find_image(name: str) -> Image:
    """Find the engine that has an image.

    Args:
        name: the image.

    Raises:
        CourseError: if no engine is installed, or none of them has the image. None is downloaded: what marks
            are given with is the instructor's choice.
    """
    engines = [engine for engine in ENGINES if shutil.which(engine)]
    if not engines:
        raise CourseError(
            "A container image needs Docker or Podman, and neither is installed.",
            given=name,
            mend="Install one of them, or bubblewrap and leave out --image.",
        )
    said = ""
    for engine in engines:
        found = _run([engine, "image", "inspect", "--format", "{{.Id}}", name])
        if found.returncode == 0:
            return Image(engine, name)
        said = said or (found.stderr.strip().splitlines() or [""])[-1]
    raise CourseError(
        f"{' and '.join(engines)} cannot find this image: {said}",
        given=name,
        mend="Build it (docs/grading.md says how), start the engine, or leave out --image.",
    )


def new_container_name() -> str:
    """Give a container a name that says which judge started it."""
    return f"course-worker-{os.getpid()}-{secrets.token_hex(8)}"


def container_command(
    image: Image, container: str, course: Path, limits: Limits, command: list[str]
) -> list[str]:
    """Give the engine's command line: a container without network or rights, and what it is to run.

    Args:
        image: what to run it in.
        container: the container's name.
        course: the folder that `copy_course` wrote.
        limits: what the worker may use.
        command: the worker's command line inside.
    """
    user = secrets.choice(FREE_USERS)
    options = ["--rm", "--interactive", "--name", container, "--pull", "never"]
    options += ["--network", "none", "--hostname", "sandbox", "--read-only", "--user", f"{user}:{user}"]
    options += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--security-opt", "label=disable"]
    # No shared memory: it could be written to.
    options += ["--ipc", "none", *_ENGINE_OPTIONS[image.engine]]
    # No swap: what is over the limit ends the worker instead of slowing the machine down.
    options += ["--memory", f"{limits.memory_mb}m", "--memory-swap", f"{limits.memory_mb}m"]
    options += ["--pids-limit", str(limits.processes), "--volume", f"{course}:{COURSE}:ro"]
    for folder in (HOME, "/tmp"):
        options += ["--tmpfs", f"{folder}:{_tmpfs_options(image.engine, limits)}"]
    # The image knows best where its Python is.
    variables = {name: value for name, value in environment(HOME).items() if name != "PATH"}
    options += [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    seconds = limits.load_seconds + limits.total_seconds + limits.call_seconds + _SPARE_SECONDS
    # As the container's first process it cannot be killed from inside, and everything ends with it.
    guard = ["-s", "KILL", str(int(seconds))]
    options += ["--workdir", HOME, "--entrypoint", "timeout"]
    return [image.engine, "run", *options, image.name, *guard, *command]


def remove_container(image: Image, container: str) -> None:
    """End a container and everything in it."""
    # An engine that does not answer must not stop the run; the container's own guard ends it later.
    with contextlib.suppress(CourseError):
        _run([image.engine, "rm", "--force", container])


def remove_left_over_containers(image: Image) -> None:
    """Remove the containers of judges that were killed."""
    listed = _run([image.engine, "ps", "--all", "--format", "{{.Names}}"])
    for container in listed.stdout.split():
        match = _NAME.fullmatch(container)
        if match is not None and not process_runs(int(match[1])):
            remove_container(image, container)


def _tmpfs_options(engine: str, limits: Limits) -> str:
    size = limits.disk_mb * MEBIBYTE
    options = f"rw,nosuid,nodev,mode=1777,size={size}"
    # Podman does not know this option; there the files count as memory, which is limited.
    return f"{options},nr_inodes={limits.files}" if engine == "docker" else options


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ENGINE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CourseError(
            f"{command[0]} did not answer within {_ENGINE_SECONDS:g} seconds.",
            given=" ".join(command[:3]),
            mend="Start the engine anew.",
        ) from error
