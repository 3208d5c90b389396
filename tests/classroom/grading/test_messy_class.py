"""A class as it comes: twenty submissions in every form that platforms, systems and learners give them."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
import zipfile
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from course_lib import cli
from course_lib.classroom.grading.gradebook import page_name
from course_lib.classroom.pipeline.assignments import write_assignment
from tests.classroom.grading.conftest import ROOT, SECRET_SEED, notebook

# Above the imports, as learners write for Colab.
COLAB = """\
try:
    from google.colab import drive
    drive.mount("/content/drive")
except ImportError:
    !pip install -q seaborn \\
        scipy
get_ipython().run_line_magic("matplotlib", "inline")
import matplotlib.pyplot as plt
import no_such_package
plt.rcParams["figure.figsize"] = (8, 4)
"""
ALL, SOME, NONE = 20, 3, 0


def zipped(path: Path, *members: tuple[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)


def hand_in(folder: Path, solved: list[str], untouched: str) -> dict[str, int | str]:
    """Write twenty submissions, and give the marks of each by label; a text is why one cannot be marked."""
    whole, part = notebook(*solved), notebook(*solved[:3])
    moodle = folder / "Jane Doe_101_assignsubmission_file"
    two = folder / "Rich Roe_103_assignsubmission_file"
    for path in (folder, moodle, two, folder / "kim"):
        path.mkdir(exist_ok=True)
    files: dict[str, bytes] = {
        "Jane Doe_101_assignsubmission_file/a1.ipynb": whole,
        "Jane Doe_101_assignsubmission_file/plot.png": b"x",
        "홍길동_102_assignsubmission_file_a1.ipynb": notebook(COLAB + solved[0], *solved[1:]),
        "Rich Roe_103_assignsubmission_file/a1.ipynb": part,
        "Rich Roe_103_assignsubmission_file/draft.ipynb": untouched.encode(),
        "doejane_201_9001_a1.ipynb": notebook(
            "%%writefile h.py\ny = 1", "import h\n%time import numpy as np", *solved
        ),
        "mullerjose_LATE_202_9002_a1-1.ipynb": b"\xef\xbb\xbf" + part,
        "anon_aB3dE_9003_a1.ipynb": part,
        "김철수 - a1.ipynb": notebook(*solved[:3], "x = t'{1}'"),
        "Ada Lovelace - Copy of a1.ipynb": part,
        "Copy of a1.ipynb": part,
        "kim/a1.ipynb": part,
        "kim/figures.zip": b"no archive",
        "old.ipynb": json.dumps(
            {
                "nbformat": 3,
                "metadata": {},
                "worksheets": [{"cells": [{"cell_type": "code", "input": solved[2]}]}],
            }
        ).encode(),
        "=SUM(A1).ipynb": untouched.encode(),
        "report.pdf": b"%PDF",
        "empty.ipynb": b"",
        "text.ipynb": b"I could not open the notebook.",
        "lesson.ipynb": notebook("print(1)"),
        "copied.ipynb": part,
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    zipped(
        folder / "mac.zip",
        ("final/a1.ipynb", part),
        ("__MACOSX/final/._a1.ipynb", b"x"),
        ("final/data.csv", b"x"),
    )
    zipped(folder / "windows.zip", ("task/a1.ipynb", part))
    data = (folder / "windows.zip").read_bytes().replace(b"task/", b"task\\")
    (folder / "windows.zip").write_bytes(data)
    (folder / f"{unicodedata.normalize('NFD', '이영희')}.ipynb").write_bytes(part)
    return {
        "=SUM(A1)": NONE,
        "Ada Lovelace - Copy of a1": SOME,
        "Copy of a1": SOME,
        "Jane Doe_101_assignsubmission_file/a1": ALL,
        "Rich Roe_103_assignsubmission_file/a1": SOME,
        "Rich Roe_103_assignsubmission_file/draft": NONE,
        "anon_aB3dE_9003_a1": SOME,
        "copied": SOME,
        "doejane_201_9001_a1": ALL,
        "empty": "It is empty.",
        "kim/a1": SOME,
        "lesson": NONE,
        "mac.zip/final/a1": SOME,
        "mullerjose_LATE_202_9002_a1-1": SOME,
        "old": SOME,
        "report.pdf": "It is no notebook (.ipynb).",
        "text": "The file is not JSON, so it is no notebook.",
        "windows.zip/task/a1": SOME,
        "김철수 - a1": SOME,
        "이영희": SOME,
        "홍길동_102_assignsubmission_file_a1": ALL,
    }


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


# Slow: twenty notebooks run, each in a sandbox of its own.
@pytest.mark.slow
@pytest.mark.usefixtures("judge")
def test_a_messy_class(tmp_path: Path, solved: list[str], untouched: str) -> None:
    expected = hand_in(tmp_path / "in", solved, untouched)
    write_assignment("a1", SECRET_SEED, tmp_path / "set", ROOT)
    out = tmp_path / "a1.csv"
    arguments = ["grade", str(tmp_path / "in"), "--assignment", str(tmp_path / "set"), "--out", str(out)]
    done = CliRunner().invoke(cli.app, [*arguments, "--patience", "20"])
    assert done.exit_code == 0, done.output
    rows = table(out)
    assert {
        row["submission"].removeprefix("'"): row["problem"] or int(row["marks"]) for row in rows
    } == expected
    # Every row names its page, and the page its submission.
    for row, label in zip(rows, expected, strict=True):
        page = tmp_path / "a1_feedback" / row["feedback page"]
        assert row["feedback page"] == page_name(label)
        assert label in page.read_text(encoding="utf-8")
    by_label = {row["submission"]: row for row in rows}
    assert by_label["mullerjose_LATE_202_9002_a1-1"]["late"] == "yes"
    assert by_label["kim/a1"]["files beside it"] == "figures.zip"
    page = (tmp_path / "a1_feedback" / page_name("김철수 - a1")).read_text(encoding="utf-8")
    assert "code cell 4" in page
    assert "<h1>Complexity and overfitting: 김철수</h1>" in page
    summary = (tmp_path / "a1_summary.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^"]+)"', summary)
    assert len(links) == len(rows)
    assert all((tmp_path / unquote(link)).is_file() for link in links)
    marks = {
        platform: [(row[who], row[column]) for row in table(tmp_path / f"a1_{platform}.csv")]
        for platform, who, column in (
            ("moodle", "Identifier", "Grade"),
            ("canvas", "ID", "Complexity and overfitting"),
            ("classroom", "First Name", "Complexity and overfitting"),
        )
    }
    assert marks == {
        "moodle": [("Participant 101", "20"), ("Participant 103", "3"), ("Participant 102", "20")],
        "canvas": [("", "20"), ("201", "20"), ("202", "3")],
        "classroom": [("Ada", "3"), ("김철수", "3")],
    }
    assert "no mark in a1_canvas.csv: anon_aB3dE" in done.stderr
