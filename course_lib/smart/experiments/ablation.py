"""What each part of SMART is worth: the paper's ablation, with the plain controls beside it.

The parts are compared at settings that were chosen on development data. The controls tell regularization
from mere shrinkage: label smoothing, early stopping, and a smaller learning rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypedDict, cast

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy

from course_lib.checks.calls import a_dataset, border, check_choice, check_fields, of_type, optional
from course_lib.checks.tables import check_table, table_with
from course_lib.checks.types import Count, Flag, NotNegative, Positive, Seed, Text
from course_lib.checks.values import check_count, check_mapping, check_number, mapping_to
from course_lib.errors import CourseError
from course_lib.finetuning.batches import Batch, encode
from course_lib.finetuning.evaluating import evaluate
from course_lib.finetuning.loop import ExtraLoss, FinetuningSettings, Step, finetune
from course_lib.finetuning.optimizing import BestWeights
from course_lib.models.loaded import ModelAndTokenizer
from course_lib.models.loading import load_classifier
from course_lib.models.weights import encoder_weights, relative_distance
from course_lib.runs.sweeping import run_table
from course_lib.smart.experiments.robustness import FlipRates, flip_rates, in_ball
from course_lib.smart.loss import SmartLoss
from course_lib.smart.proximal import BregmanProximalPoint
from course_lib.statistics import expected_calibration_error, flip_shares, mean_interval
from course_lib.texts.sampling import labelled_splits, sample_texts

# Churn is counted over this many steps from the middle of a run on, on this many development texts.
NUM_CHURN_STEPS = 8
NUM_WATCHED = 48
# Early stopping looks at the development texts this many times in a run.
NUM_LOOKS = 8


@dataclass(frozen=True)
class Arm:
    """One way to fine-tune.

    Args:
        learning_rate: peak learning rate.
        smoothness_weight: λ_s; 0 leaves R_s out.
        epsilon: radius of R_s; step size and noise are in the paper's proportions to it.
        proximal_weight: μ; 0 leaves D_Breg out.
        half_life: half-life of the anchor's weights as a share of the run; None takes the published β.
        label_smoothing: share of each label that is spread over all labels, as in `cross_entropy`.
        early_stopping: whether to keep the weights with the lowest development loss.

    Raises:
        CourseError: a control together with a part of SMART, which no arm of the ablation is.
    """

    learning_rate: Positive = 1e-4
    smoothness_weight: NotNegative = 0.0
    epsilon: Positive = 1e-5
    proximal_weight: NotNegative = 0.0
    half_life: Positive | None = None
    label_smoothing: float = 0.0
    early_stopping: Flag = False

    def __post_init__(self) -> None:
        check_fields(self, label_smoothing=partial(check_number, least=0, below=1))
        if self.label_smoothing and self.has_smart:
            raise CourseError(
                "Label smoothing is a control: it goes without R_s and D_Breg.",
                given=self,
                mend="Set smoothness_weight=0 and proximal_weight=0, or label_smoothing=0.",
            )

    @property
    def has_smart(self) -> bool:
        """Whether a part of SMART is on."""
        return bool(self.smoothness_weight or self.proximal_weight)

    @property
    def family(self) -> str:
        """What the arm is called in tables: which parts it has, whatever their settings."""
        if self.early_stopping:
            return "early stopping"
        if self.label_smoothing:
            return "label smoothing"
        parts = {"R_s": self.smoothness_weight, "D_Breg": self.proximal_weight}
        return " + ".join(name for name, weight in parts.items() if weight) or "plain"

    def stored(self) -> StoredArm:
        """Return the fields by the names under which records and tasks keep them: μ is `mu` there.

        Returns:
            Name -> value, as JSON keeps it.
        """
        fields = {_STORED_NAMES.get(name, name): value for name, value in asdict(self).items()}
        return cast(StoredArm, fields)


class StoredArm(TypedDict):
    """The fields of an `Arm` as records keep them."""

    learning_rate: float
    smoothness_weight: float
    epsilon: float
    mu: float
    half_life: float | None
    label_smoothing: float
    early_stopping: bool


class AblationRow(FlipRates):
    """What one arm reaches on the test texts; the loss in nats."""

    texts: str
    train_size: int
    seed: int
    arm: str
    accuracy: float
    loss: float
    calibration_error: float
    distance: float
    churn: float | None


_STORED_NAMES = {"proximal_weight": "mu"}
STORED_FIELDS = tuple(Arm().stored())
an_arm = of_type("course_lib.smart.experiments.ablation.Arm")


def arm_with(stored: Mapping[str, Any]) -> Arm:
    """Return the arm of the fields that `Arm.stored` gave.

    Args:
        stored: name -> value; a field that is missing has its default.

    Returns:
        The arm.

    Raises:
        CourseError: a field that an arm has not, or a value out of its range.
    """
    names = {stored_name: name for name, stored_name in zip(asdict(Arm()), STORED_FIELDS, strict=True)}
    return Arm(**{names[check_choice("setting of an arm", key, names)]: stored[key] for key in stored})


@border(chosen=mapping_to(an_arm, "plain", "R_s", "D_Breg", "label smoothing"))
def ablation_arms(chosen: Mapping[str, Arm]) -> dict[str, Arm]:
    """Return the arms of the ablation from the settings that a search chose.

    Args:
        chosen: an arm for each of "plain", "R_s", "D_Breg" and "label smoothing".

    Returns:
        Name -> arm: the paper's four, then the controls.
    """
    plain, smooth, proximal = chosen["plain"], chosen["R_s"], chosen["D_Breg"]
    return {
        "plain": plain,
        "R_s": smooth,
        "D_Breg": proximal,
        "R_s + D_Breg": replace(
            smooth, proximal_weight=proximal.proximal_weight, half_life=proximal.half_life
        ),
        "label smoothing": chosen["label smoothing"],
        "early stopping": replace(plain, early_stopping=True),
        "a third of the rate": replace(plain, learning_rate=plain.learning_rate / 3),
    }


@border(train=a_dataset, development=a_dataset, watched=optional(a_dataset))
def train_arm(
    arm: Arm,
    classifier: ModelAndTokenizer,
    train: Dataset,
    development: Dataset,
    *,
    num_steps: Count,
    seed: Seed,
    watched: Dataset | None = None,
    progress: Flag = False,
) -> float | None:
    """Fine-tune a classifier in one way, in place.

    Args:
        arm: how.
        classifier: model and tokenizer.
        train: labelled training texts.
        development: labelled texts for early stopping.
        num_steps: optimizer steps.
        seed: seed of the batches' order, of dropout and of the perturbations.
        watched: labelled texts for churn.
        progress: whether to show a progress bar.

    Returns:
        Churn, the mean share of watched predictions that flip from one step to the next over
        `NUM_CHURN_STEPS` steps from the middle of the run on; None without watched texts.

    Raises:
        CourseError: before the training, as `encode` for any of the texts; a single step to watch.
    """
    if watched is not None:
        check_count("num_steps with watched texts", num_steps, least=2)
    for texts in (development, watched):
        if texts is not None:
            encode(classifier, texts)
    settings = FinetuningSettings(learning_rate=arm.learning_rate, num_steps=num_steps, seed=seed)
    smart = _smart_loss(arm, classifier, num_steps)
    predictions: list[np.ndarray] = []
    best = BestWeights(classifier.model.parameters()) if arm.early_stopping else None

    def after_step(step: Step) -> None:
        if smart:
            smart.update()
        if watched and 0 <= step.step - num_steps // 2 <= NUM_CHURN_STEPS:
            predictions.append(evaluate(classifier, watched).predictions)
        if best and step.step % max(1, num_steps // NUM_LOOKS) == 0:
            # the lowest loss, whatever the accuracy
            best.offer(step.step, accuracy=0.0, loss=evaluate(classifier, development).loss)

    finetune(
        classifier,
        train,
        settings,
        extra_loss=smart or _label_smoothing(arm.label_smoothing),
        before_pass=smart.before_pass if smart else None,
        after_step=after_step,
        progress=progress,
    )
    if best:
        best.restore()
    return float(flip_shares(predictions).mean()) if watched else None


def _smart_loss(arm: Arm, classifier: ModelAndTokenizer, num_steps: int) -> SmartLoss | None:
    if not arm.has_smart:
        return None
    proximal = None
    if arm.proximal_weight:
        half_life = None if arm.half_life is None else arm.half_life * num_steps
        proximal = BregmanProximalPoint(
            classifier.model, arm.proximal_weight, num_steps=num_steps, half_life=half_life
        )
    return SmartLoss(classifier.model, in_ball(arm.epsilon), arm.smoothness_weight, proximal)


def _label_smoothing(share: float) -> ExtraLoss | None:
    """Compute what label smoothing adds to the cross-entropy of a batch."""
    if not share:
        return None

    def extra_loss(model: torch.nn.Module, batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        labels = batch["labels"]
        return cross_entropy(logits, labels, label_smoothing=share) - cross_entropy(logits, labels)

    return extra_loss


@border(arm=check_mapping, num_steps=mapping_to(check_count))
def ablation_run(
    texts: Text,
    train_size: Count,
    seed: Seed,
    arm_name: Text,
    arm: Mapping[str, Any],
    *,
    num_steps: Mapping[str, int],
    num_development: Count,
    num_test: Count,
    num_changed: Count,
    progress: Flag = False,
) -> list[AblationRow]:
    """Train one arm and measure it on test texts.

    Args:
        texts: name of the texts.
        train_size: training examples N.
        seed: draws the examples, the head, the order of the batches and the perturbations.
        arm_name: the arm's name in the table.
        arm: what `Arm.stored` gives.
        num_steps: optimizer steps for each N, by its number as a string (as JSON keeps it).
        num_development: development texts.
        num_test: test texts.
        num_changed: the first of them on which flips under changes are counted.
        progress: whether to show a progress bar.

    Returns:
        One row: accuracy, loss in nats, calibration_error, a flip rate for each change, distance
        (relative, of the encoder), churn.
    """
    check_count("num_changed", num_changed, most=num_test)
    check_mapping("num_steps", num_steps, keys=[str(train_size)])
    chosen = arm_with(arm)
    pool, test = labelled_splits(texts, num_heldout=num_test, heldout="test")
    _, development = labelled_splits(texts, num_heldout=num_development)
    classifier = load_classifier(num_labels=len(set(test["label"][:])), seed=seed)
    before = encoder_weights(classifier)
    churn = train_arm(
        chosen,
        classifier,
        sample_texts(pool, train_size, seed=seed),
        development,
        num_steps=num_steps[str(train_size)],
        seed=seed,
        watched=development.select(range(min(NUM_WATCHED, len(development)))),
        progress=progress,
    )
    result = evaluate(classifier, test)
    return [
        {
            "texts": texts,
            "train_size": train_size,
            "seed": seed,
            "arm": arm_name,
            "accuracy": result.accuracy,
            "loss": result.loss,
            "calibration_error": expected_calibration_error(result.logits, result.labels),
            **flip_rates(classifier, test.select(range(num_changed))),
            "distance": relative_distance(before, encoder_weights(classifier, copy=False)),
            "churn": churn,
        }
    ]


@border(arms=mapping_to(an_arm))
def ablation_sweep(
    arms: Mapping[str, Arm],
    texts: Sequence[Text],
    train_sizes: Sequence[Count],
    seeds: Sequence[Seed],
    **sizes: Any,
) -> pd.DataFrame:
    """Train every arm for every data set, size and seed, and measure it on test texts.

    Args:
        arms: name -> arm.
        texts: names of the texts.
        train_sizes: numbers of training examples.
        seeds: one run each.
        **sizes: the keyword arguments of `ablation_run`.

    Returns:
        The rows of `ablation_run`.

    Raises:
        CourseError: before any run, too few texts for the largest size; as `ablation_run`.
    """
    check_mapping("num_steps", sizes.get("num_steps"), keys=list(map(str, train_sizes)))
    for name in texts:
        sample_texts(labelled_splits(name, num_heldout=1)[0], max(train_sizes), seed=seeds[0])
    return run_table(ablation_run, ablation_tasks(dict.fromkeys(texts, arms), train_sizes, seeds), **sizes)


@border(arms=mapping_to(mapping_to(an_arm)))
def ablation_tasks(
    arms: Mapping[str, Mapping[str, Arm]], train_sizes: Sequence[Count], seeds: Sequence[Seed]
) -> Iterator[dict[str, Any]]:
    """Return the arguments of every `ablation_run`.

    Args:
        arms: the arms by name, for the name of each of the texts.
        train_sizes: numbers of training examples.
        seeds: one run each.

    Returns:
        Keyword arguments, a mapping for each run.
    """
    for seed in seeds:
        for size in train_sizes:
            for texts, named in arms.items():
                for name, arm in named.items():
                    yield {
                        "texts": texts,
                        "train_size": size,
                        "seed": seed,
                        "arm_name": name,
                        "arm": arm.stored(),
                    }


@border(rows=table_with("texts", "train_size", "seed", "arm"))
def paired_differences(rows: pd.DataFrame, metric: str, *, baseline: str = "plain") -> pd.DataFrame:
    """Compare every arm with plain fine-tuning on the same seeds.

    One seed draws the same examples, head and batches for every arm, so the difference of two arms varies
    less than either.

    Args:
        rows: what `ablation_run` gave for several seeds.
        metric: a numeric column.
        baseline: the arm to compare with.

    Returns:
        A row for each of texts, train_size and other arm: mean, low and high of the difference (95 %), and
        whether the interval leaves out 0 (`differs`).

    Raises:
        CourseError: the metric or the baseline is not in the rows.
    """
    check_choice("metric", metric, rows.columns)
    check_choice("arm", baseline, rows["arm"])
    check_table("rows", rows, finite=[metric])
    found = []
    for (texts, size), part in rows.groupby(["texts", "train_size"], sort=False):
        table = part.pivot_table(index="seed", columns="arm", values=metric, sort=False)
        for arm in table.columns.drop(baseline):
            mean, low, high, _ = mean_interval((table[arm] - table[baseline]).to_list())
            found.append(
                {
                    "texts": texts,
                    "train_size": size,
                    "arm": arm,
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "differs": low > 0 or high < 0,
                }
            )
    return pd.DataFrame(found)
