"""Assignment a3, Pre-trained prompt tuning: the trusted side. The notebook: notebooks/src/assignments/a3.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pprint import pformat
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import (
    AS_GIVEN,
    Assignment,
    Case,
    Measured,
    Mistake,
    Task,
    Variant,
    first_problem,
    shown_source,
)
from course_lib.classroom.checking.answers import as_numbers


def _shown(value: Any) -> str:
    """Give a function's result as the notebook's text shows it, numbers rounded to four places.

    Example:
        >>> _shown({"kept": 0, "loss": np.float64(0.25), "rows": np.array([[1.00004, 2.0]])})
        "{'kept': 0, 'loss': 0.25, 'rows': [[1.0, 2.0]]}"
    """
    return pformat(_rounded(value), width=110, sort_dicts=False)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return np.round(value, 4).tolist() if isinstance(value, np.ndarray | np.floating | float) else value


# --- a3.build_choices: next-sentence choices whose places tell nothing


def _choices(
    documents: Sequence[Sequence[str]],
    queries: Sequence[Sequence[int]],
    num_options: int,
    order: Sequence[int],
    *,
    step: int = 1,
    to_and_fro: bool = False,
    count_all: bool = False,
    arrange: Callable[[str, list[str], int], tuple[list[str], int]] | None = None,
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
        options, label = (arrange or _inserted)(answer, distractors, slot)
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


def _inserted(answer: str, distractors: list[str], slot: int) -> tuple[list[str], int]:
    return [*distractors[:slot], answer, *distractors[slot:]], slot


def _always_first(answer: str, distractors: list[str], slot: int) -> tuple[list[str], int]:
    return [answer, *distractors], 0


def _swapped_with_first(answer: str, distractors: list[str], slot: int) -> tuple[list[str], int]:
    options = [answer, *distractors]
    options[0], options[slot] = options[slot], options[0]
    return options, slot


def _swapped_with_last(answer: str, distractors: list[str], slot: int) -> tuple[list[str], int]:
    options = [*distractors, answer]
    options[-1], options[slot] = options[slot], options[-1]
    return options, slot


def _from_one(answer: str, distractors: list[str], slot: int) -> tuple[list[str], int]:
    return _inserted(answer, distractors, slot)[0], slot + 1


_NEXT = "the next sentence, and the places run in turn"
_PREVIOUS = "the sentence before, and the places run to and fro"
_NOUNS = ("cat", "judge", "river", "letter", "garden", "teacher", "engine", "window", "story", "road")
_VERBS = ("finds", "leaves", "paints", "hears", "follows", "forgets", "opens", "keeps")


def _choice_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    # (options, documents, queries); twice as many queries as options and more, so that places come round again.
    sizes = [(3, 6, 10), (4, 8, 12), (6, 10, 16), (3, 5, 12)]
    step = 1 if variant == _NEXT else -1
    cases = [_choice_case(rng, *size, step=step) for size in sizes]
    return [
        *cases,
        _choice_borders(rng, step, [2, 0, 1]),
        _choice_borders(rng, step, [1, 0]),
        _no_queries(cases[0]),
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
_REORDERED = "The right options, but the distractors have not kept their order around the answer."


def _choice_variant(name: str, *, step: int, to_and_fro: bool, texts: Mapping[str, str]) -> Variant:
    right = partial(_choices, step=step, to_and_fro=to_and_fro)
    mistakes = [
        Mistake(
            "always first",
            "The answer stands at one place in all examples. A prompt learns that place, and reads nothing.",
            partial(right, arrange=_always_first),
        ),
        Mistake(
            "counted all",
            "The places are not equally frequent: a query that gives no example uses up a place.",
            partial(right, count_all=True),
        ),
        Mistake(
            "other neighbour",
            "The answer is the other neighbour of the query.",
            partial(right, step=-step),
        ),
        Mistake(
            "topic",
            "No distractor comes from the query's own document: the topic alone tells the answer.",
            partial(right, hard=False),
        ),
        Mistake(
            "later of two",
            "Of two sentences equally far from the query, the later is the distractor. The earlier is asked for.",
            partial(right, later=True),
        ),
        Mistake(
            "no wrap around",
            "Near the end of the list, examples have too few options. After the last document comes the first.",
            partial(right, wrap=False),
        ),
        Mistake(
            "repeated",
            "Some examples have one text as two options, so that two answers are right.",
            partial(right, repeats=True),
        ),
        Mistake("swapped with the first", _REORDERED, partial(right, arrange=_swapped_with_first)),
        Mistake("swapped with the last", _REORDERED, partial(right, arrange=_swapped_with_last)),
        Mistake("from one", "The labels count from 1.", partial(right, arrange=_from_one)),
    ]
    if to_and_fro:
        mistakes.append(
            Mistake("one way", "Look again at the second round of places.", partial(right, to_and_fro=False))
        )
    texts = {**texts, "value": _shown(right(**_CHOICE_EXAMPLE))}
    return Variant(
        name, {f"build_choices.{key}": text for key, text in texts.items()}, right, tuple(mistakes)
    )


BUILD_CHOICES = Task(
    name="a3.build_choices",
    title="Next-sentence choices that do not leak the answer's place",
    marks=4,
    cases=_choice_cases,
    variants=(
        _choice_variant(
            _NEXT,
            step=1,
            to_and_fro=False,
            texts={
                "answer": "the sentence right **after** the query",
                "places": "`order[0]`, `order[1]` and so on, and after the last of `order` from its start again",
                "step": "1",
                "code": "place = order[len(examples) % num_options]",
            },
        ),
        _choice_variant(
            _PREVIOUS,
            step=-1,
            to_and_fro=True,
            texts={
                "answer": "the sentence right **before** the query",
                "places": "`order[0]`, `order[1]` and so on to its last, then the whole of `order` backwards, then "
                "forwards again, and so on",
                "step": "-1",
                "code": "place = (order + order[::-1])[len(examples) % (2 * num_options)]",
            },
        ),
    ),
    hint="Do the text's small example by hand: answer, distractors in their order, then the place.",
)


# --- a3.start_rows: a soft prompt that begins where word embeddings lie


def _ordinary(
    counts: np.ndarray, special: Sequence[int], *, with_special: bool = False, with_unseen: bool = False
) -> np.ndarray:
    counts = np.asarray(counts)
    keep = np.ones(len(counts), dtype=bool) if with_unseen else counts > 0
    if not with_special:
        keep[list(special)] = False
    return np.flatnonzero(keep)


def _nearest_to_median(
    table: np.ndarray,
    counts: np.ndarray,
    special: Sequence[int],
    num_rows: int,
    *,
    centre: Callable[[np.ndarray], Any] = np.median,
    over_all: bool = False,
    later_first: bool = False,
    by_number: bool = False,
    **kept: bool,
) -> np.ndarray:
    table = np.asarray(table, dtype=float)
    norms = np.linalg.norm(table, axis=1)
    ids = _ordinary(counts, special, **kept)
    ids = ids[::-1] if later_first else ids
    distances = np.abs(norms[ids] - centre(norms if over_all else norms[ids]))
    chosen = ids[np.argsort(distances, kind="stable")[:num_rows]]
    return table[np.sort(chosen) if by_number else chosen]


def _first_rows(
    table: np.ndarray, counts: np.ndarray, special: Sequence[int], num_rows: int, **kept: bool
) -> np.ndarray:
    return np.asarray(table, dtype=float)[_ordinary(counts, special, **kept)[:num_rows]]


def _mean_repeated(
    table: np.ndarray, counts: np.ndarray, special: Sequence[int], num_rows: int
) -> np.ndarray:
    mean = np.asarray(table, dtype=float)[_ordinary(counts, special)].mean(axis=0)
    return np.repeat(mean[None], num_rows, axis=0)


def _most_frequent_first(counts: np.ndarray) -> np.ndarray:
    return np.argsort(-counts, kind="stable")


def _group_means(
    table: np.ndarray,
    counts: np.ndarray,
    special: Sequence[int],
    num_rows: int,
    *,
    ranking: Callable[[np.ndarray], np.ndarray] = _most_frequent_first,
    weighted: bool = True,
    norm: Callable[[np.ndarray], Any] | None = np.median,
    over_all: bool = False,
    **kept: bool,
) -> np.ndarray:
    table, counts = np.asarray(table, dtype=float), np.asarray(counts)
    ids = _ordinary(counts, special, **kept)
    groups = np.array_split(ids[ranking(counts[ids])], num_rows)
    # A group of tokens that never occurred has no weights; a count of one each gives it some.
    weights = np.maximum(counts, 1) if weighted else np.ones(len(counts))
    means = np.stack([np.average(table[group], axis=0, weights=weights[group]) for group in groups])
    if norm is None:
        return means
    norms = np.linalg.norm(table if over_all else table[ids], axis=1)
    return norm(norms) * means / np.linalg.norm(means, axis=1, keepdims=True)


def _table_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    # (tokens, width, rows, norm of the rows of special and unseen tokens over the median): those of the median norm
    # are chosen where they are not left out, and long ones move a median over all rows. The number of ordinary
    # tokens is odd: of an even one, rounding would decide which of the two middle rows is nearer to the median.
    sizes = [(14, 3, 2, 1.0), (40, 8, 5, 4.0), (60, 5, 7, 1.0), (33, 16, 4, 4.0)]
    cases = [_table_case(rng, *size) for size in sizes]
    return cases + [_whole_norms(rng, *size) for size in ((6, 4, 1), (9, 9, 0), (5, 1, 1), (160, 5, 2))]


def _whole_norms(rng: np.random.Generator, num_ordinary: int, num_rows: int, num_special: int) -> Case:
    """Draw a table whose norms are whole numbers, so that the median is exact, also of an even number of rows.

    Few counts, so that many tokens are equally frequent, and the least is 1. Special tokens stand anywhere, if there
    are any.
    """
    num_tokens = num_ordinary + num_special + 2
    # The first and the last token are ordinary.
    places = rng.permutation(np.arange(1, num_tokens - 1))[: num_special + 2]
    special = places[:num_special]
    ordinary = rng.permutation(np.setdiff1d(np.arange(num_tokens), places))
    # Of six rows the middle ones have the norms 5 and 10, equally far from the median, as the ones about them are.
    rows = np.array([[0.0, -1.0], [2.0, 0.0], [3.0, 4.0], [-6.0, 8.0], [5.0, 12.0], [7.0, 24.0]])
    table, counts = np.empty((num_tokens, 2)), np.zeros(num_tokens, dtype=int)
    table[ordinary] = rows[np.arange(num_ordinary) % len(rows)]
    counts[ordinary] = rng.permutation(np.arange(num_ordinary) % 3 + 1)
    counts[special] = 9
    # Long rows of tokens that are left out move a median over all.
    table[places] = [30.0, 40.0]
    return Case(
        {"table": table, "counts": counts, "special": [int(token) for token in special], "num_rows": num_rows}
    )


def _table_case(
    rng: np.random.Generator, num_tokens: int, width: int, num_rows: int, other_norm: float
) -> Case:
    # Norms are skewed, as in real tables, so that their mean is not their median.
    norms = rng.lognormal(0, 0.6, num_tokens)
    table = rng.normal(0.3, 1, (num_tokens, width))
    table *= (norms / np.linalg.norm(table, axis=1))[:, None]
    counts = rng.permutation(np.arange(1, num_tokens + 1)) ** 2
    special = [0, 1, num_tokens - 1]
    unseen = rng.choice(np.arange(2, num_tokens - 1), num_tokens // 6, replace=False)
    counts[unseen] = 0
    # Special tokens are frequent: only their number tells them.
    counts[special] = num_tokens**2 + np.array([3, 2, 1])
    ordinary, others = _ordinary(counts, special), [*special, *unseen]
    norm = other_norm * np.median(np.linalg.norm(table[ordinary], axis=1))
    table[others] *= (norm / np.linalg.norm(table[others], axis=1))[:, None]
    table = np.round(table, 9)
    _tie_norms(table, ordinary, num_rows)
    _tie_counts(counts, ordinary, num_rows)
    return Case({"table": table, "counts": counts, "special": special, "num_rows": num_rows})


def _tie_norms(table: np.ndarray, ordinary: np.ndarray, num_rows: int) -> None:
    """Make the last row that is near enough to the median norm, and the first that is not, equally near."""
    norms = np.linalg.norm(table[ordinary], axis=1)
    signed = norms - np.median(norms)
    nearest = np.argsort(np.abs(signed))
    last = nearest[num_rows - 1]
    # On the same side of the median, which stays where it is.
    beyond = next(row for row in nearest[num_rows:] if signed[row] * signed[last] > 0)
    table[ordinary[beyond]] = -table[ordinary[last]]


def _tie_counts(counts: np.ndarray, ordinary: np.ndarray, num_rows: int) -> None:
    """Make the tokens on both sides of each border between groups equally frequent."""
    groups = np.array_split(ordinary[_most_frequent_first(counts[ordinary])], num_rows)
    for before, behind in pairwise(groups):
        counts[behind[0]] = counts[before[-1]]


_ROWS_EXAMPLE: dict[str, Any] = {
    "table": np.array([[9.0, 9.0], [3.0, 4.0], [0.0, 2.0], [6.0, 8.0], [1.0, 0.0]]),
    "counts": np.array([50, 4, 3, 2, 0]),
    "special": [0],
    "num_rows": 2,
}
_SPECIAL = "Special tokens are among them. Their rows stand for no text."
_UNSEEN = "Rows of tokens that never occurred are among them. Nothing has ever trained those."

_OVER_ALL = "The median is over all rows, not over the ordinary ones."
_TIES = "Of equally frequent tokens, the lower number comes first."
_ONE_ROW = "All rows are the same vector: the prompt starts as one row repeated."


def _rows_variant(
    name: str, right: Callable[..., np.ndarray], texts: Mapping[str, str], *further: Mistake
) -> Variant:
    texts = {**texts, "value": _shown(right(**_ROWS_EXAMPLE))}
    return Variant(
        name,
        {f"start_rows.{key}": text for key, text in texts.items()},
        right,
        (
            Mistake("special", _SPECIAL, partial(right, with_special=True)),
            Mistake("unseen", _UNSEEN, partial(right, with_unseen=True)),
            Mistake("median over all", _OVER_ALL, partial(right, over_all=True)),
            Mistake("one row", _ONE_ROW, _mean_repeated),
            *further,
        ),
    )


START_ROWS = Task(
    name="a3.start_rows",
    title="A soft prompt that begins where word embeddings lie",
    marks=3,
    cases=_table_cases,
    variants=(
        _rows_variant(
            "the rows of a norm nearest to the median",
            _nearest_to_median,
            {
                "rule": "Its rows are those `num_rows` ordinary rows of `table` whose Euclidean norm is nearest to "
                "the **median norm** of the ordinary rows, the nearest first; of equally near rows, that with the "
                "lower number comes first",
                "code": "nearest = np.argsort(np.abs(norms - np.median(norms)), kind='stable')\n"
                "return table[ids[nearest[:num_rows]]]",
            },
            Mistake(
                "mean",
                "This is nearest to the mean norm, which a few long rows pull away.",
                partial(_nearest_to_median, centre=np.mean),
            ),
            Mistake(
                "ties",
                "Of equally near rows, that with the lower number comes first.",
                partial(_nearest_to_median, later_first=True),
            ),
            Mistake(
                "by number",
                "The rows are right, but in the order of their numbers.",
                partial(_nearest_to_median, by_number=True),
            ),
            Mistake("first rows", "These are the first ordinary rows, whatever their norm.", _first_rows),
            Mistake(
                "first of all",
                "These are the first rows of the table. What stands at the head of a vocabulary?",
                partial(_first_rows, with_special=True, with_unseen=True),
            ),
        ),
        _rows_variant(
            "weighted means of groups by frequency rank, scaled to the median norm",
            _group_means,
            {
                "rule": "Rank the ordinary tokens by `counts`, the most frequent first; of equally frequent tokens, "
                "the lower number comes first. Cut the ranking into `num_rows` groups with `np.array_split`. The row "
                "of a group is the mean of its tokens' rows **weighted by `counts`**, scaled to the **median "
                "Euclidean norm** of the ordinary rows",
                "code": "groups = np.array_split(ids[np.argsort(-counts[ids], kind='stable')], num_rows)\n"
                "rows = np.stack([np.average(table[g], axis=0, weights=counts[g]) for g in groups])\n"
                "return rows * np.median(norms) / np.linalg.norm(rows, axis=1, keepdims=True)",
            },
            Mistake(
                "not scaled",
                "Means are shorter than what they are means of: these rows lie nearer to the origin than any word.",
                partial(_group_means, norm=None),
            ),
            Mistake(
                "mean norm",
                "The directions are right, but the norm is the mean one, which a few long rows pull away.",
                partial(_group_means, norm=np.mean),
            ),
            Mistake(
                "unit norm",
                "The directions are right, but the norm is 1: is that usual in this table?",
                partial(_group_means, norm=lambda norms: 1.0),
            ),
            Mistake(
                "unweighted",
                "In these means a rare token counts as much as a frequent one.",
                partial(_group_means, weighted=False),
            ),
            Mistake(
                "rarest first",
                "The ranking runs the other way.",
                partial(_group_means, ranking=partial(np.argsort, kind="stable")),
            ),
            Mistake(
                "ties",
                _TIES,
                partial(_group_means, ranking=lambda counts: np.argsort(counts, kind="stable")[::-1]),
            ),
            # NumPy's default order of equal values is any.
            Mistake(
                "ties in any order", _TIES, partial(_group_means, ranking=lambda counts: np.argsort(-counts))
            ),
            Mistake(
                "ties in any order, turned",
                _TIES,
                partial(_group_means, ranking=lambda counts: np.argsort(counts)[::-1]),
            ),
        ),
    ),
    hint="First the numbers of the ordinary tokens, then their rows' norms, then the rule.",
)


# --- a3.label_loss: label words of several tokens


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _log_softmax_unstable(logits: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.log(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))


def _log_softmax_infinite(logits: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def _word_scores(
    logits: np.ndarray,
    words: Sequence[Sequence[int]],
    *,
    mean: bool = False,
    first_only: bool = False,
    labels_only: bool = False,
    padding: tuple[int, ...] = (),
    log_softmax: Callable[[np.ndarray], np.ndarray] = _log_softmax,
) -> np.ndarray:
    logits = np.asarray(logits, dtype=float)
    if labels_only:
        tokens = sorted({token for word in words for token in word})
        kept = np.full(logits.shape[-1], -np.inf)
        kept[tokens] = 0.0
        logits = logits + kept
    found = log_softmax(logits)
    scores = np.zeros(logits.shape[:2])
    for number, word in enumerate(words):
        read = word[:1] if first_only else [*word, *padding * (logits.shape[2] - len(word))]
        steps = [found[:, number, step, token] for step, token in enumerate(read)]
        scores[:, number] = np.mean(steps, axis=0) if mean else np.sum(steps, axis=0)
    return scores


def _smoothed(log_shares: np.ndarray, labels: np.ndarray, strength: float, *, others: bool = False) -> Any:
    right = log_shares[np.arange(len(labels)), labels]
    num_labels = log_shares.shape[1]
    rest = log_shares.sum(axis=1) - (right if others else 0)
    return -((1 - strength) * right + strength * rest / (num_labels - others))


def _focal(log_shares: np.ndarray, labels: np.ndarray, strength: float, *, turned: bool = False) -> Any:
    right = log_shares[np.arange(len(labels)), labels]
    share = np.exp(right)
    return -((share if turned else 1 - share) ** strength) * right


def _plain(log_shares: np.ndarray, labels: np.ndarray, strength: float) -> Any:
    return -log_shares[np.arange(len(labels)), labels]


def _label_loss(
    logits: np.ndarray,
    words: Sequence[Sequence[int]],
    labels: np.ndarray,
    strength: float,
    *,
    loss: Callable[..., Any],
    vocabulary: bool = False,
    together: Callable[[np.ndarray], Any] = np.mean,
    **scoring: Any,
) -> dict[str, Any]:
    scores = _word_scores(logits, words, **scoring)
    log_shares = scores if vocabulary else _log_softmax(scores)
    return {"scores": scores, "loss": float(together(loss(log_shares, np.asarray(labels), strength)))}


def _logit_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    # (lengths of the label words, examples, tokens in the vocabulary, what is added to all logits)
    sizes = [
        ((1, 2), 2, 8, 0.0),
        ((1, 3, 2), 4, 12, 0.0),
        ((2, 2, 1, 3), 5, 15, 3.0),
        ((2, 1, 2), 3, 10, 1000.0),
        ((1, 2), 2, 9, -1000.0),
    ]
    largest = 0.4 if variant == _SUMMED else 2.0
    cases = [_logit_case(rng, *size, largest=largest) for size in sizes]
    # Examples of which one alone is large; labels that the model all finds next to impossible; one label and one
    # example; words of one token and a strength of 0.
    cases.append(_logit_case(rng, (1, 3), 3, 9, 0.0, largest=largest))
    cases[-1].arguments["logits"][0] += 1000.0
    cases.append(_logit_case(rng, (1, 2, 1), 2, 12, 0.0, largest=largest))
    _make_impossible(cases[-1])
    cases.append(_logit_case(rng, (2,), 1, 6, 0.0, largest=largest))
    cases.append(_logit_case(rng, (1, 1, 1), 4, 8, 0.0, largest=0.0))
    return cases


def _make_impossible(case: Case) -> None:
    """Give a word that is no label nearly all of the probability."""
    used = {token for word in case.arguments["words"] for token in word}
    other = next(token for token in range(case.arguments["logits"].shape[-1]) if token not in used)
    case.arguments["logits"][..., other] = 1000.0


def _logit_case(
    rng: np.random.Generator,
    lengths: Sequence[int],
    num_examples: int,
    num_tokens: int,
    shift: float,
    *,
    largest: float,
) -> Case:
    first = int(rng.integers(num_tokens))
    words = [[int(token) for token in rng.choice(num_tokens, length, replace=False)] for length in lengths]
    # Two words of several tokens share their first one.
    for word in [word for word in words if len(word) > 1][:2]:
        word[:] = [first, *[token if token != first else (first + 1) % num_tokens for token in word[1:]]]
    shape = (num_examples, len(words), max(lengths), num_tokens)
    return Case(
        {
            "logits": np.round(rng.normal(0, 2, shape), 3) + shift,
            "words": words,
            "labels": rng.integers(0, len(words), num_examples),
            "strength": round(float(rng.uniform(0.25, 1) * largest), 3),
        }
    )


_SUMMED = "sums over tokens, smoothed labels"
_AVERAGED = "means over tokens, focal loss"


_PADDING = "What stands behind a word's end is counted too. The numbers there have no meaning."
_OVERFLOW = (
    "With large logits, the exponentials overflow. Adding one number to all logits must change nothing."
)
_LOSS_EXAMPLE: dict[str, Any] = {
    "logits": np.zeros((1, 2, 2, 4)),
    "words": [[1], [2, 3]],
    "labels": np.array([0]),
    "strength": 0.5,
}


def _loss_variant(
    name: str, loss: Callable, mean: bool, *further: Mistake, texts: Mapping[str, str]
) -> Variant:
    right = partial(_label_loss, loss=loss, mean=mean)
    texts = {**texts, "value": _shown(right(**_LOSS_EXAMPLE))}
    return Variant(
        name,
        {f"label_loss.{key}": text for key, text in texts.items()},
        right,
        (
            Mistake(
                "first token",
                "A word is scored by its first token alone, which two labels can share.",
                partial(right, first_only=True),
            ),
            Mistake(
                "other length",
                "Look again at what several tokens of one word make together: a sum, or a mean?",
                partial(right, mean=not mean),
            ),
            Mistake(
                "label tokens alone",
                "A token's probability is one among the whole vocabulary. The labels are compared with each other "
                "afterwards.",
                partial(right, labels_only=True),
            ),
            Mistake(
                "whole vocabulary",
                "The scores are right. The loss compares each with the whole vocabulary; the labels were to be "
                "compared with each other.",
                partial(right, vocabulary=True),
            ),
            Mistake(
                "plain",
                "The scores are right; `strength` has no effect on the loss.",
                partial(right, loss=_plain),
            ),
            Mistake(
                "summed",
                "The scores are right; the loss is summed over the examples.",
                partial(right, together=np.sum),
            ),
            Mistake("padding of 0", _PADDING, partial(right, padding=(0,))),
            Mistake("padding of -1", _PADDING, partial(right, padding=(-1,))),
            Mistake("overflow to NaN", _OVERFLOW, partial(right, log_softmax=_log_softmax_unstable)),
            Mistake("overflow to -inf", _OVERFLOW, partial(right, log_softmax=_log_softmax_infinite)),
            *further,
        ),
    )


LABEL_LOSS = Task(
    name="a3.label_loss",
    title="The loss over label words of several tokens",
    marks=4,
    cases=_logit_cases,
    variants=(
        _loss_variant(
            _SUMMED,
            _smoothed,
            False,
            Mistake(
                "others",
                "The smoothing leaves out the right label: ε is spread over all L labels.",
                partial(_label_loss, loss=partial(_smoothed, others=True)),
            ),
            texts={
                "score": r"s_{bl} = \sum_{t} \log p_{blt}",
                "loss": r"\ell_b = -(1 - \varepsilon) \log q_{b y_b} - \frac{\varepsilon}{L} \sum_{l} \log q_{bl}",
                "symbol": r"\varepsilon",
                "together": "sum",
                "code": "losses = -(1 - strength) * right - strength * log_q.mean(axis=1)",
            },
        ),
        _loss_variant(
            _AVERAGED,
            _focal,
            True,
            Mistake(
                "turned",
                "The weights are turned round: a focal loss gives little weight to what is right already.",
                partial(_label_loss, loss=partial(_focal, turned=True), mean=True),
            ),
            texts={
                "score": r"s_{bl} = \frac{1}{T_l} \sum_{t} \log p_{blt}",
                "loss": r"\ell_b = -(1 - q_{b y_b})^{\gamma} \log q_{b y_b}",
                "symbol": r"\gamma",
                "together": "mean",
                "code": "losses = -((1 - np.exp(right)) ** strength) * right",
            },
        ),
    ),
    hint="Three steps: log-probabilities of the tokens, one score a word, then a softmax over the words alone.",
)


# --- a3.draw_few_shot: a few-shot split by groups, balanced


def _few_shot(
    labels: Sequence[int],
    groups: Sequence[str],
    order: Sequence[int],
    per_class: int,
    *,
    cycle: Sequence[str] = ("train", "development"),
    one_each: bool = False,
    by_row: bool = False,
    by_name: bool = False,
    turns_by_class: bool = False,
    ordered: bool = True,
    balanced: str = "together",
) -> dict[str, list[int]]:
    order = [int(row) for row in (order if ordered else sorted(order))]
    firsts: dict[str, int] = {}
    for row in order:
        firsts.setdefault(groups[row], row)
    candidates = list(firsts.values()) if one_each else order
    classes = sorted({int(label) for label in labels})
    sides = {}
    for label in classes:
        rows = [row for row in candidates if labels[row] == label or not turns_by_class]
        sides[label] = _sides([groups[row] for row in rows], cycle, by_name=by_name)
    pools: dict[str, list[int]] = {"train": [], "development": []}
    for row in candidates:
        turn = order.index(row)
        pools[cycle[turn % len(cycle)] if by_row else sides[labels[row]][groups[row]]].append(row)
    counts = {side: [sum(labels[r] == c for r in rows) for c in classes] for side, rows in pools.items()}
    least = {side: min(per_class, *count) for side, count in counts.items()}
    if balanced == "together":
        least = dict.fromkeys(least, min(least.values()))
    if balanced == "not":
        least = dict.fromkeys(least, per_class)
    return {side: _first_of_each(rows, labels, least[side]) for side, rows in pools.items()}


def _sides(groups: Sequence[str], cycle: Sequence[str], *, by_name: bool) -> dict[str, str]:
    """Give each group's side: the groups take turns as they first occur, or by name."""
    names = list(dict.fromkeys(groups))
    names = sorted(names) if by_name else names
    return {name: cycle[turn % len(cycle)] for turn, name in enumerate(names)}


