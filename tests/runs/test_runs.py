"""Profiles, seeds, records, and runs that go on where they stopped."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from course_lib.errors import CourseError
from course_lib.runs import (
    Profile,
    ResultRecord,
    load_published,
    load_record,
    profile,
    run_resumable,
    seed_everything,
)
from course_lib.runs.profiles import declared_sizes

# --- profiles --------------------------------------------------------------------------------------


def test_the_profile_is_default_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert profile().name == "default"
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    assert profile().name == "smoke"
    assert profile("full").name == "full"


@pytest.mark.parametrize("choose", [profile, Profile])
def test_an_unknown_profile_is_answered_with_the_nearest(choose: Callable[[str], Profile]) -> None:
    with pytest.raises(CourseError, match="Did you mean 'smoke'"):
        choose("smokey")


def test_an_unknown_profile_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_PROFILE", "fast")
    with pytest.raises(CourseError, match="Known: smoke, default, full"):
        profile()


@pytest.mark.parametrize("key", declared_sizes())
def test_every_size_grows_from_smoke_to_full(key: str) -> None:
    assert len(declared_sizes()[key]) == 3
    smoke, default, full = (profile(name).size(key) for name in ("smoke", "default", "full"))
    extent: Callable[[Any], Any] = len if isinstance(smoke, tuple | dict) else float
    assert extent(smoke) <= extent(default) <= extent(full)


def test_an_unknown_size_is_answered_with_the_nearest() -> None:
    with pytest.raises(CourseError, match=r"capacity\.seeds"):
        profile("smoke").size("capacity.seed")


# --- seeds -----------------------------------------------------------------------------------------


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_one_seed_gives_the_same_draws_everywhere() -> None:
    seed_everything(7)
    first = draws()
    seed_everything(7)
    assert draws() == first
    seed_everything(8)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, "0", True, None])
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    with pytest.raises(CourseError, match="from 0 to"):
        seed_everything(seed)


def test_the_ends_of_the_range_are_seeds() -> None:
    seed_everything(0)
    seed_everything(2**32 - 1)


# --- records ---------------------------------------------------------------------------------------


def record(name: str = "demo") -> ResultRecord:
    return ResultRecord(name, "course demo", {"rate": 1e-4}, [{"x": 1, "y": 0.5}, {"x": 2, "y": 0.25}], 1.5)


def test_a_record_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = record()
    assert saved.save(tmp_path) == tmp_path / "demo.json"
    assert load_record("demo", tmp_path) == saved
    assert list(saved.table()["y"]) == [0.5, 0.25]
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


def test_a_record_says_what_it_was_made_with() -> None:
    made = record()
    assert {"python", "torch", "transformers", "numpy"} <= set(made.versions)
    assert {"processor", "cores", "threads", "device"} <= set(made.machine)
    assert len(made.created) == len("2000-01-01")


def test_an_unknown_record_is_answered_with_the_nearest(tmp_path: Path) -> None:
    record("sample_size").save(tmp_path)
    with pytest.raises(CourseError, match="Did you mean 'sample_size'"):
        load_record("sample_sizes", tmp_path)
    with pytest.raises(CourseError, match="Known: none"):
        load_record("demo", tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "demo"}', '{"extra": 1}', "\x80"])
def test_a_damaged_record_is_an_error_with_a_mend(tmp_path: Path, content: str) -> None:
    (tmp_path / "demo.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CourseError, match="course reference"):
        load_record("demo", tmp_path)


# --- runs that resume ------------------------------------------------------------------------------

TASKS = [{"seed": seed, "sizes": (seed, seed + 1)} for seed in range(4)]


class Task:
    """Counts its calls, and stops the run in the one it is told to."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.called: list[int] = []

    def __call__(self, seed: int, sizes: tuple[int, int]) -> list[dict[str, Any]]:
        if seed == self.stop_at:
            raise KeyboardInterrupt
        self.called.append(seed)
        return [{"seed": seed, "side": side, "value": np.float64(seed) / 3} for side in ("train", "held-out")]


def run(folder: Path, task: Task, tasks: list[dict[str, Any]] = TASKS, **settings: Any) -> ResultRecord:
    return run_resumable(
        "demo", command="demo", settings=settings, tasks=tasks, run_task=task, folder=folder, progress=False
    )


