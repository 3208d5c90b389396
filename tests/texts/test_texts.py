"""The embedded texts are all there, and no split leaks into another."""

from __future__ import annotations

import errno
import hashlib
import html
import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

import course_lib
from course_lib import texts
from course_lib.errors import CourseError
from course_lib.texts import (
    TEXT_SOURCES,
    assign_groups,
    embedded,
    labelled_splits,
    load_texts,
    normalise,
    sample_texts,
    with_binary_labels,
)

# name -> rows, documents, sha256 of the split column
EXPECTED = {
    "movie": (10_605, 10_605, "33353c134587981e"),
    "product": (3_708, 300, "35efdd252262d810"),
    "newspaper": (5_190, 498, "afa81b075e13c60b"),
    "tweets": (4_200, 4_200, "2fc066345ce2be01"),
    "imdb": (25_000, 25_000, "c663a1372db9306e"),
    "rotten_tomatoes": (8_530, 8_530, "a505726780066494"),
    "snli": (109_714, 11_980, "6632508db71510f1"),
}
SENTIMENT = [name for name in EXPECTED if name != "snli"]
each_text = pytest.mark.parametrize("name", EXPECTED)


@pytest.fixture(scope="module")
def fresh() -> dict[str, pd.DataFrame]:
    """Read and split every embedded data set again, past the prepared copies in the cache."""
    return embedded.read_family("sentiment") | embedded.read_family("snli")


def letters(text: str) -> str:
    return re.sub(r"\W+", "", text.lower())


# --- what is there ---------------------------------------------------------------------------------


def test_every_embedded_text_is_tested_here() -> None:
    assert set(EXPECTED) == {name for name, source in TEXT_SOURCES.items() if not source.hub_id}


@each_text
def test_rows_and_documents_are_as_published(fresh: dict[str, pd.DataFrame], name: str) -> None:
    rows, documents, _ = EXPECTED[name]
    assert (len(fresh[name]), fresh[name]["document_id"].nunique()) == (rows, documents)


@each_text
def test_columns_are_those_documented(name: str) -> None:
    loaded = load_texts(name)
    assert loaded.column_names == list(TEXT_SOURCES[name].columns)
    for column, meaning in TEXT_SOURCES[name].columns.items():
        kind = {"str": "string", "int": "int64", "float": "float64"}[meaning.partition(",")[0]]
        assert loaded.features[column].dtype.removeprefix("large_") == kind


@each_text
def test_no_text_is_empty_or_untidy(fresh: dict[str, pd.DataFrame], name: str) -> None:
    for column in {"text", "premise", "hypothesis"} & set(fresh[name].columns):
        values = fresh[name][column]
        assert (values.str.strip() == values).all()
        assert values.str.len().min() > 0
        assert not values.str.contains("<br />").any()
        assert all(html.unescape(value) == value for value in values)


def test_scores_and_labels_lie_in_their_ranges(fresh: dict[str, pd.DataFrame]) -> None:
    for name in ("movie", "product", "newspaper", "tweets"):
        assert fresh[name]["score"].between(-4, 4).all()
        assert (fresh[name]["score"] > 0).mean() > 0.3
        assert (fresh[name]["score"] < 0).mean() > 0.3
    assert Counter(fresh["imdb"]["label"]) == {0: 12_500, 1: 12_500}
    assert Counter(fresh["rotten_tomatoes"]["label"]) == {0: 4_265, 1: 4_265}
    assert set(fresh["snli"]["label"]) == {0, 1, 2}


def test_scores_and_labels_stand_beside_their_own_text(fresh: dict[str, pd.DataFrame]) -> None:
    """The movie sentences' scores and Rotten Tomatoes' labels were made apart, and must agree."""
    scores = {letters(row.text): row.score for row in fresh["movie"].itertuples()}
    both = [
        (scores[letters(row.text)] > 0, row.label == 1)
        for row in fresh["rotten_tomatoes"].itertuples()
        if letters(row.text) in scores
    ]
    assert sum(score == label for score, label in both) / len(both) > 0.8


def test_nli_labels_mean_what_they_say(fresh: dict[str, pd.DataFrame]) -> None:
    """A hypothesis whose words are all in the premise mostly follows from it."""
    pairs = fresh["snli"]
    contained = [
        set(hypothesis.lower().strip(".").split()) <= set(premise.lower().strip(".").split())
        for premise, hypothesis in zip(pairs["premise"], pairs["hypothesis"], strict=True)
    ]
    assert (pairs[contained]["label"] == texts.NLI_LABELS.index("entailment")).mean() > 0.75


