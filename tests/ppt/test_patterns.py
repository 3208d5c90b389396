"""Patterns: every kind of every task, lettered options, and label words scored whole and in place."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from course_lib.errors import CourseError
from course_lib.models import load_language_model
from course_lib.ppt.patterns import (
    KINDS,
    LETTERS,
    Pattern,
    as_multiple_choice,
    choice_pattern,
    labelled,
    lettered,
    nli_pattern,
    pair_pattern,
    sentiment_pattern,
    single_pattern,
    unified_pattern,
)
from course_lib.ppt.pretraining.tasks import PRETRAINING_TASKS, find_pattern
from course_lib.prompts.verbalizers import Verbalizer
from course_lib.texts import NLI_LABELS

few = settings(max_examples=60, deadline=None, derandomize=True)
ROWS: dict[str, dict[str, Any]] = {
    "pair": {"first": "It rains.", "second": "We are wet."},
    "choice": {"query": "It rains.", "options": [f"Sentence {i}." for i in range(6)]},
    "single": {"text": "I slept."},
    "unified": {"query": "It rains.", "options": ["One.", "Two.", "Three."]},
}


@cache
def tokenizer() -> Any:
    return load_language_model().tokenizer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", PRETRAINING_TASKS)
def test_every_task_has_every_kind(task: str, kind: str) -> None:
    pattern = find_pattern(task, kind)
    text = pattern.text(ROWS[task])
    assert pattern.is_soft == (kind != "hard")
    assert pattern.name == f"{task}/{kind}"
    assert "{" not in text
    assert text == text.strip()


@pytest.mark.parametrize("task", PRETRAINING_TASKS)
def test_a_hybrid_has_the_hard_words_and_a_soft_pattern_only_what_lays_it_out(task: str) -> None:
    hard, soft, hybrid = (find_pattern(task, kind).text(ROWS[task]) for kind in KINDS)
    assert hard == hybrid
    assert len(soft) < len(hard)
    assert hard.endswith(soft) or task in ("pair", "single")
    values = {**ROWS[task], "labelled": labelled(ROWS[task].get("options", []))}
    bare = [str(values[field]) for field in find_pattern(task, "soft").fields]
    assert soft == ("\n\n".join(bare) + "\nLabel:" if "options" in ROWS[task] else "\n".join(bare))


def test_the_label_words_are_the_methods() -> None:
    assert pair_pattern().verbalizer.label_words == ("yes", "maybe", "no")
    assert choice_pattern(6).verbalizer.label_words == tuple("ABCDEF")
    assert single_pattern().verbalizer.label_words == ("terrible", "bad", "maybe", "good", "great")
    assert unified_pattern().verbalizer.label_words == tuple("ABCDEFGHIJKLMNOP")
    assert sentiment_pattern().verbalizer.label_words == ("bad", "good")


def test_downstream_tasks_share_the_pre_training_pattern() -> None:
    premise, hypothesis = "A dog runs.", "An animal moves."
    pair = pair_pattern().text({"first": premise, "second": hypothesis})
    assert nli_pattern().text({"premise": premise, "hypothesis": hypothesis}) == pair
    words = dict(zip(NLI_LABELS, nli_pattern().verbalizer.label_words, strict=True))
    assert words == {"entailment": "yes", "neutral": "maybe", "contradiction": "no"}
    assert sentiment_pattern().template == single_pattern().template


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", PRETRAINING_TASKS)
def test_the_embedded_tokenizer_tells_all_label_words_apart(task: str, kind: str) -> None:
    pattern = find_pattern(task, kind)
    (found,) = pattern.label_ids(tokenizer(), [ROWS[task]])
    assert len(found.labels) == pattern.num_labels(ROWS[task])
    for word, label in zip(pattern.verbalizer.label_words, found.labels, strict=False):
        assert found.context + label == tokenizer()(f"{pattern.text(ROWS[task])} {word}")["input_ids"]


def test_only_the_letters_of_a_rows_own_options_are_labels() -> None:
    rows = [{"query": "Q.", "options": list("abcdefghijklmnop")[:number]} for number in (2, 5, 16)]
    found = unified_pattern().label_ids(tokenizer(), rows)
    assert [len(ids.labels) for ids in found] == [2, 5, 16]


def test_labels_of_two_tokens_are_scored_whole() -> None:
    pattern = single_pattern("hybrid", ["very bad", "very good", "superb"])
    (found,) = pattern.label_ids(tokenizer(), [{"text": "I slept."}])
    decoded = [[tokenizer().decode([token]) for token in label] for label in found.labels]
    assert decoded[:2] == [[" very", " bad"], [" very", " good"]]
    # the first token alone would not tell the first two labels apart
    assert found.labels[0][0] == found.labels[1][0]


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Give a tokenizer that knows few words, drops asterisks and lower-cases the rest."""
    vocabulary = {word: i for i, word in enumerate(["?", "good", "bad", "it", "was"])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="?"))
    words.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace("*", "")])
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words)


