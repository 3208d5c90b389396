"""Small changes of a text, and how often they flip an answer, on the embedded encoder."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from course_lib.errors import CourseError
from course_lib.finetuning import evaluate
from course_lib.models import ModelAndTokenizer, load_classifier
from course_lib.smart.experiments.robustness import (
    CHANGES,
    change_texts,
    flip_rates,
    in_ball,
    measure_smoothness,
    noise_flip_rate,
    robustness_table,
    smoothness_over_radius,
    swap_letters,
)
from course_lib.texts import labelled_splits

TEXT = "A truly fine film, but it's far too long!"


@pytest.fixture(scope="module")
def classifier() -> ModelAndTokenizer:
    return load_classifier(num_labels=2)


@pytest.fixture(scope="module")
def reviews() -> Dataset:
    return labelled_splits("movie", num_heldout=24)[1]


@given(st.text(max_size=80), st.integers(0, 1000), st.floats(0, 1))
def test_typos_keep_words_their_letters_and_their_ends(text: str, seed: int, share: float) -> None:
    changed = swap_letters(text, random.Random(seed), share)
    before, after = text.split(), changed.split()
    assert len(before) == len(after)
    for word, typo in zip(before, after, strict=True):
        assert sorted(word) == sorted(typo)
        assert (word[0], word[-1]) == (typo[0], typo[-1])


def test_a_text_with_long_words_gets_a_typo() -> None:
    assert all(swap_letters(TEXT, random.Random(seed)) != TEXT for seed in range(20))


def test_each_change_does_what_it_says() -> None:
    rng = random.Random(0)
    assert CHANGES["capitals"](TEXT, rng) == TEXT.upper()
    assert CHANGES["no punctuation"](TEXT, rng) == "A truly fine film but it's far too long"
    assert CHANGES["no punctuation"]("...", rng) == ""


def test_both_texts_of_a_pair_are_changed() -> None:
    pairs = Dataset.from_dict({"premise": ["a dog runs"], "hypothesis": ["an animal"], "label": [0]})
    changed = change_texts(pairs, "capitals")
    assert changed[0] == {"premise": "A DOG RUNS", "hypothesis": "AN ANIMAL", "label": 0}


def test_one_seed_makes_the_same_typos(reviews: Dataset) -> None:
    typos = [list(change_texts(reviews, "typos", seed=seed)["text"]) for seed in (0, 0, 1)]
    assert typos[0] == typos[1] != typos[2]


def test_an_uncased_model_does_not_see_capitals(classifier: ModelAndTokenizer, reviews: Dataset) -> None:
    rates = flip_rates(classifier, reviews)
    assert rates["capitals"] == 0
    assert set(rates) == {*CHANGES, "noise"}
    assert all(0 <= rate <= 1 for rate in rates.values())


def test_flips_are_counted_against_the_unchanged_text(
    classifier: ModelAndTokenizer, reviews: Dataset
) -> None:
    before = evaluate(classifier, reviews).predictions
    after = evaluate(classifier, change_texts(reviews, "typos", seed=2)).predictions
    assert flip_rates(classifier, reviews, seed=2)["typos"] == (before != after).mean()


def test_no_noise_flips_nothing_and_much_noise_flips_some(
    classifier: ModelAndTokenizer, reviews: Dataset
) -> None:
    assert noise_flip_rate(classifier, reviews, 0.0) == 0
    assert noise_flip_rate(classifier, reviews, 1.0) > 0
    state = torch.get_rng_state()
    assert noise_flip_rate(classifier, reviews, 0.1) == noise_flip_rate(classifier, reviews, 0.1)
    assert torch.equal(torch.get_rng_state(), state)


def test_smoothness_grows_with_the_square_of_the_radius(
    classifier: ModelAndTokenizer, reviews: Dataset
) -> None:
    rows = smoothness_over_radius({"fresh": classifier}, reviews, [1e-3, 1e-2])
    small, large = rows.smoothness
    assert 30 < large / small < 300
    assert list(rows.columns) == ["model", "epsilon", "smoothness"]


def test_smoothness_leaves_the_weights_alone(classifier: ModelAndTokenizer, reviews: Dataset) -> None:
    before = [weight.clone() for weight in classifier.model.parameters()]
    values = measure_smoothness(classifier, reviews, in_ball(1e-2))
    assert values.shape == (24,)
    assert (values >= 0).all()
    assert np.isfinite(values).all()
    assert all(map(torch.equal, before, classifier.model.parameters()))
    assert all(weight.grad is None for weight in classifier.model.parameters())


def test_the_table_has_a_row_for_each_classifier(classifier: ModelAndTokenizer, reviews: Dataset) -> None:
    table = robustness_table({"fresh": classifier}, reviews)
    assert table.loc["fresh", "accuracy"] == evaluate(classifier, reviews).accuracy
    assert table.loc["fresh", "capitals"] == 0


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf")])
def test_noise_out_of_range_is_refused(classifier, reviews, noise: float) -> None:
    with pytest.raises(CourseError, match="noise"):
        noise_flip_rate(classifier, reviews, noise)


def test_an_unknown_change_is_refused(reviews: Dataset) -> None:
    with pytest.raises(CourseError, match="typos"):
        change_texts(reviews, "typo")


def test_texts_without_text_are_refused() -> None:
    with pytest.raises(CourseError, match="premise"):
        change_texts(Dataset.from_dict({"label": [0]}), "typos")