@each_text
def test_positions_are_places_in_the_document(fresh: dict[str, pd.DataFrame], name: str) -> None:
    """The product and newspaper sentences have gaps, where the source leaves a sentence out."""
    table = fresh[name]
    assert table["position"].min() == 0
    assert not table.duplicated(["document_id", "position"]).any()
    steps = table.groupby("document_id")["position"].diff().dropna()
    assert (steps == 1).mean() > 0.95 or steps.empty
    assert (steps < 1).sum() <= 1  # one product sentence is published out of its place


# --- splits ----------------------------------------------------------------------------------------


@each_text
def test_splits_hold_about_80_10_and_10_percent(fresh: dict[str, pd.DataFrame], name: str) -> None:
    shares = fresh[name]["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.8, abs=0.04)
    assert shares["validation"] == pytest.approx(0.1, abs=0.045)
    assert shares["test"] == pytest.approx(0.1, abs=0.045)


@each_text
def test_the_split_of_every_row_stays_what_it_is(fresh: dict[str, pd.DataFrame], name: str) -> None:
    """Splits that change make every published number of the course another one."""
    column = "\n".join(fresh[name]["split"])
    assert hashlib.sha256(column.encode()).hexdigest()[:16] == EXPECTED[name][2]


@each_text
def test_the_prepared_copy_is_what_would_be_prepared_today(fresh: dict[str, pd.DataFrame], name: str) -> None:
    """Where this fails, PREPARED_VERSION must be raised."""
    pd.testing.assert_frame_equal(
        load_texts(name).to_pandas().astype({"group": str}),
        fresh[name][list(TEXT_SOURCES[name].columns)],
        check_dtype=False,
    )


@each_text
def test_no_document_crosses_splits(fresh: dict[str, pd.DataFrame], name: str) -> None:
    assert (fresh[name].groupby("document_id")[["split", "group"]].nunique() == 1).all(axis=None)


def test_no_group_crosses_splits_within_or_between_data_sets(fresh: dict[str, pd.DataFrame]) -> None:
    everything = pd.concat(fresh.values())
    assert (everything.groupby("group")["split"].nunique() == 1).all()


def test_no_sentiment_text_is_on_two_sides(fresh: dict[str, pd.DataFrame]) -> None:
    sides: dict[str, set[str]] = defaultdict(set)
    for name in SENTIMENT:
        for text, split in zip(fresh[name]["text"], fresh[name]["split"], strict=True):
            sides[letters(text)].add(split)
    on_two_sides = [text for text, splits in sides.items() if len(splits) > 1]
    assert [text for text in on_two_sides if len(text) >= texts.MIN_SHARED_CHARACTERS] == []
    assert len(on_two_sides) < 20  # "Yes." and the like, in several long documents


def test_the_sentences_of_movie_and_rotten_tomatoes_are_on_the_same_side(
    fresh: dict[str, pd.DataFrame],
) -> None:
    splits = {letters(row.text): row.split for row in fresh["movie"].itertuples()}
    shared = [
        splits[letters(row.text)] == row.split
        for row in fresh["rotten_tomatoes"].itertuples()
        if letters(row.text) in splits
    ]
    assert len(shared) > 8_400
    assert all(shared)


def test_no_premise_is_on_two_sides(fresh: dict[str, pd.DataFrame]) -> None:
    pairs = fresh["snli"].assign(premise=[letters(premise) for premise in fresh["snli"]["premise"]])
    assert (pairs.groupby("premise")["split"].nunique() == 1).all()


def test_a_split_is_all_rows_of_that_split_in_order() -> None:
    everything = load_texts("tweets")
    parts = {split: load_texts("tweets", split=split) for split in texts.SPLITS}
    assert sum(map(len, parts.values())) == len(everything)
    for split, part in parts.items():
        assert list(part["text"]) == [row["text"] for row in everything if row["split"] == split]


LONG = ["the lamp in the harbour is lit", "nobody sold the kettle at dawn", "a violin was found last spring"]
SHORT = ["yes", "no", "that is it"]
tables = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(LONG + SHORT)), min_size=1, max_size=8),
    min_size=1,
    max_size=3,
)


def grouped(rows: list[list[tuple[int, str]]]) -> dict[str, pd.DataFrame]:
    made = {
        str(i): pd.DataFrame({"document_id": [str(d) for d, _ in part], "text": [text for _, text in part]})
        for i, part in enumerate(rows)
    }
    assign_groups(made, ["text"])
    return made


@given(tables)
@settings(max_examples=100, deadline=None)
def test_rows_that_share_a_document_or_a_telling_text_share_group_and_split(
    rows: list[list[tuple[int, str]]],
) -> None:
    made = grouped(rows)
    sides: dict[object, set[tuple[str, str]]] = defaultdict(set)
    for name, table in made.items():
        alone = ~table["document_id"].duplicated(keep=False)
        for row, is_alone in zip(table.itertuples(), alone, strict=True):
            side = (row.group, row.split)
            sides[name, row.document_id].add(side)
            if is_alone or row.text in LONG:
                sides[row.text].add(side)
    assert all(len(found) == 1 for found in sides.values())


