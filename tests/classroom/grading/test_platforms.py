"""Downloads of Moodle, Canvas and Google Classroom are taken as they come, and marks go back in tables they have."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from course_lib import cli
from course_lib.classroom.assignments.assignment import load_assignment
from course_lib.classroom.grading.journal import Graded
from course_lib.classroom.grading.judging import Report, TaskResult
from course_lib.classroom.grading.learners import Learner, learner_of, plain_stem
from course_lib.classroom.grading.reports.platforms import MarksFile, MarksFiles, read_worksheet
from course_lib.classroom.grading.submissions import find_submissions
from course_lib.errors import CourseError

A1 = load_assignment("a1")
TITLE = A1.title


@pytest.mark.parametrize(
    ("path", "learner"),
    [
        ("Jane Doe_12345_assignsubmission_file/a1.ipynb", Learner("moodle", "12345", "Jane Doe")),
        ("Jane Doe_12345_assignsubmission_file_/a1.ipynb", Learner("moodle", "12345", "Jane Doe")),
        ("Jane Doe_12345_assignsubmission_file_my a1.ipynb", Learner("moodle", "12345", "Jane Doe")),
        ("홍길동_7_assignsubmission_file/x/a1.ipynb", Learner("moodle", "7", "홍길동")),
        ("Participant_99_assignsubmission_file/a1.ipynb", Learner("moodle", "99", "Participant")),
        (
            "Jane Doe_12345_assignsubmission_onlinetext/onlinetext.html",
            Learner("moodle", "12345", "Jane Doe"),
        ),
        ("doejane_12_345_a1.ipynb", Learner("canvas", "12", "doejane")),
        ("doejane_LATE_12_345_a1-1.ipynb", Learner("canvas", "12", "doejane", True)),
        ("홍길동_12_345_a1.ipynb", Learner("canvas", "12", "홍길동")),
        ("doejane_12_345_work.zip/a1.ipynb", Learner("canvas", "12", "doejane")),
        ("anon_aB3dE_345_a1.ipynb", Learner("canvas", "", "anon_aB3dE")),
        ("LATE_anon_aB3dE_345_a1.ipynb", Learner("canvas", "", "anon_aB3dE", True)),
        ("Jane Doe - a1.ipynb", Learner("classroom", "", "Jane Doe")),
        ("Copy of Jane J. Doe - a1.ipynb", Learner("classroom", "", "Jane J. Doe")),
        ("홍길동 - Copy of a1 (1).ipynb", Learner("classroom", "", "홍길동")),
        ("alice.ipynb", None),
        ("Copy of a1.ipynb", None),
        ("a1 - Copy.ipynb", None),
        ("alice_a1_2024.ipynb", None),
        # What a learner calls a folder or file of her own says nothing.
        ("bob/Jane Doe_12345_assignsubmission_file/a1.ipynb", None),
        ("bob.zip/doejane_12_345_a1.ipynb", None),
    ],
)
def test_names_of_platforms_say_whose_a_file_is(path: str, learner: Learner | None) -> None:
    assert learner_of(path) == learner


@pytest.mark.parametrize(
    "name",
    [
        "a1.ipynb", "A/a1.IPYNB", "Copy of a1.ipynb", "a1 (1).ipynb", "a1-2.ipynb", "a1 - Copy.ipynb",
        "Jane Doe - a1.ipynb", "Jane Doe - Copy of a1 (1).ipynb", "doejane_12_345_a1.ipynb",
        "doejane_LATE_12_345_a1-1.ipynb", "anon_aB3dE_345_a1.ipynb", "Jane_1_assignsubmission_file_a1.ipynb",
    ],
)  # fmt: skip
def test_a_renamed_copy_is_known_by_its_name(name: str) -> None:
    assert plain_stem(name) == "a1"


def given_back(
    folder: Path, marks: dict[str, int | None], worksheet: Path | None = None, column: str = ""
) -> tuple[list[MarksFile], dict[str, list[list[str]]]]:
    """Hand files in with these marks (None: cannot be marked), and give what is written for platforms."""
    handed_in = folder / "in"
    for name in marks:
        (handed_in / name).parent.mkdir(parents=True, exist_ok=True)
        (handed_in / name).write_text("x")
    found = find_submissions(handed_in)
    files = MarksFiles(found, A1, folder / "g.csv", worksheet, column)
    graded = []
    for one in found:
        mark = marks[one.path]
        result = TaskResult("a1.descend", "passed", mark or 0, 20, "")
        graded.append(
            Graded(one.label, "", "", Report(problem="It is empty.") if mark is None else Report((result,)))
        )
    written = files.write(graded, {one.label: one for one in found})
    return written, {file.platform: cells(file.path) for file in written}


def cells(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


MOODLE = """\
Identifier,"Full name","ID number","Email address",Status,Grade,"Maximum Grade","Grade can be changed",\
"Last modified (submission)","Last modified (grade)","Feedback comments"
"Participant 12345","Doe, Jane",s1,jane@example.org,"Submitted for grading",,20.00,Yes,"Friday, 1 May 2026, 9:00 AM",-,
"Participant 7",홍길동,s2,hong@example.org,"Submitted for grading",,20.00,Yes,"Friday, 1 May 2026, 9:00",-,"Well done"
"Participant 8","Roe, Rich",s3,roe@example.org,"No submission",,20.00,Yes,-,-,
"""
CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,Homework 0 (11),a1: first (12),Assignments Current Score,Final Score
,,,,,,Manual Posting,,
    Points Possible,,,,,10.0,20.0,(read only),(read only)
"Doe, Jane",12,s1,jane,Monday,9,,90,45
"Roe, Rich",13,s3,roe,Monday,8,EX,80,40
"""
CLASSROOM = """\
Last Name,First Name,Email Address,Reading,Complexity and overfitting
Date,,,2026-04-01,2026-05-01
Points,,,5,20
Doe,Jane,jane@example.org,5,
홍,길동,hong@example.org,4,
Roe,Rich,roe@example.org,3,
"""


