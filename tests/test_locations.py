"""Where files are kept, and that none is ever half there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from course_lib import locations
from course_lib.errors import CourseError
from course_lib.locations import (
    cache_folder,
    cache_trouble,
    check_output_file,
    check_output_folder,
    data_folder,
    foreign_files,
    written_output,
    written_whole,
)


def test_the_data_folder_holds_the_manifest() -> None:
    assert (data_folder() / "manifest.toml").is_file()


def test_missing_data_is_an_error_with_a_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locations, "__file__", str(tmp_path / "site" / "course_lib" / "locations.py"))
    with pytest.raises(CourseError, match="Install the course again"):
        data_folder()


def test_in_a_wheel_the_data_lie_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "course_lib" / "_data"
    inside.mkdir(parents=True)
    (inside / "manifest.toml").touch()
    monkeypatch.setattr(locations, "__file__", str(tmp_path / "course_lib" / "locations.py"))
    assert data_folder() == inside


def test_the_cache_lies_outside_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COURSE_CACHE", raising=False)
    repository = Path(locations.__file__).resolve().parents[1]
    assert cache_folder().is_absolute()
    assert repository not in cache_folder().parents


def test_a_variable_moves_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"


def test_a_relative_cache_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSE_CACHE", "here")
    assert cache_folder() == tmp_path / "here"


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with written_whole(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def stop_half_way() -> None:
        with written_whole(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with written_whole(path) as first, written_whole(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer one ends last
    assert list(tmp_path.iterdir()) == [path]


def test_what_the_file_system_says_gets_a_mend() -> None:
    with pytest.raises(CourseError) as caught, cache_trouble("the texts"):
        raise OSError(28, "No space left on device")
    assert caught.value.problem == "The cache cannot take the texts: No space left on device."
    assert "COURSE_CACHE" in caught.value.mend


CHECKS: list[Callable[..., Path]] = [check_output_file, check_output_folder]


def everything(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("place", ["new", "missing/folders/new", "folder/new", "linked/new", "새 파일"])
def test_a_place_that_can_be_written_is_accepted_and_left_as_it_was(
    tmp_path: Path, check: Callable[..., Path], place: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "linked").symlink_to("folder")
    before = everything(tmp_path)
    assert check(str(tmp_path / place)) == tmp_path / place
    assert everything(tmp_path) == before


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "place", ["file/new", "file/deeper/new", "dangling/new", "n" * 300, "n" * 250, "m" * 300 + "/new", "nul\0",
              "pipe", "dangling"]
)  # fmt: skip
def test_a_place_that_cannot_be_written_is_refused(
    tmp_path: Path, check: Callable[..., Path], place: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    before = everything(tmp_path)
    with pytest.raises(CourseError) as caught:
        check(tmp_path / place)
    assert caught.value.mend
    assert everything(tmp_path) == before


@pytest.mark.parametrize("check", CHECKS)
def test_a_read_only_place_is_refused(
    tmp_path: Path, check: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(CourseError, match="Nothing can be written here: Read-only file system"):
        check(tmp_path / "new")


def test_an_output_file_is_no_folder_and_has_its_ending(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="A folder stands where a file is to be written"):
        check_output_file(tmp_path)
    with pytest.raises(CourseError, match=r"This is to be a \.csv file"):
        check_output_file(tmp_path / "table.txt", suffix=".csv")


def test_only_files_that_the_course_wrote_are_replaced(tmp_path: Path) -> None:
    mine, path = tmp_path / "mine.csv", tmp_path / "table.csv"
    mine.write_text("my notes\n")
    with pytest.raises(CourseError, match="A file stands here that the course did not write"):
        check_output_file(mine)
    for text in ("first", "second"):
        check_output_file(path)
        with written_output(path) as temporary:
            temporary.write_text(text)
    path.write_text("second, with a note of mine")
    with pytest.raises(CourseError, match="or that was changed since"):
        check_output_file(path)
    # A copy of the course's own file is somebody's copy.
    path.write_text("second")
    check_output_file(path)
    mine.write_text("second")
    with pytest.raises(CourseError, match="the course did not write"):
        check_output_file(mine)
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    with pytest.raises(CourseError, match="the course did not write"):
        check_output_file(link)


def test_an_empty_file_is_nobodys_work(tmp_path: Path) -> None:
    (tmp_path / "reserved.csv").touch()
    assert check_output_file(tmp_path / "reserved.csv")


def test_a_file_written_and_not_yet_moved_keeps_the_old_one_ours(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with written_output(path) as temporary:
        temporary.write_text("first")
    with pytest.raises(KeyboardInterrupt), written_output(path) as temporary:  # noqa: PT012
        temporary.write_text("second")
        raise KeyboardInterrupt
    check_output_file(path)


def test_an_output_folder_holds_only_what_the_course_wrote(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in ("a.txt", "in/b.txt"):
        with written_output(folder / name, folder) as temporary:
            temporary.write_text(name)
    moved = folder.rename(tmp_path / "moved")
    check_output_folder(moved)
    (moved / "in" / "notes.txt").write_text("mine")
    (moved / "a.txt").write_text("a, with a note")
    assert list(foreign_files(moved)) == ["a.txt", "in/notes.txt"]
    with pytest.raises(CourseError) as caught:
        check_output_folder(moved)
    assert "a.txt, in/notes.txt" in str(caught.value.given)


def test_a_cache_that_cannot_be_written_costs_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(locations, "OUTPUTS_FILE", str(tmp_path / "file" / "outputs"))
    with written_output(tmp_path / "table.csv") as temporary:
        temporary.write_text("numbers")
    assert (tmp_path / "table.csv").read_text() == "numbers"
