"""What a prompt is made of, and where it is cut."""

from __future__ import annotations

from typing import Any

import pytest

from course_lib.errors import CourseError
from course_lib.icl.prompting import (
    TEMPLATES,
    DemonstrationPrompt,
    InstanceTemplate,
    prompt_ids,
)
from course_lib.models import ModelAndTokenizer, find_context_length, load_language_model
from course_lib.prompts.verbalizers import Verbalizer
from course_lib.texts import load_texts

DIGITS = Verbalizer(["0", "1"])
ROWS = [{"text": "Dull."}, {"text": "Great!"}]


@pytest.fixture(scope="module")
def language_model() -> ModelAndTokenizer:
    return load_language_model()


@pytest.fixture(scope="module")
def reviews() -> list[dict[str, Any]]:
    return list(load_texts("movie", split="train").select(range(60)))


def test_every_part_stands_in_its_place() -> None:
    prompt = DemonstrationPrompt(
        TEMPLATES["lines"], DIGITS, instruction="Judge the mood.", explanations=["It grumbles.", "It cheers."]
    )
    assert prompt.prefix(ROWS, [0, 1]) + prompt.item({"text": "Fine."}) + prompt.continuations[1] == (
        "Judge the mood.\n\n"
        "Input: Dull.\nIt grumbles.\nLabel: 0\n\n"
        "Input: Great!\nIt cheers.\nLabel: 1\n\n"
        "Input: Fine.\nLabel: 1"
    )


def test_explanations_follow_the_labels_and_not_the_places() -> None:
    prompt = DemonstrationPrompt(TEMPLATES["text"], DIGITS, explanations=["Zero.", "One."])
    assert prompt.prefix(ROWS, [1, 0]) == "Input: Dull. One. Label: 1\n\nInput: Great! Zero. Label: 0"


def test_braces_in_a_text_are_text() -> None:
    assert InstanceTemplate().fill({"text": "a {text} {x}"}) == "Input: a {text} {x} Label:"


def test_other_tasks_have_their_own_fields() -> None:
    row = {"passage": "It rained.", "question": "was it dry", "label": 0}
    assert TEMPLATES["question"].fill(row) == "Passage: It rained.\nQuestion: was it dry\nLabel:"


@pytest.mark.parametrize("row", [{"premise": "a"}, {"premise": "a", "hypothesis": None}])
def test_a_row_that_lacks_a_field_is_an_error(row: dict[str, Any]) -> None:
    with pytest.raises(CourseError, match="lacks the field 'hypothesis'"):
        TEMPLATES["pair"].fill(row)


@pytest.mark.parametrize(
    ("instance", "cue"),
    [
        ("no field", "\nLabel:"),
        ("{}", ":"),
        ("{a.b}", ":"),
        ("{text", ":"),
        ("{text}", ": "),
        ("{text:d}", ":"),
        ("{text!z}", ":"),
        ("{text:{width}}", ":"),
    ],
)
def test_bad_templates_are_refused(instance: str, cue: str) -> None:
    with pytest.raises(CourseError):
        InstanceTemplate(instance, cue)


def test_bad_demonstrations_are_refused() -> None:
    prompt = DemonstrationPrompt(InstanceTemplate(), DIGITS)
    with pytest.raises(CourseError, match="no demonstrations"):
        prompt.prefix([], [])
    with pytest.raises(CourseError, match="one label only"):
        prompt.prefix(ROWS, [1, 1])
    with pytest.raises(CourseError, match="one label for each"):
        prompt.prefix(ROWS, [1])
    for label in (2, -1, "1", None, True):
        with pytest.raises(CourseError, match="from 0 to 1"):
            prompt.prefix(ROWS, [0, label])


@pytest.mark.parametrize("value", [float("nan"), ["a"], b"a", True, "half a character \ud800"])
def test_a_field_that_is_neither_text_nor_number_is_refused(value: Any) -> None:
    """They once stood in the prompt as "nan" and "['a']"."""
    with pytest.raises(CourseError, match="field 'text'"):
        InstanceTemplate().fill({"text": value})
    assert InstanceTemplate().fill({"text": 3}) == "Input: 3 Label:"


def test_zero_shot_is_asked_for() -> None:
    bare = DemonstrationPrompt(InstanceTemplate(), DIGITS, zero_shot=True)
    assert bare.prefix([], []) + bare.item(ROWS[0]) == "Input: Dull. Label:"
    told = DemonstrationPrompt(InstanceTemplate(), DIGITS, instruction="Judge.", zero_shot=True)
    assert told.prefix([], []) + told.item(ROWS[0]) == "Judge.\n\nInput: Dull. Label:"
    with pytest.raises(CourseError, match="no demonstrations"):
        bare.prefix(ROWS, [0, 1])


