"""How much R_s weighs: which ε does something, and the warning where it does nothing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from course_lib.errors import CourseError
from course_lib.smart import SmartLoss, SmoothnessRegularizer, smoothness_shares
from course_lib.smart.weight import INERT_BATCHES, InertnessWatch, task_loss
from tests.smart.training_parts import rows, tiny_model, trained

EXAMPLES = rows(6)
BATCH = {name: torch.tensor([row[name] for row in EXAMPLES]) for name in ("input_ids", "labels")}


def test_the_share_is_the_ratio_of_both_gradients() -> None:
    model = tiny_model(dropout=0.3).train()
    torch.manual_seed(0)
    (found,) = smoothness_shares(model, BATCH, [0.05], smoothness_weight=2.0)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())

    model.eval()
    lengths = []
    logits = model(input_ids=BATCH["input_ids"]).logits
    loss = cross_entropy(logits, BATCH["labels"])
    torch.manual_seed(0)
    smart = SmartLoss(model, SmoothnessRegularizer(epsilon=0.05, step_size=5.0, noise_std=0.05), 2.0)
    smart.before_pass()
    for value in (smart(model, BATCH, model(**BATCH).logits), loss):
        model.zero_grad()
        value.backward()
        lengths.append(float(torch.cat([w.grad.flatten() for w in model.parameters()]).norm()))
    assert found["share"] == pytest.approx(lengths[0] / lengths[1], rel=1e-4)
    assert found["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert found["smoothness"] == pytest.approx(float(smart.terms.smoothness), rel=1e-4)


def test_the_share_grows_with_the_radius_and_the_published_one_does_nothing() -> None:
    shares = [row["share"] for row in smoothness_shares(tiny_model(), BATCH)]
    assert shares == sorted(shares)
    assert shares[0] < 1e-5
    assert shares[-1] > 0.1


def test_regression_is_measured_with_its_own_divergence() -> None:
    batch = {**BATCH, "labels": torch.rand(6)}
    (found,) = smoothness_shares(tiny_model(num_labels=1), batch, [0.05])
    assert found["share"] > 0


@pytest.mark.parametrize("epsilons", [[], [0.0], [-1.0], [float("nan")], "0.1", None])
def test_radii_that_are_none_are_refused(epsilons: Any) -> None:
    with pytest.raises(CourseError):
        smoothness_shares(tiny_model(), BATCH, epsilons)


def test_without_labels_there_is_no_share() -> None:
    with pytest.raises(CourseError, match="labels"):
        smoothness_shares(tiny_model(), {"input_ids": BATCH["input_ids"]})


# --- the warning -------------------------------------------------------------------------------------


def warned(action: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [str(each.message) for each in caught if "thousandth" in str(each.message)]


def in_a_loop(epsilon: float, num_batches: int, weight: float = 1.0, **batch: torch.Tensor) -> list[str]:
    model = tiny_model()
    smart = SmartLoss(model, SmoothnessRegularizer(epsilon=epsilon), weight)

    def loop() -> None:
        for _ in range(num_batches):
            smart.before_pass()
            smart(model, {**BATCH, **batch}, model(**BATCH).logits)

    return warned(loop)


def test_an_inert_term_is_told_once_after_many_batches() -> None:
    assert in_a_loop(1e-5, INERT_BATCHES - 1) == []
    (told,) = in_a_loop(1e-5, 2 * INERT_BATCHES)
    assert "epsilon=1e-05" in told
    assert "smoothness_shares" in told


def test_a_term_that_weighs_something_is_not_told() -> None:
    assert in_a_loop(0.05, INERT_BATCHES + 5) == []
    assert in_a_loop(1e-4, INERT_BATCHES, weight=1e4) == []


def test_the_batches_must_come_one_after_the_other() -> None:
    watch = InertnessWatch(1e-5)

    def see() -> None:
        for number in range(4 * INERT_BATCHES):
            watch.see(1.0 if number % (INERT_BATCHES - 1) == 0 else 1e-9, 1.0)

    assert warned(see) == []


@pytest.mark.parametrize("options", [{}, {"label_smoothing_factor": 0.1}, {"gradient_accumulation_steps": 2}])
def test_the_trainer_tells_it_too(tmp_path: Path, options: dict[str, Any]) -> None:
    quick = {
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-3,
        "proximal_weight": 0,
        "logging_steps": 50,
    }
    run = lambda **more: trained(tmp_path, max_steps=INERT_BATCHES, **quick, **options, **more)
    assert len(warned(run)) == 1
    assert warned(lambda: run(epsilon=0.05)) == []


@pytest.mark.parametrize(
    ("logits", "labels", "right"),
    [
        ([[0.0, 0.0]], [1], 0.6931472),
        ([[2.0], [1.0]], [1.0, 1.0], 0.5),
        ([[2.0], [1.0]], [[1.0], [1.0]], 0.5),
        ([[2.0, 1.0]], [[1.0, 1.0]], 0.5),
        ([[2.0], [1.0]], [1, 1], 0.5),
        ([[2.0, 1.0]], [1.0], None),
        ([[2.0, 1.0]], [1, 1], None),
        ([[2.0, 1.0]], None, None),
    ],
)
def test_the_tasks_loss_by_hand(logits: Any, labels: Any, right: float | None) -> None:
    found = task_loss(torch.tensor(logits), None if labels is None else torch.tensor(labels))
    assert (found if found is None else float(found)) == (right if right is None else pytest.approx(right))
