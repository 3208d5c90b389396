from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from course_lib.classroom.pipeline.build import build
from course_lib.classroom.pipeline.catalogue import course_root
from course_lib.errors import CourseError
from course_lib.locations import RECORD_FILE

LESSON = "# %% [markdown]\n# # Title\n\n"


def cells(path: Path) -> list[dict]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [{**cell, "source": "".join(cell["source"])} for cell in notebook["cells"]]


def sources(path: Path) -> str:
    return "\n".join(cell["source"] for cell in cells(path))


def states(changes: list) -> dict[str, str]:
    return {change.path.name: change.state for change in changes if change.path.parent.name == "notebooks"}


def test_the_notebooks_of_the_repository_are_in_step() -> None:
    out_of_step = [
        change for change in build(course_root(Path(__file__)), write=False) if change.state != "same"
    ]
    assert not out_of_step, "run `course build`"


def test_a_second_build_is_byte_identical_and_writes_nothing(course: Path) -> None:
    first = build(course)
    content = {change.path: (change.path.read_bytes(), change.path.stat().st_mtime_ns) for change in first}
    assert {change.state for change in first} == {"new"}
    assert {change.state for change in build(course)} == {"same"}
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in content} == content
    for path in content:
        path.unlink()
    build(course)
    assert {path: path.read_bytes() for path in content} == {path: old for path, (old, _) in content.items()}


def test_notebooks_are_clean(course: Path) -> None:
    build(course)
    path = course / "notebooks" / "01_ratio.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert sorted(notebook["metadata"]) == ["kernelspec", "language_info"]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert path.read_text(encoding="utf-8").endswith("}\n")


def test_the_learner_gets_stubs_and_solutions_that_unfold(course: Path) -> None:
    build(course)
    found = cells(course / "notebooks" / "01_ratio.ipynb")
    function, answer = [cell["source"] for cell in found if "exercise" in cell["metadata"]]
    assert function.endswith("example.'''\n    raise NotImplementedError(\"01.parameter_ratio\")")
    assert answer == "# How many parameters?\nanswer = None  # your answer"
    unfolding = [cell["source"] for cell in found if "<summary>Solution" in cell["source"]]
    assert ["return num_parameters / num_examples" in text for text in unfolding] == [True, False]
    assert "```python\n# How many parameters?\nanswer = 2_200_000\n```" in unfolding[1]
    order = [cell["source"] for cell in found]
    hint = next(index for index, text in enumerate(order) if "<summary>Hint" in text)
    assert order[hint - 1] == function
    assert order[hint + 1] == unfolding[0]


def test_the_solutions_are_whole_and_without_markers(course: Path) -> None:
    build(course)
    text = sources(course / "notebooks" / "solutions" / "01_ratio.ipynb")
    assert "return num_parameters / num_examples" in text
    assert "answer = 2_200_000" in text
    assert "NotImplementedError" not in text
    assert "# solution" not in text
    assert "# end of solution" not in text
    assert "<summary>Solution" not in text


def test_the_map_lists_the_lessons_that_exist(course: Path) -> None:
    build(course)
    text = sources(course / "notebooks" / "00_start.ipynb")
    assert "| [00](00_start.ipynb) | Start here | What there is. | under a minute |" in text
    assert "[01](01_ratio.ipynb)" in text
    assert r"depends on it \| a bar." in text
    assert "map of lessons" not in text
    (course / "notebooks" / "src" / "01_ratio.py").unlink()
    assert states(build(course))["01_ratio.ipynb"] == "removed"
    assert "01_ratio" not in sources(course / "notebooks" / "00_start.ipynb")


def test_what_a_learner_wrote_is_kept(course: Path) -> None:
    build(course)
    path = course / "notebooks" / "01_ratio.ipynb"
    built = path.read_bytes()
    written = path.read_text(encoding="utf-8").replace("answer = None", "answer = 7")
    path.write_text(written, encoding="utf-8")
    assert states(build(course))["01_ratio.ipynb"] == "kept"
    assert path.read_text(encoding="utf-8") == written
    assert states(build(course, write=False, force=True))["01_ratio.ipynb"] == "changed"
    assert path.read_text(encoding="utf-8") == written
    (change,) = [change for change in build(course, force=True) if change.state == "changed"]
    assert change.aside == path.with_name("01_ratio.yours.ipynb")
    assert change.aside.read_text(encoding="utf-8") == written
    assert path.read_bytes() == built
    path.write_text("again")
    build(course, force=True)
    assert path.with_name("01_ratio.yours1.ipynb").read_text() == "again"
    assert change.aside.read_text(encoding="utf-8") == written


