"""Training and evaluation of the shipped prompts, on a tiny model in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from course_lib import cli
from course_lib.errors import CourseError
from course_lib.locations import data_folder
from course_lib.models import ModelAndTokenizer, load_language_model
from course_lib.ppt.examples import write_examples
from course_lib.ppt.patterns import single_pattern
from course_lib.ppt.pretraining import documents, evaluation, labeller, shipped, tasks
from course_lib.ppt.pretraining.documents import CorpusSettings
from course_lib.ppt.pretraining.evaluation import evaluate_shipped, evaluate_task
from course_lib.ppt.pretraining.labeller import PseudoLabels
from course_lib.ppt.pretraining.shipped import ShippedSettings, pretrain_task, prompt_versions
from course_lib.ppt.soft_prompt import initialise, load_soft_prompt
from course_lib.ppt.training import evaluate_prompt
from course_lib.runs import load_record

QUICK = {
    "num_steps": 6,
    "batch_size": 4,
    "num_virtual_tokens": 3,
    "num_held_out": 12,
    "num_reviews": 300,
    "evaluate_every": 2,
}
ADAPTER = ("adapter_model.safetensors", "adapter_config.json", "course_prompt.json")


@pytest.fixture(scope="module")
def labelled(tiny: ModelAndTokenizer) -> PseudoLabels:
    draw = np.random.default_rng(0)
    rows = [
        {"split": split, "text": row["text"], "probabilities": draw.dirichlet([0.2] * 5).tolist()}
        for split, sources in documents.sides(tiny.tokenizer, CorpusSettings(30, 300)).items()
        for source in labeller.SINGLE_SOURCES
        for row in sources.get(source, [])
    ]
    measures = {"accuracy": 0.5, "confidence": 0.5, "calibration_error": 0.1}
    return PseudoLabels(rows, {**measures, "domains": ["newspaper", "tweets"]})


def trained(task: str, tmp_path: Path, tiny: ModelAndTokenizer, labelled: PseudoLabels, **options) -> Path:
    return pretrain_task(
        task,
        folder=tmp_path / "prompts" / task,
        checkpoint_folder=options.pop("checkpoint_folder", tmp_path / f"run-{task}"),
        loaded=tiny,
        labelled=labelled,
        progress=False,
        **{**QUICK, **options},
    )


@pytest.mark.parametrize("task", tasks.PRETRAINING_TASKS)
def test_a_prompt_comes_with_the_record_of_its_training(
    task: str, tmp_path: Path, tiny: ModelAndTokenizer, labelled: PseudoLabels
) -> None:
    folder = trained(task, tmp_path, tiny, labelled)
    record = json.loads((folder / "training.json").read_text())
    assert load_soft_prompt(folder, tiny).num_virtual_tokens == 3
    assert record["task"] == task
    assert record["steps"] == 6
    assert record["seed"] == 0
    assert record["command"].startswith(f"course ppt pretrain {task} --num-steps 6 --batch-size 4")
    assert record["settings"]["learning_rate"] == 1e-2
    assert [step["step"] for step in record["loss_curve"]] == [1, 2, 3, 4, 5, 6]
    assert [each["step"] for each in record["held_out_curve"]] == [0, 2, 4, 6]
    best = max(record["held_out_curve"], key=lambda each: (each["accuracy"], -each["loss"]))
    assert record["kept_step"] == best["step"]
    assert "torch" in record["versions"]
    assert record["labeller_domains"] == (["newspaper", "tweets"] if task == "single" else [])
    assert (record["labeller"] is None) == (task != "single")
    assert not list(folder.parent.glob(".*"))


def test_a_stopped_run_goes_on_and_writes_the_same_adapter(
    tmp_path: Path, tiny: ModelAndTokenizer, labelled: PseudoLabels
) -> None:
    def stop(step: object) -> None:
        if step.step == 5:
            raise KeyboardInterrupt

    whole = trained("choice", tmp_path / "whole", tiny, labelled)
    with pytest.raises(KeyboardInterrupt):
        trained("choice", tmp_path / "stopped", tiny, labelled, after_step=stop)
    assert not (tmp_path / "stopped" / "prompts" / "choice").exists()
    steps = []
    resumed = trained("choice", tmp_path / "stopped", tiny, labelled, after_step=steps.append)
    assert [step.step for step in steps] == [5, 6]
    for name in ADAPTER:
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name
    curves = [json.loads((folder / "training.json").read_text()) for folder in (whole, resumed)]
    assert curves[0] == curves[1]


def test_a_further_format_is_one_entry(
    tmp_path: Path, tiny: ModelAndTokenizer, labelled: PseudoLabels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a sentence has an even number of characters: built, asked, trained and measured by its entry."""

    def build(side: tasks.Side, num_examples: int, seed: int, num_options: int) -> list[dict[str, Any]]:
        sentences = [row["text"] for row in side.documents()[:num_examples]]
        return [{"text": text, "label": len(text) % num_options} for text in sentences]

    parity = tasks.PretrainingTask(
        "parity",
        build=build,
        write=lambda kind, _: single_pattern(kind, ["good", "bad"]),
        num_options=2,
        max_tokens=30,
        hard_templates=("{text} In a word:",),
    )
    monkeypatch.setitem(tasks.PRETRAINING_TASKS, "parity", parity)
    folder = trained("parity", tmp_path, tiny, labelled)
    record = shipped.read_training(folder)
    assert (record["task"], record["max_tokens"], record["labeller"]) == ("parity", 30, None)
    options = {"folder": folder.parent, "num_test": 12, "num_development": 6, "loaded": tiny}
    (row,) = evaluate_task("parity", **options)
    assert (row["task"], row["guessing"]) == ("parity", 0.5)
    assert row["hard_template"] in ("{text} All in all, it was", "{text} In a word:")
    assert shipped.shipped_folder("parity") == data_folder() / "prompts" / "parity"


