"""Label words: found at the right place, scored whole, and comparable."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from course_lib.errors import CourseError
from course_lib.models import load_language_model
from course_lib.prompts.verbalizers import Verbalizer, find_label_ids, shared_length, text_ids

few = settings(max_examples=60, deadline=None, derandomize=True)


@cache
def embedded_tokenizer() -> Any:
    return load_language_model().tokenizer


@pytest.fixture
def tokenizer() -> Any:
    return embedded_tokenizer()


def tokens_of(tokenizer: Any, ids: list[int]) -> list[str]:
    return [tokenizer.decode([token]) for token in ids]


def test_a_space_that_the_tokenizer_splits_off_is_not_the_label(tokenizer: Any) -> None:
    found = Verbalizer(["0", "1"]).token_ids(tokenizer, "Input: fine Label:")
    assert [tokens_of(tokenizer, label) for label in found.labels] == [[" ", "0"], [" ", "1"]]
    assert found.num_shared == 1


def test_a_word_of_one_token_and_one_of_two(tokenizer: Any) -> None:
    found = Verbalizer(["awful", "very good"]).token_ids(tokenizer, "Input: fine Label:")
    assert [tokens_of(tokenizer, label) for label in found.labels] == [[" awful"], [" very", " good"]]
    assert found.num_shared == 0
    assert tokenizer.decode(found.context) == "Input: fine Label:"


def test_a_prompt_that_ends_in_a_space_gives_the_space_to_the_labels(tokenizer: Any) -> None:
    found = find_label_ids(tokenizer, ["Label: "], ["bad", "good"])[0]
    assert [tokens_of(tokenizer, label) for label in found.labels] == [[" bad"], [" good"]]
    assert tokenizer.decode(found.context) == "Label:"


prompts = st.text(st.sampled_from("ab Lé!.\n0'"), max_size=12).map(lambda text: text + "Label:")
words = st.lists(st.text(st.sampled_from("abgo dé1\n"), min_size=1, max_size=6), min_size=2, max_size=4)


@given(prompt=prompts, words=words)
@few
def test_context_and_label_are_the_tokens_of_the_whole_text(prompt: str, words: list[str]) -> None:
    tokenizer = embedded_tokenizer()
    try:
        found = Verbalizer(words).token_ids(tokenizer, prompt)
    except CourseError:
        return
    for word, label in zip(words, found.labels, strict=True):
        assert found.context + label == tokenizer(f"{prompt} {word}")["input_ids"]
        assert label
    for label in found.labels:
        others = [other for other in found.labels if other is not label]
        assert all(other[: len(label)] != label for other in others)


def tiny_word_tokenizer() -> PreTrainedTokenizerFast:
    """Give a tokenizer of lower-cased words that puts a start and an end token around a text."""
    vocabulary = {word: i for i, word in enumerate(["<s>", "</s>", "?", "label", ":", "good", "bad"])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="?"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def test_a_start_token_is_kept_and_an_end_token_left_out() -> None:
    tokenizer = tiny_word_tokenizer()
    assert text_ids(tokenizer, ["Label:", ""]) == [[0, 3, 4], [0]]
    assert Verbalizer(["bad", "good"]).token_ids(tokenizer, "Label:") == ([0, 3, 4], [[6], [5]])


def test_labels_that_tokenize_to_the_same_thing_are_refused() -> None:
    with pytest.raises(CourseError, match="tokenize to the same thing"):
        Verbalizer(["Good", "good"]).token_ids(tiny_word_tokenizer(), "Label:")
    with pytest.raises(CourseError, match="tokenize to the same thing"):
        Verbalizer(["worse", "better"]).token_ids(tiny_word_tokenizer(), "Label:")


@pytest.mark.parametrize("words", [["good", "good enough"], ["very good", "very"], ["1", "10"]])
def test_a_label_that_begins_with_another_is_refused(tokenizer: Any, words: list[str]) -> None:
    with pytest.raises(CourseError, match="begin with all"):
        Verbalizer(words).token_ids(tokenizer, "Label:")


def test_words_of_which_only_the_letters_begin_alike_are_allowed(tokenizer: Any) -> None:
    assert Verbalizer(["art", "artist"]).token_ids(tokenizer, "Label:").num_shared == 0


@pytest.mark.parametrize("words", [[], ["good"], ["good", ""], ["good", "  "], ["a", "a"], "01", [0, 1]])
def test_words_that_are_no_labels_are_refused(words: Any) -> None:
    with pytest.raises(CourseError):
        Verbalizer(words)


@pytest.mark.parametrize(
    "words", [["bad", " good"], ["bad ", "good"], ["\u00a0bad", "good"], [" bad", " good"]]
)
def test_white_space_around_a_label_word_is_refused(words: list[str]) -> None:
    with pytest.raises(CourseError, match="white space"):
        Verbalizer(words)


@pytest.mark.parametrize(
    "words", [[" bad", "good"], [" bad", "  good"], [" bad", " good "], ["bad", "\ngood"]]
)
def test_continuations_with_different_white_space_are_refused(tokenizer: Any, words: list[str]) -> None:
    """`"bad, good".split(",")` was scored as it is: "good" behind two spaces is another word."""
    with pytest.raises(CourseError, match="white space"):
        find_label_ids(tokenizer, ["Label:"], words)


def test_what_sequences_share() -> None:
    assert shared_length([[1, 2], [1, 2]]) == 2
    assert shared_length([[], [1]]) == 0
    assert shared_length([[1, 9, 2], [1, 3], [1, 5, 5]]) == 1


def test_no_texts_have_no_tokens(tokenizer: Any) -> None:
    assert text_ids(tokenizer, []) == []
