"""Assignments: solved ones get all marks, untouched ones none, and wrong answers lose the right task."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from course_lib.classroom.assignments.assignment import (
    Assignment,
    Task,
    Variant,
    assignment_names,
    load_assignment,
)
from course_lib.classroom.exercises import compare
from course_lib.classroom.grading.expecting import PlannedTask, plan
from course_lib.classroom.grading.judging import _compared
from course_lib.classroom.grading.sandbox.course_copy import copy_course
from course_lib.classroom.grading.worker.channel import decode, encode
from course_lib.classroom.pipeline.assignments import build_assignment, filled, write_assignment
from course_lib.classroom.pipeline.build import build
from course_lib.errors import CourseError
from tests.classroom.grading.conftest import PATIENT, ROOT, SECRET_SEED, SEED, Judge, code_cells, notebook

ASSIGNMENTS = [load_assignment(name) for name in assignment_names()]
FORMS = [
    pytest.param(task, variant, id=f"{task.name}: {variant.name}")
    for assignment in ASSIGNMENTS
    for task in assignment.tasks
    for variant in task.variants
    if variant.reference is not None
]


def covering_seeds(assignment: Assignment) -> list[int]:
    """Give secret seeds that together pick every variant of every task."""
    missing = {(task.name, variant.name) for task in assignment.tasks for variant in task.variants}
    seeds = []
    for seed in range(200):
        picked = {(task.name, task.variant(seed).name) for task in assignment.tasks}
        if picked & missing:
            seeds.append(seed)
            missing -= picked
    assert not missing
    return seeds


def judge_of(assignment: Assignment, secret_seed: int, judge: Judge, folder: Path) -> Judge:
    """Give a judge of one form of an assignment."""
    course = copy_course(folder / "course", assignment.blocked)
    planned = plan(assignment, secret_seed, SEED + secret_seed)
    limits = replace(
        assignment.limits,
        call_seconds=PATIENT.call_seconds,
        cell_seconds=PATIENT.cell_seconds,
        load_seconds=PATIENT.load_seconds,
        total_seconds=PATIENT.total_seconds,
    )
    return Judge(planned, assignment.form(secret_seed), course, judge.isolation, limits)


def test_a_form_has_a_number_for_each_variant_and_names_none() -> None:
    for assignment in ASSIGNMENTS:
        seeds = covering_seeds(assignment)
        assert len({assignment.form(seed) for seed in seeds}) == len(seeds)
        student = build_assignment(ROOT, assignment.name, seeds[-1])
        assert json.loads(student)["metadata"]["course_form"] == assignment.form(seeds[-1])
        assert assignment.form(seeds[-1]) in student


def test_a_notebook_of_another_form_is_not_marked(judge: Judge) -> None:
    other = build_assignment(ROOT, "a1", SECRET_SEED + 1, solutions=True).encode()
    report = judge.grade(other)
    assert (report.marks, report.results) == (0, ())
    assert load_assignment("a1").form(SECRET_SEED + 1) in report.problem
    assert judge.form in report.problem


def test_a_missing_function_points_to_the_cells_that_failed(judge: Judge) -> None:
    (result,) = judge.only("descend").grade(notebook("def descend(:\n    return 1")).results
    assert (result.verdict, result.message) == (
        "missing",
        "No function `descend` is written under this name.",
    )
    assert "had an error" in result.hint
    example = "def descend(*a): raise NotImplementedError('a1.descend')"
    for cells in (["x = 1"], [example, "descend()"]):
        (result,) = judge.only("descend").grade(notebook(*cells)).results
        assert (result.verdict, result.hint) == ("missing", "")


@pytest.mark.parametrize(
    ("assignment", "secret_seed"),
    [
        pytest.param(assignment, seed, id=f"{assignment.name}, seed {seed}")
        for assignment in ASSIGNMENTS
        for seed in covering_seeds(assignment)
    ],
)
def test_the_instructors_notebook_gets_all_marks(
    judge: Judge, tmp_path: Path, assignment: Assignment, secret_seed: int
) -> None:
    solved = build_assignment(ROOT, assignment.name, secret_seed, solutions=True).encode()
    report = judge_of(assignment, secret_seed, judge, tmp_path).grade(solved)
    assert [(part.verdict, part.message) for part in report.results if part.verdict != "passed"] == []
    assert report.marks == assignment.marks
    assert report.cell_errors == ()


@pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda assignment: assignment.name)
def test_the_untouched_notebook_gets_nothing_and_every_task_is_missing(
    judge: Judge, tmp_path: Path, assignment: Assignment
) -> None:
    untouched = build_assignment(ROOT, assignment.name, SECRET_SEED).encode()
    report = judge_of(assignment, SECRET_SEED, judge, tmp_path).grade(untouched)
    assert [result.verdict for result in report.results] == ["missing"] * len(assignment.tasks)
    assert report.marks == 0


WRONG_ANSWERS = [
    (
        "compare_models",
        "return sorted([(m, 1 / q) for m, q in right(rows, unit)], key=lambda pair: (pair[1], pair[0]))",
        "way round",
    ),
    ("compare_models", "return right(rows, unit)[::-1]", "other way"),
    ("compare_models", "return [(m, round(q)) for m, q in right(rows, unit)]", "rounded"),
    ("summarise_gaps", "return -right(train, heldout)[:, ::-1]", "sign"),
    ("summarise_gaps", "return right(train.T, heldout.T)", "axis"),
    (
        "summarise_gaps",
        "g = train - heldout; m = g.mean(0); h = 2 * g.std(0) / len(g)**0.5; return np.stack([m-h, m, m+h], 1)",
        "ddof",
    ),
    ("summarise_gaps", "return right(train, heldout).round(6)", "Nearly right"),
    ("descend", "r = right(*a); r['points'] = r['points'][1:]; return r", "start"),
    ("descend", "r = right(*a); r['overshoot'] = r['overshoot'] and r['overshoot'] - 1; return r", "from 1"),
    ("choose_degree", "return {**right(*a), 'predictions': np.zeros_like(a[4])}", "Fit every degree"),
]
SIGNATURES = {
    "compare_models": "rows, unit",
    "summarise_gaps": "train, heldout",
    "descend": "*a",
    "choose_degree": "*a",
}


@pytest.mark.parametrize(("function", "code", "hint"), WRONG_ANSWERS)
def test_a_typical_wrong_answer_loses_its_task_and_gets_its_hint(
    judge: Judge, solved: list[str], function: str, code: str, hint: str
) -> None:
    wrong = f"right = {function}\ndef {function}({SIGNATURES[function]}): {code}"
    report = judge.grade(notebook(*solved, wrong))
    lost = [result for result in report.results if result.verdict != "passed"]
    assert [(result.task, result.verdict) for result in lost] == [(f"a1.{function}", "failed")]
    assert hint in lost[0].hint


def test_the_bug_handed_in_as_given_is_recognised(judge: Judge, solved: list[str]) -> None:
    text = load_assignment("a1").texts(SECRET_SEED)["stop_early.bug"]
    report = judge.grade(notebook(*solved, text + "\nstop_early = stop_early_with_bug"))
    assert [result.task for result in report.results if result.verdict != "passed"] == ["a1.stop_early"]
    assert "the function that you were given" in report.results[3].hint


@pytest.mark.parametrize(
    ("code", "verdict", "message"),
    [
        ("del compare_models", "missing", "compare_models"),
        ("compare_model = compare_models; del compare_models", "missing", "under this name"),
        ("compare_models = 7", "missing", "written"),
        ("def compare_models(rows): return []", "error", "takes 1 positional argument"),
        ("def compare_models(rows, unit, order): return []", "error", "missing 1 required"),
        ("def compare_models(rows, unit): return 1 / 0", "error", "ZeroDivisionError"),
        ("def compare_models(rows, unit): raise NotImplementedError", "missing", "written"),
        ("async def compare_models(rows, unit): return []", "error", "type coroutine"),
    ],
)
def test_missing_renamed_and_wrong_signatures(
    judge: Judge, solved: list[str], code: str, verdict: str, message: str
) -> None:
    report = judge.grade(notebook(*solved, code))
    assert [result.verdict for result in report.results] == [verdict, *["passed"] * 4]
    assert message in report.results[0].message


def test_cells_deleted_duplicated_reordered_and_stripped(judge: Judge, solved: list[str]) -> None:
    everything = ["passed"] * 5
    assert judge.verdicts(notebook(*solved, *solved)) == everything
    assert judge.verdicts(notebook(*reversed(solved), solved[1])) == everything
    deleted = [cell for cell in solved if "def stop_early" not in cell]
    assert judge.verdicts(notebook(*deleted)) == ["passed", "passed", "passed", "missing", "passed"]
    stripped = json.dumps(
        {"cells": [{"cell_type": "code", "source": cell.splitlines(True)} for cell in solved]}
    )
    assert judge.verdicts(stripped.encode()) == everything
    broken = [
        "this is no Python (",
        "1 / 0",
        "%matplotlib inline\n!ls\nx = 1",
        "%%bash\nexit 1",
        "import nothing_here",
    ]
    report = judge.grade(notebook(*broken, *solved))
    assert [result.verdict for result in report.results] == everything
    assert [error.split(":")[0] for error in report.cell_errors] == [
        "code cell 1",
        "code cell 2",
        "code cell 5",
    ]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"hello", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no cells"),
        (b"{}", "no cells"),
        (b'{"cells": []}', "no cells"),
        (b'{"cells": {"a": 1}}', "no cells"),
        (b'{"cells": [1, null, {"cell_type": "markdown", "source": "x"}]}', "no code cells"),
        (b'{"cells": ' + b"9" * 10_000 + b"}", "not JSON"),
    ],
)
def test_what_is_no_notebook_is_a_problem_and_not_a_zero(judge: Judge, data: bytes, problem: str) -> None:
    report = judge.grade(data)
    assert report.results == ()
    assert problem in report.problem


def test_a_byte_order_mark_does_no_harm(judge: Judge, solved: list[str]) -> None:
    assert judge.only("compare_models").verdicts(b"\xef\xbb\xbf" + notebook(*solved)) == ["passed"]


@pytest.mark.parametrize(("task", "variant"), FORMS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_usual_mistake_is_told_from_the_right_answer(task: Task, variant: Variant, seed: int) -> None:
    """Each mistake fails on some hidden case, and its results give its hint and no other."""
    cases = task.drawn_cases(seed, variant)
    assert variant.reference is not None
    expected = [variant.reference(**case.arguments) for case in cases]
    results = {
        mistake.name: (mistake.hint, [_result(mistake.function, case.arguments) for case in cases])
        for mistake in variant.mistakes
    }
    planned = PlannedTask(task, variant.name, cases, [], expected, list(results.values()))
    assert _compared(planned, expected, [""] * len(cases)).verdict == "passed"
    for name, (hint, values) in results.items():
        result = _compared(planned, values, [""] * len(cases))
        assert (name, result.verdict, result.hint) == (name, "failed", hint)


def _result(function, arguments):  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        # Some mistakes divide by zero; their results say so, and nobody need be warned.
        warnings.simplefilter("ignore", RuntimeWarning)
        return decode(encode(function(**arguments)))


@pytest.mark.parametrize(("task", "variant"), FORMS)
def test_one_seed_gives_one_set_of_cases_and_another_another(task: Task, variant: Variant) -> None:
    def arguments(seed: int) -> list:
        return [dict(case.arguments) for case in task.drawn_cases(seed, variant)]

    assert compare(arguments(1), arguments(1)) is None
    assert compare(arguments(1), arguments(2)) is not None


@pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda assignment: assignment.name)
def test_students_get_neither_solutions_nor_the_seed(assignment: Assignment, tmp_path: Path) -> None:
    secret_seed, name = 918273645, assignment.name
    paths = write_assignment(name, secret_seed, tmp_path, ROOT)
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        f"student/{name}.ipynb",
        f"instructor/{name}.ipynb",
        "rubric.md",
        "rubric.json",
    ]
    student, instructor = (path.read_text(encoding="utf-8") for path in paths[:2])
    assert str(secret_seed) not in student + instructor
    assert json.loads(paths[3].read_text())["secret_seed"] == secret_seed
    solved, handed_out = code_cells(instructor), code_cells(student)
    # a function with a bug to be found is handed out, and most of its lines are the solution's
    shown = "\n".join(assignment.texts(secret_seed).values())
    for task in assignment.tasks:
        (solution,) = [cell for cell in solved if f"def {task.function}(" in cell]
        (stub,) = [cell for cell in handed_out if f"def {task.function}(" in cell]
        body = [line.strip() for line in solution.splitlines()[2:] if len(line.strip()) > 25]
        assert body
        assert not [line for line in body if line in student and line not in shown]
        assert stub.endswith(f'raise NotImplementedError("{task.name}")')
    assert "solution" not in student.lower()
    assert "<<" not in student + instructor


def test_other_secret_seeds_give_other_forms_and_the_same_seed_the_same_bytes() -> None:
    texts = {seed: build_assignment(ROOT, "a1", seed) for seed in (1, 2, 3)}
    assert len(set(texts.values())) == 3
    assert build_assignment(ROOT, "a1", 1) == texts[1]


def test_the_assignments_of_the_repository_are_in_step() -> None:
    changes = [change for change in build(ROOT, write=False) if "assignments" in change.path.parts]
    assert len(changes) == 2 * len(ASSIGNMENTS)
    assert {change.state for change in changes} == {"same"}, "run `course build`"


def test_placeholders_and_texts_belong_together() -> None:
    assert filled("x = <<a>>\n    <<b>>", {"a": "1", "b": "p\nq"}) == "x = 1\n    p\n    q"
    for source, texts in (("<<a>>", {}), ("none", {"a": "1"})):
        with pytest.raises(CourseError, match="placeholders"):
            filled(source, texts)


def test_an_unknown_assignment_is_said() -> None:
    with pytest.raises(CourseError, match="a1"):
        load_assignment("a11")


def test_an_installed_course_says_that_it_holds_no_assignments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("course_lib.classroom.assignments.assignment.assignment_names", list)
    with pytest.raises(CourseError, match="not installed: a wheel leaves them out") as caught:
        load_assignment("a1")
    assert "Clone the course's repository" in caught.value.mend
