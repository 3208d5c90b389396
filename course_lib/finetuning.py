"""The one fine-tuning loop: length-bucketed batches, an extra loss term as an argument."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from course_lib.checks import (
    a_dataset,
    a_model_and_tokenizer,
    a_positive,
    a_seed,
    border,
    check_callable,
    check_count,
    check_fields,
    check_flag,
    check_labels,
    check_rows,
    check_scores,
    check_share,
    check_texts,
    each,
    not_negative,
    of_type,
    optional,
)
from course_lib.errors import CourseError
from course_lib.models import ModelAndTokenizer, find_context_length

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset

# The columns a text classifier reads, the first set that the texts have.
TEXT_COLUMNS = (("text",), ("premise", "hypothesis"), ("question", "passage"))
# Batches are sorted by length within pools of this many batches: little padding, yet random order.
POOL_BATCHES = 32

Batch = dict[str, "torch.Tensor"]
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

    learning_rate: float = 1e-4
    num_epochs: int = 3
    num_steps: int | None = None
    batch_size: int = 16
    max_length: int = 128
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    max_grad_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(
            self,
            learning_rate=a_positive,
            num_epochs=check_count,
            num_steps=optional(check_count),
            batch_size=check_count,
            max_length=check_count,
            weight_decay=not_negative,
            warmup_share=check_share,
            max_grad_norm=a_positive,
            seed=a_seed,
        )


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


@dataclass(frozen=True)
class Evaluation:
    """How a classifier does on some texts.

    Args:
        logits: float array [n, num_labels], in the order of the texts; -inf for a label that a text does not
            have.
        labels: int array [n].

    Raises:
        CourseError: logits that are not finite otherwise, or labels of another length, shape or range.

    Example:
        >>> import numpy as np
        >>> Evaluation(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0])).accuracy
        0.5
    """

    logits: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        import numpy as np

        is_float = isinstance(self.logits, np.ndarray) and self.logits.dtype.kind == "f"
        finite = np.where(np.isneginf(self.logits), 0.0, self.logits) if is_float else self.logits
        scores = check_scores("logits", finite)
        labels = check_labels("labels", self.labels, num_labels=scores.shape[1], num_rows=len(scores))
        lost = np.flatnonzero(np.isneginf(np.asarray(self.logits)[np.arange(len(labels)), labels]))
        if lost.size:
            raise CourseError(
                "The logit of a text's own label must be finite.", given=f"text {lost[0]}, -inf"
            )

    @property
    def predictions(self) -> np.ndarray:
        """The label of the largest logit, int array [n]."""
        return self.logits.argmax(axis=1)

    @property
    def accuracy(self) -> float:
        """Share of texts whose prediction is their label."""
        return float((self.predictions == self.labels).mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        import numpy as np
        from scipy.special import log_softmax

        return float(-log_softmax(self.logits, axis=1)[np.arange(len(self.labels)), self.labels].mean())


@border(
    classifier=a_model_and_tokenizer,
    texts=a_dataset,
    settings=optional(of_type("course_lib.finetuning.FinetuningSettings")),
    extra_loss=optional(check_callable),
    before_pass=optional(check_callable),
    after_step=optional(check_callable),
    progress=check_flag,
)
def finetune(
    classifier: ModelAndTokenizer,
    texts: Dataset,
    settings: FinetuningSettings | None = None,
    *,
    extra_loss: ExtraLoss | None = None,
    before_pass: Callable[[], None] | None = None,
    after_step: Callable[[Step], None] | None = None,
    progress: bool = True,
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
    import torch
    from tqdm.auto import tqdm
    from transformers import get_linear_schedule_with_warmup

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
    with torch.random.fork_rng(devices=_cuda_devices(model)), _evaluation_mode_after(model):
        torch.manual_seed(settings.seed)
        for number in tqdm(range(1, num_steps + 1), desc="fine-tuning", disable=not progress, leave=False):
            model.train()
            batch = next(batches)
            if before_pass:
                before_pass()
            logits = _logits(classifier, batch)
            loss = torch.nn.functional.cross_entropy(logits, batch["labels"])
            extra = extra_loss(model, batch, logits) if extra_loss else torch.zeros_like(loss)
            _refuse_not_a_number("loss", loss + extra, number, settings)
            optimizer.zero_grad(set_to_none=True)
            (loss + extra).backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            _refuse_not_a_number("gradient", norm, number, settings)
            rate = schedule.get_last_lr()[0]
            optimizer.step()
            schedule.step()
            num_tokens = int(batch["attention_mask"].sum())
            steps.append(Step(number, loss.item(), extra.item(), rate, num_tokens))
            model.eval()
            if after_step:
                after_step(steps[-1])
        _refuse_spoilt(classifier, batch, num_steps, settings)
    return steps


@border(classifier=a_model_and_tokenizer, texts=a_dataset, batch_size=check_count)
def evaluate(
    classifier: ModelAndTokenizer, texts: Dataset, *, batch_size: int = 64, max_length: int = 128
) -> Evaluation:
    """Classify texts without training on them.

    Args:
        classifier: model mapping token ids [B, T] to logits [B, num_labels], and its tokenizer.
        texts: rows with a `label` and the columns of `TEXT_COLUMNS`.
        batch_size: texts at a time.
        max_length: tokens a text is cut to.

    Returns:
        Logits and labels in the order of the texts.

    Raises:
        CourseError: as `finetune`; logits that are not finite numbers.
    """
    import numpy as np
    import torch

    examples = encode(classifier, texts, max_length=max_length)
    refuse_padding_that_counts(classifier, examples, batch_size)
    lengths = [len(example["input_ids"]) for example in examples]
    logits = np.empty((len(examples), int(classifier.model.config.num_labels or 0)), dtype=np.float32)
    classifier.model.eval()
    with torch.inference_mode():
        for rows in length_bucketed_batches(lengths, batch_size):
            batch = collate(classifier, [examples[row] for row in rows])
            logits[rows] = _logits(classifier, batch).float().cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if bad.size:
        raise CourseError(
            f"The model's logits are not finite numbers for {bad.size} of {len(logits)} texts, so there is no "
            "accuracy.",
            given=f"text {bad[0]}: {logits[bad[0]][:3].tolist()}",
            mend="Train it with a smaller learning rate, or load its weights in float32.",
        )
    return Evaluation(logits, np.array([example["labels"] for example in examples]))


@border(classifier=a_model_and_tokenizer, texts=a_dataset, max_length=check_count)
def encode(classifier: ModelAndTokenizer, texts: Dataset, *, max_length: int = 128) -> list[dict[str, Any]]:
    """Turn texts into token ids, without padding.

    Args:
        classifier: the model (for its number of labels) and the tokenizer.
        texts: rows with a `label` and the columns of `TEXT_COLUMNS`.
        max_length: tokens a text is cut to.

    Returns:
        One mapping a text: the tokenizer's lists, and `labels`, an int.

    Raises:
        CourseError: no texts, no text column, no label column, or labels outside the model's range.
    """
    columns = text_columns(texts)
    if "label" not in texts.column_names:
        raise CourseError(
            "A classifier needs the column `label`.",
            given=texts.column_names,
            mend="For texts with a human `score`, call `with_binary_labels` first.",
        )
    if len(texts) == 0:
        raise CourseError("There are no texts.", given=0, mend="Draw at least one example.")
    tokenizer = classifier.tokenizer
    _refuse_short_length(tokenizer, max_length, len(columns))
    if tokenizer.pad_token_id is None:
        raise _no_padding(tokenizer)
    labels = _checked_labels(texts["label"][:], int(classifier.model.config.num_labels or 0))
    read = [check_texts(f"The column `{name}`", texts[name][:]) for name in columns]
    tokens = tokenizer(*read, truncation=True, max_length=max_length)
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in tokens]
    return [{**{name: tokens[name][i] for name in names}, "labels": label} for i, label in enumerate(labels)]


def _checked_labels(labels: Sequence[Any], num_labels: int) -> list[int]:
    wanted = f"The labels must be whole numbers from 0 to {num_labels - 1}, the model's range."
    mend = "Load the classifier with as many `num_labels` as there are, or map the labels."
    if num_labels < 2:
        raise CourseError(
            "A classifier tells at least two labels apart.", given=f"num_labels={num_labels}", mend=mend
        )
    try:
        return check_labels("The labels", labels, num_labels=num_labels).tolist()
    except CourseError as error:
        raise CourseError(wanted, given=error.given, mend=mend) from error


def _refuse_short_length(tokenizer: Any, max_length: int, num_texts: int) -> None:
    """Refuse a length that the tokenizer's special tokens fill: it would not cut to it, or cut all words."""
    least = tokenizer.num_special_tokens_to_add(pair=num_texts == 2) + num_texts
    if max_length < least:
        raise CourseError(
            f"max_length must be at least {least}: this tokenizer adds {least - num_texts} tokens of its own.",
            given=max_length,
            mend="Use max_length=128.",
        )


