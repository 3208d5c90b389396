"""A loaded model with its tokenizer, and what can go wrong on the way to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from course_lib.checks.values import check_path
from course_lib.errors import CourseError, unknown_name

EMBEDDED = "embedded"


class ModelAndTokenizer(NamedTuple):
    """A model and the tokenizer that goes with it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def a_model_source(name: str, value: Any) -> str:
    """Return a model's source: "embedded", a folder, or a hub id.

    Raises:
        CourseError: it can be none of them.
    """
    path = check_path(name, value)
    try:
        path.expanduser().exists()
    except (OSError, RuntimeError) as error:  # a name too long; the home of nobody
        raise CourseError(
            f"{name} can be no folder: {error}.",
            given=value,
            mend="Give a model folder, a hub id, or 'embedded'.",
        ) from error
    return str(value)


ModelSource = Annotated[str, a_model_source]


@contextlib.contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Run passes of a model in evaluation mode, and put every module back into its own mode.

    Args:
        model: the model.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def floating_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Return the torch dtype of this name.

    Raises:
        CourseError: if it is none of the three that models compute in.
    """
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    name = str(dtype).removeprefix("torch.")
    if name not in known:
        raise unknown_name("dtype", dtype, known)
    return known[name]


@contextlib.contextmanager
def loading_trouble(model_source: str) -> Iterator[None]:
    """Turn what libraries say of a model that they cannot load into one error with a mend.

    Args:
        model_source: what is being loaded.

    Raises:
        CourseError: in place of theirs.
    """
    try:
        yield
    except CourseError:
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise CourseError(
            f"The model could not be loaded: {first_line}",
            given=model_source,
            mend="Use 'embedded', a folder written by `save_pretrained` (model and tokenizer), or a hub id "
            "(spelt owner/name, with a network or in the hub's local cache).",
        ) from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence the loader's bars and its note that a classification head is new: it is meant to be."""
    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
