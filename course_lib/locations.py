"""Where the course keeps its files: the data that travels with it, and the cache outside it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from course_lib.errors import CourseError

CACHE_VARIABLE = "COURSE_CACHE"


def data_folder() -> Path:
    """Give the folder of small data files: `data/` in a checkout, `course_lib/_data` in a wheel.

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
    """Give the folder of downloads and converted models; COURSE_CACHE moves it.

    Returns:
        An absolute path outside the repository; it need not exist yet.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_cache_dir("course_lib"))


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
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
