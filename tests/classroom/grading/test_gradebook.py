"""A class from submissions to gradebook: resumed, replayed, and unharmed by what cannot be read."""

from __future__ import annotations

import csv
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from course_lib import cli
from course_lib.classroom.assignments.assignment import load_assignment, load_rubric, read_rubric
from course_lib.classroom.grading import gradebook
from course_lib.classroom.grading.gradebook import (
    GradedClass,
    _OwnCore,
    grade_class,
    write_gradebook,
)
from course_lib.classroom.grading.journal import NUM_SEEDS, Graded, Journal, Setting, fresh_seed, only_run
from course_lib.classroom.grading.judging import Report, TaskResult
from course_lib.classroom.grading.reports import feedback_pages
from course_lib.classroom.grading.reports.class_summary import summary_page, verdict_counts
from course_lib.classroom.grading.reports.feedback_pages import page_name, write_feedback
from course_lib.classroom.grading.sandbox.isolation import Isolation, find_isolation
from course_lib.classroom.grading.submissions import Submission, UnreadableSubmissionError
from course_lib.classroom.pipeline.assignments import write_assignment
from course_lib.errors import CourseError
from tests.classroom.grading.conftest import ROOT, SECRET_SEED, Judge, notebook, processes_with
from tests.classroom.grading.test_attacks import only_under_bubblewrap

MARKED = "a1.compare_models"
# A busy machine must not make a timeout of honest work; only what hangs waits this long.
PATIENCE = 20.0
SLOW = ["--patience", str(PATIENCE)]


@pytest.fixture
def handed_in(tmp_path: Path, solved: list[str], untouched: str) -> Path:
    """A class of honest, untouched, hostile and unreadable submissions."""
    folder = tmp_path / "handed in"
    folder.mkdir()
    (folder / "honest.ipynb").write_bytes(notebook(*solved))
    (folder / "untouched.ipynb").write_text(untouched, encoding="utf-8")
    (folder / "ends.ipynb").write_bytes(notebook(*solved, "import os; os._exit(0)"))
    (folder / "no json.ipynb").write_text("hello")
    (folder / "=1+1.ipynb").write_bytes(notebook(*solved[:3]))
    (folder / "link.ipynb").symlink_to("/etc/hostname")
    return folder


@pytest.fixture
def rubric(tmp_path: Path) -> str:
    write_assignment("a1", SECRET_SEED, tmp_path / "set", ROOT)
    return str(tmp_path / "set" / "rubric.json")


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return {row["submission"]: row for row in csv.DictReader(file)}


@pytest.mark.usefixtures("judge")
def test_a_class_is_graded_whatever_is_in_it(handed_in: Path, rubric: str, tmp_path: Path) -> None:
    out = tmp_path / "out" / "gradebook.csv"
    before = sorted(os.listdir(handed_in))
    arguments = [str(handed_in), "--assignment", rubric, "--out", str(out), "--seed", "5", *SLOW]
    result = CliRunner().invoke(cli.app, ["grade", *arguments])
    assert result.exit_code == 0, result.output
    found = rows(out)
    assert {name: row["marks"] for name, row in found.items()} == {
        "'=1+1": "3",
        "ends": "0",
        "honest": "20",
        "link": "0",
        "no json": "0",
        "untouched": "0",
    }
    assert [found[name][f"{MARKED} verdict"] for name in found] == [
        "passed",
        "error",
        "passed",
        "",
        "",
        "missing",
    ]
    assert "symbolic link" in found["link"]["problem"]
    assert "not JSON" in found["no json"]["problem"]
    assert {(row["seed"], row["out of"]) for row in found.values()} == {("5", "20")}
    # The instructor's seed would tell the form of every task.
    assert "secret seed" not in found["honest"]
    assert "not marked: link" in result.stderr
    # Pages for all, a summary, and nothing else left behind.
    assert sorted(os.listdir(out.parent)) == ["gradebook.csv", "gradebook_feedback", "gradebook_summary.html"]
    assert len(os.listdir(out.parent / "gradebook_feedback")) == 6
    assert sorted(os.listdir(handed_in)) == before


