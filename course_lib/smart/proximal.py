"""D_Breg: a leash on how far the predictions move (Jiang et al., ACL 2020, section 2.2).

θ_{t+1} = argmin F(θ) + μ D_Breg(θ, θ̃_t), where D_Breg is the mean ℓ_s between the outputs of the model
and those of an anchor θ̃. With momentum the anchor follows as θ̃_t = (1 - β) θ_t + β θ̃_{t-1}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

import torch

from course_lib.checks.calls import a_model, a_tensor, border, check_fields, of_type
from course_lib.checks.types import Count, Flag, OpenShare, Positive, Share
from course_lib.checks.values import check_mapping
from course_lib.errors import CourseError
from course_lib.models.loaded import evaluation_mode
from course_lib.smart.anchor import Anchor
from course_lib.smart.divergence import Divergence, find_divergence
from course_lib.smart.replay import DropoutReplay

# Names of the anchor's weights in a saved state begin so.
_PREFIX = "anchor."


@border()
def beta_from_half_life(num_updates: Positive) -> float:
    """Compute the β with which an old weight counts half after so many updates.

    The published β suits long runs: after 150 updates with it the anchor is still about three quarters
    θ_0, an untrained head included. A half-life says in updates what β says in logarithms.

    Args:
        num_updates: the half-life, positive.

    Returns:
        β, between 0 and 1.

    Raises:
        CourseError: if it is not positive and finite.

    Example:
        >>> round(beta_from_half_life(69), 3)
        0.99
    """
    return 0.5 ** (1 / num_updates)


@dataclass(eq=False, repr=False)
class BregmanProximalPoint:
    """The proximal term with its anchor.

    Args:
        model: the model that is being trained; the anchor starts at its weights. Only what moves is copied (see
            `Anchor`), and the anchor's pass is the model's own with the anchor's weights in place.
        proximal_weight: weight μ of the term.
        beta: β of the first updates.
        late_beta: β of the later updates.
        late_beta_start: share of the updates after which `late_beta` holds.
        num_steps: number of updates of the whole run; needed where `late_beta` differs from `beta`.
        half_life: instead of both β: updates after which an old weight counts half.
        momentum: False refreshes the anchor from the model every `inner_steps` updates instead.
        inner_steps: S, updates on one anchor: at least 2 without momentum, 1 with it.
        divergence: ℓ_s, "symmetric_kl" or "squared_difference" (regression).

    Raises:
        CourseError: a setting out of its range; `inner_steps=1` without momentum; weights in half
            precision, in which an anchor with momentum would stand still.

    Source: Jiang et al. 2020, equations (3) and (4); β of section 4.1.
    """

    model: torch.nn.Module
    proximal_weight: Positive = 1.0
    beta: OpenShare = 0.99
    late_beta: OpenShare = 0.999
    late_beta_start: Share = 0.1
    num_steps: Count | None = None
    _: KW_ONLY
    half_life: Positive | None = None
    momentum: Flag = True
    inner_steps: Count = 1
    divergence: Divergence = "symmetric_kl"

    def __post_init__(self) -> None:
        check_fields(self, model=a_model)
        if self.half_life is not None:
            self.beta = self.late_beta = beta_from_half_life(self.half_life)
        _refuse_idle_anchor(self.beta != self.late_beta, self.num_steps, self.momentum, self.inner_steps)
        if self.momentum:
            _refuse_half_precision_weights(self.model)
        self.num_updates = 0
        self._anchor = Anchor(self.model)

    @border(inputs=check_mapping, logits=a_tensor)
    def penalty(
        self, inputs: Mapping[str, Any], logits: torch.Tensor, replay: DropoutReplay | None = None
    ) -> torch.Tensor:
        """Compute μ D_Breg for a batch.

        Args:
            inputs: the model's inputs; `labels` are left out.
            logits: the model's own logits for them [B, C], with their gradient.
            replay: draws the dropout masks that the model's own pass drew; without it the anchor runs
                without dropout.

        Returns:
            A scalar; the gradient flows through `logits` only.
        """
        fixed = {name: value for name, value in inputs.items() if name != "labels"}
        with (
            torch.no_grad(),
            self._anchor.in_place(),
            replay.replayed() if replay else evaluation_mode(self.model),
        ):
            anchor_logits = self.model(**fixed).logits
        return self.proximal_weight * find_divergence(self.divergence)(logits, anchor_logits.to(logits.dtype))

    def current_beta(self) -> float:
        """Return the β of the next update.

        Returns:
            β, between 0 and 1.
        """
        if self.num_steps is None:
            return self.beta
        share_done = self.num_updates / self.num_steps
        return self.late_beta if share_done >= self.late_beta_start else self.beta

    def update(self) -> None:
        """Move the anchor; call it after the optimizer's step."""
        beta = self.current_beta() if self.momentum else 0.0
        self.num_updates += 1
        if self.momentum or self.num_updates % self.inner_steps == 0:
            self._anchor.follow(beta)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the anchor's weights and the number of updates, all as tensors.

        As a module's `state_dict` does, it refers to the weights themselves: save or clone it before the
        next update.

        Returns:
            Name -> tensor.
        """
        weights = {f"{_PREFIX}{name}": tensor for name, tensor in self._anchor.state_dict().items()}
        return {**weights, "num_updates": torch.tensor(self.num_updates)}

    @border(state=partial(check_mapping, check=a_tensor, least=0))
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `state_dict` gave.

        Args:
            state: name -> tensor.

        Raises:
            CourseError: if weights are missing, unknown or of other shapes; nothing is changed then.
        """
        num_updates = state.get("num_updates")
        if num_updates is None or num_updates.numel() != 1:
            raise CourseError(
                "This is no state of a proximal term: it does not say how many updates there were.",
                given=sorted(state)[:3],
                mend="Resume from a checkpoint that was saved with the momentum copy.",
            )
        self._anchor.load_state_dict(
            {name.removeprefix(_PREFIX): value for name, value in state.items() if name != "num_updates"}
        )
        self.num_updates = int(num_updates)


a_proximal_point = of_type("course_lib.smart.proximal.BregmanProximalPoint")


def _refuse_idle_anchor(has_two_betas: bool, num_steps: int | None, momentum: bool, inner_steps: int) -> None:
    """Refuse settings under which the anchor's move is not known, or the term does nothing."""
    if momentum and num_steps is None and has_two_betas:
        raise CourseError(
            "The two β need the number of updates of the run.",
            given="num_steps=None",
            mend="Pass num_steps, or one half_life, or beta equal to late_beta.",
        )
    if momentum and inner_steps > 1:
        raise CourseError(
            "With momentum the anchor moves at every update.",
            given=f"inner_steps={inner_steps}",
            mend="Leave inner_steps out, or use momentum=False.",
        )
    if not momentum and inner_steps < 2:
        raise CourseError(
            "Without momentum an anchor refreshed at every update does nothing: the term is evaluated at the "
            "anchor itself, where its value and its gradient are zero.",
            given=f"inner_steps={inner_steps}",
            mend="Use momentum=True, or inner_steps of 2 or more.",
        )


def _refuse_half_precision_weights(model: torch.nn.Module) -> None:
    half = [
        name
        for name, weight in model.named_parameters()
        if weight.requires_grad and weight.dtype in (torch.float16, torch.bfloat16)
    ]
    if half:
        raise CourseError(
            "In half precision the anchor would stand still: a thousandth of a step is lost in rounding.",
            given=half[:3],
            mend="Keep the weights in float32, and train in mixed precision (autocast, `bf16=True`).",
        )