def _no_padding(given: Any) -> CourseError:
    return CourseError(
        "Texts of different lengths cannot stand in one batch: there is no padding token.",
        given=type(given).__name__,
        mend="Set tokenizer.pad_token = tokenizer.eos_token and "
        "model.config.pad_token_id = tokenizer.pad_token_id.",
    )


def _logits(classifier: ModelAndTokenizer, batch: Batch) -> torch.Tensor:
    """Do the model's own pass; labels are not given to it."""
    try:
        logits: torch.Tensor = classifier.model(**_without_labels(batch)).logits
    except ValueError as error:
        # what transformers' decoders say where their configuration names no padding token
        if "padding token" in str(error):
            raise _no_padding(classifier.model) from error
        raise
    except (IndexError, RuntimeError) as error:
        # what tables of positions say, each in its own way
        length = batch["input_ids"].shape[1]
        if "out of " not in str(error) and length <= (find_context_length(classifier.model) or length):
            raise
        raise CourseError(
            f"The model reads no text of {length} tokens, or not all of the tokenizer's tokens.",
            given=str(error).splitlines()[0],
            mend="Use a smaller max_length, and the tokenizer that was saved with the model.",
        ) from error
    return logits


def _refuse_what_remembers(
    classifier: ModelAndTokenizer, short: dict[str, Any], long: dict[str, Any]
) -> None:
    """Refuse a model that a short text changes, as BigBird's block-sparse attention is switched off for good."""
    before = _tried_logits(classifier, [long])
    _tried_logits(classifier, [short])
    if _differ(classifier.model, before, _tried_logits(classifier, [long])):
        raise CourseError(
            "The model reads a long text otherwise once it has read a short one.",
            given=type(classifier.model).__name__,
            mend="Load it with attention_type='original_full', if it is a BigBird, or take another model.",
        )


