"""Episodes: whose labels stand for what, which tokens count, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from course_lib.errors import CourseError
from course_lib.icl.hypotheses import find_hypothesis
from course_lib.icl.prompting import DemonstrationPrompt, InstanceTemplate
from course_lib.icl.tuning.episodes import EpisodeSource, episode_tokens
from course_lib.prompts.verbalizers import Verbalizer
from tests.icl.tuning.tiny import PROMPT, tiny_texts, tokenizer

ROWS = [{"text": text} for text in ("Dull 0 film.", "Great 1!", "A label: 1", "Fine.", "No.")]
LABELS = [0, 1, 1, 0, 0]


@pytest.mark.parametrize("num_unscored", [0, 2, 4])
def test_exactly_the_label_tokens_count(num_unscored: int) -> None:
    found = episode_tokens(tokenizer(), PROMPT, ROWS, LABELS, num_unscored=num_unscored)
    assert tokenizer().decode(found.ids) == PROMPT.prefix(ROWS, LABELS)
    assert [answer.label for answer in found.answers] == LABELS[num_unscored:]
    for number, answer in enumerate(found.answers, start=num_unscored):
        (place,) = answer.places
        shown = PROMPT.prefix(ROWS, LABELS)
        assert tokenizer().decode(found.ids[: place + 1]) == _up_to_label(shown, number)
        assert found.ids[place] == answer.choices[answer.label]
        assert answer.choices[0] != answer.choices[1]


def _up_to_label(whole: str, number: int) -> str:
    """Gives the prompt up to the label of one of its examples, counted in its blank lines."""
    return "\n\n".join(whole.split("\n\n")[: number + 1])


def test_of_a_label_of_several_tokens_all_count_from_the_first_that_differs() -> None:
    prompt = DemonstrationPrompt(
        InstanceTemplate(), Verbalizer(["label of unpleasantness", "label of joyfulness"])
    )
    found = episode_tokens(tokenizer(), prompt, ROWS, LABELS)
    words = [tokenizer().decode([found.ids[place] for place in one.places]) for one in found.answers]
    assert [word.strip() for word in words] == [("unpleasantness", "joyfulness")[label] for label in LABELS]
    assert all(len(one.places) > 1 for one in found.answers)


def test_a_tokenizer_that_joins_a_label_with_what_follows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = DemonstrationPrompt(InstanceTemplate("{text}"), Verbalizer(["bad", "good"]))
    # a separator that begins with a space is allowed, and one that goes on in letters cannot be built: so it is forged
    object.__setattr__(prompt, "separator", "ness ")
    with pytest.raises(CourseError, match="joins a label"):
        episode_tokens(tokenizer(), prompt, ROWS, LABELS)


def _source(features: Any = ("sentiment",), **options: Any) -> EpisodeSource:
    return EpisodeSource(tiny_texts(), features, **{"num_demonstrations": 8, **options})


def test_labels_are_the_features_or_exchanged() -> None:
    plain, all_exchanged = (_source(exchanged_share=share).take(20) for share in (0.0, 1.0))
    for one, other in zip(plain, all_exchanged, strict=True):
        truth = [row["label"] for row in one.rows]
        assert (one.labels, one.exchanged) == (truth, False)
        assert (other.labels, other.exchanged) == ([1 - label for label in truth], True)
        assert one.rows == other.rows
        assert sorted(truth) == [0] * 4 + [1] * 4


def test_the_share_of_exchanged_episodes_is_the_one_asked_for() -> None:
    share = sum(one.exchanged for one in _source(exchanged_share=0.3).take(400)) / 400
    # three standard deviations of 400 draws
    assert abs(share - 0.3) < 0.07


def test_features_take_turns_and_each_episode_is_of_one_data_set() -> None:
    names = ("sentiment.short", "sentiment.punctuation")
    episodes = _source(names, exchanged_share=0.0).take(12)
    assert [one.feature for one in episodes] == list(names) * 6
    for one in episodes:
        assert one.labels == [find_hypothesis(one.feature).label(row) for row in one.rows]
        assert len({row["domain"] for row in one.rows}) == 1
        assert len(set(one.texts)) == 8
    assert len({one.rows[0]["domain"] for one in episodes}) == 2


def test_a_number_and_a_seed_always_give_the_same_episode() -> None:
    assert _source().at(5) == _source().at(5)
    assert _source().at(5).rows != _source().at(6).rows
    assert _source().at(5).rows != _source(seed=1).at(5).rows


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        (["sentiment", "nli"], {}, "one task"),
        (["sentiment"], {"num_demonstrations": 7}, "even"),
        (["sentiment"], {"num_demonstrations": 100}, "50 texts of each label"),
        (["nosuch"], {}, "nosuch"),
        ([], {}, "at least 1"),
        (["sentiment"], {"exchanged_share": 1.5}, "exchanged_share"),
    ],
)
def test_what_cannot_give_episodes_is_refused(features: list[str], options: Any, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        _source(features, **options)
