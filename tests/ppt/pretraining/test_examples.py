"""Pre-training examples: balance, independence of the answer's place, no leaks, and one result for any workers."""

from __future__ import annotations

import itertools
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from course_lib.errors import CourseError
from course_lib.ppt.patterns import LETTERS
from course_lib.ppt.pretraining import examples, shards
from course_lib.ppt.pretraining.documents import split_sentences
from course_lib.ppt.pretraining.examples import (
    CLS_THRESHOLDS,
    build_cls_examples,
    build_nsp_examples,
    build_nss_examples,
    build_unified_examples,
)
from course_lib.ppt.pretraining.labeller import DOMAINS, labeller_texts, train_labeller
from course_lib.ppt.pretraining.tasks import find_pattern
from course_lib.texts import load_texts, normalise

few = settings(max_examples=40, deadline=None, derandomize=True)
BUILDERS: list[Callable[..., Iterator[dict[str, Any]]]] = [
    build_nsp_examples,
    build_nss_examples,
    build_unified_examples,
]
# A fair draw falls below this once in a million times.
STRICT = 1e-6


def tiny_documents(num_documents: int = 20, num_sentences: int = 8) -> list[dict[str, Any]]:
    """Give documents whose sentences name their document and position, "d3 s5"."""
    return [
        {"document_id": f"d{d}", "position": p, "text": f"d{d} s{p}"}
        for d in range(num_documents)
        for p in range(num_sentences)
    ]


def place_of(sentence: str) -> tuple[str, int]:
    document, position = sentence.split()
    return document, int(position[1:])


def relation(query: str, other: str) -> str:
    (query_document, query_place), (document, place) = place_of(query), place_of(other)
    if query_document != document:
        return "other document"
    return "adjacent" if abs(query_place - place) == 1 else "same document"


def texts_of(example: dict[str, Any]) -> list[str]:
    names = ("first", "second", "query")
    return [example[name] for name in names if name in example] + list(example.get("options", []))


def uniform_p(values: list[int], possible: range) -> float:
    counts = Counter(values)
    return float(stats.chisquare([counts[value] for value in possible]).pvalue)


def place_p(examples: list[dict[str, Any]]) -> float:
    """Give the least p of "each place is as frequent", over the numbers of options."""
    numbers = sorted({len(example["options"]) for example in examples})
    rows = {n: [e["label"] for e in examples if len(e["options"]) == n] for n in numbers}
    return min(uniform_p(labels, range(n)) for n, labels in rows.items())


# --- what stands beside what -------------------------------------------------------------------------


def test_a_pair_is_what_its_label_says() -> None:
    labels = ("adjacent", "same document", "other document")
    for example in build_nsp_examples(tiny_documents(), 300, 0):
        assert relation(example["first"], example["second"]) == labels[example["label"]]
        assert example["task"] == "pair"


@pytest.mark.parametrize("num_options", [2, 3, 6, 16])
def test_one_option_is_adjacent_and_at_most_one_from_the_same_document(num_options: int) -> None:
    for example in build_nss_examples(tiny_documents(), 200, 0, num_options=num_options):
        kinds = [relation(example["query"], option) for option in example["options"]]
        assert len(kinds) == num_options
        assert kinds[example["label"]] == "adjacent"
        counts = Counter(kinds)
        assert counts["adjacent"] == 1
        assert counts["same document"] == (num_options > 2)
        documents = [place_of(option)[0] for option in example["options"]]
        assert len(set(documents)) == num_options - (num_options > 2)


@pytest.mark.parametrize("build", BUILDERS)
def test_what_is_from_elsewhere_differs_where_it_is_told_to(build) -> None:
    rows = [{**row, "source": f"of {int(row['document_id'][1:]) % 3}"} for row in tiny_documents(60)]
    source = {row["text"]: row["source"] for row in rows}
    elsewhere = 0
    for example in build(rows, 400, 0, elsewhere_by="source"):
        query, *others = texts_of(example)
        for other in others:
            is_elsewhere = relation(query, other) == "other document"
            assert (source[query] != source[other]) == is_elsewhere
            elsewhere += is_elsewhere
    assert elsewhere > 100


def test_documents_of_one_source_have_no_elsewhere() -> None:
    rows = [{**row, "source": "newspaper"} for row in tiny_documents()]
    with pytest.raises(CourseError, match="documents"):
        list(build_nsp_examples(rows, 10, 0, elsewhere_by="source"))
    with pytest.raises(CourseError, match="lack the column `source`"):
        list(build_nsp_examples(tiny_documents(), 10, 0, elsewhere_by="source"))


