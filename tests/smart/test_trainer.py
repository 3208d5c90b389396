"""SmartTrainer: what it adds to the Trainer, and what it leaves alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments

from course_lib.errors import CourseError
from course_lib.finetuning import FinetuningSettings, finetune
from course_lib.models import ModelAndTokenizer
from course_lib.smart import (
    BregmanProximalPoint,
    SmartLoss,
    SmartTrainer,
    SmoothnessRegularizer,
)
from course_lib.smart.trainer import ANCHOR_FILE, STATE_FILE
from tests.smart.torchrun_worker import ARRANGEMENTS, TERMS
from tests.smart.torchrun_worker import loss_of_ones_own as summed
from tests.smart.training_parts import (
    STRONG,
    Passes,
    Recorder,
    distance,
    logged,
    noise_of_each_example,
    rows,
    settings,
    tiny_model,
    tiny_tokenizer,
    trained,
    weights,
)

HERE = Path(__file__).parent


# --- the loss --------------------------------------------------------------------------------------


def test_the_loss_is_the_sum_of_what_is_logged(tmp_path: Path) -> None:
    trainer = trained(tmp_path, **{**STRONG, "proximal_weight": 3.0}, logging_steps=2)
    loss, task, smoothness, proximal = (
        logged(trainer, name) for name in ("loss", "task_loss", "smoothness", "proximal")
    )
    assert len(loss) == 2
    assert min(smoothness) > 1e-3
    assert min(proximal) > 1e-4
    assert loss == pytest.approx(
        [t + 2 * r + 3 * d for t, r, d in zip(task, smoothness, proximal, strict=True)], rel=1e-5
    )


def test_what_is_summed_for_the_log_lies_where_it_trains(tmp_path: Path) -> None:
    trainer = SmartTrainer(tiny_model(), settings(tmp_path), train_dataset=rows(4))
    with torch.device("meta"):
        trainer._reset_sums()
    assert trainer._sums.device == trainer.args.device


@pytest.mark.parametrize(
    ("off", "names", "passes"),
    [
        ({}, {"smoothness", "proximal"}, 4),
        ({"bf16": True}, {"smoothness", "proximal"}, 5),
        ({"proximal_weight": 0}, {"smoothness"}, 3),
        ({"smoothness_weight": 0}, {"proximal"}, 2),
        ({"smoothness_weight": 0, "proximal_weight": 0}, set(), 1),
    ],
)
def test_each_term_is_switched_off_by_its_weight(
    tmp_path: Path, off: dict[str, Any], names: set[str], passes: int
) -> None:
    with Passes().counted() as counter:
        trainer = trained(tmp_path, max_steps=3, **off)
    assert counter.count == 3 * passes + 1  # the last looks at what the last step left
    assert {name for name in ("smoothness", "proximal") if logged(trainer, name)} == names
    assert len(logged(trainer, "task_loss")) == 3


def test_without_both_terms_it_is_the_trainer(tmp_path: Path) -> None:
    ours = trained(tmp_path, model=tiny_model(dropout=0.1), smoothness_weight=0, proximal_weight=0)
    plain = TrainingArguments(
        str(tmp_path), max_steps=4, per_device_train_batch_size=4, learning_rate=0.1, optim="sgd",
        max_grad_norm=0.0, save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    theirs = Trainer(tiny_model(dropout=0.1), plain, train_dataset=rows(16))
    theirs.train()
    assert distance(weights(ours.model), weights(theirs.model)) == 0


@pytest.mark.parametrize("precision", [{}, {"bf16": True}])
def test_dropout_draws_the_same_masks_in_every_pass(tmp_path: Path, precision: dict[str, Any]) -> None:
    trainer = trained(tmp_path, model=tiny_model(dropout=0.3), max_steps=2, **precision)
    assert logged(trainer, "proximal")[0] == 0  # the anchor is still the model
    assert 0 < max(logged(trainer, "smoothness")) < 1e-6  # fresh masks give 1e-1


def test_finetune_and_the_trainer_give_the_same_terms(tmp_path: Path) -> None:
    examples = rows(4)
    options = {"epsilon": 0.05, "step_size": 0.1, "noise_std": 0.01}
    model = tiny_model()
    smart = SmartLoss(
        model, SmoothnessRegularizer(**options), proximal=BregmanProximalPoint(model, half_life=2)
    )
    texts = Dataset.from_dict(
        {
            "text": [" ".join(f"w{i}" for i in row["input_ids"]) for row in examples],
            "label": [row["labels"] for row in examples],
        }
    )
    with noise_of_each_example():
        (step,) = finetune(
            ModelAndTokenizer(model, tiny_tokenizer()),
            texts,
            FinetuningSettings(num_steps=1, batch_size=4),
            extra_loss=smart,
            before_pass=smart.before_pass,
            after_step=smart.update,
            progress=False,
        )
        trainer = trained(tmp_path, data=examples, max_steps=1, half_life=2, **options)
    assert step.loss == pytest.approx(logged(trainer, "task_loss")[0], rel=1e-5)
    assert step.extra_loss > 1e-2
    assert step.extra_loss == pytest.approx(logged(trainer, "smoothness")[0], rel=1e-4)
    assert float(smart.terms.smoothness) == pytest.approx(step.extra_loss)


def test_regression_uses_the_squared_difference(tmp_path: Path) -> None:
    model = tiny_model(num_labels=1)
    trainer = trained(tmp_path, model=model, data=rows(16, num_labels=1), **{**STRONG, "learning_rate": 0.01})
    assert trainer.smart_loss.regularizer.divergence == "squared_difference"
    assert min(logged(trainer, "smoothness")) > 1e-4
    assert min(logged(trainer, "proximal")[1:]) > 1e-8
    assert max(logged(trainer, "loss")) < 100


def test_label_smoothing_keeps_working(tmp_path: Path) -> None:
    trainer = trained(tmp_path, max_steps=1, data=rows(4), label_smoothing_factor=0.3, **STRONG)
    batch = {name: torch.tensor([row[name] for row in rows(4)]) for name in ("input_ids", "labels")}
    logits = tiny_model()(input_ids=batch["input_ids"]).logits
    expected = cross_entropy(logits, batch["labels"], label_smoothing=0.3)
    assert logged(trainer, "task_loss")[0] == pytest.approx(expected.item(), rel=1e-5)
    assert logged(trainer, "smoothness")[0] > 1e-2


def test_a_loss_of_ones_own_keeps_working(tmp_path: Path) -> None:
    trainer = trained(tmp_path, max_steps=1, data=rows(4), compute_loss_func=summed, **STRONG)
    whole = trained(tmp_path, max_steps=1, data=rows(4), **STRONG)
    assert logged(trainer, "task_loss")[0] == pytest.approx(0.5 * logged(whole, "task_loss")[0], rel=1e-5)
    assert logged(trainer, "smoothness") == logged(whole, "smoothness")


def test_evaluation_and_prediction_have_no_extra_terms(tmp_path: Path) -> None:
    examples = rows(6)
    trainer = trained(tmp_path, max_steps=1, **STRONG)
    batch = {name: torch.tensor([row[name] for row in examples]) for name in ("input_ids", "labels")}
    with torch.no_grad():
        expected = trainer.model.eval()(**batch)
    with Passes().counted() as counter:
        result = trainer.evaluate(examples)
        predicted = trainer.predict(examples)
    assert counter.count == 2
    assert result["eval_loss"] == pytest.approx(float(expected.loss), rel=1e-5)
    assert torch.tensor(predicted.predictions).allclose(expected.logits, atol=1e-6)


def test_evaluation_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    arguments = settings(tmp_path, eval_strategy="steps", eval_steps=1, **STRONG)
    trainer = SmartTrainer(tiny_model(), arguments, train_dataset=rows(16), eval_dataset=rows(4))
    with noise_of_each_example():  # an evaluation's data loader draws from the same generator as ν
        plain = trained(tmp_path, **STRONG)
        trainer.train()
    assert distance(weights(plain.model), weights(trainer.model)) == 0
    assert logged(plain, "smoothness") == logged(trainer, "smoothness")


# --- accumulation, the anchor ----------------------------------------------------------------------


@pytest.mark.parametrize("compute_loss_func", [None, summed])
@pytest.mark.parametrize(
    ("num_examples", "num_labels"), [(16, 3), (5, 3), (16, 1)], ids=["even", "ragged", "regression"]
)
def test_two_micro_batches_equal_one_batch_of_twice_the_size(
    tmp_path: Path, num_examples: int, num_labels: int, compute_loss_func: Any
) -> None:
    if num_labels == 1 and compute_loss_func:
        compute_loss_func = lambda outputs, labels, num_items_in_batch: (
            (outputs.logits.squeeze(-1) - labels).square().sum() / num_items_in_batch
        )
    common = {**STRONG, "learning_rate": 0.02, "compute_loss_func": compute_loss_func}
    common["data"] = rows(num_examples, num_labels=num_labels)

    def run(**options: Any) -> SmartTrainer:
        return trained(tmp_path, model=tiny_model(num_labels=num_labels), **common, **options)

    with noise_of_each_example():
        whole = run(per_device_train_batch_size=4 if num_examples > 5 else 5)
        parts = run(per_device_train_batch_size=2 if num_examples > 5 else 3, gradient_accumulation_steps=2)
    start = weights(tiny_model(num_labels=num_labels))
    assert distance(weights(whole.model), start) > 3e-3
    assert distance(weights(whole.model), weights(parts.model)) < 1e-5
    for name in ("loss", "task_loss", "smoothness", "proximal"):
        assert logged(parts, name) == pytest.approx(logged(whole, name), rel=1e-4, abs=1e-7), name


def test_the_anchor_moves_once_a_step_of_the_optimizer(tmp_path: Path) -> None:
    recorder = Recorder()
    trainer = trained(
        tmp_path, max_steps=10, per_device_train_batch_size=2, gradient_accumulation_steps=2,
        callbacks=[recorder], beta=0.5, late_beta=0.8, late_beta_start=0.3,
    )  # fmt: skip
    expected = recorder.weights[0]
    for number, current in enumerate(recorder.weights[1:]):
        beta = 0.5 if number < 3 else 0.8  # the first three of ten updates
        expected = {name: (1 - beta) * current[name] + beta * expected[name] for name in expected}
    proximal = trainer.smart_loss.proximal
    state = proximal.state_dict()
    assert len(recorder.weights) == 11
    assert proximal.num_updates == 10
    assert proximal.num_steps == 10
    assert distance({name: state[f"anchor.{name}"] for name in expected}, expected) < 1e-6
    assert distance(expected, recorder.weights[-1]) > 1e-3


def test_a_second_training_is_anchored_where_it_starts(tmp_path: Path) -> None:
    trainer = trained(tmp_path, max_steps=2, bf16=True, **STRONG)
    assert logged(trainer, "proximal")[1] > 0
    trainer.train()
    assert logged(trainer, "proximal")[0] == 0
    assert logged(trainer, "proximal")[1] > 0


# --- precision -------------------------------------------------------------------------------------


def test_bf16_training_measures_smoothness_in_float32(tmp_path: Path) -> None:
    exact = trained(tmp_path, max_steps=3, learning_rate=1e-3)
    rounded = trained(tmp_path, max_steps=3, learning_rate=1e-3, bf16=True)
    assert min(logged(exact, "smoothness")) > 0
    # in bfloat16 itself it would be 0 or noise; the weights part a little with each step, how far is the processor's
    first, *later = zip(logged(rounded, "smoothness"), logged(exact, "smoothness"), strict=True)
    assert first[0] == pytest.approx(first[1], rel=0.02)
    assert all(ours == pytest.approx(theirs, rel=0.2) for ours, theirs in later)
    assert 0 < distance(weights(exact.model), weights(rounded.model)) < 1e-4


def test_a_model_in_half_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="half precision"):
        trained(tmp_path, model=tiny_model().to(torch.bfloat16))


# --- bad numbers -----------------------------------------------------------------------------------


def _spoilt_from(step: int, value: float) -> Any:
    calls = iter(range(1, 100))

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        plain = cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch
        return plain * value if next(calls) == step else plain

    return loss


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_leaves_the_weights(tmp_path: Path, value: float) -> None:
    recorder = Recorder()
    model = tiny_model()
    with pytest.raises(CourseError, match=r"The loss of step 3 .*weights are those before"):
        trained(tmp_path, model=model, compute_loss_func=_spoilt_from(3, value), callbacks=[recorder])
    assert len(recorder.weights) == 3
    assert distance(weights(model), recorder.weights[-1]) == 0


def test_logits_that_are_no_numbers_leave_the_weights(tmp_path: Path) -> None:
    model = tiny_model()
    before = weights(model)
    model.classifier.register_forward_hook(lambda module, inputs, output: output / 0)
    with pytest.raises(CourseError, match="The logits of step 1"):
        trained(tmp_path, model=model)
    assert distance(weights(model), before) == 0


def test_a_gradient_that_is_no_number_leaves_the_weights(tmp_path: Path) -> None:
    model = tiny_model()
    before = weights(model)
    model.classifier.weight.register_hook(lambda gradient: gradient / 0)
    with pytest.raises(CourseError, match="The gradients of step 1"):
        trained(tmp_path, model=model)
    assert distance(weights(model), before) == 0


@pytest.mark.parametrize("max_steps", [1, 2, 3])
def test_a_run_whose_last_step_spoils_the_model_ends_with_an_error(tmp_path: Path, max_steps: int) -> None:
    options = {"learning_rate": 1e20, "optim": "adamw_torch", "lr_scheduler_type": "constant"}
    with pytest.raises(CourseError, match=r"[Ss]tep [12]"):
        trained(tmp_path, max_steps=max_steps, **options)


@pytest.mark.parametrize("use", ["evaluate", "predict"])
@pytest.mark.parametrize("prediction_loss_only", [False, True])
def test_a_model_that_gives_no_numbers_is_not_scored(
    tmp_path: Path, use: str, prediction_loss_only: bool
) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    arguments = settings(tmp_path, prediction_loss_only=prediction_loss_only)
    with pytest.raises(CourseError, match="nothing is scored"):
        getattr(SmartTrainer(model, arguments), use)(rows(4))


# --- a loss of a subclass --------------------------------------------------------------------------


class OwnLoss(SmartTrainer):
    """Computes its loss alone, as the Trainer's documentation shows."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        outputs = model(**inputs)
        return (2 * outputs.loss, outputs) if return_outputs else 2 * outputs.loss


