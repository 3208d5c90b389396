"""Commands of the lessons: run, build and open them, their assets, their progress."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from course_lib.errors import CourseError

if TYPE_CHECKING:
    from course_lib.classroom.pipeline.execute import LessonRun

_HOW_TO_BUILD_ANEW = "`course build --force` puts yours aside and builds it anew."
# What the course downloads and prepares, by the folder of the cache and the names it makes there. Anything else
# there is not ours to remove.
_CACHED = {
    "assets": r"[a-z0-9-]+-[0-9a-f]{12}",
    "texts": r"[a-z0-9_-]+-v\d+-[0-9a-f]{8}(-[0-9a-f]{8})*(\.lock)?",
}


def run(
    lessons: Annotated[
        list[str] | None, typer.Argument(help="Numbers or names, as 01 or complexity; all by default.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="smoke, default or full; COURSE_PROFILE by default.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run what is up to date, too.")] = False,
    solutions: Annotated[bool, typer.Option("--solutions", help="Run the notebooks with solutions.")] = False,
) -> None:
    """Run lessons and write each as an HTML page under build/."""
    from rich.console import Console

    from course_lib import runs
    from course_lib.classroom.pipeline import catalogue, execute, pages
    from course_lib.classroom.pipeline.build import build as build_notebooks
    from course_lib.classroom.pipeline.results import check_build_folder

    root = catalogue.course_root()
    name = runs.profile(profile).name
    found = catalogue.lessons(root)
    chosen = catalogue.choose(found, lessons or [])
    check_build_folder(root, name, solutions=solutions)
    console = Console()
    for change in build_notebooks(root):
        if change.state == "kept":
            console.print(
                f"kept, and run as it is: {change.path.relative_to(root)}. {_HOW_TO_BUILD_ANEW}",
                highlight=False,
                soft_wrap=True,
            )
    try:
        results = execute.run_lessons(
            chosen, root=root, profile=name, console=console, solutions=solutions, force=force
        )
    except KeyboardInterrupt:
        console.print("What has run is kept; the next `course run` goes on and writes its pages.")
        raise
    except BaseException:
        pages.write_pages(found, root=root, profile=name, solutions=solutions)
        raise
    pages.write_pages(found, root=root, profile=name, solutions=solutions)
    _print_results(results)
    console.print(f"Pages: {root / 'build' / 'index.html'}", highlight=False, soft_wrap=True)


def build(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a notebook is out of step.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Put notebooks you have written in aside, and build them anew.")
    ] = False,
) -> None:
    """Build the notebooks from notebooks/src/."""
    from course_lib.classroom.pipeline import catalogue
    from course_lib.classroom.pipeline.build import build as build_notebooks

    root = catalogue.course_root()
    changes = build_notebooks(root, write=not check, force=force)
    out_of_step = [change for change in changes if change.state != "same"]
    for change in out_of_step:
        aside = f" (yours is now {change.aside.name})" if change.aside else ""
        typer.echo(f"{change.state}: {change.path.relative_to(root)}{aside}")
    if any(change.state == "kept" for change in changes):
        typer.echo(f"Kept notebooks are not as the course wrote them. {_HOW_TO_BUILD_ANEW}")
    if not out_of_step:
        typer.echo(f"{len(changes)} notebooks are in step with their sources.")
    if check and out_of_step:
        typer.echo("Out of step with notebooks/src/: run `course build`.", err=True)
        raise typer.Exit(1)


def lab(
    options: Annotated[
        list[str] | None, typer.Argument(help="Options for JupyterLab, as in: course lab -- --port 9999")
    ] = None,
) -> None:
    """Open JupyterLab on the notebooks."""
    import importlib.util
    import os
    import subprocess
    import sys

    from course_lib.classroom.pipeline.catalogue import LEARNER_FOLDER, course_root

    folder = course_root() / LEARNER_FOLDER
    if importlib.util.find_spec("jupyterlab") is None:
        raise CourseError("JupyterLab is not installed.", mend="pip install 'course-lib[notebooks]'")
    # In a container one is often root, and JupyterLab then starts only if told so.
    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", str(folder), *as_root, *(options or [])]
    raise typer.Exit(subprocess.run(command).returncode)


def list_assets(
    fetch: Annotated[bool, typer.Option("--fetch", help="Download what is missing.")] = False,
) -> None:
    """List what the course downloads: package, licence, size, state and origin."""
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    from course_lib import assets
    from course_lib.locations import cache_folder

    if fetch:
        assets.fetch_all(progress=True)
    table = Table(show_lines=True)
    for title in ("asset", "package", "licence", "size, state", "from"):
        table.add_column(title, overflow="fold")
    for row in assets.listing():
        licences = f"{row.licence}\ncontent: {row.content_licence}"
        size_and_state = f"{decimal(row.size)}\n{row.state}"
        table.add_row(row.name, f"{row.package}\n{row.version}", licences, size_and_state, row.origin)
    console = Console()
    console.print(table)
    console.print(f"Cache: {cache_folder()}", highlight=False, soft_wrap=True)


def clean(
    assets: Annotated[bool, typer.Option("--assets", help="Remove downloads and texts, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove what runs wrote to build/, and with --assets what was downloaded."""
    import shutil

    from course_lib.classroom.pipeline import results
    from course_lib.classroom.pipeline.catalogue import course_root

    try:
        root: Path | None = course_root()
    except CourseError:
        if not assets:
            raise
        root = None
    foreign = results.foreign_results(root) if root else []
    own = list(results.own_results(root)) if root else []
    removed = (
        own if foreign or root is None or not (root / results.FOLDER).is_dir() else [root / results.FOLDER]
    )
    cached = _cached() if assets else []
    for path in foreign:
        typer.echo(f"kept, not as the course wrote it: {path}")
    if not removed and not cached:
        typer.echo("Nothing to remove.")
        return
    for path in [*removed, *cached]:
        typer.echo(f"to be removed: {path}")
    if not yes:
        typer.confirm("Remove?", abort=True)
    if root:
        results.remove_results(root)
    for path in cached:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _cached() -> list[Path]:
    """Find what the course downloaded and prepared in the cache: a whole folder, or what in it is ours."""
    from course_lib.locations import cache_folder

    found: list[Path] = []
    for part, names in _CACHED.items():
        folder = cache_folder() / part
        inside = sorted(folder.glob("*"))
        own = [path for path in inside if re.fullmatch(names, path.name) and not path.is_symlink()]
        if folder.is_dir() and not folder.is_symlink():
            found += [folder] if own == inside else own
    return found


def progress(
    reset: Annotated[bool, typer.Option("--reset", help="Forget all progress.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show which exercises are passed and which are open, lesson by lesson."""
    from rich.console import Console

    from course_lib.classroom import exercises
    from course_lib.classroom.exercises import remembering

    if not reset:
        found = exercises.progress()
        console = Console()
        console.print(found.summary, highlight=False)
        console.print(found.table())
        if found.note:
            console.print(found.note, highlight=False, markup=False, soft_wrap=True)
        return
    if not yes:
        typer.confirm("Forget which exercises you have passed, and all attempts?", abort=True)
    typer.echo("Forgotten." if remembering.forget() else "Nothing to forget.")


def _print_results(results: list[LessonRun]) -> None:
    from rich.console import Console
    from rich.table import Table

    from course_lib.classroom.pipeline.progress import duration

    table = Table("notebook", "seconds", "headline result")
    for result in results:
        table.add_row(result.name, f"{result.seconds:.1f}", result.headline)
    total = sum(result.seconds for result in results)
    table.caption = f"together: {duration(total)}"
    Console().print(table)
