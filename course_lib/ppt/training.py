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
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from course_lib.checks.calls import Check, border, optional
from course_lib.checks.types import Count, Flag
from course_lib.checks.values import check_callable, check_path
from course_lib.errors import CourseError
from course_lib.finetuning.evaluating import Evaluation
from course_lib.finetuning.optimizing import BestWeights
from course_lib.models.fingerprint import model_fingerprint
from course_lib.models.loaded import ModelAndTokenizer, evaluation_mode, floating_dtype
from course_lib.ppt.examples import (
    Batches,
    Examples,
    HeldoutExamples,
    Processes,
    TaskTokens,
    TokenizedExample,
    read_examples,
)
from course_lib.ppt.label_scoring import unchecked_label_loss
from course_lib.ppt.optimisation import LabelTraining, PromptEvaluation, PromptStep, PromptTrainingSettings
from course_lib.ppt.soft_prompt import SoftPrompt
from course_lib.prompts.verbalizers import Verbalizer
from course_lib.runs.checkpoints import CHECKPOINT_FILE, read_checkpoint, tensors_hash, write_checkpoint
from course_lib.runs.hardware import warn_of_slow_bfloat16

LAST_GOOD_FOLDER = "last_good"


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
        """Return the steps as a data frame."""
        return pd.DataFrame([asdict(step) for step in self.steps])

    def evaluation_table(self) -> pd.DataFrame:
        """Return the evaluations as a data frame."""
        return pd.DataFrame([asdict(evaluation) for evaluation in self.evaluations])


_RUN: dict[str, Check] = {
    "checkpoint_folder": optional(check_path),
    "after_step": optional(check_callable),
}


@border(**_RUN)
def pretrain_prompt(
    loaded: ModelAndTokenizer,
    prompt: SoftPrompt,
    examples: Examples,
    verbalizer: Verbalizer,
    settings: PromptTrainingSettings | None = None,
    *,
    heldout: Examples,
    checkpoint_folder: Path | str | None = None,
    after_step: Callable[[PromptStep], None] | None = None,
    progress: Flag = True,
) -> PromptTrainingResult:
    """Train a prompt beforehand on examples made from plain text, in place.

    It is `train_prompt` with held-out examples, none of whose texts may be trained on.

    Args:
        loaded: a causal language model; no weight of it changes.
        prompt: the prompt, which is trained in place.
        examples: rows with `text`, `label` and, where it differs by row, `num_options`.
        verbalizer: the label words.
        settings: see `PromptTrainingSettings`.
        heldout: examples from documents that `examples` are not from.
        checkpoint_folder: where to keep the state of the run, from which a stopped run goes on.
        after_step: called with each step once the prompt has moved.
        progress: whether to show a progress bar.

    Returns:
        The prompt and its curves.

    Raises:
        CourseError: what `train_prompt` refuses; a text that is among both.

    Source: Gu et al. 2022, section 3.
    """
    texts = {example.text for example in read_examples(heldout, verbalizer)}
    for number, example in enumerate(read_examples(examples, verbalizer)):
        if example.text in texts:
            raise CourseError(
                f"Example {number} is among the held-out ones too.",
                given=example.text,
                mend="Make the held-out examples from documents of their own.",
            )
    return train_prompt(
        loaded, prompt, examples, verbalizer, settings,
        development=heldout, checkpoint_folder=checkpoint_folder, after_step=after_step, progress=progress,
    )  # fmt: skip


