"""Training of soft prompts, beforehand on plain text or on the few examples of a task: one loop for both.

An example is a text that ends right before its label word, and the number of that word among the label
words. So the loop knows nothing of tasks: pairs, choices, single sentences and the unified form, where the
number of options differs by row, are all the same to it.

The language model is frozen and in evaluation mode, and nothing in a step is drawn at random; the order of
the batches is a function of seed and step. So a checkpoint needs no state of any random generator.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.checks import (
    Check,
    a_choice,
    a_model_and_tokenizer,
    a_positive,
    a_seed,
    border,
    check_callable,
    check_count,
    check_fields,
    check_flag,
    check_number,
    check_path,
    check_share,
    of_type,
    optional,
)
from course_lib.errors import CourseError
from course_lib.finetuning import Evaluation
from course_lib.models import ModelAndTokenizer, floating_dtype
from course_lib.models.fingerprint import model_fingerprint
from course_lib.ppt.checkpoints import CHECKPOINT_FILE, read_checkpoint, tensors_hash, write_checkpoint
from course_lib.ppt.examples import Batches, Examples, HeldOut, TaskTokens, read_examples
from course_lib.ppt.label_scoring import unchecked_label_loss
from course_lib.ppt.processes import Processes
from course_lib.ppt.soft_prompt import SoftPrompt
from course_lib.prompts.verbalizers import LabelIds, Verbalizer
from course_lib.runs.hardware import warn_of_slow_bfloat16

if TYPE_CHECKING:
    import pandas as pd
    import torch

LAST_GOOD_FOLDER = "last_good"
SCHEDULES = ("linear", "constant")
KEEPS = ("last", "best")


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

    learning_rate: float = 1e-2
    num_steps: int = 1000
    batch_size: int = 16
    schedule: str = "linear"
    warmup_share: float = 0.05
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    evaluate_every: int = 100
    checkpoint_every: int | None = None
    keep: str = "last"
    dtype: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(
            self,
            learning_rate=a_positive,
            num_steps=check_count,
            batch_size=check_count,
            schedule=a_choice(*SCHEDULES),
            warmup_share=check_share,
            weight_decay=partial(check_number, least=0),
            max_grad_norm=a_positive,
            evaluate_every=check_count,
            checkpoint_every=optional(check_count),
            keep=a_choice(*KEEPS),
            seed=a_seed,
        )
        if self.dtype is not None:
            floating_dtype(self.dtype)

    def learning_rate_at(self, step: int) -> float:
        """Give the learning rate of a step, counted from 1.

        Example:
            >>> settings = PromptTrainingSettings(learning_rate=1.0, num_steps=4, warmup_share=0.5)
            >>> [settings.learning_rate_at(step) for step in (1, 2, 3, 4)]
            [0.5, 1.0, 1.0, 0.5]
        """
        warmup = round(self.warmup_share * self.num_steps)
        if step <= warmup:
            return self.learning_rate * step / warmup
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (self.num_steps - step + 1) / (self.num_steps - warmup)


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


@dataclass
class PromptTrainingResult:
    """A trained prompt and how it came about.

    Args:
        prompt: the prompt that was passed in, now trained.
        steps: one entry a step.
        evaluations: one entry an evaluation, the first before any step.
        kept_step: steps after which the prompt is as it is.
    """

    prompt: SoftPrompt
    steps: list[PromptStep] = field(default_factory=list)
    evaluations: list[PromptEvaluation] = field(default_factory=list)
    kept_step: int = 0

    def step_table(self) -> pd.DataFrame:
        """Give the steps as a data frame."""
        import pandas as pd

        return pd.DataFrame([asdict(step) for step in self.steps])

    def evaluation_table(self) -> pd.DataFrame:
        """Give the evaluations as a data frame."""
        import pandas as pd

        return pd.DataFrame([asdict(evaluation) for evaluation in self.evaluations])


_RUN: dict[str, Check] = {
    "language_model": a_model_and_tokenizer,
    "prompt": of_type("course_lib.ppt.soft_prompt.SoftPrompt"),
    "verbalizer": of_type("course_lib.prompts.verbalizers.Verbalizer"),
    "settings": optional(of_type("course_lib.ppt.training.PromptTrainingSettings")),
    "checkpoint_folder": optional(check_path),
    "after_step": optional(check_callable),
    "progress": check_flag,
}


@border(**_RUN)
def pretrain_prompt(
    language_model: ModelAndTokenizer,
    prompt: SoftPrompt,
    examples: Examples,
    verbalizer: Verbalizer,
    settings: PromptTrainingSettings | None = None,
    *,
    held_out: Examples,
    checkpoint_folder: Path | str | None = None,
    after_step: Callable[[PromptStep], None] | None = None,
    progress: bool = True,
) -> PromptTrainingResult:
    """Train a prompt beforehand on examples made from plain text, in place.

    It is `train_prompt` with held-out examples, none of whose texts may be trained on.

    Args:
        language_model: see `train_prompt`.
        prompt: see `train_prompt`.
        examples: see `train_prompt`.
        verbalizer: see `train_prompt`.
        settings: see `train_prompt`.
        held_out: examples from documents that `examples` are not from.
        checkpoint_folder: see `train_prompt`.
        after_step: see `train_prompt`.
        progress: whether to show a progress bar.

    Returns:
        The prompt and its curves.

    Raises:
        CourseError: as `train_prompt`; a text that is among both.

    Source: Gu et al. 2022, section 3.
    """
    texts = {example.text for example in read_examples(held_out, verbalizer)}
    for number, example in enumerate(read_examples(examples, verbalizer)):
        if example.text in texts:
            raise CourseError(
                f"Example {number} is among the held-out ones too.",
                given=example.text,
                mend="Make the held-out examples from documents of their own.",
            )
    return train_prompt(
        language_model, prompt, examples, verbalizer, settings,
        development=held_out, checkpoint_folder=checkpoint_folder, after_step=after_step, progress=progress,
    )  # fmt: skip


@border(**_RUN)
def train_prompt(
    language_model: ModelAndTokenizer,
    prompt: SoftPrompt,
    examples: Examples,
    verbalizer: Verbalizer,
    settings: PromptTrainingSettings | None = None,
    *,
    development: Examples | None = None,
    checkpoint_folder: Path | str | None = None,
    after_step: Callable[[PromptStep], None] | None = None,
    progress: bool = True,
) -> PromptTrainingResult:
    """Train a soft prompt in front of a frozen language model, in place.

    The loss is the cross-entropy over the label words at the answer position, and over nothing else.

    Started by `torchrun` or `accelerate launch`, the processes share each step's batch and take the same step;
    each must have its model on a device of its own.

    Args:
        language_model: a causal language model; it is used in evaluation mode, and no weight of it changes.
        prompt: the prompt.
        examples: rows with `text`, `label` and, where it differs by row, `num_options` (see
            `PromptExample`); a `datasets.Dataset`, or a list of mappings or tuples. They are turned into tokens
            as they are used, so a data set on disk stays there.
        verbalizer: the label words.
        settings: see `PromptTrainingSettings`.
        development: examples to evaluate on, and to choose the prompt on where `keep` is "best".
        checkpoint_folder: where to keep the state of the run. If there is a checkpoint of the same run, it goes on
            from there and ends with the same prompt, bit for bit.
        after_step: called with each step once the prompt has moved.
        progress: whether to show a progress bar.

    Returns:
        The prompt and its curves.

    Raises:
        CourseError: no examples, a row without text or with a label outside its options, label words that
            cannot be compared, a text that does not fit behind the prompt, a prompt for another model,
            `keep="best"` without development examples, a checkpoint that is damaged or of another run; a
            loss or gradient that is not a finite number. Then the prompt is the last one whose loss was
            finite, and `checkpoint_folder` keeps it as an adapter, in `last_good`.
    """
    settings = settings or PromptTrainingSettings()
    prompt.check_fits(language_model.model)
    if settings.keep == "best" and development is None:
        raise CourseError(
            "The best prompt can only be chosen on development examples.",
            given="keep='best', development=None",
            mend="Pass `development`, or use keep='last'.",
        )
    with _frozen(language_model, settings.dtype) as frozen:
        task = TaskTokens(frozen, verbalizer, prompt.num_virtual_tokens)
        batches = Batches(task, examples, settings.batch_size, settings.seed)
        held_out = None if development is None else HeldOut(task, development)
        run = _Run(frozen, prompt, settings, batches, held_out, checkpoint_folder)
        run.resume()
        run.finish_steps(after_step, progress)
        return run.result()


@border(
    language_model=a_model_and_tokenizer,
    prompt=optional(_RUN["prompt"]),
    verbalizer=_RUN["verbalizer"],
    batch_size=check_count,
)
def evaluate_prompt(
    language_model: ModelAndTokenizer,
    prompt: SoftPrompt | None,
    examples: Examples,
    verbalizer: Verbalizer,
    *,
    batch_size: int = 32,
) -> Evaluation:
    """Score examples behind a prompt, or without one.

    Args:
        language_model: a causal language model.
        prompt: the prompt; None for the texts alone, a hard pattern.
        examples: see `train_prompt`.
        verbalizer: the label words.
        batch_size: examples at a time; the scores do not depend on it.

    Returns:
        Log-probabilities of the labels' whole continuations in the whole vocabulary [n, num_labels], as
        `logits` (-inf where a row does not offer that label), and the labels, in the order of the rows. Its
        accuracy and loss compare the label words with each other alone.

    Raises:
        CourseError: as `train_prompt`; scores that are not numbers.
    """
    if prompt is not None:
        prompt.check_fits(language_model.model)
    with _frozen(language_model, None) as frozen:
        task = TaskTokens(frozen, verbalizer, prompt.num_virtual_tokens if prompt else 0)
        return HeldOut(task, examples, batch_size).evaluate(prompt, Processes.alone())


# --- the run ---------------------------------------------------------------------------------------


class _Run:
    """The state of a training run: what a checkpoint holds."""

    def __init__(
        self,
        language_model: ModelAndTokenizer,
        prompt: SoftPrompt,
        settings: PromptTrainingSettings,
        batches: Batches,
        held_out: HeldOut | None,
        folder: Path | str | None,
    ) -> None:
        import torch

        self.language_model = language_model
        self.prompt = prompt
        self.settings = settings
        self.batches = batches
        self.held_out = held_out
        self.folder = None if folder is None else Path(folder)
        self.processes = Processes(language_model.model.device)
        self.optimizer = torch.optim.AdamW(
            [prompt.embeddings], lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.steps: list[PromptStep] = []
        self.evaluations: list[PromptEvaluation] = []
        self.best = _values(prompt)
        self.best_step = 0
        # the prompt before the last update: the last one that is known to give a finite loss
        self.last_good = _values(prompt)
        self.identity = self._identity()

    def finish_steps(self, after_step: Callable[[PromptStep], None] | None, progress: bool) -> None:
        """Take all steps that are left."""
        from tqdm.auto import tqdm

        if not self.steps:
            self._evaluate()
        total = self.settings.num_steps
        shown = progress and self.processes.index == 0
        with tqdm(total=total, initial=len(self.steps), desc="prompt", disable=not shown, leave=False) as bar:
            while len(self.steps) < total:
                self._step()
                if after_step:
                    after_step(self.steps[-1])
                if self._is_due(self.settings.evaluate_every):
                    self._evaluate()
                if self._is_due(self.settings.checkpoint_every or self.settings.evaluate_every):
                    self._save()
                bar.set_postfix_str(self._summary(), refresh=False)
                bar.update()
        if self.held_out is None:
            self._look_at_last_update()

    def _look_at_last_update(self) -> None:
        """Refuse a prompt whose last update spoilt it: without development examples it has had no loss yet."""
        loss, _ = self._reduced_gradient(self.batches.at(len(self.steps)))
        self.prompt.embeddings.grad = None
        self._stop_unless_finite("loss", loss)

    def result(self) -> PromptTrainingResult:
        """Give the prompt that is to be kept."""
        step = len(self.steps)
        if self.settings.keep == "best":
            _set_values(self.prompt, self.best)
            step = self.best_step
        return PromptTrainingResult(self.prompt, self.steps, self.evaluations, step)

    def _is_due(self, every: int) -> bool:
        return len(self.steps) % every == 0 or len(self.steps) == self.settings.num_steps

    def _summary(self) -> str:
        text = f"loss {self.steps[-1].loss:.3f}"
        return text + (f", accuracy {self.evaluations[-1].accuracy:.3f}" if self.evaluations else "")

    def _step(self) -> None:
        import torch

        number = len(self.steps) + 1
        rows = self.prompt.embeddings
        loss, num_tokens = self._reduced_gradient(self.batches.at(number))
        self._stop_unless_finite("loss", loss)
        norm = float(torch.nn.utils.clip_grad_norm_([rows], self.settings.max_grad_norm))
        self._stop_unless_finite("gradient", norm)
        self.last_good = _values(self.prompt)
        rate = self.settings.learning_rate_at(number)
        self.optimizer.param_groups[0]["lr"] = rate
        try:
            self.optimizer.step()
        except RuntimeError:  # what torch says of a step that is no float32 any more
            self._stop_unless_finite("update", math.inf)
        self.steps.append(PromptStep(number, loss, rate, norm, num_tokens))
        self._stop_unless_finite("prompt", float(rows.detach().abs().max()))

    def _reduced_gradient(self, batch: list[tuple[LabelIds, int]]) -> tuple[float, int]:
        """Set the gradient of the mean loss over the batch, of which each process runs a part.

        Returns:
            The mean loss over the batch, and its tokens.
        """
        import torch

        rows = self.prompt.embeddings
        rows.grad = torch.zeros_like(rows)
        totals = torch.zeros(2, device=rows.device)
        own = batch[self.processes.index :: self.processes.count]
        if own:
            scores, num_tokens = self.batches.task.scores(self.prompt, [ids for ids, _ in own])
            labels = torch.tensor([label for _, label in own], device=scores.device)
            loss = unchecked_label_loss(scores, labels, reduction="sum") / len(batch)
            loss.backward()
            totals += torch.stack([loss.detach(), torch.tensor(float(num_tokens), device=loss.device)]).to(
                totals
            )
        # one exchange for all, so that no process stops alone while others wait for it
        summed = self.processes.sum(torch.cat([rows.grad.flatten(), totals]))
        rows.grad = summed[:-2].view_as(rows).clone()
        return float(summed[-2]), int(summed[-1])

    def _stop_unless_finite(self, what: str, value: float) -> None:
        if math.isfinite(value):
            return
        _set_values(self.prompt, self.last_good)
        if self.folder is not None and self.processes.index == 0:
            self.prompt.save(self.folder / LAST_GOOD_FOLDER, self.language_model)
        raise CourseError(
            f"The {what} is not a finite number any more after {len(self.steps)} steps; training has stopped, "
            "and the prompt is the last one whose loss was finite.",
            given=value,
            mend=f"Use a smaller learning rate than {self.settings.learning_rate:g}.",
        )

    def _evaluate(self) -> None:
        if self.held_out is None:
            return
        try:
            found = self.held_out.evaluate(self.prompt, self.processes)
        except CourseError:
            self._stop_unless_finite("score of a development example", math.nan)
            raise
        evaluation = PromptEvaluation(len(self.steps), found.loss, found.accuracy)
        if all(_rank(evaluation) > _rank(earlier) for earlier in self.evaluations):
            self.best, self.best_step = _values(self.prompt), len(self.steps)
        self.evaluations.append(evaluation)

    # --- checkpoints -------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """Give what must be the same for a checkpoint to be of this run."""
        verbalizer = self.batches.task.verbalizer
        found = {
            **asdict(self.settings),
            "label words": list(verbalizer.continuations),
            "examples": self.batches.digest,
            "development examples": self.held_out.digest if self.held_out else None,
            "initial prompt": tensors_hash({"prompt": self.last_good}),
            "language model": list(model_fingerprint(self.language_model.model).sampled_weights),
        }
        return json.loads(json.dumps(found))

    def _save(self) -> None:
        if self.folder is None or self.processes.index:
            return
        state = self.optimizer.state[self.prompt.embeddings]
        tensors = {
            "prompt": self.prompt.embeddings,
            "best": self.best,
            "last_good": self.last_good,
            "exp_avg": state["exp_avg"],
            "exp_avg_sq": state["exp_avg_sq"],
        }
        record = {
            "steps": [list(asdict(step).values()) for step in self.steps],
            "evaluations": [list(asdict(evaluation).values()) for evaluation in self.evaluations],
            "best_step": self.best_step,
        }
        write_checkpoint(self.folder / CHECKPOINT_FILE, tensors, self.identity, record)

    def resume(self) -> None:
        """Take up the checkpoint, if there is one."""
        found = self.folder and read_checkpoint(self.folder / CHECKPOINT_FILE, self.identity)
        if not found:
            return
        tensors, record = found
        rows = self.prompt.embeddings
        tensors = {name: tensor.to(rows.device) for name, tensor in tensors.items()}
        self.steps = [PromptStep(*values) for values in record["steps"]]
        self.evaluations = [PromptEvaluation(*values) for values in record["evaluations"]]
        self.best, self.best_step = tensors["best"], record["best_step"]
        self.last_good = tensors["last_good"]
        _set_values(self.prompt, tensors["prompt"])
        state = {name: tensors[name] for name in ("exp_avg", "exp_avg_sq")}
        self.optimizer.load_state_dict(
            {
                "state": {0: {"step": float(len(self.steps)), **state}},
                "param_groups": self.optimizer.state_dict()["param_groups"],
            }
        )


def _values(prompt: SoftPrompt) -> torch.Tensor:
    return prompt.embeddings.detach().clone()


def _set_values(prompt: SoftPrompt, values: torch.Tensor) -> None:
    import torch

    with torch.no_grad():
        prompt.embeddings.copy_(values)


def _rank(evaluation: PromptEvaluation) -> tuple[float, float]:
    return evaluation.accuracy, -evaluation.loss


@contextlib.contextmanager
def _frozen(language_model: ModelAndTokenizer, dtype: str | None) -> Iterator[ModelAndTokenizer]:
    """Give the model in evaluation mode and without gradients for its weights; put both back afterwards."""
    model: Any = language_model.model
    if dtype is not None and floating_dtype(dtype) != model.dtype:
        model = copy.deepcopy(model).to(floating_dtype(dtype))
        warn_of_slow_bfloat16(model.dtype, model.device.type)
    was_training = model.training
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    model.eval()
    for weight in trained:
        weight.requires_grad_(False)
    try:
        with quick_attention(model, model.dtype):
            yield ModelAndTokenizer(model, language_model.tokenizer)
    finally:
        for weight in trained:
            weight.requires_grad_(True)
        model.train(was_training)


@contextlib.contextmanager
def quick_attention(model: Any, dtype: torch.dtype) -> Iterator[None]:
    """Use plain matrix products for attention where a CPU computes in half precision.

    There torch's fused attention takes more than a third of a step, nearly all of it in the backward pass.

    Args:
        model: a model of `transformers`; afterwards it is as before.
        dtype: what it computes in.
    """
    before = model.config._attn_implementation
    if model.device.type != "cpu" or dtype.itemsize > 2 or before != "sdpa":
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
