"""What a classifier says of texts, and whether that depends on the texts beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy.special import log_softmax

from course_lib.checks.arrays import check_labels, check_scores
from course_lib.checks.calls import a_dataset, border
from course_lib.checks.types import Count
from course_lib.checks.values import check_rows
from course_lib.errors import CourseError
from course_lib.finetuning.batches import (
    Batch,
    Example,
    collate,
    encode,
    length_bucketed_batches,
    no_padding,
    without_labels,
)
from course_lib.models.context import find_context_length
from course_lib.models.loaded import ModelAndTokenizer, evaluation_mode


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
        return float(-log_softmax(self.logits, axis=1)[np.arange(len(self.labels)), self.labels].mean())


@border(texts=a_dataset)
def evaluate(
    classifier: ModelAndTokenizer, texts: Dataset, *, batch_size: Count = 64, max_length: int = 128
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
    examples = encode(classifier, texts, max_length=max_length)
    refuse_padding_that_counts(classifier, examples, batch_size)
    lengths = [len(example["input_ids"]) for example in examples]
    logits = np.empty((len(examples), int(classifier.model.config.num_labels or 0)), dtype=np.float32)
    with torch.inference_mode(), evaluation_mode(classifier.model):
        for rows in length_bucketed_batches(lengths, batch_size):
            batch = collate(classifier, [examples[row] for row in rows])
            logits[rows] = compute_logits(classifier, batch).float().cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if bad.size:
        raise CourseError(
            f"The model's logits are not finite numbers for {bad.size} of {len(logits)} texts, so there is no "
            "accuracy.",
            given=f"text {bad[0]}: {logits[bad[0]][:3].tolist()}",
            mend="Train it with a smaller learning rate, or load its weights in float32.",
        )
    return Evaluation(logits, np.array([example["labels"] for example in examples]))


def compute_logits(classifier: ModelAndTokenizer, batch: Batch) -> torch.Tensor:
    """Do the model's own pass; labels are not given to it."""
    try:
        logits: torch.Tensor = classifier.model(**without_labels(batch)).logits
    except ValueError as error:
        # what transformers' decoders say where their configuration names no padding token
        if "padding token" in str(error):
            raise no_padding(classifier.model) from error
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


@border(examples=partial(check_rows, columns=["input_ids", "labels"]))
def refuse_padding_that_counts(
    classifier: ModelAndTokenizer, examples: Sequence[Example], batch_size: Count
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
    ordered = sorted(examples, key=lambda example: len(example["input_ids"]))
    tried = [ordered[place * (len(ordered) - 1) // 3] for place in range(4)]
    model, tokenizer = classifier
    before = _tried_logits(classifier, tried[-1:])
    alone = torch.cat([_tried_logits(classifier, [one]) for one in tried])
    # BigBird's block-sparse attention, for example, is switched off for good by a short text
    if _differ(model, before, alone[-1:]):
        raise CourseError(
            "The model reads a long text otherwise once it has read a short one.",
            given=type(model).__name__,
            mend="Load it with attention_type='original_full', if it is a BigBird, or take another model.",
        )
    if batch_size == 1 or len(tried[0]["input_ids"]) == len(tried[-1]["input_ids"]):
        return
    if _differ(model, alone, _tried_logits(classifier, tried)):
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


def _tried_logits(classifier: ModelAndTokenizer, examples: Sequence[Example]) -> torch.Tensor:
    """Return the logits in evaluation mode, and leave the model in the mode it was in."""
    with torch.inference_mode(), evaluation_mode(classifier.model):
        return compute_logits(classifier, collate(classifier, examples)).float()


def _differ(model: Any, one: torch.Tensor, other: torch.Tensor) -> bool:
    """Say whether logits differ by more than rounding."""
    within = (1e-3 if model.dtype.itemsize == 4 else 0.1) * max(1.0, float(one.abs().max()))
    return bool(((one - other).abs() > within).any())