@given(tables, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_groups_do_not_depend_on_the_order_of_rows_or_data_sets(
    rows: list[list[tuple[int, str]]], rng: random.Random
) -> None:
    first = grouped(rows)
    shuffled = {
        name: table[["document_id", "text"]].sample(frac=1, random_state=rng.randrange(2**32))
        for name, table in first.items()
    }
    names = list(shuffled)
    rng.shuffle(names)
    second = {name: shuffled[name] for name in names}
    assign_groups(second, ["text"])
    for name, table in first.items():
        pd.testing.assert_frame_equal(second[name].sort_index(), table)


def test_documents_that_share_nothing_are_apart() -> None:
    made = grouped([[(i, f"sentence number {i} stands alone here") for i in range(300)]])["0"]
    assert made["group"].nunique() == 300
    assert set(made["split"]) == set(texts.SPLITS)


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("A clichéd film .", "a cliched film"),
        ("Tom &amp; Jerry's", "Tom & Jerrys"),
        ("so-so … really", "So so really!"),
        ("집에 가서 밥을 먹었다.", "집에 가서  밥을 먹었다"),
    ],
)
def test_copies_normalise_alike(text: str, copy: str) -> None:
    assert normalise(text) == normalise(copy) != ""


def test_texts_in_other_scripts_stay_apart() -> None:
    assert normalise("집에 가서 밥을 먹었다") != normalise("귀가 후 식사를 했다")
    assert normalise("Привет") != normalise("Пока")


# --- bad input -------------------------------------------------------------------------------------


def test_an_unknown_text_is_answered_with_the_nearest() -> None:
    with pytest.raises(CourseError, match="Did you mean 'movie'"):
        load_texts("movies")


def test_an_unknown_split_is_answered_with_the_nearest() -> None:
    with pytest.raises(CourseError, match="Did you mean 'validation'"):
        load_texts("movie", split="valid")


def test_embedded_texts_take_no_other_source() -> None:
    with pytest.raises(CourseError, match="embedded"):
        load_texts("movie", source="somebody/movie")


# --- labels and samples ----------------------------------------------------------------------------


def scored(*scores: float) -> Dataset:
    return Dataset.from_dict({"text": [f"text {i}" for i in range(len(scores))], "score": list(scores)})


def test_scores_become_labels_and_the_undecided_are_left_out() -> None:
    labelled = with_binary_labels(scored(-3.0, -0.5, -0.4, 0.0, 0.4, 0.5, 2.0))
    assert list(labelled["score"]) == [-3.0, -0.5, 0.5, 2.0]
    assert list(labelled["label"]) == [0, 0, 1, 1]


def test_without_a_margin_only_zero_is_left_out() -> None:
    assert list(with_binary_labels(scored(-0.1, 0.0, 0.1), margin=0)["label"]) == [0, 1]


@pytest.mark.parametrize("margin", [-1.0, float("nan")])
def test_a_margin_below_zero_is_refused(margin: float) -> None:
    with pytest.raises(CourseError, match="margin"):
        with_binary_labels(scored(1.0), margin=margin)


def test_texts_without_scores_are_refused() -> None:
    with pytest.raises(CourseError, match="no human score"):
        with_binary_labels(Dataset.from_dict({"text": ["a"], "label": [1]}))


UNEQUAL = Dataset.from_dict({"text": [f"text {i}" for i in range(50)], "label": [0] * 35 + [1] * 15})


@pytest.mark.parametrize("num_examples", [1, 2, 7, 30])
def test_samples_are_balanced_without_repeats(num_examples: int) -> None:
    drawn = sample_texts(UNEQUAL, num_examples, seed=3)
    counts = Counter(drawn["label"])
    assert len(set(drawn["text"])) == num_examples
    assert counts[0] - counts[1] in (0, 1)


def test_a_smaller_sample_is_the_beginning_of_a_larger_one() -> None:
    larger = list(sample_texts(UNEQUAL, 30, seed=3)["text"])
    assert all(list(sample_texts(UNEQUAL, n, seed=3)["text"]) == larger[:n] for n in range(1, 30))


def test_another_seed_draws_another_sample() -> None:
    assert list(sample_texts(UNEQUAL, 20, seed=0)["text"]) != list(sample_texts(UNEQUAL, 20, seed=1)["text"])


def test_a_plain_draw_can_take_everything() -> None:
    drawn = sample_texts(UNEQUAL, 50, seed=0, label=None)
    assert sorted(drawn["text"]) == sorted(UNEQUAL["text"])


