"""Where files are kept, and that none is ever half there."""

from __future__ import annotations

from pathlib import Path

import pytest

from course_lib import locations
from course_lib.errors import CourseError
from course_lib.locations import cache_folder, cache_trouble, data_folder, written_whole


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