def in_notebook(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    """Change a notebook as a program that reads and writes it would."""

    def changed(content: bytes) -> bytes:
        notebook = json.loads(content)
        change(notebook)
        return json.dumps(notebook).encode()

    return changed


OUTPUT = {"output_type": "stream", "name": "stdout", "text": ["took an hour"]}
WRITTEN_IN = {
    "byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "conflict markers": lambda content: content.replace(b' "cells"', b'<<<<<<< HEAD\n "cells"', 1),
    "cut off": lambda content: content[:-40],
    "no JSON": lambda content: b"my own notes",
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "a list": lambda content: b"[]",
    "an older format": lambda content: b'{"nbformat": 3, "worksheets": [{"cells": []}]}',
    "run": in_notebook(lambda notebook: notebook["cells"][-1].update(outputs=[OUTPUT], execution_count=1)),
    "last cells deleted": in_notebook(lambda notebook: notebook["cells"].pop()),
    "all cells deleted": in_notebook(lambda notebook: notebook["cells"].clear()),
    "a cell added": in_notebook(
        lambda notebook: notebook["cells"].append(dict(notebook["cells"][0], id="mine"))
    ),
    "a cell's kind": in_notebook(lambda notebook: notebook["cells"][-1].update(cell_type="raw")),
    "a tag": in_notebook(lambda notebook: notebook["cells"][0]["metadata"].update(tags=["mine"])),
    "a picture": in_notebook(lambda notebook: notebook["cells"][0].update(attachments={"a.png": {}})),
    "the notebook's data": in_notebook(lambda notebook: notebook["metadata"].update(slides="mine")),
    "a space": lambda content: content + b" ",
}


@pytest.mark.parametrize("how", WRITTEN_IN)
@pytest.mark.parametrize("source", ["same", "changed", "gone"])
def test_nothing_that_the_course_did_not_write_is_changed_or_removed(
    course: Path, how: str, source: str
) -> None:
    build(course)
    path = course / "notebooks" / "01_ratio.ipynb"
    learners = WRITTEN_IN[how](path.read_bytes())
    path.write_bytes(learners)
    script = course / "notebooks" / "src" / "01_ratio.py"
    if source == "changed":
        script.write_text(script.read_text() + "\n# %%\nprint('new')\n")
    elif source == "gone":
        script.unlink()
    for _ in range(2):
        assert states(build(course))["01_ratio.ipynb"] == "kept"
        assert path.read_bytes() == learners


def test_other_notebooks_are_none_of_a_builds_business(course: Path) -> None:
    build(course)
    notebooks = course / "notebooks"
    built = (notebooks / "01_ratio.ipynb").read_bytes()
    others = ["02_mine.ipynb", "01_ratio copy.ipynb", "01_copy.ipynb", "solutions/02_mine.ipynb", "mine.ipynb",
              "assignments/spring/student/a1.ipynb", "assignments/spring/instructor/a1.ipynb"]  # fmt: skip
    for name in others:
        (notebooks / name).parent.mkdir(parents=True, exist_ok=True)
        (notebooks / name).write_bytes(built)
    (notebooks / "02_folder.ipynb").mkdir()
    for force in (False, True):
        assert {change.state for change in build(course, force=force)} == {"same"}
    assert all((notebooks / name).read_bytes() == built for name in others)


@pytest.mark.parametrize("how", ["folder", "link", "dangling link"])
def test_what_is_no_file_in_a_notebooks_place_is_kept(course: Path, how: str) -> None:
    path = course / "notebooks" / "01_ratio.ipynb"
    if how == "folder":
        path.mkdir()
    else:
        path.symlink_to("mine.ipynb")
    if how == "link":
        path.with_name("mine.ipynb").write_text("mine")
    assert states(build(course))["01_ratio.ipynb"] == "kept"
    assert states(build(course, force=True))["01_ratio.ipynb"] == "changed"
    assert not path.is_symlink()
    assert cells(path)
    assert how != "link" or path.with_name("mine.ipynb").read_text() == "mine"


def test_copies_of_a_checkout_are_built_on(course: Path, tmp_path: Path) -> None:
    """A clone, an archive, a folder moved: unedited notebooks of an older version are built anew."""
    build(course)
    for how in ("moved", "windows"):
        copy = tmp_path / f"copy of {how}"
        shutil.copytree(course, copy, ignore=shutil.ignore_patterns("copy of *"))
        if how == "windows":
            for path in copy.rglob("*.ipynb"):
                path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
            assert {change.state for change in build(copy)} == {"same"}
        script = copy / "notebooks" / "src" / "01_ratio.py"
        script.write_text(script.read_text() + "\n# %%\nprint('new')\n")
        assert states(build(copy))["01_ratio.ipynb"] == "changed"


def test_a_merged_record_still_knows_what_is_the_courses(course: Path) -> None:
    build(course)
    record = course / "notebooks" / RECORD_FILE
    lines = record.read_text().splitlines()
    record.write_text(
        "\n".join(["<<<<<<< HEAD", *lines, "=======", "0" * 64 + "  01_ratio.ipynb", ">>>>>>> theirs", ""])
    )
    script = course / "notebooks" / "src" / "01_ratio.py"
    script.write_text(script.read_text() + "\n# %%\nprint('new')\n")
    assert states(build(course))["01_ratio.ipynb"] == "changed"
    assert len(record.read_text().splitlines()) == len(lines)


def test_without_its_record_a_checkout_keeps_everything(course: Path) -> None:
    build(course)
    (course / "notebooks" / RECORD_FILE).unlink()
    assert {change.state for change in build(course, write=False)} == {"same", "new"}
    script = course / "notebooks" / "src" / "01_ratio.py"
    script.write_text(script.read_text() + "\n# %%\nprint('new')\n")
    assert states(build(course))["01_ratio.ipynb"] == "kept"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("\n".join(f"a{number} = {number}" for number in range(13)), "13 lines of code"),
        ("class Trainer:\n    pass", "class"),
        ("def helper():\n    return 1", "function outside an exercise"),
        ("for seed in range(3):\n    print(seed)", "for or while"),
        ("while True:\n    break", "for or while"),
        ("if True:\n    for seed in range(3):\n        print(seed)", "for or while"),
        ("%%time\nprint(1)", "magic"),
        ("print(", "not valid Python"),
    ],
)
def test_a_cell_that_is_not_thin_is_refused_by_name(make_course, cell: str, message: str) -> None:
    root = make_course(_01_ratio=f"{LESSON}# %%\n{cell}\n")
    with pytest.raises(CourseError, match=rf"01_ratio\.py, cell 2: .*{message}"):
        build(root)
    assert not list((root / "notebooks").glob("*.ipynb"))


