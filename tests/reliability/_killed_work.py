"""The work that is killed: each kind, at a small size, on the embedded models or tiny ones."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.package_index import PackageIndex

Result = dict[str, bytes]


@dataclass
class Subject:
    """One kind of long work.

    Args:
        name: what it is.
        prepare: lays the user's files into an empty folder.
        work: does the work in it, from wherever it stands.
        result: the files that must be the same, by name.
        damage: says what of the user's is gone or half written, after a kill.
        surroundings: what must be there all the time, such as a server.
    """

    name: str
    prepare: Callable[[Path], None]
    work: Callable[[Path], None]
    result: Callable[[Path], Result]
    damage: Callable[[Path], list[str]] = lambda folder: []
    surroundings: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext


def files_below(folder: Path) -> Result:
    """Return every file below a folder, by its name there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _command(*words: str | Path) -> None:
    from course_lib.cli import app

    app([str(word) for word in words], prog_name="course", standalone_mode=True)


def _nothing(folder: Path) -> None:
    pass


# downloads


@contextlib.contextmanager
def _slow_index() -> Iterator[None]:
    import random

    files = {
        name: {f"{name}-1.0.tar.gz": random.Random(name).randbytes(size)}
        for name, size in (("one", 60_000), ("two", 200_000), ("three", 5_000))
    }
    with PackageIndex(files, seconds_per_chunk=0.004) as index:
        _INDEX.clear()
        _INDEX.update(url=index.url, files=files)
        yield


_INDEX: dict[str, Any] = {}


def _download(folder: Path) -> None:
    import hashlib

    from course_lib import assets

    for variable in [
        name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")
    ]:
        del os.environ[variable]
    os.environ.update(
        PIP_CONFIG_FILE=os.devnull, PIP_INDEX_URL=_INDEX["url"], COURSE_CACHE=str(folder / "cache")
    )
    manifest = {
        name: assets.Asset(
            name=name,
            holds="noise",
            package=name,
            version="1.0",
            filename=filename,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            package_licence="MIT",
            content_licence="CC0",
            second_source="none",
        )
        for name, files in _INDEX["files"].items()
        for filename, content in files.items()
    }
    assets.manifest = lambda path=None: manifest
    assets.fetch_all(progress=False)


def _downloaded(folder: Path) -> Result:
    found = files_below(folder / "cache")
    return {name: content for name, content in found.items() if not name.endswith(".lock")}


# reference runs


def _reference(folder: Path) -> None:
    from course_lib.complexity import references
    from course_lib.runs import Profile, full_size, resuming

    cache = os.environ.get("COURSE_CACHE")
    resuming.cache_folder = lambda: folder  # the journal alone: models and texts stay where they are
    references.FULL = Profile("smoke")
    full_size.num_workers = lambda: None
    record = references.learning_rate()
    record.save(folder)
    assert os.environ.get("COURSE_CACHE") == cache


def _record(folder: Path) -> Result:
    found = json.loads((folder / "learning_rate.json").read_text(encoding="utf-8"))
    return {"rows": json.dumps(found["rows"]).encode(), "settings": json.dumps(found["settings"]).encode()}


# training of prompts


def _pretrain(folder: Path) -> None:
    from course_lib.locations import written_whole
    from tests.ppt.training_worker import train

    result = train(folder / "checkpoints")
    with written_whole(folder / "prompt.bin") as temporary:
        temporary.write_bytes(result.prompt.embeddings.detach().numpy().tobytes())


def _prompt(folder: Path) -> Result:
    return {"prompt": (folder / "prompt.bin").read_bytes()}


def _reviews(folder: Path) -> None:
    lines = [f"{text} number {i},{i % 2}" for i, text in enumerate(["A bore", "A joy"] * 8)]
    (folder / "texts.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")


def _tune(folder: Path) -> None:
    _command(
        "ppt", "tune", "--texts", folder / "texts.csv", "--words", "bad,good", "--out", folder / "prompt",
        "--num-steps", "2", "--batch-size", "2", "--num-virtual-tokens", "4",
    )  # fmt: skip


def _before_tuning(folder: Path) -> None:
    _reviews(folder)
    _tune_an_older(folder)