def sheet(folder: Path, text: str) -> Path:
    path = folder / "exported.csv"
    path.write_text("\ufeff" + text, encoding="utf-8")
    return path


def test_moodle_gets_a_worksheet_with_its_columns(tmp_path: Path) -> None:
    marks = {
        "Jane Doe_12345_assignsubmission_file/a1.ipynb": 17,
        "홍길동_7_assignsubmission_file/a1.ipynb": None,
    }
    (file,), tables = given_back(tmp_path, marks)
    header, *rows = tables["moodle"]
    assert header == [
        "Identifier", "Full name", "Email address", "Status", "Grade", "Maximum Grade", "Grade can be changed",
        "Last modified (submission)", "Last modified (grade)", "Feedback comments",
    ]  # fmt: skip
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(row["Identifier"], row["Full name"], row["Grade"]) for row in table] == [
        ("Participant 12345", "Jane Doe", "17"),
        ("Participant 7", "홍길동", ""),
    ]
    assert [row["Maximum Grade"] for row in table] == ["20.00"] * 2
    assert [row["Last modified (grade)"] for row in table] == ["-"] * 2
    assert table[0]["Feedback comments"] == "descend: 17 of 20"
    assert (file.num_marks, file.left_out) == (1, ("홍길동: Not marked. It is empty.",))


def test_moodles_own_worksheet_is_filled_and_nothing_else_changes(tmp_path: Path) -> None:
    worksheet = sheet(tmp_path, MOODLE)
    marks = {
        "Jane Doe_12345_assignsubmission_file/a1.ipynb": 17,
        "홍길동_7_assignsubmission_file/a1.ipynb": 5,
        "Mallory_666_assignsubmission_file/a1.ipynb": 20,
    }
    (file,), tables = given_back(tmp_path, marks, worksheet)
    expected = cells(worksheet)
    expected[1][5], expected[1][10], expected[2][5] = "17", "descend: 17 of 20", "5"
    assert tables["moodle"] == expected
    assert file.num_marks == 2
    assert "Mallory" in file.left_out[0]
    assert file.path.read_bytes().startswith(b"\xef\xbb\xbf")


def test_canvas_gets_a_gradebook_with_its_columns(tmp_path: Path) -> None:
    marks = {"doejane_12_345_a1.ipynb": 17, "roerich_LATE_13_346_a1-1.ipynb": 3, "anon_aB3dE_347_a1.ipynb": 2}
    (file,), tables = given_back(tmp_path, marks)
    assert tables["canvas"] == [
        ["Student", "ID", "SIS Login ID", "Section", TITLE],
        ["    Points Possible", "", "", "", "20"],
        ["doejane", "12", "", "", "17"],
        ["roerich", "13", "", "", "3"],
    ]
    assert file.num_marks == 2
    assert "anon_aB3dE" in file.left_out[0]


def test_canvas_own_gradebook_is_filled_and_nothing_else_changes(tmp_path: Path) -> None:
    worksheet = sheet(tmp_path, CANVAS)
    _, tables = given_back(tmp_path, {"doejane_12_345_a1.ipynb": 17}, worksheet)
    expected = cells(worksheet)
    expected[3][6] = "17"
    assert tables["canvas"] == expected


def test_a_column_can_be_named(tmp_path: Path) -> None:
    worksheet = sheet(tmp_path, CANVAS.replace("a1: first", "First work").replace(",10.0,", ",20.0,"))
    with pytest.raises(CourseError, match="which column"):
        read_worksheet(worksheet, A1)
    for name in ("First work", "First work (12)"):
        assert read_worksheet(worksheet, A1, name).column == 6
    with pytest.raises(CourseError, match="which column"):
        read_worksheet(worksheet, A1, "Final Score")


def test_classroom_gets_a_table_with_its_columns(tmp_path: Path) -> None:
    marks = {"Jane Doe - a1.ipynb": 17, "홍길동 - Copy of a1.ipynb": 5, "Copy of a1.ipynb": 20}
    (file,), tables = given_back(tmp_path, marks)
    assert tables["classroom"] == [
        ["Last Name", "First Name", "Email Address", TITLE],
        ["Doe", "Jane", "", "17"],
        ["", "홍길동", "", "5"],
    ]
    assert (file.num_marks, file.left_out) == (2, ())


