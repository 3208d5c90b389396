"""Where the course keeps its files: its data, the cache outside it, and the outputs that a user names."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from course_lib.checks.calls import border
from course_lib.checks.types import Text
from course_lib.checks.values import check_path
from course_lib.errors import CourseError

CACHE_VARIABLE = "COURSE_CACHE"
# What the course wrote, as lines of `sha256  path`: in an output folder, and in the cache for files by themselves.
RECORD_FILE = ".course_files.sha256"
OUTPUTS_FILE = "outputs.sha256"
# Of the calls that exchange two folders: "from the current folder on", and "exchange".
_AT_CURRENT, _SWAP = -100, 2


def data_folder() -> Path:
    """Return the folder of small data files: `data/` in a checkout, `course_lib/_data` in a wheel.

    Raises:
        CourseError: if neither is there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_data", package.parent / "data"):
        if (folder / "manifest.toml").is_file():
            return folder
    raise CourseError(
        "The course's data files are missing.",
        given=str(package),
        mend="Install the course again: pip install -r requirements.txt in a fresh checkout.",
    )


def cache_folder() -> Path:
    """Return the folder of downloads and converted models; COURSE_CACHE moves it.

    Returns:
        An absolute path outside the repository; it need not exist yet.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().resolve()
    return Path(platformdirs.user_cache_dir("course_lib"))


@border(path=check_path)
@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name and rename it once it is whole.

    Args:
        path: where the file is to be.

    Yields:
        The temporary path to write to, in the same folder. On an error it is removed, and
        whatever stood at `path` before stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_temporary_name(path))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def cache_trouble(what: str) -> Iterator[None]:
    """Turn what the file system says of the cache (full, read-only, no folder) into an error with a mend.

    Args:
        what: what is being written there.

    Raises:
        CourseError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise CourseError(
            f"The cache cannot take {what}: {error.strerror or error}.",
            given=str(cache_folder()),
            mend=f"Make room there or make it writable, or set {CACHE_VARIABLE} to another folder.",
        ) from error


# --- outputs: a place is tried before the work begins, and what the course did not write is never lost -----------


@border(path=check_path)
def check_output_file(path: Path | str, *, suffix: Text = "") -> Path:
    """Refuse a place where a file could not be written in the end; call it before the work begins.

    A file that stands there is replaced only if the course wrote it as it is, see `written_output`.

    Args:
        path: where the file is to be. Missing folders are no fault: `written_whole` makes them.
        suffix: what its name must end in, for example ".csv"; any by default.

    Returns:
        The path. Nothing is left behind.

    Raises:
        CourseError: another ending; a folder, a file of somebody else's or something else is there; a folder
            above it is a file, or cannot be written.
    """
    path = Path(path)
    if suffix and path.suffix.lower() != suffix:
        raise CourseError(
            f"This is to be a {suffix} file.", given=str(path), mend=f"End its name in {suffix}."
        )
    with _output_trouble(path):
        if path.is_dir():
            raise CourseError(
                "A folder stands where a file is to be written.", given=str(path), mend="Name a file in it."
            )
        if os.path.lexists(path) and not is_own_file(path):
            raise CourseError(
                "A file stands here that the course did not write, or that was changed since.",
                given=str(path),
                mend="Name another file, or move this one away.",
            )
        _try_to_write(path.parent, _temporary_name(path))
    return path


@border(path=check_path)
def check_output_folder(path: Path | str) -> Path:
    """Refuse a place where a folder could not be written in the end; call it before the work begins.

    A folder that stands there may hold only what the course wrote, as it is, see `written_output`.

    Args:
        path: where the folder is to be; missing folders above it are no fault.

    Returns:
        The path. Nothing is left behind.

    Raises:
        CourseError: a file or something else is there; the folder holds files of somebody else's; a folder above it
            is a file, or cannot be written.
    """
    path = check_writable_folder(path)
    with _output_trouble(path):
        if strange := list(itertools.islice(foreign_files(path), 4)):
            raise CourseError(
                "This folder holds files that the course did not write, or that were changed since.",
                given=f"{path}: {', '.join(strange[:3])}{' and others' if len(strange) > 3 else ''}",
                mend="Name a folder that does not exist yet, or move this one away.",
            )
    return path


@border(path=check_path)
def check_writable_folder(path: Path | str) -> Path:
    """Refuse a place where no folder could be made, or nothing written into the one that stands there.

    Args:
        path: the folder.

    Returns:
        The path. Nothing is left behind.

    Raises:
        CourseError: a file or something else is there or above it, or it cannot be written.
    """
    path = Path(path)
    with _output_trouble(path):
        if os.path.lexists(path) and not path.is_dir():
            raise CourseError(
                "A file stands where a folder is to be written.", given=str(path), mend="Name another place."
            )
        _try_to_write(path, _temporary_name(path))
    return path


