"""SmartTrainer: the Trainer of `transformers` with λ_s R_s and μ D_Breg added to its loss.

Nothing else of the Trainer changes: label smoothing, a `compute_loss_func` of one's own, evaluation,
schedules and callbacks work as they do there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput

from course_lib.checks.calls import check_fields
from course_lib.checks.values import check_flag, not_negative
from course_lib.errors import CourseError
from course_lib.locations import written_whole
from course_lib.models.loaded import evaluation_mode
from course_lib.smart.divergence import Divergence, divergence_for
from course_lib.smart.loss import SmartLoss, SmartTerms
from course_lib.smart.proximal import BregmanProximalPoint
from course_lib.smart.smoothness import Norm, SmoothnessRegularizer

ANCHOR_FILE = "smart_anchor.safetensors"
# The last file that the Trainer writes into a checkpoint: with it, the checkpoint is complete.
STATE_FILE = "trainer_state.json"


@dataclass
class SmartTrainingArguments(TrainingArguments):
    """TrainingArguments and the settings of SMART.

    Args:
        smoothness_weight: λ_s; 0 switches R_s off.
        epsilon: see `SmoothnessRegularizer`; the default does next to nothing on many models.
        step_size: see `SmoothnessRegularizer`.
        noise_std: see `SmoothnessRegularizer`.
        num_ascent_steps: K, `num_steps` of `SmoothnessRegularizer`.
        perturbation_norm: `norm` of `SmoothnessRegularizer`.
        proximal_weight: μ; 0 switches D_Breg off.
        beta: see `BregmanProximalPoint`.
        late_beta: see `BregmanProximalPoint`.
        late_beta_start: share of the run's updates after which `late_beta` holds.
        half_life: instead of both β: updates after which an old weight counts half.
        momentum: see `BregmanProximalPoint`.
        inner_steps: see `BregmanProximalPoint`.

    Raises:
        CourseError: a setting of a term that is switched on is out of its range.
    """

    smoothness_weight: float = field(default=1.0, metadata={"help": "λ_s; 0 switches R_s off."})
    epsilon: float = field(default=1e-5, metadata={"help": "Radius of the ball around the embeddings."})
    step_size: float | None = field(default=None, metadata={"help": "Length of an ascent step, or 100 ε."})
    noise_std: float | None = field(default=None, metadata={"help": "Deviation of the initial noise, or ε."})
    num_ascent_steps: int = field(default=1, metadata={"help": "K, ascent steps."})
    perturbation_norm: Norm = field(default="inf", metadata={"help": "Norm of the ball, inf or 2."})
    proximal_weight: float = field(default=1.0, metadata={"help": "μ; 0 switches D_Breg off."})
    beta: float = field(default=0.99, metadata={"help": "Momentum β of the first updates."})
    late_beta: float = field(default=0.999, metadata={"help": "Momentum β of the later updates."})
    late_beta_start: float = field(default=0.1, metadata={"help": "Share of updates before late_beta."})
    half_life: float | None = field(default=None, metadata={"help": "Both β, as a half-life in updates."})
    momentum: bool = field(default=True, metadata={"help": "Whether the anchor is a moving average."})
    inner_steps: int = field(default=1, metadata={"help": "S, updates on one anchor without momentum."})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, smoothness_weight=not_negative, proximal_weight=not_negative, momentum=check_flag)
        self.make_regularizer()
        self.make_proximal(torch.nn.Identity(), num_steps=1)
        if self.smoothness_weight and self.neftune_noise_alpha is not None:
            raise CourseError(
                "NEFTune adds noise of its own to the embeddings, and R_s would measure that.",
                given=f"neftune_noise_alpha={self.neftune_noise_alpha}",
                mend="Use one of the two: leave neftune_noise_alpha out, or set smoothness_weight=0.",
            )

    def make_regularizer(self, divergence: Divergence = "symmetric_kl") -> SmoothnessRegularizer | None:
        """Return R_s with these settings, None where it is switched off.

        Args:
            divergence: ℓ_s.

        Returns:
            R_s, or None.
        """
        if not self.smoothness_weight:
            return None
        return SmoothnessRegularizer(
            epsilon=self.epsilon,
            step_size=self.step_size,
            noise_std=self.noise_std,
            num_steps=self.num_ascent_steps,
            norm=self.perturbation_norm,
            divergence=divergence,
        )

    def make_proximal(
        self, model: torch.nn.Module, num_steps: int, divergence: Divergence = "symmetric_kl"
    ) -> BregmanProximalPoint | None:
        """Return μ D_Breg with these settings, anchored at the model as it is; None where it is off.

        Args:
            model: the model that is trained.
            num_steps: updates of the whole run.
            divergence: ℓ_s.

        Returns:
            The proximal term, or None.
        """
        if not self.proximal_weight:
            return None
        return BregmanProximalPoint(
            model,
            proximal_weight=self.proximal_weight,
            beta=self.beta,
            late_beta=self.late_beta,
            late_beta_start=self.late_beta_start,
            num_steps=num_steps,
            half_life=self.half_life,
            momentum=self.momentum,
            inner_steps=self.inner_steps,
            divergence=divergence,
        )


class SmartTrainer(Trainer):
    """Train a sequence classifier (or regressor) with SMART.

    The loss of a step is the task loss + λ_s R_s + μ D_Breg. The logs name `task_loss`, `smoothness` (R_s)
    and `proximal` (D_Breg, both before their weights), each the mean since the last log. ℓ_s is the
    symmetric KL divergence, for regression (num_labels 1) the squared difference.

    - *Dropout*: clean, perturbed and anchor pass draw the same masks (`DropoutReplay`).
    - *Accumulation*: every example of a step of the optimizer weighs the same, so two micro-batches equal
      one batch of twice the size; the anchor moves once a step. (The Trainer of transformers 5.23 does not
      keep that for sequence classifiers: its gradient is doubled by two micro-batches.) The result of a
      `compute_loss_func` is taken as already divided by `num_items_in_batch`, as the Trainer takes it.
    - *Several processes* (`torchrun`): the task's pass goes through the wrapped model, the extra ones
      through the model inside, all before one backward pass, so gradients are averaged once. End your script
      with `trainer.accelerator.end_training()`, so that all processes leave together.
    - *bf16, fp16*: R_s runs in float32, with a clean pass of its own. D_Breg runs in the precision of the
      task's pass.
    - *Checkpoints* hold the anchor; a resumed run ends with the weights of one that was not interrupted.

    Args:
        model: as in `Trainer`; its outputs have `logits` [B, C].
        args: the settings.
        others: further arguments of `Trainer`.
        options: further keyword arguments of `Trainer`.

    Raises:
        CourseError: arguments without SMART's settings; several GPUs in one process, DeepSpeed or FSDP. In
            training: a loss, logits or a gradient that is not finite (the weights are then those before
            that step), and the same of what the last step left; several labels at once; a `compute_loss` of a
            subclass that does not call this one; a resumed checkpoint without the anchor.

    Source: Jiang et al. 2020, equations (1), (3) and (4); algorithm 1.

    Example::

        args = SmartTrainingArguments("out", num_train_epochs=3, smoothness_weight=1.0, half_life=50)
        trainer = SmartTrainer(model, args, train_dataset=rows, processing_class=tokenizer)
        trainer.train()
    """

    model: Any
    args: SmartTrainingArguments

    def __init__(
        self, model: Any = None, args: SmartTrainingArguments | None = None, *others: Any, **options: Any
    ) -> None:
        args = SmartTrainingArguments() if args is None else args
        if not isinstance(args, SmartTrainingArguments):
            raise CourseError(
                "SmartTrainer needs SMART's settings.",
                given=type(args).__name__,
                mend="Pass SmartTrainingArguments, which take every TrainingArguments setting too.",
            )
        super().__init__(model, args, *others, **options)
        self._refuse_split_models()
        # Sequence classifiers of `transformers` take **kwargs but ignore num_items_in_batch among them. The
        # Trainer believes they used it, divides no more by the micro-batches of a step, and multiplies by
        # the processes: gradients grow with both. Without the count every micro-batch gives its mean.
        self.model_accepts_loss_kwargs = False
        self.smart_loss: SmartLoss | None = None
        self._checkpoint: Path | None = None
        self._num_examples_in_step = 0
        self._is_applied = False
        self._last_batch: dict[str, Any] = {}
        self._reset_sums()
        self.add_callback(_EachStep(self))

    # --- the loss ----------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Compute the task loss of the Trainer, in training with λ_s R_s + μ D_Breg added.

        Args:
            model: the model, wrapped or not.
            inputs: `input_ids` [B, T] and the other inputs of the model.
            return_outputs: whether to give the model's outputs too.
            num_items_in_batch: labels in all micro-batches of the step, as the Trainer counts them.

        Returns:
            A scalar, or the scalar and the outputs of the model's own pass.

        Raises:
            CourseError: a loss or logits that are not finite; several labels at once.
        """
        if self.smart_loss is None or not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        batch = dict(inputs)  # the Trainer takes the labels out where the loss is one's own
        self.smart_loss.before_pass()
        task_loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        self._refuse_not_finite("logits", outputs.logits)
        extra = self.smart_loss(model, batch, outputs.logits)
        self._is_applied, self._last_batch = True, batch
        share = self._share_of_step(len(outputs.logits))
        if self.compute_loss_func is None:
            task_loss = share * task_loss
        loss = task_loss + share * extra
        self._refuse_not_finite("loss", loss)
        self._add_to_sums(task_loss, self.smart_loss.terms, share)
        if self.compute_loss_func is None:
            loss = loss * self.current_gradient_accumulation_steps  # the Trainer divides by them
        return (loss, outputs) if return_outputs else loss

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        """Predict as the Trainer does; nothing is scored that is no number.

        Args:
            args: passed on.
            kwargs: passed on.

        Returns:
            Loss, logits and labels, as `Trainer` does.

        Raises:
            CourseError: logits or a loss that are not finite. As predictions they would all be label 0.
        """
        loss, logits, labels = super().prediction_step(*args, **kwargs)
        self._refuse_spoilt([loss, *(logits if isinstance(logits, (tuple, list)) else [logits])])
        return loss, logits, labels

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Return the micro-batches of a step as the Trainer does, and count their examples.

        Returns:
            The micro-batches and the number of their labels, as `Trainer` does.
        """
        batches, num_items = super().get_batch_samples(*args, **kwargs)
        count = torch.tensor([sum(len(batch["input_ids"]) for batch in batches)], device=self.args.device)
        self._num_examples_in_step = int(self.accelerator.gather(count).sum())
        return batches, num_items

    def _share_of_step(self, num_examples: int) -> float:
        """Compute a micro-batch's share of the step's examples, times the processes, whose gradients are averaged."""
        return num_examples * self.accelerator.num_processes / self._num_examples_in_step

    def _refuse_not_finite(self, what: str, values: torch.Tensor) -> None:
        if not bool(values.isfinite().all()):
            raise CourseError(
                f"The {what} of step {self.state.global_step + 1} are not finite; "
                "the weights are those before this step.",
                given=values.detach().flatten()[:5].tolist(),
                mend=f"Use a smaller learning rate than {self.args.learning_rate:g}.",
            )

    def _refuse_spoilt(self, outputs: Any) -> None:
        """Refuse what a model gives whose weights a step has spoilt."""
        bad = [each for each in outputs if isinstance(each, torch.Tensor) and not bool(each.isfinite().all())]
        if bad:
            raise CourseError(
                f"After step {self.state.global_step} the model's outputs are not finite: nothing is scored.",
                given=bad[0].detach().flatten()[:5].tolist(),
                mend=f"Load the model again, and use a smaller learning rate than {self.args.learning_rate:g}.",
            )

    # --- what happens around a step ----------------------------------------------------------------

    def _start(self) -> None:
        """Anchor the proximal term where the run starts, or take it from the checkpoint."""
        divergence = self._divergence()
        proximal = self.args.make_proximal(self.model, self.state.max_steps, divergence)
        if proximal and self._checkpoint:
            proximal.load_state_dict(_load_tensors(self._checkpoint / ANCHOR_FILE))
        regularizer = self.args.make_regularizer(divergence)
        self.smart_loss = SmartLoss(self.model, regularizer, self.args.smoothness_weight, proximal)
        self._reset_sums()

    def _divergence(self) -> Divergence:
        is_used = self.args.smoothness_weight or self.args.proximal_weight
        return divergence_for(self.model.config) if is_used else "symmetric_kl"

    def _before_optimizer_step(self) -> None:
        """Refuse a step whose loss was not this trainer's, or whose gradient is no number."""
        is_on = self.smart_loss and (self.smart_loss.regularizer or self.smart_loss.proximal)
        if is_on and not self._is_applied:
            raise CourseError(
                "`compute_loss` was overridden without calling this class's: R_s and D_Breg are not in the loss.",
                given=type(self).__name__,
                mend="Pass your loss as compute_loss_func=…, or call super().compute_loss(…) in your own and "
                "change what it gives.",
            )
        self._is_applied = False
        if self.accelerator.scaler is not None:
            return  # fp16: the scaler skips such a step and lowers its scale
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        self._refuse_not_finite("gradients", torch.nn.utils.get_total_norm(gradients))

    def _after_last_step(self) -> None:
        """Look at what the last update made of the model: no loss has been computed since."""
        batch = {name: value for name, value in self._last_batch.items() if name != "labels"}
        self._last_batch = {}
        if not batch:
            return
        with torch.no_grad(), evaluation_mode(self.model):
            logits = self.model(**batch).logits
        self._refuse_spoilt([logits, *self.model.parameters()])

    def _after_optimizer_step(self) -> None:
        self._num_steps_in_sums += 1
        if self.smart_loss and not self.accelerator.optimizer_step_was_skipped:
            self.smart_loss.update()

    # --- logging -----------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log as the Trainer does, with the mean of each term since the last log beside the loss.

        Args:
            logs: what the Trainer logs; a training log is the one with a `loss`.
            args: passed on.
            kwargs: passed on.
        """
        if "loss" in logs and self._num_steps_in_sums:
            logs = {**logs, **self._mean_terms()}
            self._reset_sums()
        super().log(logs, *args, **kwargs)

    def _reset_sums(self) -> None:
        self._sums = torch.zeros(3, device=self.args.device)
        self._num_steps_in_sums = 0

    def _add_to_sums(self, task_loss: torch.Tensor, terms: SmartTerms, share: float) -> None:
        parts = [task_loss.detach(), share * terms.smoothness, share * terms.proximal]
        self._sums += torch.stack(parts)

    def _mean_terms(self) -> dict[str, float]:
        means = self.accelerator.reduce(self._sums, "mean") / self._num_steps_in_sums
        is_on = {
            "task_loss": True,
            "smoothness": self.args.smoothness_weight > 0,
            "proximal": self.args.proximal_weight > 0,
        }
        return {name: value for (name, on), value in zip(is_on.items(), means.tolist(), strict=True) if on}

    # --- checkpoints -------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as the Trainer does.

        Args:
            resume_from_checkpoint: a checkpoint's folder, or True for the last complete one in `output_dir`.
            args: passed on.
            kwargs: passed on.

        Returns:
            What `Trainer.train` gives.

        Raises:
            CourseError: no checkpoint there, or one without the anchor while D_Breg is on.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = _last_complete_checkpoint(self.args.output_dir)
        self._checkpoint = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        if self._checkpoint and self.args.proximal_weight:
            _refuse_missing_anchor(self._checkpoint)
        # accelerate 1.13 puts autocast around the autocast of an earlier training; later ones mark the model
        is_prepared = getattr(self.model, "_is_accelerate_prepared", False)
        if "_original_forward" in vars(self.model) and not is_prepared:
            self.model.forward = vars(self.model).pop("_original_forward")
        if self._checkpoint and (ended := self._ended_state(self._checkpoint)):
            return self._take_over(self._checkpoint, ended)
        return super().train(resume_from_checkpoint or None, *args, **kwargs)

    def _ended_state(self, checkpoint: Path) -> TrainerState | None:
        """Return a checkpoint's state if its run had taken all of its steps: the Trainer would take one more."""
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        is_same = self.args.max_steps <= 0 and state.num_train_epochs == math.ceil(self.args.num_train_epochs)
        wanted = state.max_steps if is_same else self.args.max_steps
        return state if state.global_step >= wanted > 0 else None

    def _take_over(self, checkpoint: Path, state: TrainerState) -> TrainOutput:
        """Take weights, anchor and state from the checkpoint of a run that had ended."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = state
        self._start()
        return TrainOutput(state.global_step, 0.0, {})

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Save the anchor where the optimizer's state is saved: before the file that completes a checkpoint."""
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save and self.smart_loss and self.smart_loss.proximal:
            _save_tensors(self.smart_loss.proximal.state_dict(), Path(output_dir) / ANCHOR_FILE)

    def _refuse_split_models(self) -> None:
        split = {
            "several GPUs in one process": self.args.n_gpu > 1,
            "DeepSpeed": self.is_deepspeed_enabled,
            "FSDP": self.is_fsdp_enabled,
        }
        found = [name for name, is_used in split.items() if is_used]
        if found:
            raise CourseError(
                "SmartTrainer needs the whole model in each process.",
                given=found[0],
                mend="Start one process a GPU with `torchrun --nproc_per_node=…`, or show one GPU only "
                "with CUDA_VISIBLE_DEVICES=0.",
            )