def test_thin_cells_pass(make_course) -> None:
    cell = "\n".join(f"a{number} = [x for x in range(3)]  # why\n\n# comment" for number in range(12))
    exercise = (
        '# %% exercise="01.total"\ndef total(numbers):\n    """'
        + "Long.\n" * 20
        + '    """\n    # solution\n'
        "    result = 0\n    for number in numbers:\n        result += number\n    return result\n"
        "    # end of solution\n"
    )
    build(make_course(_01_ratio=f"{LESSON}# %%\n{cell}\n\n{exercise}\n# %%\n# %env A=1\n"))


@pytest.mark.parametrize(
    ("name", "cell", "message"),
    [
        ("01.a", "def a():\n    return 1", "one pair of marker lines"),
        ("01.a", "def a():\n    # end of solution\n    return 1\n    # solution", "one pair of marker lines"),
        ("01.a", "a = 1\n# solution\n# end of solution", "no solution"),
        ("01.a", "# solution\nprint(1)\n# end of solution", "assigns 0 names"),
        ("01.a", "# solution\na = 1\nb = 2\n# end of solution", "assigns 2 names"),
        ("02.a", "# solution\na = 1\n# end of solution", "begins with '01.'"),
    ],
)
def test_a_malformed_exercise_is_refused(make_course, name: str, cell: str, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        build(make_course(_01_ratio=f'{LESSON}# %% exercise="{name}"\n{cell}\n'))


def test_exercises_are_named_once_and_markers_need_a_name(make_course) -> None:
    exercise = '# %% exercise="01.a"\n# solution\na = 1\n# end of solution\n\n'
    with pytest.raises(CourseError, match="two exercises"):
        build(make_course(_01_ratio=LESSON + exercise + exercise))
    with pytest.raises(CourseError, match="no exercise name"):
        build(make_course(_01_ratio=LESSON + "# %%\n# solution\na = 1\n# end of solution\n"))
