"""The arms of the ablation, the search that sets them, and how they are compared."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch
from datasets import Dataset

from course_lib.errors import CourseError
from course_lib.finetuning import FinetuningSettings, evaluate, finetune
from course_lib.models import load_classifier
from course_lib.runs import ResultRecord
from course_lib.smart.experiments import ablation, search
from course_lib.smart.experiments.ablation import (
    Arm,
    ablation_arms,
    ablation_run,
    ablation_sweep,
    paired_differences,
    train_arm,
)
from course_lib.texts import labelled_splits, sample_texts

SIZES = {"num_steps": {"16": 2}, "num_development": 8, "num_test": 8, "num_changed": 4}
CHOSEN = {
    "plain": Arm(3e-4),
    "R_s": Arm(3e-4, smoothness_weight=5.0, epsilon=0.01),
    "D_Breg": Arm(3e-4, proximal_weight=2.0, half_life=0.5),
    "label smoothing": Arm(3e-4, label_smoothing=0.2),
}


@pytest.fixture(scope="module")
def texts():
    pool, development = labelled_splits("movie", num_heldout=16)
    return sample_texts(pool, 6, seed=0), development


@pytest.fixture(scope="module")
def plain_weights(texts) -> list[torch.Tensor]:
    return weights_after(CHOSEN["plain"], texts)


def weights_after(arm: Arm, texts, num_steps: int = 2) -> list[torch.Tensor]:
    classifier = load_classifier(num_labels=2)
    train_arm(arm, classifier, *texts, num_steps=num_steps, seed=0)
    return list(classifier.model.parameters())


def test_the_arms_take_over_what_was_chosen() -> None:
    arms = ablation_arms(CHOSEN)
    assert arms["R_s + D_Breg"] == Arm(
        3e-4, smoothness_weight=5.0, epsilon=0.01, proximal_weight=2.0, half_life=0.5
    )
    assert arms["a third of the rate"] == Arm(3e-4 / 3)
    assert arms["early stopping"] == Arm(3e-4, early_stopping=True)
    assert {name: arm.family for name, arm in arms.items()} == {
        **{name: name for name in arms},
        "a third of the rate": "plain",
    }


def test_the_plain_arm_is_plain_finetuning(texts, plain_weights: list[torch.Tensor]) -> None:
    classifier = load_classifier(num_labels=2)
    finetune(classifier, texts[0], FinetuningSettings(learning_rate=3e-4, num_steps=2), progress=False)
    assert all(map(torch.equal, plain_weights, classifier.model.parameters()))


@pytest.mark.parametrize("name", ["R_s", "D_Breg", "R_s + D_Breg", "label smoothing"])
def test_every_part_changes_the_weights_and_repeats(
    name: str, texts, plain_weights: list[torch.Tensor]
) -> None:
    arm = ablation_arms(CHOSEN)[name]
    first, again = (weights_after(arm, texts) for _ in range(2))
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, plain_weights))


def test_the_anchor_moves_with_the_updates(texts, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Watched(ablation.BregmanProximalPoint):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(ablation, "BregmanProximalPoint", Watched)
    weights_after(CHOSEN["D_Breg"], texts, num_steps=4)
    assert [point.num_updates for point in made] == [4]
    assert made[0].beta == pytest.approx(0.5 ** (1 / 2))  # half the run of four updates


def test_label_smoothing_is_torchs(texts) -> None:
    extra_loss = ablation._label_smoothing(0.2)
    logits, batch = torch.tensor([[2.0, -1.0], [0.5, 1.5]]), {"labels": torch.tensor([0, 0])}
    task_loss = torch.nn.functional.cross_entropy(logits, batch["labels"])
    expected = torch.nn.functional.cross_entropy(logits, batch["labels"], label_smoothing=0.2)
    assert torch.isclose(task_loss + extra_loss(None, batch, logits), expected)


def test_early_stopping_keeps_the_best_weights(texts) -> None:
    """At a rate that ruins the model the kept weights are no worse on development texts."""
    losses = {}
    for early in (False, True):
        classifier = load_classifier(num_labels=2)
        train_arm(Arm(3e-3, early_stopping=early), classifier, *texts, num_steps=8, seed=0)
        losses[early] = evaluate(classifier, texts[1]).loss
    assert losses[True] < losses[False]


def test_a_run_gives_every_measure_and_repeats() -> None:
    arm = json.loads(json.dumps(CHOSEN["R_s"].stored()))
    first, again = (ablation_run("movie", 16, 0, "R_s", arm, **SIZES) for _ in range(2))
    assert first == again
    assert set(first[0]) == {
        *("texts", "train_size", "seed", "arm", "accuracy", "loss", "calibration_error"),
        *("typos", "capitals", "no punctuation", "noise", "distance", "churn"),
    }


def test_pairs_are_measured_too() -> None:
    (row,) = ablation_run("snli", 16, 0, "plain", Arm(1e-4).stored(), **SIZES)
    assert 0 < row["distance"] < 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epsilon": 0.0}, "epsilon must"),
        ({"proximal_weight": -1.0}, "proximal_weight must"),
        ({"label_smoothing": 1.0}, "below 1"),
        ({"label_smoothing": -0.1}, "below 1"),
        ({"label_smoothing": 0.1, "proximal_weight": 1.0}, "control"),
        ({"label_smoothing": 0.1, "smoothness_weight": 1.0}, "control"),
    ],
)
def test_arms_that_are_none_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        Arm(**fields)


def test_differences_are_paired_by_seed() -> None:
    """Seeds differ by far more than the arms; the pairing finds the arms' difference all the same."""
    rows = pd.DataFrame(
        [
            {"texts": "movie", "train_size": 64, "seed": seed, "arm": arm, "loss": 10.0 * seed + extra}
            for seed in range(5)
            for arm, extra in (("plain", 0.0), ("R_s", -1.0 + 0.01 * seed), ("none", 0.1 * (-1) ** seed))
        ]
    )
    found = paired_differences(rows, "loss").set_index("arm")
    assert found.loc["R_s", "mean"] == pytest.approx(-0.98)
    assert found.loc["R_s", "differs"]
    assert not found.loc["none", "differs"]
    with pytest.raises(CourseError, match="There is no"):
        paired_differences(rows, "accuracy")