@pytest.mark.usefixtures("judge")
def test_one_seed_gives_one_gradebook_and_no_seed_a_fresh_one(
    handed_in: Path, rubric: str, tmp_path: Path
) -> None:
    texts = []
    for name, seed, jobs in (("a", 7, 1), ("b", 7, 2)):
        out = tmp_path / f"{name}.csv"
        grade_class(handed_in, rubric, out, seed=seed, jobs=jobs, patience=PATIENCE, progress=False)
        texts.append((tmp_path / f"{name}.csv").read_bytes())
    assert texts[0] == texts[1]
    no_json, out = handed_in / "no json.ipynb", tmp_path / "c.csv"
    seeds = {grade_class(no_json, rubric, out, replace=True, progress=False).setting.seed for _ in range(2)}
    assert len(seeds) == 2


# The exit code of a run in which no submission could be read.
NOTHING_MARKED = 1


def test_a_finished_gradebook_is_kept_until_it_is_to_be_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "handed in"
    folder.mkdir()
    for name in ("alice", "bob"):
        (folder / f"{name}.ipynb").write_text("hello")
    out = tmp_path / "g.csv"
    arguments = ["grade", str(folder), "--assignment", "a1", "--out", str(out)]
    assert CliRunner().invoke(cli.app, [*arguments, "--seed", "1"]).exit_code == NOTHING_MARKED
    first, pages = out.read_bytes(), tmp_path / "g_feedback"
    (pages / "notes.html").write_text("the instructor's own")
    (folder / "bob.ipynb").unlink()
    for options in ([], ["--seed", "2"], ["--seed", "1"]):
        refused = CliRunner().invoke(cli.app, [*arguments, *options])
        assert refused.exit_code == 2
        assert "--replace" in refused.stderr
    assert out.read_bytes() == first
    assert len(os.listdir(pages)) == 3
    assert CliRunner().invoke(cli.app, [*arguments, "--replace", "--seed", "2"]).exit_code == NOTHING_MARKED
    assert list(rows(out)) == ["alice"]
    assert sorted(os.listdir(pages)) == [page_name("alice"), "notes.html"]


def test_a_run_whose_sandbox_shows_answers_is_refused(tmp_path: Path, judge: Judge) -> None:
    only_under_bubblewrap(judge, "a container has files of its own")
    seen = Path("/usr/bin/env")
    with pytest.raises(CourseError, match="could see this in the sandbox"):
        find_isolation(judge.course, hidden=[seen])
    # A learner's link to such a file is no reason: it is not followed.
    (tmp_path / "link.ipynb").symlink_to(seen)
    assert find_isolation(judge.course, hidden=[tmp_path / "link.ipynb"]) == judge.isolation


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system lets no thread choose its core")
def test_each_job_keeps_to_a_core_of_its_own() -> None:
    cores = sorted(os.sched_getaffinity(0))
    for jobs in (1, len(cores)):
        barrier = threading.Barrier(jobs)

        def core(_: int, barrier: threading.Barrier = barrier) -> set[int]:
            barrier.wait(60)
            return set(os.sched_getaffinity(0))

        with ThreadPoolExecutor(jobs, initializer=_OwnCore(jobs)) as pool:
            found = list(pool.map(core, range(jobs)))
        # One each, and no two the same.
        assert [len(each) for each in found] == [1] * jobs
        assert len(set().union(*found)) == jobs
    with ThreadPoolExecutor(1, initializer=_OwnCore(len(cores) + 1)) as pool:
        assert pool.submit(os.sched_getaffinity, 0).result() == set(cores)
    assert sorted(os.sched_getaffinity(0)) == cores


@pytest.mark.parametrize("seed", [-1, NUM_SEEDS])
def test_a_seed_that_is_none_is_refused(tmp_path: Path, seed: int) -> None:
    with pytest.raises(CourseError, match="The seed of a run"):
        grade_class(tmp_path, "a1", tmp_path / "g.csv", seed=seed)
    assert 0 <= fresh_seed() < NUM_SEEDS


@pytest.mark.parametrize(
    ("label", "cell"),
    [
        ("=1+1", "'=1+1"),
        ('x;=HYPERLINK("http:","0 of 20");y', 'x;\'=HYPERLINK("http:","0 of 20");y'),
        ("＝1+1", "'＝1+1"),
        ("a-b = c;d", "a-b = c;d"),
    ],
)
def test_no_text_of_a_learner_becomes_a_formula(tmp_path: Path, label: str, cell: str) -> None:
    write_gradebook(graded_class((label, Report(problem=label))), tmp_path / "g.csv")
    (row,) = csv.DictReader((tmp_path / "g.csv").open(encoding="utf-8-sig", newline=""))
    assert (row["submission"], row["problem"]) == (cell, cell)


