"""Underspecified splits: balance, separation, determinism, and texts that are too few."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from datasets import Dataset, concatenate_datasets
from hypothesis import assume, given
from hypothesis import strategies as st

from course_lib.errors import CourseError
from course_lib.icl.drawing import label_texts
from course_lib.icl.experiments.pooling import pool_texts
from course_lib.icl.hypotheses import HYPOTHESES
from course_lib.icl.underspecified import (
    CELLS,
    SingleFeaturePool,
    UnderspecifiedPool,
    UnderspecifiedSplit,
    alternate,
    cell_counts,
    disambiguating_demonstrations,
    underspecified_split,
)
from course_lib.texts import load_texts, normalise
from tests.smart.tiny import few

H1, H2 = HYPOTHESES["sentiment"], HYPOTHESES["sentiment.domain"]
DOMAIN = {1: "movie", 0: "product"}


def pool(counts: dict[tuple[int, int], int], *, rows_a_document: int = 1) -> Dataset:
    """Give texts with this many rows for each (sentiment, domain)."""
    cells = [cell for cell, count in counts.items() for _ in range(count)]
    return Dataset.from_dict(
        {
            "text": [f"Text number {i}." for i in range(len(cells))],
            "label": [h1 for h1, _ in cells],
            "domain": [DOMAIN[h2] for _, h2 in cells],
            "document_id": [str(i // rows_a_document) for i in range(len(cells))],
        }
    )


def even_pool(count: int, **options: Any) -> Dataset:
    return pool(dict.fromkeys(CELLS, count), **options)


def texts_of(rows: Dataset) -> list[str]:
    return [normalise(text) for text in rows["text"]]


def check_split(split: UnderspecifiedSplit, num_demonstrations: int) -> None:
    """What must be true of every split."""
    assert Counter(split.demonstration_labels) == {0: num_demonstrations // 2, 1: num_demonstrations // 2}
    assert label_texts(split.demonstrations, H1) == split.demonstration_labels
    assert label_texts(split.demonstrations, H2) == split.demonstration_labels
    assert label_texts(split.test, H1) == split.h1_labels
    assert label_texts(split.test, H2) == split.h2_labels
    assert len(split.test) == split.n > 0
    assert Counter(zip(split.h1_labels, split.h2_labels, strict=True)) == {
        (1, 0): split.n // 2,
        (0, 1): split.n // 2,
    }
    parts = [split.demonstrations, split.test, split.held_back]
    everything = [text for part in parts for text in texts_of(part)]
    assert len(set(everything)) == len(everything)
    test_documents = set(split.test["document_id"])
    for part in (split.demonstrations, split.held_back):
        assert not test_documents & set(part["document_id"] if len(part) else [])


@few
@given(
    counts=st.tuples(*[st.integers(4, 30)] * 4),
    num_demonstrations=st.sampled_from([2, 4, 8]),
    test_size=st.sampled_from([2, 10, 40]),
    held_back=st.sampled_from([0, 2, 4]),
    rows_a_document=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_splits_are_balanced_and_apart(
    counts: tuple[int, ...],
    num_demonstrations: int,
    test_size: int,
    held_back: int,
    rows_a_document: int,
    seed: int,
) -> None:
    texts = pool(dict(zip(CELLS, counts, strict=True)), rows_a_document=rows_a_document)
    # neighbours of shown and held back rows are lost to the test set, and one row of each kind must be left
    assume(min(counts[1:3]) > 2 * held_back + num_demonstrations)
    splits = underspecified_split(
        texts, H1, H2, num_demonstrations, test_size, 2, seed, num_held_back=held_back
    )
    for split in splits:
        check_split(split, num_demonstrations)
        assert split.n <= test_size
        if rows_a_document == 1:
            assert split.n == min(test_size, 2 * (min(counts[1:3]) - held_back // 2))


def test_a_seed_gives_the_same_splits_again() -> None:
    texts = even_pool(40)
    first, again, other = (underspecified_split(texts, H1, H2, seed=seed) for seed in (0, 0, 1))
    shown = [[list(split.demonstrations["text"]) for split in splits] for splits in (first, again, other)]
    tested = [[list(split.test["text"]) for split in splits] for splits in (first, again, other)]
    assert shown[0] == shown[1]
    assert tested[0] == tested[1]
    assert all(a != b for a, b in zip(shown[0], shown[2], strict=True))


def test_more_sets_begin_with_the_same_ones() -> None:
    texts = even_pool(40)
    three, ten = (underspecified_split(texts, H1, H2, num_sets=number) for number in (3, 10))
    assert [list(split.test["text"]) for split in ten[:3]] == [list(split.test["text"]) for split in three]


def test_a_set_is_the_same_whatever_was_drawn_before() -> None:
    """Texts so few that sets collide and are drawn anew: set k has to know the sets before it."""
    texts = pool({(1, 1): 3, (0, 0): 2, (1, 0): 5, (0, 1): 5})
    for seed in range(5):
        in_order = underspecified_split(texts, H1, H2, 4, 4, 3, seed, num_held_back=2)
        sizes: dict[str, Any] = {"num_demonstrations": 4, "test_size": 4, "num_held_back": 2, "seed": seed}
        alone = UnderspecifiedPool(texts, H1, H2).draw(2, **sizes)
        shared = UnderspecifiedPool(texts, H1, H2)
        backwards = [shared.draw(number, **sizes) for number in (2, 1, 0)][::-1]
        assert everything_of(alone) == everything_of(in_order[2])
        assert list(map(everything_of, backwards)) == list(map(everything_of, in_order))


def everything_of(split: UnderspecifiedSplit) -> list[Any]:
    parts = [split.demonstrations, split.test, split.held_back]
    return [[part.to_dict() for part in parts], split.demonstration_labels, split.h1_labels, split.n]


def test_a_pool_labels_its_texts_once() -> None:
    labelled: list[str] = []

    def label(row: Any) -> int:
        labelled.append(row["text"])
        return int(row["domain"] == "movie")

    texts = even_pool(10)
    drawn_from = UnderspecifiedPool(texts, H1, replace(H2, columns=("text", "domain"), label=label))
    for number in range(4):
        drawn_from.draw(number, num_demonstrations=4, test_size=4)
    assert labelled == texts["text"][:]


def test_sets_differ_even_where_there_are_few_to_choose_from() -> None:
    texts = pool({(1, 1): 3, (0, 0): 2, (1, 0): 5, (0, 1): 5})
    for seed in range(20):
        splits = underspecified_split(texts, H1, H2, 4, num_sets=3, seed=seed)
        assert len({frozenset(split.demonstrations["text"]) for split in splits}) == 3
    with pytest.raises(CourseError, match="4 different sets"):
        underspecified_split(texts, H1, H2, 4, num_sets=4)


def test_demonstrations_are_shuffled() -> None:
    splits = underspecified_split(even_pool(40), H1, H2, num_sets=10)
    orders = {tuple(split.demonstration_labels) for split in splits}
    assert len(orders) > 5
    assert (1,) * 8 + (0,) * 8 not in orders
    assert all(0 < sum(split.h1_labels[: split.n // 2]) < split.n // 2 for split in splits)


def test_rows_are_drawn_from_everywhere() -> None:
    splits = underspecified_split(even_pool(40), H1, H2, 16, 20, num_sets=30)
    numbers = {text for split in splits for text in split.test["text"]}
    assert len(numbers) == 80


# --- texts and documents stay apart ----------------------------------------------------------------


def test_a_text_that_differs_by_case_and_punctuation_is_the_same_text() -> None:
    texts = even_pool(20)
    copies = texts.map(
        lambda row: {"text": row["text"].upper() + "!", "document_id": "c" + row["document_id"]}
    )
    # every text of one kind occurs again, as another document, under the other three kinds' labels
    flipped = copies.map(lambda row: {"label": 1 - row["label"]})
    for split in underspecified_split(concatenate_datasets([texts, flipped]), H1, H2, num_sets=5):
        check_split(split, 16)


def test_documents_of_the_demonstrations_are_not_tested_on() -> None:
    """Rows of four kinds share each document, so every shown document takes its test rows along."""
    texts = Dataset.from_dict(
        {
            "text": [f"Text number {i}." for i in range(80)],
            "label": [cell[0] for _ in range(20) for cell in CELLS],
            "domain": [DOMAIN[cell[1]] for _ in range(20) for cell in CELLS],
            "document_id": [str(i // 4) for i in range(80)],
        }
    )
    for split in underspecified_split(texts, H1, H2, 8, num_sets=5):
        check_split(split, 8)
        assert split.n == 2 * (20 - len(set(split.demonstrations["document_id"])))
    with pytest.raises(CourseError, match="apart from the demonstrations' documents"):
        underspecified_split(texts, H1, H2, 40)


def test_groups_count_where_the_texts_have_them() -> None:
    texts = even_pool(20).add_column("group", ["one"] * 80)
    with pytest.raises(CourseError, match="apart from the demonstrations"):
        underspecified_split(texts, H1, H2)


def test_pairs_with_one_premise_and_other_hypotheses_are_other_texts() -> None:
    h1, h2 = HYPOTHESES["nli"], HYPOTHESES["nli.negation"]
    rows = [
        {
            "premise": "A dog runs.",
            "hypothesis": f"{'Not d' if cell[1] else 'D'}og {i}.",
            "label": 1 - cell[0],
        }
        for i, cell in enumerate(CELLS * 10)
    ]
    (split,) = underspecified_split(Dataset.from_list(rows), h1, h2, 4, num_sets=1)
    assert split.n == 20


# --- too few ---------------------------------------------------------------------------------------


def test_no_positives_and_eight_negatives_is_an_error() -> None:
    texts = pool({(1, 1): 0, (1, 0): 30, (0, 1): 30, (0, 0): 8})
    with pytest.raises(CourseError, match="balanced demonstrations") as caught:
        underspecified_split(texts, H1, H2)
    for count in ("(1, 1): 0", "(1, 0): 30", "(0, 1): 30", "(0, 0): 8"):
        assert f"(h1, h2) = {count}" in str(caught.value)


def test_seven_of_one_label_are_too_few_for_sixteen() -> None:
    with pytest.raises(CourseError, match=r"= \(0, 0\): 7"):
        underspecified_split(pool({(1, 1): 50, (1, 0): 9, (0, 1): 9, (0, 0): 7}), H1, H2, num_sets=1)


def test_copies_do_not_fill_demonstrations() -> None:
    texts = even_pool(10)
    same = texts.map(
        lambda row: {"text": "Same." if (row["label"], row["domain"]) == (1, "movie") else row["text"]}
    )
    with pytest.raises(CourseError, match="balanced demonstrations"):
        underspecified_split(same, H1, H2)


def test_fewer_test_rows_than_asked_for_are_reported() -> None:
    """Some features of the released data have 522 test items, not 1,200."""
    texts = pool({(1, 1): 20, (1, 0): 700, (0, 1): 261, (0, 0): 20})
    for split in underspecified_split(texts, H1, H2):
        check_split(split, 16)
        assert split.n == 522
    assert [split.n for split in underspecified_split(texts, H1, H2, test_size=520)] == [520] * 3


@pytest.mark.parametrize("kind", [(1, 0), (0, 1)])
def test_nothing_to_test_on_is_an_error(kind: tuple[int, int]) -> None:
    with pytest.raises(CourseError, match="to test on"):
        underspecified_split(pool({**dict.fromkeys(CELLS, 20), kind: 0}), H1, H2)


def test_too_few_to_hold_back_is_an_error() -> None:
    with pytest.raises(CourseError, match="to hold back"):
        underspecified_split(pool({**dict.fromkeys(CELLS, 20), (1, 0): 3}), H1, H2, num_held_back=8)


@pytest.mark.parametrize(
    "setting",
    [
        {"num_demonstrations": 0},
        {"num_demonstrations": 7},
        {"test_size": 0},
        {"test_size": 5},
        {"num_sets": 0},
        {"seed": -1},
        {"num_held_back": 3},
        {"num_held_back": -2},
    ],
)
def test_impossible_sizes_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(CourseError):
        underspecified_split(even_pool(20), H1, H2, **setting)


@pytest.mark.parametrize("names", [("sentiment", "sentiment"), ("sentiment", "toxicity.length")])
def test_two_hypotheses_of_one_task_are_needed(names: tuple[str, str]) -> None:
    with pytest.raises(CourseError, match="h1 and h2 are"):
        underspecified_split(even_pool(20), HYPOTHESES[names[0]], HYPOTHESES[names[1]])


def test_rows_without_text_are_refused() -> None:
    with pytest.raises(CourseError, match="hold no text"):
        underspecified_split(even_pool(20).remove_columns("text"), H1, H2)


# --- one feature alone -----------------------------------------------------------------------------


def test_one_feature_alone_is_balanced_and_apart() -> None:
    texts = even_pool(30, rows_a_document=3)
    for hypothesis in (H1, H2):
        pool = SingleFeaturePool(texts, hypothesis)
        for split in (pool.draw(number, test_size=20) for number in range(3)):
            assert Counter(split.demonstration_labels) == {0: 8, 1: 8}
            assert label_texts(split.demonstrations, hypothesis) == split.demonstration_labels
            assert label_texts(split.test, hypothesis) == split.labels
            assert Counter(split.labels) == {0: 10, 1: 10}
            assert split.n == 20
            assert not set(texts_of(split.demonstrations)) & set(texts_of(split.test))
            assert not set(split.demonstrations["document_id"]) & set(split.test["document_id"])


def test_one_feature_alone_ignores_the_others() -> None:
    texts = even_pool(30)
    seen = [zip(s.demonstrations["label"], s.demonstrations["domain"], strict=True)
            for s in map(SingleFeaturePool(texts, H1).draw, range(5))]  # fmt: skip
    assert {pair for pairs in seen for pair in pairs} == {(a, DOMAIN[b]) for a, b in CELLS}


def test_one_feature_alone_needs_both_labels() -> None:
    with pytest.raises(CourseError, match="1: 0, 0: 40"):
        SingleFeaturePool(even_pool(20).filter(lambda row: row["label"] == 0), H1).draw(0)


# --- disambiguating demonstrations -----------------------------------------------------------------


@pytest.mark.parametrize("num_demonstrations", [4, 8, 16])
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_half_of_the_demonstrations_become_disambiguating(seed: int, num_demonstrations: int) -> None:
    half = num_demonstrations // 2
    (split,) = underspecified_split(
        even_pool(40), H1, H2, num_demonstrations, num_sets=1, seed=seed, num_held_back=half
    )
    check_split(split, num_demonstrations)
    changed_places = []
    for direction, intended, other in (("h1", H1, H2), ("h2", H2, H1)):
        changed = disambiguating_demonstrations(split, direction, seed)
        assert changed.demonstration_labels == split.demonstration_labels
        assert label_texts(changed.demonstrations, intended) == split.demonstration_labels
        differs = [
            a != b
            for a, b in zip(
                label_texts(changed.demonstrations, other), split.demonstration_labels, strict=True
            )
        ]
        assert sum(differs) == half
        assert Counter(y for y, new in zip(split.demonstration_labels, differs, strict=True) if new) == {
            0: half // 2,
            1: half // 2,
        }
        assert list(changed.test["text"]) == list(split.test["text"])
        assert not set(texts_of(changed.demonstrations)) & set(texts_of(changed.test))
        changed_places.append(differs)
    assert changed_places[0] == changed_places[1]


def test_without_rows_held_back_the_error_says_what_to_ask_for() -> None:
    (split,) = underspecified_split(even_pool(20), H1, H2, num_sets=1)
    with pytest.raises(CourseError, match="num_held_back=8"):
        disambiguating_demonstrations(split, "h1")


def test_an_unknown_direction_and_an_odd_half_are_refused() -> None:
    (split,) = underspecified_split(even_pool(20), H1, H2, 6, num_sets=1, num_held_back=4)
    with pytest.raises(CourseError, match="no direction"):
        disambiguating_demonstrations(split, "h3")
    with pytest.raises(CourseError, match="multiple of 4"):
        disambiguating_demonstrations(split, "h1")


# --- real texts ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reviews() -> Dataset:
    return pool_texts(["movie", "product"])


def test_two_demonstrations_and_two_test_rows_are_the_fewest(reviews: Dataset) -> None:
    (split,) = underspecified_split(reviews, H1, HYPOTHESES["sentiment.short"], 2, 2, num_sets=1)
    assert (len(split.demonstrations), split.n) == (2, 2)
    with pytest.raises(CourseError, match="test_size"):
        underspecified_split(reviews, H1, HYPOTHESES["sentiment.short"], 2, 0, num_sets=1)


@pytest.mark.parametrize(
    ("h2", "least", "most"),
    [("domain", 1200, 1200), ("short", 1200, 1200), ("punctuation", 140, 170), ("uppercase", 300, 334)],
)
def test_real_reviews_are_split(reviews: Dataset, h2: str, least: int, most: int) -> None:
    second = HYPOTHESES[f"sentiment.{h2}"]
    for split in underspecified_split(reviews, H1, second, num_held_back=8):
        assert least <= split.n <= most
        assert label_texts(split.demonstrations, H1) == label_texts(split.demonstrations, second)
        assert not set(split.demonstrations["group"]) & set(split.test["group"])
        assert not set(split.held_back["group"]) & set(split.test["group"])


@pytest.mark.parametrize(("h2", "least"), [("overlap", 340), ("shorter", 1200), ("negation", 1200)])
def test_real_sentence_pairs_are_split(h2: str, least: int) -> None:
    h1, second = HYPOTHESES["nli"], HYPOTHESES[f"nli.{h2}"]
    for split in underspecified_split(load_texts("snli"), h1, second, num_held_back=8):
        assert least <= split.n <= 1200
        assert [1 - label for label in label_texts(split.test, h1)] == label_texts(split.test, second)
        assert not set(split.demonstrations["group"]) & set(split.test["group"])


def test_four_cells_are_counted() -> None:
    counts = dict(zip(CELLS, (3, 1, 4, 2), strict=True))
    assert cell_counts(pool(counts), H1, H2) == counts


@few
@given(seed=st.integers(0, 2**32 - 1), num_demonstrations=st.sampled_from([2, 4, 16]))
def test_alternating_moves_rows_with_their_labels(seed: int, num_demonstrations: int) -> None:
    texts = even_pool(12)
    (split,) = underspecified_split(texts, H1, H2, num_demonstrations, 4, num_sets=1, seed=seed)
    moved = alternate(split)
    assert moved.demonstration_labels == [1, 0] * (num_demonstrations // 2)
    assert label_texts(moved.demonstrations, H1) == moved.demonstration_labels
    assert sorted(moved.demonstrations["text"]) == sorted(split.demonstrations["text"])
    of_one = [row["text"] for row in split.demonstrations if H1.label(row) == 1]
    assert moved.demonstrations["text"][::2] == of_one
    assert moved.test is split.test
