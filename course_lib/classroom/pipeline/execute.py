"""Run notebooks from top to bottom, keep what they showed, and run none twice without need."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import queue
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import course_lib
from course_lib import runs
from course_lib.classroom.exercises.remembering import OFF, PROGRESS_VARIABLE
from course_lib.classroom.pipeline import HEADLINE_TYPE
from course_lib.classroom.pipeline.catalogue import LEARNER_FOLDER, SOLUTION_FOLDER, Lesson
from course_lib.classroom.pipeline.progress import RunProgress
from course_lib.classroom.pipeline.results import build_folder, check_build_folder, write_result
from course_lib.errors import CourseError
from course_lib.locations import CACHE_VARIABLE, cache_folder, data_folder

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbformat import NotebookNode
    from rich.console import Console

# Seconds that one cell may take, by profile.
CELL_TIME_LIMITS = {"smoke": 240, "default": 900, "full": 6 * 3600}
# A kernel that does not leave by itself within this many seconds is killed.
SHUTDOWN_SECONDS = 2.0
# How often a cell's reply is looked for that gave no signal.
LOOK_AGAIN_SECONDS = 1.0
NUM_SHOWN_LINES = 8


class LessonError(CourseError):
    """A notebook that did not run to its end.

    Args:
        problem: which notebook and cell, and what happened.
        given: unused.
        mend: what to do about it.
        detail: the cell's first lines and the traceback, coloured as the kernel gave it.
    """

    exit_code = 1

    def __init__(self, problem: str, *, given: object = None, mend: str = "", detail: str = "") -> None:
        super().__init__(problem, given=given, mend=mend)
        self.detail = detail


@dataclass(frozen=True)
class LessonRun:
    """What is kept of a notebook's run, beside the executed notebook.

    Args:
        name: the lesson's name, "01_complexity".
        title: the lesson's title.
        profile: the profile it ran at.
        key: hash of everything that shaped the run.
        seconds: how long its cells took together.
        cell_seconds: how long each code cell took.
        headline: its headline result; empty if it announced none.
    """

    name: str
    title: str
    profile: str
    key: str
    seconds: float
    cell_seconds: list[float]
    headline: str = ""


def run_lessons(
    chosen: Sequence[Lesson],
    *,
    root: Path,
    profile: str,
    console: Console,
    solutions: bool = False,
    force: bool = False,
    time_limit: int | None = None,
) -> list[LessonRun]:
    """Run notebooks and keep each one executed, with its record, in `build/<profile>/`.

    A notebook whose record fits (same notebook, library, data, profile and package versions) is not run again.

    Args:
        chosen: the lessons to run.
        root: the checkout.
        profile: "smoke", "default" or "full".
        console: where progress is shown.
        solutions: whether to run the notebooks with solutions instead of the learner's.
        force: whether to run those that are up to date, too.
        time_limit: seconds that one cell may take; by default the profile's.

    Returns:
        One record for each lesson.

    Raises:
        CourseError: if the profile is not known or a notebook is missing.
        LessonError: at the first cell that fails, takes too long, or whose kernel dies.
    """
    profile = runs.profile(profile).name
    check_build_folder(root, profile, solutions=solutions)
    folder = build_folder(root, profile, solutions=solutions)
    paths = {lesson: _notebook_path(root, lesson, solutions) for lesson in chosen}
    library = library_hash()
    keys = {lesson: _key(path, library, profile) for lesson, path in paths.items()}
    done = {} if force else {lesson: _finished_run(folder, lesson, keys[lesson]) for lesson in chosen}
    to_run = [lesson for lesson in chosen if done.get(lesson) is None]
    notebooks = {lesson: _read_notebook(paths[lesson]) for lesson in to_run}
    expected = [cell for lesson in to_run for cell in _expected_seconds(folder, lesson, notebooks[lesson])]
    limit = time_limit or CELL_TIME_LIMITS[profile]
    results = []
    with RunProgress(console, expected, len(to_run)) as progress:
        for lesson in chosen:
            finished = done.get(lesson)
            if finished is not None:
                console.print(f"{lesson.name}: up to date", highlight=False)
                results.append(finished)
                continue
            notebook = notebooks[lesson]
            cell_seconds = execute_notebook(
                notebook, path=paths[lesson], profile=profile, time_limit=limit, progress=progress
            )
            result = LessonRun(
                name=lesson.name,
                title=lesson.title,
                profile=profile,
                key=keys[lesson],
                seconds=round(sum(cell_seconds), 2),
                cell_seconds=cell_seconds,
                headline=find_headline(notebook),
            )
            _keep(root, folder, notebook, result, console)
            progress.finish_notebook(lesson.name, result.seconds, result.headline)
            results.append(result)
    return results


def execute_notebook(
    notebook: NotebookNode, *, path: Path, profile: str, time_limit: int, progress: RunProgress
) -> list[float]:
    """Run a notebook's cells in a fresh kernel of this interpreter; the outputs go into the notebook.

    Args:
        notebook: the notebook; changed in place.
        path: its file: the kernel works in its folder.
        profile: what COURSE_PROFILE is in the kernel.
        time_limit: seconds that one cell may take.
        progress: told at each cell's start and end.

    Returns:
        The seconds of each code cell.

    Raises:
        LessonError: at the first cell that fails, takes too long, or whose kernel dies.
    """
    client = _client(notebook, time_limit)
    cells = _code_cells(notebook)
    progress.start_notebook(path.stem, len(cells))
    seconds = []
    try:
        with (
            client.setup_kernel(env=_kernel_environment(profile), cwd=str(path.parent), cleanup_kc=True),
            _killed_on_error(client),
        ):
            for number, (index, cell) in enumerate(cells, start=1):
                progress.start_cell(number)
                with _failures_named(path.name, number, len(cells), cell, time_limit):
                    client.execute_cell(cell, index, execution_count=number)
                seconds.append(round(progress.finish_cell(), 3))
            client.set_widgets_metadata()
    except RuntimeError as error:
        raise LessonError(
            f"{path.name}: the kernel did not start, or could not be reached ({error}).",
            mend=f"Check that `{sys.executable} -m ipykernel_launcher --version` works.",
        ) from error
    return seconds


def find_headline(notebook: NotebookNode) -> str:
    """Give the last headline that an executed notebook announced, or nothing."""
    outputs = [output for _, cell in _code_cells(notebook) for output in cell.outputs]
    found = [
        output.data[HEADLINE_TYPE]["text"] for output in outputs if HEADLINE_TYPE in output.get("data", {})
    ]
    return found[-1] if found else ""


def library_hash() -> str:
    """Hash what every notebook's numbers depend on: the library, its data, and the package versions."""
    package = Path(course_lib.__file__).resolve().parent
    digest = hashlib.sha256(json.dumps(runs.package_versions(), sort_keys=True).encode())
    for folder, pattern in ((package, "*.py"), (data_folder(), "*")):
        for path in sorted(path for path in folder.rglob(pattern) if path.is_file()):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def read_run(folder: Path, name: str) -> LessonRun | None:
    """Read the record of a lesson's last run, or give None if there is none that can be read."""
    try:
        return LessonRun(**json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _notebook_path(root: Path, lesson: Lesson, solutions: bool) -> Path:
    path = root / (SOLUTION_FOLDER if solutions else LEARNER_FOLDER) / f"{lesson.name}.ipynb"
    if not path.is_file():
        raise CourseError("This lesson's notebook is missing.", given=str(path), mend="Run `course build`.")
    return path


def _read_notebook(path: Path) -> NotebookNode:
    import nbformat

    try:
        # Editors on Windows put a mark before the text.
        return nbformat.reads(path.read_text(encoding="utf-8-sig"), as_version=4)
    except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError) as error:
        raise CourseError(
            "This notebook cannot be read, and it is kept as it is.",
            given=str(path),
            mend="Mend it (after a merge, look for lines of `<<<<<<<`), or run `course build --force`: it puts it "
            "aside and builds a new one.",
        ) from error


