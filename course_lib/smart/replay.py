"""The same dropout masks in every pass of a step, and what else the model's own pass can lend to the others.

The policy of the course: clean, perturbed and teacher pass of one step use the same masks. R_s then measures
how smooth the network is and not how random dropout is, and it is exactly 0 at δ = 0.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.functional import dropout, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from course_lib.errors import CourseError

Masks = list[torch.Tensor]


class DropoutReplay:
    """Draws the same dropout masks in every pass, so that two passes differ only in what is meant to.

    Make one for each step, just before the clean pass. That pass runs as always, in `recorded()` or in
    `replayed()`, and moves the random generators on, so that the next step draws other masks; every further
    pass runs in `replayed()` and leaves the generators as it found them.

    A pass in `recorded()` keeps its masks, so that the further passes need not draw them again: on a CPU
    drawing takes a tenth of a training step. Where a mask is drawn out of its sight, the further passes
    draw all masks again from the recorded states of the generators, as they do without `recorded()`.

    Args:
        device: where the model computes.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._states = _generator_states(device)
        self._masks: Masks | None = None

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Run the clean pass, and keep the masks that it draws."""
        recording = _Recording()
        with recording:
            yield
        self._masks = recording.masks if recording.saw_all() else None

    @property
    def has_masks(self) -> bool:
        """Whether the clean pass was recorded, so that nothing is drawn again."""
        return self._masks is not None

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Run a pass with the clean pass's masks."""
        if self._masks is not None:
            with _Reuse(self._masks):
                yield
            return
        outside = _generator_states(self._device)
        is_clean_pass = all(map(torch.equal, outside, self._states))
        _set_generator_states(self._device, self._states)
        try:
            yield
        finally:
            if not is_clean_pass:
                _set_generator_states(self._device, outside)


class CleanPass:
    """What the model's own pass drew and looked up, kept for the further passes of the step.

    Between its making and `close()` the next pass of the model is watched, whoever calls it. The word
    embeddings of that pass are kept with their gradient, so that the perturbed pass adds to them and the
    words' gradient is computed once.

    Args:
        model: the model.
        embedding_layer: the module that looks its words up.
    """

    def __init__(self, model: torch.nn.Module, embedding_layer: torch.nn.Module | None) -> None:
        self.replay = DropoutReplay(next(model.parameters()).device)
        self.embeddings: torch.Tensor | None = None
        self._ids: torch.Tensor | None = None
        self._version = 0
        self._recorded: Any = None
        self._handles: list[Any] = []
        if _can_watch(model):
            self._handles = [
                model.register_forward_pre_hook(self._enter),
                model.register_forward_hook(self._leave, always_call=True),
            ]
            if embedding_layer is not None:
                self._handles.append(embedding_layer.register_forward_hook(self._keep))

    def close(self) -> None:
        """Stop watching; the pass is over, or never came."""
        self._stop_recording()
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def embeddings_of(self, input_ids: torch.Tensor) -> torch.Tensor | None:
        """Return the word embeddings that the pass looked up, None where it did not see these ids.

        Args:
            input_ids: int tensor [B, T].

        Returns:
            Float tensor [B, T, D] with its gradient, or None.
        """
        if self._ids is None or self.embeddings is None or not torch.equal(self._ids, input_ids):
            return None
        was_changed = self.embeddings._version != self._version  # in place, by the model itself
        return None if was_changed else self.embeddings

    def _enter(self, module: torch.nn.Module, arguments: tuple) -> None:
        if module.training and self._recorded is None:
            self._recorded = self.replay.recorded()
            self._recorded.__enter__()

    def _leave(self, module: torch.nn.Module, arguments: tuple, outputs: Any) -> None:
        self.close()

    def _stop_recording(self) -> None:
        recorded, self._recorded = self._recorded, None
        if recorded is not None:
            recorded.__exit__(None, None, None)

    def _keep(self, module: torch.nn.Module, arguments: tuple, looked_up: torch.Tensor) -> None:
        if self._ids is None and arguments and looked_up.dtype == torch.float32:
            self._ids, self.embeddings, self._version = arguments[0], looked_up, looked_up._version


def is_compiled(model: torch.nn.Module) -> bool:
    """Say whether `torch.compile` stands around a model or a part of it.

    Args:
        model: the model.

    Returns:
        True where compiled code runs in its passes.
    """
    return any(
        hasattr(module, "_orig_mod")
        or getattr(module, "_compiled_call_impl", None) is not None
        or _is_compiled_function(vars(module).get("forward"))
        for module in model.modules()
    )


