"""Interventions: every text agrees with its hypothesis, and the published slips would be found."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import permutations
from typing import Any, NamedTuple

import pytest

from course_lib.errors import CourseError
from course_lib.icl.hypotheses import HYPOTHESES, Hypothesis, domain_hypothesis
from course_lib.icl.interventions import (
    DIRECTIONS,
    INTERVENTION_KINDS,
    Intervention,
    InterventionKind,
    all_interventions,
    find_intervention,
)

each_hypothesis = pytest.mark.parametrize("name", HYPOTHESES)
LONG, SHORT = "word " * 60, "a few words"


class Case(NamedTuple):
    """A row of label 1 and one of label 0, what is said of each, the label words, the feature's key words."""

    one: dict[str, Any]
    zero: dict[str, Any]
    said_of_one: str
    said_of_zero: str
    words: tuple[str, str]
    keys: frozenset[str]


def case(one: Any, zero: Any, said_of_one: str, said_of_zero: str, words: str, keys: str) -> Case:
    zero_word, one_word = words.split("/")
    return Case(one, zero, said_of_one, said_of_zero, (zero_word, one_word), frozenset(keys.split()))


def says(verb: str, what: str) -> tuple[str, str]:
    return f"{verb}s {what}", f"does not {verb} {what}"


def row(**columns: Any) -> dict[str, Any]:
    return columns


LENGTHS = ("is short,", "is long,", "long/short", "long short")
CAPITALS = (*says("contain", "a word written all in capital letters"), "no/yes", "capital")
# Written by hand, apart from the hypotheses' own wording.
CASES: dict[str, Case] = {
    "sentiment": case(
        row(label=1), row(label=0), "is positive", "is negative", "negative/positive", "positive negative"
    ),
    "sentiment.domain": case(
        row(domain="movie"), row(domain="product"), "about a movie", "about a product", "product/movie", "movie product"
    ),
    "sentiment.domain_imdb_yelp": case(
        row(domain="imdb"), row(domain="yelp"), "about a movie", "about a local business", "business/movie",
        "movie business",
    ),
    "sentiment.length": case(row(text=SHORT), row(text=LONG), *LENGTHS),
    "sentiment.short": case(row(text=SHORT), row(text=LONG), *LENGTHS),
    "sentiment.punctuation": case(
        row(text="So!"), row(text="So."), 'exclamation mark, "!"', 'period, "."', "period/exclamation",
        "period exclamation",
    ),
    "sentiment.food": case(
        row(text="Good food."), row(text="Good soup."), *says("contain", 'the word "food"'), "no/yes", "food"
    ),
    "sentiment.nice": case(
        row(text="So nice."), row(text="So good."), *says("contain", 'the word "nice"'), "no/yes", "nice"
    ),
    "sentiment.uppercase": case(row(text="So GOOD."), row(text="So good."), *CAPITALS),
    "toxicity": case(row(label=1), row(label=0), "is toxic", "is harmless", "harmless/toxic", "toxic harmless"),
    "toxicity.gender": case(
        row(female=1.0, male=0.0), row(female=0.0, male=1.0), "mentions women", "mentions men", "men/women", "men women"
    ),
    "toxicity.sexuality": case(row(LGBTQ=1.0), row(LGBTQ=0.0), *says("mention", "LGBTQ people"), "no/yes", "LGBTQ"),
    "toxicity.religion_christian": case(
        row(muslim=1.0, christian=0.0), row(muslim=0.0, christian=1.0), "Muslim people", "Christian people",
        "Christian/Muslim", "Christian Muslim",
    ),
    "toxicity.religion_jewish": case(
        row(muslim=1.0, jewish=0.0), row(muslim=0.0, jewish=1.0), "Muslim people", "Jewish people", "Jewish/Muslim",
        "Jewish Muslim",
    ),
    "toxicity.race_black": case(
        row(black=1.0, white=0.0), row(black=0.0, white=1.0), "Black people", "White people", "White/Black",
        "White Black",
    ),
    "toxicity.race_asian": case(
        row(asian=1.0, white=0.0), row(asian=0.0, white=1.0), "Asian people", "White people", "White/Asian",
        "White Asian",
    ),
    "toxicity.length": case(row(text=SHORT), row(text=LONG), *LENGTHS),
    "toxicity.uppercase": case(row(text="So GOOD."), row(text="So good."), *CAPITALS),
    "nli": case(
        row(label=0), row(label=2), "entails the hypothesis", "does not entail the hypothesis", "no/yes",
        "entail entails",
    ),
    "nli.genre_fiction": case(
        row(genre="government"), row(genre="fiction"), "government document", "work of fiction", "fiction/government",
        "fiction government",
    ),
    "nli.genre_telephone": case(
        row(genre="government"), row(genre="telephone"), "government document", "telephone conversation",
        "telephone/government", "telephone government",
    ),
    "nli.overlap": case(
        row(premise="A red dog runs.", hypothesis="A dog."), row(premise="A red dog runs.", hypothesis="A cat."),
        *says("contain", "every word of the hypothesis"), "no/yes", "every",
    ),
    "nli.shorter": case(
        row(premise="A red dog runs.", hypothesis="A dog."), row(premise="A dog.", hypothesis="A red dog runs."),
        "is shorter than the premise", "is longer than the premise", "longer/shorter", "longer shorter",
    ),
    "nli.negation": case(
        row(hypothesis="It is not a dog."), row(hypothesis="It is a dog."), *says("contain", "a negation"), "no/yes",
        "negation",
    ),
    "qa": case(row(label=1), row(label=0), "is yes", "is no", "no/yes", "answer"),
    "qa.question_word": case(
        row(question="is it so"), row(question="did it run"), '"is" or "was"', '"do", "does" or "did"', "do/is",
        "begins",
    ),
    "qa.overlap": case(
        row(question="is a dog red", passage="A dog is red."), row(question="is a dog blue", passage="A dog is red."),
        *says("contain", "every content word of the question"), "no/yes", "every",
    ),
    "qa.same_as": case(
        row(question="is a hare the same as a rabbit"), row(question="is a hare a rabbit"),
        *says("contain", 'the words "same as"'), "no/yes", "same",
    ),
    "qa.length": case(
        row(passage="word " * 70), row(passage=SHORT), "is long,", "is short,", "short/long", "long short"
    ),
}  # fmt: skip


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def steer_to(hypothesis: Hypothesis, kind: InterventionKind) -> Intervention:
    """Return the intervention that steers to a hypothesis, away from another of its task."""
    others = (other for other in HYPOTHESES.values() if other.task == hypothesis.task)
    other = next(other for other in others if other.name != hypothesis.name)
    return find_intervention(kind, "h1", hypothesis, other)


