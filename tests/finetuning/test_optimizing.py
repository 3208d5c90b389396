"""The loop of optimizer steps is the plain one, and the best weights are those of the best evaluation."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import get_linear_schedule_with_warmup

from course_lib.errors import CourseError
from course_lib.finetuning import BestWeights, Update, descend

TARGET = torch.tensor([3.0, -1.0])


def weight_and_optimizer(learning_rate: float = 0.1) -> tuple[torch.nn.Parameter, torch.optim.AdamW]:
    weight = torch.nn.Parameter(torch.zeros(2))
    return weight, torch.optim.AdamW([weight], lr=learning_rate)


def test_steps_are_those_of_a_plain_loop() -> None:
    weight, optimizer = weight_and_optimizer()
    schedule = get_linear_schedule_with_warmup(optimizer, 1, 4)
    losses, rates = [], []
    for _ in range(4):
        loss = (weight - TARGET).square().sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([weight], 0.5)
        rates.append(schedule.get_last_lr()[0])
        losses.append(loss.item())
        optimizer.step()
        schedule.step()

    again, optimizer = weight_and_optimizer()

    def compute_gradient(step: int) -> float:
        loss = (again - TARGET).square().sum()
        loss.backward()
        return loss.item()

    schedule = get_linear_schedule_with_warmup(optimizer, 1, 4)
    updates = list(descend(optimizer, compute_gradient, range(1, 5), schedule=schedule, max_grad_norm=0.5))
    assert torch.equal(weight, again)
    assert [update.loss for update in updates] == losses
    assert [update.learning_rate for update in updates] == rates
    assert updates[0] == Update(1, 10.0, pytest.approx(2 * math.sqrt(10)), 0.0)


@pytest.mark.parametrize(("loss", "factor", "what"), [(math.nan, 1.0, "loss"), (1.0, math.inf, "gradient")])
def test_what_is_not_finite_moves_no_weight(loss: float, factor: float, what: str) -> None:
    weight, optimizer = weight_and_optimizer()

    def compute_gradient(step: int) -> float:
        weight.grad = torch.full_like(weight, factor)
        return loss if step == 2 else 0.5

    steps = descend(optimizer, compute_gradient, range(2, 4))
    with pytest.raises(CourseError, match=rf"The {what} of step 2 is not a finite number.*0\.1"):
        next(steps)
    assert weight.tolist() == [0, 0]


def test_the_best_weights_come_back() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    best = BestWeights([weight])
    evaluations = [(0.5, 2.0), (0.75, 1.0), (0.75, 0.5), (0.75, 0.5), (0.5, 0.1)]
    kept = []
    for step, (accuracy, loss) in enumerate(evaluations):
        with torch.no_grad():
            weight.fill_(step)
        kept.append(best.offer(step, accuracy, loss))
    best.restore()
    assert kept == [True, True, True, False, False]
    assert (best.step, weight.item()) == (2, 2.0)
