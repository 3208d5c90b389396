"""What a causal language model says of its texts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedModel

from course_lib.errors import CourseError
from course_lib.models.context import text_config

# What a model says that is no causal language model, or needs more than token ids.
_NO_CAUSAL_MODEL = (AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)


def refuse_looking_ahead(model: Any) -> None:
    """Refuse a model whose outputs depend on later tokens, or that does not read plain texts at all.

    Args:
        model: what is to be used as a causal language model, in evaluation mode.

    Raises:
        CourseError: it has an encoder, looks ahead, or fails on a few tokens.
    """
    if getattr(text_config(model), "is_encoder_decoder", False):
        raise CourseError(
            "This model has an encoder and a decoder, and reads no text from left to right.",
            given=type(model).__name__,
            mend="Use a decoder alone, such as a GPT, Llama or Qwen.",
        )
    ids = torch.tensor([[4, 5, 6, 7, 8, 4, 5], [4, 5, 6, 8, 7, 6, 4]], device=model.device)
    try:
        # counted from the end: a learnt prompt puts virtual tokens in front
        with torch.inference_mode(), output_only_at(model, [0, 0, 0, 1, 1, 1], [-7, -6, -5] * 2):
            first, second = model(input_ids=ids).logits.float().view(2, 3, -1)
    except _NO_CAUSAL_MODEL as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise CourseError(
            f"This model does not read a plain text: {said}",
            given=type(model).__name__,
            mend="Use a causal language model of `transformers`.",
        ) from error
    # causal models agree to the last digit; what untrained encoders see ahead is a thousandth of their logits
    rounding = 1e-5 if model.dtype.itemsize >= 4 else 1e-3
    if (first - second).abs().max() > rounding * first.abs().max():
        raise CourseError(
            "This model looks ahead: what it says of a word depends on the words behind it.",
            given=type(model).__name__,
            mend="Use a causal language model; encoders such as BERT are loaded with `load_encoder`.",
        )


@contextlib.contextmanager
def output_only_at(model: PreTrainedModel, rows: Any, columns: Any) -> Iterator[None]:
    """Let the output layer see only some places, so that the logits of others are never computed.

    The model's logits become [1, n, vocabulary]. What it does with its logits afterwards (scaling, capping)
    stays as it is.

    Args:
        model: a causal language model.
        rows: the places' rows: n ints, a list or a tensor.
        columns: their columns; negative ones count from the end.

    Raises:
        CourseError: the model has no output layer over a vocabulary.
    """
    head: Any = model.get_output_embeddings()
    if head is None:
        raise CourseError(
            "The model has no output layer over a vocabulary.",
            given=type(model).__name__,
            mend="Load it as a causal language model.",
        )

    def select(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0][rows, columns][None], *inputs[1:])

    hook = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()
