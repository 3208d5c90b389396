"""Whose a file is, as the names in a learning platform's download say it.

Moodle, Canvas and Google Classroom each name what they hand out in a way of their own. A file of another name belongs
to nobody in particular, and is graded all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

# "Jane Doe_12345_assignsubmission_file/a1.ipynb", or one file: "Jane Doe_12345_assignsubmission_file_a1.ipynb".
_MOODLE = re.compile(r"(?P<name>[^_/]+)_(?P<number>\d+)_assignsubmission_[a-z]+(_.*)?")
# "doejane_12345_678910_a1.ipynb", "doejane_LATE_12345_678910_a1.ipynb": user's, then file's number.
_CANVAS = re.compile(r"(?P<name>[^\W_]\w*?)_(?P<late>LATE_)?(?P<number>\d+)_(?P<file>\d+)_.+")
# Where names are hidden: "anon_aB3dE_678910_a1.ipynb", "LATE_anon_aB3dE_678910_a1.ipynb".
_CANVAS_HIDDEN = re.compile(r"(?P<late>LATE_)?(?P<name>anon_[0-9A-Za-z]+)_(?P<file>\d+)_.+")
# "Jane Doe - a1.ipynb", and of a copy that was not renamed: "Copy of a1.ipynb", "a1 (1).ipynb".
_CLASSROOM = re.compile(r"(Copy of )?(?P<name>[^\d_/.-][^\d_/]*?) - .+\.(ipynb|zip)", re.IGNORECASE)


@dataclass(frozen=True)
class Learner:
    """Whose a submission is.

    Args:
        platform: "moodle", "canvas" or "classroom".
        number: the platform's own for the learner; empty where its names do not say it.
        name: as the platform writes it in names of files.
        late: whether the platform says that it came late.
    """

    platform: str
    number: str
    name: str
    late: bool = False


def learner_of(path: str) -> Learner | None:
    """Give the learner whose file a path in a download is; None if no platform names its files so.

    Args:
        path: inside the download, with "/".

    Example:
        >>> learner_of("doejane_LATE_12_345_a1.ipynb")
        Learner(platform='canvas', number='12', name='doejane', late=True)
    """
    # The platform named the outermost part; what is inside has its name from the learner, and may say anything.
    outermost = PurePosixPath(path).parts[0]
    return _moodle(outermost) or _canvas(outermost) or _classroom(outermost)


def _moodle(name: str) -> Learner | None:
    match = _MOODLE.fullmatch(name)
    return Learner("moodle", match["number"], match["name"]) if match else None


def _canvas(name: str) -> Learner | None:
    if match := _CANVAS_HIDDEN.fullmatch(name):
        return Learner("canvas", "", match["name"], bool(match["late"]))
    match = _CANVAS.fullmatch(name)
    # Canvas writes names in small letters.
    if match is None or match["name"] != match["name"].lower():
        return None
    return Learner("canvas", match["number"], match["name"], bool(match["late"]))


def _classroom(name: str) -> Learner | None:
    match = _CLASSROOM.fullmatch(name)
    return Learner("classroom", "", match["name"].strip()) if match else None


def plain_stem(path: str) -> str:
    """Give what a learner's file was called before platforms and browsers renamed it, without its ending.

    Example:
        >>> plain_stem("x/Copy of a1 (2).ipynb"), plain_stem("doejane_12_345_a1-1.ipynb")
        ('a1', 'a1')
    """
    name = PurePosixPath(path).name
    name = name[: -len(".ipynb")] if name.lower().endswith(".ipynb") else name
    name = re.sub(r"( \(\d+\)|-\d+| - Copy)+$", "", name)
    name = re.sub(r"^.*_assignsubmission_[a-z]+_", "", name)
    name = re.sub(r"^(.*?_)?(LATE_)?(anon_[0-9A-Za-z]+|\d+)_\d+_", "", name)
    name = re.sub(r"^.* - ", "", name)
    return re.sub(r"^(Copy of )+", "", name, flags=re.IGNORECASE).strip()
