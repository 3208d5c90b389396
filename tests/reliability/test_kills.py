"""Work that survives kills and work that does not are told apart; a few kills of real work."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.reliability._killed_work import SUBJECTS, Subject
from tests.reliability.kills import kill_often

STEPS = 20


def _count_to_the_end(folder: Path) -> None:
    """Write a line a step, going on after the last whole one."""
    path = folder / "lines.txt"
    done = path.read_text().count("\n") if path.is_file() else 0
    for step in range(done, STEPS):
        time.sleep(0.01)
        with path.open("a") as file:
            file.write(f"{step}\n")


def _forget_where_it_was(folder: Path) -> None:
    for step in range(STEPS):
        time.sleep(0.01)
        with (folder / "lines.txt").open("a") as file:
            file.write(f"{step}\n")


def _lines(folder: Path) -> dict[str, bytes]:
    return {"lines.txt": (folder / "lines.txt").read_bytes()}


def test_work_that_goes_on_is_untroubled() -> None:
    figure = kill_often(Subject("counting", lambda folder: None, _count_to_the_end, _lines), 5)
    assert figure.kills >= 5
    assert figure.finished >= 1
    assert figure.trouble == []


def test_work_that_starts_anew_is_found() -> None:
    figure = kill_often(Subject("forgetting", lambda folder: None, _forget_where_it_was, _lines), 5)
    assert any(line.startswith("another lines.txt") for line in figure.trouble)


@pytest.mark.parametrize(("name", "num_kills"), [("download", 3), ("pretrain", 1), ("trainer", 1)])
def test_a_few_kills_of_real_work(name: str, num_kills: int) -> None:
    assert kill_often(SUBJECTS[name], num_kills, seed=1).trouble == []
