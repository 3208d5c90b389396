"""Siblings: an adapter that plain PEFT loads, its record, and texts that no measurement of it uses."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM

from course_lib.errors import CourseError
from course_lib.icl.experiments import embedded
from course_lib.icl.experiments.embedded import EMBEDDED_PAIRS, pair_pool
from course_lib.icl.hypotheses import find_hypothesis
from course_lib.icl.scorers.naive import NaiveScorer
from course_lib.icl.scorers.prefix_cached import find_scorer
from course_lib.icl.tuning.records import (
    NOTHING_SEEN,
    Seen,
    adapter_version,
    read_tuning,
    seen_by,
    seen_in,
    unseen_texts,
)
from course_lib.icl.tuning.siblings import (
    SIBLINGS,
    Material,
    material_texts,
    sibling_folder,
    source_of,
    tune_sibling,
    tuning_command,
)
from course_lib.icl.tuning.train import TuningSettings
from course_lib.models import load_language_model
from course_lib.models.adapters import shipped_adapters
from tests.icl.tuning.tiny import SETTINGS, save_model, tiny_texts


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, texts, and an adapter tuned on them."""
    folder = tmp_path_factory.mktemp("siblings")
    save_model(folder / "model")
    tiny_texts(with_domain=False).to_csv(folder / "texts.csv", index=False)
    _tune(folder, folder / "tuned")
    return folder


def _tune(place: Path, folder: Path, features: Any = ("sentiment",), **options: Any) -> Any:
    settings = options.pop("settings", SETTINGS)
    return tune_sibling(
        Material(features, str(place / "texts.csv"), **options),
        folder,
        model_source=str(place / "model"),
        settings=settings,
        checkpoint_folder=folder.with_name(f"checkpoints-{folder.name}"),
        progress=False,
    )


