"""The pre-training examples of the shipped prompts: sides, downstream sentences, sizes, pseudo-labels."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from course_lib.errors import CourseError
from course_lib.finetuning import FinetuningSettings
from course_lib.ppt.fewshot.splits import few_shot_split
from course_lib.ppt.fewshot.tasks import FEW_SHOT_TASKS
from course_lib.ppt.pretraining import documents, labeller, tasks
from course_lib.ppt.pretraining.documents import CorpusSettings
from course_lib.ppt.pretraining.labeller import (
    Labeller,
    LabellerSettings,
    PseudoLabels,
    labeller_texts,
    train_labeller,
)
from course_lib.ppt.pretraining.tasks import pretraining_examples, pretraining_rows
from course_lib.texts import SPLITS, load_texts, normalise
from tests.ppt.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
QUICK = {"num_reviews": 300}
DRAWN = ("pair", "choice", "unified")


def sentences_of(row: dict) -> list[str]:
    return [row[name] for name in ("first", "second", "query", "text") if name in row] + list(
        row.get("options", [])
    )


def drawn_sentences(task: str, split: str, count: int = 300, seed: int = 0) -> set[str]:
    rows = pretraining_rows(task, split, count, TOKENIZER, seed=seed, **QUICK)
    return {sentence for row in rows for sentence in sentences_of(row)}


@pytest.fixture(scope="module")
def labelled() -> PseudoLabels:
    """Real sentences with random probabilities."""
    draw = np.random.default_rng(0)
    rows = [
        {"split": split, "text": row["text"], "probabilities": draw.dirichlet([0.2] * 5).tolist()}
        for split, sources in documents.sides(TOKENIZER, CorpusSettings(30, 300)).items()
        for source in labeller.SINGLE_SOURCES
        for row in sources.get(source, [])
    ]
    return PseudoLabels(rows, {"accuracy": 0.5, "domains": ["newspaper", "tweets"]})


@pytest.mark.parametrize("task", DRAWN)
@pytest.mark.parametrize("split", SPLITS)
def test_no_downstream_test_sentence_is_among_the_examples(task: str, split: str) -> None:
    measured_on = set()
    for name, splits in {"movie": ["test"], "product": ["test"], "newspaper": ["test", "validation"]}.items():
        for part in splits:
            measured_on |= {normalise(text) for text in load_texts(name, split=part)["text"][:]}
    snli = load_texts("snli", split="test")
    measured_on |= {normalise(text) for text in [*snli["premise"][:], *snli["hypothesis"][:]]}
    assert not {normalise(text) for text in drawn_sentences(task, split)} & measured_on


def test_what_is_downstream_covers_the_few_shot_tasks() -> None:
    excluded = {normalise(text) for text in documents.downstream_sentences()}
    for task in FEW_SHOT_TASKS.values():
        for row in few_shot_split(task.read(), 0).test.read():
            texts = [row[name] for name in ("text", "premise", "hypothesis", "query") if name in row]
            assert {normalise(text) for text in [*texts, *row.get("options", [])]} <= excluded, task.name


@pytest.mark.parametrize("max_tokens", [20, 30])
def test_no_document_and_no_sentence_is_on_two_sides(max_tokens: int) -> None:
    sides = documents.sides(TOKENIZER, CorpusSettings(max_tokens, 300))
    for column in ("document_id", "text"):
        found = [
            {normalise(row[column]) for rows in sides[split].values() for row in rows} for split in SPLITS
        ]
        assert not found[0] & found[1]
        assert not found[0] & found[2]
        assert not found[1] & found[2]
    for split in SPLITS:
        assert set(sides[split]) == set(documents.SOURCES)
        for source in documents.SOURCES:
            read = "train" if source in documents.DIVIDED else split
            published = set(load_texts(source, split=read)["document_id"][:])
            found = {row["document_id"].removeprefix(f"{source}/") for row in sides[split][source]}
            assert found <= published


def test_documents_of_all_sources_are_mixed_and_none_has_more_than_half() -> None:
    sources = {
        name: [
            {"document_id": f"{name}/{document}", "position": place, "text": f"{name} {document} {place}"}
            for document in range(count)
            for place in range(4)
        ]
        for name, count in (("a", 10), ("b", 20), ("c", 100))
    }
    rows = documents.mixed_documents(sources)
    runs = [document for document, _ in itertools.groupby(row["document_id"] for row in rows)]
    assert len(runs) == len(set(runs)) == 60
    counts = Counter(document.split("/")[0] for document in runs)
    assert counts == {"a": 10, "b": 20, "c": 30}
    assert max(len(list(same)) for _, same in itertools.groupby(runs, key=lambda name: name[0])) < 15
    assert rows == documents.mixed_documents(sources)
    alone = documents.mixed_documents({"c": sources["c"]})
    assert len(alone) == 400


@pytest.mark.parametrize("split", SPLITS)
def test_a_sentence_from_elsewhere_is_of_another_source(split: str) -> None:
    source = {
        row["text"]: name
        for name, rows in documents.sides(TOKENIZER, CorpusSettings(30, 300))[split].items()
        for row in rows
    }
    rows = pretraining_rows("pair", split, 600, TOKENIZER, **QUICK)
    assert all((source[row["first"]] != source[row["second"]]) == (row["label"] == 2) for row in rows)


def test_a_long_sentence_leaves_a_gap_and_makes_no_neighbours() -> None:
    published: dict[str, set[int]] = {}
    for row in load_texts("newspaper", split="train").to_list():
        published.setdefault(f"newspaper/{row['document_id']}", set()).add(row["position"])
    rows = documents.sides(TOKENIZER, CorpusSettings(20, 300, min_tokens=5))["train"]["newspaper"]
    assert min(len(TOKENIZER(row["text"])["input_ids"]) for row in rows) == 5
    assert all(row["position"] in published[row["document_id"]] for row in rows)
    assert max(len(TOKENIZER(row["text"])["input_ids"]) for row in rows) <= 20
    assert max(row["position"] for row in rows) > max(Counter(row["document_id"] for row in rows).values())


@pytest.mark.parametrize("task", DRAWN)
def test_examples_are_those_of_their_seed(task: str) -> None:
    first, again, other = (
        pretraining_examples(task, "train", 60, TOKENIZER, seed=seed, **QUICK).to_list() for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other
    assert len(first) == 60
    assert {len(example) for example in first} == {3}


def test_choices_have_six_options_and_unified_ones_two_to_six() -> None:
    choice = pretraining_examples("choice", "train", 120, TOKENIZER, **QUICK)
    assert set(choice["num_options"][:]) == {6}
    unified = pretraining_examples("unified", "train", 500, TOKENIZER, max_options=6, **QUICK)
    counts = Counter(unified["num_options"][:])
    assert set(counts) == {2, 3, 4, 5, 6}
    assert max(counts.values()) - min(counts.values()) <= 10
    wide = pretraining_examples("unified", "validation", 200, TOKENIZER, max_options=16, **QUICK)
    assert max(wide["num_options"][:]) == 16


def test_the_full_profile_has_sixteen_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tasks.find_task("unified").most_options() == 6
    monkeypatch.setenv("COURSE_PROFILE", "full")
    assert tasks.find_task("unified").most_options() == 16
    assert tasks.find_pattern("unified").verbalizer.num_labels == 16


def test_examples_are_shuffled_and_their_sources_mixed() -> None:
    labels = pretraining_examples("pair", "train", 300, TOKENIZER, **QUICK)["label"][:]
    assert all(
        75 < 2 * Counter(half)[label] < 125 for half in (labels[:150], labels[150:]) for label in range(3)
    )


def test_patterns_take_turns() -> None:
    both = pretraining_examples("pair", "train", 40, TOKENIZER, kinds=("hybrid", "soft"), **QUICK)["text"][:]
    assert ["Answer:" in text for text in both] == [True, False] * 20


def test_single_sentences_are_of_their_side_and_sure(labelled: PseudoLabels) -> None:
    rows = pretraining_rows("single", "validation", 60, TOKENIZER, labelled=labelled)
    side = {row["text"]: row["probabilities"] for row in labelled.rows if row["split"] == "validation"}
    assert Counter(row["label"] for row in rows) == dict.fromkeys(range(5), 12)
    for row in rows:
        probabilities = side[row["text"]]
        assert row["label"] == np.argmax(probabilities)
        assert max(probabilities) > tasks.THRESHOLDS[row["label"]]
    assert pretraining_rows("single", "validation", 60, TOKENIZER, labelled=labelled) == rows


def test_pseudo_labels_are_kept_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []

    class Fake(Labeller):
        def probabilities(self, sentences: list[str], **_: object) -> np.ndarray:
            return np.random.default_rng(len(trained)).dirichlet([1.0] * 5, len(sentences))

    def train(texts: object, *_: object, **__: object) -> Labeller:
        trained.append(texts)
        return Fake(None, 0.5, 0.5, 0.1, tuple(sorted(set(texts["domain"][:]))))

    monkeypatch.setattr(labeller, "train_labeller", train)
    corpus, file = CorpusSettings(30, 300), tmp_path / "labels.jsonl"
    first = labeller.pseudo_labels(TOKENIZER, corpus, file=file)
    assert labeller.pseudo_labels(TOKENIZER, corpus, file=file) == first
    assert len(trained) == 1
    assert first.labeller["domains"] == ["newspaper", "tweets"]
    assert len(set(Counter(trained[0]["label"][:]).values())) == 1
    other = labeller.pseudo_labels(TOKENIZER, corpus, labeller.LabellerSettings(seed=1), file=file)
    assert len(trained) == 2
    assert other != first
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-5]))
    with pytest.raises(CourseError, match="damaged"):
        labeller.pseudo_labels(TOKENIZER, corpus, file=file)


def test_the_labeller_keeps_from_several_downstream_tasks() -> None:
    rows = labeller_texts(("movie", "product"), split="validation")
    assert set(rows["domain"][:]) == {"newspaper", "tweets"}
    leaking = labeller_texts("newspaper", split="validation")
    with pytest.raises(CourseError, match="movie and product"):
        train_labeller(leaking, leaking, ("movie", "product"))
    with pytest.raises(CourseError, match="No domain"):
        labeller_texts(("movie", "product", "newspaper", "tweets"))


@pytest.mark.parametrize(("task", "split"), [("pairs", "train"), ("pair", "dev")])
def test_unknown_names_are_refused(task: str, split: str) -> None:
    with pytest.raises(CourseError, match="There is no"):
        pretraining_examples(task, split, 10, TOKENIZER)


def test_a_side_without_documents_enough_is_an_error() -> None:
    with pytest.raises(CourseError, match="fewer than 20 documents"):
        pretraining_examples("choice", "test", 10, TOKENIZER, max_tokens=7, num_reviews=20)


def test_a_labeller_is_trained_as_its_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def train(
        train_texts: object, heldout: object, avoids: object, settings: object, **options: object
    ) -> None:
        given.append((settings, options))
        raise KeyboardInterrupt

    monkeypatch.setattr(labeller, "train_labeller", train)
    chosen = LabellerSettings(num_steps=7, learning_rate=3e-3, seed=5)
    with pytest.raises(KeyboardInterrupt):
        labeller._label([("train", "a")], chosen, progress=False)
    ((settings, options),) = given
    assert settings == FinetuningSettings(num_steps=7, learning_rate=3e-3, seed=5)
    assert options == {"model_source": chosen.source, "progress": False}