def test_both_neighbours_are_answers() -> None:
    steps = Counter(
        place_of(e["options"][e["label"]])[1] - place_of(e["query"])[1]
        for e in build_nss_examples(tiny_documents(), 2000, 0)
    )
    assert set(steps) == {-1, 1}
    assert stats.chisquare(list(steps.values())).pvalue > STRICT


def test_a_place_left_out_makes_no_neighbours() -> None:
    rows = [row for row in tiny_documents() if row["position"] not in (2, 5)]
    for example in build_nsp_examples(rows, 300, 0):
        labels = ("adjacent", "same document", "other document")
        assert relation(example["first"], example["second"]) == labels[example["label"]]


@given(
    sizes=st.lists(st.integers(0, 9), min_size=8, max_size=30),
    vocabulary=st.integers(4, 60),
    seed=st.integers(0, 99),
)
@few
def test_no_copy_of_the_answer_is_a_distractor(sizes: list[int], vocabulary: int, seed: int) -> None:
    rng = random.Random(seed)
    rows = [
        {"document_id": d, "position": p, "text": f"{rng.choice('Ww')}ord {rng.randrange(vocabulary)}!"}
        for d, size in enumerate(sizes)
        for p in range(size)
    ]
    documents: dict[int, list[str]] = {}
    for row in rows:
        documents.setdefault(row["document_id"], []).append(normalise(row["text"]))
    neighbours: dict[str, set[str]] = {}
    for keys in documents.values():
        for one, two in itertools.pairwise(keys):
            neighbours.setdefault(one, set()).add(two)
            neighbours.setdefault(two, set()).add(one)
    try:
        examples = list(build_nss_examples(rows, 30, seed, num_options=4))
    except CourseError:
        return
    for example in examples:
        keys = [normalise(option) for option in example["options"]]
        assert len(set(keys)) == 4
        assert normalise(example["query"]) not in keys
        assert keys[example["label"]] in neighbours[normalise(example["query"])]


# --- balance and independence ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def newspaper() -> Dataset:
    return load_texts("newspaper")


@pytest.fixture(scope="module")
def choices(newspaper: Dataset) -> list[dict[str, Any]]:
    return list(build_nss_examples(newspaper, 10_000, 0))


@pytest.fixture(scope="module")
def unified(newspaper: Dataset) -> list[dict[str, Any]]:
    return list(build_unified_examples(newspaper, 10_000, 0))


def test_each_class_of_pairs_is_a_third(newspaper: Dataset) -> None:
    labels = [example["label"] for example in build_nsp_examples(newspaper, 10_000, 0)]
    assert len(labels) == 10_000
    assert uniform_p(labels, range(3)) > STRICT
    # in any stretch, not only in the whole
    for start in range(0, 10_000, 1000):
        assert uniform_p(labels[start : start + 1000], range(3)) > STRICT


def test_the_class_of_a_pair_does_not_show_in_its_first_sentence(newspaper: Dataset) -> None:
    rows = list(build_nsp_examples(newspaper, 10_000, 0))
    lengths = [[len(row["first"]) for row in rows if row["label"] == label] for label in range(3)]
    assert stats.kruskal(*lengths).pvalue > STRICT


def test_each_place_of_the_answer_is_equally_frequent(choices, unified) -> None:
    assert place_p(choices) > STRICT
    assert place_p(unified) > STRICT


def test_each_number_of_options_is_equally_frequent(unified) -> None:
    assert uniform_p([len(example["options"]) for example in unified], range(2, 17)) > STRICT


def test_the_place_does_not_depend_on_the_sentences(choices) -> None:
    lengths = [len(example["options"][example["label"]]) for example in choices]
    assert stats.kruskal(*by_label(choices, lengths)).pvalue > STRICT
    queries = [len(example["query"]) for example in choices]
    assert stats.kruskal(*by_label(choices, queries)).pvalue > STRICT


def test_the_number_of_options_does_not_depend_on_the_sentences(unified) -> None:
    numbers = [len(example["options"]) for example in unified]
    queries = [len(example["query"]) for example in unified]
    assert stats.spearmanr(numbers, queries).pvalue > STRICT


def by_label(examples: list[dict[str, Any]], values: list[int]) -> list[list[int]]:
    return [
        [value for example, value in zip(examples, values, strict=True) if example["label"] == label]
        for label in range(6)
    ]


