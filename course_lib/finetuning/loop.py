"""Fine-tuning of a classifier: length-bucketed batches, an extra loss term as an argument."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import get_linear_schedule_with_warmup

from course_lib.checks.calls import a_dataset, border, check_fields, optional
from course_lib.checks.types import Count, Flag, NotNegative, Positive, Seed, Share
from course_lib.checks.values import check_callable
from course_lib.errors import CourseError
from course_lib.finetuning.batches import Batch, Example, collate, encode, length_bucketed_batches
from course_lib.finetuning.evaluating import compute_logits, refuse_padding_that_counts
from course_lib.finetuning.optimizing import descend
from course_lib.models.loaded import ModelAndTokenizer

ExtraLoss = Callable[["torch.nn.Module", Batch, "torch.Tensor"], "torch.Tensor"]


@dataclass(frozen=True)
class FinetuningSettings:
    """What shapes a fine-tuning run.

    Args:
        learning_rate: peak learning rate of AdamW.
        num_epochs: passes over the data; not used where num_steps is given.
        num_steps: optimizer steps.
        batch_size: examples a step.
        max_length: tokens an example is cut to.
        weight_decay: AdamW's decay.
        warmup_share: share of the steps over which the learning rate rises; it then falls to zero.
        max_grad_norm: gradients longer than this are shortened to it.
        seed: seed of the batches' order and of dropout.

    Raises:
        CourseError: a setting that is no number of its kind, or outside its range.
    """

    learning_rate: Positive = 1e-4
    num_epochs: Count = 3
    num_steps: Count | None = None
    batch_size: Count = 16
    max_length: Count = 128
    weight_decay: NotNegative = 0.01
    warmup_share: Share = 0.1
    max_grad_norm: Positive = 1.0
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Step:
    """What one optimizer step was.

    Args:
        step: number of the step, from 1.
        loss: mean cross-entropy of its batch, in nats.
        extra_loss: value of the extra term, 0 where there is none.
        learning_rate: the learning rate it was taken with.
        num_tokens: tokens in its batch, padding not counted.
    """

    step: int
    loss: float
    extra_loss: float
    learning_rate: float
    num_tokens: int


@border(
    texts=a_dataset,
    extra_loss=optional(check_callable),
    before_pass=optional(check_callable),
    after_step=optional(check_callable),
)
def finetune(
    classifier: ModelAndTokenizer,
    texts: Dataset,
    settings: FinetuningSettings | None = None,
    *,
    extra_loss: ExtraLoss | None = None,
    before_pass: Callable[[], None] | None = None,
    after_step: Callable[[Step], None] | None = None,
    progress: Flag = True,
) -> list[Step]:
    """Fine-tune all of a classifier's weights, in place.

    Args:
        classifier: model mapping token ids [B, T] to logits [B, num_labels], and its tokenizer.
        texts: rows with a `label` and the columns of `TEXT_COLUMNS`.
        settings: see `FinetuningSettings`.
        extra_loss: called as `extra_loss(model, batch, logits)` in every step; the scalar it gives is
            added to the loss.
        before_pass: called in every step just before the model's own pass, in training mode: the place
            to record what that pass is about to draw, so that an extra pass can draw it again.
        after_step: called with each step once the weights have moved; the model may be evaluated in it.
        progress: whether to show a progress bar.

    Returns:
        One `Step` for each optimizer step. The model is left in evaluation mode.

    Raises:
        CourseError: texts without label or text, labels outside the model's range, a model or tokenizer
            without a padding token, or a loss or gradient that is no longer a number (the weights are then
            those before that step); after the last step, weights or logits that are none.
    """
    settings = settings or FinetuningSettings()
    model = classifier.model
    examples = encode(classifier, texts, max_length=settings.max_length)
    refuse_padding_that_counts(classifier, examples, settings.batch_size)
    num_steps = settings.num_steps or settings.num_epochs * math.ceil(len(examples) / settings.batch_size)
    # fused: one pass over the weights instead of several, a sixth less time a step on a CPU
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    schedule = get_linear_schedule_with_warmup(optimizer, round(settings.warmup_share * num_steps), num_steps)
    batches = _endless_batches(classifier, examples, settings)
    steps: list[Step] = []
    batch: Batch = {}

    def compute_gradient(number: int) -> float:
        nonlocal batch
        model.train()
        batch = next(batches)
        if before_pass:
            before_pass()
        logits = compute_logits(classifier, batch)
        loss = torch.nn.functional.cross_entropy(logits, batch["labels"])
        extra = extra_loss(model, batch, logits) if extra_loss else torch.zeros_like(loss)
        (loss + extra).backward()
        num_tokens = int(batch["attention_mask"].sum())
        steps.append(Step(number, loss.item(), extra.item(), schedule.get_last_lr()[0], num_tokens))
        return (loss + extra).item()

    numbers = tqdm(range(1, num_steps + 1), desc="fine-tuning", disable=not progress, leave=False)
    with torch.random.fork_rng(devices=_cuda_devices(model)), _evaluation_mode_after(model):
        torch.manual_seed(settings.seed)
        for _ in descend(
            optimizer, compute_gradient, numbers, schedule=schedule, max_grad_norm=settings.max_grad_norm
        ):
            model.eval()
            if after_step:
                after_step(steps[-1])
        _refuse_spoilt(classifier, batch, num_steps, settings)
    return steps


def _endless_batches(
    classifier: ModelAndTokenizer, examples: Sequence[Example], settings: FinetuningSettings
) -> Iterator[Batch]:
    lengths = [len(example["input_ids"]) for example in examples]
    epoch = 0
    while True:
        seed = settings.seed * 10_000 + epoch
        for rows in length_bucketed_batches(lengths, settings.batch_size, seed=seed):
            yield collate(classifier, [examples[row] for row in rows])
        epoch += 1


def _refuse_spoilt(
    classifier: ModelAndTokenizer, batch: Batch, num_steps: int, settings: FinetuningSettings
) -> None:
    """Refuse what the last step made of the model: no loss has been computed since."""
    model = classifier.model.eval()
    with torch.no_grad():
        is_finite = bool(compute_logits(classifier, batch).isfinite().all())
    if not is_finite or not all(bool(weight.isfinite().all()) for weight in model.parameters()):
        raise CourseError(
            f"After step {num_steps}, the last, the model's weights or logits are not finite numbers.",
            given=f"learning_rate={settings.learning_rate:g}",
            mend=f"Load the model again, and use a smaller learning rate than {settings.learning_rate:g}.",
        )


@contextmanager
def _evaluation_mode_after(model: torch.nn.Module) -> Iterator[None]:
    try:
        yield
    finally:
        model.eval()


def _cuda_devices(model: torch.nn.Module) -> list[torch.device]:
    device = next(model.parameters()).device
    return [device] if device.type == "cuda" else []