@border(**_RUN)
def train_prompt(
    loaded: ModelAndTokenizer,
    prompt: SoftPrompt,
    examples: Examples,
    verbalizer: Verbalizer,
    settings: PromptTrainingSettings | None = None,
    *,
    development: Examples | None = None,
    checkpoint_folder: Path | str | None = None,
    after_step: Callable[[PromptStep], None] | None = None,
    progress: Flag = True,
) -> PromptTrainingResult:
    """Train a soft prompt in front of a frozen language model, in place.

    The loss is the cross-entropy over the label words at the answer position, and over nothing else.

    Started by `torchrun` or `accelerate launch`, the processes share each step's batch and take the same step;
    each must have its model on a device of its own.

    Args:
        loaded: a causal language model; it is used in evaluation mode, and no weight of it changes.
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
    prompt.check_fits(loaded.model)
    if settings.keep == "best" and development is None:
        raise CourseError(
            "The best prompt can only be chosen on development examples.",
            given="keep='best', development=None",
            mend="Pass `development`, or use keep='last'.",
        )
    with _frozen(loaded, settings.dtype) as frozen:
        task = TaskTokens(frozen, verbalizer, prompt.num_virtual_tokens)
        batches = Batches(task, examples, settings.batch_size, settings.seed)
        heldout = None if development is None else HeldoutExamples(task, development)
        training = _PromptTraining(frozen, prompt, settings, batches, heldout, checkpoint_folder)
        return training.run(after_step, progress)


@border()
def evaluate_prompt(
    loaded: ModelAndTokenizer,
    prompt: SoftPrompt | None,
    examples: Examples,
    verbalizer: Verbalizer,
    *,
    batch_size: Count = 32,
) -> Evaluation:
    """Score examples behind a prompt, or without one.

    Args:
        loaded: a causal language model.
        prompt: the prompt; None for the texts alone, a hard pattern.
        examples: rows with `text`, `label` and, where it differs by row, `num_options`.
        verbalizer: the label words.
        batch_size: examples at a time; the scores do not depend on it.

    Returns:
        Log-probabilities of the labels' whole continuations in the whole vocabulary [n, num_labels], as
        `logits` (-inf where a row does not offer that label), and the labels, in the order of the rows. Its
        accuracy and loss compare the label words with each other alone.

    Raises:
        CourseError: what `train_prompt` refuses; scores that are not numbers.
    """
    if prompt is not None:
        prompt.check_fits(loaded.model)
    with _frozen(loaded, None) as frozen:
        task = TaskTokens(frozen, verbalizer, prompt.num_virtual_tokens if prompt else 0)
        return HeldoutExamples(task, examples, batch_size).evaluate(prompt, Processes.alone())


# --- the run ---------------------------------------------------------------------------------------


class _PromptTraining(LabelTraining):
    """The training of a prompt: shared among processes, and resumed from a checkpoint."""

    name = "prompt"
    consequence = ", and the prompt is the last one whose loss was finite"

    def __init__(
        self,
        loaded: ModelAndTokenizer,
        prompt: SoftPrompt,
        settings: PromptTrainingSettings,
        batches: Batches,
        heldout: HeldoutExamples | None,
        folder: Path | str | None,
    ) -> None:
        super().__init__([prompt.embeddings], settings, batches)
        self.loaded = loaded
        self.prompt = prompt
        self.heldout = heldout
        self.folder = None if folder is None else Path(folder)
        self.processes = Processes(loaded.model.device)
        # the prompt before the last update: the last one that is known to give a finite loss
        self.last_good = BestWeights(self.weights)
        self.optimizer.register_step_pre_hook(lambda *_: self._before_update())
        self.identity = self._identity()

    def run(self, after_step: Callable[[PromptStep], None] | None, progress: bool) -> PromptTrainingResult:
        """Take all steps that are left, and return the prompt that is to be kept."""
        self._resume()
        self.finish_steps(after_step, progress and self.processes.index == 0)
        if self.heldout is None:
            self._look_at_last_update()
        step = len(self.steps)
        if self.settings.keep == "best":
            self.best.restore()
            step = self.best.step
        return PromptTrainingResult(self.prompt, self.steps, self.evaluations, step)

    def _look_at_last_update(self) -> None:
        """Refuse a prompt whose last update spoilt it: without development examples it has had no loss yet."""
        loss, _ = self.set_gradient(self.batches.at(len(self.steps)))
        self.prompt.embeddings.grad = None
        self.stop_unless_finite("loss", loss)

    def evaluate(self) -> Evaluation | None:
        return None if self.heldout is None else self.heldout.evaluate(self.prompt, self.processes)

    def check_weights(self) -> None:
        self.stop_unless_finite("prompt", float(self.prompt.embeddings.detach().abs().max()))

    def _before_update(self) -> None:
        """Keep the prompt, whose loss was finite; refuse an update that float32 cannot hold."""
        self.last_good.kept = self.last_good.copies()
        group = self.optimizer.param_groups[0]
        step_size = group["lr"] / (1 - group["betas"][0] ** (len(self.steps) + 1))
        if step_size > torch.finfo(torch.float32).max:
            self.stop_unless_finite("update", math.inf)

    def give_up(self) -> None:
        self.last_good.restore()
        if self.folder is not None and self.processes.index == 0:
            self.prompt.save(self.folder / LAST_GOOD_FOLDER, self.loaded)

    def set_gradient(self, batch: list[TokenizedExample]) -> tuple[float, int]:
        """Set the gradient of the mean loss over the batch, of which each process runs a part.

        Returns:
            The mean loss over the batch, and its tokens.
        """
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

    # --- checkpoints -------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """Return what must be the same for a checkpoint to be of this run."""
        verbalizer = self.batches.task.verbalizer
        found = {
            **asdict(self.settings),
            "label words": list(verbalizer.continuations),
            "examples": self.batches.digest,
            "development examples": self.heldout.digest if self.heldout else None,
            "initial prompt": tensors_hash({"prompt": self.last_good.kept[0]}),
            "language model": list(model_fingerprint(self.loaded.model).sampled_weights),
        }
        return json.loads(json.dumps(found))

    def save(self) -> None:
        if self.folder is None or self.processes.index:
            return
        state = self.optimizer.state[self.prompt.embeddings]
        tensors = {
            "prompt": self.prompt.embeddings,
            "best": self.best.kept[0],
            "last_good": self.last_good.kept[0],
            "exp_avg": state["exp_avg"],
            "exp_avg_sq": state["exp_avg_sq"],
        }
        record = {
            "steps": [list(asdict(step).values()) for step in self.steps],
            "evaluations": [list(asdict(evaluation).values()) for evaluation in self.evaluations],
            "best_step": self.best.step,
        }
        write_checkpoint(self.folder / CHECKPOINT_FILE, tensors, self.identity, record)

    def _resume(self) -> None:
        """Take up the checkpoint, if there is one."""
        found = self.folder and read_checkpoint(self.folder / CHECKPOINT_FILE, self.identity)
        if not found:
            return
        tensors, record = found
        rows = self.prompt.embeddings
        tensors = {name: tensor.to(rows.device) for name, tensor in tensors.items()}
        self.steps = [PromptStep(*values) for values in record["steps"]]
        self.evaluations = [PromptEvaluation(*values) for values in record["evaluations"]]
        self.best.kept, self.best.step = [tensors["best"]], record["best_step"]
        self.best.rank = max(
            ((each.accuracy, -each.loss) for each in self.evaluations), default=self.best.rank
        )
        self.last_good.kept = [tensors["last_good"]]
        with torch.no_grad():
            rows.copy_(tensors["prompt"])
        state = {name: tensors[name] for name in ("exp_avg", "exp_avg_sq")}
        self.optimizer.load_state_dict(
            {
                "state": {0: {"step": float(len(self.steps)), **state}},
                "param_groups": self.optimizer.state_dict()["param_groups"],
            }
        )


@contextlib.contextmanager
def _frozen(loaded: ModelAndTokenizer, dtype: str | None) -> Iterator[ModelAndTokenizer]:
    """Return the model in evaluation mode and without gradients for its weights; put both back afterwards."""
    model: Any = loaded.model
    if dtype is not None and floating_dtype(dtype) != model.dtype:
        model = copy.deepcopy(model).to(floating_dtype(dtype))
        warn_of_slow_bfloat16(model.dtype, model.device.type)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        with evaluation_mode(model), quick_attention(model, model.dtype):
            yield ModelAndTokenizer(model, loaded.tokenizer)
    finally:
        for weight in trained:
            weight.requires_grad_(True)


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
