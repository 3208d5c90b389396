"""Training of soft prompts: what moves, what is chosen, what stops it, and going on after a kill."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from course_lib.errors import CourseError
from course_lib.models import ModelAndTokenizer
from course_lib.models.fingerprint import weights_hash
from course_lib.ppt import examples as prompt_examples
from course_lib.ppt.examples import Processes, PromptExample, _refuse_bad_scores
from course_lib.ppt.label_scoring import label_loss, label_scores, make_label_batch
from course_lib.ppt.optimisation import PromptTrainingSettings
from course_lib.ppt.soft_prompt import SoftPrompt, initialise, load_soft_prompt
from course_lib.ppt.training import (
    LAST_GOOD_FOLDER,
    PromptTrainingResult,
    evaluate_prompt,
    pretrain_prompt,
    train_prompt,
)
from course_lib.prompts.verbalizers import Verbalizer, find_label_ids
from course_lib.runs.checkpoints import CHECKPOINT_FILE, tensors_hash
from tests.ppt.tiny import VERBALIZERS, tiny_examples, tiny_gpt2, tiny_language_model
from tests.ppt.training_worker import NUM_STEPS, train

HERE = Path(__file__).parent
WORDS = VERBALIZERS["one token"]
QUICK = {"num_steps": 6, "batch_size": 4, "evaluate_every": 3, "learning_rate": 0.05}


def quick(**options: Any) -> PromptTrainingSettings:
    return PromptTrainingSettings(**{**QUICK, **options})


def trained(
    loaded: ModelAndTokenizer | None = None,
    prompt: SoftPrompt | None = None,
    examples: Any = None,
    verbalizer: Verbalizer = WORDS,
    development: Any = None,
    folder: Path | None = None,
    after_step: Any = None,
    **options: Any,
) -> PromptTrainingResult:
    """Train a prompt for a few steps."""
    loaded = loaded or tiny_language_model()
    return train_prompt(
        loaded,
        prompt or initialise("random", loaded, 4),
        tiny_examples(20) if examples is None else examples,
        verbalizer,
        quick(**options),
        development=development,
        checkpoint_folder=folder,
        after_step=after_step,
        progress=False,
    )


# --- what moves ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tiny_language_model, tiny_gpt2])
def test_only_the_prompt_moves(make: Any) -> None:
    loaded = make()
    loaded.model.train()
    before = weights_hash(loaded.model)
    start = initialise("random", loaded, 4)
    result = trained(loaded, start.copy())
    assert weights_hash(loaded.model) == before
    assert (result.prompt.embeddings - start.embeddings).abs().min() > 0
    # left as it was found: in training mode, its weights ready to be trained, without gradients
    assert loaded.model.training
    assert all(weight.requires_grad and weight.grad is None for weight in loaded.model.parameters())


def test_the_first_step_is_that_of_adamw_on_the_loss_over_label_words() -> None:
    loaded = tiny_language_model()
    examples = tiny_examples(4)
    start = initialise("random", loaded, 4)
    result = trained(
        loaded,
        start.copy(),
        examples,
        num_steps=1,
        warmup_share=0,
        weight_decay=0.1,
        max_grad_norm=0.1,
    )
    ids = find_label_ids(loaded.tokenizer, [row["text"] for row in examples], WORDS.continuations)
    scores = label_scores(loaded.model, start, make_label_batch(ids))
    loss = label_loss(scores, torch.tensor([row["label"] for row in examples]))
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_([start.embeddings], 0.1)
    torch.optim.AdamW([start.embeddings], lr=0.05, weight_decay=0.1).step()
    assert result.steps[0].loss == pytest.approx(loss.item(), rel=1e-5)
    assert result.steps[0].gradient_norm == pytest.approx(norm.item(), rel=1e-4)
    assert norm > 0.1
    assert torch.allclose(result.prompt.embeddings, start.embeddings, atol=1e-5)


def test_the_loss_knows_no_word_that_is_no_label() -> None:
    """A model that would rather say another word than any label has the same loss as one that would not."""
    loud, plain = tiny_language_model(), tiny_language_model()
    head = loud.model.lm_head
    bias = torch.zeros(head.out_features)
    bias[30] = 50.0
    head.bias = torch.nn.Parameter(bias)
    results = [trained(model, SoftPrompt(torch.ones(2, 16)), tiny_examples(8)) for model in (loud, plain)]
    losses = [[step.loss for step in result.steps] for result in results]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert max(losses[0]) < 10


@pytest.mark.parametrize("verbalizer", VERBALIZERS.values(), ids=VERBALIZERS.keys())
@pytest.mark.parametrize("options", [False, True])
def test_training_lowers_the_loss(verbalizer: Verbalizer, options: bool) -> None:
    examples = tiny_examples(12, options=options)
    result = trained(
        examples=examples, verbalizer=verbalizer, development=examples, num_steps=40, batch_size=12,
        evaluate_every=40, learning_rate=0.1,
    )  # fmt: skip
    assert result.evaluations[-1].loss < 0.7 * result.evaluations[0].loss
    assert [evaluation.step for evaluation in result.evaluations] == [0, 40]


def test_a_data_set_on_disk_tuples_and_mappings_are_the_same() -> None:
    rows = tiny_examples(10, options=True)
    forms = [rows, [tuple(row.values()) for row in rows], [PromptExample(**row) for row in rows]]
    prompts = [trained(examples=form).prompt.embeddings for form in [*forms, Dataset.from_list(rows)]]
    assert all(torch.equal(prompt, prompts[0]) for prompt in prompts)


def test_every_example_is_seen_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_examples, "POOL_BATCHES", 2)  # three pools, the last one short
    loaded = tiny_language_model()
    task = prompt_examples.TaskTokens(loaded, WORDS, 4)
    examples = [{"text": f"w{i + 10} w9", "label": 0} for i in range(18)]

    def epochs(seed: int) -> list[list[list[int]]]:
        batches = prompt_examples.Batches(task, examples, 4, seed)
        return [
            [[ids.context[-2] for ids, _ in batches.at(5 * epoch + i)] for i in range(1, 6)]
            for epoch in range(2)
        ]

    first, second = epochs(0)
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(10, 28))
    assert sorted(map(len, first)) == [2, 4, 4, 4, 4]
    assert first != second
    assert epochs(0) == [first, second]
    assert epochs(1) != [first, second]


def test_batches_hold_texts_of_similar_length() -> None:
    task = prompt_examples.TaskTokens(tiny_language_model(), WORDS, 4)
    batches = prompt_examples.Batches(task, tiny_examples(64), 8, 0)
    spreads = []
    for step in range(1, 9):
        lengths = [len(ids.context) for ids, _ in batches.at(step)]
        spreads.append(max(lengths) - min(lengths))
    assert sum(spreads) / len(spreads) < 2


def test_half_precision_is_computed_on_a_copy() -> None:
    loaded = tiny_language_model()
    before = weights_hash(loaded.model)
    exact = trained(loaded)
    rounded = trained(loaded, dtype="bfloat16")
    assert weights_hash(loaded.model) == before
    assert rounded.prompt.embeddings.dtype == torch.float32
    losses = [[step.loss for step in result.steps] for result in (exact, rounded)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    assert losses[0] != pytest.approx(losses[1], rel=1e-6)


def test_a_model_in_half_precision_keeps_its_attention_and_learns_the_same() -> None:
    half = tiny_language_model()
    half.model.to(torch.bfloat16)
    seen = []
    found = trained(half, after_step=lambda _: seen.append(half.model.config._attn_implementation))
    assert set(seen) == {"eager"}
    assert half.model.config._attn_implementation == "sdpa"
    exact = trained(tiny_language_model())
    assert [step.loss for step in found.steps] == pytest.approx([step.loss for step in exact.steps], rel=0.05)


@pytest.mark.parametrize(("schedule", "last"), [("linear", 0.01), ("constant", 0.05)])
def test_the_learning_rate_follows_the_schedule(schedule: str, last: float) -> None:
    result = trained(num_steps=10, warmup_share=0.5, schedule=schedule)
    rates = result.step_table()["learning_rate"].tolist()
    assert rates[:5] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05])
    assert rates[-1] == pytest.approx(last)


# --- what is chosen --------------------------------------------------------------------------------


def test_the_best_prompt_is_kept_or_the_last() -> None:
    loaded = tiny_language_model()
    development = tiny_examples(30, seed=1)
    start = initialise("random", loaded, 4)
    options = {"num_steps": 30, "evaluate_every": 1, "learning_rate": 0.3, "development": development}
    last = trained(loaded, start.copy(), **options)
    best = trained(loaded, start.copy(), keep="best", **options)
    ranks = [(evaluation.accuracy, -evaluation.loss) for evaluation in last.evaluations]
    assert best.evaluations == last.evaluations
    assert last.kept_step == 30
    assert best.kept_step == ranks.index(max(ranks)) < 30
    for result in (last, best):
        again = evaluate_prompt(loaded, result.prompt, development, WORDS)
        kept = result.evaluations[result.kept_step]
        assert (again.accuracy, again.loss) == pytest.approx((kept.accuracy, kept.loss))


def test_evaluation_keeps_the_order_of_the_rows() -> None:
    loaded = tiny_language_model()
    examples = tiny_examples(9, options=True)
    prompt = initialise("random", loaded, 4)
    whole = evaluate_prompt(loaded, prompt, examples, WORDS, batch_size=4)
    for i, example in enumerate(examples):
        one = evaluate_prompt(loaded, prompt, [example], WORDS)
        assert one.logits[0] == pytest.approx(whole.logits[i], abs=1e-5)
        assert (whole.logits[i] > float("-inf")).sum() == example["num_options"]
    assert whole.labels.tolist() == [example["label"] for example in examples]


def test_held_out_texts_are_not_trained_on() -> None:
    loaded = tiny_language_model()
    examples, held_out = tiny_examples(8), tiny_examples(8, seed=1)
    prompt = initialise("random", loaded, 4)
    with pytest.raises(CourseError, match="Example 8 is among the held-out"):
        pretrain_prompt(
            loaded,
            prompt,
            [*examples, held_out[3]],
            WORDS,
            quick(),
            heldout=held_out,
            progress=False,
        )
    pretrain_prompt(loaded, prompt, examples, WORDS, quick(), heldout=held_out, progress=False)


def test_an_evaluation_is_made_on_the_models_device_whatever_the_default_is() -> None:
    """As on a GPU: what is made on the default device cannot be computed with."""
    language_model, examples = tiny_language_model(), tiny_examples(6)
    prompt = initialise("random", language_model, 4)
    expected = evaluate_prompt(language_model, prompt, examples, WORDS)
    with torch.device("meta"):
        found = evaluate_prompt(language_model, prompt, examples, WORDS)
    assert found.logits.tolist() == expected.logits.tolist()


# --- what stops it ---------------------------------------------------------------------------------


def test_a_learning_rate_beyond_float32_stops_and_keeps_the_last_good_prompt(tmp_path: Path) -> None:
    loaded = tiny_language_model()
    prompt = initialise("random", loaded, 4)
    with pytest.raises(CourseError, match=r"The update is not a finite number any more after 0 steps"):
        trained(loaded, prompt, learning_rate=3e38, warmup_share=0, folder=tmp_path)
    scores = evaluate_prompt(loaded, prompt, tiny_examples(20), WORDS)
    assert scores.accuracy >= 0
    kept = load_soft_prompt(tmp_path / LAST_GOOD_FOLDER, loaded)
    assert torch.equal(kept.embeddings, prompt.embeddings)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_the_last_good_prompt_is_that_of_the_last_finite_loss(what: str) -> None:
    loaded = tiny_language_model()
    prompt = initialise("random", loaded, 4)
    seen = [prompt.embeddings.detach().clone()]
    calls = iter(range(1, 1000))

    def spoilt(values: torch.Tensor) -> torch.Tensor:
        return values * float("nan")

    def hook(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        if next(calls) != 4:
            return None
        if what == "loss":
            return spoilt(output)
        output.register_hook(spoilt)
        return None

    loaded.model.lm_head.register_forward_hook(hook)
    with pytest.raises(CourseError, match=f"The {what} is not .* after 3 steps"):
        trained(
            loaded,
            prompt,
            after_step=lambda step: seen.append(prompt.embeddings.detach().clone()),
        )
    # the prompt after three updates met the number that is none; the one after two is known to be good
    assert len(seen) == 4
    assert torch.equal(prompt.embeddings, seen[2])


def test_the_last_update_is_looked_at_where_nothing_is_evaluated() -> None:
    """No step comes after it whose loss would show that the prompt is spoilt."""
    loaded = tiny_language_model()
    prompt = initialise("random", loaded, 4)
    start = prompt.embeddings.detach().clone()
    calls = iter(range(1, 1000))
    loaded.model.lm_head.register_forward_hook(
        lambda module, inputs, output: output * float("nan") if next(calls) == 2 else None
    )
    with pytest.raises(CourseError, match="The loss is not a finite number any more after 1 steps"):
        trained(loaded, prompt, num_steps=1)
    assert torch.equal(prompt.embeddings, start)


def test_a_prompt_that_spoils_the_development_scores_stops_too() -> None:
    loaded = tiny_language_model()
    prompt = initialise("random", loaded, 4)
    start = prompt.embeddings.detach().clone()
    calls = iter(range(1, 1000))  # the evaluation at the start, the only step, the evaluation at the end
    loaded.model.lm_head.register_forward_hook(
        lambda module, inputs, output: output * float("nan") if next(calls) == 3 else None
    )
    with pytest.raises(CourseError, match="score of a development example is not a finite number"):
        trained(loaded, prompt, development=tiny_examples(5, seed=1), num_steps=1)
    assert torch.equal(prompt.embeddings, start)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "w9 " * 61, "label": 0}, r"item 20 has 61 tokens behind 4 virtual ones.* at most 64"),
        ({"text": "", "label": 0}, "text of example 20 is empty"),
        ({"text": "w9", "label": 3}, "from 0 to 2"),
        ({"text": "w9", "label": -1}, "from 0 to 2"),
        ({"text": "w9", "label": 2, "num_options": 2}, "from 0 to 1"),
        ({"text": "w9", "label": 0, "num_options": 4}, "from 2 to 3 options"),
        ({"text": "w9", "label": 0, "num_options": 1}, "from 2 to 3 options"),
        ({"text": "w9", "label": 0.5}, "no text and label"),
        ({"text": "w9"}, "no text and label"),
        (("w9",), "no text and label"),
    ],
)
def test_a_bad_row_is_refused_before_the_first_step(row: Any, said: str) -> None:
    steps: list[Any] = []
    with pytest.raises(CourseError, match=said):
        trained(examples=[*tiny_examples(20), row], num_steps=1, after_step=steps.append)
    assert steps == []


def test_the_longest_text_that_fits_is_read() -> None:
    examples = [{"text": "w9 " * 60, "label": 0}, {"text": "w9", "label": 1}]
    trained(examples=examples, num_steps=1)
    with pytest.raises(
        CourseError, match=r"item 0 has 61 tokens behind 4 virtual ones.* at most 64"
    ):  # the first of two label tokens is read too
        trained(examples=examples, num_steps=1, verbalizer=VERBALIZERS["two tokens"])


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"num_steps": 0},
        {"num_steps": 1.5},
        {"batch_size": 0},
        {"schedule": "cosine"},
        {"keep": "first"},
        {"keep": "best"},  # without development examples
        {"dtype": "int8"},
        {"warmup_share": 2},
        {"weight_decay": -1},
        {"checkpoint_every": 0},
        {"seed": -1},
        {"examples": []},
        {"development": []},
        {"prompt": SoftPrompt(torch.ones(4, 8))},
        {"prompt": initialise("random", tiny_language_model(seed=1), 4)},
    ],
)
def test_bad_input_is_refused(options: Any) -> None:
    with pytest.raises(CourseError):
        trained(**options)


# --- checkpoints -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder_with_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    trained(folder=folder)
    return folder


def test_a_finished_run_is_not_run_again(folder_with_checkpoint: Path) -> None:
    steps: list[Any] = []
    again = trained(folder=folder_with_checkpoint, after_step=steps.append)
    assert steps == []
    assert torch.equal(again.prompt.embeddings, trained().prompt.embeddings)
    assert len(again.steps) == 6


def _cut(content: bytearray) -> None:
    del content[len(content) // 2 :]


def _one_bit(content: bytearray) -> None:
    content[-3] ^= 1  # in the middle of a number: only a checksum can tell


def _nothing(content: bytearray) -> None:
    content.clear()


@pytest.mark.parametrize("spoil", [_cut, _one_bit, _nothing])
def test_a_damaged_checkpoint_is_refused(folder_with_checkpoint: Path, tmp_path: Path, spoil: Any) -> None:
    content = bytearray((folder_with_checkpoint / CHECKPOINT_FILE).read_bytes())
    spoil(content)
    (tmp_path / CHECKPOINT_FILE).write_bytes(content)
    with pytest.raises(CourseError, match="damaged"):
        trained(folder=tmp_path)
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == content


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"learning_rate": 0.04}, "learning_rate"),
        ({"num_steps": 7}, "num_steps"),
        ({"examples": tiny_examples(21)}, "examples"),
        ({"development": tiny_examples(3)}, "development examples"),
        ({"verbalizer": VERBALIZERS["two tokens"]}, "label words"),
        ({"prompt": SoftPrompt(torch.ones(4, 16))}, "initial prompt"),
        ({"loaded": tiny_language_model(seed=1)}, "language model"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    folder_with_checkpoint: Path, tmp_path: Path, options: Any, said: str
) -> None:
    shutil.copy(folder_with_checkpoint / CHECKPOINT_FILE, tmp_path)
    with pytest.raises(CourseError, match=f"another run: .*{said}"):
        trained(folder=tmp_path, **options)


def in_processes(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=HERE.parents[1], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_run_killed_at_random_steps_ends_with_the_same_prompt(tmp_path: Path) -> None:
    steps = sorted(random.sample(range(1, NUM_STEPS + 1), 2))
    for step in steps:
        done = in_processes("-m", "tests.ppt.training_worker", str(tmp_path), f"killed-{step}")
        assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    # what a kill in the middle of writing leaves behind
    (tmp_path / "killed").mkdir(exist_ok=True)
    (tmp_path / "killed" / f".{CHECKPOINT_FILE}.1-abcd.part").write_bytes(b"half")
    done = in_processes("-m", "tests.ppt.training_worker", str(tmp_path), "resumed", "whole")
    assert done.returncode == 0, done.stderr[-3000:]
    whole, resumed = (
        torch.load(tmp_path / f"{name}_0.pt", weights_only=True) for name in ("whole", "resumed")
    )
    assert torch.equal(whole.pop("prompt"), resumed.pop("prompt")), steps
    assert whole == resumed, steps


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(tmp_path: Path) -> None:
    done = in_processes(
        "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone",
        "-m", "tests.ppt.training_worker", str(tmp_path), "shared",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one = train(None)
    first, second = (torch.load(tmp_path / f"shared_{rank}.pt", weights_only=True) for rank in "01")
    assert torch.equal(first["prompt"], second["prompt"])
    assert first["evaluations"] == second["evaluations"]
    assert torch.allclose(first["prompt"], one.prompt.embeddings, atol=1e-4)
    assert first["kept_step"] == one.kept_step
    for mine, theirs in zip(one.steps, first["steps"], strict=True):
        assert mine.loss == pytest.approx(theirs["loss"], rel=1e-4)
        assert mine.gradient_norm == pytest.approx(theirs["gradient_norm"], rel=1e-3)
        assert mine.num_tokens == theirs["num_tokens"]
    for evaluation, theirs in zip(one.evaluations, first["evaluations"], strict=True):
        assert evaluation.loss == pytest.approx(theirs["loss"], rel=1e-4)


def test_scores_that_are_no_numbers_are_counted_by_row() -> None:
    scores = np.array([[0.0, 1.0, -np.inf], [np.nan, 1.0, 2.0], [0.0, np.inf, 1.0]])
    _refuse_bad_scores(scores[:1])  # a label that the example does not offer
    with pytest.raises(CourseError, match="2 of 3 examples"):
        _refuse_bad_scores(scores)


def test_a_hash_of_tensors_tells_names_shapes_and_values_apart() -> None:
    tensor = torch.arange(6.0)
    different = [{"a": tensor}, {"b": tensor}, {"a": tensor.view(2, 3)}, {"a": tensor + 1}]
    assert len({tensors_hash(tensors) for tensors in different}) == len(different)
    assert tensors_hash({"a": tensor, "b": tensor}) == tensors_hash({"b": tensor.clone(), "a": tensor})


def test_who_names_no_device_works_alone_among_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    processes = Processes(None)
    assert (processes.index, processes.count) == (0, 1)
