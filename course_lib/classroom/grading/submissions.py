"""Reading what was handed in: notebooks in a folder or an archive, none of which is trusted.

Nothing is unpacked to disk, and no link is followed. A file that cannot be taken is named with the reason, and the
rest go on.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from course_lib.classroom.grading.learners import Learner, learner_of
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
# The flag of a member that says that its name is UTF-8.
_UTF8_NAMES = 0x800
_DRIVE = re.compile(r"[A-Za-z]:")
_NOISE = ("__MACOSX", "Thumbs.db", "desktop.ini")


class UnreadableSubmissionError(Exception):
    """Why a submission cannot be taken, as a sentence."""


@dataclass(frozen=True)
class Submission:
    """One handed-in notebook.

    Args:
        label: what it is called: its path in the folder or archive, without ".ipynb".
        read: gives its bytes, or raises `UnreadableSubmissionError`.
        path: its path, whole.
        learner: whose it is, where the path says so.
        beside: what else the same learner handed in, which is not marked.
    """

    label: str
    read: Callable[[], bytes]
    path: str = ""
    learner: Learner | None = None
    beside: tuple[str, ...] = ()

    @property
    def is_notebook(self) -> bool:
        """Whether it is called one, be it readable or not."""
        return self.path.lower().endswith(".ipynb")


def find_submissions(path: Path, ignored: Collection[Path] = ()) -> list[Submission]:
    """List the submissions in a folder, an archive or a single file, in the order of their labels.

    Args:
        path: a folder of notebooks and of learners' zip archives, in folders or not; one zip archive of such; or one
            notebook. A download of Moodle, Canvas or Google Classroom is taken as it comes.
        ignored: files in a folder that are none.

    Returns:
        One submission for each notebook, and one that cannot be read for each file that is none and lies beside none
        of its learner's.

    Raises:
        CourseError: if nothing is there, or nothing was handed in.
    """
    if path.is_dir():
        left_out = {file.resolve() for file in ignored}
        found = list(_in_folder(path, left_out))
    elif path.suffix.lower() == ".zip" and path.is_file():
        found = list(_in_archive(partial(_opened, path.resolve()), path.name, ""))
    elif path.is_file():
        found = [_of_file(path, path.name)]
    else:
        raise CourseError(
            "There are no submissions here.", given=str(path), mend="Name a folder or a .zip file."
        )
    if not found:
        raise CourseError("This holds no submission.", given=str(path), mend="Put the .ipynb files there.")
    return _with_own_labels(sorted(_by_learner(found), key=lambda submission: submission.label))


def _by_learner(found: list[Submission]) -> Iterator[Submission]:
    """Say whose each submission is, and take what lies beside a learner's notebooks for no submission."""
    groups: dict[str, list[Submission]] = {}
    root = _common_folder([submission.path for submission in found])
    for submission in found:
        inside = submission.path[len(root) :]
        learner = learner_of(inside)
        group = f"{learner.platform} {learner.number} {learner.name}" if learner else inside.partition("/")[0]
        groups.setdefault(group, []).append(replace(submission, learner=learner))
    for name, members in groups.items():
        notebooks = [member for member in members if member.is_notebook]
        # A folder of several notebooks may be several learners'.
        is_one_learners = (
            members[0].learner is not None or name.lower().endswith(".zip") or len(notebooks) == 1
        )
        if not notebooks or not is_one_learners:
            yield from members
            continue
        beside = tuple(PurePosixPath(member.path).name for member in members if not member.is_notebook)
        yield from (replace(notebook, beside=beside) for notebook in notebooks)


def _common_folder(paths: list[str]) -> str:
    """Give the folder that all paths lie in, with its "/", if it is no learner's; empty if there is none."""
    first = {path.partition("/")[0] for path in paths}
    (name, *others) = first
    if others or learner_of(name) or name.lower().endswith(".zip") or not all("/" in path for path in paths):
        return ""
    return f"{name}/{_common_folder([path[len(name) + 1 :] for path in paths])}"


def _in_folder(root: Path, left_out: Collection[Path]) -> Iterator[Submission]:
    for folder, names, files in os.walk(root, followlinks=False):
        # A link to a folder stands among the folders; it is reported, not followed.
        links = [name for name in names if Path(folder, name).is_symlink()]
        names[:] = sorted(name for name in names if not _is_noise(name) and name not in links)
        for name in sorted([*files, *links]):
            if _is_noise(name):
                continue
            path = Path(folder, name)
            label = path.relative_to(root).as_posix()
            if path.resolve() in left_out:
                continue
            if path.suffix.lower() == ".zip" and not path.is_symlink():
                yield from _in_archive(partial(_opened, path), label, f"{label}/", of_learner=True)
            else:
                yield _of_file(path, label)


def _of_file(path: Path, name: str) -> Submission:
    if PurePosixPath(name).suffix.lower() != ".ipynb":
        return _refused(name, "It is no notebook (.ipynb).")
    return Submission(_label(name), lambda: _read_file(path), name)


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


