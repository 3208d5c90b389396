from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from course_lib import CourseError
from course_lib.classroom import exercises
from course_lib.classroom.exercises import EXERCISES, check, progress, remembering
from course_lib.classroom.exercises.overview import LessonProgress, Progress
from course_lib.classroom.exercises.remembering import Memory, forget, recall, remember

RATIO = "01.parameter_ratio"


def right(num_parameters: int, num_examples: int) -> float:
    return num_parameters / num_examples


def wrong(num_parameters: int, num_examples: int) -> float:
    return num_examples / num_parameters


def broken(num_parameters: int, num_examples: int) -> float:
    raise ValueError("broken")


def stub(num_parameters: int, num_examples: int) -> float:
    raise NotImplementedError(RATIO)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own in which progress is remembered."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("COURSE_CACHE", str(folder))
    monkeypatch.delenv("COURSE_PROGRESS")
    return folder


def row(number: str) -> LessonProgress:
    (found,) = [lesson for lesson in progress().lessons if lesson.lesson == number]
    return found


def test_attempts_count_until_the_first_pass(cache: Path) -> None:
    for solution in (stub, None, wrong, broken, right):
        assert check(RATIO, solution).note == ""
    memory = recall()[0][RATIO]
    assert memory.attempts == 3
    assert memory.passed_at is not None
    assert abs(datetime.now().astimezone() - memory.passed_at).days == 0
    assert [path.name for path in cache.rglob("*.json")] == ["exercises.json"]
    assert not list(cache.rglob("*.part"))


def test_once_passed_stays_passed() -> None:
    check(RATIO, right)
    before = remembering.progress_file().read_bytes()
    check(RATIO, wrong)
    check(RATIO, right)
    assert remembering.progress_file().read_bytes() == before


def test_an_untouched_lesson_leaves_no_file(cache: Path) -> None:
    check(RATIO, stub)
    assert not cache.exists()


def test_the_rows_say_passed_open_and_attempts() -> None:
    assert row("01").passed == ()
    assert row("01").attempts == 0
    check(RATIO, wrong)
    check(RATIO, right)
    check("01.examples_for_ratio", -1)
    assert row("01").passed == ("parameter_ratio",)
    assert set(row("01").open) == {"polynomial_errors", "select_degree", "examples_for_ratio"}
    assert row("01").attempts == 3
    assert row("01").finished_on is None
    assert row("02").passed == ()
    assert progress().summary == f"1 of {len(EXERCISES)} exercises passed"


def test_every_exercise_stands_in_one_row() -> None:
    found = [f"{lesson.lesson}.{name}" for lesson in progress().lessons for name in lesson.open]
    assert found == list(EXERCISES)
    assert [lesson.lesson for lesson in progress().lessons] == sorted({name[:2] for name in EXERCISES})


def test_a_finished_lesson_names_the_day() -> None:
    for name in EXERCISES:
        if name.startswith("01."):
            remember(name, passed=True)
    day = recall()[0][RATIO].passed_at.date()
    assert row("01").cells == ("01", "4 of 4", f"none since {day}", "4")


def test_progress_shows_itself_as_text_and_as_html() -> None:
    check(RATIO, right)
    text = str(progress())
    assert text == repr(progress())
    assert text.splitlines()[0] == progress().summary
    assert any("01" in line and "1 of 4" in line for line in text.splitlines())
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 100
    page = progress()._repr_html_()
    assert page.count('<th scope="row"') == len(progress().lessons)
    assert '<td style="text-align: left;">1 of 4</td>' in page
    assert all((name.split(".")[1] in page) == (name != RATIO) for name in EXERCISES)
    assert "background" not in page


def test_in_a_notebook_the_text_is_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    text = str(progress())
    assert "select_degree" in text
    assert capsys.readouterr().out == ""


