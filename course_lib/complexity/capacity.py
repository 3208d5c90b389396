"""What more training examples do to the gap between training and held-out accuracy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Literal, TypedDict

import numpy as np
import pandas as pd
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from course_lib.checks.calls import border, each
from course_lib.checks.tables import with_columns
from course_lib.checks.types import Count, Flag, Positive, Seed, Text
from course_lib.checks.values import check_count
from course_lib.complexity.ratio import parameter_ratio
from course_lib.finetuning.evaluating import Evaluation, evaluate
from course_lib.finetuning.loop import FinetuningSettings, finetune
from course_lib.models.loading import load_classifier
from course_lib.models.weights import count_parameters
from course_lib.runs.sweeping import run_table
from course_lib.texts.sampling import labelled_splits, sample_texts

ENCODER = "fine-tuned encoder"
LINEAR = "linear on TF-IDF"
Side = Literal["train", "held-out"]


class SampleSizeRow(TypedDict):
    """What one model reaches at one N and seed, on one side; `loss` in nats."""

    model: str
    num_examples: int
    seed: int
    side: Side
    accuracy: float
    loss: float
    num_parameters: int
    parameter_ratio: float
    seconds: float


# Of a single text there is one label, and nothing to tell apart.
two_or_more = partial(check_count, least=2)


@border(train_sizes=each(two_or_more))
def sample_size_sweep(
    train_sizes: Sequence[int],
    seeds: Sequence[Seed],
    *,
    num_heldout: Count,
    num_epochs: Count,
    learning_rate: Positive = 2e-4,
    texts: Text = "movie",
    progress: Flag = True,
) -> pd.DataFrame:
    """Fine-tune the encoder and fit a small linear model on growing numbers of examples.

    Args:
        train_sizes: numbers of training examples N.
        seeds: one run each; a seed draws the examples, the head and the order of the batches.
        num_heldout: held-out texts, the same for all runs.
        num_epochs: passes over the examples.
        learning_rate: the encoder's.
        texts: domain of the texts.
        progress: whether to show progress bars.

    Returns:
        A row for each model, N, seed and side ("train" or "held-out"): accuracy, loss in nats,
        num_parameters, parameter_ratio, seconds.

    Raises:
        CourseError: if an N is larger than the data, or below 2; before any run.
    """
    pool, _ = labelled_splits(texts, num_heldout=num_heldout)
    sample_texts(pool, max(train_sizes), seed=seeds[0])
    return run_table(
        sample_size_run,
        [{"train_size": size, "seed": seed} for seed in seeds for size in train_sizes],
        num_heldout=num_heldout,
        num_epochs=num_epochs,
        learning_rate=learning_rate,
        texts=texts,
        progress=progress,
    )


@border(train_size=two_or_more)
def sample_size_run(
    train_size: int,
    seed: Seed,
    *,
    num_heldout: Count,
    num_epochs: Count,
    learning_rate: Positive = 2e-4,
    texts: Text = "movie",
    progress: Flag = False,
) -> list[SampleSizeRow]:
    """Run one size and seed of `sample_size_sweep`, and give its rows.

    Args:
        train_size: training examples N.
        seed: draws the examples, the head and the order of the batches.
        num_heldout: held-out texts.
        num_epochs: passes over the examples.
        learning_rate: the encoder's.
        texts: domain of the texts.
        progress: whether to show progress bars.

    Returns:
        A row for each model and side.
    """
    pool, heldout = labelled_splits(texts, num_heldout=num_heldout)
    train = sample_texts(pool, train_size, seed=seed)
    settings = FinetuningSettings(learning_rate=learning_rate, num_epochs=num_epochs, seed=seed)
    return _encoder_rows(train, heldout, settings, progress) + _linear_rows(train, heldout, seed)


def _encoder_rows(
    train: Dataset, heldout: Dataset, settings: FinetuningSettings, progress: bool
) -> list[SampleSizeRow]:
    started = time.perf_counter()
    classifier = load_classifier(num_labels=2, seed=settings.seed)
    finetune(classifier, train, settings, progress=progress)
    sides: dict[Side, Evaluation] = {
        "train": evaluate(classifier, train),
        "held-out": evaluate(classifier, heldout),
    }
    seconds = time.perf_counter() - started
    return _rows(ENCODER, sides, count_parameters(classifier.model), len(train), settings.seed, seconds)


def _linear_rows(train: Dataset, heldout: Dataset, seed: int) -> list[SampleSizeRow]:
    """Fit logistic regression on TF-IDF of single words, a model whose P grows with its data."""
    started = time.perf_counter()
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10.0, max_iter=1000))
    model.fit(train["text"][:], train["label"][:])
    sides: dict[Side, Evaluation] = {}
    both: dict[Side, Dataset] = {"train": train, "held-out": heldout}
    for side, texts in both.items():
        scores = model.decision_function(texts["text"][:])
        logits = np.stack([np.zeros_like(scores), scores], axis=1)
        sides[side] = Evaluation(logits, np.asarray(texts["label"][:]))
    num_parameters = model[-1].coef_.size + model[-1].intercept_.size
    return _rows(LINEAR, sides, num_parameters, len(train), seed, time.perf_counter() - started)


def _rows(
    model: str, sides: dict[Side, Evaluation], num_parameters: int, size: int, seed: int, seconds: float
) -> list[SampleSizeRow]:
    return [
        {
            "model": model,
            "num_examples": size,
            "seed": seed,
            "side": side,
            "accuracy": evaluation.accuracy,
            "loss": evaluation.loss,
            "num_parameters": num_parameters,
            "parameter_ratio": parameter_ratio(num_parameters, size),
            "seconds": round(seconds, 2),
        }
        for side, evaluation in sides.items()
    ]


@border(rows=with_columns("model", "num_examples", "seed", "parameter_ratio", "side", "accuracy"))
def generalization_gaps(rows: pd.DataFrame) -> pd.DataFrame:
    """Compute training minus held-out accuracy for each model, N and seed.

    Args:
        rows: what `sample_size_sweep` gives.

    Returns:
        Columns: model, num_examples, seed, parameter_ratio, train, held-out, gap.

    Raises:
        CourseError: no rows, or a column that is missing.
    """
    table = rows.pivot_table(
        index=["model", "num_examples", "seed", "parameter_ratio"], columns="side", values="accuracy"
    ).reset_index()
    table.columns.name = None
    return table.assign(gap=table["train"] - table["held-out"])