def _tried_logits(classifier: ModelAndTokenizer, examples: Sequence[dict[str, Any]]) -> torch.Tensor:
    """Give the logits in evaluation mode, and leave the model in the mode it was in."""
    import torch

    model = classifier.model
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        logits = _logits(classifier, collate(classifier, examples)).float()
    model.train(was_training)
    return logits


def _differ(model: Any, one: torch.Tensor, other: torch.Tensor) -> bool:
    """Say whether logits differ by more than rounding."""
    within = (1e-3 if model.dtype.itemsize == 4 else 0.1) * max(1.0, float(one.abs().max()))
    return bool(((one - other).abs() > within).any())


@border(
    classifier=a_model_and_tokenizer,
    examples=partial(check_rows, columns=["input_ids", "labels"]),
    batch_size=check_count,
)
def refuse_padding_that_counts(
    classifier: ModelAndTokenizer, examples: Sequence[dict[str, Any]], batch_size: int
) -> None:
    """Refuse a classifier whose logits for a text depend on what the text is padded to.

    Decoders find a text's end by the padding token of their configuration, and encoders count positions from the
    left, padding included: another padding token than the tokenizer's, or padding on the other side, changes what
    they read.

    Args:
        classifier: the model and its tokenizer.
        examples: what `encode` gives; four of them, from the shortest to the longest, are tried alone and together.
        batch_size: examples a batch; 1 needs no padding.

    Raises:
        CourseError: the logits differ by more than rounding.
    """
    import torch

    ordered = sorted(examples, key=lambda example: len(example["input_ids"]))
    tried = [ordered[place * (len(ordered) - 1) // 3] for place in range(4)]
    _refuse_what_remembers(classifier, tried[0], tried[-1])
    if batch_size == 1 or len(tried[0]["input_ids"]) == len(tried[-1]["input_ids"]):
        return
    model, tokenizer = classifier
    padded = _tried_logits(classifier, tried)
    alone = torch.cat([_tried_logits(classifier, [one]) for one in tried])
    if _differ(model, alone, padded):
        own = getattr(model.config, "pad_token_id", None)
        mend = "Use batch_size=1."
        if tokenizer.padding_side == "left":
            mend = "Set tokenizer.padding_side = 'right'."
        if own != tokenizer.pad_token_id:
            mend = "Set model.config.pad_token_id = tokenizer.pad_token_id."
        raise CourseError(
            "The model reads the padding: a text's logits depend on the texts beside it in its batch.",
            given=f"padding token {own} of the model, {tokenizer.pad_token_id} of the tokenizer, padded on the "
            f"{tokenizer.padding_side}",
            mend=mend,
        )


@border(texts=a_dataset)
def text_columns(texts: Dataset) -> tuple[str, ...]:
    """Give the columns a text classifier reads.

    Raises:
        CourseError: if the texts have none of `TEXT_COLUMNS`.
    """
    for names in TEXT_COLUMNS:
        if set(names) <= set(texts.column_names):
            return names
    raise CourseError(
        "A classifier needs one of these sets of columns: " + ", ".join(map("+".join, TEXT_COLUMNS)) + ".",
        given=texts.column_names,
        mend="Rename the column with the text to `text`.",
    )


@border(lengths=each(partial(check_count, least=0), least=0), batch_size=check_count, seed=optional(a_seed))
def length_bucketed_batches(
    lengths: Sequence[int], batch_size: int, *, seed: int | None = None
) -> list[list[int]]:
    """Group examples of similar length, so that little is padded.

    Args:
        lengths: tokens of each example.
        batch_size: examples a batch; the last may be smaller.
        seed: with a seed, batches are random within pools of similar length and come in random
            order; without, they run from the longest to the shortest.

    Returns:
        Lists of indices into `lengths`; every index occurs once.

    Raises:
        CourseError: if the batch size is not positive.

    Example:
        >>> length_bucketed_batches([5, 30, 6, 31], 2)
        [[3, 1], [2, 0]]
    """
    import numpy as np

    sizes = np.asarray(lengths)
    if seed is None:
        order = np.argsort(-sizes, kind="stable")
        return [order[i : i + batch_size].tolist() for i in range(0, len(order), batch_size)]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sizes))
    pool = batch_size * POOL_BATCHES
    pools = [order[i : i + pool] for i in range(0, len(order), pool)]
    batches = [
        ordered[i : i + batch_size].tolist()
        for ordered in (rows[np.argsort(sizes[rows], kind="stable")] for rows in pools)
        for i in range(0, len(ordered), batch_size)
    ]
    return [batches[i] for i in rng.permutation(len(batches))]