def graded(label: str, verdict: str, sha256: str = "") -> Graded:
    return Graded(label, sha256, "bubblewrap", Report((TaskResult(MARKED, verdict, 0, 3, ""),)))


def refused(label: str) -> Submission:
    def read() -> bytes:
        raise UnreadableSubmissionError("It is empty.")

    return Submission(label, read)


def test_more_patience_keeps_no_timeout_of_the_stopped_run(tmp_path: Path) -> None:
    out = tmp_path / "g.csv"
    with Journal(out, "a1", 0, 5) as journal:
        journal.append(graded("slow", "timeout"))
        journal.append(graded("wrong", "failed"))
    kept = {
        patience: [Journal(out, "a1", 0, None, patience=patience).find(refused(label)) is not None
                   for label in ("slow", "wrong")]
        for patience in (1.0, 3.0)
    }  # fmt: skip
    assert kept == {1.0: [True, True], 3.0: [False, True]}


def test_no_stopped_run_is_lost_unasked(tmp_path: Path) -> None:
    out = tmp_path / "g.csv"
    with Journal(out, "a1", 0, 5) as journal:
        journal.append(graded("alice", "failed"))
    before = journal.path.read_bytes()
    for assignment, seed in (("a1", 6), ("a2", None), ("a2", 5)):
        with pytest.raises(CourseError, match="stopped here"):
            Journal(out, assignment, 0, seed)
    assert journal.path.read_bytes() == before
    # The seed of another assignment's run is not this one's.
    assert Journal(out, "a2", 0, None, replace=True).setting.seed != 5
    assert Journal(out, "a1", 0, None).setting.seed == 5


def test_a_gradebook_is_kept_whatever_journal_lies_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "g.csv"
    out.write_text("marks")
    with Journal(out, "a1", 0, 5, replace=True) as journal:
        journal.append(graded("alice", "failed"))
    with pytest.raises(CourseError, match="written already"):
        Journal(out, "a1", 0, None)
    assert Journal(out, "a1", 0, None, replace=True).is_resumed
    with Journal(out, "a1", 0, None, replace=True) as journal:
        journal.mark_written()
    # Stopped while it wrote its pages: it goes on without being asked.
    assert Journal(out, "a1", 0, None).is_resumed


def test_a_run_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "alice.ipynb").write_text("hello")
    with pytest.raises(CourseError):
        grade_class(tmp_path / "alice.ipynb", "a1", tmp_path / "out" / "g.csv", image="no-such-image")
    assert list((tmp_path / "out").iterdir() if (tmp_path / "out").exists() else []) == []


def test_a_gradebook_is_a_csv_file(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="CSV"):
        grade_class(tmp_path, "a1", tmp_path / "g.xlsx", replace=True)


def test_a_folder_keeps_its_secret_seed(tmp_path: Path, rubric: str) -> None:
    before = Path(rubric).read_bytes()
    for name, seed in (("a1", SECRET_SEED + 1), ("a2", SECRET_SEED)):
        with pytest.raises(CourseError, match="another folder"):
            write_assignment(name, seed, Path(rubric).parent, ROOT)
    assert Path(rubric).read_bytes() == before
    write_assignment("a1", SECRET_SEED, Path(rubric).parent, ROOT)


