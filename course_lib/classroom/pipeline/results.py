"""The folder `build/`: what a run writes there, and that nothing which someone else put or wrote there is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from course_lib.locations import (
    RECORD_FILE,
    check_writable_folder,
    foreign_files,
    is_own_file,
    set_aside,
    written_output,
)

FOLDER = "build"


def build_folder(root: Path, profile: str, *, solutions: bool = False) -> Path:
    """Give the folder of executed notebooks and pages for one profile."""
    folder = root / FOLDER / profile
    return folder / "solutions" if solutions else folder


def check_build_folder(root: Path, profile: str, *, solutions: bool = False) -> None:
    """Refuse a `build/` that could not be written, before the work begins.

    Raises:
        CourseError: as `check_writable_folder`.
    """
    check_writable_folder(build_folder(root, profile, solutions=solutions))


def write_result(path: Path, text: str, root: Path, say: Callable[[str], None] = print) -> None:
    """Write a file under `build/`; a file there that someone has changed is put aside, and named.

    Args:
        path: the file.
        text: what goes into it.
        root: the checkout.
        say: takes the sentence that names what was put aside.
    """
    folder = root / FOLDER
    if path.exists() and not is_own_file(path, folder):
        say(
            f"kept: {path.name} in {path.parent} was not as the course wrote it; it is now {set_aside(path).name}"
        )
    with written_output(path, folder) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.chmod(0o644)


def own_results(root: Path) -> Iterator[Path]:
    """Find the files under `build/` that are as the course wrote them, its record last."""
    folder = root / FOLDER
    strange = set(foreign_files(folder))
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).as_posix()
        if (path.is_symlink() or not path.is_dir()) and inside not in {*strange, RECORD_FILE}:
            yield path
    if (folder / RECORD_FILE).is_file() and not strange:
        yield folder / RECORD_FILE


def foreign_results(root: Path) -> list[Path]:
    """List the files under `build/` that someone else put there or changed."""
    return [root / FOLDER / name for name in foreign_files(root / FOLDER)]


def remove_results(root: Path) -> None:
    """Remove what the course wrote under `build/`, and the folders that are empty then."""
    for path in own_results(root):
        path.unlink()
    folder = root / FOLDER
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
