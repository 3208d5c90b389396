"""The search for SMART's settings on development data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import pandas as pd

from course_lib.checks.calls import border
from course_lib.checks.tables import table_with
from course_lib.checks.types import Count, Positive, Seed, Text
from course_lib.checks.values import check_mapping
from course_lib.errors import CourseError
from course_lib.finetuning.evaluating import evaluate
from course_lib.models.loading import load_classifier
from course_lib.runs.records import ResultRecord
from course_lib.smart.experiments.ablation import STORED_FIELDS, Arm, StoredArm, arm_with, train_arm
from course_lib.texts.sampling import labelled_splits, sample_texts

LEARNING_RATES = (1e-4, 3e-4)
# The paper's radius, then radii that are felt on word embeddings whose entries spread by 0.05.
EPSILONS = (1e-5, 1e-2, 3e-2)
SMOOTHNESS_WEIGHTS = (1.0, 5.0)
PROXIMAL_WEIGHTS = (1.0, 5.0)
# Shares of the run; None is the published β.
HALF_LIVES = (None, 0.1, 0.5)
LABEL_SMOOTHINGS = (0.1, 0.3)
FINITE = ("accuracy", "loss", "num_development")


class SearchRow(StoredArm):
    """What one candidate reaches on development texts; the loss in nats."""

    texts: str
    seed: int
    family: str
    accuracy: float
    loss: float


def rate_candidates() -> list[Arm]:
    """Return the first stage: the learning rate of plain fine-tuning.

    Returns:
        An arm for each learning rate.
    """
    return [Arm(learning_rate=rate) for rate in LEARNING_RATES]


@border()
def part_candidates(learning_rate: Positive) -> list[Arm]:
    """Return the second stage: the settings of each part alone, at the chosen learning rate.

    At the paper's radius R_s is next to nothing whatever its weight, so only the larger one is tried.

    Args:
        learning_rate: the peak learning rate of every arm.

    Returns:
        The arms of R_s, of D_Breg and of label smoothing.
    """
    smooth = [
        Arm(learning_rate, smoothness_weight=weight, epsilon=epsilon)
        for epsilon, weight in product(EPSILONS, SMOOTHNESS_WEIGHTS)
        if epsilon > EPSILONS[0] or weight == max(SMOOTHNESS_WEIGHTS)
    ]
    proximal = [
        Arm(learning_rate, proximal_weight=weight, half_life=share)
        for weight, share in product(PROXIMAL_WEIGHTS, HALF_LIVES)
    ]
    return smooth + proximal + [Arm(learning_rate, label_smoothing=share) for share in LABEL_SMOOTHINGS]


@border(arm=check_mapping)
def search_run(
    texts: Text,
    seed: Seed,
    arm: Mapping[str, Any],
    *,
    train_size: Count,
    num_steps: Count,
    num_development: Count,
) -> list[SearchRow]:
    """Train one candidate and measure it on development texts.

    Args:
        texts: name of the texts.
        seed: draws the examples, the head, the order of the batches and the perturbations.
        arm: what `Arm.stored` gives.
        train_size: training examples.
        num_steps: optimizer steps.
        num_development: development texts.

    Returns:
        One row: the fields of the arm, family, accuracy, loss in nats.
    """
    candidate = arm_with(arm)
    pool, development = labelled_splits(texts, num_heldout=num_development)
    classifier = load_classifier(num_labels=len(set(development["label"][:])), seed=seed)
    train = sample_texts(pool, train_size, seed=seed)
    train_arm(candidate, classifier, train, development, num_steps=num_steps, seed=seed)
    result = evaluate(classifier, development)
    return [
        {
            "texts": texts,
            "seed": seed,
            "family": candidate.family,
            **candidate.stored(),
            "accuracy": result.accuracy,
            "loss": result.loss,
        }
    ]


@border()
def choose_by_texts(record: ResultRecord) -> dict[str, dict[str, Arm]]:
    """Return `choose` for each of the texts of a record of `search_run`.

    Args:
        record: the record of `search_run` on several texts.

    Returns:
        Name of the texts -> family -> arm.
    """
    rows = record.table().assign(num_development=record.settings["num_development"])
    return {str(name): choose(part) for name, part in rows.groupby("texts", sort=False)}


@border(rows=table_with("texts", "seed", "family", *STORED_FIELDS, finite=FINITE))
def choose(rows: pd.DataFrame) -> dict[str, Arm]:
    """Choose the settings of each family by the one-standard-error rule.

    Among the candidates whose mean development accuracy lies within one standard error of the best one's,
    take the one with the lowest mean development loss. The standard error is that of a share over all
    development texts of all seeds.

    Args:
        rows: what `search_run` gave for the candidates of one of the texts, with a column
            `num_development`.

    Returns:
        Family -> arm.

    Raises:
        CourseError: no rows, or rows of several texts.
    """
    if rows.texts.nunique() != 1:
        raise CourseError("Choose for one of the texts at a time.", given=sorted(set(rows.texts)))
    means = (
        rows.groupby(["family", *STORED_FIELDS], dropna=False, sort=False)[["accuracy", "loss"]]
        .mean()
        .reset_index()
    )
    num_answers = rows.num_development.iloc[0] * rows.seed.nunique()
    chosen = {}
    for family, candidates in means.groupby("family", sort=False):
        best = candidates.accuracy.max()
        standard_error = (best * (1 - best) / num_answers) ** 0.5
        good = candidates[candidates.accuracy >= best - standard_error]
        row = good.loc[good.loss.idxmin(), list(STORED_FIELDS)]
        chosen[str(family)] = arm_of(row.to_dict())
    return chosen


@border(row=partial(check_mapping, keys=STORED_FIELDS))
def arm_of(row: Mapping[str, Any]) -> Arm:
    """Return the arm that a row of a table describes; a missing half-life is the published β.

    Args:
        row: a row of a record of `search_run`.

    Returns:
        The arm.
    """
    half_life = row["half_life"]
    is_published = half_life is None or half_life != half_life
    stored = {name: row[name] for name in STORED_FIELDS}
    return arm_with({**stored, "half_life": None if is_published else half_life})


@border()
def search_tasks(texts: Sequence[Text], arms: Sequence[Arm], seeds: Sequence[Seed]) -> list[dict[str, Any]]:
    """Return the arguments of every `search_run`.

    Args:
        texts: names of the texts.
        arms: the candidates.
        seeds: one run each.

    Returns:
        Keyword arguments, a mapping for each run.
    """
    return [
        {"texts": name, "seed": seed, "arm": arm.stored()} for name, arm, seed in product(texts, arms, seeds)
    ]