@contextmanager
def written_output(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Write a file as `written_whole` does, and record that it is the course's own.

    Args:
        path: where the file is to be.
        folder: the output folder that it belongs to, which keeps the record; by default the cache does.

    Yields:
        The temporary path to write to.
    """
    with written_whole(path) as temporary:
        yield temporary
        record_own_file(path, temporary, folder)


def record_own_file(path: Path, written: Path | None = None, folder: Path | None = None) -> None:
    """Record that the course wrote a file, so that it may replace it.

    Args:
        path: the file.
        written: where its bytes stand, if not there yet.
        folder: the output folder that it belongs to; None for a file by itself.
    """
    line = _record_line(path, hashlib.sha256((written or path).read_bytes()).hexdigest(), folder)
    record = _record_of(folder)
    # A cache that cannot be written costs no result: the file is then kept as if it were somebody else's.
    with suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        with record.open("ab") as file:
            file.write(line + b"\n")


def is_own_file(path: Path, folder: Path | None = None) -> bool:
    """Say whether a file is, byte for byte, what the course wrote there; an empty one is nobody's work.

    Args:
        path: the file.
        folder: the output folder that it belongs to; None for a file by itself.
    """
    if path.is_symlink() or not path.is_file():
        return False
    content = path.read_bytes()
    # A copy in which git or an editor wrote Windows' line ends holds nobody's work.
    digests = {hashlib.sha256(data).hexdigest() for data in (content, content.replace(b"\r\n", b"\n"))}
    known = _recorded(_record_of(folder))
    return not content or any(_record_line(path, digest, folder) in known for digest in digests)


def foreign_files(folder: Path) -> Iterator[str]:
    """Find what in an output folder the course did not write, or what was changed since.

    Args:
        folder: the folder; it need not exist.

    Yields:
        Paths in the folder, links and special files among them. In the root of a disk the first comes at once.
    """
    for place, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if Path(place, name).is_symlink()]
        for path in (Path(place, name) for name in sorted([*names, *links])):
            if path != folder / RECORD_FILE and not is_own_file(path, folder):
                yield path.relative_to(folder).as_posix()


@contextmanager
def written_folder(folder: Path) -> Iterator[Path]:
    """Write a folder under a temporary name and put it in its place once it is whole, see `replace_folder`.

    Args:
        folder: a place that `check_output_folder` accepts.

    Yields:
        The temporary folder to write to, beside it. Its files are recorded as the course's own; on an error it is
        removed, and whatever stood in the place before stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    partial.mkdir()
    try:
        yield partial
        for path in sorted(partial.iterdir()):
            record_own_file(path, folder=partial)
        replace_folder(folder, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_folder(folder: Path, new: Path) -> None:
    """Put a new folder in the place of one that the course wrote: a reader finds the old one or the new one, whole.

    Where the system cannot exchange two folders in one step there is a moment between two renames; who is killed in
    it finds the old folder beside, under a name that ends in `.old`.

    Args:
        folder: the place; nothing, an empty folder, or one that `check_output_folder` accepts.
        new: the folder to put there, beside it.
    """
    old = new.with_name(f"{new.name}.old")
    if not folder.is_dir():
        new.rename(folder)
    elif _exchange(folder, new):
        new.rename(old)
    else:
        folder.rename(old)
        new.rename(folder)
    _remove_own_files(old)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step, and say whether the system could."""
    if sys.platform not in ("linux", "darwin"):
        return False
    names = os.fsencode(one), os.fsencode(other)
    system = ctypes.CDLL(None)
    try:
        if sys.platform == "darwin":
            return system.renamex_np(*names, _SWAP) == 0
        return system.renameat2(_AT_CURRENT, names[0], _AT_CURRENT, names[1], _SWAP) == 0
    except AttributeError:
        return False


def _remove_own_files(folder: Path) -> None:
    """Remove an output folder, but nothing that someone has put there meanwhile."""
    if not folder.is_dir():
        return
    strange = set(foreign_files(folder))
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in strange and path != folder / RECORD_FILE:
            path.unlink()
    if not strange:
        (folder / RECORD_FILE).unlink(missing_ok=True)
        folder.rmdir()


def recorded_paths(folder: Path) -> set[str]:
    """Return the paths in an output folder at which the course has written, whatever is there now."""
    lines = (line.partition(b"  ") for line in _recorded(_record_of(folder)))
    found = (os.fsdecode(path) for digest, _, path in lines if len(digest) == 64)
    return {path for path in found if path and ".." not in Path(path).parts and not Path(path).is_absolute()}


def set_aside(path: Path) -> Path:
    """Rename what someone else wrote, so that nothing of it is lost: `name.yours.ext`, or with a number.

    Args:
        path: a file or anything else.

    Returns:
        Where it is now.
    """
    names = (f"{path.stem}.yours{number or ''}{path.suffix}" for number in itertools.count())
    free = next(path.with_name(name) for name in names if not os.path.lexists(path.with_name(name)))
    path.rename(free)
    return free


def _record_of(folder: Path | None) -> Path:
    return cache_folder() / OUTPUTS_FILE if folder is None else folder / RECORD_FILE


def _recorded(record: Path) -> set[bytes]:
    return set(record.read_bytes().splitlines()) if record.is_file() else set()


def _record_line(path: Path, digest: str, folder: Path | None) -> bytes:
    """Return a line as sha256sum writes it."""
    shown = path.absolute() if folder is None else path.absolute().relative_to(folder.absolute())
    return f"{digest}  ".encode() + os.fsencode(shown.as_posix())


def _try_to_write(folder: Path, name: str) -> None:
    """Open a file without a name in the folder, or in the nearest one above that exists."""
    while not _exists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise CourseError(
            "A file stands where a folder is needed.", given=str(folder), mend="Name another place."
        )
    _exists(folder / name)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _exists(path: Path) -> bool:
    """Say whether something is there; a name that no system would take is an error."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _temporary_name(path: Path) -> str:
    return f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part"


@contextmanager
def _output_trouble(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise CourseError(
            f"Nothing can be written here: {getattr(error, 'strerror', None) or error}.",
            given=str(path),
            mend="Name another place, or make this one writable.",
        ) from error