@pytest.mark.parametrize(
    ("num_examples", "label", "most"), [(31, "label", 30), (51, None, 50), (0, "label", 30)]
)
def test_more_examples_than_there_are_is_an_error(num_examples: int, label: str | None, most: int) -> None:
    with pytest.raises(CourseError, match=f"from 1 to {most}"):
        sample_texts(UNEQUAL, num_examples, seed=0, label=label)


def test_drawing_from_nothing_is_an_error() -> None:
    with pytest.raises(CourseError, match="0 examples"):
        sample_texts(UNEQUAL.select([]), 1, seed=0)


def test_scores_cannot_be_balanced_before_they_are_labels() -> None:
    with pytest.raises(CourseError, match="with_binary_labels"):
        sample_texts(scored(1.0, 2.0), 1, seed=0)


def test_a_seed_below_zero_is_refused() -> None:
    with pytest.raises(CourseError, match="seed"):
        sample_texts(UNEQUAL, 2, seed=-1)


# --- preparing -------------------------------------------------------------------------------------

SMALL = {"one": pd.DataFrame({"text": ["a", "b"]}), "two": pd.DataFrame({"text": ["c"]})}


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_texts_are_prepared_once(tmp_path: Path) -> None:
    embedded.prepare(tmp_path / "texts", lambda: SMALL)
    embedded.prepare(tmp_path / "texts", lambda: pytest.fail("read twice"))
    assert left_over(tmp_path / "texts") == ["one", "two"]


def failing_tables() -> Iterator[tuple[str, pd.DataFrame]]:
    yield "one", SMALL["one"]
    raise KeyboardInterrupt


def test_an_interrupted_preparation_leaves_nothing(tmp_path: Path) -> None:
    class Interrupted(dict):
        def items(self) -> Iterator[tuple[str, pd.DataFrame]]:
            return failing_tables()

    with pytest.raises(KeyboardInterrupt):
        embedded.prepare(tmp_path / "texts", Interrupted)
    assert left_over(tmp_path) == []
    embedded.prepare(tmp_path / "texts", lambda: SMALL)
    assert left_over(tmp_path / "texts") == ["one", "two"]


def test_what_a_killed_preparation_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".texts" / "three").mkdir(parents=True)
    embedded.prepare(tmp_path / "texts", lambda: SMALL)
    assert left_over(tmp_path) == ["texts"]
    assert left_over(tmp_path / "texts") == ["one", "two"]


def test_a_full_disk_while_preparing_is_an_error_with_a_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Dataset, "save_to_disk", fail)
    with pytest.raises(CourseError, match="COURSE_CACHE"):
        embedded.prepare(tmp_path / "texts", lambda: SMALL)
    assert left_over(tmp_path) == []


def test_a_cache_that_is_no_folder_is_an_error_with_a_mend(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CourseError, match="COURSE_CACHE"):
        embedded.prepare(tmp_path / "file" / "texts", lambda: SMALL)


PREPARE_SCRIPT = """
import sys, time
from pathlib import Path
import pandas as pd
from course_lib.texts import embedded
folder = Path(sys.argv[1])

def read():
    with open(folder / "log", "a") as log:
        log.write("read\\n")
    time.sleep(0.5)
    return {"one": pd.DataFrame({"text": ["a"]})}

from datasets import load_from_disk
(folder / f"ready-{sys.argv[2]}").touch()
while len(list(folder.glob("ready-*"))) < 2:
    time.sleep(0.01)
embedded.prepare(folder / "texts", read)
print(len(load_from_disk(folder / "texts" / "one")))
"""


def test_two_processes_prepare_once(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(course_lib.__file__).parents[1])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PREPARE_SCRIPT, str(tmp_path), str(i)],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
        )
        for i in range(2)
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == ["1", "1"]
    assert (tmp_path / "log").read_text() == "read\n"


def test_training_and_heldout_texts_are_of_different_splits() -> None:
    train, heldout = labelled_splits("tweets", num_heldout=100)
    assert set(train["split"]) == {"train"}
    assert set(heldout["split"]) == {"validation"}
    assert sum(heldout["label"]) == 50
    assert list(labelled_splits("tweets", num_heldout=100)[1]["text"]) == list(heldout["text"])
    _, test = labelled_splits("tweets", num_heldout=100, heldout="test")
    assert set(test["split"]) == {"test"}
    assert not set(test["text"]) & (set(heldout["text"]) | set(train["text"]))


def test_pairs_keep_the_labels_they_have() -> None:
    _, heldout = labelled_splits("snli", num_heldout=90)
    assert sorted(heldout["label"]) == [0] * 30 + [1] * 30 + [2] * 30