def _code_cells(notebook: NotebookNode) -> list[tuple[int, NotebookNode]]:
    """Give the cells that run, each with its place among all cells."""
    return [
        (index, cell)
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and cell.source.strip()
    ]


def _key(path: Path, library: str, profile: str) -> str:
    notebook = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(f"{notebook} {library} {profile}".encode()).hexdigest()


def _finished_run(folder: Path, lesson: Lesson, key: str) -> LessonRun | None:
    run = read_run(folder, lesson.name)
    whole = (folder / f"{lesson.name}.ipynb").is_file()
    return run if run is not None and whole and run.key == key else None


def _expected_seconds(folder: Path, lesson: Lesson, notebook: NotebookNode) -> Sequence[float | None]:
    num_cells = len(_code_cells(notebook))
    run = read_run(folder, lesson.name)
    return run.cell_seconds if run is not None and len(run.cell_seconds) == num_cells else [None] * num_cells


def _keep(root: Path, folder: Path, notebook: NotebookNode, run: LessonRun, console: Console) -> None:
    """Write the executed notebook, then its record: a record always stands beside a whole notebook."""
    import nbformat

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    record = json.dumps(asdict(run), indent=1, sort_keys=True) + "\n"
    write_result(folder / f"{run.name}.ipynb", nbformat.writes(notebook), root, say)
    write_result(folder / f"{run.name}.json", record, root, say)