def _tune_an_older(folder: Path) -> None:
    """Leave a prompt of an earlier run, made once, where the new one is to go."""
    import shutil
    import tempfile

    if "older" not in _KEPT:
        kept = Path(tempfile.mkdtemp(prefix="kills-older-"))
        _reviews(kept)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(SystemExit):
                _tune(kept)
            os._exit(0)
        os.waitpid(child, 0)
        _KEPT["older"] = files_below(kept / "prompt")
        shutil.rmtree(kept)
    for name, content in _KEPT["older"].items():
        (folder / "prompt" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "prompt" / name).write_bytes(content)


_KEPT: dict[str, Result] = {}


def _tuned(folder: Path) -> Result:
    weights = (folder / "prompt" / "adapter_model.safetensors").read_bytes()
    return {"weights": weights, "texts": (folder / "texts.csv").read_bytes()}


def _half_a_prompt(folder: Path) -> list[str]:
    found = set(files_below(folder / "prompt"))
    missing = set(_KEPT["older"]) - found
    return [f"the prompt lacks {', '.join(sorted(missing))}"] if missing else []


# SmartTrainer


def _train_smart(folder: Path) -> None:
    import safetensors.torch
    import torch

    from course_lib.locations import written_whole
    from course_lib.smart import SmartTrainer
    from tests.smart.training_parts import STRONG, rows, settings, tiny_model, weights

    torch.set_num_threads(1)
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    arguments = settings(
        checkpoints, max_steps=30, save_strategy="steps", save_steps=3, save_total_limit=2,
        gradient_accumulation_steps=2, per_device_train_batch_size=2, optim="adamw_torch", **STRONG,
    )  # fmt: skip
    arguments.learning_rate = 1e-3
    trainer = SmartTrainer(tiny_model(dropout=0.2), arguments, train_dataset=rows(16))
    trainer.train(resume_from_checkpoint=_has_a_whole_checkpoint(checkpoints))
    assert trainer.smart_loss is not None
    assert trainer.smart_loss.proximal is not None
    anchor = {
        f"anchor {name}": value.clone() for name, value in trainer.smart_loss.proximal.state_dict().items()
    }
    with written_whole(folder / "trained.safetensors") as temporary:
        safetensors.torch.save_file({**weights(trainer.model), **anchor}, temporary)


def _has_a_whole_checkpoint(checkpoints: Path) -> bool:
    """Say whether a user would find a checkpoint to go on from: one whose last file was written to its end."""
    for file in checkpoints.glob("checkpoint-*/trainer_state.json"):
        with contextlib.suppress(ValueError):
            json.loads(file.read_text(encoding="utf-8"))
            return True
    return False


def _trained(folder: Path) -> Result:
    return {"weights": (folder / "trained.safetensors").read_bytes()}


# measuring a bias


def _bias(folder: Path) -> None:
    _command(
        "bias", "--h1", "sentiment", "--h2", "sentiment.short", "--out", folder / "bias.csv",
        "--num-demonstrations", "4", "--test-size", "4", "--num-sets", "4",
    )  # fmt: skip


def _measured(folder: Path) -> Result:
    return {"table": (folder / "bias.csv").read_bytes()}


# grading


def _submissions(folder: Path) -> None:
    from tests.benchmarks.grading import forty_submissions

    (folder / "submissions").mkdir()
    taken = [one for one in forty_submissions() if one[0] in ("solved", "untouched", "wrong")][::3]
    for _, label, content in taken:
        (folder / "submissions" / f"{label}.ipynb").write_bytes(content)


def _grade(folder: Path) -> None:
    marks = folder / "marks"
    # A run that was killed between its last file and its end: `course grade` would refuse to grade again.
    if (marks / "marks.csv").exists() and not (marks / ".marks.csv.journal").exists():
        return
    _command(
        "grade", folder / "submissions", "--assignment", "a1", "--seed", "1", "--out", marks / "marks.csv"
    )


def _marks(folder: Path) -> Result:
    found = files_below(folder / "marks")
    return {name: content for name, content in found.items() if not Path(name).name.startswith(".")}


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("download", _nothing, _download, _downloaded, surroundings=_slow_index),
        Subject("reference", _nothing, _reference, _record),
        Subject("pretrain", _nothing, _pretrain, _prompt),
        Subject("tune", _before_tuning, _tune, _tuned, _half_a_prompt),
        Subject("trainer", _nothing, _train_smart, _trained),
        Subject("bias", _nothing, _bias, _measured),
        Subject("grade", _submissions, _grade, _marks),
    )
}