def test_another_seed_gives_another_prompt(
    tmp_path: Path, tiny: ModelAndTokenizer, labelled: PseudoLabels
) -> None:
    files = [
        (trained("pair", tmp_path / f"{seed}", tiny, labelled, seed=seed) / ADAPTER[0]).read_bytes()
        for seed in (0, 1)
    ]
    assert files[0] != files[1]


def test_a_prompt_may_start_as_a_copy_of_another(
    tmp_path: Path, tiny: ModelAndTokenizer, labelled: PseudoLabels, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = trained("unified", tmp_path, tiny, labelled)
    monkeypatch.setattr(shipped, "shipped_folder", lambda task: tmp_path / "prompts" / task)
    # so small a step leaves it where it starts
    folder = trained("choice", tmp_path, tiny, labelled, initialisation="unified", learning_rate=1e-9)
    start, end = (load_soft_prompt(each, tiny).embeddings for each in (earlier, folder))
    assert torch.allclose(start, end, atol=1e-6)
    assert "--initialisation unified" in json.loads((folder / "training.json").read_text())["command"]
    # what it is measured beside is untrained still
    untrained = shipped.untrained_prompt(
        tiny, ShippedSettings(num_virtual_tokens=3, initialisation="unified")
    )
    assert torch.equal(untrained.embeddings, initialise("sample_vocab", tiny, 3, seed=0).embeddings)
    with pytest.raises(CourseError, match=r"length|rows"):
        trained("choice", tmp_path / "longer", tiny, labelled, initialisation="unified", num_virtual_tokens=4)


def test_another_thing_in_the_folder_is_left_alone(tmp_path: Path, tiny: ModelAndTokenizer) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(CourseError, match="files that the course did not write"):
        pretrain_task("pair", folder=tmp_path / "mine", loaded=tiny, **QUICK)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("pairs", {}),
        ("pair", {"num_step": 3}),
        ("pair", {"max_options": 4}),
        ("pair", {"kinds": ("hard",)}),
        ("pair", {"initialisation": "text"}),
        ("pair", {"initialisation": "pair"}),
    ],
)
def test_bad_settings_are_refused(task: str, options: dict, tmp_path: Path, tiny: ModelAndTokenizer) -> None:
    with pytest.raises(CourseError):
        pretrain_task(task, folder=tmp_path / "p", loaded=tiny, progress=False, **options)


@pytest.mark.parametrize("task", ["pair", "single", "unified"])
def test_a_prompt_is_measured_beside_an_untrained_one_and_the_best_hard_pattern(
    task: str, tmp_path: Path, tiny: ModelAndTokenizer, labelled: PseudoLabels
) -> None:
    folder = trained(task, tmp_path, tiny, labelled)
    # what the row calls trained is what stands in the folder, here the prompt as it began
    settings = ShippedSettings(**json.loads((folder / "training.json").read_text())["settings"])
    start = initialise("sample_vocab", tiny, 3, seed=settings.seed)
    record = (folder / "training.json").read_text()
    start.save(folder, tiny, more={"training.json": record})
    (row,) = evaluate_task(
        task, folder=folder.parent, num_test=30, num_development=10, loaded=tiny, labelled=labelled
    )
    assert row["num_test"] == 30
    assert row["trained_hybrid"] == row["untrained_hybrid"]
    assert row["trained_soft"] == row["untrained_soft"]
    assert not row["apart"]
    for name in ("trained_hybrid", "untrained_hybrid", "trained_soft", "untrained_soft", "hard"):
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    assert row["hard_template"] in [pattern.template for pattern in tasks.find_task(task).hard_patterns()]
    assert 0.15 < row["guessing"] < 0.5


