"""The few-shot protocol: what is drawn, what is chosen on what, how often the test set is read, the table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.errors import CourseError
from course_lib.finetuning.evaluating import Evaluation
from course_lib.finetuning.optimizing import BestWeights
from course_lib.models import count_parameters
from course_lib.models.fingerprint import weights_hash
from course_lib.ppt.examples import PromptExample
from course_lib.ppt.fewshot import run as fewshot
from course_lib.ppt.fewshot.methods import METHODS, FewShotMethod, learning_rates, start_prompt
from course_lib.ppt.fewshot.pilot import pilot_variants
from course_lib.ppt.fewshot.run import few_shot_run
from course_lib.ppt.fewshot.splits import SealedRows, few_shot_split
from course_lib.ppt.fewshot.tables import choose_learning_rates, few_shot_table, median_accuracy
from course_lib.ppt.fewshot.tasks import FEW_SHOT_TASKS, FewShotTask
from course_lib.ppt.fewshot.tuning import finetune_language_model
from course_lib.ppt.optimisation import PromptTrainingSettings
from course_lib.ppt.patterns import Pattern
from course_lib.ppt.references import few_shot_rows
from course_lib.ppt.soft_prompt import initialise
from course_lib.ppt.training import evaluate_prompt
from course_lib.prompts.verbalizers import Verbalizer
from tests.ppt.tiny import SPECIAL, tiny_language_model

few = settings(max_examples=25, deadline=None, derandomize=True)
WORDS = Verbalizer(["w5", "w6"])
QUICK = {"num_updates": 4, "num_train": 8, "num_development": 6, "num_test": 10, "batch_size": 4,
         "evaluate_every": 2, "learning_rate": 0.05}  # fmt: skip


def tiny_texts(
    count: int = 120, num_classes: int = 2, *, split: bool = True, rows_a_group: int = 2
) -> Dataset:
    draw = np.random.default_rng(0)
    rows = []
    for i in range(count):
        label = int(draw.integers(num_classes))
        words = [10 + label, *draw.integers(20, 60, 4)]
        group = i // rows_a_group
        row = {"text": " ".join(f"w{w}" for w in words), "label": label, "group": f"g{group}", "number": i}
        rows.append({**row, "split": ("train", "validation", "test")[group % 3]} if split else row)
    return Dataset.from_list(rows)


def tiny_pattern(kind: str) -> Pattern:
    templates = {"hard": "w9 {text} w8", "soft": "{soft}{text}", "hybrid": "{soft}{text} w8"}
    return Pattern(f"tiny/{kind}", templates[kind], WORDS)


TINY = FewShotTask("tiny", "single", tiny_texts, tiny_pattern, "{text}", ("w40", "w41"), "movie")


class LetteredTask(FewShotTask):
    """The tiny tokenizer knows no letters: its multiple choice is answered with words."""

    def unified(self, kind: str) -> Pattern:
        return Pattern("tiny/unified", "{soft}{query} {options}", WORDS, fewer_options=True)


LETTERED = LetteredTask("tiny", "single", tiny_texts, tiny_pattern, "{text}", ("w40", "w41"), "movie")


def saved_prompts(folder: Path, **record: Any) -> Path:
    loaded = tiny_language_model()
    for number, form in enumerate(("single", "unified")):
        initialise("random", loaded, 3, seed=number).save(folder / form, loaded)
        if record:
            (folder / form / "training.json").write_text(json.dumps(record))
    return folder


def run(method: Any = "prompt tuning", seed: int = 0, task: FewShotTask = LETTERED, **options: Any) -> dict:
    options = {**QUICK, "num_virtual_tokens": 3, "loaded": tiny_language_model(), **options}
    return few_shot_run(task, method, seed, **options)


# --- the draw --------------------------------------------------------------------------------------


@few
@given(
    seed=st.integers(0, 1000),
    num_classes=st.integers(2, 5),
    sizes=st.tuples(*[st.integers(5, 20)] * 3),
    split=st.booleans(),
)
def test_parts_are_balanced_and_share_no_group(
    seed: int, num_classes: int, sizes: tuple[int, int, int], split: bool
) -> None:
    texts = tiny_texts(400, num_classes, split=split)
    drawn = few_shot_split(texts, seed, *sizes)
    parts = [drawn.train, drawn.development, drawn.test.read()]
    for part, size in zip(parts, sizes, strict=True):
        counts = Counter(row["label"] for row in part)
        assert len({row["number"] for row in part}) == len(part) == size
        assert len(counts) == num_classes
        assert max(counts.values()) - min(counts.values()) <= 1
    groups = [{row["group"] for row in part} for part in parts]
    assert len(groups[0] | groups[1] | groups[2]) == sum(map(len, groups))
    if split:
        assert [{row["split"] for row in part} for part in parts] == [{"train"}, {"validation"}, {"test"}]


@pytest.mark.parametrize("split", [True, False])
def test_the_test_set_is_the_same_for_all_seeds_and_sizes_and_the_rest_is_not(split: bool) -> None:
    texts = tiny_texts(400, split=split)
    first, again, other = (few_shot_split(texts, seed, 16, 8, 20) for seed in (0, 0, 1))
    larger = few_shot_split(texts, 0, 32, 8, 20)
    assert first.train == again.train != other.train
    assert first.development == again.development == larger.development != other.development
    assert {row["number"] for row in first.train} < {row["number"] for row in larger.train}
    tests = [each.test.read() for each in (first, other, larger)]
    assert tests[0] == tests[1] == tests[2]


@pytest.mark.parametrize(
    ("texts", "sizes"),
    [
        (tiny_texts(30), (32, 8, 8)),
        (tiny_texts(300).filter(lambda row: row["label"] == 0 or row["number"] > 280), (32, 8, 8)),
        (tiny_texts(300).filter(lambda row: row["label"] == 0), (8, 8, 8)),
        (tiny_texts(300), (1, 8, 8)),
        (tiny_texts(300).remove_columns("group"), (8, 8, 8)),
        (tiny_texts(300).remove_columns("label"), (8, 8, 8)),
    ],
    ids=["few texts", "a rare class", "one class", "fewer than classes", "no group", "no label"],
)
def test_what_cannot_be_drawn_is_refused(texts: Dataset, sizes: tuple[int, int, int]) -> None:
    with pytest.raises(CourseError):
        few_shot_split(texts, 0, *sizes)


# --- the test set is read once ---------------------------------------------------------------------


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the updates that had been made whenever a test set was read."""
    reads: list[int] = []
    read, plain = SealedRows.read, fewshot._tune
    done = [0]

    def tune(*args: Any) -> Any:
        tuned = plain(*args)
        done[0] += len(tuned.losses)
        return tuned

    monkeypatch.setattr(fewshot, "_tune", tune)
    monkeypatch.setattr(SealedRows, "read", lambda self: (reads.append(done[0]), read(self))[1])
    return reads