def test_the_same_document_stands_at_every_place_beside_the_answer() -> None:
    places = []
    for example in build_nss_examples(tiny_documents(), 3000, 0):
        kinds = [relation(example["query"], option) for option in example["options"]]
        kinds.remove("adjacent")
        places.append(kinds.index("same document"))
    assert uniform_p(places, range(5)) > STRICT


def _answer_first(answer: str, distractors: list[str], rng: random.Random) -> tuple[list[str], int]:
    label = 0 if rng.random() < 0.25 else rng.randrange(len(distractors) + 1)
    return [*distractors[:label], answer, *distractors[label:]], label


def _answer_low_among_many(answer: str, distractors: list[str], rng: random.Random) -> tuple[list[str], int]:
    label = rng.randrange(min(len(distractors) + 1, 8))
    return [*distractors[:label], answer, *distractors[label:]], label


def test_a_place_that_tells_the_answer_would_be_caught(newspaper, monkeypatch) -> None:
    monkeypatch.setattr(examples, "_place_answer", _answer_first)
    assert place_p(list(build_nss_examples(newspaper, 10_000, 0))) < STRICT


def test_a_number_of_options_that_tells_the_place_would_be_caught(newspaper, monkeypatch) -> None:
    monkeypatch.setattr(examples, "_place_answer", _answer_low_among_many)
    assert place_p(list(build_unified_examples(newspaper, 10_000, 0))) < STRICT


# --- real texts, leaks, repeatability ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["product", "newspaper"])
@pytest.mark.parametrize("build", BUILDERS)
def test_real_examples_fill_their_patterns(name: str, build) -> None:
    texts = load_texts(name)
    known = set(texts["text"][:])
    examples = list(build(texts, 500, 1))
    assert len(examples) == 500
    for example in examples:
        assert set(texts_of(example)) <= known
        assert find_pattern(example["task"], max_options=len(LETTERS)).text(example)


@pytest.mark.parametrize("build", BUILDERS)
def test_no_excluded_sentence_is_drawn(build) -> None:
    texts = load_texts("product")
    excluded = [f"  {text.upper()} !" for text in texts["text"][::3]]
    keys = set(map(normalise, excluded))
    drawn = {
        normalise(text) for example in build(texts, 2000, 0, excluded=excluded) for text in texts_of(example)
    }
    assert not drawn & keys
    without = {normalise(text) for example in build(texts, 2000, 0) for text in texts_of(example)}
    assert without & keys


def test_the_sentences_of_an_excluded_text_are_excluded() -> None:
    documents = [
        {"document_id": d, "position": 0, "text": ". ".join(f"d{d} s{p}" for p in range(6))} for d in range(9)
    ]
    examples = build_nsp_examples(documents, 200, 0, split=at_stops, excluded=["d3 s2. d4 s1"])
    drawn = {text for example in examples for text in texts_of(example)}
    assert "d3 s3" in drawn
    assert not drawn & {"d3 s2", "d4 s1"}


def at_stops(text: str) -> list[str]:
    return text.split(". ")


@pytest.mark.parametrize("build", BUILDERS)
def test_workers_change_nothing(build, monkeypatch) -> None:
    monkeypatch.setattr(shards, "EXAMPLES_PER_SHARD", 100)
    texts = load_texts("newspaper")
    alone, shared = (list(build(texts, 450, 7, num_workers=number)) for number in (1, 2))
    assert alone == shared
    assert len(alone) == 450


@pytest.mark.parametrize("build", BUILDERS)
def test_a_seed_gives_the_same_examples_and_another_others(build) -> None:
    one, again, other = (list(build(tiny_documents(), 200, seed)) for seed in (3, 3, 4))
    assert one == again != other


def test_a_dataset_and_a_list_give_the_same() -> None:
    rows = tiny_documents(200)
    from_list, from_dataset = (list(build_nss_examples(d, 300, 0)) for d in (rows, Dataset.from_list(rows)))
    assert from_list == from_dataset


class Stream:
    """Documents that are made as they are read, so that only what the builder holds takes memory."""

    def __init__(self, num_documents: int) -> None:
        self.num_documents = num_documents

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for d in range(self.num_documents):
            for p in range(5):
                yield {"document_id": d, "position": p, "text": f"d{d} s{p} " + "x" * 500}


def peak_memory(num_documents: int) -> int:
    tracemalloc.start()
    for _ in build_nsp_examples(Stream(num_documents), 2 * shards.EXAMPLES_PER_SHARD, 0):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_corpus() -> None:
    small, large = peak_memory(1000), peak_memory(10_000)
    assert large < 1.3 * small


