"""A model as a function of its word embeddings: what R_s perturbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch

from course_lib.checks.calls import a_model, a_tensor, border
from course_lib.checks.values import check_mapping
from course_lib.errors import CourseError
from course_lib.smart.replay import DropoutReplay, without_compiled_code

Forward = Callable[[torch.Tensor], torch.Tensor]

# Models that read their words [T, B], whatever shape the ids have.
TIME_FIRST = ("xlnet",)


@border(model=a_model, input_ids=a_tensor)
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
    if input_ids.is_floating_point():
        raise CourseError("input_ids must be whole numbers.", given=input_ids.dtype)
    return embedding_layer(model)(input_ids)


@border(model=a_model, inputs=check_mapping)
def forward_from_embeddings(
    model: torch.nn.Module, inputs: Mapping[str, Any], replay: DropoutReplay | None = None
) -> Forward:
    """Return the model as a function of its word embeddings, everything else of the inputs held fixed.

    The model is called with its `input_ids`, and what its embedding layer looked up is replaced by the
    given embeddings. So whatever the architecture does with ids (positions that skip padding, the last
    token of a decoder) and whatever comes after the look-up (position, type, LayerNorm) happens once.
    `inputs_embeds` would not do: decoders then take the last position for the last token, and RoBERTa
    counts padding as text. A model that turns its ids round (XLNet) or pads them (Longformer) gets the
    embeddings turned and padded likewise. Of an encoder with a decoder (BART, T5) the encoder's words are
    replaced; the copy of them that the decoder starts from stays.

    Args:
        model: a `transformers` sequence classifier that looks its words up once in a pass.
        inputs: its inputs, with `input_ids` [B, T]; `labels` are left out.
        replay: draws the same dropout masks in each call; without it each call draws its own.

    Returns:
        A function from word embeddings [B, T, D], in full precision, to logits [B, C].

    Raises:
        CourseError: if the word embeddings cannot be found or there are no `input_ids`. The function
            raises it where the model computes in half precision (see `refuse_low_precision`), where the
            embeddings are of another shape than the words', and where the model does not look up these
            words exactly once.
    """
    layer = embedding_layer(model)
    is_time_first = getattr(getattr(model, "config", None), "model_type", None) in TIME_FIRST
    fixed = {name: value for name, value in inputs.items() if name != "labels"}
    if "input_ids" not in fixed:
        raise CourseError(
            "The inputs need `input_ids`.", given=list(fixed), mend="Give what the tokenizer returned."
        )

    def forward(embeddings: torch.Tensor) -> torch.Tensor:
        seen: list[bool] = []

        def replace(module: torch.nn.Module, args: tuple, kwargs: dict, looked_up: Any) -> Any:
            # here, inside the model: its own forward may be wrapped in autocast
            refuse_low_precision(embeddings)
            ids = args[0] if args else kwargs.get("input")
            placed = _placed(embeddings, ids, fixed["input_ids"], looked_up, is_time_first)
            seen.append(placed is not None)
            return placed

        hook = layer.register_forward_hook(replace, with_kwargs=True)
        try:
            with without_compiled_code(), replay.replayed() if replay else nullcontext():
                logits = model(**fixed).logits
        finally:
            hook.remove()
        _refuse_other_lookups(model, seen)
        return logits

    return forward


def _placed(
    embeddings: torch.Tensor,
    ids: torch.Tensor | None,
    input_ids: torch.Tensor,
    looked_up: torch.Tensor,
    is_time_first: bool,
) -> torch.Tensor | None:
    """Return the embeddings in the order in which the model looked up these ids, None where it read others."""
    if ids is None or ids.dim() != 2 or not isinstance(looked_up, torch.Tensor):
        return None
    num_words = input_ids.shape[1]
    is_turned = torch.equal(ids, input_ids.T) and (is_time_first or not torch.equal(ids, input_ids))
    is_same = not is_turned and len(ids) == len(input_ids) and torch.equal(ids[:, :num_words], input_ids)
    if not (is_turned or is_same):
        return None
    words = looked_up.transpose(0, 1) if is_turned else looked_up[:, :num_words]
    _refuse_other_shape(embeddings, words)
    if is_turned:
        return embeddings.transpose(0, 1)
    return torch.cat([embeddings, looked_up[:, num_words:]], dim=1)  # what the model padded itself


def _refuse_other_lookups(model: torch.nn.Module, seen: list[bool]) -> None:
    """Refuse a pass in which the layer did not look up the words of this batch once, and nothing else."""
    if seen == [True]:
        return
    if not seen:
        problem = "This model does not look its words up in the layer that `get_input_embeddings()` names."
    elif not any(seen):
        problem = "This model looks up other words than its `input_ids`, or in another form."
    else:
        problem = "This model looks words up more than once in a pass, with one embedding layer."
    raise CourseError(
        f"{problem} R_s cannot change them.",
        given=f"{type(model).__name__}, {len(seen)} look-ups",
        mend="Use a classifier that reads `input_ids` [B, T] with one embedding layer, as those of BERT, "
        "RoBERTa, T5 and Llama do, or train without R_s (smoothness_weight=0).",
    )


def refuse_low_precision(*tensors: torch.Tensor) -> None:
    """Refuse half precision, in which a perturbation of 1e-5 vanishes.

    Args:
        tensors: what has to be float32 or float64, outside autocast.

    Raises:
        CourseError: if one of them is not, or autocast is on for its device.
    """
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
    """Return the module that looks a model's words up, that of the encoder where encoder and decoder share a table.

    Args:
        model: a `transformers` model.

    Returns:
        A module from ids [B, T] to vectors [B, T, D].

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
    # T5 and BART name a shared table that no pass goes through; their stacks have layers of their own around it
    table = getattr(layer, "weight", None)
    of_encoder = (
        module
        for name, module in model.named_modules()
        if isinstance(module, type(layer)) and module.weight is table and "encoder" in name.split(".")
    )
    return layer if table is None else next(of_encoder, layer)


def _refuse_other_shape(embeddings: torch.Tensor, looked_up: torch.Tensor) -> None:
    if embeddings.shape != looked_up.shape:
        raise CourseError(
            f"The embeddings must have the shape of this batch's words, {list(looked_up.shape)}.",
            given=list(embeddings.shape),
            mend="Give `word_embeddings(model, input_ids)` of the same inputs, perturbed or not.",
        )