@pytest.mark.parametrize("method", METHODS)
def test_the_test_set_is_read_once_at_the_end(
    method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reads = counted(monkeypatch)
    options = {"num_virtual_tokens": None} if "PPT" in method else {}
    row = run(method, prompt_folder=saved_prompts(tmp_path), **options)
    assert reads == [QUICK["num_updates"]]
    assert 0 <= row["accuracy"] <= 1
    assert 0 <= row["median_accuracy"] <= 1
    json.dumps(row)


def test_a_search_leaves_the_test_set_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = counted(monkeypatch)
    row = run(read_test=False)
    assert reads == []
    assert row["accuracy"] is row["median_accuracy"] is None


def test_a_test_set_scored_at_every_validation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trap planted: the examples to choose on are the test rows, read anew for each look."""
    plain = fewshot._tune

    def choosing_on_test(loaded: Any, prompt: Any, examples: Any, *rest: Any) -> Any:
        examples = replace(examples, development=examples.test())
        return plain(loaded, prompt, examples, *rest)

    monkeypatch.setattr(fewshot, "_tune", choosing_on_test)
    with pytest.raises(CourseError, match="read already"):
        run()


def test_the_test_rows_change_nothing_but_what_is_measured() -> None:
    """Other labels in the test set: the same training, the same choice."""
    turned = replace(
        LETTERED,
        read=lambda: tiny_texts().map(
            lambda row: {"label": 1 - row["label"] if row["split"] == "test" else row["label"]}
        ),
    )
    rows = [run(task=task, num_test=12) for task in (LETTERED, turned)]
    measured = ("accuracy", "median_accuracy")
    left = [{name: value for name, value in row.items() if name not in measured} for row in rows]
    assert left[0] == left[1]


# --- the methods -----------------------------------------------------------------------------------


def test_a_run_is_repeatable_and_depends_on_its_seed() -> None:
    assert run() == run()
    assert run() != run(seed=1)


@pytest.mark.parametrize("method", ["full fine-tuning", "prompt tuning"])
def test_the_task_is_learnt_and_the_language_model_stays(method: str) -> None:
    loaded = tiny_language_model()
    before = weights_hash(loaded.model)
    task = replace(TINY, read=lambda: tiny_texts(400))
    row = run(
        method, task=task, loaded=loaded, num_train=32, num_development=32,
        num_updates=60, evaluate_every=10, learning_rate=0.01 if method == "full fine-tuning" else 0.1,
    )  # fmt: skip
    assert row["train_loss"] < 0.5
    if method == "full fine-tuning":  # four random rows overfit, as they do on real texts
        assert row["development_accuracy"] > 0.8
    assert weights_hash(loaded.model) == before


def test_what_is_trained_and_stored(tmp_path: Path) -> None:
    loaded = tiny_language_model()
    prompt, full = run("prompt tuning", num_virtual_tokens=5), run("full fine-tuning")
    assert prompt["trained_parameters"] == 5 * 16
    assert full["trained_parameters"] == count_parameters(loaded.model)
    initialise("random", loaded, 5).save(tmp_path / "saved", loaded)
    stored = (tmp_path / "saved" / "adapter_model.safetensors").stat().st_size
    assert prompt["bytes_stored"] <= stored < prompt["bytes_stored"] + 1000


def examples(count: int = 12) -> list[PromptExample]:
    return [PromptExample(row["text"] + " w8", row["label"]) for row in tiny_texts(count).to_list()]


@pytest.mark.parametrize("rate", [1e-3, 5.0])
def test_the_weights_of_the_best_development_step_are_kept(rate: float) -> None:
    quick = PromptTrainingSettings(rate, 6, 4, evaluate_every=1, seed=3)
    tuned = finetune_language_model(tiny_language_model(), examples(), WORDS, quick, development=examples(20))
    assert [each.step for each in tuned.evaluations] == list(range(7))
    best = max(tuned.evaluations, key=lambda each: (each.accuracy, -each.loss))
    assert tuned.kept == best
    found = evaluate_prompt(tuned.loaded, None, examples(20), WORDS)
    assert (found.accuracy, found.loss) == (best.accuracy, pytest.approx(best.loss, rel=1e-6))


def test_the_first_step_follows_the_gradient_of_a_plain_pass() -> None:
    """With one example, what AdamW first does is the sign of the gradient: that of a plain forward pass."""
    loaded = tiny_language_model()
    text, label = examples(1)[0][:2]
    rate = 1e-3
    quick = PromptTrainingSettings(rate, 1, 1, warmup_share=0.0, max_grad_norm=1e9)
    one = [PromptExample(text, label)]
    tuned = finetune_language_model(loaded, one, WORDS, quick, development=one)
    ids = loaded.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    logits = loaded.model(ids).logits[:, -1, [5, 6]]
    torch.nn.functional.cross_entropy(logits, torch.tensor([label])).backward()
    assert tuned.kept_step == 1
    for before, after in zip(loaded.model.parameters(), tuned.loaded.model.parameters(), strict=True):
        large = before.grad.abs() > 1e-4
        moved = (after - before)[large]
        assert torch.allclose(moved, -rate * before.grad[large].sign(), rtol=0.05, atol=0)


def test_steps_are_those_of_a_plain_loop_also_from_frozen_weights() -> None:
    text, label = examples(1)[0][:2]
    quick = PromptTrainingSettings(1e-3, 4, 1, warmup_share=0.0, evaluate_every=4, max_grad_norm=1e9)
    frozen = tiny_language_model()
    frozen.model.requires_grad_(False)
    one = [PromptExample(text, label)]
    tuned = finetune_language_model(frozen, one, WORDS, quick, development=one)
    plain = tiny_language_model()
    ids = plain.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    optimizer = torch.optim.AdamW(plain.model.parameters(), lr=1e-3, weight_decay=quick.weight_decay)
    losses = []
    for step in range(1, 5):
        optimizer.param_groups[0]["lr"] = quick.learning_rate_at(step)
        logits = plain.model(ids).logits[:, -1, [5, 6]]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([label]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert tuned.kept_step == 4
    assert tuned.losses == pytest.approx(losses, rel=1e-4)
    assert not any(weight.requires_grad for weight in frozen.model.parameters())


def test_small_updates_do_not_vanish_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BestWeights, "restore", lambda self: None)
    loaded = tiny_language_model()
    quick = PromptTrainingSettings(1e-6, 1, 4, warmup_share=0.0, dtype="bfloat16")
    tuned = finetune_language_model(loaded, examples(), WORDS, quick, development=examples(20))
    before, after = loaded.model.lm_head.weight, tuned.loaded.model.lm_head.weight
    assert after.dtype == torch.float32
    assert (after - before).abs().max() > 0
    # what plain training in bfloat16 would have kept of it
    assert ((before.bfloat16() + (after - before).bfloat16()) - before.bfloat16()).abs().max() == 0


@pytest.mark.parametrize("method", ["full fine-tuning", "prompt tuning"])
def test_training_that_ends_in_no_number_is_stopped(method: str) -> None:
    with pytest.raises(CourseError, match="finite"):
        run(method, learning_rate=1e38, num_updates=30)


def test_weights_that_the_last_step_spoilt_are_not_scored_and_the_step_is_named() -> None:
    quick = PromptTrainingSettings(1e30, 1, 1, warmup_share=0.0)
    with pytest.raises(CourseError, match=r"score of a development example .* after 1 steps"):
        finetune_language_model(tiny_language_model(), examples(), WORDS, quick, development=examples(20))


def test_a_pretrained_prompt_is_where_ppt_begins(tmp_path: Path) -> None:
    folder = saved_prompts(tmp_path)
    loaded = tiny_language_model()
    starts = {
        name: start_prompt(TINY, METHODS[name], loaded, 0, prompt_folder=folder).embeddings
        for name in ("PPT", "hybrid PPT", "unified PPT")
    }
    assert torch.equal(starts["PPT"], initialise("random", loaded, 3, seed=0).embeddings)
    assert torch.equal(starts["hybrid PPT"], starts["PPT"])
    assert torch.equal(starts["unified PPT"], initialise("random", loaded, 3, seed=1).embeddings)
    with pytest.raises(CourseError, match="no prompt"):
        start_prompt(TINY, METHODS["PPT"], loaded, 0, prompt_folder=tmp_path / "none")
    with pytest.raises(CourseError):
        start_prompt(TINY, METHODS["PPT"], tiny_language_model(width=32), 0, prompt_folder=folder)


@pytest.mark.parametrize(("domains", "refused"), [(["movie", "tweets"], True), (["newspaper"], False)])
def test_a_labeller_of_the_task_s_own_domain_is_refused(
    domains: list[str], refused: bool, tmp_path: Path
) -> None:
    folder = saved_prompts(tmp_path, labeller_domains=domains)
    try:
        start_prompt(TINY, METHODS["PPT"], tiny_language_model(), 0, prompt_folder=folder)
        said = ""
    except CourseError as error:
        said = str(error)
    assert ("movie texts" in said) is refused


def ours_or_planted(ours: Any, **planted: Any) -> pytest.MarkDecorator:
    """Run a check on our implementation (it holds) and on those with a trap in them (it does not)."""
    cases = [(ours, True), *((each, False) for each in planted.values())]
    return pytest.mark.parametrize(("implementation", "holds"), cases, ids=["ours", *planted])


def our_start(loaded: Any) -> torch.Tensor:
    found = start_prompt(TINY, METHODS["prompt tuning"], loaded, 0, num_virtual_tokens=4)
    return found.embeddings.detach()


def table_of(loaded: Any) -> torch.Tensor:
    return loaded.model.get_input_embeddings().weight.detach()


@ours_or_planted(
    our_start,
    one_row_repeated=lambda lm: table_of(lm)[[20] * 4],
    first_rows=lambda lm: table_of(lm)[:4],
    normal_noise=lambda lm: torch.randn(4, 16, generator=torch.Generator().manual_seed(0)),
)
def test_a_prompt_begins_as_different_rows_of_ordinary_words(implementation: Any, holds: bool) -> None:
    loaded = tiny_language_model()
    ordinary = table_of(loaded)[len(SPECIAL) :]
    rows = implementation(loaded)
    are_words = all((ordinary == row).all(dim=1).any() for row in rows)
    assert (are_words and len(rows.unique(dim=0)) == len(rows)) is holds


Score = Callable[[list[PromptExample], Verbalizer], np.ndarray]


def our_predictions(rows: list[PromptExample], words: Verbalizer) -> np.ndarray:
    return evaluate_prompt(tiny_language_model(), None, rows, words).predictions


def whole_vocabulary(rows: list[PromptExample], words: Verbalizer) -> np.ndarray:
    model, tokenizer = tiny_language_model()
    labels = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words.label_words]
    said = [
        int(
            model(**tokenizer(row.text, return_tensors="pt", add_special_tokens=False)).logits[0, -1].argmax()
        )
        for row in rows
    ]
    return np.array([labels.index(token) if token in labels else -1 for token in said])


def first_token_alone(rows: list[PromptExample], words: Verbalizer) -> np.ndarray:
    model, tokenizer = tiny_language_model()
    labels = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words.label_words]
    outputs = [
        model(**tokenizer(row.text, return_tensors="pt", add_special_tokens=False)).logits[0, -1, labels]
        for row in rows
    ]
    return np.array([int(each.argmax()) for each in outputs])


@ours_or_planted(our_predictions, whole_vocabulary=whole_vocabulary)
def test_every_prediction_is_one_of_the_label_words(implementation: Score, holds: bool) -> None:
    assert bool((implementation(examples(20), WORDS) >= 0).all()) is holds


@ours_or_planted(our_predictions, first_token_alone=first_token_alone)
def test_labels_that_share_their_first_token_are_told_apart(implementation: Score, holds: bool) -> None:
    words = Verbalizer(["w5 w8", "w5 w9"])
    turned = Verbalizer(["w5 w9", "w5 w8"])
    found = [implementation(examples(20), each) for each in (words, turned)]
    assert bool((found[0] == 1 - found[1]).all()) is holds


def test_label_words_must_fit_the_classes() -> None:
    assert run(words=["w30", "w31"])["accuracy"] is not None
    with pytest.raises(CourseError, match="classes"):
        run(words=["w30", "w31", "w32"])
    for bad in ("hard", "soft"):
        with pytest.raises(CourseError):
            FewShotMethod("mine", bad, "random" if bad == "hard" else None)
    for task, method in (("no task", "PPT"), ("movie", "no method")):
        with pytest.raises(CourseError, match="no"):
            few_shot_run(task, method, 0, learning_rate=0.01)


def test_the_median_sees_ranks_and_plain_accuracy_sees_the_words() -> None:
    scores = np.array([[0.0, -5.0 + i] for i in range(4)])
    found = Evaluation(scores, np.array([0, 0, 1, 1]))
    assert (found.accuracy, median_accuracy(found)) == (0.5, 1.0)
    assert median_accuracy(Evaluation(np.zeros((4, 3)), np.zeros(4, dtype=int))) is None


def test_the_reference_runs_keep_the_row_of_a_run_in_a_list() -> None:
    options: Any = {**QUICK, "num_virtual_tokens": 3, "loaded": tiny_language_model()}
    assert few_shot_rows(LETTERED, "prompt tuning", 0, **options) == [run()]  # type: ignore[arg-type]


# --- tables ----------------------------------------------------------------------------------------


def found_row(method: str, seed: int, accuracy: float | None, rate: float = 0.1, **other: Any) -> dict:
    row = {"task": "t", "method": method, "seed": seed, "learning_rate": rate, "accuracy": accuracy}
    return {"trained_parameters": 3, "bytes_stored": 12, "development_accuracy": 0.5, "development_loss": 1.0,
            **row, **other}  # fmt: skip


def test_the_rate_is_chosen_on_development_and_never_on_test_accuracy() -> None:
    rows = [
        found_row("A", seed, test, rate, development_accuracy=development, development_loss=loss)
        for seed in (0, 1)
        for rate, test, development, loss in (
            (0.1, 0.9, 0.6, 1.0),
            (0.2, 0.1, 0.7, 1.0),
            (0.3, 0.5, 0.7, 0.9),
        )
    ]
    assert choose_learning_rates(rows) == {"A": 0.3}
    both = [{**row, "method": method} for method in ("prompt tuning", "full-model tuning") for row in rows]
    assert list(choose_learning_rates(both)) == ["prompt tuning", "full-model tuning"]
    without = [{**row, "accuracy": None} for row in rows]
    assert choose_learning_rates(without) == {"A": 0.3}
    with pytest.raises(CourseError, match="different"):
        choose_learning_rates(rows[:-1])
    with pytest.raises(CourseError):
        choose_learning_rates([])


def test_the_table_pairs_the_methods_by_seed() -> None:
    base = [0.5, 0.7, 0.6, 0.9, 0.3]
    rows = [found_row("prompt tuning", seed, value) for seed, value in enumerate(base)]
    rows += [found_row("PPT", seed, value + 0.1) for seed, value in reversed(list(enumerate(base)))]
    rows += [found_row("alone", 0, 0.5), found_row("alone", 1, None)]
    table = few_shot_table(rows).set_index("method")
    ppt = table.loc["PPT"]
    assert ppt["mean"] == pytest.approx(0.7)
    assert ppt.spread == pytest.approx(np.std(base, ddof=1))
    assert ppt.low < 0.7 - 0.2 < 0.7 + 0.2 < ppt.high
    # seed by seed the difference is the same, whatever the seeds do
    assert [ppt.difference, ppt.difference_low, ppt.difference_high] == pytest.approx([0.1] * 3)
    assert table.loc["alone", "n"] == 1
    assert np.isinf(table.loc["alone", "high"])
    with pytest.raises(CourseError, match="twice"):
        few_shot_table([*rows, rows[0]])


# --- the course's tasks ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FEW_SHOT_TASKS)
def test_the_tasks_have_enough_texts_and_fit_their_patterns(name: str) -> None:
    task = FEW_SHOT_TASKS[name]
    split = few_shot_split(task.read(), 0)
    rows = [*split.train, *split.development, *split.test.read()]
    num_labels = task.pattern("soft").verbalizer.num_labels
    assert {row["label"] for row in rows} == set(range(num_labels))
    for kind in ("hard", "soft", "hybrid"):
        assert all(task.pattern(kind).text(row) for row in rows)
    asked = [task.unified_row(row) for row in rows]
    assert all(task.unified("soft").num_labels(row) == num_labels for row in asked)
    assert [row["label"] for row in asked] == [row["label"] for row in rows]


def test_the_pilot_names_what_exists() -> None:
    variants = pilot_variants(512, 200)
    assert {variant.finding for variant in variants} == {
        "label words", "initialisation", "pattern", "few examples", "many examples"
    }  # fmt: skip
    assert len({variant[:2] for variant in variants}) == len(variants)
    for variant in variants:
        assert learning_rates(variant.method)
        if "template" in variant.options:
            Pattern("pilot", variant.options["template"], WORDS)