@border(classifier=a_model_and_tokenizer, examples=partial(check_rows, columns=["input_ids", "labels"]))
def collate(classifier: ModelAndTokenizer, examples: Sequence[dict[str, Any]]) -> Batch:
    """Pad examples to the longest of them.

    Args:
        classifier: its tokenizer knows the padding token, its model the device.
        examples: what `encode` gives.

    Returns:
        Tensors [B, T] on the model's device, and `labels` [B].
    """
    import torch

    labels = torch.tensor([example["labels"] for example in examples])
    inputs = [_without_labels(example) for example in examples]
    batch = classifier.tokenizer.pad(inputs, return_tensors="pt")
    return {name: tensor.to(classifier.model.device) for name, tensor in {**batch, "labels": labels}.items()}


def _endless_batches(
    classifier: ModelAndTokenizer, examples: list[dict[str, Any]], settings: FinetuningSettings
) -> Iterator[Batch]:
    lengths = [len(example["input_ids"]) for example in examples]
    epoch = 0
    while True:
        seed = settings.seed * 10_000 + epoch
        for rows in length_bucketed_batches(lengths, settings.batch_size, seed=seed):
            yield collate(classifier, [examples[row] for row in rows])
        epoch += 1


def _without_labels(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name != "labels"}


def _refuse_not_a_number(what: str, value: torch.Tensor, number: int, settings: FinetuningSettings) -> None:
    if not math.isfinite(value.item()):
        raise CourseError(
            f"The {what} of step {number} is not a finite number; the weights are those before this step.",
            given=value.item(),
            mend=f"Use a smaller learning rate than {settings.learning_rate:g}.",
        )


def _refuse_spoilt(
    classifier: ModelAndTokenizer, batch: Batch, num_steps: int, settings: FinetuningSettings
) -> None:
    """Refuse what the last step made of the model: no loss has been computed since."""
    import torch

    model = classifier.model.eval()
    with torch.no_grad():
        is_finite = bool(_logits(classifier, batch).isfinite().all())
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