def test_a_stopped_run_goes_on_and_ends_with_the_same_rows(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", Task())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Task(stop_at=2))
    rest = Task()
    resumed = run(tmp_path / "parts", rest)
    assert rest.called == [2, 3]
    assert resumed.rows == whole.rows
    assert [row["seed"] for row in resumed.rows] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first = run(tmp_path, Task())
    again = Task()
    assert run(tmp_path, again).rows == first.rows
    assert again.called == []


def test_a_torn_last_line_counts_as_not_written(tmp_path: Path) -> None:
    whole = run(tmp_path, Task())
    journal = tmp_path / "demo.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    for expected in ([3], []):
        rest = Task()
        assert run(tmp_path, rest).rows == whole.rows
        assert rest.called == expected


def test_changed_settings_start_from_nothing(tmp_path: Path) -> None:
    run(tmp_path, Task(), rate=1e-4)
    changed = Task()
    run(tmp_path, changed, rate=1e-3)
    assert changed.called == [0, 1, 2, 3]
    back = Task()
    run(tmp_path, back, rate=1e-4)
    assert back.called == []


def test_more_tasks_add_to_those_done_and_rows_follow_the_tasks_order(tmp_path: Path) -> None:
    run(tmp_path, Task(), TASKS[:2])
    more = Task()
    rows = run(tmp_path, more, TASKS[::-1]).rows
    assert more.called == [3, 2]
    assert [row["seed"] for row in rows[::2]] == [3, 2, 1, 0]


def test_a_record_of_a_run_can_be_saved(tmp_path: Path) -> None:
    made = run(tmp_path, Task(), sizes=(1, 2))
    made.save(tmp_path)
    assert load_record("demo", tmp_path).rows == made.rows
    assert json.loads((tmp_path / "demo.json").read_text())["settings"] == {"sizes": [1, 2]}


def test_numpys_numbers_are_kept_as_numbers(tmp_path: Path) -> None:
    made = run_resumable(
        "demo",
        command="demo",
        settings={},
        tasks=[{"seed": np.int64(3)}],
        run_task=lambda seed: [{"count": np.int64(seed), "curve": np.arange(2)}],
        folder=tmp_path,
        progress=False,
    )
    assert made.rows == [{"count": 3, "curve": [0, 1]}]


def test_rows_that_no_file_can_keep_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="only finite numbers"):
        run_resumable(
            "demo",
            command="demo",
            settings={},
            tasks=[{}],
            run_task=lambda: [{"model": object()}],
            folder=tmp_path,
            progress=False,
        )


def one_row(seed: int) -> list[dict[str, Any]]:
    return [{"seed": seed, "threads": torch.get_num_threads()}]


def test_workers_share_the_tasks_and_keep_their_order(tmp_path: Path) -> None:
    made = run_resumable(
        "demo",
        command="demo",
        settings={},
        tasks=[{"seed": seed} for seed in range(3)],
        run_task=one_row,
        num_workers=2,
        folder=tmp_path,
        progress=False,
    )
    assert made.rows == [{"seed": seed, "threads": 1} for seed in range(3)]


def test_published_figures_carry_their_source() -> None:
    table = load_published("smart")
    snli = table.query("texts == 'SNLI'")["value"].tolist()
    assert snli == [82.7, 86.0, 88.7, 91.6]
    assert table["source"].str.len().gt(0).all()
    with pytest.raises(CourseError, match="smart"):
        load_published("smrt")


@pytest.mark.parametrize("name", ["../../x", "/x", "a/b", "", ".x", None, 3, "a\x00"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: Any) -> None:
    with pytest.raises(CourseError, match="name must"):
        run_resumable(
            name,
            command="c",
            settings={},
            tasks=[{}],
            run_task=lambda: [],
            folder=tmp_path / "runs",
            progress=False,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line", ["3", "[]", "{}", '{"settings": {}, "task": 3, "rows": [], "seconds": 1}', "\x80"]
)
def test_a_line_that_is_no_entry_counts_as_not_written(tmp_path: Path, line: str) -> None:
    whole = run(tmp_path, Task())
    journal = tmp_path / "demo.jsonl"
    journal.write_bytes(line.encode("latin-1") + b"\n" + journal.read_bytes())
    again = Task()
    assert (run(tmp_path, again).rows, again.called) == (whole.rows, [])


def test_the_same_task_twice_is_refused(tmp_path: Path) -> None:
    task = Task()
    with pytest.raises(CourseError, match="twice"):
        run(tmp_path, task, [*TASKS, TASKS[0]])
    assert task.called == []


def test_nan_in_the_settings_is_refused_since_it_equals_nothing_and_no_run_would_go_on(
    tmp_path: Path,
) -> None:
    with pytest.raises(CourseError, match="finite"):
        run(tmp_path, Task(), rate=float("nan"))


def test_a_place_that_cannot_be_written_is_refused_before_any_task(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    task = Task()
    with pytest.raises(CourseError, match="folder is to be written"):
        run(tmp_path / "file", task)
    assert task.called == []