def instruction(hypothesis: Hypothesis) -> str:
    return str(steer_to(hypothesis, "instruction").instruction)


def explanations(hypothesis: Hypothesis) -> tuple[str, str]:
    found = steer_to(hypothesis, "explanation").explanations
    assert found is not None
    return found


def slips(hypothesis: Hypothesis) -> list[str]:
    """Say where the texts of a hypothesis contradict its label function, its feature or each other."""
    expected = CASES[hypothesis.name]
    said = (expected.said_of_zero, expected.said_of_one)
    sentences = explanations(hypothesis)
    told = re.fullmatch(r"The label is 1 if (.*)\. The label is 0 if (.*)\. (.*)\.", instruction(hypothesis))
    clauses = (told[2], told[1]) if told else ("", "")
    others = frozenset().union(
        *(other.keys for name, other in CASES.items() if HYPOTHESES[name].task == hypothesis.task)
    )
    found = []
    for example, label in ((expected.zero, 0), (expected.one, 1)):
        if hypothesis.label(example) != label:
            found.append(f"the function does not give {label}")
        for kind, text in (("explanation", sentences[label]), ("instruction", clauses[label])):
            if said[label] not in text or said[1 - label] in text:
                found.append(f"the {kind} of {label} is not about {label}: {text}")
            if not words(text) & expected.keys:
                found.append(f"the {kind} of {label} does not name the feature: {text}")
            if words(text) & (others - expected.keys):
                found.append(f"the {kind} of {label} names another feature: {text}")
        if not sentences[label].startswith(f"The label is {label} because "):
            found.append(f"the explanation of {label} is of another label")
    if sentences[0] == sentences[1].replace("is 1", "is 0") or clauses[0] == clauses[1]:
        found.append("label 0 and label 1 get the same text")
    if hypothesis.label_words != expected.words:
        found.append(f"label words {hypothesis.label_words}")
    if hypothesis.question is not None and (
        not words(hypothesis.question) & expected.keys
        or words(hypothesis.question) & (others - expected.keys)
    ):
        found.append(f"the question is of another feature: {hypothesis.question}")
    return found


def test_every_hypothesis_has_a_case() -> None:
    assert set(CASES) == set(HYPOTHESES)


@each_hypothesis
def test_every_text_agrees_with_its_hypothesis(name: str) -> None:
    assert slips(HYPOTHESES[name]) == []


