"""A model as a function of its word embeddings: what R_s perturbs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError

if TYPE_CHECKING:
    import torch

Forward = Callable[["torch.Tensor"], "torch.Tensor"]


class DropoutReplay:
    """Draws the same dropout masks in every pass, so that two passes differ only in what is meant to.

    The policy of the course: clean, perturbed and teacher pass of one step use the same masks. R_s then
    measures how smooth the network is and not how random dropout is, and it is exactly 0 at δ = 0.

    Args:
        device: where the model computes.
    """

    def __init__(self, device: torch.device) -> None:
        import torch

        self._devices = [device] if device.type == "cuda" else []
        self._cpu_state = torch.get_rng_state()
        self._cuda_states = [torch.cuda.get_rng_state(each) for each in self._devices]

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Run a pass from the recorded state, and put the generators back as they were found."""
        import torch

        with torch.random.fork_rng(devices=self._devices):
            torch.set_rng_state(self._cpu_state)
            for device, state in zip(self._devices, self._cuda_states, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield


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
    return _embedding_layer(model)(input_ids)


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
        model: a `transformers` sequence classifier.
        inputs: its inputs, with `input_ids` [B, T]; `labels` are left out.
        replay: draws the same dropout masks in each call; without it each call draws its own.

    Returns:
        A function from word embeddings [B, T, D] to logits [B, C].
    """
    layer = _embedding_layer(model)
    fixed = {name: value for name, value in inputs.items() if name != "labels"}

    def forward(embeddings: torch.Tensor) -> torch.Tensor:
        hook = layer.register_forward_hook(lambda module, arguments, output: embeddings)
        try:
            if replay is None:
                return model(**fixed).logits
            with replay.replayed():
                return model(**fixed).logits
        finally:
            hook.remove()

    return forward


def _embedding_layer(model: torch.nn.Module) -> torch.nn.Module:
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
