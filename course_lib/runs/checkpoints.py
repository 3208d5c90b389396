"""The file of a checkpoint: tensors, a record, and a checksum of both's bits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from course_lib.errors import CourseError
from course_lib.locations import written_whole

CHECKPOINT_FILE = "checkpoint.safetensors"
_VERSION = 1


def write_checkpoint(
    file: Path, tensors: Mapping[str, torch.Tensor], identity: Mapping[str, Any], record: Mapping[str, Any]
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        file: where.
        tensors: by name, on any device.
        identity: what must be the same for the checkpoint to be of a run.
        record: anything else, JSON-able.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    whole = {**record, "version": _VERSION, "tensors": tensors_hash(kept), "identity": dict(identity)}
    with written_whole(file) as temporary:
        safetensors.torch.save_file(kept, temporary, metadata={"course": json.dumps(whole)})


def read_checkpoint(
    file: Path, identity: Mapping[str, Any]
) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Read a checkpoint of this run.

    Args:
        file: where it would be.
        identity: what must be the same.

    Returns:
        Tensors on the CPU and the record; None where there is no file.

    Raises:
        CourseError: a damaged checkpoint, or one of another run.
    """
    if not file.exists():
        return None
    tensors, record = _read_whole(file)
    found = record["identity"]
    differing = [name for name in identity if found.get(name) != identity[name]]
    if differing:
        raise CourseError(
            f"The checkpoint is of another run: {', '.join(differing)} differ.",
            given=str(file),
            mend="Give this run a folder of its own, or delete the checkpoint.",
        )
    return tensors, record


def _read_whole(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            record = json.loads((opened.metadata() or {})["course"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        is_whole = record["version"] == _VERSION and record["tensors"] == tensors_hash(tensors)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise CourseError(
            "This checkpoint is damaged.",
            given=str(file),
            mend="Delete it to start from the beginning, or put a copy in its place.",
        )
    return tensors, record


def tensors_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of tensors by name, bit for bit."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
