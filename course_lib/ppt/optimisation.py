"""The optimisation loop: its settings, its records, and steps that keep what does best on development examples.

Nothing in a step is drawn at random, and the order of the batches is a function of seed and step. So a run that goes
on from a checkpoint needs no state of any random generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from tqdm.auto import tqdm

from course_lib.checks.calls import check_fields
from course_lib.checks.types import Count, NotNegative, Positive, Seed, Share
from course_lib.errors import CourseError
from course_lib.finetuning.evaluating import Evaluation
from course_lib.finetuning.optimizing import BestWeights, descend, linear_rate
from course_lib.models.loaded import floating_dtype
from course_lib.ppt.examples import Batches, TokenizedExample

Schedule = Literal["linear", "constant"]
Keep = Literal["last", "best"]


@dataclass(frozen=True)
class PromptTrainingSettings:
    """What shapes the training of a prompt.

    Args:
        learning_rate: peak learning rate of AdamW; the prompt is all that is trained.
        num_steps: optimizer steps.
        batch_size: examples a step, over all processes together.
        schedule: after the warm-up, "linear" falls to zero, "constant" stays.
        warmup_share: share of the steps over which the learning rate rises.
        weight_decay: AdamW's decay.
        max_grad_norm: gradients longer than this are shortened to it.
        evaluate_every: steps between evaluations; there is one before the first step and one after the last.
        checkpoint_every: steps between checkpoints; None for `evaluate_every`.
        keep: "last", or "best": the prompt of the evaluation with the highest accuracy, among equal ones
            that with the lowest loss, among those the earliest.
        dtype: "bfloat16" or "float16" to compute on a copy of the model in that precision; None for the model
            as it is. The prompt stays in float32.
        seed: seed of the order of the batches.

    Raises:
        CourseError: a setting out of its range.
    """

    learning_rate: Positive = 1e-2
    num_steps: Count = 1000
    batch_size: Count = 16
    schedule: Schedule = "linear"
    warmup_share: Share = 0.05
    weight_decay: NotNegative = 0.0
    max_grad_norm: Positive = 1.0
    evaluate_every: Count = 100
    checkpoint_every: Count | None = None
    keep: Keep = "last"
    dtype: str | None = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.dtype is not None:
            floating_dtype(self.dtype)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1.

        Example:
            >>> settings = PromptTrainingSettings(learning_rate=1.0, num_steps=4, warmup_share=0.5)
            >>> [settings.learning_rate_at(step) for step in (1, 2, 3, 4)]
            [0.5, 1.0, 1.0, 0.5]
        """
        warmup = round(self.warmup_share * self.num_steps)
        if step > warmup and self.schedule == "constant":
            return self.learning_rate
        return linear_rate(step, peak=self.learning_rate, num_warmup=warmup, num_steps=self.num_steps)


@dataclass(frozen=True)
class PromptStep:
    """What one optimizer step was.

    Args:
        step: number of the step, from 1.
        loss: mean cross-entropy over the label words, in nats.
        learning_rate: the learning rate it was taken with.
        gradient_norm: length of the gradient before it was shortened.
        num_tokens: tokens of the batch's rows, without the virtual ones and without padding.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    num_tokens: int


@dataclass(frozen=True)
class PromptEvaluation:
    """How a prompt did on the development or held-out examples.

    Args:
        step: optimizer steps before it.
        loss: mean cross-entropy over the label words, in nats.
        accuracy: share of examples whose label word is the most probable of their options.
    """

    step: int
    loss: float
    accuracy: float


class LabelTraining:
    """Optimizer steps on the loss over the label words, and the weights that do best on development examples.

    What is trained, a prompt or a whole model, says how its gradient and its evaluation are computed.

    Args:
        weights: what is trained.
        settings: see `PromptTrainingSettings`.
        batches: the batch of every step.
        fused: whether AdamW goes over the weights once instead of several times, for many weights.
    """

    name = "weights"
    # what is said after "training has stopped"
    consequence = ""

    def __init__(
        self,
        weights: Iterable[torch.nn.Parameter],
        settings: PromptTrainingSettings,
        batches: Batches,
        *,
        fused: bool = False,
    ) -> None:
        self.weights = list(weights)
        self.settings = settings
        self.batches = batches
        self.optimizer = torch.optim.AdamW(
            self.weights, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=fused
        )
        self.steps: list[PromptStep] = []
        self.evaluations: list[PromptEvaluation] = []
        self.num_tokens = 0
        self.best = BestWeights(self.weights)

    def set_gradient(self, batch: list[TokenizedExample]) -> tuple[float, int]:
        """Compute the gradient of the mean loss over a batch; return that loss, and the tokens that were read."""
        raise NotImplementedError

    def evaluate(self) -> Evaluation | None:
        """Score the development examples; None where there are none."""
        raise NotImplementedError

    def check_weights(self) -> None:
        """Refuse weights that an update has spoilt."""

    def save(self) -> None:
        """Keep the state of the run, where it can be kept."""

    def give_up(self) -> None:
        """Do what is to be done before the run stops with an error."""

    def finish_steps(self, after_step: Callable[[PromptStep], None] | None, progress: bool) -> None:
        """Take all steps that are left."""
        if not self.steps:
            self._look()
        total, every = self.settings.num_steps, self.settings.evaluate_every
        with tqdm(
            total=total, initial=len(self.steps), desc=self.name, disable=not progress, leave=False
        ) as bar:
            for update in descend(
                self.optimizer,
                self._compute_gradient,
                range(len(self.steps) + 1, total + 1),
                max_grad_norm=self.settings.max_grad_norm,
                refuse=lambda what, value, _: self.stop_unless_finite(what, value),
            ):
                self.steps.append(
                    PromptStep(
                        update.step, update.loss, update.learning_rate, update.gradient_norm, self.num_tokens
                    )
                )
                self.check_weights()
                if after_step:
                    after_step(self.steps[-1])
                if self._is_due(every):
                    self._look()
                if self._is_due(self.settings.checkpoint_every or every):
                    self.save()
                bar.set_postfix_str(self._summary(), refresh=False)
                bar.update()

    def _compute_gradient(self, number: int) -> float:
        self.optimizer.param_groups[0]["lr"] = self.settings.learning_rate_at(number)
        loss, self.num_tokens = self.set_gradient(self.batches.at(number))
        return loss

    def stop_unless_finite(self, what: str, value: float) -> None:
        """Stop the run at a value that is no finite number.

        Raises:
            CourseError: it is none.
        """
        if math.isfinite(value):
            return
        self.give_up()
        raise CourseError(
            f"The {what} is not a finite number any more after {len(self.steps)} steps; "
            f"training has stopped{self.consequence}.",
            given=value,
            mend=f"Use a smaller learning rate than {self.settings.learning_rate:g}.",
        )

    def _is_due(self, every: int) -> bool:
        return len(self.steps) % every == 0 or len(self.steps) == self.settings.num_steps

    def _summary(self) -> str:
        text = f"loss {self.steps[-1].loss:.3f}"
        return text + (f", accuracy {self.evaluations[-1].accuracy:.3f}" if self.evaluations else "")

    def _look(self) -> None:
        """Evaluate, and keep the weights if none did better before."""
        try:
            found = self.evaluate()
        except CourseError:
            self.stop_unless_finite("score of a development example", math.nan)
            raise
        if found is None:
            return
        evaluation = PromptEvaluation(len(self.steps), found.loss, found.accuracy)
        self.best.offer(evaluation.step, evaluation.accuracy, evaluation.loss)
        self.evaluations.append(evaluation)
