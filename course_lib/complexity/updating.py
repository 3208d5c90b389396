"""What the learning rate of fine-tuning does: accuracy, distance, churn, and what is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict, Unpack

import pandas as pd
import torch
from datasets import Dataset

from course_lib.checks.calls import border
from course_lib.checks.tables import dataset_with, with_columns
from course_lib.checks.types import Count, Flag, Positive, Seed
from course_lib.finetuning.evaluating import evaluate
from course_lib.finetuning.loop import FinetuningSettings, Step, finetune
from course_lib.models.generating import embed
from course_lib.models.loaded import ModelAndTokenizer
from course_lib.models.loading import load_classifier
from course_lib.models.weights import encoder_weights, relative_distance
from course_lib.runs.sweeping import run_table
from course_lib.statistics import flip_shares
from course_lib.texts.loading import load_texts
from course_lib.texts.sampling import labelled_splits, sample_texts
from course_lib.texts.sources import NLI_LABELS

# Predictions are compared on this many held-out texts after every step.
NUM_WATCHED = 48


class Sizes(TypedDict):
    """The sizes of a run."""

    num_train: int
    num_heldout: int
    num_steps: int
    num_pairs: int


class RunRow(TypedDict):
    """What one learning rate and seed end with; the loss in nats."""

    kind: Literal["run"]
    learning_rate: float
    seed: int
    accuracy: float
    loss: float
    distance: float
    late_flip_share: float
    retrieval_before: float
    retrieval_after: float


class StepRow(TypedDict):
    """One step of such a run."""

    kind: Literal["step"]
    learning_rate: float
    seed: int
    step: int
    batch_loss: float
    step_distance: float
    flip_share: float


@border()
def caption_pairs(num_pairs: Count, *, seed: Seed = 0) -> Dataset:
    """Draw picture captions with a sentence that follows from each, one pair a picture.

    The embedded encoder was pre-trained on such pairs, so finding the caption again is something it
    can do before it is fine-tuned.

    Args:
        num_pairs: how many.
        seed: seed of the draw.

    Returns:
        Rows of SNLI's validation split with the label entailment.
    """
    pairs = load_texts("snli", split="validation")
    entailed = pairs.select(
        [i for i, label in enumerate(pairs["label"][:]) if label == NLI_LABELS.index("entailment")]
    )
    first_row = {document: i for i, document in reversed(list(enumerate(entailed["document_id"][:])))}
    return sample_texts(entailed.select(sorted(first_row.values())), num_pairs, seed=seed, label=None)


@border(pairs=dataset_with("premise", "hypothesis"))
def retrieval_accuracy(encoder: ModelAndTokenizer, pairs: Dataset) -> float:
    """Compute how often a sentence's nearest caption is the caption it follows from.

    Args:
        encoder: an encoder, or a classifier whose encoder is then used.
        pairs: rows with `premise` and `hypothesis`, each premise once.

    Returns:
        Share of hypotheses whose own premise is nearest by cosine of the mean token vectors.
    """
    premises = embed(encoder, pairs["premise"][:])
    hypotheses = embed(encoder, pairs["hypothesis"][:])
    nearest = (hypotheses @ premises.T).argmax(dim=1)
    return float((nearest == torch.arange(len(nearest))).float().mean())


@border()
def learning_rate_sweep(
    learning_rates: Sequence[Positive],
    seeds: Sequence[Seed],
    *,
    progress: Flag = True,
    **sizes: Unpack[Sizes],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fine-tune at several learning rates and watch every step.

    Args:
        learning_rates: peak learning rates.
        seeds: one run each.
        progress: whether to show progress bars.
        **sizes: num_train, num_heldout, num_steps and num_pairs of `learning_rate_run`.

    Returns:
        A table with a row for each run, and one with a row for each step of each run; see
        `learning_rate_run`.
    """
    tasks = [{"learning_rate": rate, "seed": seed} for seed in seeds for rate in learning_rates]
    return split_run_rows(run_table(learning_rate_run, tasks, progress=progress, **sizes))


@border(rows=with_columns("kind"))
def split_run_rows(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Part the rows of `learning_rate_run` into one table of runs and one of steps.

    Args:
        rows: the rows of any number of runs.

    Returns:
        The table of runs and the table of steps, each without the other's columns.
    """
    per_kind = {kind: part.dropna(axis=1, how="all") for kind, part in rows.groupby("kind")}
    return per_kind["run"].reset_index(drop=True), per_kind["step"].reset_index(drop=True)


@border()
def learning_rate_run(
    learning_rate: Positive,
    seed: Seed,
    *,
    num_train: Count,
    num_heldout: Count,
    num_steps: Count,
    num_pairs: Count,
    progress: Flag = False,
) -> list[RunRow | StepRow]:
    """Run one learning rate and seed of `learning_rate_sweep`.

    Args:
        learning_rate: peak learning rate.
        seed: draws the examples, the head and the order of the batches.
        num_train: training texts.
        num_heldout: held-out texts.
        num_steps: optimizer steps.
        num_pairs: caption pairs for what is forgotten.
        progress: whether to show progress bars.

    Returns:
        A row of kind "run" (held-out accuracy and loss, relative distance from the pre-trained weights
        without the head, mean flip share over the second half of training, retrieval before and
        after), and rows of kind "step" (step, batch loss, distance, flip share).
    """
    pool, heldout = labelled_splits("movie", num_heldout=num_heldout)
    train = sample_texts(pool, num_train, seed=seed)
    watched = heldout.select(range(min(NUM_WATCHED, len(heldout))))
    pairs = caption_pairs(num_pairs)
    classifier = load_classifier(num_labels=2, seed=seed)
    before = encoder_weights(classifier)
    retrieval_before = retrieval_accuracy(classifier, pairs)
    predictions = [evaluate(classifier, watched).predictions]
    distances: list[float] = []

    def watch(step: Step) -> None:
        predictions.append(evaluate(classifier, watched).predictions)
        distances.append(relative_distance(before, encoder_weights(classifier, copy=False)))

    settings = FinetuningSettings(learning_rate=learning_rate, num_steps=num_steps, seed=seed)
    steps = finetune(classifier, train, settings, after_step=watch, progress=progress)
    flips = flip_shares(predictions)
    result = evaluate(classifier, heldout)
    run: RunRow = {
        "kind": "run",
        "learning_rate": learning_rate,
        "seed": seed,
        "accuracy": result.accuracy,
        "loss": result.loss,
        "distance": distances[-1],
        "late_flip_share": float(flips[len(flips) // 2 :].mean()),
        "retrieval_before": retrieval_before,
        "retrieval_after": retrieval_accuracy(classifier, pairs),
    }
    step_rows: list[StepRow] = [
        {
            "kind": "step",
            "learning_rate": learning_rate,
            "seed": seed,
            "step": step.step,
            "batch_loss": step.loss,
            "step_distance": distance,
            "flip_share": float(flip),
        }
        for step, distance, flip in zip(steps, distances, flips, strict=True)
    ]
    return [run, *step_rows]
