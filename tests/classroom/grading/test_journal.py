"""The journal of a run: what it keeps, what it gives back to the run that goes on, and its lock."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from course_lib.classroom.grading.journal import Graded, Journal, only_run
from course_lib.classroom.grading.judging import NOT_STARTED, Report, TaskResult
from course_lib.classroom.grading.submissions import Submission
from course_lib.errors import CourseError

FILE = b"a notebook"
RESULT = TaskResult("a1.double", "failed", 0, 6, "Right on 1 of 2 hidden inputs.", "Read it again.")
REPORT = Report((RESULT,), ("code cell 1: NameError: x",), notes=("It printed much.",))


def graded(report: Report = REPORT) -> Graded:
    """Give Alice's submission, graded."""
    return Graded("alice", hashlib.sha256(FILE).hexdigest(), "bubblewrap", report)


def submitted(file: bytes = FILE, label: str = "alice") -> Submission:
    """Give what Alice hands in now."""
    return Submission(label, lambda: file)


def test_what_was_graded_is_kept_at_once_and_given_back_whole(tmp_path: Path) -> None:
    with Journal(tmp_path / "g.csv", "a1", 0, 5) as journal:
        journal.append(graded())
        # Not only when the file is closed: a run that is killed closes none.
        assert '"alice"' in journal.path.read_text()
    assert Journal(tmp_path / "g.csv", "a1", 0, 5).find(submitted()) == graded()


def test_another_file_another_name_or_no_sandbox_is_graded_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "g.csv", "a1", 0, 5) as journal:
        journal.append(graded())
    resumed = Journal(tmp_path / "g.csv", "a1", 0, 5)
    assert resumed.find(submitted(b"another notebook")) is None
    assert resumed.find(submitted(label="bob")) is None
    with Journal(tmp_path / "h.csv", "a1", 0, 5) as journal:
        journal.append(graded(Report(problem=f"{NOT_STARTED}no memory")))
    assert Journal(tmp_path / "h.csv", "a1", 0, 5).find(submitted()) is None
    with Journal(tmp_path / "i.csv", "a1", 0, 5) as journal:
        journal.append(graded(Report(problem="It is no notebook.")))
    assert Journal(tmp_path / "i.csv", "a1", 0, 5).find(submitted()) is not None


def test_a_run_without_a_seed_goes_on_with_that_of_the_same_run_only(tmp_path: Path) -> None:
    with Journal(tmp_path / "g.csv", "a1", 7, 5):
        pass
    assert Journal(tmp_path / "g.csv", "a1", 7, None).setting.seed == 5
    assert Journal(tmp_path / "g.csv", "a1", 7, 6).setting.seed == 6
    assert Journal(tmp_path / "g.csv", "a1", 8, None).setting.seed != 5
    assert Journal(tmp_path / "g.csv", "a2", 7, None).setting.seed != 5


def test_a_torn_line_counts_as_not_written(tmp_path: Path) -> None:
    with Journal(tmp_path / "g.csv", "a1", 0, 5) as journal:
        journal.append(graded())
    journal.path.write_bytes(journal.path.read_bytes() + b'\n{"label": "bob", "sha')
    with Journal(tmp_path / "g.csv", "a1", 0, None) as resumed:
        assert (resumed.find(submitted()), resumed.find(submitted(label="bob"))) == (graded(), None)
        resumed.append(graded())
    assert Journal(tmp_path / "g.csv", "a1", 0, None).find(submitted()) == graded()


def test_a_journal_or_a_lock_that_somebody_removed_ends_no_run(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "g.csv"
    with only_run(out):
        with Journal(out, "a1", 0, 5) as journal:
            pass
        journal.finish()
        assert not journal.path.exists()
        journal.finish()
        (out.parent / ".g.csv.course-lock").unlink()
    assert list(out.parent.iterdir()) == []


def test_a_lock_keeps_another_run_out_as_long_as_it_lasts(tmp_path: Path) -> None:
    with only_run(tmp_path / "g.csv"):
        with pytest.raises(CourseError, match="Another run"), only_run(tmp_path / "g.csv"):
            pass
        with only_run(tmp_path / "h.csv"):
            pass
    with only_run(tmp_path / "g.csv"):
        pass