def test_notes_are_escaped() -> None:
    assert "<b>" not in Progress((), note="<b>")._repr_html_()
    assert "&lt;b&gt;" in exercises.Feedback("passed", RATIO, "Right.", note="<b>")._repr_html_()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b'{"01.parameter_ratio": 3}',
        b'{"01.parameter_ratio": {}}',
        b'{"01.parameter_ratio": {"attempts": true, "passed_at": null}}',
        b'{"01.parameter_ratio": {"attempts": 0, "passed_at": null}}',
        b'{"01.parameter_ratio": {"attempts": 1, "passed_at": 5}}',
        b'{"01.parameter_ratio": {"attempts": 1, "passed_at": "yesterday"}}',
    ],
)
def test_a_damaged_file_is_set_aside(content: bytes) -> None:
    path = remembering.progress_file()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert "cannot be read" in progress().note
    assert progress().summary.startswith("0 of ")
    assert str(progress()).splitlines()[-1] == progress().note
    feedback = check(RATIO, right)
    assert feedback.passed
    assert "exercises.damaged.json" in feedback.note
    assert str(feedback).splitlines()[-1] == f"  ({feedback.note})"
    assert feedback.note in feedback._repr_html_()
    assert path.with_name("exercises.damaged.json").read_bytes() == content
    assert check(RATIO, right).note == ""
    assert row("01").passed == ("parameter_ratio",)


def test_exercises_of_another_version_are_kept() -> None:
    path = remembering.progress_file()
    path.parent.mkdir(parents=True)
    path.write_text('{"99.other": {"attempts": 2, "passed_at": null, "more": 1}}')
    check(RATIO, right)
    assert recall()[0]["99.other"] == Memory(2)
    assert progress().summary == f"1 of {len(EXERCISES)} exercises passed"


def test_a_file_in_place_of_the_cache_costs_one_line(cache: Path) -> None:
    cache.write_text("")
    feedback = check(RATIO, wrong)
    assert feedback.status == "failed"
    assert feedback.hint
    assert feedback.note.startswith("Not remembered for `course progress`: ")
    assert len(feedback.note.splitlines()) == 1
    assert "cannot be read" in progress().note


def test_a_folder_in_place_of_the_file_costs_one_line() -> None:
    remembering.progress_file().mkdir(parents=True)
    assert check(RATIO, right).note == "Not remembered for `course progress`: Is a directory."
    assert "Is a directory" in progress().note
    with pytest.raises(CourseError, match="a reset of the progress"):
        forget()


@pytest.mark.parametrize(
    "error",
    [
        OSError(30, "Read-only file system"),
        OSError(28, "No space left on device"),
        NotImplementedError("no\nlocks"),
        RuntimeError(),
    ],
)
def test_a_cache_that_cannot_be_written_costs_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("course_lib.locations.os.replace", fail)
    feedback = check(RATIO, right)
    assert feedback.passed
    assert feedback.note.startswith("Not remembered for `course progress`: ")
    assert len(feedback.note.splitlines()) == 1


def test_a_lock_that_stays_held_costs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "LOCK_SECONDS", 0.05)
    path = remembering.progress_file()
    path.parent.mkdir(parents=True)
    with remembering._locked(path):
        assert check(RATIO, right).note.startswith("Not remembered")
    assert check(RATIO, right).note == ""


def test_a_cache_without_a_home_costs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_CACHE", "~no-such-user/cache")
    assert check(RATIO, right).note.startswith("Not remembered")
    assert "cannot be read" in progress().note


def test_off_remembers_nothing_and_shows_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(RATIO, right)
    before = {path: path.read_bytes() for path in cache.rglob("*.json")}
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    check("01.examples_for_ratio", -1)
    assert {path: path.read_bytes() for path in cache.rglob("*.json")} == before
    assert progress().summary.startswith("0 of ")
    assert "COURSE_PROGRESS=off" in progress().note


def test_forgetting_is_complete() -> None:
    assert not forget()
    check(RATIO, right)
    assert forget()
    assert recall() == ({}, "")
    assert not forget()


def test_two_kernels_lose_no_attempt() -> None:
    code = """
from course_lib.classroom.exercises.remembering import remember
notes = [remember(name, passed=False) for _ in range(40) for name in ("01.parameter_ratio", "02.flip_share")]
print(sorted(set(notes)))
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [process.communicate()[0] for process in processes] == ["['']\n", "['']\n"]
    assert recall()[0] == {RATIO: Memory(80), "02.flip_share": Memory(80)}


def test_the_file_is_plain_and_sorted() -> None:
    check("02.flip_share", len)
    check(RATIO, right)
    content = json.loads(remembering.progress_file().read_text(encoding="utf-8"))
    assert list(content) == [RATIO, "02.flip_share"]
    assert content["02.flip_share"] == {"attempts": 1, "passed_at": None}
