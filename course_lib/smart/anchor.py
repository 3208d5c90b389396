"""θ̃, the anchor of D_Breg: values of its own for the weights that training moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from course_lib.errors import CourseError


class Anchor:
    """An earlier state of a model: its trainable weights and the buffers that change, kept apart.

    The anchor is no second model. Its pass is the model's own pass with the anchor's values in place of the
    model's. So whatever stands around `forward` (`torch.compile`, a partial, the wrappers of accelerate and of
    PEFT, hooks) stands around the anchor's pass too, and what is frozen is shared instead of copied: beside a
    LoRA adapter the anchor is as small as the adapter.

    Floating-point buffers and counters are the anchor's own; other buffers (position ids, masks, packed
    weights) are tables, and shared. Weights that are set free later are taken up before they first move.

    Args:
        model: the model that is trained.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._weights: dict[str, torch.Tensor] = {}
        self._buffers: dict[str, torch.Tensor] = {}
        self.match_model()

    def match_model(self) -> None:
        """Take up what moves now and did not before, and follow the model to its device.

        Raises:
            CourseError: weights that are gone, or of another shape or dtype than they were.
        """
        parameters = _by_name(self._model.named_parameters())
        _refuse_changed(self._weights, parameters)
        moving = [
            name for name, weight in parameters.items() if weight.requires_grad or name in self._weights
        ]
        self._weights = {name: _kept(self._weights.get(name), parameters[name]) for name in moving}
        self._buffers = {
            name: _kept(self._buffers.get(name), buffer)
            for name, buffer in _by_name(self._model.named_buffers()).items()
            if buffer.is_floating_point() or buffer.dim() == 0
        }

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the anchor's values into the model for a pass, and the model's own back after it.

        The tensors stay the same objects and only their storage is exchanged: closures and compiled code that
        hold them see the anchor's values, and the graph of the model's own pass stays valid.
        """
        self.match_model()
        tensors = self._tensors()
        held = {**self._weights, **self._buffers}
        own = {name: tensors[name].data for name in held}
        torch.clear_autocast_cache()  # it keeps half-precision copies of the weights, by object
        try:
            for name, value in held.items():
                tensors[name].data = value
            yield
        finally:
            for name, value in own.items():
                tensors[name].data = value
            torch.clear_autocast_cache()

    def follow(self, beta: float) -> None:
        """Keep the share β of the anchor's weights and take the rest from the model; take all of its buffers.

        Args:
            beta: β, from 0 to 1.
        """
        self.match_model()
        tensors = self._tensors()
        with torch.no_grad():
            if self._weights:
                current = [tensors[name] for name in self._weights]
                get_ema_multi_avg_fn(beta)(list(self._weights.values()), current, 0)
            for name, kept in self._buffers.items():
                kept.copy_(tensors[name])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the held weights and saved buffers by name, tied ones once; they are no copies.

        Returns:
            Name -> tensor.
        """
        saved = {_plain(name) for name in self._model.state_dict()}
        return {**self._weights, **{name: each for name, each in self._buffers.items() if name in saved}}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the values that `state_dict` gave, or those of a whole model whose frozen weights are the same.

        Args:
            state: name -> tensor.

        Raises:
            CourseError: weights missing, unknown, of other shapes, or frozen ones with other values; nothing
                is changed then.
        """
        own, tensors = self.state_dict(), self._tensors()
        wrong = [name for name in own if name not in state]
        for name, value in state.items():
            known = name in tensors and tensors[name].shape == value.shape
            # a whole model's anchor: what is frozen here must be what it was there
            if not known or (name not in own and not torch.equal(tensors[name].cpu(), value.cpu())):
                wrong.append(name)
        if wrong:
            raise CourseError(
                "This is no state of the proximal term of this model.",
                given=sorted(wrong)[:3],
                mend="Resume from a checkpoint that was saved with the momentum copy, of the same model and "
                "with the same weights frozen.",
            )
        with torch.no_grad():
            for name, kept in own.items():
                kept.copy_(state[name])

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Return all of the model's weights and buffers by name, tied ones once."""
        return _by_name(chain(self._model.named_parameters(), self._model.named_buffers()))


def _kept(kept: torch.Tensor | None, current: torch.Tensor) -> torch.Tensor:
    """Return the anchor's own tensor on the model's device; a copy of the model's where there is none that fits."""
    if kept is None or (kept.shape, kept.dtype) != (current.shape, current.dtype):
        return current.detach().clone()
    return kept.to(current.device)


def _by_name(named: Iterable[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {_plain(name): tensor for name, tensor in named}


def _plain(name: str) -> str:
    """Return a weight's name without what `torch.compile` puts before it."""
    return name.replace("_orig_mod.", "")


def _refuse_changed(weights: Mapping[str, torch.Tensor], parameters: Mapping[str, torch.Tensor]) -> None:
    for name, kept in weights.items():
        current = parameters.get(name)
        if current is None or current.shape != kept.shape or current.dtype != kept.dtype:
            raise CourseError(
                "The model has other weights than when its proximal term was made.",
                given=name,
                mend="Change the model (adapters, vocabulary, precision) first, and make "
                "BregmanProximalPoint after that.",
            )
