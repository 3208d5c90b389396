"""The two terms of a step, for any training loop."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset

from course_lib.errors import CourseError
from course_lib.finetuning import FinetuningSettings, finetune
from course_lib.models import ModelAndTokenizer
from course_lib.smart import (
    BregmanProximalPoint,
    SmartLoss,
    SmoothnessRegularizer,
    forward_from_embeddings,
    squared_difference,
    symmetric_kl,
    word_embeddings,
)
from course_lib.smart.loss import divergence_for
from tests.smart.training_parts import Passes, distance, rows, tiny_model, tiny_tokenizer, weights

EXAMPLES = rows(4)
BATCH = {
    "input_ids": torch.tensor([row["input_ids"] for row in EXAMPLES]),
    "attention_mask": torch.tensor([[1] * 6, [1] * 5 + [0], [1] * 4 + [0] * 2, [1] * 6]),
    "labels": torch.tensor([row["labels"] for row in EXAMPLES]),
}


@pytest.fixture
def _rounded_products() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


def extra(smart: SmartLoss, batch: dict[str, torch.Tensor] = BATCH) -> torch.Tensor:
    """Do one pass of the model and give the extra loss for it."""
    smart.before_pass()
    return smart(smart.model, batch, smart.model(**batch).logits)


def moved(model: torch.nn.Module, proximal: BregmanProximalPoint) -> BregmanProximalPoint:
    """Move the model away from the anchor."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.02)
    return proximal


def test_it_is_the_weighted_sum_of_both_terms() -> None:
    model = tiny_model().train()
    regularizer = SmoothnessRegularizer(epsilon=0.05, step_size=0.1)
    proximal = moved(model, BregmanProximalPoint(model, proximal_weight=3.0, half_life=5))
    smart = SmartLoss(model, regularizer, 2.0, proximal)
    torch.manual_seed(1)
    value = extra(smart)

    torch.manual_seed(1)
    logits = model(**BATCH).logits
    r_s = regularizer(
        forward_from_embeddings(model, BATCH),
        word_embeddings(model, BATCH["input_ids"]),
        logits,
        BATCH["attention_mask"],
    )
    penalty = proximal.penalty(BATCH, logits)
    assert r_s > 1e-3
    assert penalty > 1e-3
    torch.testing.assert_close(value, 2 * r_s + penalty)
    torch.testing.assert_close(smart.terms.smoothness, r_s.detach())
    torch.testing.assert_close(smart.terms.proximal, penalty.detach() / 3)
    assert not smart.terms.smoothness.requires_grad


def test_every_pass_of_a_step_draws_the_same_dropout_masks() -> None:
    model = tiny_model(dropout=0.3).train()
    smart = SmartLoss(model, proximal=BregmanProximalPoint(model, half_life=5))
    logits = model(**BATCH).logits
    noise_of_dropout = symmetric_kl(model(**BATCH).logits, logits)
    extra(smart)
    assert noise_of_dropout > 1e-2
    assert smart.terms.proximal == 0  # the anchor is the model, so only masks could differ
    assert 0 < smart.terms.smoothness < 1e-5 * noise_of_dropout


def test_a_forgotten_recording_of_dropout_is_refused() -> None:
    model = tiny_model()
    smart = SmartLoss(model)
    logits = model(**BATCH).logits
    with pytest.raises(CourseError, match="before_pass"):
        smart(model, BATCH, logits)
    extra(smart)
    with pytest.raises(CourseError, match="before_pass"):
        smart(model, BATCH, logits)


@pytest.mark.parametrize(
    ("with_smoothness", "with_proximal", "passes"),
    [(True, True, 4), (True, False, 3), (False, True, 2), (False, False, 1)],
)
def test_the_clean_logits_are_used_again(with_smoothness: bool, with_proximal: bool, passes: int) -> None:
    model = tiny_model()
    proximal = BregmanProximalPoint(model, half_life=5) if with_proximal else None
    smart = SmartLoss(model, SmoothnessRegularizer() if with_smoothness else None, proximal=proximal)
    with Passes().counted() as counter:
        value = extra(smart)
    assert counter.count == passes
    assert (value > 0) == with_smoothness


def test_a_weight_of_zero_switches_smoothness_off() -> None:
    smart = SmartLoss(tiny_model(), smoothness_weight=0)
    with Passes().counted() as counter:
        assert extra(smart) == 0
    assert counter.count == 1


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_out_of_range_is_refused(weight: float) -> None:
    with pytest.raises(CourseError, match="smoothness_weight"):
        SmartLoss(tiny_model(), smoothness_weight=weight)


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_under_autocast_smoothness_is_that_of_float32(place: str) -> None:
    model = tiny_model().train()
    smart = SmartLoss(model, proximal=BregmanProximalPoint(model, half_life=5))
    torch.manual_seed(1)
    extra(smart)
    exact = float(smart.terms.smoothness)
    torch.manual_seed(1)
    if place == "inside":
        with torch.autocast("cpu", torch.bfloat16):
            extra(smart)
        assert smart.terms.proximal == 0
    else:
        smart.before_pass()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(**BATCH).logits
        smart(model, BATCH, logits)
    assert exact > 0
    assert float(smart.terms.smoothness) == pytest.approx(exact, rel=1e-3)


@pytest.mark.usefixtures("_rounded_products")
def test_rounded_products_of_float32_are_refused() -> None:
    with pytest.raises(CourseError, match="vanishes"):
        extra(SmartLoss(tiny_model()))


