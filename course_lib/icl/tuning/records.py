"""What a tuned adapter is kept with: a record of its tuning, and with it the texts it must not be measured on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from datasets import Dataset

from course_lib.checks.calls import a_dataset, border, each
from course_lib.checks.values import check_path
from course_lib.errors import CourseError
from course_lib.icl.drawing import TEXT_COLUMNS
from course_lib.icl.tuning.episodes import Episode
from course_lib.locations import RECORD_FILE, check_output_folder, written_folder
from course_lib.models.adapters import CONFIG_FILE, adapter_folder
from course_lib.models.loaded import ModelAndTokenizer, a_model_source
from course_lib.texts.groups import normalise, text_hash

WEIGHTS_FILE = "adapter_model.safetensors"
TUNING_FILE = "tuning.json"
# half the bytes of float32; PEFT computes in float32 all the same
STORED_DTYPE = torch.float16


@dataclass(frozen=True)
class Seen:
    """What models were tuned on.

    Args:
        texts: hashes of the texts.
        groups: their documents.
        domains: their data sets.
    """

    texts: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()

    def __or__(self, other: Seen) -> Seen:
        return Seen(self.texts | other.texts, self.groups | other.groups, self.domains | other.domains)

    def __bool__(self) -> bool:
        return bool(self.texts or self.groups or self.domains)

    def lists(self) -> dict[str, list[str]]:
        """Returns it as a record keeps it, in order."""
        return {name: sorted(values) for name, values in asdict(self).items()}


NOTHING_SEEN = Seen()


def seen_in(episodes: Sequence[Episode]) -> Seen:
    """Returns what episodes show."""
    return Seen(
        frozenset(text for episode in episodes for text in episode.texts),
        frozenset(group for episode in episodes for group in episode.groups),
        frozenset(row["domain"] for episode in episodes for row in episode.rows if "domain" in row),
    )


@border(model_sources=each(a_model_source, least=0))
def seen_by(model_sources: Sequence[str]) -> Seen:
    """Returns what models were tuned on; models without a record of ours count as if they had seen nothing.

    Args:
        model_sources: names of models.

    Raises:
        CourseError: a record that is damaged.
    """
    found = NOTHING_SEEN
    for model_source in model_sources:
        folder = adapter_folder(model_source)
        if folder is not None and (folder / TUNING_FILE).is_file():
            seen = read_tuning(folder)["seen"]
            found |= Seen(*(frozenset(seen[name]) for name in ("texts", "groups", "domains")))
    return found


@border(texts=a_dataset)
def unseen_texts(texts: Dataset, seen: Seen) -> Dataset:
    """Leaves out what models were tuned on: the texts, others of their documents, and all of their data sets.

    Args:
        texts: rows to measure on.
        seen: what the models that are compared have seen.

    Returns:
        The rows that are left.

    Raises:
        CourseError: none is.
    """
    if not seen:
        return texts
    columns = [column for column in TEXT_COLUMNS if column in texts.column_names]
    values = texts.select_columns(columns)[:]
    keys = ["|".join(map(normalise, row)) for row in zip(*(values[one] for one in columns), strict=True)]
    is_seen = [text_hash(key) in seen.texts for key in keys]
    for column, closed in (("group", seen.groups), ("domain", seen.domains)):
        if column in texts.column_names:
            is_seen = [one or value in closed for one, value in zip(is_seen, texts[column][:], strict=True)]
    kept = [row for row, one in enumerate(is_seen) if not one]
    if not kept:
        raise CourseError(
            "The models were tuned on all of these texts, or on others of the same data sets.",
            given=f"{len(texts)} texts; data sets {sorted(seen.domains)}",
            mend="Measure them on other texts.",
        )
    return texts.select(kept)


def check_tuned_folder(folder: Path | str) -> Path:
    """Refuses a folder that an adapter may not replace; call it before the training.

    Raises:
        CourseError: what `check_output_folder` refuses; another kind of thing that the course wrote.
    """
    folder = check_output_folder(folder).resolve()
    names = {CONFIG_FILE, WEIGHTS_FILE, TUNING_FILE, RECORD_FILE}
    others = (
        sorted(path.name for path in folder.iterdir() if path.name not in names) if folder.is_dir() else []
    )
    if others:
        raise CourseError(
            "This folder holds something else than such an adapter.",
            given=f"{folder}: {', '.join(others[:3])}",
            mend="Name a folder that does not exist yet.",
        )
    return folder


def write_tuned(folder: Path, loaded: ModelAndTokenizer, base_name: str, record: dict[str, Any]) -> None:
    """Writes an adapter that `PeftModel.from_pretrained` loads, with its record, whole or not at all.

    The same weights give the same bytes.

    Args:
        folder: where; an adapter that `write_tuned` wrote there is replaced.
        loaded: the model with the adapter.
        base_name: the model that it is for: "embedded", a folder, or a hub id.
        record: how it was tuned.

    Raises:
        CourseError: what `check_tuned_folder` refuses; weights that float16 cannot hold.
    """
    from peft import get_peft_model_state_dict  # takes two seconds, and measurements read records alone

    model: Any = loaded.model
    stored = {
        name: weight.detach().to("cpu", STORED_DTYPE).contiguous()
        for name, weight in sorted(get_peft_model_state_dict(model).items())
    }
    if not all(bool(weight.isfinite().all()) for weight in stored.values()):
        raise CourseError(
            "Some weights of the adapter are too large for float16.", mend="Lower the learning rate."
        )
    config: Any = model.peft_config["default"]
    with written_folder(check_tuned_folder(folder)) as partial:
        config.save_pretrained(str(partial))
        settings = json.loads((partial / CONFIG_FILE).read_text(encoding="utf-8"))
        settings |= {"base_model_name_or_path": base_name, "inference_mode": True}
        # PEFT keeps names as a set, whose order differs from run to run
        settings["target_modules"] = sorted(settings["target_modules"])
        for name, content in ((CONFIG_FILE, settings), (TUNING_FILE, record)):
            text = json.dumps(content, indent=1, sort_keys=True) + "\n"
            (partial / name).write_text(text, encoding="utf-8")
        safetensors.torch.save_file(stored, partial / WEIGHTS_FILE, metadata={"format": "pt"})


@border(folder=check_path)
def read_tuning(folder: Path) -> dict[str, Any]:
    """Reads how an adapter was tuned.

    Args:
        folder: the adapter's folder.

    Raises:
        CourseError: no such file, or a damaged one.
    """
    file = folder / TUNING_FILE
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        seen = record["seen"]
        if not all(isinstance(seen[name], list) for name in ("texts", "groups", "domains")):
            raise TypeError(seen)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CourseError(
            "How this adapter was tuned cannot be read.",
            given=str(file),
            mend="Restore it from git, or tune the adapter again with `course icl tune`.",
        ) from error
    return record


def adapter_version(folder: Path) -> str:
    """Returns the first digits of the SHA-256 of an adapter's weights, for the record of a run.

    Raises:
        CourseError: there are no weights.
    """
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        raise CourseError("The adapter has no weights.", given=str(file), mend="Restore it from git.")
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
