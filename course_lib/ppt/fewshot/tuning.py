"""Few-shot tuning: a prompt's beginning, and the training of all weights that it is compared with."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib.errors import CourseError
from course_lib.finetuning import Evaluation
from course_lib.locations import data_folder
from course_lib.models import ModelAndTokenizer, count_parameters, floating_dtype
from course_lib.ppt.examples import Batches, PromptExample, TaskTokens
from course_lib.ppt.fewshot.tasks import FewShotMethod, FewShotTask
from course_lib.ppt.label_scoring import unchecked_label_loss
from course_lib.ppt.soft_prompt import SoftPrompt, initialise
from course_lib.ppt.training import (
    PromptEvaluation,
    PromptTrainingSettings,
    evaluate_prompt,
    quick_attention,
)
from course_lib.prompts.verbalizers import Verbalizer

# What a prompt of words begins as: it asks nothing that only one task could mean.
INITIAL_WORDS = "Read the text below with care and answer the question about it in a single word."
# Beside an adapter, how it was trained; its `labeller_domains` are read.
TRAINING_FILE = "training.json"


@dataclass
class Tuned:
    """What a method has made of the few examples.

    Args:
        language_model: the frozen model, or the copy that was trained.
        prompt: the soft prompt, or None where the model itself was trained.
        evaluations: on the development examples.
        kept_step: the step with the highest development accuracy, among those the lowest loss.
        losses: training loss of each step, in nats.
        dtype: precision to compute in behind a trained copy; None for its own.
    """

    language_model: ModelAndTokenizer
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
        return count_parameters(self.language_model.model) if self.prompt is None else self._prompt_entries

    @property
    def num_bytes(self) -> int:
        """The bytes that have to be stored for the task, in float32."""
        return 4 * self.num_trained

    @property
    def _prompt_entries(self) -> int:
        return 0 if self.prompt is None else self.prompt.embeddings.numel()

    def evaluate(self, examples: Sequence[PromptExample], verbalizer: Verbalizer) -> Evaluation:
        """Score examples; see `evaluate_prompt`."""
        with _autocast(self.language_model, self.dtype):
            return evaluate_prompt(self.language_model, self.prompt, examples, verbalizer)


def finetune_language_model(
    language_model: ModelAndTokenizer,
    examples: Sequence[PromptExample],
    verbalizer: Verbalizer,
    settings: PromptTrainingSettings,
    *,
    development: Sequence[PromptExample],
    progress: bool = False,
) -> Tuned:
    """Train all weights of a copy of a language model to say the label words behind a hard pattern.

    The loss is that of prompt tuning: cross-entropy over the label words at the answer position. The copy is
    in evaluation mode throughout, as the frozen model of prompt tuning is, so nothing is drawn at random.

    Args:
        language_model: a causal language model; it stays as it is.
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
    import copy

    import torch
    from tqdm.auto import tqdm

    model: Any = copy.deepcopy(language_model.model).float().eval()
    for weight in model.parameters():
        weight.requires_grad_(True)
    tuned = Tuned(ModelAndTokenizer(model, language_model.tokenizer), None, [], 0, dtype=settings.dtype)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    task = TaskTokens(tuned.language_model, verbalizer, num_virtual_tokens=0)
    batches = Batches(task, examples, settings.batch_size, settings.seed)
    best = _BestWeights(tuned, development, verbalizer)
    best.look(0)
    for number in tqdm(range(1, settings.num_steps + 1), desc="weights", disable=not progress, leave=False):
        batch = batches.at(number)
        optimizer.param_groups[0]["lr"] = settings.learning_rate_at(number)
        optimizer.zero_grad(set_to_none=True)
        with _autocast(tuned.language_model, settings.dtype):
            scores, _ = task.scores(None, [tokens for tokens, _ in batch])
        loss = unchecked_label_loss(scores, torch.tensor([label for _, label in batch], device=scores.device))
        _refuse_not_finite("loss", loss.item(), number, settings)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        _refuse_not_finite("gradient", float(norm), number, settings)
        optimizer.step()
        tuned.losses.append(loss.item())
        if number % settings.evaluate_every == 0 or number == settings.num_steps:
            best.look(number)
    best.restore()
    return tuned


