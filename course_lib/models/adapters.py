"""Adapters that PEFT wrote (LoRA and the like): weights without the model that they are for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel

from course_lib.errors import CourseError
from course_lib.locations import data_folder
from course_lib.models.loaded import ModelAndTokenizer, loading_trouble, quietly

CONFIG_FILE = "adapter_config.json"


def shipped_adapters() -> list[str]:
    """Return the names of the adapters that the course ships: each names a model wherever a model is named."""
    return sorted(file.parent.name for file in (data_folder() / "adapters").glob(f"*/{CONFIG_FILE}"))


def adapter_folder(model_source: Any) -> Path | None:
    """Return the folder of a model source that is an adapter: weights that PEFT wrote, without the model's.

    Args:
        model_source: the name of an adapter that the course ships, or a folder.

    Returns:
        The folder; None for a whole model.
    """
    name = str(model_source)
    if name in shipped_adapters():
        return data_folder() / "adapters" / name
    folder = Path(name).expanduser()
    is_adapter = (folder / CONFIG_FILE).is_file() and not (folder / "config.json").is_file()
    return folder if is_adapter else None


def base_of(folder: Path) -> str:
    """Return the model that an adapter is for, as its configuration names it; empty if it does not.

    Raises:
        CourseError: the configuration cannot be read.
    """
    with loading_trouble(str(folder)):
        settings = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        return str(dict(settings).get("base_model_name_or_path") or "")


def load_adapter(folder: Path, load_base: Callable[[str], ModelAndTokenizer]) -> ModelAndTokenizer:
    """Load an adapter on the model that its configuration names.

    Args:
        folder: the adapter's.
        load_base: loads that model by its name.

    Returns:
        The model with the adapter, in evaluation mode, and its tokenizer.

    Raises:
        CourseError: no model is named, or it or the adapter cannot be loaded.
    """
    from peft import PeftModel  # takes two seconds, and few models are adapters

    base = base_of(folder)
    if not base:
        raise CourseError(
            "This folder holds an adapter that does not name its model.",
            given=str(folder),
            mend="Write the model's folder or hub id into adapter_config.json as base_model_name_or_path.",
        )
    try:
        model, tokenizer = load_base(base)
    except CourseError as error:
        raise CourseError(
            f"This folder holds an adapter for the model {base!r}, which cannot be loaded: {error.problem}",
            given=str(folder),
            mend="Put that model there, or write its folder into adapter_config.json as base_model_name_or_path; "
            "an adapter that is merged (`merge_and_unload`) and saved is a model of its own.",
        ) from error
    with loading_trouble(str(folder)), quietly():
        adapted = PeftModel.from_pretrained(model, str(folder), use_safetensors=True)
    return ModelAndTokenizer(cast(PreTrainedModel, adapted.to(model.device).eval()), tokenizer)