def _first_of_each(rows: Sequence[int], labels: Sequence[int], count: int) -> list[int]:
    taken: dict[int, int] = {}
    chosen = []
    for row in rows:
        label = int(labels[row])
        taken[label] = taken.get(label, 0) + 1
        if taken[label] <= count:
            chosen.append(row)
    return chosen


def _sorted_sides(*, right: Callable[..., Any], by_class: bool = False, **case: Any) -> dict[str, list[int]]:
    labels = case["labels"]
    key = (lambda row: labels[row]) if by_class else None
    return {side: sorted(rows, key=key) for side, rows in right(**case).items()}


def _split_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    # (rows, groups, classes, examples a class): the later ones ask for more than there is.
    sizes = [(16, 5, 2, 1), (60, 24, 2, 3), (90, 40, 3, 2), (40, 16, 2, 20), (60, 30, 3, 20), (80, 30, 2, 20)]
    cases = [_split_case(rng, *size) for size in sizes]
    for groups in _SCARCE:
        cases.append(_scarce_split(rng, groups, scarce=len(cases) % 3, per_class=9))
    # As many as asked for, one more, and one fewer; a row of each group alone.
    cases += [_scarce_split(rng, range(18), scarce=0, per_class=count) for count in (5, 6, 7, 9)]
    return [*cases, _split_of(rng, [(turn, turn // 6) for turn in range(18)], per_class=1)]


def _split_case(
    rng: np.random.Generator, num_rows: int, num_groups: int, num_classes: int, per_class: int
) -> Case:
    # Every group occurs, and every class; the first class is the most frequent.
    groups = np.concatenate([np.arange(num_groups), rng.integers(0, num_groups, num_rows - num_groups)])
    shares = np.arange(num_classes + 1, 1, -1) / np.arange(2, num_classes + 2).sum()
    labels = np.concatenate(
        [np.arange(num_classes), rng.choice(num_classes, num_rows - num_classes, p=shares)]
    )
    names = [f"review {number:02}" for number in rng.permutation(num_groups)]
    return Case(
        {
            "labels": [int(label) for label in rng.permutation(labels)],
            "groups": [names[group] for group in groups],
            "order": [int(row) for row in rng.permutation(num_rows)],
            "per_class": per_class,
        }
    )


# Which of 18 groups have a row of the scarce class: it decides on the side for training, on the other one, and is not
# there at all on either. The groups 0, 4, 6, 10, 12 and 16 are for training in both forms, 5, 11 and 17 in none.
_SCARCE: tuple[Sequence[int], ...] = ((0, 5, 11, 17), (0, 4, 6, 10, 5), (0, 4, 6, 5, 11), (0, 4), (5, 11))
_NUM_GROUPS = 18


def _scarce_split(rng: np.random.Generator, groups: Sequence[int], *, scarce: int, per_class: int) -> Case:
    """Draw groups with a row of each class, but of the scarce one in some groups alone, where it is drawn first."""
    rows = []
    for turn in range(_NUM_GROUPS):
        others = [label for label in range(3) if label != scarce]
        # Both of the others are drawn first in some groups of each side.
        labels = [scarce] * (turn in groups) + (others if turn // 6 % 2 else others[::-1])
        rows += [(turn, label) for label in labels]
    return _split_of(rng, rows, per_class)


def _split_of(rng: np.random.Generator, rows: Sequence[tuple[int, int]], per_class: int) -> Case:
    """Give a case of rows, each a group and a label, in the order of the draw; their numbers and names are drawn."""
    order = [int(number) for number in rng.permutation(len(rows))]
    names = [f"review {number:02}" for number in rng.permutation(_NUM_GROUPS)]
    placed = dict(zip(order, rows, strict=True))
    return Case(
        {
            "labels": [placed[number][1] for number in range(len(rows))],
            "groups": [names[placed[number][0]] for number in range(len(rows))],
            "order": order,
            "per_class": per_class,
        }
    )


_SPLIT_EXAMPLE: dict[str, Any] = {
    "labels": [1, 1, 0, 1, 1, 1, 1, 0],
    "groups": ["a", "a", "b", "c", "d", "e", "f", "g"],
    "order": [7, 1, 5, 3, 4, 2, 0, 6],
    "per_class": 1,
}


def _split_variant(
    name: str, cycle: Sequence[str], one_each: bool, limit: str, texts: Mapping[str, str]
) -> Variant:
    right = partial(_few_shot, cycle=cycle, one_each=one_each)
    texts = {**texts, "value": _shown(right(**_SPLIT_EXAMPLE))}
    other_cycle = ("train", "train", "development") if len(cycle) == 2 else ("train", "development")
    return Variant(
        name,
        {f"draw_few_shot.{key}": text for key, text in texts.items()},
        right,
        (
            Mistake(
                "leak",
                "Rows of one group lie on both sides: what is learnt of a review by heart then counts as skill.",
                partial(right, by_row=True),
            ),
            Mistake("limit", limit, partial(right, one_each=not one_each)),
            Mistake(
                "unbalanced",
                "Where a class has too few rows, the sides are not balanced.",
                partial(right, balanced="not"),
            ),
            Mistake(
                "each side alone",
                "Each side is balanced, but they differ in size: the scarcest class of either side decides for both.",
                partial(right, balanced="alone"),
            ),
            Mistake(
                "cycle", "Look again at which groups go to which side.", partial(right, cycle=other_cycle)
            ),
            Mistake(
                "file order",
                "The rows are taken in the order of the file. `order` is the draw.",
                partial(right, ordered=False),
            ),
            Mistake(
                "by name",
                "The groups take turns by name. They come in the order of the draw.",
                partial(right, by_name=True),
            ),
            Mistake(
                "sorted",
                "The right rows are in the right sides, but sorted, not in the order of the draw.",
                partial(_sorted_sides, right=right),
            ),
            Mistake(
                "class by class",
                "The right rows are in the right sides, but class by class, not in the order of the draw.",
                partial(_sorted_sides, right=right, by_class=True),
            ),
            Mistake(
                "turns by class",
                "The turns begin anew for each class, so that one group can lie on both sides. All groups take "
                "turns once.",
                partial(right, turns_by_class=True),
            ),
        ),
    )


DRAW_FEW_SHOT = Task(
    name="a3.draw_few_shot",
    title="A few-shot split by groups, balanced over classes",
    marks=3,
    cases=_split_cases,
    variants=(
        _split_variant(
            "the groups alternate",
            ("train", "development"),
            False,
            "Only the first row of each group is used. Here all of them may be.",
            {
                "turns": "The first goes to training, the second to development, the third to training, and so on",
                "candidates": "All rows of its groups are a side's candidates",
                "cycle": '["train", "development"]',
                "code": "candidates = order",
            },
        ),
        _split_variant(
            "two groups of three for training, one row a group",
            ("train", "train", "development"),
            True,
            "A group gives more than one row. Sentences of one review are no independent examples.",
            {
                "turns": "The first and second group go to training, the third to development, the fourth and fifth "
                "to training, and so on",
                "candidates": "A side's candidates are its groups' first rows in `order`, **one row a group**",
                "cycle": '["train", "train", "development"]',
                "code": "candidates = [next(r for r in order if groups[r] == name) for name in names]",
            },
        ),
    ),
    hint="First the groups in the order of the draw, then the sides' candidates, then how many rows of each class.",
)


# --- a3.report: find the bug in an evaluation


def _report_right(development, development_labels, test, test_labels, label_ids):  # type: ignore[no-untyped-def]
    best, kept = -1.0, 0
    for step in range(len(development)):
        predicted = development[step][:, label_ids].argmax(axis=1)
        accuracy = (predicted == development_labels).mean()
        if accuracy > best:
            best, kept = accuracy, step
    predicted = test[kept][:, label_ids].argmax(axis=1)
    return {"kept": kept, "development": best, "test": (predicted == test_labels).mean()}


def _report_vocabulary(development, development_labels, test, test_labels, label_ids):  # type: ignore[no-untyped-def]
    best, kept = -1.0, 0
    for step in range(len(development)):
        predicted = development[step].argmax(axis=1)
        accuracy = (predicted == np.array(label_ids)[development_labels]).mean()
        if accuracy > best:
            best, kept = accuracy, step
    predicted = test[kept].argmax(axis=1)
    accuracy = (predicted == np.array(label_ids)[test_labels]).mean()
    return {"kept": kept, "development": best, "test": accuracy}


def _report_best_test(development, development_labels, test, test_labels, label_ids):  # type: ignore[no-untyped-def]
    best, kept, reported = -1.0, 0, 0.0
    for step in range(len(development)):
        predicted = development[step][:, label_ids].argmax(axis=1)
        accuracy = (predicted == development_labels).mean()
        if accuracy > best:
            best, kept = accuracy, step
        predicted = test[step][:, label_ids].argmax(axis=1)
        reported = max(reported, (predicted == test_labels).mean())
    return {"kept": kept, "development": best, "test": reported}


def _report_chosen_on_test(development, development_labels, test, test_labels, label_ids):  # type: ignore[no-untyped-def]
    best, kept = -1.0, 0
    for step in range(len(test)):
        predicted = test[step][:, label_ids].argmax(axis=1)
        accuracy = (predicted == test_labels).mean()
        if accuracy > best:
            best, kept = accuracy, step
    predicted = development[kept][:, label_ids].argmax(axis=1)
    return {"kept": kept, "development": (predicted == development_labels).mean(), "test": best}


def _report_last_of_equals(development, development_labels, test, test_labels, label_ids):  # type: ignore[no-untyped-def]
    accuracies = [
        (part[:, label_ids].argmax(axis=1) == np.asarray(development_labels)).mean() for part in development
    ]
    kept = max(range(len(accuracies)), key=lambda step: (accuracies[step], step))
    accuracy = (test[kept][:, label_ids].argmax(axis=1) == test_labels).mean()
    return {"kept": kept, "development": accuracies[kept], "test": accuracy}


def _report_last_step(development, development_labels, test, test_labels, label_ids):  # type: ignore[no-untyped-def]
    kept = len(development) - 1
    right = [
        (part[kept][:, label_ids].argmax(axis=1) == np.asarray(labels)).mean()
        for part, labels in ((development, development_labels), (test, test_labels))
    ]
    return {"kept": kept, "development": right[0], "test": right[1]}


def _report_test_of_last_step(development, development_labels, test, test_labels, label_ids):  # type: ignore[no-untyped-def]
    right = _report_right(development, development_labels, test, test_labels, label_ids)
    predicted = test[-1][:, label_ids].argmax(axis=1)
    return {**right, "test": (predicted == test_labels).mean()}


def _report_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    cases = [_report_case(rng, *size) for size in [(3, 8, 2), (5, 12, 2), (6, 15, 3), (8, 16, 4)]]
    # The best step first, last, and alone; labels in any order of their tokens; nothing right at all.
    return [
        *cases,
        *(_report_border(rng, best, num_steps) for best, num_steps in ((0, 4), (3, 4), (0, 1), (-1, 3))),
    ]


def _report_border(rng: np.random.Generator, best: int, num_steps: int) -> Case:
    """Draw scores of which one step's alone are all right on the development set; none's if the step is -1."""
    label_ids, num_tokens = [7, 2, 5], 10
    labels = {"development": rng.permutation(np.arange(9) % 3), "test": rng.permutation(np.arange(11) % 3)}
    scores = {}
    for name, right in labels.items():
        said = np.stack([(right + 1 + rng.integers(0, 2, len(right))) % 3 for _ in range(num_steps)])
        if best >= 0:
            said[best, 1 if name == "test" else 0 :] = right[1 if name == "test" else 0 :]
        scores[name] = np.round(rng.uniform(-1, 1, (*said.shape, num_tokens)), 3)
        np.put_along_axis(scores[name], np.array(label_ids)[said][..., None], 2.0, axis=2)
        # A word that is no label is likeliest, wherever it is looked for.
        scores[name][..., 3] = 5.0
    return Case(
        {
            "development": scores["development"],
            "development_labels": labels["development"],
            "test": scores["test"],
            "test_labels": labels["test"],
            "label_ids": label_ids,
        }
    )


def _report_case(rng: np.random.Generator, num_steps: int, num_examples: int, num_labels: int) -> Case:
    num_tokens = 3 * num_labels + 4
    label_ids = [int(token) for token in rng.choice(num_tokens, num_labels, replace=False)]
    skills = rng.permutation(np.linspace(0.2, 1.2, num_steps))
    development_labels = rng.integers(0, num_labels, num_examples)
    test_labels = rng.integers(0, num_labels, 2 * num_examples)
    development = _scored(rng, development_labels, label_ids, num_tokens, skills)
    test = _scored(rng, test_labels, label_ids, num_tokens, skills[::-1])
    right = [(part[:, label_ids].argmax(axis=1) == development_labels).mean() for part in development]
    best = int(np.argmax(right[:-1]))
    # Two steps are equally good, and neither is the last; the last one is worse. The test set prefers a third.
    development = np.concatenate([development[:-1], development[[best]], -development[[best]]])
    test = np.concatenate([test, -test[[best]]])
    third = 0 if best else 1
    test[third] = _scored(rng, test_labels, label_ids, num_tokens, np.array([2.5]))[0]
    return Case(
        {
            "development": development,
            "development_labels": development_labels,
            "test": test,
            "test_labels": test_labels,
            "label_ids": label_ids,
        }
    )


def _scored(
    rng: np.random.Generator,
    labels: np.ndarray,
    label_ids: Sequence[int],
    num_tokens: int,
    skills: np.ndarray,
) -> np.ndarray:
    logits = rng.normal(0, 1, (len(skills), len(labels), num_tokens))
    logits[:, np.arange(len(labels)), np.asarray(label_ids)[labels]] += skills[:, None]
    return np.round(logits, 3)


_REPORT_EXAMPLE: dict[str, Any] = {
    "development": np.array([[[5.0, 1.0, 0.0], [5.0, 0.0, 1.0]]]),
    "development_labels": np.array([0, 1]),
    "test": np.array([[[5.0, 1.0, 0.0]]]),
    "test_labels": np.array([1]),
    "label_ids": [1, 2],
}


def _bug(name: str, function: Callable, hint: str, symptom: str) -> Variant:
    others = {
        "vocabulary": (
            _report_vocabulary,
            "Any word that is no label counts as wrong: a prompt that knows the answer but says another word loses.",
        ),
        "best test": (_report_best_test, "The reported number is the best of many looks at the test set."),
        "chosen on test": (
            _report_chosen_on_test,
            "The step is chosen on the examples that it is reported on.",
        ),
        "last of equals": (_report_last_of_equals, "Of equally good steps, another one is kept."),
        "last step": (_report_last_step, "This keeps the last step, however good the earlier ones were."),
        "test of the last step": (
            _report_test_of_last_step,
            "The test accuracy is that of the last step. Report that of the step that was kept.",
        ),
    }
    mistakes = [
        Mistake(key, (AS_GIVEN + hint) if wrong is function else text, wrong)
        for key, (wrong, text) in others.items()
    ]
    texts = {
        "bug": shown_source(function, "report_with_bug"),
        "symptom": symptom,
        "value": _shown(_report_right(**_REPORT_EXAMPLE)),
    }
    return Variant(
        name, {f"report.{key}": text for key, text in texts.items()}, _report_right, tuple(mistakes)
    )


REPORT = Task(
    name="a3.report",
    title="Find the bug in an evaluation",
    marks=2,
    cases=_report_cases,
    variants=(
        _bug(
            "the bug is in the predictions",
            _report_vocabulary,
            "Which words can `predicted` be, and which are labels?",
            "a prompt that has not been tuned comes out far below chance, though its scores of the label words are "
            "no worse than chance",
        ),
        _bug(
            "the bug is in the reported number",
            _report_best_test,
            "Which step's prompt has the accuracy that is reported?",
            "on new examples, the prompt that was kept is worse than reported, run after run",
        ),
        _bug(
            "the bug is in the choice",
            _report_chosen_on_test,
            "Which examples decide what is kept?",
            "the kept prompt is not the one with the best development accuracy, and it disappoints on new examples",
        ),
    ),
    hint="Write down for each step which examples are read, and what is taken from them.",
)


# --- a3.tune_prompt: the open experiment

ACTIVATIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "the hyperbolic tangent": (np.tanh, lambda hidden: 1 - np.tanh(hidden) ** 2),
    "a rectifier": (lambda hidden: np.maximum(hidden, 0), lambda hidden: (hidden > 0).astype(float)),
}
WIDTH, HIDDEN = 6, 6
NUM_TRAIN, NUM_DEVELOPMENT, NUM_TEST = 32, 64, 400
# The share of labels that are wrong.
FLIPPED = 0.05
# What the parts are worth.
TUNING_MARKS = {"test accuracy": 2, "choice as reported": 1, "candidates from the training examples": 1}
# How many prompts are to be chosen among.
LEAST_CANDIDATES, MOST_CANDIDATES = 5, 20
# The share of a plain tuning's gain in test accuracy that has to be reached in each pair of cases; what good learning
# rates reach at least, and wrong ones at most.
LEAST_GAIN, LEAST_GOOD_GAIN, MOST_WRONG_GAIN = 0.6, 0.75, 0.45
# The share of a plain tuning's fall in training loss from which a prompt counts as tuned.
LEAST_FALL = 0.25
# What a plain tuning gains in test accuracy at least.
LEAST_PLAIN_GAIN = 0.1
# Multiples of the start: prompts that can be answered without a look at the examples.
MULTIPLES = (0.0, -1.0, 0.5, 2.0)
RATES = (0.1, 0.5, 1.0, 2.0)
# As slow as 300 steps with 0.01.
SLOW_RATE = 0.015
# Learning rates with which a tuning comes to nothing; in some pair of cases, this is to be seen.
TOO_SLOW, TOO_FAST = (0.005, 0.02), (5.0, 20.0)
LOOKS, STEPS_BETWEEN, MOST_STEPS_BETWEEN = 20, 10, 15


def _tuning_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    pairs = [_tuning_pair(rng, variant, wrong) for wrong in (TOO_SLOW, TOO_FAST, ())]
    return [case for place in rng.permutation(len(pairs)) for case in pairs[place]]


def _tuning_pair(rng: np.random.Generator, form: str, wrong_rates: Sequence[float]) -> list[Case]:
    """Draw two cases that differ in their development and test examples alone; again until they tell something."""
    while True:
        given, target = _frozen(rng, form)
        given["x_train"], given["y_train"] = _texts(rng, form, given, target, NUM_TRAIN)
        pair = [_tuning_case(rng, form, given, target) for _ in range(2)]
        if _is_telling(pair, wrong_rates):
            return pair


def _tuning_case(
    rng: np.random.Generator, form: str, given: Mapping[str, np.ndarray], target: np.ndarray
) -> Case:
    x, y = _texts(rng, form, given, target, NUM_DEVELOPMENT)
    x_test, y_test = _texts(rng, form, given, target, NUM_TEST)
    arguments = {**given, "x_development": x, "y_development": y, "x_test": x_test}
    return Case(arguments, {"y_test": y_test, "form": form})


def _is_telling(pair: Sequence[Case], wrong_rates: Sequence[float]) -> bool:
    """Say whether there is enough to gain: with any of the rates, and with no wrong one nor a multiple of the start.

    A share of next to nothing says nothing, and nobody is to lose marks by one bad local minimum.
    """
    paths = _paths(pair[0], (*RATES, SLOW_RATE, *wrong_rates))
    plain = [_best(case, np.concatenate(paths[: len(RATES)])) for case in pair]
    if _gain(pair, plain) < LEAST_PLAIN_GAIN:
        return False

    def shares(some_paths: Sequence[np.ndarray]) -> list[float]:
        return [_gain_share(pair, [_best(case, path) for case in pair], plain) for path in some_paths]

    wrong = [*paths[len(RATES) + 1 :], *_paths(pair[0], wrong_rates, MOST_STEPS_BETWEEN)]
    if (
        max(shares(wrong), default=0.0) > MOST_WRONG_GAIN
        or min(shares(paths[: len(RATES)])) < LEAST_GOOD_GAIN
    ):
        return False
    slow = [_best(case, paths[len(RATES)]) for case in pair]
    return min(map(_fall_share, pair, slow, plain)) >= LEAST_FALL and not any(
        _multiple_passes(pair, factor, plain) for factor in MULTIPLES
    )


def _multiple_passes(pair: Sequence[Case], factor: float, plain: Sequence[np.ndarray]) -> bool:
    """Say whether a multiple of the start would pass as tuned, or gain as much as is asked for."""
    prompts = [factor * case.arguments["start"] for case in pair]
    falls = map(_fall_share, pair, prompts, plain)
    return max(falls) >= LEAST_FALL or _gain_share(pair, prompts, plain) >= LEAST_GAIN


def _frozen(rng: np.random.Generator, form: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draw a frozen model, a start, and the prompt that makes the labels.

    Drawn again until both classes are frequent, and the start and its multiples are far from good: otherwise there
    is nothing to tune.
    """
    while True:
        given = {
            "weights": np.round(rng.normal(0, 1 / np.sqrt(WIDTH), (HIDDEN, WIDTH)), 4),
            "output": np.round(rng.normal(0, 2, (2, HIDDEN)), 4),
            "start": np.round(rng.normal(0, 0.5, HIDDEN), 4),
        }
        target = rng.normal(0, 1.5, HIDDEN)
        x = rng.normal(0, 1.5, (300, WIDTH))
        labels = _scores(form, given, target, x).argmax(axis=1)
        if 0.35 < labels.mean() < 0.65 and all(
            (_scores(form, given, factor * given["start"], x).argmax(axis=1) == labels).mean() < 0.7
            for factor in (1.0, *MULTIPLES)
        ):
            return given, target


def _texts(
    rng: np.random.Generator, form: str, given: Mapping[str, np.ndarray], target: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    x = np.round(rng.normal(0, 1.5, (count, WIDTH)), 4)
    labels = _scores(form, given, target, x).argmax(axis=1)
    return x, np.where(rng.random(count) < FLIPPED, 1 - labels, labels)


def _scores(form: str, given: Mapping[str, np.ndarray], prompt: np.ndarray, x: np.ndarray) -> np.ndarray:
    return ACTIVATIONS[form][0](x @ given["weights"].T + prompt) @ given["output"].T


def _set_loss(form: str, given: Mapping[str, np.ndarray], prompt: np.ndarray, name: str) -> float:
    return float(_set_losses(form, given, prompt, name))


def _set_losses(form: str, given: Mapping[str, np.ndarray], prompts: np.ndarray, name: str) -> np.ndarray:
    """Give the loss on a set behind one prompt, [H], or behind each of several, [K, 1, H]."""
    x, y = given[f"x_{name}"], given[f"y_{name}"]
    return np.asarray(
        -_log_softmax(_scores(form, given, prompts, x))[..., np.arange(len(y)), y].mean(axis=-1)
    )


def _paths(case: Case, rates: Sequence[float], steps_between: int = STEPS_BETWEEN) -> list[np.ndarray]:
    """Give the prompts at each look of a gradient descent, for each rate an array [looks, H]."""
    given = case.arguments
    activation, derivative = ACTIVATIONS[case.hidden["form"]]
    without_prompt, labels = given["x_train"] @ given["weights"].T, np.eye(2)[given["y_train"]]
    sizes, prompts, kept = np.array(rates)[:, None], given["start"][None], []
    for step in range(1, LOOKS * steps_between + 1):
        hidden = without_prompt + prompts[:, None]
        errors = np.exp(_log_softmax(activation(hidden) @ given["output"].T)) - labels
        prompts = prompts - sizes * (errors @ given["output"] * derivative(hidden)).mean(axis=1)
        if step % steps_between == 0:
            kept.append(prompts)
    return list(np.stack(kept, axis=1))


def _best(case: Case, candidates: np.ndarray) -> np.ndarray:
    """Give the candidate with the least development loss."""
    losses = _set_losses(case.hidden["form"], case.arguments, candidates[:, None], "development")
    return np.asarray(candidates[int(np.argmin(losses))])


def _tuned(case: Case) -> np.ndarray:
    """Tune plainly: the prompt with the least development loss of a few learning rates and looks."""
    return _best(case, np.concatenate(_paths(case, RATES)))


def _case_loss(case: Case, prompt: np.ndarray, name: str) -> float:
    return _set_loss(case.hidden["form"], case.arguments, prompt, name)


def _fall_share(case: Case, prompt: np.ndarray, plain: np.ndarray) -> float:
    """Give the fall of the training loss from the start to a prompt, as a share of that to a plainly tuned one."""
    start, own, reached = (
        _case_loss(case, tried, "train") for tried in (case.arguments["start"], prompt, plain)
    )
    return (start - own) / (start - reached)


def _gain(cases: Sequence[Case], prompts: Sequence[np.ndarray]) -> float:
    """Give the gain in test accuracy over the start, all cases together."""
    started, _ = _on_test_texts(cases, [case.arguments["start"] for case in cases])
    return _on_test_texts(cases, prompts)[0] - started


def _gain_share(cases: Sequence[Case], prompts: Sequence[np.ndarray], plain: Sequence[np.ndarray]) -> float:
    """Give this gain as a share of plainly tuned prompts'."""
    return _gain(cases, prompts) / _gain(cases, plain)


def _tuning_properties(cases: Sequence[Case], answers: Sequence[Any]) -> list[Measured]:
    unusable = first_problem(_prompt_problem(answer) for answer in answers)
    if unusable:
        return [Measured(name, marks, False, unusable) for name, marks in TUNING_MARKS.items()]
    prompts, plain = [as_numbers(answer["prompt"]) for answer in answers], [_tuned(case) for case in cases]
    problem = first_problem(map(_tuning_problem, cases, prompts, plain)) or first_problem(
        map(_candidates_problem, answers)
    )
    problems = {
        "choice as reported": problem or first_problem(map(_report_problem, cases, answers, prompts)),
        "candidates from the training examples": problem
        or first_problem(map(_blindness_problem, answers[::2], answers[1::2]))
        or first_problem(map(_guess_problem, cases, answers)),
    }
    reached, message = _accuracy_reached(cases, prompts, plain)
    return [
        Measured("test accuracy", TUNING_MARKS["test accuracy"], reached, message),
        *(
            Measured(name, TUNING_MARKS[name], not problem, problem or _TUNED_WELL[name])
            for name, problem in problems.items()
        ),
    ]


_TUNED_WELL = {
    "choice as reported": "the prompt is tuned and the best candidate, and losses and predictions are what they say.",
    "candidates from the training examples": "the prompt is tuned, and other development and test examples leave "
    "the candidates as they are.",
}


def _prompt_problem(answer: Any) -> str:
    if not isinstance(answer, Mapping):
        return "the function returns no dictionary."
    if "prompt" not in answer:
        return 'the key "prompt" is missing.'
    prompt = as_numbers(answer["prompt"])
    if prompt.shape != (HIDDEN,) or not np.isfinite(prompt).all():
        return f'"prompt" is not an array of H = {HIDDEN} finite numbers.'
    return ""


def _tuning_problem(case: Case, prompt: np.ndarray, plain: np.ndarray) -> str:
    if _fall_share(case, prompt, plain) >= LEAST_FALL:
        return ""
    start, own, reached = (
        _case_loss(case, tried, "train") for tried in (case.arguments["start"], prompt, plain)
    )
    return (
        f"a prompt is not tuned: behind it the training loss is {own:.3f}, behind the start {start:.3f}, behind a "
        f"plainly tuned prompt {reached:.3f}. A quarter of this fall is asked for."
    )


def _candidates_problem(answer: Mapping[str, Any]) -> str:
    if "prompts" not in answer:
        return 'the key "prompts" is missing.'
    prompts = as_numbers(answer["prompts"])
    if prompts.ndim != 2 or prompts.shape[1] != HIDDEN or not np.isfinite(prompts).all():
        return f'"prompts" is not an array of finite numbers of shape [K, H], with H = {HIDDEN}.'
    if not len(np.unique(prompts, axis=0)) >= LEAST_CANDIDATES or len(prompts) > MOST_CANDIDATES:
        return f'"prompts" are not {LEAST_CANDIDATES} to {MOST_CANDIDATES} different candidates.'
    return ""


def _report_problem(case: Case, answer: Mapping[str, Any], prompt: np.ndarray) -> str:
    missing = [key for key in ("development_losses", "predictions") if key not in answer]
    if missing:
        return f'the key "{missing[0]}" is missing.'
    candidates, losses = as_numbers(answer["prompts"]), as_numbers(answer["development_losses"])
    if losses.shape != (len(candidates),):
        return '"development_losses" is not a list of one number for each of "prompts".'
    own = np.array([_case_loss(case, candidate, "development") for candidate in candidates])
    # Losses may be rounded to two places.
    rounding = np.maximum(0.01 * own, 0.006)
    wrong = np.flatnonzero(~(np.abs(losses - own) <= rounding))
    if len(wrong):
        number = wrong[0]
        return (
            f'in "development_losses", {losses[number]:.3f} stands for candidate {number}, but behind it the loss is '
            f"{own[number]:.3f}."
        )
    kept = np.isclose(candidates, prompt).all(axis=1)
    if not kept.any():
        return '"prompt" is none of "prompts".'
    if not own[kept].min() <= own.min() + rounding[own.argmin()]:
        return 'another of "prompts" has a lower development loss than "prompt".'
    predicted = _scores(case.hidden["form"], case.arguments, prompt, case.arguments["x_test"]).argmax(axis=1)
    if not np.array_equal(as_numbers(answer["predictions"]), predicted):
        return '"predictions" is not the list of the labels that the frozen model gives behind "prompt".'
    return ""


def _blindness_problem(answer: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Compare the candidates of two calls that differ in their development and test examples alone."""
    prompts, others = as_numbers(answer["prompts"]), as_numbers(other["prompts"])
    if prompts.shape == others.shape and np.allclose(prompts, others):
        return ""
    return "two calls that differ in the development and test examples alone gave other candidates."


def _guess_problem(case: Case, answer: Mapping[str, Any]) -> str:
    """Tell candidates of a tuning from guesses, which are the same in all calls too."""
    start = _case_loss(case, case.arguments["start"], "train")
    better = [_case_loss(case, candidate, "train") < start for candidate in as_numbers(answer["prompts"])]
    if np.mean(better) > 0.5:
        return ""
    return "half of the candidates or more have no lower training loss than the start."


def _accuracy_reached(
    cases: Sequence[Case], prompts: Sequence[np.ndarray], plain: Sequence[np.ndarray]
) -> tuple[bool, str]:
    """Say whether the gain over the start is enough in each pair, measured with the frozen model behind the prompts."""
    pairs = [slice(first, first + 2) for first in range(0, len(cases), 2)]
    shares = [_gain_share(cases[pair], prompts[pair], plain[pair]) for pair in pairs]
    worst = pairs[int(np.argmin(shares))]
    if min(shares) < 0:
        accuracy, loss = _on_test_texts(cases[worst], prompts[worst])
        started, start_loss = _on_test_texts(cases[worst], [case.arguments["start"] for case in cases[worst]])
        return False, (
            f"it got worse: behind your prompts test accuracy is {accuracy:.2f} and the loss {loss:.2f}, behind the "
            f"start {started:.2f} and {start_loss:.2f}."
        )
    message = (
        f"over the start, {min(shares):.0%} of a plain tuning's gain; {LEAST_GAIN:.0%} is asked for in each pair of "
        "calls."
    )
    return min(shares) >= LEAST_GAIN, message.replace("%", " %")


def _on_test_texts(cases: Sequence[Case], prompts: Sequence[np.ndarray]) -> tuple[float, float]:
    """Give test accuracy and mean cross-entropy behind the prompts, all cases together."""
    accuracies, losses = [], []
    for case, prompt in zip(cases, prompts, strict=True):
        given, form = {**case.arguments, **case.hidden}, case.hidden["form"]
        predicted = _scores(form, given, prompt, given["x_test"]).argmax(axis=1)
        accuracies.append(np.mean(predicted == given["y_test"]))
        losses.append(_set_loss(form, given, prompt, "test"))
    return float(np.mean(accuracies)), float(np.mean(losses))


TUNE_PROMPT = Task(
    name="a3.tune_prompt",
    title="Open experiment: tune a prompt on few examples",
    marks=4,
    cases=_tuning_cases,
    variants=(
        Variant(
            "the hyperbolic tangent",
            {
                "tune_prompt.activation": r"\tanh h",
                "tune_prompt.slope": r"1 - \tanh^2 h",
                "tune_prompt.apply": "np.tanh",
                "tune_prompt.derivative": "1 - np.tanh(h) ** 2",
            },
        ),
        Variant(
            "a rectifier",
            {
                "tune_prompt.activation": r"\max(h, 0)",
                "tune_prompt.slope": r"1 \text{ where } h > 0, \text{ else } 0",
                "tune_prompt.apply": "(lambda h: np.maximum(h, 0))",
                "tune_prompt.derivative": "(h > 0)",
            },
        ),
    ),
    hint="Follow the training loss downhill from the start, keep a prompt now and then, and at the end choose the one "
    "with the least development loss.",
    measure=_tuning_properties,
)

ASSIGNMENT = Assignment(
    name="a3",
    title="Pre-trained prompt tuning",
    tasks=(BUILD_CHOICES, START_ROWS, LABEL_LOSS, DRAW_FEW_SHOT, REPORT, TUNE_PROMPT),
    # No task is one of these, but each is near enough to start from.
    blocked=(
        "course_lib.ppt.pretraining.documents.build_nss_examples",
        "course_lib.ppt.soft_prompt.initialise",
        "course_lib.ppt.label_scoring.label_loss",
        "course_lib.ppt.label_scoring.label_scores",
        "course_lib.ppt.fewshot.tasks.few_shot_split",
    ),
)
