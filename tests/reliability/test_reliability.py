"""The figures are found, and a small sample of those that are measured here."""

from __future__ import annotations

import pytest

from tests.reliability.__main__ import figures, main


def test_each_figure_says_what_it_counts() -> None:
    assert "judge_loop" in figures()
    assert all(figures().values())


@pytest.mark.slow
def test_a_right_notebook_gets_full_marks_on_a_busy_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge_loop", "--runs", "1"]) == 0
    assert "full marks for 1 of 1 notebooks, 6 busy processes beside" in capsys.readouterr().out


def test_a_figure_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    assert "judge_loop" in capsys.readouterr().err