def searched(arms_and_results: list[tuple[Arm, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"texts": "movie", "seed": seed, "family": arm.family, **arm.stored()}
            | {"accuracy": accuracy, "loss": loss, "num_development": 200}
            for arm, accuracy, loss in arms_and_results
            for seed in (100, 101)
        ]
    )


def test_within_a_standard_error_the_lowest_loss_wins() -> None:
    """400 answers at .75: a standard error of .022."""
    best, near, far = (
        Arm(proximal_weight=mu, half_life=share) for mu, share in ((1.0, None), (5.0, None), (5.0, 0.5))
    )
    rows = searched([(best, 0.75, 0.9), (near, 0.74, 0.7), (far, 0.70, 0.5), (Arm(), 0.7, 0.6)])
    assert search.choose(rows) == {"D_Breg": near, "plain": Arm()}


def test_a_record_read_back_gives_the_same_choice() -> None:
    """JSON keeps a missing half-life as null, and pandas makes it NaN."""
    arm = Arm(proximal_weight=1.0)
    rows = searched([(arm, 0.7, 0.5), (replace(arm, half_life=0.1), 0.7, 0.6)])
    again = pd.DataFrame(json.loads(rows.to_json(orient="records")))
    assert search.choose(again) == {"D_Breg": arm}


def test_the_choice_is_for_one_of_the_texts() -> None:
    rows = searched([(Arm(), 0.7, 0.5)])
    with pytest.raises(CourseError, match="one of the texts"):
        search.choose(pd.concat([rows, rows.assign(texts="snli")]))


def test_each_of_the_texts_has_its_own_choice_in_the_order_of_the_record() -> None:
    rows = [
        row
        for texts, arm in (("snli", Arm(proximal_weight=1.0)), ("movie", Arm(proximal_weight=5.0)))
        for row in searched([(arm, 0.7, 0.5)]).assign(texts=texts).to_dict("records")
    ]
    plain = json.loads(json.dumps(rows).replace("NaN", "null"))
    record = ResultRecord("search", "course reference search", {"num_development": 200}, plain, 1.0)
    chosen = search.choose_by_texts(record)
    assert list(chosen.items()) == [
        ("snli", {"D_Breg": Arm(proximal_weight=1.0)}),
        ("movie", {"D_Breg": Arm(proximal_weight=5.0)}),
    ]


def test_every_candidate_is_tried_once() -> None:
    candidates = search.rate_candidates() + search.part_candidates(1e-4)
    assert len(set(candidates)) == len(candidates)
    assert {arm.family for arm in candidates} == {"plain", "R_s", "D_Breg", "label smoothing"}


def test_a_search_run_measures_on_development_texts() -> None:
    (row,) = search.search_run("movie", 100, Arm().stored(), train_size=16, num_steps=2, num_development=16)
    assert row["family"] == "plain"
    assert 0 <= row["accuracy"] <= 1


def _never(*args: Any, **settings: Any) -> None:
    raise AssertionError("trained")


def test_what_would_fail_in_the_end_is_refused_before_the_training(
    texts: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "finetune", _never)
    train, development = texts
    classifier = load_classifier(num_labels=2, seed=0)
    unlabelled = development.remove_columns("label")
    for development_texts, settings in (
        (development, {"num_steps": 1, "watched": development}),
        (unlabelled, {"num_steps": 2}),
        (development, {"num_steps": 2, "watched": unlabelled}),
    ):
        with pytest.raises(CourseError):
            train_arm(Arm(), classifier, train, development_texts, seed=0, **settings)


def test_a_sweep_asks_for_its_largest_size_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "finetune", _never)
    sizes = {"num_steps": {"4": 2, "1000000": 2}, "num_development": 4, "num_test": 4, "num_changed": 2}
    with pytest.raises(CourseError, match="examples to draw from"):
        ablation_sweep({"plain": Arm()}, ["movie"], [4, 10**6], [0], **sizes)


def test_a_sweep_runs_every_size_seed_and_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its largest size is drawn from the training texts, of which there are enough."""
    monkeypatch.setattr(ablation, "ablation_run", lambda **task: [task])
    found = ablation_sweep(
        {"plain": Arm(), "R_s": CHOSEN["R_s"]}, ["movie"], [4, 16], [0, 1], num_steps={"4": 2, "16": 2}
    )
    assert list(zip(found["train_size"], found["seed"], found["arm_name"], strict=True)) == [
        (size, seed, arm) for seed in (0, 1) for size in (4, 16) for arm in ("plain", "R_s")
    ]