@pytest.mark.usefixtures("judge")
def test_killed_half_way_and_resumed_the_gradebook_is_the_same(
    handed_in: Path, rubric: str, tmp_path: Path
) -> None:
    # Sorted to the middle: the run is killed while this one hangs, far longer than a busy machine takes to do it.
    token = f"token{secrets.token_hex(8)}"
    hanging = f"import subprocess; subprocess.run(['sh', '-c', 'sleep 300; true # {token}'])"
    (handed_in / "m hangs.ipynb").write_bytes(notebook(hanging))
    out = tmp_path / "resumed.csv"
    command = [sys.executable, "-m", "course_lib", "grade", str(handed_in), "--assignment", rubric]
    process = subprocess.Popen(
        [*command, "--out", str(out), "--jobs", "1", *SLOW],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    journal = tmp_path / ".resumed.csv.journal"
    try:
        deadline = time.monotonic() + 240
        while not processes_with(token, seconds=0.1):
            assert time.monotonic() < deadline
            assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
    assert journal.read_text().count('"label"') == 4
    assert processes_with(token, seconds=120) == []
    # It would hang in every run; what counts here are those before and after it.
    (handed_in / "m hangs.ipynb").write_bytes(notebook("x = 1"))
    with journal.open("a") as file:
        file.write('\n{"label": "torn')
    kept = journal.read_text()
    seed = json.loads(kept.splitlines()[0])["setting"]["seed"]
    resumed = grade_class(handed_in, rubric, out, patience=PATIENCE, progress=False)
    assert resumed.setting.seed == seed
    assert not journal.exists()
    grade_class(handed_in, rubric, tmp_path / "whole.csv", seed=seed, patience=PATIENCE, progress=False)
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.usefixtures("judge")
def test_a_resumed_run_marks_only_what_is_missing_or_changed(
    handed_in: Path, rubric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked: list[bytes] = []
    grade_notebook = gradebook.grade_notebook

    def counting(submitted: bytes, *arguments: object, **options: object) -> Report:
        marked.append(submitted)
        return grade_notebook(submitted, *arguments, **options)  # type: ignore[arg-type]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def grade(write_pages: Callable[[GradedClass], None] | None = None) -> None:
        out = tmp_path / "a.csv"
        grade_class(handed_in, rubric, out, patience=PATIENCE, progress=False, write_pages=write_pages)

    monkeypatch.setattr(gradebook, "grade_notebook", counting)
    monkeypatch.setattr(gradebook, "write_gradebook", stop)
    with pytest.raises(KeyboardInterrupt):
        grade()
    monkeypatch.setattr(gradebook, "write_gradebook", write_gradebook)
    assert len(marked) == 5
    (handed_in / "untouched.ipynb").write_bytes(notebook("x = 1"))
    # Stopped again, while the pages are written: nothing is marked twice.
    with pytest.raises(KeyboardInterrupt):
        grade(stop)
    assert (tmp_path / ".a.csv.journal").exists()
    grade()
    assert marked[5:] == [notebook("x = 1")]
    assert not (tmp_path / ".a.csv.journal").exists()


def test_the_command_keeps_the_journal_until_its_pages_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "no json.ipynb").write_text("hello")
    arguments = ["grade", str(tmp_path / "in"), "--assignment", "a1", "--out", str(tmp_path / "g.csv")]

    def stop(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(feedback_pages, "write_feedback", stop)
        assert isinstance(CliRunner().invoke(cli.app, arguments).exception, OSError)
    assert (tmp_path / ".g.csv.journal").exists()
    assert CliRunner().invoke(cli.app, arguments).exit_code == NOTHING_MARKED
    assert not (tmp_path / ".g.csv.journal").exists()


def test_a_page_in_which_an_instructor_wrote_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "alice.ipynb").write_text("hello")
    arguments = [
        "grade",
        str(tmp_path / "in"),
        "--assignment",
        "a1",
        "--out",
        str(tmp_path / "g.csv"),
        "--replace",
    ]
    assert CliRunner().invoke(cli.app, arguments).exit_code == NOTHING_MARKED
    page = tmp_path / "g_feedback" / page_name("alice")
    page.write_text("Dear Alice, this is by hand.")
    assert CliRunner().invoke(cli.app, arguments).exit_code == NOTHING_MARKED
    assert page.with_name(f"{page.stem}.yours.html").read_text() == "Dear Alice, this is by hand."
    assert "not marked" in page.read_text()
    (tmp_path / "g_summary.html").write_text("my own summary")
    refused = CliRunner().invoke(cli.app, arguments)
    assert (refused.exit_code, (tmp_path / "g_summary.html").read_text()) == (2, "my own summary")


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        (0, "run at a time"),
        (1, "CSV"),
        (gradebook.MAX_JOBS, "CSV"),
        (gradebook.MAX_JOBS + 1, "run at a time"),
    ],
)
def test_one_job_is_the_fewest(tmp_path: Path, jobs: int, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        grade_class(tmp_path, "a1", tmp_path / "no.table", jobs=jobs)


@pytest.mark.parametrize("patience", [0, -1, 1e9, float("nan")])
def test_a_patience_that_is_none_is_refused(tmp_path: Path, patience: float) -> None:
    with pytest.raises(CourseError, match="Time limits are multiplied"):
        grade_class(tmp_path, "a1", tmp_path / "g.csv", patience=patience)


def test_a_rubric_names_assignment_and_seed(tmp_path: Path, rubric: str) -> None:
    assert read_rubric("a1") == ("a1", 0)
    assert read_rubric(rubric) == read_rubric(str(Path(rubric).parent)) == ("a1", SECRET_SEED)
    (tmp_path / "broken.json").write_text("{}")
    for given in ("a9", str(tmp_path / "broken.json"), str(tmp_path / "nowhere.json"), str(tmp_path)):
        with pytest.raises(CourseError):
            read_rubric(given)


def changed(rubric: str, **fields: object) -> str:
    """Write a rubric with other fields, and give its path."""
    path = Path(rubric).with_name("changed.json")
    path.write_text(json.dumps({**json.loads(Path(rubric).read_text()), **fields}))
    return str(path)


def marks_of(name: str, **marks: object) -> dict[str, object]:
    declared = {task.name: task.marks for task in load_assignment(name).tasks}
    return {**declared, **{f"{name}.{task}": mark for task, mark in marks.items()}}


@pytest.mark.usefixtures("judge")
def test_marks_that_a_rubric_changes_are_given(rubric: str, tmp_path: Path, solved: list[str]) -> None:
    tasks = load_assignment("a1").tasks
    half = marks_of("a1", compare_models=10, choose_degree=2 * tasks[-1].marks)
    assert tasks[-1].name == "a1.choose_degree"
    (tmp_path / "alice.ipynb").write_bytes(notebook(*solved))
    out = tmp_path / "g.csv"
    result = grade_class(
        tmp_path / "alice.ipynb", changed(rubric, marks=half), out, patience=PATIENCE, progress=False
    )
    row = rows(out)["alice"]
    assert (row[f"{MARKED} marks"], row["a1.choose_degree marks"]) == ("10", str(2 * tasks[-1].marks))
    assert row["marks"] == row["out of"] == str(sum(half.values()))  # type: ignore[arg-type]
    assert f"{result.assignment.marks} of {result.assignment.marks} marks" in feedback_pages.feedback_page(
        result.graded[0], result.assignment
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"marks": {}}, "Each task has its marks"),
        ({"marks": {"a1.descend": 5}}, "Each task has its marks"),
        ({"marks": marks_of("a1", nothing=1)}, "Each task has its marks"),
        ({"marks": [1, 2, 3]}, "Each task has its marks"),
        ({"marks": None}, "Each task has its marks"),
        ({"marks": marks_of("a1", descend=2.5)}, "whole numbers"),
        ({"marks": marks_of("a1", descend=True)}, "whole numbers"),
        ({"marks": marks_of("a1", descend="5")}, "whole numbers"),
        ({"marks": marks_of("a1", descend=-1)}, "whole numbers"),
        ({"marks": marks_of("a1", descend=10**9)}, "whole numbers"),
        ({"marks": dict.fromkeys(marks_of("a1"), 0)}, "has marks"),
        ({"marks": marks_of("a1", choose_degree=1)}, "property by property"),
        ({"variants": {}}, "The seed picks the form"),
        ({"secret_seed": SECRET_SEED + 1}, "The seed picks the form"),
        ({"secret_seed": 3.7}, "whole number"),
        ({"secret_seed": "3"}, "whole number"),
        ({"secret_seed": True}, "whole number"),
        ({"secret_seed": -1}, "whole number"),
        ({"assignment": "a2"}, "The seed picks the form"),
        ({"assignment": "a9"}, "a9"),
        ({"assignment": ["a1"]}, "a1"),
        ({"penalty": 3}, "does not know"),
        ({"total": 100}, "does not know"),
    ],
)
def test_what_cannot_be_followed_in_a_rubric_is_refused(
    rubric: str, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(CourseError, match=said):
        load_rubric(changed(rubric, **fields))


def test_a_rubric_says_each_thing_once_and_may_have_a_byte_order_mark(rubric: str, tmp_path: Path) -> None:
    text = Path(rubric).read_text()
    (tmp_path / "twice.json").write_text(text.replace('"a1.descend":', '"a1.descend": 9, "a1.descend":'))
    with pytest.raises(CourseError, match="cannot be read"):
        load_rubric(str(tmp_path / "twice.json"))
    (tmp_path / "marked.json").write_text("\ufeff" + text, encoding="utf-8")
    assert load_rubric(str(tmp_path / "marked.json"))[1] == SECRET_SEED


def test_other_marks_are_another_run(tmp_path: Path) -> None:
    out = tmp_path / "g.csv"
    with Journal(out, "a1", 0, 5, marks=[3, 4]) as journal:
        journal.append(graded("alice", "failed"))
    with pytest.raises(CourseError, match="other marks"):
        Journal(out, "a1", 0, None, marks=[3, 5])
    assert Journal(out, "a1", 0, None, marks=[3, 4]).entries


def test_a_folder_keeps_what_was_changed_in_it(rubric: str) -> None:
    folder = Path(rubric).parent
    for name in ("rubric.json", "student/a1.ipynb", "rubric.md"):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(before + b" ")
        with pytest.raises(CourseError, match="another folder"):
            write_assignment("a1", SECRET_SEED, folder, ROOT)
        assert (folder / name).read_bytes() == before + b" "
        (folder / name).write_bytes(before)


def graded_class(*reports: tuple[str, Report]) -> GradedClass:
    graded = [Graded(label, "ab" * 32, "bubblewrap", report) for label, report in reports]
    return GradedClass(
        Setting("a1", 0, 1), load_assignment("a1"), Isolation("plain process", "WEAKER"), graded
    )


EVIL = "<script>alert('x')</script>"


def report(verdict: str, marks: int, hint: str = "") -> Report:
    results = [
        TaskResult(task.name, verdict, marks, task.marks, EVIL, hint) for task in load_assignment("a1").tasks
    ]
    return Report(tuple(results), (EVIL,))


def test_pages_escape_what_learners_wrote_and_stay_in_their_folder(tmp_path: Path) -> None:
    labels = [EVIL, "../../out", "a/b", "a_b", "x" * 300]
    result = graded_class(*((label, report("failed", 0)) for label in labels))
    pages = write_feedback(result, tmp_path / "pages")
    assert len({path.name for path in pages}) == 5
    assert {path.parent for path in pages} == {tmp_path / "pages"}
    for text in (*(path.read_text() for path in pages), summary_page(result)):
        assert "<script" not in text
        assert "WEAKER" in text
    assert page_name("a/b") != page_name("a_b")


def test_the_summary_counts_verdicts_mistakes_and_names_what_to_look_at() -> None:
    result = graded_class(
        ("alice", report("passed", 2)),
        ("bob", report("failed", 0, "Mind the sign.")),
        ("mallory", report("tampered", 0)),
        ("oscar", Report(problem="It is empty.")),
        ("trudy", report("error", 0)),
    )
    counts = verdict_counts(result)["a1.descend"]
    assert counts == {"passed": 1, "failed": 1, "error": 1, "timeout": 0, "missing": 0, "tampered": 1}
    text = summary_page(result)
    assert "Submissions: 5. Not marked, and left out of figure and tables: 1." in text
    assert "mean 2.5" in text
    assert text.count("Mind the sign.") == 5
    assert "mallory, a1.descend: tampered" in text
    assert "oscar: not marked. It is empty." in text
    assert "alice, bob, mallory, oscar, trudy: one and the same file" in text
    assert "trudy: every task ended in an error or a timeout." in text
    assert 'alt="Bars' in text
    assert "<p>Each task was passed by 1.</p>" in text
    assert summary_page(result) == text
    assert f'<a href="g%20feedback/{page_name("alice")}">alice</a>' in summary_page(result, "g feedback")
    # Untouched notebooks are the same file for an honest reason.
    untouched = graded_class(("alice", report("missing", 0)), ("bob", report("missing", 0)))
    assert "one and the same file" not in summary_page(untouched)


def test_the_summary_of_a_class_that_nobody_could_read() -> None:
    text = summary_page(graded_class(("oscar", Report(problem="It is empty."))))
    assert "Marks of 20: none" in text
    assert "<img" not in text


def test_feedback_shows_no_hidden_input(judge: Judge, solved: list[str]) -> None:
    wrong = "def descend(*a): return {'points': np.zeros((a[4] + 1, len(a[1]))), 'overshoot': None}"
    (result,) = judge.only("descend").grade(notebook(*solved, wrong)).results
    case = judge.only("descend").planned[0].cases[0].arguments
    assert result.verdict == "failed"
    for name in ("learning_rate", "rate"):
        assert str(case[name]) not in result.message + result.hint


def test_the_judge_needs_no_torch() -> None:
    code = (
        "import sys, course_lib.classroom.grading.gradebook, course_lib.classroom.grading.reports.class_summary; "
        "import course_lib.classroom.grading.gradescope; from course_lib.classroom.assignments.assignment import *; "
        "[load_assignment(name) for name in assignment_names()]; "
        "print({'torch', 'pandas', 'transformers', 'pickle'} & set(sys.modules) - {'pickle'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.usefixtures("judge")
def test_the_judges_main_process_stays_small(handed_in: Path, rubric: str, tmp_path: Path) -> None:
    (handed_in / "large.ipynb").write_bytes(b"[" + b"[]," * (5 << 20) + b"[]]")
    (handed_in / "huge.ipynb").write_bytes(b"0" * (200 << 20))
    big = "def compare_models(rows, unit): return [[] for _ in range(200_000)]"
    (handed_in / "big.ipynb").write_bytes(notebook(big))
    # VmHWM, since getrusage's peak also counts the process that this one was forked from.
    code = (
        "from course_lib.cli import app; app(standalone_mode=False); "
        "print(*[line for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "grade",
            str(handed_in),
            "--assignment",
            rubric,
            "--out",
            str(tmp_path / "g.csv"),
            *SLOW,
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    kibibytes = int(done.stdout.split("VmHWM:")[1].split()[0])
    assert kibibytes < 300 * 1024
    found = rows(tmp_path / "g.csv")
    assert "larger than" in found["huge"]["problem"]
    assert found["honest"]["marks"] == "20"


def test_a_second_run_with_one_gradebook_is_refused(tmp_path: Path) -> None:
    (tmp_path / "alice.ipynb").write_text("hello")
    out = tmp_path / "out" / "g.csv"
    command = ["grade", str(tmp_path / "alice.ipynb"), "--assignment", "a1", "--out", str(out)]
    with only_run(out):
        refused = CliRunner().invoke(cli.app, [*command, "--replace"])
        # Another process, as it is in life.
        other = subprocess.run([sys.executable, "-m", "course_lib", *command], capture_output=True, text=True)
    for status, text in ((refused.exit_code, refused.stderr), (other.returncode, other.stderr)):
        assert status == 2
        assert "Another run of `course grade` is writing this gradebook." in " ".join(text.split())
    assert list(out.parent.iterdir()) == []
    # Its file is no notebook, and so no submission was marked.
    assert CliRunner().invoke(cli.app, command).exit_code == 1
    assert "alice" in rows(out)
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")]


def test_a_run_that_was_killed_keeps_no_gradebook_to_itself(tmp_path: Path) -> None:
    out = tmp_path / "g.csv"
    code = (
        "import sys, time; from pathlib import Path; from course_lib.classroom.grading.journal import only_run\n"
        "with only_run(Path(sys.argv[1])): print('holds', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    with pytest.raises(CourseError, match="Another run"), only_run(out):
        pass
    process.kill()
    process.communicate()
    with only_run(out):
        assert (tmp_path / ".g.csv.course-lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_without_a_sandbox_only_those_are_graded_who_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alice.ipynb").write_text("")
    out = tmp_path / "out" / "g.csv"
    weak = Isolation("plain process", "Isolation is WEAKER: bubblewrap is not installed.")
    monkeypatch.setattr(gradebook, "find_isolation", lambda *_: weak)
    command = ["grade", str(tmp_path / "alice.ipynb"), "--assignment", "a1", "--out", str(out)]
    refused = CliRunner().invoke(cli.app, command)
    assert refused.exit_code == 2
    assert "could forge marks" in " ".join(refused.stderr.split())
    assert "--trust" in refused.stderr
    assert list(out.parent.iterdir()) == []
    trusted = CliRunner().invoke(cli.app, [*command, "--trust"])
    # An empty file is not marked anywhere; it is in the gradebook.
    assert trusted.exit_code == 1, trusted.output
    assert "WEAKER" in trusted.stderr
    assert list(rows(out)) == ["alice"]
