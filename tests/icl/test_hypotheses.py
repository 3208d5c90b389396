"""Every hypothesis by worked examples, on the hub's schemas, and on the embedded texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import huggingface_hub
import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from course_lib.errors import CourseError
from course_lib.icl.drawing import label_texts
from course_lib.icl.experiments import pooling
from course_lib.icl.experiments.pooling import POOLED_COLUMNS, pool_texts
from course_lib.icl.features import words_of
from course_lib.icl.hypotheses import (
    HYPOTHESES,
    Hypothesis,
    competitors,
    domain_hypothesis,
    find_hypothesis,
    genre_hypothesis,
)
from course_lib.icl.underspecified import cell_counts
from course_lib.texts import TEXT_SOURCES, load_texts, normalise
from tests.hub_folders import write_hub_folder
from tests.icl.feature_rows import FEATURE_ROWS
from tests.smart.tiny import few

each_hypothesis = pytest.mark.parametrize("name", HYPOTHESES)


class Examples(NamedTuple):
    """Rows of label 1, of label 0, and rows to which the hypothesis does not apply."""

    one: list[dict[str, Any]]
    zero: list[dict[str, Any]]
    none: list[dict[str, Any]]


def rows(column: str, *values: Any) -> list[dict[str, Any]]:
    return [{column: value} for value in values]


def identities(one: str, zero: str) -> Examples:
    return Examples(
        one=[{one: 1.0, zero: 0.0}, {one: 0.5, zero: 0.1}],
        zero=[{one: 0.0, zero: 1.0}, {one: 0.1, zero: 0.5}],
        none=[{one: 1.0, zero: 1.0}, {one: 0.0, zero: 0.0}, {one: 0.49, zero: 0.0}, {one: 1.0, zero: 0.11}],
    )


def pair(premise: str, hypothesis: str) -> dict[str, Any]:
    return {"premise": premise, "hypothesis": hypothesis}


def question(question: str, passage: str) -> dict[str, Any]:
    return {"question": question, "passage": passage}


def of_length(column: str, num_words: int) -> dict[str, Any]:
    return {column: " ".join(["word"] * num_words)}


def lengths(column: str, threshold: int) -> Examples:
    """Short is at most 5 words under the threshold, long at least 5 over it."""
    return Examples(
        one=[of_length(column, n) for n in (1, threshold - 5)],
        zero=[of_length(column, n) for n in (threshold + 5, 3 * threshold)],
        none=[of_length(column, n) for n in (threshold - 4, threshold, threshold + 4)],
    )


UPPERCASE = Examples(
    one=rows("text", "This is GREAT stuff.", "on TV's best night", "OK", "The DVD-case", "DON'T", "ÉTÉ"),
    zero=rows(
        "text", "I liked it.", "A film", "What I say is: I like McDonald and A1.", "no capitals", "日本語"
    ),
    none=rows("text", "in the U.S. today", "two DVDs", "an MP3 player", "I'M here", "R2-D2"),
)

EXAMPLES: dict[str, Examples] = {
    "sentiment": Examples(rows("label", 1), rows("label", 0), rows("label", -1, 2, None)),
    "sentiment.domain": Examples(rows("domain", "movie"), rows("domain", "product"), rows("domain", "imdb")),
    "sentiment.domain_imdb_yelp": Examples(
        rows("domain", "imdb"), rows("domain", "yelp"), rows("domain", "movie", "product")
    ),
    "sentiment.length": lengths("text", 40),
    "sentiment.short": Examples(
        one=[of_length("text", n) for n in (1, 11)],
        zero=[of_length("text", n) for n in (21, 60)],
        none=[of_length("text", n) for n in (12, 16, 20)],
    ),
    "sentiment.punctuation": Examples(
        one=rows("text", "Great!", "Great! ", "Really?!", "Fine. No!"),
        zero=rows("text", "Great.", "Great!.", "And so on... \n", "Wow! Fine."),
        none=rows("text", "Great", "Great?", "He said 'no!'", "(fine.)", "", "   "),
    ),
    "sentiment.food": Examples(
        one=rows("text", "The food was cold.", "FOOD!", "Good food-truck"),
        zero=rows("text", "The soup was cold.", "", "foo d"),
        none=rows("text", "Fresh seafood.", "A foodie's dream", "Many foods"),
    ),
    "sentiment.nice": Examples(
        one=rows("text", "A nice film.", "Nice!", "not so nice-looking"),
        zero=rows("text", "A good film.", "nic e"),
        none=rows("text", "nicely done", "the niceties", "in Venice", "nicer"),
    ),
    "sentiment.uppercase": UPPERCASE,
    "toxicity": Examples(rows("label", 1), rows("label", 0), rows("label", -1, 2)),
    "toxicity.gender": identities("female", "male"),
    "toxicity.sexuality": Examples(
        rows("LGBTQ", 1.0, 0.5), rows("LGBTQ", 0.0, 0.1), rows("LGBTQ", 0.11, 0.49, float("nan"))
    ),
    "toxicity.religion_christian": identities("muslim", "christian"),
    "toxicity.religion_jewish": identities("muslim", "jewish"),
    "toxicity.race_black": identities("black", "white"),
    "toxicity.race_asian": identities("asian", "white"),
    "toxicity.length": lengths("text", 40),
    "toxicity.uppercase": UPPERCASE._replace(
        one=[*UPPERCASE.one, *rows("text", "a 401K plan", "JJP58", "an MP3 player")],
        none=[row for row in UPPERCASE.none if "MP3" not in row["text"]],
    ),
    "nli": Examples(rows("label", 0), rows("label", 1, 2), rows("label", -1, None)),
    "nli.genre_fiction": Examples(
        rows("genre", "government"), rows("genre", "fiction"), rows("genre", "telephone", "slate")
    ),
    "nli.genre_telephone": Examples(
        rows("genre", "government"), rows("genre", "telephone"), rows("genre", "fiction", "travel")
    ),
    "nli.overlap": Examples(
        one=[pair("A dog, a cat and I.", "a CAT, a dog!"), pair("It isn't so", "so it isn’t")],
        zero=[pair("A dog runs.", "A dog ran."), pair("a cats", "a cat")],
        none=[pair("A dog runs.", ""), pair("A dog runs.", "...")],
    ),
    "nli.shorter": Examples(
        one=[pair("one two three", "one two"), pair("one two", "one-two.")],
        zero=[pair("one two", "one two three")],
        none=[pair("one two", "three four"), pair("", "")],
    ),
    "nli.negation": Examples(
        one=rows("hypothesis", "It is not so.", "No dog runs", "They aren't in", "He didn’t", "Why not?"),
        zero=rows("hypothesis", "A dog runs.", "A knot in a notebook, now noted", "I want an ant"),
        none=rows("hypothesis", "He never ran.", "Nobody is in.", "without a hat", "He cannot run."),
    ),
    "qa": Examples(rows("label", 1), rows("label", 0), rows("label", -1, 2)),
    "qa.question_word": Examples(
        one=rows("question", "is it so", "Was it so?"),
        zero=rows("question", "do they run", "Does it", "did it run"),
        none=rows("question", "can it be", "are they", "isn't it", "has it", ""),
    ),
    "qa.overlap": Examples(
        one=[
            question("is a dog red", "A red dog is here."),
            question("does the dog's owner", "A dog. An owner."),
        ],
        zero=[question("is a dog blue", "A red dog is here."), question("is he sad", "A red dog is here.")],
        none=[
            question("?", "A red dog."),
            question("is it so", "A red dog."),
            question("is a big dog red", "A red dog."),
        ],
    ),
    "qa.same_as": Examples(
        one=rows("question", "is a hare the same as a rabbit", "Same as?"),
        zero=rows(
            "question", "is a hare as fast as a rabbit", "is a hare the same thing as a rabbit", "the same"
        ),
        none=[],
    ),
    "qa.length": Examples(
        one=[of_length("passage", n) for n in (66, 90, 200)],
        zero=[of_length("passage", n) for n in (1, 7, 36)],
        none=[of_length("passage", n) for n in (37, 50, 65)],
    ),
}


def test_every_row_of_the_feature_table_is_here() -> None:
    assert [name for name in HYPOTHESES if "." not in name] == ["sentiment", "toxicity", "nli", "qa"]
    assert set(EXAMPLES) == set(HYPOTHESES)
    assert {task: len(competitors(task)) for task in ("sentiment", "toxicity", "nli", "qa")} == {
        "sentiment": 6 + 2,  # two domain pairs, and the variant of length for short texts
        "toxicity": 8,
        "nli": 5,
        "qa": 4,
    }
    assert all(name == hypothesis.name for name, hypothesis in HYPOTHESES.items())


@each_hypothesis
def test_worked_examples(name: str) -> None:
    label = HYPOTHESES[name].label
    for value, examples in zip((1, 0, None), EXAMPLES[name], strict=True):
        assert [(row, label(row)) for row in examples] == [(row, value) for row in examples]


@each_hypothesis
def test_twenty_rows_by_hand(name: str) -> None:
    written = FEATURE_ROWS[name]
    assert [(row, HYPOTHESES[name].label(row)) for row, _ in written] == written
    assert len(written) == 20
    # both labels, and the gap, except where there is none
    assert {label for _, label in written} == ({0, 1} if name == "qa.same_as" else {0, 1, None})


@each_hypothesis
def test_the_columns_are_those_that_the_label_reads(name: str) -> None:
    hypothesis = HYPOTHESES[name]
    for row in EXAMPLES[name].one:
        assert set(hypothesis.columns) == set(row)


@each_hypothesis
def test_the_columns_are_documented_by_the_texts_of_the_task(name: str) -> None:
    source = {"sentiment": "yelp", "toxicity": "civil_comments", "nli": "multinli", "qa": "boolq"}
    hypothesis = HYPOTHESES[name]
    known = {*TEXT_SOURCES[source[hypothesis.task]].columns, *POOLED_COLUMNS}
    assert set(hypothesis.columns) <= known


@pytest.mark.parametrize("text", ["I", "I.", "I am I", "I, I and I!", "A", "So am I"])
def test_a_lone_i_is_no_uppercase_word(text: str) -> None:
    assert HYPOTHESES["sentiment.uppercase"].label({"text": text}) == 0


@few
@given(st.text(max_size=60))
def test_any_text_gets_a_label_or_none(text: str) -> None:
    row = {"text": text, "premise": text, "hypothesis": text, "question": text, "passage": text}
    for hypothesis in HYPOTHESES.values():
        if set(hypothesis.columns) <= set(row):
            assert hypothesis.label(row) in (0, 1, None)


@few
@given(st.lists(st.sampled_from(["the", "dog", "ran", "home"]), min_size=1), st.randoms())
def test_a_shuffled_premise_overlaps_with_itself(words: list[str], rng: Any) -> None:
    shuffled = rng.sample(words, len(words))
    assert HYPOTHESES["nli.overlap"].label(pair(" ".join(words), " ".join(shuffled).upper() + ".")) == 1
    assert HYPOTHESES["nli.overlap"].label(pair(" ".join(words), " ".join([*shuffled, "cat"]))) == 0


@few
@given(st.integers(1, 120), st.integers(1, 120))
def test_a_shorter_text_is_never_the_long_one(first: int, second: int) -> None:
    for name in ("sentiment.length", "sentiment.short"):
        label = HYPOTHESES[name].label
        short, long = sorted((first, second))
        if label(of_length("text", short)) == 0:
            assert label(of_length("text", long)) == 0


def test_words_keep_their_apostrophe() -> None:
    assert words_of("'Tis the dogs' don’t-care") == ["tis", "the", "dogs", "don't", "care"]


# --- choices ---------------------------------------------------------------------------------------


def test_domains_can_be_chosen() -> None:
    hypothesis = domain_hypothesis("newspaper", "tweets")
    assert hypothesis.name == "sentiment.domain_newspaper_tweets"
    assert [hypothesis.label({"domain": name}) for name in ("newspaper", "tweets", "movie")] == [1, 0, None]
    assert hypothesis.clauses == ("the text is a tweet", "the text is from a newspaper")


def test_genres_can_be_chosen() -> None:
    hypothesis = genre_hypothesis("travel", "slate")
    assert [hypothesis.label({"genre": name}) for name in ("travel", "slate", "fiction")] == [1, 0, None]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: domain_hypothesis("movie", "prodct"), "'product'"),
        (lambda: domain_hypothesis("imdb", "movie"), "about the same thing"),
        (lambda: genre_hypothesis("fiction", "fiction"), "about the same thing"),
        (lambda: genre_hypothesis("fiction", "poems"), "no genre"),
        (lambda: find_hypothesis("sentiment.lenght"), "'sentiment.length'"),
        (lambda: competitors("sentimant"), "'sentiment'"),
    ],
)
def test_what_is_not_there_is_named(call: Any, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        call()


def test_a_hypothesis_that_applies_to_nothing_is_an_error() -> None:
    texts = Dataset.from_dict({"text": ["no end", "none here?"]})
    with pytest.raises(CourseError, match="punctuation applies to none"):
        label_texts(texts, HYPOTHESES["sentiment.punctuation"])


@pytest.mark.parametrize("label", [2, -1, 0.5, 1.0, "1", [1]])
def test_a_label_of_ones_own_is_0_1_or_none_and_the_row_is_named(label: Any) -> None:
    mine = replace(
        HYPOTHESES["sentiment.short"], name="mine", label=lambda row: label if row["text"] == "b" else 0
    )
    with pytest.raises(CourseError, match="mine must give 0, 1 or None; for row 2"):
        label_texts(Dataset.from_dict({"text": ["a", "b"]}), mine)


def test_labels_of_ones_own_may_be_truth_values() -> None:
    mine = replace(HYPOTHESES["sentiment.short"], label=lambda row: np.bool_(row["text"] == "b"))
    assert label_texts(Dataset.from_dict({"text": ["a", "b"]}), mine) == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"name": None}, {"task": 3}, {"meanings": ("same", "same")}, {"label": "label"},
        {"columns": "text"}, {"columns": ()}, {"columns": ("",)}, {"clauses": ("one",)}, {"clauses": ("", "a")},
        {"label_words": ("a", "b", "c")}, {"label_words": (0, 1)}, {"question": 3},
    ],
)  # fmt: skip
def test_a_hypothesis_of_ones_own_that_says_too_little_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CourseError):
        replace(HYPOTHESES["sentiment"], **wrong)


def test_a_missing_value_has_no_label() -> None:
    texts = Dataset.from_dict({"text": ["Great!", None, "Fine."]})
    assert label_texts(texts, HYPOTHESES["sentiment.punctuation"]) == [1, None, 0]


def test_a_missing_column_is_an_error() -> None:
    with pytest.raises(CourseError, match="lack: passage"):
        label_texts(Dataset.from_dict({"question": ["is it"]}), HYPOTHESES["qa.overlap"])


# --- pooled texts ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reviews() -> Dataset:
    return pool_texts(["movie", "product"])


def test_a_pool_says_where_its_rows_are_from(reviews: Dataset) -> None:
    table = reviews.to_pandas()
    assert list(table.columns) == list(POOLED_COLUMNS)
    assert set(table["domain"]) == {"movie", "product"}
    assert set(table["label"]) == {0, 1}
    assert not table.isna().any(axis=None)
    assert [name.partition("/")[0] for name in table["document_id"]] == list(table["domain"])


def test_a_pool_holds_no_text_twice() -> None:
    """Most snippets of Rotten Tomatoes are the movie set's own sentences, in lower case."""
    pool = pool_texts(["movie", "rotten_tomatoes"], split="test")
    keys = [normalise(text) for text in pool["text"]]
    assert len(set(keys)) == len(keys)
    assert list(pool["domain"]).count("rotten_tomatoes") < 0.5 * list(pool["domain"]).count("movie")
    assert set(pool["split"]) == {"test"}