class _BestWeights:
    """The weights of the step that does best on the development examples."""

    def __init__(self, tuned: Tuned, development: Sequence[PromptExample], verbalizer: Verbalizer) -> None:
        self._tuned = tuned
        self._development = development
        self._verbalizer = verbalizer
        self._rank = (-math.inf, -math.inf)
        self._weights: dict[str, Any] = {}

    def look(self, step: int) -> None:
        try:
            found = self._tuned.evaluate(self._development, self._verbalizer)
        except CourseError as error:
            raise CourseError(
                f"After step {step}: {error.problem}", given=error.given, mend=error.mend
            ) from error
        self._tuned.evaluations.append(PromptEvaluation(step, found.loss, found.accuracy))
        if (found.accuracy, -found.loss) > self._rank:
            self._rank = (found.accuracy, -found.loss)
            self._tuned.kept_step = step
            named = self._tuned.language_model.model.named_parameters()
            self._weights = {name: weight.detach().clone() for name, weight in named}

    def restore(self) -> None:
        import torch

        with torch.no_grad():
            for name, weight in self._tuned.language_model.model.named_parameters():
                weight.copy_(self._weights[name])
                weight.grad = None


def _refuse_not_finite(what: str, value: float, step: int, settings: PromptTrainingSettings) -> None:
    if not math.isfinite(value):
        raise CourseError(
            f"The {what} of step {step} is not a finite number.",
            given=value,
            mend=f"Use a smaller learning rate than {settings.learning_rate:g}.",
        )


@contextlib.contextmanager
def _autocast(language_model: ModelAndTokenizer, dtype: str | None) -> Iterator[None]:
    """Compute in a lower precision with weights that stay as they are."""
    import torch

    if dtype is None or floating_dtype(dtype) == torch.float32:
        yield
        return
    model, lower = language_model.model, floating_dtype(dtype)
    with torch.autocast(model.device.type, dtype=lower), quick_attention(model, lower):
        yield


def start_prompt(
    task: FewShotTask,
    method: FewShotMethod,
    language_model: ModelAndTokenizer,
    seed: int,
    *,
    num_virtual_tokens: int | None = None,
    prompt_folder: Path | str | None = None,
) -> SoftPrompt:
    """Give the soft prompt that a method begins with.

    Args:
        task: its form names the pre-trained prompt.
        method: its initialisation.
        language_model: the model that the prompt is for.
        seed: seed of the draw, where there is one.
        num_virtual_tokens: rows; 20, or as many as the pre-trained prompt has.
        prompt_folder: the folder with a folder for each pre-trained prompt, `pair`, `choice`, `single` and
            `unified`; `data/prompts` by default.

    Returns:
        The prompt.

    Raises:
        CourseError: no such prompt or one for another model; one whose labeller learnt from the task's domain.
    """
    if method.initialisation is None:
        raise CourseError("This method has no soft prompt.", given=method.name)
    if method.initialisation != "pretrained":
        words = INITIAL_WORDS if method.initialisation == "text" else None
        return initialise(method.initialisation, language_model, num_virtual_tokens, seed=seed, words=words)
    folder = Path(prompt_folder or data_folder() / "prompts") / ("unified" if method.unified else task.form)
    _refuse_leaking_labeller(folder, task)
    return initialise("pretrained", language_model, prompt=folder)


def _refuse_leaking_labeller(folder: Path, task: FewShotTask) -> None:
    """Refuse a prompt whose pseudo-labels come from a model that saw the task's own domain with its labels."""
    file = folder / TRAINING_FILE
    record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    domains = record.get("labeller_domains", [])
    if task.domain and task.domain in domains:
        raise CourseError(
            f"The labeller behind this prompt learnt from the {task.domain} texts: what it knows of them "
            "would count as learnt from few examples.",
            given=str(folder),
            mend="Take a prompt whose labeller learnt from other domains (`labeller_texts`).",
        )
