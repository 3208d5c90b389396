"""Temporary folders: those of killed judges go, those of running ones and everything else stay."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from course_lib.classroom.grading.sandbox.temporary import remove_left_over, temporary_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system folder for temporary files of its own."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_judge_left_is_removed_and_what_a_running_one_uses_stays(temporary: Path) -> None:
    code = (
        "from course_lib.classroom.grading.sandbox.temporary import *; import os, signal; "
        "kept = [temporary_folder(kind) for kind in ('grade', 'worker')]; "
        "open(kept[0].name + '/file', 'w').close(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code])
    assert len(os.listdir(temporary)) == 2
    with temporary_folder("worker") as mine:
        assert len(remove_left_over()) == 2
        assert [str(temporary / name) for name in os.listdir(temporary)] == [mine]
    assert os.listdir(temporary) == []


def test_nothing_else_is_removed_and_no_link_followed(temporary: Path, tmp_path: Path, gone: int) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    names = [
        "course-grade-abc",
        f"course-other-{gone}-abc",
        f"xcourse-grade-{gone}-abc",
        "course-grade-1-abc",
    ]
    for name in names:
        (temporary / name).mkdir()
    (temporary / f"course-grade-{gone}-link").symlink_to(outside)
    (temporary / f"course-grade-{gone}-file").write_text("kept")
    (temporary / f"course-worker-{gone}-full").mkdir()
    (temporary / f"course-worker-{gone}-full" / "link").symlink_to(outside)
    assert remove_left_over() == [temporary / f"course-worker-{gone}-full"]
    assert (outside / "file").read_text() == "kept"
    assert len(os.listdir(temporary)) == len(names) + 2
