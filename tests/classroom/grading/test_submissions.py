"""Bad input: what was handed in may be anything; it is named with the reason, and the rest go on."""

from __future__ import annotations

import os
import stat
import tracemalloc
import unicodedata
import zipfile
from pathlib import Path

import pytest

from course_lib.classroom.grading import submissions
from course_lib.classroom.grading.submissions import Submission, UnreadableSubmissionError, find_submissions
from course_lib.errors import CourseError


def outcome(submission: Submission) -> str:
    try:
        return submission.read().decode()
    except UnreadableSubmissionError as error:
        return f"! {error}"


def outcomes(path: Path) -> dict[str, str]:
    return {submission.label: outcome(submission) for submission in find_submissions(path)}


def archive(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data, compress_type=zipfile.ZIP_DEFLATED)
    return path


def test_a_folder_of_notebooks_folders_and_archives(tmp_path: Path) -> None:
    (tmp_path / "alice.ipynb").write_text("A")
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob" / "a1.ipynb").write_text("B")
    archive(tmp_path / "carol.zip", ("final/a1.ipynb", b"C"), ("__MACOSX/._a1.ipynb", b"noise"))
    (tmp_path / "bob" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "bob" / ".ipynb_checkpoints" / "a1-checkpoint.ipynb").write_text("old")
    (tmp_path / "dave.pdf").write_text("D")
    assert outcomes(tmp_path) == {
        "alice": "A",
        "bob/a1": "B",
        "carol.zip/final/a1": "C",
        "dave.pdf": "! It is no notebook (.ipynb).",
    }
    assert outcomes(tmp_path / "alice.ipynb") == {"alice": "A"}


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "gradebook.ipynb").write_text("secret")
    handed_in = tmp_path / "in"
    handed_in.mkdir()
    (handed_in / "link.ipynb").symlink_to(secret / "gradebook.ipynb")
    (handed_in / "folder").symlink_to(secret)
    (handed_in / "archive.zip").symlink_to(archive(tmp_path / "real.zip", ("a.ipynb", b"secret")))
    os.mkfifo(handed_in / "pipe.ipynb")
    os.mkfifo(handed_in / "pipe.zip")
    (handed_in / "good.ipynb").write_text("good")
    found = outcomes(handed_in)
    assert found.pop("good") == "good"
    assert sorted(found) == ["archive.zip", "folder", "link", "pipe", "pipe.zip"]
    assert all(text.startswith("! ") for text in found.values())


def test_members_that_lead_out_of_an_archive(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.ipynb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    members = [
        ("../../out.ipynb", b"x"),
        ("/etc/x.ipynb", b"x"),
        (link, b"/etc/passwd"),
        ("good.ipynb", b"good"),
    ]
    found = outcomes(archive(tmp_path / "class.zip", *members))
    assert found.pop("good") == "good"
    assert len(found) == 3
    assert all(text.startswith("! ") for text in found.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class.zip"]


def test_a_bomb_is_read_no_further_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "MAX_NOTEBOOK_BYTES", 1 << 20)
    path = archive(tmp_path / "bomb.zip", ("bomb.ipynb", b"0" * (20 << 20)), ("good.ipynb", b"good"))
    assert path.stat().st_size < 1 << 17
    tracemalloc.start()
    found = outcomes(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    assert found["good"] == "good"
    assert "larger than" in found["bomb"]
    (tmp_path / "large.ipynb").write_bytes(b"0" * (2 << 20))
    assert "larger than" in outcomes(tmp_path)["large"]


def test_a_member_that_lies_about_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "MAX_NOTEBOOK_BYTES", 1 << 20)
    path = archive(tmp_path / "lie.zip", ("lie.ipynb", b"0" * (20 << 20)))
    data = bytearray(path.read_bytes())
    # Both places that give the size now say ten bytes.
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.find(signature) + offset
        data[start : start + 4] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    assert outcomes(path)["lie"].startswith("! ")


def test_damaged_and_strange_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "damaged.zip").write_bytes(b"PK\x03\x04 and nothing more")
    (tmp_path / "empty.zip").write_bytes(b"")
    cut = archive(tmp_path / "cut.zip", ("a.ipynb", os.urandom(5000)))
    data = cut.read_bytes()
    cut.write_bytes(data[:100] + os.urandom(1000) + data[1100:])
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a.ipynb", b"x" * 100)
    monkeypatch.setattr(submissions, "MAX_MEMBERS", 3)
    archive(tmp_path / "many.zip", *((f"{i}.ipynb", b"x") for i in range(4)))
    (tmp_path / "nothing.ipynb").write_bytes(b"")
    found = outcomes(tmp_path)
    assert len(found) == 6
    assert all(text.startswith("! ") for text in found.values()), found


def test_labels_are_printable_short_and_their_own(tmp_path: Path) -> None:
    members = [("a\n\x1b[31m.ipynb", b"1"), ("same.ipynb", b"2"), ("x" * 500 + ".ipynb", b"3")]
    path = archive(tmp_path / "class.zip", *members)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as file:
        file.writestr("same.ipynb", b"4")
    found = [submission.label for submission in find_submissions(path)]
    assert len(set(found)) == 4
    assert all(label.isprintable() and len(label) <= 130 for label in found)


