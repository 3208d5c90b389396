"""A model as a function of its word embeddings: what R_s perturbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError

if TYPE_CHECKING:
    import torch

    from course_lib.smart.replay import DropoutReplay

Forward = Callable[["torch.Tensor"], "torch.Tensor"]


def word_embeddings(model: torch.nn.Module, input_ids: torch.Tensor) -> torch.Tensor:
    """Look up the word embeddings of token ids.

    Args:
        model: a `transformers` model.
        input_ids: int tensor [B, T].

    Returns:
        Float tensor [B, T, D]: word embeddings alone, without positions, types, LayerNorm or dropout.

    Raises:
        CourseError: if the model does not say where its word embeddings are.
    """
    return embedding_layer(model)(input_ids)


def forward_from_embeddings(
    model: torch.nn.Module, inputs: Mapping[str, Any], replay: DropoutReplay | None = None
) -> Forward:
    """Give the model as a function of its word embeddings, everything else of the inputs held fixed.

    The model is called with its `input_ids`, and what its embedding layer looked up is replaced by the
    given embeddings. So whatever the architecture does with ids (positions that skip padding, the last
    token of a decoder) and whatever comes after the look-up (position, type, LayerNorm) happens once.
    `inputs_embeds` would not do: decoders then take the last position for the last token, and RoBERTa
    counts padding as text.

    Args:
        model: a `transformers` sequence classifier that looks its words up once in a pass.
        inputs: its inputs, with `input_ids` [B, T]; `labels` are left out.
        replay: draws the same dropout masks in each call; without it each call draws its own.

    Returns:
        A function from word embeddings [B, T, D], in full precision, to logits [B, C].

    Raises:
        CourseError: if the word embeddings cannot be found or there are no `input_ids`. The function
            raises it where the model computes in half precision (see `refuse_low_precision`), where the
            embeddings are of another shape than the words', and where the model does not look its
            words up exactly once.
    """
    layer = embedding_layer(model)
    fixed = {name: value for name, value in inputs.items() if name != "labels"}
    if "input_ids" not in fixed:
        raise CourseError(
            "The inputs need `input_ids`.", given=list(fixed), mend="Give what the tokenizer returned."
        )

    def forward(embeddings: torch.Tensor) -> torch.Tensor:
        num_lookups = 0

        def replace(module: torch.nn.Module, arguments: tuple, looked_up: torch.Tensor) -> torch.Tensor:
            nonlocal num_lookups
            num_lookups += 1
            # here, inside the model: its own forward may be wrapped in autocast
            refuse_low_precision(embeddings)
            _refuse_other_shape(embeddings, looked_up)
            return embeddings

        hook = layer.register_forward_hook(replace)
        try:
            with replay.replayed() if replay else nullcontext():
                logits = model(**fixed).logits
        finally:
            hook.remove()
        if num_lookups != 1:
            raise CourseError(
                "The model must look its words up exactly once in a pass, in `get_input_embeddings()`.",
                given=f"{type(model).__name__}, {num_lookups} times",
                mend="Use an encoder or a decoder; one with both reads its words twice.",
            )
        return logits

    return forward


def refuse_low_precision(*tensors: torch.Tensor) -> None:
    """Refuse half precision, in which a perturbation of 1e-5 vanishes.

    Args:
        tensors: what has to be float32 or float64, outside autocast.

    Raises:
        CourseError: if one of them is not, or autocast is on for its device.
    """
    import torch

    for tensor in tensors:
        under_autocast = torch.is_autocast_enabled(tensor.device.type)
        if under_autocast or tensor.dtype not in (torch.float32, torch.float64):
            raise CourseError(
                "A perturbation of 1e-5 vanishes in less than float32: R_s would silently measure nothing.",
                given="autocast" if under_autocast else str(tensor.dtype),
                mend="Run this part in float32, inside `torch.autocast(device_type, enabled=False)`; "
                "SmartTrainer does.",
            )


def embedding_layer(model: torch.nn.Module) -> torch.nn.Module:
    """Give the module that looks a model's words up.

    Raises:
        CourseError: if the model does not say where it is.
    """
    find = getattr(model, "get_input_embeddings", None)
    try:
        layer = find() if find else None
    except (NotImplementedError, AttributeError):
        layer = None
    if layer is None:
        raise CourseError(
            "The word embeddings of this model cannot be found.",
            given=type(model).__name__,
            mend="Use a `transformers` text model, or give it a method `get_input_embeddings`.",
        )
    return layer


def _refuse_other_shape(embeddings: torch.Tensor, looked_up: torch.Tensor) -> None:
    if embeddings.shape != looked_up.shape:
        raise CourseError(
            f"The embeddings must have the shape of this batch's words, {list(looked_up.shape)}.",
            given=list(embeddings.shape),
            mend="Give `word_embeddings(model, input_ids)` of the same inputs, perturbed or not.",
        )
