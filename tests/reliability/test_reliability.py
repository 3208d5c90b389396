"""The figures are found, and a small sample of those that are measured here."""

from __future__ import annotations

import pytest

from tests.reliability.__main__ import figures, main


def test_each_figure_says_what_it_counts() -> None:
    assert "judge_loop" in figures()
    assert all(figures().values())


def test_a_figure_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    assert "judge_loop" in capsys.readouterr().err