@pytest.mark.parametrize("words", [["Good", "good"], ["dull", "fine"], ["good", "*"], ["good", "good bad"]])
def test_labels_of_no_tokens_or_the_same_are_refused(words: list[str]) -> None:
    with pytest.raises(CourseError, match=r"tokenize to the same thing|begin with all"):
        single_pattern("hard", words).label_ids(word_tokenizer(), [{"text": "It was"}])


sentences = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(lambda text: f"a{text}b")


@given(options=st.lists(sentences, min_size=2, max_size=16))
@few
def test_options_are_one_line_each_whatever_they_hold(options: list[str]) -> None:
    lines = lettered(options).split("\n")
    assert [line[:3] for line in lines] == [f"{letter}. " for letter in LETTERS[: len(options)]]


@given(options=st.lists(sentences, min_size=2, max_size=16), query=sentences)
@few
def test_each_option_has_its_letter_behind_it_and_the_query_none(options: list[str], query: str) -> None:
    row = {"query": query.strip(), "options": options}
    text = unified_pattern("soft").text(row)
    front = text.removesuffix(f"\n\n{row['query']}\nLabel:")
    assert front == labelled(options)
    labels = front.split("\n")[1::3]
    assert labels == [f"Label: {letter}" for letter in LETTERS[: len(options)]]
    written = Pattern("both", "{options}\n{labelled}", unified_pattern().verbalizer, fewer_options=True)
    assert written.text(row) == f"{lettered(options)}\n{labelled(options)}"


@given(text=st.text(max_size=30))
@few
def test_a_text_is_kept_as_it_is_braces_too(text: str) -> None:
    if text.strip():
        assert single_pattern("soft").text({"text": text}) == text.strip()


@pytest.mark.parametrize(
    "template",
    [
        "no field",
        "{soft}",
        "{text} {soft}",
        "{soft}{soft}{text}",
        "{text} ",
        "{text}\n",
        "{text",
        "{0}",
        "{}",
    ],
)
def test_templates_that_are_none_are_refused(template: str) -> None:
    with pytest.raises(CourseError):
        Pattern("mine", template, Verbalizer(["bad", "good"]))


@pytest.mark.parametrize(
    ("pattern", "row"),
    [
        (single_pattern(), {}),
        (single_pattern(), {"text": " \n"}),
        (choice_pattern(6), {"query": "Q.", "options": list("abcde")}),
        (choice_pattern(2), {"query": "Q.", "options": "ab"}),
        (choice_pattern(2), {"query": "Q.", "options": ["a", " "]}),
        (unified_pattern(), {"query": "Q.", "options": ["a"]}),
        (unified_pattern(max_options=4), {"query": "Q.", "options": list("abcde")}),
    ],
)
def test_rows_that_do_not_fit_are_refused(pattern: Pattern, row: dict[str, Any]) -> None:
    with pytest.raises(CourseError):
        pattern.text(row)


@pytest.mark.parametrize("number", [1, 17, 2.0])
def test_a_choice_has_letters_for_its_options(number: Any) -> None:
    with pytest.raises(CourseError, match="16"):
        choice_pattern(number)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(CourseError, match="hybrid"):
        pair_pattern("hybird")
    with pytest.raises(CourseError, match="choice"):
        find_pattern("choices")


def test_a_downstream_row_is_asked_as_multiple_choice() -> None:
    names = ["It follows.", "It may be.", "It cannot be."]
    row = {"premise": "A dog runs.", "hypothesis": "An animal moves.", "label": 2}
    asked = as_multiple_choice(row, "{premise} Then: {hypothesis}", names)
    assert asked == {"query": "A dog runs. Then: An animal moves.", "options": names, "label": 2}
    assert unified_pattern().num_labels(asked) == 3
    assert "label" not in as_multiple_choice({"text": "Fine."}, "{text}", names)


@pytest.mark.parametrize(
    ("row", "question", "names"),
    [
        ({"text": "Fine.", "label": 2}, "{text}", ["bad", "good"]),
        ({"text": "Fine.", "label": -1}, "{text}", ["bad", "good"]),
        ({"text": "Fine."}, "How was it?", ["bad", "good"]),
        ({"text": "Fine."}, "{premise}", ["bad", "good"]),
        ({"text": "Fine."}, "{text}", ["good"]),
        ({"text": "Fine."}, "{text}", [str(i) for i in range(17)]),
    ],
)
def test_what_cannot_be_asked_is_refused(row: dict[str, Any], question: str, names: list[str]) -> None:
    with pytest.raises(CourseError):
        as_multiple_choice(row, question, names)