def _client(notebook: NotebookNode, time_limit: int) -> NotebookClient:
    from nbclient import NotebookClient

    # nbclient logs what it also raises; the message here says it once.
    quiet = logging.getLogger("course_lib.kernel")
    quiet.disabled = True
    return NotebookClient(
        notebook,
        km=_kernel_manager(quiet),
        timeout=time_limit,
        coalesce_streams=True,
        record_timing=False,
        log=quiet,
    )


def _kernel_manager(log: logging.Logger) -> AsyncKernelManager:
    """Manage a kernel of this interpreter, whatever kernels the user has registered."""
    import zmq
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class ThisInterpreter(KernelSpecManager):
        """Knows one kernel: the interpreter that runs this."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            """Give that kernel, whatever the name."""
            return KernelSpec(**get_kernel_dict())

    manager = AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=ThisInterpreter(),
        client_factory=kernel_client_class(),
        shutdown_wait_time=SHUTDOWN_SECONDS,
        log=log,
    )
    # Newer kernels warn on every start when their messages are not encrypted.
    if manager.has_trait("transport_encryption") and zmq.has("curve"):
        manager.transport_encryption = "auto"
    return manager


@cache
def kernel_client_class() -> type[AsyncKernelClient]:
    """Return a kernel client that sees every reply.

    nbclient sends what a widget shows back to the kernel while it waits for the cell's reply on the same socket. A
    reply that comes in the middle of that is taken in by the sending, and its signal with it: who waits for the
    signal alone waits for ever, beside a kernel that has long finished.
    """
    from jupyter_client.asynchronous.client import AsyncKernelClient
    from jupyter_client.channels import AsyncZMQSocketChannel
    from traitlets import Type

    class LooksAgain(AsyncZMQSocketChannel):
        """A channel that does not wait for the signal alone."""

        async def get_msg(  # type: ignore[override]
            self, timeout: float | None = None
        ) -> dict[str, Any]:
            """Give the next message; raises `queue.Empty` after so many seconds, None for no limit."""
            deadline = time.monotonic() + (math.inf if timeout is None else timeout)
            while True:
                left = deadline - time.monotonic()
                try:
                    return await super().get_msg(timeout=max(0.0, min(left, LOOK_AGAIN_SECONDS)))
                except queue.Empty:
                    if left <= LOOK_AGAIN_SECONDS:
                        raise

    class SeesEveryReply(AsyncKernelClient):
        """A client whose shell channel looks again."""

        shell_channel_class = Type(LooksAgain)

    return SeesEveryReply


def _kernel_environment(profile: str) -> dict[str, str]:
    environment = {**os.environ, runs.PROFILE_VARIABLE: profile, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    # A headless run is nobody's progress, and must show the same whoever starts it.
    environment[PROGRESS_VARIABLE] = OFF
    # A backend chosen for scripts would keep figures out of the notebook.
    environment.pop("MPLBACKEND", None)
    # A kernel works in another folder: there a relative one would be another cache.
    if environment.get(CACHE_VARIABLE):
        environment[CACHE_VARIABLE] = str(cache_folder())
    return environment


@contextmanager
def _killed_on_error(client: NotebookClient) -> Iterator[None]:
    """Let a kernel that is in the middle of a cell be killed: asked to leave, it would answer with noise."""
    try:
        yield
    except BaseException:
        client.shutdown_kernel = "immediate"
        raise


@contextmanager
def _failures_named(
    name: str, number: int, num_cells: int, cell: NotebookNode, time_limit: int
) -> Iterator[None]:
    """Turn nbclient's errors into one that names the notebook and the cell and shows both."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    where = f"{name}, code cell {number} of {num_cells}"
    shown = _first_lines(cell.source)
    try:
        yield
    except CellExecutionError as error:
        problem = f"{where} failed: {error.ename}: {error.evalue}"
        raise LessonError(problem, detail=f"{shown}\n\n{_traceback(cell)}") from None
    except CellTimeoutError:
        raise LessonError(
            f"{where} took longer than its limit of {time_limit} s.",
            mend="Close other programs, or run a smaller profile: --profile smoke.",
            detail=shown,
        ) from None
    except DeadKernelError:
        raise LessonError(
            f"{where}: the kernel died, most often because memory ran out.",
            mend="Close other programs, or run a smaller profile: --profile smoke.",
            detail=shown,
        ) from None


def _traceback(cell: NotebookNode) -> str:
    errors = [output for output in cell.outputs if output.output_type == "error"]
    return "\n".join(errors[-1].traceback) if errors else ""


def _first_lines(source: str) -> str:
    lines = source.strip().splitlines()
    more = ["    ..."] if len(lines) > NUM_SHOWN_LINES else []
    return "\n".join([*(f"    {line}" for line in lines[:NUM_SHOWN_LINES]), *more])