def test_a_label_that_looks_like_another_ones_number(tmp_path: Path) -> None:
    for name in ("bob.ipynb", "bob.IPYNB", "bob (2).ipynb"):
        (tmp_path / name).write_text(name)
    found = outcomes(tmp_path)
    assert len(found) == 3
    assert set(found.values()) == {"bob.ipynb", "bob.IPYNB", "bob (2).ipynb"}


def test_one_learner_hands_in_few_notebooks_and_a_class_many(tmp_path: Path) -> None:
    members = [(f"{i}.ipynb", b"x") for i in range(submissions.MAX_NOTEBOOKS_EACH + 1)]
    many = archive(tmp_path / "many.zip", *members)
    archive(tmp_path / "few.zip", *members[1:])
    found = outcomes(tmp_path)
    assert found.pop("many.zip") == "! It holds 11 notebooks among 11 files; 10 among 100 are allowed."
    assert list(found.values()) == ["x"] * submissions.MAX_NOTEBOOKS_EACH
    assert len(outcomes(many)) == len(members)


def test_what_lies_beside_a_learners_notebook_is_no_submission(tmp_path: Path) -> None:
    pictures = [(f"{i}.png", b"x") for i in range(20)]
    archive(tmp_path / "alice.zip", ("a1.ipynb", b"A"), *pictures)
    archive(tmp_path / "bob.zip", ("a1.ipynb", b"B"), *((f"{i}.png", b"x") for i in range(100)))
    archive(tmp_path / "carol.zip", ("a1.pdf", b"C"), ("a1.html", b"C"))
    for name in (
        "dave/a1.ipynb",
        "dave/img/plot.png",
        "monday/eve.ipynb",
        "monday/frank.ipynb",
        "monday/grace.pdf",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "heidi.pdf").write_text("H")
    found = outcomes(tmp_path)
    assert "101 files" in found.pop("bob.zip")
    no_notebook = "! It is no notebook (.ipynb)."
    assert found == {
        "alice.zip/a1": "A",
        "carol.zip/a1.html": no_notebook,
        "carol.zip/a1.pdf": no_notebook,
        "dave/a1": "dave/a1.ipynb",
        "heidi.pdf": no_notebook,
        "monday/eve": "monday/eve.ipynb",
        "monday/frank": "monday/frank.ipynb",
        # Several learners' folder: what one of them handed in is no picture of another's.
        "monday/grace.pdf": no_notebook,
    }
    beside = {submission.label: submission.beside for submission in find_submissions(tmp_path)}
    assert len(beside["alice.zip/a1"]) == 20
    assert beside["dave/a1"] == ("plot.png",)


def test_archives_of_windows_have_backslashes(tmp_path: Path) -> None:
    made = archive(tmp_path / "made.zip", ("task/", b""), ("task/a1.ipynb", b"A"), ("task/plot.png", b"P"))
    # PowerShell 5 writes names so; Python's own writer would mend them.
    data = made.read_bytes().replace(b"task/", b"task\\")
    made.unlink()
    (tmp_path / "alice.zip").write_bytes(data)
    out = archive(tmp_path / "out.zip", ("../x.ipynb", b"x")).read_bytes().replace(b"../", b"..\\")
    (tmp_path / "out.zip").write_bytes(out)
    drive = archive(tmp_path / "drive.zip", ("C:/x.ipynb", b"x")).read_bytes().replace(b"C:/", b"C:\\")
    (tmp_path / "drive.zip").write_bytes(drive)
    found = outcomes(tmp_path)
    assert found.pop("alice.zip/task/a1") == "A"
    assert len(found) == 2
    assert all("leads out" in text for text in found.values())


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
def test_korean_names_in_an_archive_are_read_as_they_were_meant(tmp_path: Path, encoding: str) -> None:
    name = "홍길동.ipynb"
    stands_for = "x" * len(name.encode(encoding))
    data = archive(tmp_path / "class.zip", (stands_for, b"A"), ("déjà.ipynb", b"B")).read_bytes()
    # Written as macOS and Korean Windows write them: in that encoding, and without a word about it.
    (tmp_path / "class.zip").write_bytes(data.replace(stands_for.encode(), name.encode(encoding)))
    assert outcomes(tmp_path / "class.zip") == {"홍길동": "A", "déjà": "B"}


def test_letters_have_one_form(tmp_path: Path) -> None:
    (tmp_path / (unicodedata.normalize("NFD", "홍길동") + ".ipynb")).write_text("A")
    assert outcomes(tmp_path) == {"홍길동": "A"}


def test_a_class_archive_holds_learners_archives(tmp_path: Path) -> None:
    inner = archive(tmp_path / "inner.zip", ("a1.ipynb", b"A"), ("deeper.zip", b"x")).read_bytes()
    bomb = archive(tmp_path / "bomb.zip", *((f"{i}.ipynb", b"x") for i in range(11))).read_bytes()
    members = [("alice/inner.zip", inner), ("bob.zip", b"PK nonsense"), ("carol.zip", bomb)]
    found = outcomes(archive(tmp_path / "class.zip", *members))
    assert found.pop("alice/inner.zip/a1") == "A"
    assert "no archive that can be read" in found.pop("bob.zip")
    assert "11 notebooks" in found.pop("carol.zip")
    assert found == {}


def test_nothing_to_grade_is_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CourseError, match="submission"):
            find_submissions(path)