def test_the_record_of_all_prompts(
    tmp_path: Path, tiny: ModelAndTokenizer, model_folder: Path, labelled: PseudoLabels,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(evaluation, "run_resumable", lambda *a, **k: _kept(tmp_path, *a, **k))
    for task in ("pair", "choice"):
        trained(task, tmp_path, tiny, labelled)
    sizes = {"num_test": 20, "num_development": 8, "model_source": str(model_folder), "progress": False}
    record = evaluate_shipped(tmp_path / "prompts", task_names=("pair", "choice"), **sizes)
    assert record.name == "ppt_prompts"
    assert record.command == "course reference ppt_prompts"
    assert [row["task"] for row in record.rows] == ["pair", "choice"]
    assert set(record.settings["prompts"]) == {"pair", "choice"}
    assert record.save(tmp_path).is_file()
    with pytest.raises(CourseError, match="cannot be read"):
        evaluate_shipped(tmp_path / "prompts", task_names=("single",), **sizes)


def _kept(tmp_path: Path, *arguments, **options):
    from course_lib.runs import run_resumable

    return run_resumable(*arguments, folder=tmp_path / "journal", **options)


# --- the prompts of the course ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded() -> ModelAndTokenizer:
    return load_language_model("embedded")


@pytest.mark.parametrize("task", tasks.PRETRAINING_TASKS)
def test_a_shipped_prompt_is_what_its_record_says(task: str, embedded: ModelAndTokenizer) -> None:
    record = shipped.shipped_training(task)
    settings = ShippedSettings(**record["settings"])
    prompt = load_soft_prompt(shipped.shipped_folder(task), embedded)
    assert prompt.num_virtual_tokens == settings.num_virtual_tokens
    assert record["command"] == shipped.pretrain_command(task, settings)
    assert [step["step"] for step in record["loss_curve"]] == list(range(1, settings.num_steps + 1))
    kept = max(record["held_out_curve"], key=lambda each: (each["accuracy"], -each["loss"]))
    assert record["kept_step"] == kept["step"] > 0
    assert not {"movie", "product"} & set(record["labeller_domains"])


def test_every_record_is_of_the_prompts_that_are_shipped() -> None:
    records = [load_record(file.stem) for file in (data_folder() / "results").glob("*.json")]
    of_prompts = {record.name: record for record in records if "prompts" in record.settings}
    assert all(record.settings["prompts"] == prompt_versions() for record in of_prompts.values())
    assert [row["task"] for row in of_prompts["ppt_prompts"].rows] == list(tasks.PRETRAINING_TASKS)


def test_the_shipped_pair_prompt_tells_documents_apart(embedded: ModelAndTokenizer) -> None:
    rows = tasks.pretraining_rows("pair", "test", 60, embedded.tokenizer)
    pattern = tasks.find_pattern("pair")
    examples = write_examples(rows, [pattern])
    trained_prompt = load_soft_prompt(shipped.shipped_folder("pair"), embedded)
    untrained = initialise("sample_vocab", embedded, trained_prompt.num_virtual_tokens, seed=0)
    ours, theirs = (
        evaluate_prompt(embedded, prompt, examples, pattern.verbalizer)
        for prompt in (trained_prompt, untrained)
    )
    assert ours.accuracy > theirs.accuracy + 0.05
    assert ours.loss < np.log(3) < theirs.loss


# --- the commands ----------------------------------------------------------------------------------


def test_the_command_pretrains(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "cache_folder", lambda: tmp_path / "cache")
    options = ["--num-steps", "2", "--batch-size", "2", "--num-virtual-tokens", "3", "--kinds", "hybrid",
               "--num-held-out", "6", "--num-reviews", "300", "--model", str(model_folder)]  # fmt: skip
    out = tmp_path / "pair"
    result = CliRunner().invoke(cli.app, ["ppt", "pretrain", "pair", *options, "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    assert f"written: {out}" in result.stdout.replace("\n", "")
    record = json.loads((out / "training.json").read_text())
    assert record["settings"]["kinds"] == ["hybrid"]
    assert record["command"] == " ".join(["course", "ppt", "pretrain", "pair", *options])


def test_the_command_tunes(tmp_path: Path, model_folder: Path, tiny: ModelAndTokenizer) -> None:
    texts = tmp_path / "texts.csv"
    rows = [
        "text,label",
        *(f"it was {'the' if i % 2 else 'not'} film,{'up' if i % 2 else 'down'}" for i in range(12)),
    ]
    texts.write_text("\n".join(rows) + "\n")
    arguments = ["ppt", "tune", "--texts", str(texts), "--model", str(model_folder), "--words", "bad,good",
                 "--num-virtual-tokens", "3", "--num-steps", "4", "--out", str(tmp_path / "mine")]  # fmt: skip
    result = CliRunner().invoke(cli.app, [*arguments, "--labels", "down,up"])
    assert result.exit_code == 0, result.stderr
    assert load_soft_prompt(tmp_path / "mine", tiny).num_virtual_tokens == 3
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 2
    assert "labels other than 0, 1" in result.stderr


def test_the_command_evaluates(
    tmp_path: Path, model_folder: Path, tiny: ModelAndTokenizer, labelled: PseudoLabels,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(evaluation, "run_resumable", lambda *a, **k: _kept(tmp_path, *a, **k))
    trained("pair", tmp_path, tiny, labelled)
    result = CliRunner().invoke(
        cli.app,
        ["ppt", "evaluate", "--folder", str(tmp_path / "prompts"), "--tasks", "pair", "--num-test", "20",
         "--num-development", "8", "--model", str(model_folder)],
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "trained_hybrid" in result.stdout
