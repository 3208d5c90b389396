"""Reading what was handed in: notebooks in a folder or an archive, none of which is trusted.

Nothing is unpacked to disk, and no link is followed. A file that cannot be taken is named with the reason, and the
rest go on.
"""

from __future__ import annotations

import itertools
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from course_lib.errors import CourseError

MAX_NOTEBOOK_BYTES = 16 << 20
# One learner's archive. Its list of members must fit into memory, whatever it claims.
MAX_ARCHIVE_BYTES = 8 << 20
# The archive of a whole class, which the instructor's own platform made.
MAX_CLASS_ARCHIVE_BYTES = 1 << 30
MAX_MEMBERS = 2_000
# Of one learner, in one archive: each notebook is a submission that takes its time, each other file a row.
MAX_NOTEBOOKS_EACH, MAX_FILES_EACH = 10, 100
_PLAIN_COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_NOISE = ("__MACOSX", "Thumbs.db", "desktop.ini")


class UnreadableSubmissionError(Exception):
    """Why a submission cannot be taken, as a sentence."""


@dataclass(frozen=True)
class Submission:
    """One handed-in notebook.

    Args:
        label: what it is called: its path in the folder or archive, without ".ipynb".
        read: gives its bytes, or raises `UnreadableSubmissionError`.
    """

    label: str
    read: Callable[[], bytes]


def find_submissions(path: Path) -> list[Submission]:
    """List the submissions in a folder, an archive or a single file, in the order of their labels.

    Args:
        path: a folder of notebooks and of learners' zip archives, in folders or not; one zip archive of notebooks;
            or one notebook.

    Returns:
        One submission for each notebook, and one that cannot be read for each file that is none.

    Raises:
        CourseError: if nothing is there, or nothing was handed in.
    """
    if path.is_dir():
        found = list(_in_folder(path))
    elif path.suffix.lower() == ".zip" and path.is_file():
        found = list(_in_archive(path.resolve(), ""))
    elif path.is_file():
        found = [_of_file(path, path.name)]
    else:
        raise CourseError(
            "There are no submissions here.", given=str(path), mend="Name a folder or a .zip file."
        )
    if not found:
        raise CourseError("This holds no submission.", given=str(path), mend="Put the .ipynb files there.")
    return _with_own_labels(sorted(found, key=lambda submission: submission.label))


def _in_folder(root: Path) -> Iterator[Submission]:
    for folder, names, files in os.walk(root, followlinks=False):
        # A link to a folder stands among the folders; it is reported, not followed.
        links = [name for name in names if Path(folder, name).is_symlink()]
        names[:] = sorted(name for name in names if not _is_noise(name) and name not in links)
        for name in sorted([*files, *links]):
            if _is_noise(name):
                continue
            path = Path(folder, name)
            label = path.relative_to(root).as_posix()
            if path.suffix.lower() == ".zip" and not path.is_symlink():
                yield from _in_archive(path, f"{label}/", of_learner=True)
            else:
                yield _of_file(path, label)


def _of_file(path: Path, name: str) -> Submission:
    if PurePosixPath(name).suffix.lower() != ".ipynb":
        return _refused(name, "It is no notebook (.ipynb).")
    return Submission(_label(name), lambda: _read_file(path))


def _read_file(path: Path) -> bytes:
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        return _checked(file.read(MAX_NOTEBOOK_BYTES + 1) if size <= MAX_NOTEBOOK_BYTES else None)


def _opened(path: Path) -> BinaryIO:
    """Open what was handed in, if it is an ordinary file."""
    # Neither a link nor a pipe that never ends: opened without following, and looked at once it is open.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        reason = "It is a symbolic link." if path.is_symlink() else f"It cannot be opened: {error.strerror}."
        raise UnreadableSubmissionError(reason) from None
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise UnreadableSubmissionError("It is no ordinary file.")
    return file