def test_plain_peft_loads_the_adapter_and_gives_the_same_scores(place: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(place / "model", dtype="float32")
    plain: Any = PeftModel.from_pretrained(base, str(place / "tuned")).eval()
    ours = load_language_model(str(place / "tuned"))
    ids = torch.tensor([[50, 60, 70, 80, 90]])
    with torch.inference_mode():
        assert torch.equal(plain(input_ids=ids).logits, ours.model(input_ids=ids).logits)
        untuned = load_language_model(str(place / "model")).model(input_ids=ids).logits
    assert (ours.model(input_ids=ids).logits - untuned).abs().max() > 1e-3
    asked: Any = ("Input: a film Label: 1", ["\n\nInput: dull Label:"], [" 0", " 1"])
    np.testing.assert_allclose(
        NaiveScorer(plain, ours.tokenizer).log_probabilities(*asked, progress=False),
        find_scorer(str(place / "tuned")).log_probabilities(*asked, progress=False),
        atol=1e-4,
    )


def test_the_record_says_how_and_on_what(place: Path) -> None:
    record = read_tuning(place / "tuned")
    assert record["features"] == ["sentiment"]
    assert record["settings"]["num_episodes"] == 6
    assert [one["step"] for one in record["loss_curve"]] == list(range(1, 7))
    assert [one["step"] for one in record["held_out_curve"]] == [0, 3, 6]
    assert record["command"].startswith("course icl tune --features sentiment --texts ")
    assert record["stored_as"] == "float16"
    assert 8 <= len(record["seen"]["texts"]) <= 32
    assert len(adapter_version(place / "tuned")) == 12


def test_the_same_settings_write_the_same_bytes_over_the_old_ones(place: Path) -> None:
    weights = (place / "tuned" / "adapter_model.safetensors").read_bytes()
    version = adapter_version(place / "tuned")
    _tune(place, place / "again")
    _tune(place, place / "again")
    assert (place / "again" / "adapter_model.safetensors").read_bytes() == weights
    shutil.rmtree(place / "checkpoints-again")
    _tune(place, place / "again", settings=replace(SETTINGS, seed=1))
    assert adapter_version(place / "again") != version


def _everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("folder", "features", "options", "message"),
    [
        ("foreign", ["sentiment"], {}, "did not write"),
        ("texts.csv", ["sentiment"], {}, "file stands"),
        ("model", ["sentiment"], {}, "did not write"),
        ("new", ["nli"], {}, "premise"),
        ("new", ["sentiment", "sentiment.uppercase"], {}, "none has|none of these"),
        ("new", ["sentiment"], {"max_words": 1}, "not enough texts"),
        ("new", ["sentiment"], {"settings": TuningSettings(num_demonstrations=100)}, "texts of each label"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    place: Path, folder: str, features: list[str], options: Any, message: str
) -> None:
    (place / "foreign").mkdir(exist_ok=True)
    (place / "foreign" / "notes.txt").write_text("mine")
    before = _everything(place)
    with pytest.raises(CourseError, match=message):
        _tune(place, place / folder, features, **options)
    assert _everything(place) == before
    assert not (place / "new").exists()


def test_a_damaged_record_is_refused(place: Path, tmp_path: Path) -> None:
    _tune(place, tmp_path / "tuned")
    (tmp_path / "tuned" / "tuning.json").write_text("{}")
    with pytest.raises(CourseError, match="cannot be read"):
        seen_by([str(tmp_path / "tuned")])


# --- texts apart -------------------------------------------------------------------------------------


def test_what_a_model_was_tuned_on_is_left_out() -> None:
    texts = Dataset.from_dict(
        {
            "text": ["A film!", "a FILM.", "another", "a third", "a fourth"],
            "group": ["1", "2", "3", "4", "5"],
            "domain": ["x", "x", "x", "y", "x"],
        }
    )
    alone = Dataset.from_dict({"text": ["a film"]})
    seen = seen_in([])
    assert seen == NOTHING_SEEN
    assert len(unseen_texts(texts, seen)) == 5
    from course_lib.texts.groups import text_hash

    seen = Seen(frozenset([text_hash("afilm")]), frozenset("3"), frozenset("y"))
    assert unseen_texts(texts, seen)["text"][:] == ["a fourth"]
    with pytest.raises(CourseError, match="tuned on all"):
        unseen_texts(alone, seen)


def test_a_measurement_leaves_out_what_any_of_its_models_has_seen(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = tiny_texts(with_domain=False)
    monkeypatch.setattr(embedded, "bias_texts", lambda *_: texts)
    pair_pool.cache_clear()
    tuned = str(place / "tuned")
    pools = []
    monkeypatch.setattr(embedded, "measure_set", lambda scorer, pool, *_, **__: pools.append(pool) or [])
    monkeypatch.setattr(embedded, "find_scorer", lambda *_: None)
    embedded.bias_run("sentiment", "sentiment.short", 0, model_source=tuned)
    embedded.bias_run("sentiment", "sentiment.short", 0, beside=[tuned])
    embedded.bias_run("sentiment", "sentiment.short", 0)
    pair_pool.cache_clear()
    seen = seen_by([tuned]).texts
    hashes = [{pool.text_hash(row) for row in range(len(pool.texts))} for pool in pools]
    assert not hashes[0] & seen
    assert hashes[0] == hashes[1]
    assert hashes[2] & seen


# labels all embedded texts, SNLI's 109,000 pairs among them
@pytest.mark.slow
@pytest.mark.parametrize("name", list(SIBLINGS))
def test_no_text_of_an_episode_stands_in_a_measurement(name: str) -> None:
    settings = TuningSettings()
    sides = material_texts(SIBLINGS[name])
    counts = (settings.num_episodes, settings.num_held_out)
    episodes = [
        episode
        for texts, count in zip(sides, counts, strict=True)
        for episode in source_of(SIBLINGS[name], texts, settings).take(count)
    ]
    seen = seen_in(episodes)
    assert len(seen.texts) > 300
    for h1, h2 in EMBEDDED_PAIRS:
        pool = pair_pool(find_hypothesis(h1), find_hypothesis(h2), seen)
        measured = {pool.text_hash(row) for rows in pool.cells.values() for row in rows}
        assert not measured & seen.texts
        if "domain" in pool.texts.column_names:
            assert not set(pool.texts["domain"][:]) & seen.domains
        assert min(map(len, pool.cells.values())) >= 60, (h1, h2)
    if name in shipped_adapters():
        assert seen_by([name]) == seen


# --- the shipped ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped_adapters())
def test_a_shipped_sibling_is_small_and_names_how_it_was_tuned(name: str) -> None:
    record = read_tuning(sibling_folder(name))
    assert record["command"] == f"course icl tune {name}"
    assert record["settings"] == vars(TuningSettings())
    assert sum(path.stat().st_size for path in sibling_folder(name).iterdir()) < 6_000_000


def test_commands_name_what_differs() -> None:
    assert (
        tuning_command(SIBLINGS["meaning"], "out", TuningSettings(), name="meaning")
        == "course icl tune meaning"
    )
    mine = Material(["sentiment"], "tweets", 9)
    assert tuning_command(mine, "out", TuningSettings(seed=3), "folder") == (
        "course icl tune --features sentiment --texts tweets --out out --max-words 9 --seed 3 --model folder"
    )


# loads and runs the embedded model forwards and backwards
@pytest.mark.slow
def test_the_embedded_model_is_tuned(tmp_path: Path) -> None:
    settings = TuningSettings(num_episodes=2, num_demonstrations=4, num_held_out=1)
    result = tune_sibling(
        SIBLINGS["meaning"],
        tmp_path / "tuned",
        settings=settings,
        checkpoint_folder=tmp_path / "state",
        progress=False,
    )
    assert all(0 < step.loss < 5 for step in result.steps)
    assert read_tuning(tmp_path / "tuned")["num_trained"] == 2_442_240
    scores = find_scorer(str(tmp_path / "tuned")).log_probabilities(
        "Input: a Label: 1", [" Label:"], [" 0", " 1"]
    )
    assert np.isfinite(scores).all()
