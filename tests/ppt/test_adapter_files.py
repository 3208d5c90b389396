"""Adapters replace only what the course wrote itself, and one is whole at every moment."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from course_lib import locations
from course_lib.errors import CourseError
from course_lib.locations import check_output_folder, data_folder
from course_lib.models import ModelAndTokenizer
from course_lib.ppt import user_texts as tuning
from course_lib.ppt.adapter_files import COURSE_FILE, Adapter, read_adapter, write_adapter
from course_lib.ppt.pretraining.shipped import pretrain_task
from course_lib.ppt.soft_prompt import initialise
from course_lib.ppt.user_texts import tune_prompt
from tests.ppt.tiny import tiny_language_model

EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.listdir", "os.scandir")


@pytest.fixture(scope="module")
def model() -> ModelAndTokenizer:
    return tiny_language_model()


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lora(folder: Path, model: ModelAndTokenizer) -> None:
    """Somebody's adapter of another kind."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter_model.safetensors").write_bytes(b"weights")


def peft_prompt(folder: Path, model: ModelAndTokenizer) -> None:
    """A soft prompt that PEFT wrote."""
    initialise("random", model, 4).save(folder, model)
    for name in (COURSE_FILE, locations.RECORD_FILE):
        (folder / name).unlink()


def with_checkpoints(folder: Path, model: ModelAndTokenizer) -> None:
    """A prompt of ours, with a Trainer's checkpoints in a subfolder."""
    initialise("random", model, 4).save(folder, model)
    (folder / "checkpoint-500").mkdir()
    (folder / "checkpoint-500" / "optimizer.pt").write_bytes(b"state")


def annotated(folder: Path, model: ModelAndTokenizer) -> None:
    """A prompt of ours in which someone has written the model's own name."""
    initialise("random", model, 4).save(folder, model)
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace("null", '"mine"', 1))


def shipped_prompt(folder: Path, model: ModelAndTokenizer) -> None:
    """A prompt that the course ships, with the record of its training."""
    shutil.copytree(data_folder() / "prompts" / "pair", folder)


def plain_file(folder: Path, model: ModelAndTokenizer) -> None:
    """A file in the folder's place."""
    folder.write_text("mine")


PLACES = [lora, peft_prompt, with_checkpoints, annotated, shipped_prompt, plain_file]


@pytest.mark.parametrize("make", PLACES)
def test_tuning_refuses_other_things_before_it_begins(
    make: Callable[[Path, ModelAndTokenizer], None],
    tmp_path: Path,
    model: ModelAndTokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    make(out, model)
    before = everything(tmp_path)
    texts = tmp_path / "missing.csv"  # would be the next thing to be refused
    monkeypatch.setattr(tuning, "load_language_model", lambda source: pytest.fail("loaded a model"))
    with pytest.raises(
        CourseError, match=r"files that the course did not write|something else|A file stands"
    ):
        tune_prompt(texts, out, ["bad", "good"])
    with pytest.raises(
        CourseError, match=r"files that the course did not write|something else|A file stands"
    ):
        initialise("random", model, 3).save(out, model)
    assert everything(tmp_path) == before


def test_pretraining_refuses_a_tuned_prompt_with_notes(tmp_path: Path, model: ModelAndTokenizer) -> None:
    with_checkpoints(tmp_path / "out", model)
    with pytest.raises(CourseError, match="files that the course did not write"):
        pretrain_task("pair", folder=tmp_path / "out", loaded=model)
    assert (tmp_path / "out" / "checkpoint-500" / "optimizer.pt").exists()


@pytest.mark.parametrize("task", ["pair", "choice", "single", "unified"])
def test_shipped_prompts_are_as_they_were_written(task: str) -> None:
    check_output_folder(data_folder() / "prompts" / task)


def test_an_empty_folder_and_a_link_may_be_named(tmp_path: Path, model: ModelAndTokenizer) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    for count in (3, 4):
        initialise("random", model, count).save(tmp_path / "out", model)
        assert len(read_adapter(tmp_path / "disk").rows) == count
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "out"]


@pytest.mark.parametrize("exchanges", [True, False])
def test_killed_at_any_step_the_old_prompt_or_the_new_one_is_whole(
    exchanges: bool, tmp_path: Path, model: ModelAndTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies before its n-th touch of the file system, for every n."""
    if not exchanges:
        monkeypatch.setattr(locations, "_exchange", lambda one, other: False)
    folder, prompt = tmp_path / "out", initialise("random", model, 3)
    prompt.save(folder, model)
    fingerprint = read_adapter(folder).fingerprint
    for step in itertools.count(1):
        new = Adapter(torch.full((step + 3, 16), float(step)), "new", fingerprint)
        ended = _write_and_die(folder, new, step)
        kept = folder if folder.is_dir() else next(tmp_path.glob(".out.*.old"))
        rows = read_adapter(kept).rows
        assert len(rows) >= 3
        assert torch.equal(rows, prompt.embeddings) or rows.unique().numel() == 1
        if not exchanges and not folder.is_dir():
            kept.rename(folder)
        check_output_folder(folder)
        if ended:
            break
        assert step < 200
    assert torch.equal(read_adapter(folder).rows, new.rows)
    assert step > 10


def _write_and_die(folder: Path, adapter: Adapter, step: int) -> bool:
    """Write in a process of its own that dies before its n-th touch, and say whether it came to its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        touches = itertools.count(1)

        def die(event: str, arguments: tuple) -> None:
            touched = event in EVENTS and str(folder.parent) in str(arguments[0])
            if touched and next(touches) == step:
                os._exit(9)

        sys.addaudithook(die)
        try:
            write_adapter(folder, adapter)
        except BaseException:
            os._exit(3)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 0