def _in_archive(path: Path, prefix: str, *, of_learner: bool = False) -> Iterator[Submission]:
    try:
        members = _members(path, MAX_ARCHIVE_BYTES if of_learner else MAX_CLASS_ARCHIVE_BYTES)
    except UnreadableSubmissionError as error:
        yield _refused(prefix.rstrip("/") or path.name, str(error))
        return
    count = sum(member.filename.lower().endswith(".ipynb") for member in members)
    if of_learner and (count > MAX_NOTEBOOKS_EACH or len(members) > MAX_FILES_EACH):
        reason = f"It holds {count} notebooks among {len(members)} files; {MAX_NOTEBOOKS_EACH} among {MAX_FILES_EACH} "
        yield _refused(prefix.rstrip("/"), f"{reason}are allowed.")
        return
    yield from (_of_member(path, member, prefix) for member in members)


def _members(path: Path, max_bytes: int) -> list[zipfile.ZipInfo]:
    """List the files in an archive, without what systems add of their own."""
    try:
        with _opened(path) as file:
            if os.fstat(file.fileno()).st_size > max_bytes:
                raise UnreadableSubmissionError(f"The archive is larger than {max_bytes >> 20} MB.")
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise UnreadableSubmissionError("It is no archive that can be read.") from None
    if len(members) > MAX_MEMBERS:
        raise UnreadableSubmissionError(f"The archive has {len(members)} members; {MAX_MEMBERS} are allowed.")
    return [member for member in members if not member.is_dir() and not _is_noisy_path(member.filename)]


def _is_noisy_path(name: str) -> bool:
    return any(_is_noise(part) for part in PurePosixPath(name).parts if part != "..")


def _of_member(path: Path, member: zipfile.ZipInfo, prefix: str) -> Submission:
    name = prefix + member.filename
    parts = PurePosixPath(member.filename).parts
    if ".." in parts or member.filename.startswith("/") or "\\" in member.filename:
        return _refused(name, "Its name in the archive leads out of the archive.")
    if stat.S_ISLNK(member.external_attr >> 16):
        return _refused(name, "It is a symbolic link.")
    if PurePosixPath(name).suffix.lower() != ".ipynb":
        return _refused(name, "It is no notebook (.ipynb).")
    if member.flag_bits & 1 or member.compress_type not in _PLAIN_COMPRESSION:
        return _refused(name, "It is encrypted, or packed in another way than zip's own.")
    return Submission(_label(name), lambda: _read_member(path, member))


def _read_member(path: Path, member: zipfile.ZipInfo) -> bytes:
    try:
        with _opened(path) as whole, zipfile.ZipFile(whole) as archive, archive.open(member) as file:
            # Read up to the limit and no further: what the archive says of a member's size may be a lie.
            return _checked(file.read(MAX_NOTEBOOK_BYTES + 1))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError):
        raise UnreadableSubmissionError("It cannot be read from its archive.") from None


def _checked(data: bytes | None) -> bytes:
    if data is None or len(data) > MAX_NOTEBOOK_BYTES:
        raise UnreadableSubmissionError(f"It is larger than {MAX_NOTEBOOK_BYTES >> 20} MB.")
    if not data:
        raise UnreadableSubmissionError("It is empty.")
    return data


def _refused(name: str, reason: str) -> Submission:
    def refuse() -> bytes:
        raise UnreadableSubmissionError(reason)

    return Submission(_label(name), refuse)


def _is_noise(name: str) -> bool:
    return name.startswith(".") or name in _NOISE


def _label(name: str) -> str:
    """Give a name as text for a table: nothing unprintable, not endless."""
    name = name[: -len(".ipynb")] if name.lower().endswith(".ipynb") else name
    shown = "".join(character if character.isprintable() else "?" for character in name)
    return shown if len(shown) <= 120 else shown[:117] + "..."


def _with_own_labels(found: list[Submission]) -> list[Submission]:
    """Number those that have one label, so that each has a row of its own."""
    used: set[str] = set()
    result = []
    for submission in found:
        numbered = (f"{submission.label} ({number})" for number in itertools.count(2))
        label = next(label for label in itertools.chain([submission.label], numbered) if label not in used)
        used.add(label)
        result.append(Submission(label, submission.read))
    return result
