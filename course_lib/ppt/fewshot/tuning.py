"""Tuning of all weights of a language model on few examples, which prompt tuning is compared with."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from course_lib.checks.calls import border
from course_lib.checks.types import Flag
from course_lib.finetuning.evaluating import Evaluation
from course_lib.models.loaded import ModelAndTokenizer, floating_dtype
from course_lib.models.weights import count_parameters
from course_lib.ppt.examples import (
    Batches,
    Examples,
    PromptExample,
    TaskTokens,
    TokenizedExample,
    read_examples,
)
from course_lib.ppt.label_scoring import unchecked_label_loss
from course_lib.ppt.optimisation import LabelTraining, PromptEvaluation, PromptTrainingSettings
from course_lib.ppt.soft_prompt import SoftPrompt
from course_lib.ppt.training import evaluate_prompt, quick_attention
from course_lib.prompts.verbalizers import Verbalizer


@dataclass
class Tuned:
    """What a method has made of the few examples.

    Args:
        loaded: the frozen model, or the copy that was trained.
        prompt: the soft prompt, or None where the model itself was trained.
        evaluations: on the development examples.
        kept_step: the step with the highest development accuracy, among those the lowest loss.
        losses: training loss of each step, in nats.
        dtype: precision to compute in behind a trained copy; None for its own.
    """

    loaded: ModelAndTokenizer
    prompt: SoftPrompt | None
    evaluations: list[PromptEvaluation]
    kept_step: int
    losses: list[float] = field(default_factory=list)
    dtype: str | None = None

    @property
    def kept(self) -> PromptEvaluation:
        """The development evaluation of the step that is kept."""
        return next(each for each in self.evaluations if each.step == self.kept_step)

    @property
    def num_trained(self) -> int:
        """The number of trained parameters."""
        return count_parameters(self.loaded.model) if self.prompt is None else self._prompt_entries

    @property
    def num_bytes(self) -> int:
        """The bytes that have to be stored for the task, in float32."""
        return 4 * self.num_trained

    @property
    def _prompt_entries(self) -> int:
        return 0 if self.prompt is None else self.prompt.embeddings.numel()

    def evaluate(self, examples: Sequence[PromptExample], verbalizer: Verbalizer) -> Evaluation:
        """Score examples; see `evaluate_prompt`."""
        with _autocast(self.loaded, self.dtype):
            return evaluate_prompt(self.loaded, self.prompt, examples, verbalizer)


@border()
def finetune_language_model(
    loaded: ModelAndTokenizer,
    examples: Examples,
    verbalizer: Verbalizer,
    settings: PromptTrainingSettings,
    *,
    development: Examples,
    progress: Flag = False,
) -> Tuned:
    """Train all weights of a copy of a language model to say the label words behind a hard pattern.

    The loss is that of prompt tuning: cross-entropy over the label words at the answer position. The copy is
    in evaluation mode throughout, as the frozen model of prompt tuning is, so nothing is drawn at random.

    Args:
        loaded: a causal language model; it stays as it is.
        examples: texts and labels.
        verbalizer: the label words.
        settings: as for a prompt. The weights stay in float32 where `dtype` names a lower precision:
            small updates would vanish in bfloat16.
        development: examples to choose the step on; the copy ends with the weights of that step, whatever
            `keep` says.
        progress: whether to show a progress bar.

    Returns:
        The copy and its curves.

    Raises:
        CourseError: texts longer than the model's context; a loss or gradient that is not a finite number.
    """
    # both are read before the model is copied
    examples, development = (list(read_examples(rows, verbalizer)) for rows in (examples, development))
    model: Any = copy.deepcopy(loaded.model).float().eval()
    model.requires_grad_(True)
    training = _ModelTraining(
        ModelAndTokenizer(model, loaded.tokenizer), examples, verbalizer, settings, development
    )
    return training.run(progress)


class _ModelTraining(LabelTraining):
    """The training of all weights of a language model."""

    def __init__(
        self,
        loaded: ModelAndTokenizer,
        examples: Sequence[PromptExample],
        verbalizer: Verbalizer,
        settings: PromptTrainingSettings,
        development: Sequence[PromptExample],
    ) -> None:
        self.task = TaskTokens(loaded, verbalizer, num_virtual_tokens=0)
        batches = Batches(self.task, examples, settings.batch_size, settings.seed)
        super().__init__(loaded.model.parameters(), settings, batches, fused=True)
        self.tuned = Tuned(loaded, None, self.evaluations, 0, dtype=settings.dtype)
        self.development = development

    def run(self, progress: bool) -> Tuned:
        """Take all steps; the model ends with the weights of the best one."""
        self.finish_steps(None, progress)
        self.best.restore()
        self.optimizer.zero_grad()
        losses = [step.loss for step in self.steps]
        return replace(self.tuned, kept_step=self.best.step, losses=losses)

    def set_gradient(self, batch: list[TokenizedExample]) -> tuple[float, int]:
        with _autocast(self.tuned.loaded, self.settings.dtype):
            scores, num_tokens = self.task.scores(None, [tokens for tokens, _ in batch])
        loss = unchecked_label_loss(scores, torch.tensor([label for _, label in batch], device=scores.device))
        loss.backward()
        return loss.item(), num_tokens

    def evaluate(self) -> Evaluation:
        return self.tuned.evaluate(self.development, self.task.verbalizer)


@contextlib.contextmanager
def _autocast(loaded: ModelAndTokenizer, dtype: str | None) -> Iterator[None]:
    """Compute in a lower precision with weights that stay as they are."""
    if dtype is None or floating_dtype(dtype) == torch.float32:
        yield
        return
    model, lower = loaded.model, floating_dtype(dtype)
    with torch.autocast(model.device.type, dtype=lower), quick_attention(model, lower):
        yield
