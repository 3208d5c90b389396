"""What a sandbox sees of the course: a copy without the judge, the exercises' answers, and what a task asks for."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import course_lib
from course_lib.errors import CourseError
from course_lib.locations import data_folder

# These hold answers, or are of no use to a submission.
LEFT_OUT = ("classroom", "reference.py", "cli", "__main__.py", "_data")
# The worker's side of the judge.
WORKER_FILES = tuple(
    f"classroom/{name}.py"
    for name in (
        "__init__",
        "grading/__init__",
        *(f"grading/worker/{name}" for name in ("__init__", "answering", "channel", "shell", "timekeeping")),
    )
)


def copy_course(folder: Path, blocked: Iterable[str] = ()) -> Path:
    """Write the part of the course that submissions may import.

    What a task asks to write is not hidden but absent: its code is not in the copy, and calling or importing it
    says so.

    Args:
        folder: where to; it is made.
        blocked: modules ("course_lib.complexity.descent") and names in them
            ("course_lib.complexity.descent.gradient_descent").

    Returns:
        The folder to put on the path: it holds `course_lib` and `data`.

    Raises:
        CourseError: if a blocked name is not in the course.
    """
    source = Path(course_lib.__file__).resolve().parent
    target = folder / "course_lib"
    shutil.copytree(source, target, ignore=_ignored(source))
    for name in WORKER_FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    shutil.copytree(data_folder(), folder / "data")
    for name in blocked:
        _block(folder, name)
    _make_readable(folder)
    return folder


def _ignored(source: Path) -> Callable[[str, list[str]], set[str]]:
    def ignore(folder: str, names: list[str]) -> set[str]:
        at_top = Path(folder) == source
        return {name for name in names if name == "__pycache__" or (at_top and name in LEFT_OUT)}

    return ignore


def _block(folder: Path, name: str) -> None:
    """Replace a module by one that refuses its import, or a name by one that refuses its use."""
    module = folder.joinpath(*name.split(".")).with_suffix(".py")
    refusal = f"raise ImportError({f'{name} is what this assignment asks you to write.'!r})"
    if module.is_file():
        module.write_text(f"{refusal}\n", encoding="utf-8")
        return
    module, short_name = module.parent.with_suffix(".py"), name.rpartition(".")[2]
    if not module.is_file():
        raise CourseError("A blocked name is not in the course.", given=name, mend="Name a module of it.")
    tree = ast.parse(module.read_text(encoding="utf-8"))
    found = [node for node in tree.body if getattr(node, "name", None) == short_name]
    if not found:
        raise CourseError("A blocked name is not in its module.", given=name, mend="Mend the assignment.")
    stand_in = ast.parse(f"def {short_name}(*arguments, **named):\n    {refusal}").body
    tree.body = [part for node in tree.body for part in (stand_in if node in found else [node])]
    module.write_text(ast.unparse(ast.fix_missing_locations(tree)) + "\n", encoding="utf-8")


def _make_readable(folder: Path) -> None:
    """Let every user read: the sandbox has a user of its own."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