class Changed(SmartTrainer):
    """Changes what SMART's loss gives."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return super().compute_loss(*args, **kwargs) * 1.0


def run_of(trainer_class: type[SmartTrainer], folder: Path, **options: Any) -> SmartTrainer:
    trainer = trainer_class(tiny_model(), settings(folder, **options), train_dataset=rows(16))
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    "options", [{}, {"smoothness_weight": 0}, {"proximal_weight": 0}, {"gradient_accumulation_steps": 2}]
)
def test_a_loss_that_leaves_smart_out_is_refused_before_a_step(tmp_path: Path, options: Any) -> None:
    model = tiny_model()
    before = weights(model)
    trainer = OwnLoss(model, settings(tmp_path, **{**STRONG, **options}), train_dataset=rows(16))
    with pytest.raises(CourseError, match=r"compute_loss.*not in the loss.*compute_loss_func"):
        trainer.train()
    assert distance(weights(model), before) == 0


def test_a_loss_that_goes_through_smart_or_needs_none_of_it_is_taken(tmp_path: Path) -> None:
    changed = run_of(Changed, tmp_path, **STRONG)
    assert min(logged(changed, "smoothness")) > 1e-3
    assert distance(weights(changed.model), weights(trained(tmp_path, **STRONG).model)) == 0
    run_of(OwnLoss, tmp_path, smoothness_weight=0, proximal_weight=0)


# --- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("smoothness_weight", -1.0),
        ("smoothness_weight", float("nan")),
        ("proximal_weight", float("inf")),
        ("epsilon", 0.0),
        ("step_size", -1e-3),
        ("noise_std", 0.0),
        ("num_ascent_steps", 0),
        ("perturbation_norm", "1"),
        ("beta", 1.0),
        ("late_beta", -0.1),
        ("late_beta_start", 2.0),
        ("half_life", 0.0),
        ("momentum", False),
        ("neftune_noise_alpha", 5.0),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(CourseError):
        settings(tmp_path, **{name: value})


def test_settings_reach_the_terms(tmp_path: Path) -> None:
    arguments = settings(
        tmp_path, epsilon=0.1, step_size=0.2, noise_std=0.3, num_ascent_steps=2, perturbation_norm="2",
        proximal_weight=4.0, momentum=False, inner_steps=3,
    )  # fmt: skip
    regularizer = arguments.make_regularizer("squared_difference")
    proximal = arguments.make_proximal(tiny_model(), 10)
    assert regularizer == SmoothnessRegularizer(0.1, 0.2, 0.3, 2, "2", "squared_difference")
    assert proximal is not None
    assert (proximal.proximal_weight, proximal.momentum, proximal.inner_steps) == (4.0, False, 3)


def test_arguments_without_its_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="SmartTrainingArguments"):
        SmartTrainer(tiny_model(), TrainingArguments(str(tmp_path), use_cpu=True))  # type: ignore[arg-type]


def test_several_labels_at_once_are_refused(tmp_path: Path) -> None:
    data = [{**row, "labels": [0.0, 1.0, 1.0]} for row in rows(8)]
    with pytest.raises(CourseError, match="several labels"):
        trained(tmp_path, data=data)
    binary = lambda outputs, labels, num_items_in_batch: torch.nn.functional.binary_cross_entropy_with_logits(
        outputs.logits, labels
    )
    with pytest.raises(CourseError, match="several labels"):  # the model itself never sees these labels
        trained(tmp_path, data=data, compute_loss_func=binary)
    trained(tmp_path, data=data, smoothness_weight=0, proximal_weight=0, max_steps=1)


def test_lora_checkpoints_hold_the_adapters_anchor_and_resume(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    def lora() -> Any:
        return get_peft_model(tiny_model(), LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))

    options = {"save_strategy": "steps", "save_steps": 2, **STRONG}
    whole = trained(tmp_path, model=lora(), **options)
    checkpoint = tmp_path / "checkpoint-2"
    state = safetensors.torch.load_file(checkpoint / ANCHOR_FILE)
    free = {name for name, weight in whole.model.named_parameters() if weight.requires_grad}
    assert {name.removeprefix("anchor.") for name in state} - {"num_updates"} == free
    assert min(logged(whole, "proximal")[1:]) > 1e-7
    with noise_of_each_example():
        trained(tmp_path, model=lora(), **options)
        again = SmartTrainer(lora(), settings(tmp_path, **options), train_dataset=rows(16))
        whole = trained(tmp_path / "whole", model=lora(), **options)
        again.train(str(checkpoint))
    assert distance(weights(again.model), weights(whole.model)) < 1e-6


# --- checkpoints -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder_with_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    trained(folder, save_strategy="steps", save_steps=2, **STRONG)
    return folder


def test_a_checkpoint_holds_the_anchor(folder_with_checkpoint: Path) -> None:
    checkpoint = folder_with_checkpoint / "checkpoint-2"
    state = safetensors.torch.load_file(checkpoint / ANCHOR_FILE)
    assert state["num_updates"] == 2
    assert state["anchor.classifier.weight"].shape == (3, 16)
    assert not list(checkpoint.glob(".*.part"))


def test_without_the_proximal_term_no_anchor_is_kept_or_asked_for(tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 2, "proximal_weight": 0}
    trained(tmp_path, **options)
    checkpoint = tmp_path / "checkpoint-2"
    assert not (checkpoint / ANCHOR_FILE).exists()
    SmartTrainer(tiny_model(), settings(tmp_path, **options), train_dataset=rows(16)).train(str(checkpoint))
    with pytest.raises(CourseError, match=ANCHOR_FILE):
        SmartTrainer(tiny_model(), settings(tmp_path), train_dataset=rows(16)).train(str(checkpoint))


def test_a_spoilt_anchor_is_refused(folder_with_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-2"
    checkpoint.symlink_to(folder_with_checkpoint / "checkpoint-2", target_is_directory=True)
    copied = tmp_path / "copied" / "checkpoint-2"
    copied.mkdir(parents=True)
    for file in checkpoint.iterdir():
        (copied / file.name).write_bytes(file.read_bytes() if file.name != ANCHOR_FILE else b"no tensors")
    with pytest.raises(CourseError, match="cannot be read"):
        SmartTrainer(tiny_model(), settings(tmp_path), train_dataset=rows(16)).train(str(copied))


def test_an_unfinished_checkpoint_is_passed_over(folder_with_checkpoint: Path) -> None:
    unfinished = folder_with_checkpoint / "checkpoint-9"
    unfinished.mkdir()
    arguments = settings(folder_with_checkpoint, max_steps=5, **STRONG)
    trainer = SmartTrainer(tiny_model(), arguments, train_dataset=rows(16))
    trainer.train(resume_from_checkpoint=True)
    unfinished.rmdir()
    assert len(logged(trainer, "smoothness")) == 5  # four of them from the checkpoint's own log
    assert trainer.smart_loss.proximal.num_updates == 5


def test_a_run_that_had_taken_its_last_step_takes_no_other(folder_with_checkpoint: Path) -> None:
    """The Trainer takes one more; a run killed behind its last checkpoint ended with another anchor."""
    arguments = settings(folder_with_checkpoint, max_steps=4, **STRONG)
    trainer = SmartTrainer(tiny_model(), arguments, train_dataset=rows(16))
    assert trainer.train(resume_from_checkpoint=True).global_step == 4
    assert trainer.state.global_step == 4
    assert trainer.smart_loss.proximal.num_updates == 4
    saved = safetensors.torch.load_file(folder_with_checkpoint / "checkpoint-4" / "model.safetensors")
    found = trainer.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in saved.items())


def test_resuming_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    trainer = SmartTrainer(tiny_model(), settings(tmp_path), train_dataset=rows(16))
    with pytest.raises(CourseError, match="no complete checkpoint"):
        trainer.train(resume_from_checkpoint=True)


@pytest.mark.slow
def test_a_run_killed_and_resumed_ends_with_the_same_weights(tmp_path: Path) -> None:
    def in_a_process(*arguments: str) -> int:
        command = [sys.executable, "-m", "tests.smart.resume_worker", str(tmp_path), *arguments]
        return subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True).returncode

    assert in_a_process("whole", "killed") == -signal.SIGKILL
    assert not (tmp_path / "killed.safetensors").exists()
    assert sorted(path.parent.name for path in (tmp_path / "killed").glob(f"*/{STATE_FILE}")) == [
        "checkpoint-3",
        "checkpoint-6",
    ]
    assert in_a_process("resumed") == 0
    whole, resumed = (
        safetensors.torch.load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "resumed")
    )
    assert whole.keys() == resumed.keys()
    assert any(name.startswith("anchor.") for name in whole)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


# --- several processes -----------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    command += ["-m", "tests.smart.torchrun_worker", str(tmp_path)]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]

    for name, options in ARRANGEMENTS.items():
        with noise_of_each_example():
            one = trained(tmp_path, compute_loss_func=options.get("compute_loss_func"), **STRONG)
        first, second = (
            safetensors.torch.load_file(tmp_path / f"{name}_{rank}.safetensors") for rank in "01"
        )
        logs = json.loads((tmp_path / f"{name}_0.json").read_text())
        assert distance(first, second) == 0
        assert distance(weights(tiny_model()), first) > 1e-2
        assert distance(weights(one.model), first) < 1e-5
        for term in TERMS:
            assert [entry[term] for entry in logs] == pytest.approx(logged(one, term), rel=1e-4, abs=1e-7)


def test_a_checkpoint_that_was_torn_is_not_the_last_one(tmp_path: Path) -> None:
    trainer = trained(tmp_path, save_strategy="steps", save_steps=2, **STRONG)
    (tmp_path / "checkpoint-4" / "trainer_state.json").write_text('{"epoch": 1.0, "glob')
    resumed = SmartTrainer(
        tiny_model(), settings(tmp_path, save_strategy="no", **STRONG), train_dataset=rows(16)
    )
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 4
    for name, value in weights(trainer.model).items():
        torch.testing.assert_close(weights(resumed.model)[name], value)