def without_compiled_code() -> Any:
    """Run compiled models as the Python they were: compiled code looks at no new hooks, and draws as it likes.

    Returns:
        A context manager.
    """
    if "torch._dynamo" not in sys.modules:  # importing it takes seconds, and nothing is compiled
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


def _is_compiled_function(function: Any) -> bool:
    """Look through partials, bound methods and `functools.wraps`."""
    while function is not None and not hasattr(function, "_torchdynamo_orig_callable"):
        inner = (getattr(function, name, None) for name in ("func", "__wrapped__", "__func__"))
        function = next(filter(None, inner), None)
    return function is not None


def _can_watch(model: torch.nn.Module) -> bool:
    """Say whether a pass of the model can be watched.

    On other devices masks are drawn inside fused kernels. A model with gradient checkpointing runs parts of
    its passes again in the backward pass, where nothing would be replayed; a compiled one runs no Python.
    """
    return (
        next(model.parameters()).device.type == "cpu"
        and not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        and not hasattr(model, "_orig_mod")
    )


class _MaskMode(TorchFunctionMode):
    """Puts a mask of its own into each call of dropout and of attention with dropout."""

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is dropout:
            return self._dropout(*args, **kwargs)
        if func is scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        return func(*args, **kwargs)

    def mask(self, values: torch.Tensor, p: float) -> torch.Tensor:
        """Return 0 for what is dropped and 1 / (1 - p) for the rest, in the shape of the values."""
        raise NotImplementedError

    def _dropout(
        self, values: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        if not training or p in (0, 1) or not values.numel():
            return dropout(values, p, training, inplace)
        mask = self.mask(values, p)
        return values.mul_(mask) if inplace else values * mask

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        """Do what torch's own attention does on a CPU where there is dropout, which it draws out of sight."""
        if not dropout_p:
            options: dict[str, Any] = {"scale": scale, "enable_gqa": enable_gqa}
            return scaled_dot_product_attention(query, key, value, attn_mask, 0.0, is_causal, **options)
        if enable_gqa:
            repeats = query.shape[-3] // key.shape[-3]
            key, value = (each.repeat_interleave(repeats, dim=-3) for each in (key, value))
        root = math.sqrt(1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        weights = (query * root) @ (key.transpose(-2, -1) * root)
        if is_causal:
            attn_mask = torch.ones(weights.shape[-2:], dtype=torch.bool, device=weights.device).tril()
        if attn_mask is None:
            weights = weights.softmax(-1)
        else:
            if attn_mask.dtype == torch.bool:
                attn_mask = torch.zeros_like(attn_mask, dtype=weights.dtype).masked_fill(
                    ~attn_mask, -math.inf
                )
            # a row that is masked throughout, as padding may be, gives zeros and no NaN
            weights = torch._safe_softmax(weights + attn_mask, -1)
        return (weights * self.mask(weights, dropout_p)) @ value


class _Recording(_MaskMode):
    """Draws each mask as torch would, from the same random numbers, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: Masks = []
        self._state = torch.get_rng_state()
        self._is_complete = True

    def mask(self, values: torch.Tensor, p: float) -> torch.Tensor:
        self._is_complete &= torch.equal(torch.get_rng_state(), self._state)
        drawn = torch.empty_like(values.detach()).bernoulli_(1 - p).div_(1 - p)
        self._state = torch.get_rng_state()
        self.masks.append(drawn)
        return drawn

    def saw_all(self) -> bool:
        """Say whether nothing but these masks was drawn at random."""
        return self._is_complete and torch.equal(torch.get_rng_state(), self._state)


class _Reuse(_MaskMode):
    """Gives the recorded masks in their order, and draws nothing."""

    def __init__(self, masks: Masks) -> None:
        super().__init__()
        self._next = iter(masks)

    def mask(self, values: torch.Tensor, p: float) -> torch.Tensor:
        mask = next(self._next, None)
        if mask is None or mask.shape != values.shape:
            raise CourseError(
                "This pass drops out other things than the model's own pass did, so the masks do not fit.",
                given=list(values.shape),
                mend="Run both passes on the same inputs, with the same modules in training mode.",
            )
        # the model's own pass may have been in half precision
        return mask if mask.dtype == values.dtype else (mask != 0).to(values.dtype) / (1 - p)


def _generator_states(device: torch.device) -> list[torch.Tensor]:
    """Return the states of the generators that a pass on this device draws from."""
    if device.type == "cuda":
        return [torch.get_rng_state(), torch.cuda.get_rng_state(device)]
    if device.type == "mps":
        return [torch.get_rng_state(), torch.mps.get_rng_state()]
    return [torch.get_rng_state()]


def _set_generator_states(device: torch.device, states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
    if device.type == "mps":
        torch.mps.set_rng_state(states[1])