def test_logits_that_are_no_numbers_are_refused() -> None:
    model = tiny_model()
    smart = SmartLoss(model)
    smart.before_pass()
    with pytest.raises(CourseError, match="not finite"):
        smart(model, BATCH, model(**BATCH).logits * float("nan"))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_labels": 2, "problem_type": None}, "symmetric_kl"),
        ({"num_labels": 1, "problem_type": None}, "squared_difference"),
        ({"num_labels": 3, "problem_type": "regression"}, "squared_difference"),
        ({"num_labels": 3, "problem_type": "single_label_classification"}, "symmetric_kl"),
    ],
)
def test_the_divergence_follows_the_task(config: dict[str, Any], expected: str) -> None:
    assert divergence_for(SimpleNamespace(**config)) == expected


def test_several_labels_at_once_are_refused() -> None:
    with pytest.raises(CourseError, match="several labels"):
        divergence_for(SimpleNamespace(num_labels=3, problem_type="multi_label_classification"))


@pytest.mark.parametrize(
    ("settings", "labels", "divergence", "problem"),
    [
        ({}, [0, 1, 2, 0], "squared_difference", "symmetric_kl"),
        ({"problem_type": "regression"}, [[0.1, 0.2, 0.3]] * 4, "symmetric_kl", "squared_difference"),
        ({"num_labels": 1}, [0.1, 0.2, 0.3, 0.4], "symmetric_kl", "squared_difference"),
        ({"problem_type": "multi_label_classification"}, None, "symmetric_kl", "several labels"),
        ({"problem_type": "multi_label_classification"}, None, "squared_difference", "several labels"),
        ({}, [[0.0, 1.0, 1.0]] * 4, "symmetric_kl", "several labels"),
    ],
)
@pytest.mark.parametrize("term", ["regularizer", "proximal"])
def test_the_rule_of_the_trainer_holds_here_too(
    settings: dict[str, Any], labels: Any, divergence: str, problem: str, term: str
) -> None:
    model = tiny_model(num_labels=settings.get("num_labels", 3))
    model.config.problem_type = settings.get("problem_type")
    proximal = BregmanProximalPoint(model, half_life=5, divergence=divergence)
    smart = (
        SmartLoss(model, SmoothnessRegularizer(divergence=divergence))
        if term == "regularizer"
        else SmartLoss(model, None, proximal=proximal)
    )
    batch = {name: BATCH[name] for name in ("input_ids", "attention_mask")}
    if labels is not None:
        batch["labels"] = torch.tensor(labels)
    smart.before_pass()
    logits = model(input_ids=batch["input_ids"]).logits
    with pytest.raises(CourseError, match=problem):
        smart(model, batch, logits)


def test_several_numbers_a_text_are_a_regression_where_the_configuration_says_so() -> None:
    model = tiny_model()
    model.config.problem_type = "regression"
    smart = SmartLoss(model, SmoothnessRegularizer(epsilon=0.05, divergence="squared_difference"))
    assert extra(smart, {**BATCH, "labels": torch.rand(4, 3)}) > 0


def test_regression_compares_outputs_of_one_shape() -> None:
    model = tiny_model(num_labels=1)
    proximal = moved(model, BregmanProximalPoint(model, half_life=5, divergence="squared_difference"))
    smart = SmartLoss(model, SmoothnessRegularizer(divergence="squared_difference"), proximal=proximal)
    batch = {**BATCH, "labels": torch.tensor([0.1, 0.2, 0.3, 0.4])}
    extra(smart, batch)
    ids = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        old = tiny_model(num_labels=1).eval()(**ids).logits
        expected = squared_difference(model(**ids).logits, old)
    torch.testing.assert_close(smart.terms.proximal, expected)
    assert smart.terms.smoothness > 0


def test_finetune_takes_it_as_its_extra_loss() -> None:
    model = tiny_model(dropout=0.1)
    classifier = ModelAndTokenizer(model, tiny_tokenizer())
    texts = Dataset.from_dict(
        {
            "text": [" ".join(f"w{i}" for i in row["input_ids"]) for row in EXAMPLES],
            "label": [row["labels"] for row in EXAMPLES],
        }
    )
    smart = SmartLoss(model, proximal=BregmanProximalPoint(model, half_life=2))
    seen = []

    def after_step(step: Any) -> None:
        seen.append(smart.terms)
        smart.update(step)

    steps = finetune(
        classifier,
        texts,
        FinetuningSettings(num_steps=3, batch_size=2, learning_rate=1e-3),
        extra_loss=smart,
        before_pass=smart.before_pass,
        after_step=after_step,
        progress=False,
    )
    assert [float(terms.smoothness + terms.proximal) for terms in seen] == pytest.approx(
        [step.extra_loss for step in steps]
    )
    assert seen[0].proximal == 0
    assert all(terms.smoothness > 0 for terms in seen)
    assert all(terms.proximal > 0 for terms in seen[1:])
    assert smart.proximal is not None
    assert smart.proximal.num_updates == 3


def test_finetune_calls_before_each_pass_in_training_mode() -> None:
    model = tiny_model()
    modes = []
    texts = Dataset.from_dict({"text": ["w5 w6", "w7 w8"], "label": [0, 1]})
    finetune(
        ModelAndTokenizer(model, tiny_tokenizer()),
        texts,
        FinetuningSettings(num_steps=3, batch_size=1),
        before_pass=lambda: modes.append(model.training),
        progress=False,
    )
    assert modes == [True] * 3


def test_the_plain_loop_of_the_docstring_trains() -> None:
    model = tiny_model(dropout=0.1).train()
    before = weights(model)
    smart = SmartLoss(model, proximal=BregmanProximalPoint(model, num_steps=20))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(20):
        smart.before_pass()
        outputs = model(**BATCH)
        loss = outputs.loss + smart(model, BATCH, outputs.logits)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        smart.update()
        losses.append(outputs.loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert distance(before, weights(model)) > 1e-3
    assert smart.terms.proximal > 0


def test_importing_the_chapter_is_light() -> None:
    code = "import sys, course_lib.smart; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