@each_hypothesis
def test_the_published_slips_would_be_found(name: str) -> None:
    hypothesis = HYPOTHESES[name]
    zero, one = hypothesis.clauses
    swapped_label = lambda row: 1 - (hypothesis.label(row) or 0)
    other = next(
        other for other in HYPOTHESES.values()
        if other.task == hypothesis.task and not CASES[other.name].keys & CASES[name].keys
    )  # fmt: skip
    for planted in (
        replace(hypothesis, clauses=(one, zero)),
        replace(hypothesis, clauses=other.clauses),
        replace(hypothesis, clauses=(other.clauses[0], one)),
        replace(hypothesis, label=swapped_label),
        replace(hypothesis, label_words=hypothesis.label_words[::-1]),
    ):
        assert slips(planted), planted
    for clause in (zero, one):
        with pytest.raises(CourseError, match="clauses must be two different texts"):
            replace(hypothesis, clauses=(clause, clause))


def test_an_instruction_for_nice_that_says_food_is_found() -> None:
    nice, food = HYPOTHESES["sentiment.nice"], HYPOTHESES["sentiment.food"]
    assert slips(replace(nice, clauses=food.clauses))
    assert slips(replace(nice, question=food.question))


@each_hypothesis
def test_no_and_yes_answer_a_question(name: str) -> None:
    hypothesis = HYPOTHESES[name]
    if hypothesis.label_words != ("no", "yes"):
        assert hypothesis.question is None
        assert all(
            word in clause for word, clause in zip(hypothesis.label_words, hypothesis.clauses, strict=True)
        )
    elif name != "qa":  # a yes-no question is in every example already
        assert hypothesis.question is not None
        rest = hypothesis.question.removeprefix("Does ").removesuffix("?")
        assert not words(rest.split(",")[0]) & {"not", "no"}
        assert rest.replace(" ", "") in hypothesis.clauses[0].replace("does not ", "").replace(" ", "")
        assert " not " in hypothesis.clauses[0]
        assert " not " not in hypothesis.clauses[1].split(",")[0]


@each_hypothesis
def test_label_words_are_two_and_meanings_differ(name: str) -> None:
    hypothesis = HYPOTHESES[name]
    assert hypothesis.label_words[0] != hypothesis.label_words[1]
    assert hypothesis.meanings[0] != hypothesis.meanings[1]
    for meaning, clause in zip(hypothesis.meanings, hypothesis.clauses, strict=True):
        assert meaning in clause


# --- interventions of a pair -----------------------------------------------------------------------

PAIRS = [pair for pair in permutations(HYPOTHESES, 2) if HYPOTHESES[pair[0]].task == HYPOTHESES[pair[1]].task]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_every_pair_has_all_four_in_both_directions(first: str, second: str) -> None:
    h1, h2 = HYPOTHESES[first], HYPOTHESES[second]
    found = all_interventions(h1, h2)
    assert [(i.direction, i.kind) for i in found] == [(d, k) for d in DIRECTIONS for k in INTERVENTION_KINDS]
    for intervention in found:
        intended = h1 if intervention.direction == "h1" else h2
        kind = intervention.kind
        assert intervention.instruction == (instruction(intended) if kind == "instruction" else None)
        assert intervention.explanations == (explanations(intended) if kind == "explanation" else None)
        assert intervention.verbalizer == (intended.label_words if kind == "verbalizer" else None)
        assert intervention.question == (intended.question if kind == "verbalizer" else None)
        assert intervention.disambiguate == (kind == "disambiguation")


def test_labels_can_be_written_otherwise() -> None:
    h1, h2 = HYPOTHESES["sentiment"], HYPOTHESES["sentiment.food"]
    told = find_intervention("instruction", "h2", h1, h2, ("A", "B")).instruction
    assert told == (
        'The label is B if the text contains the word "food". '
        'The label is A if the text does not contain the word "food". Nothing else matters.'
    )
    assert find_intervention("explanation", "h1", h1, h2, ("A", "B")).explanations == (
        "The label is A because the text is negative.",
        "The label is B because the text is positive.",
    )


def test_a_chosen_domain_brings_its_own_texts() -> None:
    domain = domain_hypothesis("tweets", "newspaper")
    found = find_intervention("verbalizer", "h2", HYPOTHESES["sentiment"], domain)
    assert found.verbalizer == ("newspaper", "tweet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("instructions", "h1", "sentiment", "sentiment.food"), "'instruction'"),
        (("instruction", "h3", "sentiment", "sentiment.food"), "no direction"),
        (("instruction", "h1", "sentiment", "sentiment"), "two hypotheses"),
        (("instruction", "h1", "sentiment", "qa"), "two hypotheses"),
    ],
)
def test_what_is_not_there_is_refused(arguments: tuple[str, str, str, str], message: str) -> None:
    kind, direction, h1, h2 = arguments
    with pytest.raises(CourseError, match=message):
        find_intervention(kind, direction, HYPOTHESES[h1], HYPOTHESES[h2])


def test_two_labels_written_alike_are_refused() -> None:
    with pytest.raises(CourseError, match="labels must be two different texts"):
        all_interventions(HYPOTHESES["sentiment"], HYPOTHESES["sentiment.food"], ("1", "1"))