@pytest.mark.parametrize(
    "options",
    [
        {"explanations": ["only one"]},
        {"explanations": ["a", "b"], "zero_shot": True},
        {"separator": ""},
        {"chat": True},
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(CourseError):
        DemonstrationPrompt(InstanceTemplate(), DIGITS, **options)


def prompts(tokenizer: Any) -> list[DemonstrationPrompt]:
    words = Verbalizer(["very bad", "good"])
    return [
        DemonstrationPrompt(TEMPLATES["text"], DIGITS),
        DemonstrationPrompt(TEMPLATES["lines"], words, instruction="Judge the mood of each text."),
        DemonstrationPrompt(TEMPLATES["text"], words, separator="\n"),
        DemonstrationPrompt(TEMPLATES["text"], DIGITS, chat=True, tokenizer=tokenizer),
        DemonstrationPrompt(TEMPLATES["lines"], words, instruction="Judge.", chat=True, tokenizer=tokenizer),
    ]


@pytest.mark.parametrize("number", range(5))
def test_parts_have_the_tokens_of_the_whole(
    language_model: ModelAndTokenizer, reviews: list[dict[str, Any]], number: int
) -> None:
    tokenizer: Any = language_model.tokenizer
    prompt = prompts(tokenizer)[number]
    prefix = prompt.prefix(reviews[:6], [0, 1] * 3)
    items = [prompt.item(row) for row in reviews[6:]]
    parts = prompt_ids(tokenizer, prefix, items)
    assert parts.prefix == tokenizer(prefix)["input_ids"]
    for item, ids in zip(items, parts.items, strict=True):
        assert ids == tokenizer(item)["input_ids"]
        assert parts.prefix + ids == tokenizer(prefix + item)["input_ids"]


def test_a_cut_behind_the_separator_would_change_tokens(language_model: ModelAndTokenizer) -> None:
    parts = prompt_ids(language_model.tokenizer, "Label: 0\n\n", ["Input: a", "Input: b"])
    tokenizer: Any = language_model.tokenizer
    assert parts.prefix + parts.items[0] == tokenizer("Label: 0\n\nInput: a")["input_ids"]
    assert parts.prefix != tokenizer("Label: 0\n\n")["input_ids"]


def test_a_prompt_longer_than_the_context_is_never_cut(language_model: ModelAndTokenizer) -> None:
    limit = find_context_length(language_model.model)
    assert limit == 8192
    ids = prompt_ids(language_model.tokenizer, "a", [" b" * (limit - 1)], context_length=limit)
    assert len(ids.prefix) + len(ids.items[0]) == limit
    with pytest.raises(CourseError, match=r"item 1 has 8,193 tokens.* at most 8,192"):
        prompt_ids(language_model.tokenizer, "a", ["b", " b" * limit], context_length=limit)


def test_a_conversation_follows_the_template(
    language_model: ModelAndTokenizer, reviews: list[dict[str, Any]]
) -> None:
    tokenizer: Any = language_model.tokenizer
    prompt = DemonstrationPrompt(
        InstanceTemplate(), Verbalizer(["bad", "good"]), instruction="Judge.", chat=True, tokenizer=tokenizer
    )
    messages = [
        {"role": "system", "content": "Judge."},
        {"role": "user", "content": "Input: Dull. Label:"},
        {"role": "assistant", "content": "bad"},
        {"role": "user", "content": "Input: Great! Label:"},
        {"role": "assistant", "content": "good"},
        {"role": "user", "content": "Input: Fine. Label:"},
    ]
    whole = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt.prefix(ROWS, [0, 1]) + prompt.item({"text": "Fine."}) == whole
    assert prompt.continuations == ("bad", "good")
    words = Verbalizer(prompt.continuations, separator="").token_ids(tokenizer, whole)
    assert words.context == tokenizer(whole)["input_ids"]
    zero = DemonstrationPrompt(InstanceTemplate(), DIGITS, zero_shot=True, chat=True, tokenizer=tokenizer)
    assert zero.prefix([], []).endswith("user\n")


def test_a_template_that_refuses_the_conversation_says_so() -> None:
    tokenizer = load_language_model().tokenizer
    tokenizer.chat_template = "{{ raise_exception('no system message here') }}"
    prompt = DemonstrationPrompt(
        InstanceTemplate(), DIGITS, instruction="Judge.", chat=True, tokenizer=tokenizer
    )
    with pytest.raises(CourseError, match="no system message here"):
        prompt.item(ROWS[0])
