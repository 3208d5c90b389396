"""Printing costs no marks, however much it is and whatever keeps submissions apart."""

from __future__ import annotations

import pytest

from course_lib.classroom.grading.judging import PRINTED_TOO_MUCH
from tests.classroom.grading.conftest import Judge, notebook

# 50 MB, in the ways that cells print.
NOISE = {
    "print": "print('x' * 50_000_000)",
    "many lines": "for _ in range(50): print('x' * 10**6, flush=True)",
    "standard error": "import sys; sys.stderr.write('x' * 50_000_000)",
    "bytes": "import sys; sys.stdout.buffer.write(b'x' * 50_000_000)",
    "half a character": "print('\\ud800' * 10**6)",
}
# What Python does not see of it is not counted, and costs as little.
UNSEEN = {
    "the descriptor": "import os\nfor _ in range(50): os.write(1, b'x' * 10**6)",
    "a program": "import subprocess; subprocess.run(['head', '-c', '50000000', '/dev/zero'], check=True)",
}


@pytest.mark.parametrize("code", NOISE.values(), ids=NOISE)
def test_a_cell_that_prints_much_costs_no_marks(judge: Judge, solved: list[str], code: str) -> None:
    report = judge.only("compare_models").grade(notebook(*solved, code))
    assert (report.marks, report.cell_errors, report.notes) == (3, (), (PRINTED_TOO_MUCH,))


@pytest.mark.parametrize("code", UNSEEN.values(), ids=UNSEEN)
def test_what_is_printed_past_python_costs_no_marks(judge: Judge, solved: list[str], code: str) -> None:
    report = judge.only("compare_models").grade(notebook(*solved, code))
    assert (report.marks, report.cell_errors) == (3, ())


def test_a_function_that_prints_much_costs_no_marks(judge: Judge, solved: list[str]) -> None:
    noisy = """
right = compare_models
def compare_models(rows, unit):
    print("x" * 50_000_000)
    return right(rows, unit)
"""
    report = judge.only("compare_models").grade(notebook(*solved, noisy))
    assert (report.marks, report.notes) == (3, (PRINTED_TOO_MUCH,))


def test_a_little_printing_is_not_worth_a_word(judge: Judge, solved: list[str]) -> None:
    report = judge.only("compare_models").grade(notebook(*solved, "print('hello' * 1000)"))
    assert (report.marks, report.notes) == (3, ())