def _in_archive(
    opened: Callable[[], BinaryIO], name: str, prefix: str, *, of_learner: bool = False
) -> Iterator[Submission]:
    """List what is in an archive; in a class's archive, also what is in those of its learners.

    Args:
        opened: opens the archive.
        name: what it is called.
        prefix: what the paths of its members begin with.
        of_learner: whether it is one learner's.
    """
    try:
        members = _members(opened, MAX_ARCHIVE_BYTES if of_learner else MAX_CLASS_ARCHIVE_BYTES)
    except UnreadableSubmissionError as error:
        yield _refused(name, str(error))
        return
    count = sum(member.filename.lower().endswith(".ipynb") for member in members)
    if of_learner and (count > MAX_NOTEBOOKS_EACH or len(members) > MAX_FILES_EACH):
        reason = f"It holds {count} notebooks among {len(members)} files; {MAX_NOTEBOOKS_EACH} among {MAX_FILES_EACH} "
        yield _refused(name, f"{reason}are allowed.")
        return
    for member in members:
        submission = _of_member(opened, member, prefix)
        if submission.path.lower().endswith(".zip") and not of_learner:
            inner = partial(_opened_member, opened, member)
            yield from _in_archive(inner, submission.path, f"{submission.path}/", of_learner=True)
        else:
            yield submission


def _members(opened: Callable[[], BinaryIO], max_bytes: int) -> list[zipfile.ZipInfo]:
    """List the files in an archive, without what systems add of their own."""
    try:
        with opened() as file:
            if file.seek(0, os.SEEK_END) > max_bytes:
                raise UnreadableSubmissionError(f"The archive is larger than {max_bytes >> 20} MB.")
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise UnreadableSubmissionError("It is no archive that can be read.") from None
    if len(members) > MAX_MEMBERS:
        raise UnreadableSubmissionError(f"The archive has {len(members)} members; {MAX_MEMBERS} are allowed.")
    return [member for member in members if not _is_folder_or_noise(_member_path(member))]


def _member_path(member: zipfile.ZipInfo) -> str:
    """Give a member's path with "/", and its letters as they were meant."""
    # Archives of PowerShell 5 and of some Windows programs have backslashes.
    return _meant(member).replace("\\", "/")


def _meant(member: zipfile.ZipInfo) -> str:
    """Give a member's name, which many programs write in another encoding than they say.

    Without its flag for UTF-8, a ZIP archive's names are read as code page 437. macOS writes UTF-8 all the same, and
    Korean Windows its own code page.
    """
    name = member.orig_filename.partition("\0")[0]
    if member.flag_bits & _UTF8_NAMES or name.isascii():
        return name
    data = name.encode("cp437", "replace")
    for encoding in ("utf-8", "cp949"):
        with contextlib.suppress(UnicodeDecodeError):
            meant = data.decode(encoding)
            # Nearly any bytes are some text in a code page; Korean letters throughout are no accident.
            if encoding == "utf-8" or all(letter.isascii() or "가" <= letter <= "힣" for letter in meant):
                return meant
    return name


def _is_folder_or_noise(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return name.endswith("/") or any(_is_noise(part) for part in parts if part != "..")


def _of_member(opened: Callable[[], BinaryIO], member: zipfile.ZipInfo, prefix: str) -> Submission:
    inside = _member_path(member)
    name = prefix + inside
    parts = PurePosixPath(inside).parts
    if ".." in parts or inside.startswith("/") or _DRIVE.match(inside):
        return _refused(name, "Its name in the archive leads out of the archive.")
    if stat.S_ISLNK(member.external_attr >> 16):
        return _refused(name, "It is a symbolic link.")
    if member.flag_bits & 1 or member.compress_type not in _PLAIN_COMPRESSION:
        return _refused(name, "It is encrypted, or packed in another way than zip's own.")
    if PurePosixPath(name).suffix.lower() != ".ipynb":
        return _refused(name, "It is no notebook (.ipynb).")
    return Submission(_label(name), lambda: _checked(_read_member(opened, member, MAX_NOTEBOOK_BYTES)), name)


def _opened_member(opened: Callable[[], BinaryIO], member: zipfile.ZipInfo) -> BinaryIO:
    return io.BytesIO(_read_member(opened, member, MAX_ARCHIVE_BYTES))


def _read_member(opened: Callable[[], BinaryIO], member: zipfile.ZipInfo, max_bytes: int) -> bytes:
    """Read a member up to the limit and a byte further: what the archive says of its size may be a lie."""
    try:
        with opened() as whole, zipfile.ZipFile(whole) as archive, archive.open(member) as file:
            return file.read(max_bytes + 1)
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

    return Submission(_label(name), refuse, name)


def _is_noise(name: str) -> bool:
    return name.startswith(".") or name in _NOISE


def _label(name: str) -> str:
    """Give a name as text for a table: nothing unprintable, not endless."""
    name = name[: -len(".ipynb")] if name.lower().endswith(".ipynb") else name
    # Letters of one form: macOS takes Korean syllables and accents apart.
    name = unicodedata.normalize("NFC", name)
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
        result.append(replace(submission, label=label))
    return result