def test_a_sample_comes_from_all_over_the_corpus() -> None:
    examples = build_nsp_examples(tiny_documents(2000, 4), 5 * shards.EXAMPLES_PER_SHARD, 0)
    documents = np.array([int(place_of(example["first"])[0][1:]) for example in examples])
    assert {0, 1, 2, 3} <= set((documents // 500).tolist())


def test_reviews_are_split_into_sentences() -> None:
    pytest.importorskip("sentencex")
    assert split_sentences("Mr. Smith left. He came back!  ") == ["Mr. Smith left.", "He came back!"]
    assert split_sentences("") == []
    reviews = load_texts("imdb", split="validation")
    examples = list(build_nss_examples(reviews, 300, 0, split=split_sentences))
    assert len(examples) == 300
    assert all(len(text) < 2000 for example in examples for text in texts_of(example))


# --- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "fewer than two documents"),
        (tiny_documents(1), "fewer than two documents"),
        (tiny_documents(20, 1), "0 of these 20"),
        (tiny_documents(20, 2), "0 of these 20"),
        ([{**row, "text": " "} for row in tiny_documents()], "0 of these 20"),
        ([{**row, "text": "The same."} for row in tiny_documents()], "0 of these 20"),
        ([{**row, "text": None} for row in tiny_documents()], "no text"),
        ([{**row, "position": 0} for row in tiny_documents()], "none twice"),
        ([{**row, "position": "1"} for row in tiny_documents()], "whole numbers"),
        (sorted(tiny_documents(), key=lambda row: row["position"]), "not in a run"),
        ([{"document_id": 1, "text": "a"}, {"document_id": 2, "text": "b"}], "position"),
        (["a", "b"], "document_id"),
        (iter(tiny_documents()), "only once"),
    ],
)
def test_a_corpus_that_gives_no_examples_is_refused(build, rows: Any, words: str) -> None:
    with pytest.raises(CourseError, match=words):
        list(build(rows, 10, 0))


def test_fewer_candidates_than_options_is_refused() -> None:
    with pytest.raises(CourseError, match=r"6 options need 5 documents.*4 of these 4"):
        list(build_nss_examples(tiny_documents(4), 10, 0))
    with pytest.raises(CourseError, match="16 options need 15 documents"):
        list(build_unified_examples(tiny_documents(14), 10, 0))
    assert list(build_nss_examples(tiny_documents(5), 10, 0))


def test_documents_that_are_all_copies_are_refused() -> None:
    copies = [{**row, "text": f"Sentence {row['position']}."} for row in tiny_documents()]
    with pytest.raises(CourseError, match="enough different"):
        list(build_nss_examples(copies, 10, 0))


def test_arguments_are_checked_at_once() -> None:
    for wrong in ({"num_examples": 0}, {"seed": -1}, {"num_workers": 0}, {"excluded": "text"}):
        arguments = {"documents": tiny_documents(), "num_examples": 5, "seed": 0, **wrong}
        with pytest.raises(CourseError):
            build_nsp_examples(**arguments)
    with pytest.raises(CourseError, match="16"):
        build_nss_examples(tiny_documents(), 5, 0, num_options=17)
    with pytest.raises(CourseError, match="above"):
        build_unified_examples(tiny_documents(), 5, 0, min_options=5, max_options=4)


# --- pseudo-labels -----------------------------------------------------------------------------------


def sure(label: int, confidence: float) -> list[float]:
    row = [(1 - confidence) / 4] * 5
    row[label] = confidence
    return row


def test_thresholds_are_each_classes_own() -> None:
    confidences = [0.94, 0.96, 0.51, 0.51, 0.51, 0.69, 0.71, 0.49]
    labels = [0, 0, 1, 2, 3, 4, 4, 1]
    table = np.array([sure(*pair) for pair in zip(labels, confidences, strict=True)])
    rows = build_cls_examples([f"Sentence {i}." for i in range(8)], table, 5, 0)
    assert {row["text"] for row in rows} == {f"Sentence {i}." for i in (1, 2, 3, 4, 6)}
    assert {row["label"]: row["text"] for row in rows}[4] == "Sentence 6."
    assert all(row["task"] == "single" and find_pattern("single").text(row) for row in rows)