def test_a_pool_can_leave_out_long_texts() -> None:
    pool = pool_texts(["imdb"], split="test", max_words=60)
    assert 20 < len(pool) < 1000
    assert max(len(text.split()) for text in pool["text"]) <= 60


def test_copies_with_different_labels_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, split: str | None, source: str | None) -> Dataset:
        first = {"imdb": ["Good film!", "So so.", ":-)"], "rotten_tomatoes": ["good film", "so so", "own"]}
        labels = {"imdb": [1, 0, 1], "rotten_tomatoes": [1, 1, 0]}
        same = {key: ["x"] * 3 for key in ("document_id", "group", "split")}
        return Dataset.from_dict({"text": first[name], "label": labels[name], **same})

    monkeypatch.setattr(pooling, "load_texts", load)
    pool = pool_texts(["imdb", "rotten_tomatoes"])
    assert list(zip(pool["text"], pool["domain"], strict=True)) == [
        ("Good film!", "imdb"),
        ("own", "rotten_tomatoes"),
    ]


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([], {}, "each once"),
        (["movie", "movie"], {}, "each once"),
        (["snli"], {}, "pairs of texts"),
        (["moive"], {}, "'movie'"),
        (["movie"], {"max_words": 0}, "whole number from 1"),
        (["imdb"], {"max_words": 1}, "No text is left"),
        (["movie"], {"split": "dev"}, "no split"),
    ],
)
def test_a_pool_of_nothing_is_an_error(names: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(CourseError, match=message):
        pool_texts(names, **options)


# --- the hub's schemas -----------------------------------------------------------------------------


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from or left in the user's cache, and the hub is never asked."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def published(name: str, folder: Path) -> str:
    """Write a folder in the hub's schema, with what its composed rows lack.

    Every third passage of BoolQ also says its question's words; every fourth premise of MultiNLI is short.
    """
    write_hub_folder(name, folder, num_rows=600)
    if name == "boolq":
        for path in folder.glob("*.parquet"):
            table = pd.read_parquet(path)
            table.loc[::3, "passage"] = table["passage"] + " " + table["question"]
            table.to_parquet(path, index=False)
    if name == "multinli":
        for path in folder.glob("*.parquet"):
            table = pd.read_parquet(path)
            few_words = "Report " + table["promptID"].astype(str) + "."
            table["premise"] = table["premise"].where(table["promptID"] % 4 > 0, few_words)
            table.to_parquet(path, index=False)
    return str(folder)


HUB_TEXTS = {"toxicity": "civil_comments", "nli": "multinli", "qa": "boolq"}


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("task", HUB_TEXTS)
def test_every_feature_is_found_in_the_hubs_schema(tmp_path: Path, task: str) -> None:
    texts = load_texts(HUB_TEXTS[task], source=published(HUB_TEXTS[task], tmp_path / "data"))
    for hypothesis in (HYPOTHESES[task], *competitors(task)):
        assert {0, 1} <= set(label_texts(texts, hypothesis)), hypothesis.name
    for h2 in competitors(task):
        assert sum(cell_counts(texts, HYPOTHESES[task], h2).values()) > 20, h2.name


@pytest.mark.usefixtures("offline")
def test_every_feature_is_found_in_imdb_and_yelp(tmp_path: Path) -> None:
    sources = {"yelp": published("yelp", tmp_path / "data")}
    texts = pool_texts(["imdb", "yelp"], split="test", max_words=100, sources=sources)
    for hypothesis in (HYPOTHESES["sentiment"], *competitors("sentiment")):
        if hypothesis.name != "sentiment.domain":
            assert {0, 1} <= set(label_texts(texts, hypothesis)), hypothesis.name


@pytest.mark.usefixtures("offline")
def test_identities_of_the_published_columns(tmp_path: Path) -> None:
    texts = load_texts("civil_comments", source=published("civil_comments", tmp_path / "data"))
    labels = label_texts(texts, HYPOTHESES["toxicity.religion_christian"])
    muslims = ["Muslims" in text for text in texts["text"]]
    christians = ["Christians" in text for text in texts["text"]]
    expected = [int(m) if m != c else None for m, c in zip(muslims, christians, strict=True)]
    assert labels == expected


# --- the embedded texts ----------------------------------------------------------------------------


def rarer_disambiguating(texts: Dataset, h1: str, h2: str) -> int:
    counts = cell_counts(texts, HYPOTHESES[h1], HYPOTHESES[h2])
    return min(counts[1, 0], counts[0, 1])


def test_movie_and_product_reviews_tell_features_apart(reviews: Dataset) -> None:
    counts = {
        name: rarer_disambiguating(reviews, "sentiment", f"sentiment.{name}")
        for name in ("domain", "short", "punctuation", "uppercase", "length", "food", "nice")
    }
    assert counts == {
        "domain": 1737,
        "short": 1517,
        "punctuation": 85,
        "uppercase": 167,
        "length": 41,
        "food": 3,
        "nice": 21,
    }


def test_pooled_texts_tell_rare_features_apart() -> None:
    pool = pool_texts(["movie", "product", "tweets", "newspaper", "imdb"], max_words=60)
    assert rarer_disambiguating(pool, "sentiment", "sentiment.punctuation") == 245
    assert rarer_disambiguating(pool, "sentiment", "sentiment.uppercase") == 500


def test_snli_tells_features_apart() -> None:
    texts = load_texts("snli")
    counts = {
        name: rarer_disambiguating(texts, "nli", f"nli.{name}") for name in ("overlap", "shorter", "negation")
    }
    assert counts == {"overlap": 187, "shorter": 2037, "negation": 1434}


def test_labels_of_real_reviews_read_as_they_should(reviews: Dataset) -> None:
    table = reviews.to_pandas()

    def labelled(name: str, label: int) -> pd.Series:
        hypothesis: Hypothesis = HYPOTHESES[name]
        return table["text"][[value == label for value in label_texts(reviews, hypothesis)]]

    assert labelled("sentiment.punctuation", 1).str.endswith("!").all()
    assert labelled("sentiment.food", 1).str.lower().str.contains("food").all()
    assert not labelled("sentiment.nice", 0).str.lower().str.contains("nice").any()
    assert labelled("sentiment.uppercase", 1).str.contains(r"[A-Z][A-Z]").all()
    assert not labelled("sentiment.uppercase", 0).str.contains(r"[A-Z][A-Z]").any()