class _EachStep(TrainerCallback):
    """Tells a SmartTrainer where in the loop it is."""

    def __init__(self, trainer: SmartTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self._trainer._start()

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self._trainer._before_optimizer_step()

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self._trainer._after_optimizer_step()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self._trainer._after_last_step()


def _last_complete_checkpoint(output_dir: str | None) -> str:
    files = Path(str(output_dir)).glob(f"{PREFIX_CHECKPOINT_DIR}-*/{STATE_FILE}")
    folders = [file.parent for file in files if _is_whole(file)]
    if not folders:
        raise CourseError(
            "There is no complete checkpoint to resume from.",
            given=str(output_dir),
            mend="Train without resume_from_checkpoint first, with save_strategy='steps'.",
        )
    return str(max(folders, key=lambda folder: int(folder.name.rpartition("-")[2])))


def _is_whole(state_file: Path) -> bool:
    """Say whether a checkpoint's last file was written to its end."""
    try:
        json.loads(state_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _refuse_missing_anchor(checkpoint: Path) -> None:
    if not (checkpoint / ANCHOR_FILE).is_file():
        raise CourseError(
            f"This checkpoint holds no anchor of the proximal term ({ANCHOR_FILE}): going on from it would "
            "train another model than the uninterrupted run.",
            given=str(checkpoint),
            mend="Resume from a checkpoint of SmartTrainer, or with proximal_weight=0.",
        )


def _save_tensors(tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_whole(file) as temporary:
        safetensors.torch.save_file(whole, temporary)


def _load_tensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(file)
    except safetensors.SafetensorError as error:
        raise CourseError(
            f"This file cannot be read: {error}.", given=str(file), mend="Resume from an earlier checkpoint."
        ) from error