def test_classrooms_own_table_is_filled_and_nothing_else_changes(tmp_path: Path) -> None:
    worksheet = sheet(tmp_path, CLASSROOM)
    _, tables = given_back(tmp_path, {"jane doe - a1.ipynb": 17, "홍길동 - a1.ipynb": 5}, worksheet)
    expected = cells(worksheet)
    expected[3][4], expected[4][4] = "17", "5"
    assert tables["classroom"] == expected


def test_of_several_notebooks_the_one_that_is_named_as_the_assignment_counts(tmp_path: Path) -> None:
    folder = "Jane Doe_12345_assignsubmission_file"
    (file,), tables = given_back(tmp_path, {f"{folder}/a1.ipynb": 17, f"{folder}/try.ipynb": 3})
    assert [row[4] for row in tables["moodle"]] == ["Grade", "17"]
    (file,), tables = given_back(tmp_path / "b", {f"{folder}/b.ipynb": 17, f"{folder}/try.ipynb": 3})
    assert [row[4] for row in tables["moodle"]] == ["Grade", ""]
    assert "several notebooks" in file.left_out[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,mark\nJane,\n", "columns of no platform"),
        ("", "empty"),
        (MOODLE.replace("20.00", "100.00"), "other points"),
        (CANVAS.replace("20.0", "100.0"), "other points"),
        (CLASSROOM.replace(",5,20", ",5,100"), "other points"),
        (CANVAS.replace("a1: first (12)", "a1 (12)").replace("Homework 0", "a1 again"), "which column"),
        (CANVAS, "No submission is named as Canvas"),
    ],
)
def test_a_worksheet_that_does_not_fit_is_refused_before_anything_is_graded(
    tmp_path: Path, text: str, said: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "Jane Doe_12345_assignsubmission_file_a1.ipynb").write_text("x")
    arguments = ["grade", str(folder), "--assignment", "a1", "--out", str(tmp_path / "g.csv")]
    done = CliRunner().invoke(cli.app, [*arguments, "--worksheet", str(sheet(tmp_path, text))])
    assert done.exit_code == 2
    assert said in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exported.csv", "in"]


def test_a_worksheet_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("Identifier,Grade\nMüller,\n".encode("latin-1"))
    for path in (tmp_path / "latin.csv", tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(CourseError, match="cannot be read"):
            read_worksheet(path, A1)


def test_semicolons_stay(tmp_path: Path) -> None:
    worksheet = tmp_path / "exported.csv"
    worksheet.write_text(
        "Identifier;Full name;Grade;Maximum Grade\nParticipant 7;A;;20,00\n", encoding="utf-8"
    )
    (file,), _ = given_back(tmp_path, {"A_7_assignsubmission_file_a1.ipynb": 3}, worksheet)
    assert (
        file.path.read_bytes() == b"Identifier;Full name;Grade;Maximum Grade\r\nParticipant 7;A;3;20,00\r\n"
    )


def test_a_download_is_graded_as_it_comes(tmp_path: Path) -> None:
    """Moodle's archive, with an archive and a picture in it, a worksheet beside it: nothing is unpacked or renamed."""
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("work/a1.ipynb", "hello")
        file.writestr("work/plot.png", "x")
    with zipfile.ZipFile(tmp_path / "CS1-a1-77.zip", "w") as file:
        file.write(inner, "Jane Doe_12345_assignsubmission_file/work.zip")
        file.writestr("홍길동_7_assignsubmission_file/a1.ipynb", "hello")
        file.writestr("홍길동_7_assignsubmission_file/plot.png", "x")
        file.writestr("홍길동_7_assignsubmission_onlinetext/onlinetext.html", "x")
    out = tmp_path / "g.csv"
    arguments = ["grade", str(tmp_path / "CS1-a1-77.zip"), "--assignment", "a1", "--out", str(out)]
    done = CliRunner().invoke(cli.app, [*arguments, "--worksheet", str(sheet(tmp_path, MOODLE))])
    # Neither of the two is a notebook.
    assert done.exit_code == 1, done.output
    header, *rows = cells(out)
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(row["learner"], row["learner number"], row["files beside it"]) for row in table] == [
        ("Jane Doe", "12345", "plot.png"),
        ("홍길동", "7", "plot.png, onlinetext.html"),
    ]
    assert out.read_bytes().startswith(b"\xef\xbb\xbf")
    for row in table:
        assert (tmp_path / "g_feedback" / row["feedback page"]).is_file()
    assert table[1]["feedback page"].startswith("홍길동_7")
    assert [row[5] for row in cells(tmp_path / "g_moodle.csv")] == ["Grade", "", "", ""]
    assert "no mark in g_moodle.csv: Jane Doe: Not marked. The file is not JSON" in done.stderr
