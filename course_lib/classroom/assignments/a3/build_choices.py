"""Next-sentence choices whose places tell nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import Case
from course_lib.classroom.assignments.building import Changes, shown

TITLE = "Next-sentence choices that do not leak the answer's place"
MARKS = 4
HINT = "Do the text's small example by hand: answer, distractors in their order, then the place."


def _inserted(answer: str, distractors: list[str], slot: int) -> tuple[list[str], int]:
    return [*distractors[:slot], answer, *distractors[slot:]], slot


def _choices(
    documents: Sequence[Sequence[str]],
    queries: Sequence[Sequence[int]],
    num_options: int,
    order: Sequence[int],
    *,
    step: int = 1,
    to_and_fro: bool = False,
    count_all: bool = False,
    arrange: Callable[[str, list[str], int], tuple[list[str], int]] = _inserted,
    **distracting: bool,
) -> list[dict[str, Any]]:
    examples: list[dict[str, Any]] = []
    for number, (home, sentence) in enumerate(queries):
        document = documents[home]
        if not 0 <= sentence + step < len(document):
            continue
        answer = document[sentence + step]
        distractors = _distractors(documents, home, sentence, answer, num_options - 1, **distracting)
        turn, place = divmod(number if count_all else len(examples), num_options)
        slot = order[-1 - place] if to_and_fro and turn % 2 else order[place]
        options, label = arrange(answer, distractors, slot)
        examples.append({"query": document[sentence], "options": options, "label": label})
    return examples


def _distractors(
    documents: Sequence[Sequence[str]],
    home: int,
    sentence: int,
    answer: str,
    count: int,
    *,
    hard: bool = True,
    later: bool = False,
    wrap: bool = True,
    repeats: bool = False,
) -> list[str]:
    document = documents[home]
    found = []
    if hard:
        places = range(len(document))
        farthest = max(reversed(places) if later else places, key=lambda place: abs(place - sentence))
        found.append(document[farthest])
    for other in [*documents[home + 1 :], *(documents[:home] if wrap else ())]:
        text = other[sentence % len(other)]
        if len(found) < count and (repeats or text not in (document[sentence], answer, *found)):
            found.append(text)
    return found


_NEXT = "the next sentence, and the places run in turn"
_PREVIOUS = "the sentence before, and the places run to and fro"
_NOUNS = ("cat", "judge", "river", "letter", "garden", "teacher", "engine", "window", "story", "road")
_VERBS = ("finds", "leaves", "paints", "hears", "follows", "forgets", "opens", "keeps")


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    # (options, documents, queries); twice as many queries as options and more, so that places come round again.
    sizes = [(3, 6, 10), (4, 8, 12), (6, 10, 16), (3, 5, 12)]
    step = 1 if variant == _NEXT else -1
    drawn = [_choice_case(rng, *size, step=step) for size in sizes]
    return [
        *drawn,
        _choice_borders(rng, step, [2, 0, 1]),
        _choice_borders(rng, step, [1, 0]),
        _no_queries(drawn[0]),
    ]


def _choice_borders(rng: np.random.Generator, step: int, order: Sequence[int]) -> Case:
    """Draw queries at all places of a long document among short ones, whose texts repeat each other's.

    The first and the last place are among them, and every place a second time. The document behind the long one repeats
    its sentences, so that it gives the query at some places, the next one gives answers, and the third distractors.
    """
    texts = iter(_sentences(rng, 7 + 9 * 4))
    long = [next(texts) for _ in range(7)]
    short = [[next(texts) for _ in range(4)] for _ in range(9)]
    short[4][:] = [long[0], long[1], short[4][2], long[3]]
    short[5][1:3] = [long[1 + step], long[2 + step]]
    short[7][:] = [short[6][0], short[7][1], short[6][2], long[0]]
    documents = [*short[:4], long, *short[4:]]
    queries = [(4, place) for place in (2, 0, 6, 3, 1, 5, 4)] * 2
    queries += [(home, place) for home in (0, 9) for place in (1, 2, 0, 3)]
    return Case({"documents": documents, "queries": queries, "num_options": len(order), "order": list(order)})


def _no_queries(case: Case) -> Case:
    return Case({**case.arguments, "queries": []})


def _sentences(rng: np.random.Generator, count: int) -> list[str]:
    deck = [f"The {a} {verb} the {b}." for a in _NOUNS for verb in _VERBS for b in _NOUNS if a != b]
    return [deck[index] for index in rng.choice(len(deck), count, replace=False)]


def _choice_case(
    rng: np.random.Generator, num_options: int, num_documents: int, num_queries: int, step: int
) -> Case:
    lengths = rng.integers(4, 8, num_documents)
    # The last document has a middle, from which its two ends are equally far.
    lengths[-1] = 5
    texts = iter(_sentences(rng, int(lengths.sum())))
    documents = [[next(texts) for _ in range(length)] for length in lengths]
    places = [(home, place) for home, length in enumerate(lengths) for place in range(length)]
    inner = [pair for pair in places if 0 <= pair[1] + step < lengths[pair[0]]]
    edges = [pair for pair in places if pair not in inner]
    # The second query has no answer; the third one's answer stands in the next document too. The fourth has two
    # farthest sentences, and all other documents stand before its own.
    first, third = (inner[index] for index in rng.choice(len(inner), 2, replace=False))
    queries = [first, edges[int(rng.integers(len(edges)))], third, (num_documents - 1, 2)]
    queries += [places[index] for index in rng.choice(len(places), num_queries - 4, replace=False)]
    home, place = third
    other = documents[(home + 1) % num_documents]
    other[place % len(other)] = documents[home][place + step]
    return Case(
        {
            "documents": documents,
            "queries": queries,
            "num_options": num_options,
            "order": [int(index) for index in rng.permutation(num_options)],
        }
    )


_CHOICE_EXAMPLE: dict[str, Any] = {
    "documents": [
        ["Cats sleep.", "They wake at dusk.", "Then they hunt.", "At dawn they rest."],
        ["Rivers rise in hills.", "They run down.", "They widen.", "They reach the sea."],
        ["Towns grow.", "They need water.", "They dig wells.", "Wells run dry."],
    ],
    "queries": [(0, 1), (1, 2), (2, 1)],
    "num_options": 3,
    "order": [2, 0, 1],
}


_SHARED = Changes()


@_SHARED.as_argument("arrange")
def _answer_always_first(answer, distractors, slot):
    """The answer stands at one place in all examples. A prompt learns that place, and reads nothing."""
    return [answer, *distractors], 0


@_SHARED.with_arguments(count_all=True)
def _counted_all():
    """The places are not equally frequent: a query that gives no example uses up a place."""


@_SHARED.with_arguments(hard=False)
def _topic():
    """No distractor comes from the query's own document: the topic alone tells the answer."""


