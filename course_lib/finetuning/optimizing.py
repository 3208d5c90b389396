"""The one loop of optimizer steps, and the weights of the step that did best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from course_lib.errors import CourseError


@dataclass(frozen=True)
class Update:
    """What one optimizer step was.

    Args:
        step: number of the step, from 1.
        loss: the loss before it.
        gradient_norm: length of the gradient, before it is shortened.
        learning_rate: the learning rate it was taken with.
    """

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float


def linear_rate(step: int, *, peak: float, num_warmup: int, num_steps: int) -> float:
    """Return the learning rate of a step: it rises to its peak over the warm-up, then falls to zero.

    Args:
        step: number of the step, from 1.
        peak: the rate of the last step of the warm-up, and of the one behind it.
        num_warmup: steps of the warm-up.
        num_steps: steps in all; a step behind them would have the rate zero.

    Example:
        >>> [linear_rate(step, peak=1.0, num_warmup=2, num_steps=4) for step in (1, 2, 3, 4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    if step <= num_warmup:
        return peak * step / num_warmup
    return peak * (num_steps - step + 1) / (num_steps - num_warmup)


def refuse_not_finite(what: str, value: float, step: int, learning_rate: float) -> None:
    """Refuse a loss or gradient that is not a finite number.

    Args:
        what: "loss" or "gradient".
        value: its value, or its length.
        step: number of the step.
        learning_rate: the peak learning rate, for the mend.

    Raises:
        CourseError: it is none.
    """
    if not math.isfinite(value):
        raise CourseError(
            f"The {what} of step {step} is not a finite number; the weights are those before this step.",
            given=value,
            mend=f"Use a smaller learning rate than {learning_rate:g}.",
        )


def descend(
    optimizer: torch.optim.Optimizer,
    compute_gradient: Callable[[int], float],
    steps: Iterable[int],
    *,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    max_grad_norm: float = math.inf,
    refuse: Callable[[str, float, int], None] | None = None,
) -> Iterator[Update]:
    """Take optimizer steps, one each time the next is asked for.

    Args:
        optimizer: it knows the weights.
        compute_gradient: called with the number of each step, once gradients are cleared; it calls `backward`, and
            returns the loss.
        steps: numbers of the steps to take.
        schedule: of the learning rate.
        max_grad_norm: gradients longer than this are shortened to it.
        refuse: called with "loss" or "gradient", its value or length, and the step, before the weights move;
            `refuse_not_finite` by default.

    Yields:
        Each step, once the weights have moved.

    Raises:
        CourseError: a loss or gradient that is not a finite number; the weights are those before that step.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    peak = optimizer.defaults["lr"]
    refuse = refuse or (lambda what, value, step: refuse_not_finite(what, value, step, peak))
    for step in steps:
        optimizer.zero_grad(set_to_none=True)
        loss = compute_gradient(step)
        refuse("loss", loss, step)
        norm = float(torch.nn.utils.clip_grad_norm_(weights, max_grad_norm))
        refuse("gradient", norm, step)
        learning_rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        if schedule is not None:
            schedule.step()
        yield Update(step, loss, norm, learning_rate)


class BestWeights:
    """The weights of the evaluation with the highest accuracy, among equal ones the lowest loss, then the earliest.

    Args:
        weights: what is trained.
    """

    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        self.weights = list(weights)
        self.step = 0
        self.rank = (-math.inf, -math.inf)
        self.kept = self.copies()

    def copies(self) -> list[torch.Tensor]:
        """Return copies of the weights as they are now."""
        return [weight.detach().clone() for weight in self.weights]

    def offer(self, step: int, accuracy: float, loss: float) -> bool:
        """Keep the weights as they are now if no evaluation was better, and say whether they were.

        Args:
            step: steps taken so far.
            accuracy: of the evaluation after it.
            loss: of the same.
        """
        if (accuracy, -loss) <= self.rank:
            return False
        self.step, self.rank, self.kept = step, (accuracy, -loss), self.copies()
        return True

    def restore(self) -> None:
        """Put the kept weights back."""
        with torch.no_grad():
            for weight, kept in zip(self.weights, self.kept, strict=True):
                weight.copy_(kept)
