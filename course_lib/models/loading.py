"""Loading: the embedded models, any `transformers` model id, or a folder.

A model source is "embedded" (the course's own model, out of the cache), the name of an adapter that the course ships
("meaning"), a folder, or a hub id. Weights are
read from safetensors only; no code that comes with a model is ever run.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from course_lib.checks.calls import border
from course_lib.checks.types import Seed
from course_lib.checks.values import check_count
from course_lib.errors import CourseError
from course_lib.models.adapters import adapter_folder, base_of, load_adapter
from course_lib.models.embedded import embedded_encoder, embedded_language_model
from course_lib.models.loaded import (
    EMBEDDED,
    ModelAndTokenizer,
    ModelSource,
    floating_dtype,
    loading_trouble,
    quietly,
)
from course_lib.models.outputs import refuse_looking_ahead
from course_lib.runs.hardware import choose_device, warn_of_slow_bfloat16

# Without any of these `transformers` would make up an empty tokenizer.
TOKENIZER_FILES = ("tokenizer*", "vocab*", "spiece*", "*.spm")
# What a model's folder must hold: one file of each of these, or else the problem and its mend.
_NEEDED_FILES = (
    (
        ("config.json",),
        "This folder holds no model: it has no config.json.",
        "Give the folder that `model.save_pretrained` wrote.",
    ),
    (
        ("*.safetensors",),
        "This folder holds no safetensors weights; pickled weights are never loaded.",
        "Save the model again with `model.save_pretrained(folder)`, which writes safetensors.",
    ),
    (
        TOKENIZER_FILES,
        "This folder holds no tokenizer.",
        "Save it there too, with `tokenizer.save_pretrained(folder)`.",
    ),
)


@border()
def load_encoder(model_source: ModelSource = EMBEDDED, *, device: str | None = None) -> ModelAndTokenizer:
    """Load a pre-trained text encoder, in float32 and evaluation mode.

    Args:
        model_source: "embedded" (all-MiniLM-L6-v2, 22.7M parameters), a folder, or a hub id.
        device: see `choose_device`.

    Returns:
        The model, which maps token ids [B, T] to hidden states [B, T, D], and its tokenizer.

    Raises:
        CourseError: if it is no model, or cannot be fetched.
    """
    return _load(AutoModel, model_source, embedded_encoder, device=device)


# more labels than any task has would fill the memory with the head's weights
@border(num_labels=partial(check_count, most=100_000))
def load_classifier(
    model_source: ModelSource = EMBEDDED, *, num_labels: int, seed: Seed = 0, device: str | None = None
) -> ModelAndTokenizer:
    """Load a pre-trained encoder with a fresh classification head, in float32.

    Args:
        model_source: "embedded", a folder, or a hub id.
        num_labels: number of classes; 1 makes a regression head.
        seed: seed of the head's random weights.
        device: see `choose_device`.

    Returns:
        The model, which maps token ids [B, T] to logits [B, num_labels], and its tokenizer.

    Raises:
        CourseError: if it is no model, or cannot be fetched, or num_labels is not positive.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the other devices too; fresh weights are drawn on the CPU
        torch.random.default_generator.manual_seed(seed)
        return _load(
            AutoModelForSequenceClassification,
            model_source,
            embedded_encoder,
            device=device,
            fresh_head=True,
            num_labels=num_labels,
        )


@border()
def load_language_model(
    model_source: ModelSource = EMBEDDED, *, dtype: str | torch.dtype = "float32", device: str | None = None
) -> ModelAndTokenizer:
    """Load a pre-trained causal language model, in evaluation mode.

    Args:
        model_source: "embedded" (SmolLM2-135M-Instruct, 134.5M parameters), a folder, or a hub id.
        dtype: "float32", "bfloat16", "float16", or the torch dtype.
        device: see `choose_device`.

    Returns:
        The model, which maps token ids [B, T] to logits [B, T, V], and its tokenizer. The tokenizer
        has a padding token and pads on the right. Where bfloat16 is asked for and not native, a warning says so.

    Raises:
        CourseError: if it is no model, or cannot be fetched, or the dtype is unknown.
    """
    loaded = _load(
        AutoModelForCausalLM,
        model_source,
        embedded_language_model,
        device=device,
        dtype=floating_dtype(dtype),
    )
    warn_of_slow_bfloat16(loaded.model.dtype, loaded.model.device.type)
    if loaded.tokenizer.pad_token is None:
        loaded.tokenizer.pad_token = loaded.tokenizer.eos_token
    loaded.tokenizer.padding_side = "right"
    refuse_looking_ahead(loaded.model)
    return loaded


