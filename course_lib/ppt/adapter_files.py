"""The files of a prompt-tuning adapter: PEFT's two, and one of ours that says which model it is for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from peft import PromptTuningConfig, TaskType

from course_lib.errors import CourseError
from course_lib.locations import RECORD_FILE, check_output_folder, written_folder
from course_lib.models.fingerprint import ModelFingerprint

# PEFT's two files, and ours beside them.
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
COURSE_FILE = "course_prompt.json"
WEIGHTS_KEY = "prompt_embeddings"


class Adapter(NamedTuple):
    """What the folder of an adapter holds.

    Args:
        rows: float tensor [num_virtual_tokens, width].
        initialisation: how the rows began.
        fingerprint: the model that they are for; None where PEFT wrote the folder.
        task: how texts were written for it: template, words and labels; None where nothing was written down.
    """

    rows: torch.Tensor
    initialisation: str
    fingerprint: ModelFingerprint | None
    task: Mapping[str, Any] | None = None


def write_adapter(folder: Path, adapter: Adapter, more: Mapping[str, str] | None = None) -> None:
    """Write an adapter that `PeftModel.from_pretrained` loads, whole or not at all.

    Args:
        folder: where; an adapter that the course wrote there is replaced once the new one is whole.
        adapter: what to write, with its fingerprint.
        more: further files by name, each a text.

    Raises:
        CourseError: what `check_adapter_folder` refuses.
    """
    more = more or {}
    with written_folder(check_adapter_folder(folder, tuple(more))) as partial:
        _write_files(partial, adapter)
        for name, text in more.items():
            (partial / name).write_text(text, encoding="utf-8")


def check_adapter_folder(folder: Path | str, more: Sequence[str] = ()) -> Path:
    """Refuse a folder that an adapter may not replace; call it before the training.

    Args:
        folder: where an adapter is to be written.
        more: the names of further files that will lie there.

    Returns:
        The folder, with links resolved.

    Raises:
        CourseError: what `check_output_folder` refuses; the folder holds another kind of thing that the course wrote.
    """
    folder = check_output_folder(folder).resolve()
    names = {CONFIG_FILE, WEIGHTS_FILE, COURSE_FILE, RECORD_FILE, *more}
    if folder.is_dir() and (
        other := sorted(path.name for path in folder.iterdir() if path.name not in names)
    ):
        raise CourseError(
            "This folder holds something else than such an adapter.",
            given=f"{folder}: {', '.join(other[:3])}",
            mend="Name a folder that does not exist yet.",
        )
    return folder


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter that `write_adapter` or PEFT wrote.

    Args:
        folder: the adapter's folder.

    Returns:
        What it holds, on the CPU.

    Raises:
        CourseError: no adapter, another kind of adapter, or damaged files.
    """
    config = _read_json(folder / CONFIG_FILE)
    _refuse_other_adapters(folder, config)
    rows = _read_rows(folder / WEIGHTS_FILE)
    expected = (config.get("num_virtual_tokens"), config.get("token_dim", rows.shape[-1]))
    if tuple(rows.shape) != expected:
        raise CourseError(
            f"The adapter's rows are {tuple(rows.shape)}, its configuration says {expected}.",
            given=str(folder),
            mend="Save the adapter again; its files do not belong together.",
        )
    if not (folder / COURSE_FILE).exists():
        return Adapter(rows, "pretrained", None)
    record = _read_json(folder / COURSE_FILE)
    fingerprint = _read_fingerprint(folder, record)
    return Adapter(rows, str(record.get("initialisation", "pretrained")), fingerprint, record.get("task"))


def _write_files(folder: Path, adapter: Adapter) -> None:
    rows, initialisation, fingerprint, task = adapter
    if fingerprint is None:
        raise CourseError("An adapter is written with the fingerprint of its model.", given=str(folder))
    config = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=rows.shape[0],
        token_dim=rows.shape[1],
        num_transformer_submodules=1,
        num_attention_heads=fingerprint.num_heads,
        num_layers=fingerprint.num_layers,
        base_model_name_or_path=fingerprint.name,
        inference_mode=True,
    )
    config.save_pretrained(str(folder))
    tensors = {WEIGHTS_KEY: rows.detach().cpu().contiguous()}
    safetensors.torch.save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    record = {"initialisation": initialisation, "fingerprint": asdict(fingerprint)}
    record |= {} if task is None else {"task": dict(task)}
    (folder / COURSE_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise CourseError(
            f"This folder holds no prompt: it has no {file.name}.",
            given=str(file.parent),
            mend="Give the folder that `SoftPrompt.save` or PEFT's `save_pretrained` wrote.",
        )
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise _damaged(file)
    return read


def _refuse_other_adapters(folder: Path, config: Mapping[str, Any]) -> None:
    kind = (config.get("peft_type"), config.get("task_type"), config.get("num_transformer_submodules") or 1)
    if kind != ("PROMPT_TUNING", "CAUSAL_LM", 1):
        raise CourseError(
            "This adapter is no soft prompt of a causal language model.",
            given=f"{folder}: peft_type {kind[0]}, task_type {kind[1]}, {kind[2]} submodules",
            mend="Give a PROMPT_TUNING adapter of the task type CAUSAL_LM.",
        )


def _read_rows(file: Path) -> torch.Tensor:
    if not file.is_file():
        raise CourseError(
            f"The adapter has no {WEIGHTS_FILE}; pickled weights are never loaded.",
            given=str(file.parent),
            mend="Save it again with PEFT's `save_pretrained`, which writes safetensors.",
        )
    try:
        tensors = safetensors.torch.load_file(file)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise _damaged(file) from error
    if WEIGHTS_KEY not in tensors or tensors[WEIGHTS_KEY].ndim != 2:
        raise _damaged(file)
    return tensors[WEIGHTS_KEY]


def _read_fingerprint(folder: Path, record: Mapping[str, Any]) -> ModelFingerprint:
    try:
        return ModelFingerprint(**record["fingerprint"])
    except (KeyError, TypeError):
        raise _damaged(folder / COURSE_FILE) from None


def _damaged(file: Path) -> CourseError:
    return CourseError(
        f"{file.name} is damaged.", given=str(file), mend="Restore the adapter from git, or train it again."
    )