@_SHARED.with_arguments(later=True)
def _later_of_two():
    """Of two sentences equally far from the query, the later is the distractor. The earlier is asked for."""


@_SHARED.with_arguments(wrap=False)
def _no_wrap_around():
    """Near the end of the list, examples have too few options. After the last document comes the first."""


@_SHARED.with_arguments(repeats=True)
def _repeated():
    """Some examples have one text as two options, so that two answers are right."""


@_SHARED.as_argument("arrange")
def _swapped_with_the_first(answer, distractors, slot):
    """The right options, but the distractors have not kept their order around the answer."""
    options = [answer, *distractors]
    options[0], options[slot] = options[slot], options[0]
    return options, slot


@_SHARED.as_argument("arrange")
def _swapped_with_the_last(answer, distractors, slot):
    """The right options, but the distractors have not kept their order around the answer."""
    options = [*distractors, answer]
    options[-1], options[slot] = options[slot], options[-1]
    return options, slot


@_SHARED.as_argument("arrange")
def _labels_from_one(answer, distractors, slot):
    """The labels count from 1."""
    return _inserted(answer, distractors, slot)[0], slot + 1


@_SHARED.add
def _other_neighbour(right, **case):
    """The answer is the other neighbour of the query."""
    return right(**case, step=-right.keywords["step"])


_OF_TO_AND_FRO = Changes(_SHARED)


@_OF_TO_AND_FRO.with_arguments(to_and_fro=False)
def _one_way():
    """Look again at the second round of places."""


_TURNING, _TO_AND_FRO = partial(_choices, step=1), partial(_choices, step=-1, to_and_fro=True)
VARIANTS = (
    _SHARED.variant(
        _NEXT,
        _TURNING,
        value=shown(_TURNING(**_CHOICE_EXAMPLE)),
        answer="the sentence right **after** the query",
        places="`order[0]`, `order[1]` and so on, and after the last of `order` from its start again",
        step="1",
        code="place = order[len(examples) % num_options]",
    ),
    _OF_TO_AND_FRO.variant(
        _PREVIOUS,
        _TO_AND_FRO,
        value=shown(_TO_AND_FRO(**_CHOICE_EXAMPLE)),
        answer="the sentence right **before** the query",
        places="`order[0]`, `order[1]` and so on to its last, then the whole of `order` backwards, then "
        "forwards again, and so on",
        step="-1",
        code="place = (order + order[::-1])[len(examples) % (2 * num_options)]",
    ),
)