@border()
def kept_language_model(
    model_source: ModelSource = EMBEDDED, *, dtype: str = "float32", device: str | None = None
) -> ModelAndTokenizer:
    """Load a causal language model, or return the one of the last calls if its files are still the same.

    Args:
        model_source: "embedded", a folder, or a hub id.
        dtype: "float32", "bfloat16" or "float16".
        device: see `choose_device`.

    Raises:
        CourseError: as `load_language_model`.
    """
    floating_dtype(dtype)
    choose_device(device)
    return _kept_language_model(model_source, str(dtype), device, _files_state(model_source))


@functools.lru_cache(maxsize=2)
def _kept_language_model(
    model_source: str, dtype: str, device: str | None, files: tuple[Any, ...]
) -> ModelAndTokenizer:
    return load_language_model(model_source, dtype=dtype, device=device)


def _files_state(model_source: str) -> tuple[Any, ...]:
    """Return what tells a folder's files from those that stood there before; () for what is no folder."""
    if model_source == EMBEDDED:
        return ()
    adapter = adapter_folder(model_source)
    folder = adapter or Path(str(model_source)).expanduser()
    if not folder.is_dir():
        return ()
    states = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    own = tuple((str(path), state.st_ino, state.st_size, state.st_mtime_ns) for path, state in states)
    return (*own, *(_files_state(base_of(adapter)) if adapter else ()))


def _load(
    auto_class: Any,
    model_source: str,
    embedded_folder: Callable[[], Path],
    *,
    device: str | None,
    fresh_head: bool = False,
    **model_options: Any,
) -> ModelAndTokenizer:
    if model_source != EMBEDDED and (adapter := adapter_folder(model_source)):
        options = {"device": device, "fresh_head": fresh_head, **model_options}
        return load_adapter(adapter, lambda base: _load(auto_class, base, embedded_folder, **options))
    chosen = choose_device(device)
    where = str(embedded_folder()) if model_source == EMBEDDED else _folder_or_hub_id(model_source)
    with loading_trouble(model_source), quietly():
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
        model, report = auto_class.from_pretrained(
            where,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **{"dtype": "float32", **model_options},
        )
    _refuse_missing_weights(model, report["missing_keys"], model_source, fresh_head)
    return ModelAndTokenizer(model.to(chosen).eval(), tokenizer)


def _refuse_missing_weights(
    model: PreTrainedModel, missing: Iterable[str], model_source: str, fresh_head: bool
) -> None:
    """Refuse weights that `transformers` would draw at random, but for a head and a pooler meant to be new."""
    body = f"{model.base_model_prefix}."
    random = sorted(
        name for name in missing if "pooler" not in name and (name.startswith(body) or not fresh_head)
    )
    if random:
        raise CourseError(
            f"These weights are not those of a {type(model).__name__}: {len(random)} are missing, "
            f"{random[0]} for one.",
            given=model_source,
            mend="Load it with the function for its kind (encoder, classifier or language model), "
            "or take another model.",
        )


def _folder_or_hub_id(model_source: str) -> str:
    model_source = str(model_source)
    path = Path(model_source).expanduser()
    if not path.exists():
        if os.sep in model_source and (
            model_source.startswith((".", "~", os.sep)) or model_source.count("/") > 1
        ):
            raise CourseError(
                "There is no such folder.",
                given=model_source,
                mend="Give a model folder, a hub id, or 'embedded'.",
            )
        return model_source
    for patterns, problem, mend in _NEEDED_FILES:
        if not any(file for pattern in patterns for file in path.glob(pattern)):
            raise CourseError(problem, given=model_source, mend=mend)
    return str(path)
