"""Which texts a user's names stand for, and which share of the work is a process's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.icl.experiments import pairs, user_texts
from course_lib.icl.experiments.user_texts import named_texts


@pytest.mark.parametrize(
    ("names", "h1", "found"),
    [
        ("movie", "sentiment", ("pooled", ["movie"])),
        ("movie", "sentiment.short", ("loaded", "movie")),
        ("movie,product", "sentiment.short", ("pooled", ["movie", "product"])),
        ("embedded", "sentiment", ("embedded", "sentiment", "sentiment.short")),
    ],
)
def test_several_texts_and_those_of_the_sentiment_are_pooled(
    monkeypatch: pytest.MonkeyPatch, names: str, h1: str, found: tuple
) -> None:
    monkeypatch.setattr(user_texts, "load_texts", lambda name: ("loaded", name))
    monkeypatch.setattr(user_texts, "pool_texts", lambda chosen: ("pooled", list(chosen)))
    monkeypatch.setattr(user_texts, "bias_texts", lambda h1, h2: ("embedded", h1.name, h2.name))
    result: Any = named_texts(names, h1, "sentiment.short")
    assert result == found


@pytest.mark.parametrize("values", [["-0.1"], ["0.5", "1.1"], ["much"], ["nan"]])
def test_a_share_of_raters_is_from_0_to_1(tmp_path: Path, values: list[str]) -> None:
    def read(shares: list[str]) -> list[float]:
        lines = [f"text,{share},0" for share in shares]
        (tmp_path / "a.csv").write_text("\n".join(["text,muslim,jewish", *lines]) + "\n")
        found = named_texts(str(tmp_path / "a.csv"), "toxicity.religion_jewish", "toxicity.length")
        return found["muslim"][:]

    assert read(["0", "0.5", "1"]) == [0, 0.5, 1]
    with pytest.raises(CourseError, match=f"Row {len(values)} has no share from 0 to 1"):
        read(values)


def test_a_process_that_is_none_of_them_has_no_share() -> None:
    assert list(pairs.own_share(5, 2, 3)) == [2]
    with pytest.raises(CourseError, match="process_index"):
        pairs.own_share(5, 3, 3)


@pytest.mark.parametrize(
    ("is_launched", "has_gpu", "on_cpu"),
    [(True, False, True), (True, True, False), (False, False, False), (False, True, False)],
)
def test_launched_processes_meet_on_the_cpu_where_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, is_launched: bool, has_gpu: bool, on_cpu: bool
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(pairs, "PartialState", lambda cpu: asked.append(cpu))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if is_launched:
        monkeypatch.setenv("LOCAL_RANK", "0")
    pairs._launched_processes()
    assert asked == [on_cpu]
