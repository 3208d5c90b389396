"""Which lessons there are: read from their sources, `notebooks/src/NN_name.py`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import course_lib
from course_lib.errors import CourseError, unknown_name

if TYPE_CHECKING:
    from nbformat import NotebookNode

SOURCE_FOLDER = Path("notebooks", "src")
LEARNER_FOLDER = Path("notebooks")
SOLUTION_FOLDER = Path("notebooks", "solutions")

_FILE_NAME = re.compile(r"(?P<number>\d\d)_(?P<slug>[a-z0-9_]+)")
_TITLE = re.compile(r"^#\s+(?P<title>.+?)\s*$", re.MULTILINE)
_MINUTES = re.compile(r"Time on two CPU cores:[*_\s]*(?P<minutes>.+)")


@dataclass(frozen=True)
class Lesson:
    """One lesson of the course.

    Args:
        number: its place in the course, "00" to "99".
        slug: the rest of its file name, for example "complexity".
        title: its first heading.
        path: its source.
        minutes: how long it takes on two CPU cores, in the lesson's own words; empty if it does not say.
        description: the first paragraph under its title.
    """

    number: str
    slug: str
    title: str
    path: Path
    minutes: str = ""
    description: str = ""

    @property
    def name(self) -> str:
        """The name its files have: "01_complexity"."""
        return f"{self.number}_{self.slug}"


def course_root(start: Path | None = None) -> Path:
    """Find the checkout of the course: the folder of `notebooks/src` and `pyproject.toml`.

    Args:
        start: where to look from, upwards; the current folder by default. If nothing is found there, the
            folder that the package was imported from is tried.

    Raises:
        CourseError: if there is no checkout here.
    """
    here = (start or Path.cwd()).resolve()
    package_parent = Path(course_lib.__file__).resolve().parent.parent
    for folder in (here, *here.parents, package_parent):
        if (folder / SOURCE_FOLDER).is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise CourseError(
        "There are no lessons here: this is not a checkout of the course.",
        given=str(here),
        mend="Clone the course's repository and call `course` from its folder.",
    )


def lessons(root: Path | None = None) -> list[Lesson]:
    """List the lessons that exist, in order.

    Args:
        root: the checkout; found from the current folder by default.

    Raises:
        CourseError: if there is no checkout, a file's name is not NN_name.py, two lessons have one number,
            or a lesson has no title.
    """
    root = root or course_root()
    found = [_read_lesson(path) for path in sorted((root / SOURCE_FOLDER).glob("*.py"))]
    for number, count in Counter(lesson.number for lesson in found).items():
        if count > 1:
            names = [lesson.path.name for lesson in found if lesson.number == number]
            raise CourseError("Two lessons have the same number.", given=names, mend="Renumber one.")
    return found


def choose(found: Sequence[Lesson], names: Iterable[str]) -> list[Lesson]:
    """Pick lessons by number ("01" or "1"), name ("01_complexity") or slug ("complexity").

    Args:
        found: the lessons to pick from.
        names: what the user asked for; none means all.

    Returns:
        The lessons in the order of the course, each once.

    Raises:
        CourseError: if a name fits no lesson.
    """
    names = list(names)
    chosen = [_find(found, name) for name in names] if names else list(found)
    return [lesson for lesson in found if lesson in chosen]


def read_source(path: Path) -> NotebookNode:
    """Read a lesson's source as a notebook of cells.

    Raises:
        CourseError: if it is no py:percent script in UTF-8.
    """
    import jupytext

    try:
        return jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    except (ValueError, SyntaxError) as error:
        raise CourseError(
            "This lesson's source cannot be read.",
            given=str(path),
            mend=f"Write it as a py:percent script in UTF-8 ({error}).",
        ) from error


def _find(found: Sequence[Lesson], name: str) -> Lesson:
    wanted = name.removesuffix(".ipynb").removesuffix(".py")
    wanted = wanted.zfill(2) if wanted.isdigit() else wanted
    for lesson in found:
        if wanted in (lesson.number, lesson.slug, lesson.name):
            return lesson
    known = [lesson.name for lesson in found]
    near_by_slug = [lesson.slug for lesson in found]
    raise unknown_name("lesson", name, known if wanted[:1].isdigit() else near_by_slug)


def _read_lesson(path: Path) -> Lesson:
    match = _FILE_NAME.fullmatch(path.stem)
    if match is None:
        raise CourseError(
            "A lesson's source is named NN_name.py.",
            given=path.name,
            mend="Rename it, as in 01_complexity.py.",
        )
    text = "\n\n".join(cell.source for cell in read_source(path).cells if cell.cell_type == "markdown")
    title = _TITLE.search(text)
    if title is None:
        raise CourseError("A lesson begins with its title.", given=path.name, mend="Add a line '# Title'.")
    minutes = _MINUTES.search(text)
    return Lesson(
        number=match["number"],
        slug=match["slug"],
        title=title["title"],
        path=path,
        minutes=minutes["minutes"].strip(" *_.") if minutes else "",
        description=_first_paragraph(text[title.end() :]),
    )


def _first_paragraph(text: str) -> str:
    """Give the first paragraph of plain text on one line: no heading, list, table or time."""
    for block in re.split(r"\n\s*\n", text.strip()):
        if block and not re.match(r"[#|<>!]|\[!|[*+-]\s|\d+\.\s|.*Time on two CPU cores:", block):
            return " ".join(block.split())
    return ""