def test_classes_are_equal_and_a_scarce_one_is_filled_up() -> None:
    labels = [0] * 40 + [1] * 40 + [2] * 4 + [3] * 40 + [4] * 40
    table = np.array([sure(label, 0.99) for label in labels])
    sentences = [f"Sentence {i}." for i in range(len(labels))]
    rows = build_cls_examples(sentences, table, 64, 0)
    assert Counter(row["label"] for row in rows) == {0: 15, 1: 15, 2: 4, 3: 15, 4: 15}
    assert rows == build_cls_examples(sentences, table, 64, 0) != build_cls_examples(sentences, table, 64, 1)
    assert [row["label"] for row in rows] != sorted(row["label"] for row in rows)


@given(available=st.lists(st.integers(1, 50), min_size=5, max_size=5), data=st.data())
@few
def test_shares_are_as_even_as_can_be(available: list[int], data) -> None:
    number = data.draw(st.integers(1, sum(available)))
    shares = examples._even_shares(available, number)
    assert sum(shares) == number
    for share, size in zip(shares, available, strict=True):
        assert share <= size
        assert share == size or share >= max(shares) - 1


def test_copies_and_excluded_sentences_are_left_out() -> None:
    table = np.array([sure(label, 0.99) for label in (0, 1, 2, 3, 4, 4)])
    sentences = ["One.", "Two.", "Three.", "Four.", "five", "Five!"]
    with pytest.raises(CourseError, match="5 sentences pass"):
        build_cls_examples(sentences, table, 6, 0)
    with pytest.warns(UserWarning, match="bad"):
        rows = build_cls_examples(sentences, table, 4, 0, excluded=["two"])
    assert {row["text"] for row in rows} == {"One.", "Three.", "Four.", "five"}


@pytest.mark.parametrize(
    ("table", "thresholds"),
    [
        (np.full((2, 4), 0.25), CLS_THRESHOLDS),
        (np.full((3, 5), 0.2), CLS_THRESHOLDS),
        (np.full((2, 5), np.nan), CLS_THRESHOLDS),
        (np.array([[5.0, -4.0, 0, 0, 0]] * 2), CLS_THRESHOLDS),
        (np.full((2, 5), 1.0), CLS_THRESHOLDS),
        (np.full((2, 5), 0.2), (0.5, 0.5)),
        (np.full((2, 5), 0.2), (0.5, 0.5, 0.5, 0.5, 1.5)),
        (np.full((2, 5), 0.2), CLS_THRESHOLDS),
    ],
)
def test_pseudo_labels_that_are_none_are_refused(table: np.ndarray, thresholds: tuple[float, ...]) -> None:
    with pytest.raises(CourseError):
        build_cls_examples(["One.", "Two."], table, 1, 0, thresholds=thresholds)


# --- the labeller ------------------------------------------------------------------------------------


@pytest.mark.parametrize("downstream", ["rotten_tomatoes", "imdb", "movie", "product"])
def test_the_labellers_texts_leave_the_downstream_domain_out(downstream: str) -> None:
    rows = labeller_texts(downstream, split="validation")
    assert DOMAINS[downstream] not in set(rows["domain"][:])
    assert set(rows["label"][:]) == set(range(5))


def test_a_labeller_of_the_tasks_own_domain_is_refused() -> None:
    movie = labeller_texts("product", split="validation")
    with pytest.raises(CourseError, match="leak"):
        train_labeller(movie, movie, "rotten_tomatoes")
    with pytest.raises(CourseError, match="domain"):
        train_labeller(movie.remove_columns("domain"), movie, "product")
    with pytest.raises(CourseError, match="known domain"):
        labeller_texts("films")


def test_a_labeller_learns_and_says_how_sure_it_is() -> None:
    from course_lib.finetuning import FinetuningSettings

    texts = labeller_texts("rotten_tomatoes").shuffle(seed=0)
    heldout = labeller_texts("rotten_tomatoes", split="validation").shuffle(seed=0).select(range(200))
    labeller = train_labeller(
        texts, heldout, "rotten_tomatoes", FinetuningSettings(num_steps=40, max_length=48), progress=False
    )
    assert labeller.domains == ("newspaper", "product", "tweets")
    assert labeller.accuracy > 0.3
    assert 0.2 < labeller.confidence < 1
    assert 0 <= labeller.calibration_error < 1
    table = labeller.probabilities(["A wonderful, great day!", "Awful, horrible, the worst."])
    np.testing.assert_allclose(table.sum(axis=1), 1, rtol=1e-5)
    scores = table @ np.arange(5)
    assert scores[0] > scores[1]
