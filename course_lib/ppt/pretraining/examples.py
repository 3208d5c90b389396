"""Pre-training examples by format: which sentence stands beside which, and how a sentence feels.

Every sentence that can be an answer can also be a distractor, and what the answer is (class, number of options,
place) is drawn before the sentences and without looking at them.
"""

from __future__ import annotations

import functools
import math
import random
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np

from course_lib.checks.arrays import check_numbers
from course_lib.checks.calls import optional
from course_lib.checks.values import check_callable, check_count, check_seed, check_text, check_texts
from course_lib.errors import CourseError
from course_lib.ppt.patterns import SINGLE_WORDS, check_num_options
from course_lib.ppt.pretraining.shards import (
    MOST_WORKERS,
    Document,
    Example,
    Row,
    Splitter,
    draw_by_shard,
    read_shard,
    text_keys,
)
from course_lib.texts.groups import normalise

MAX_TRIES = 200
# Documents drawn beyond those needed, for the case that some sentences are copies.
SPARE_DOCUMENTS = 8
ADJACENT, SAME_DOCUMENT, OTHER_DOCUMENT = range(3)
# The published code's least confidence for each of the five classes.
CLS_THRESHOLDS = (0.95, 0.5, 0.5, 0.5, 0.7)


class Reading(TypedDict, total=False):
    """How every builder reads the documents.

    Args:
        excluded: texts (of a downstream test set) of which none may be drawn, compared by their letters and
            digits.
        split: splits each row's text into sentences, as `split_sentences`; `position` is then not read.
        elsewhere_by: a column of the documents, such as their source: a sentence from elsewhere then comes
            from a document that differs in it. Two documents of the Web are seldom of one kind; two of a small
            corpus often are.
        num_workers: processes; their number changes nothing but the time. With more than one, `split` must
            be a function that another process can import.
    """

    excluded: Collection[str]
    split: Splitter | None
    elsewhere_by: str
    num_workers: int


def build_nsp_examples(
    documents: Iterable[Mapping[str, Any]], num_examples: int, seed: int, **reading: Unpack[Reading]
) -> Iterator[Example]:
    """Build sentence pairs, a third each: adjacent; from one document, not adjacent; from two documents.

    Args:
        documents: rows with `document_id`, `position` and `text`, those of one document in a run: a Dataset,
            a list, or anything that can be read from its beginning more than once. Sentences are adjacent
            where their positions are, so a place left out of a document makes no neighbours.
        num_examples: how many.
        seed: seed of the draws.
        reading: see `Reading`.

    Returns:
        Rows with `first`, `second`, `label` (0 adjacent: yes, 1 same document: maybe, 2 other document: no)
        and `task` "pair". They come in the corpus's order: shuffle them where that matters.

    Raises:
        CourseError: rows without these columns, or that can be read only once; documents that are not
            in runs, have a position twice, or give too few sentences to choose from.

    Source: the construction of Gu et al., ACL 2022.
    """
    return _build(_Format("pair", range(3), _draw_pair), documents, num_examples, seed, **reading)


def build_nss_examples(
    documents: Iterable[Mapping[str, Any]],
    num_examples: int,
    seed: int,
    *,
    num_options: int = 6,
    **reading: Unpack[Reading],
) -> Iterator[Example]:
    """Build multiple choice: a sentence adjacent to the query, one of its document, others from elsewhere.

    Args:
        documents: rows with `document_id`, `position` and `text`, those of one document in a run.
        num_examples: how many.
        seed: seed of the draws.
        num_options: options of each example, from 2 to 16. With 2 there is none from the same document.
        reading: see `Reading`.

    Returns:
        Rows with `query`, `options` (no two alike, the others each from a document of its own), `label` (the
        adjacent one's place, uniform) and `task` "choice".

    Raises:
        CourseError: documents that `build_nsp_examples` refuses too; fewer documents than the options need.

    Source: the construction of Gu et al., ACL 2022.
    """
    check_num_options(num_options)
    choice = _Format("choice", range(num_options, num_options + 1), _draw_choice)
    return _build(choice, documents, num_examples, seed, **reading)


def build_unified_examples(
    documents: Iterable[Mapping[str, Any]],
    num_examples: int,
    seed: int,
    *,
    min_options: int = 2,
    max_options: int = 16,
    **reading: Unpack[Reading],
) -> Iterator[Example]:
    """Build multiple choice with varying numbers of options, all equally frequent.

    Args:
        documents: rows with `document_id`, `position` and `text`, those of one document in a run.
        num_examples: how many.
        seed: seed of the draws.
        min_options: fewest options, at least 2. Two options have none from the same document.
        max_options: most options, at most 16.
        reading: see `Reading`.

    Returns:
        Rows with `query`, `options`, `label` and `task` "unified". Given the number of options, each place of the
        answer is equally frequent.

    Raises:
        CourseError: documents that `build_nsp_examples` refuses too; fewer documents than the options need.
    """
    check_num_options(min_options)
    check_num_options(max_options)
    if min_options > max_options:
        raise CourseError("min_options is above max_options.", given=(min_options, max_options))
    unified = _Format("unified", range(min_options, max_options + 1), _draw_choice)
    return _build(unified, documents, num_examples, seed, **reading)


def _build(
    task: _Format,
    documents: Iterable[Mapping[str, Any]],
    num_examples: int,
    seed: int,
    *,
    excluded: Collection[str] = (),
    split: Splitter | None = None,
    elsewhere_by: str = "",
    num_workers: int = 1,
) -> Iterator[Example]:
    """Check the arguments at once; read and draw as the examples are asked for."""
    check_seed(seed)
    check_count("num_examples", num_examples)
    check_count("num_workers", num_workers, most=MOST_WORKERS)
    check_text("elsewhere_by", elsewhere_by)
    optional(check_callable)("split", split)
    if not isinstance(documents, Iterable) or isinstance(documents, (str, bytes, Mapping)):
        raise CourseError(
            "The documents must be rows with `document_id`, `position` and `text`.",
            given=type(documents).__name__,
            mend="Give a Dataset or a list of mappings.",
        )
    if isinstance(documents, Iterator):
        raise CourseError(
            "The documents can be read only once, and are read twice: to count them, then to draw.",
            given=type(documents).__name__,
            mend="Give a Dataset, a list, or an object whose __iter__ begins anew.",
        )
    read = functools.partial(
        read_shard, excluded=text_keys(excluded, split), split=split, elsewhere_by=elsewhere_by
    )
    columns = ["document_id", "text", *([] if split else ["position"])]
    columns += [elsewhere_by] if elsewhere_by else []
    draw = functools.partial(_draw_shard, task=task, read=read)
    return draw_by_shard(documents, columns, num_examples, seed, draw, num_workers)


# --- drawing --------------------------------------------------------------------------------------


class _Format(NamedTuple):
    """Which examples are to be drawn.

    Args:
        name: goes into the rows as `task`.
        outcomes: what is equally frequent: the classes of pairs, the numbers of options of choices.
        draw: draws the example of an outcome, or gives None where the query does not have one.
    """

    name: str
    outcomes: range
    draw: Callable[..., Example | None]

    @property
    def num_documents(self) -> int:
        """The documents that an example can need: the query's, and one for each option from elsewhere."""
        return max(2, self.outcomes[-1] - 1)


def _draw_shard(
    rows: list[Row],
    num_examples: int,
    seed: tuple[int, int],
    task: _Format,
    read: Callable[[list[Row]], list[Document]],
) -> list[Example]:
    """Draw the examples of one shard, from nothing but the arguments."""
    # Python's own generator: several times as fast as numpy's for one number at a time
    rng = random.Random(f"{seed[0]}/{seed[1]}")
    documents = read(rows)
    usable = [document for document in documents if document.queries]
    elsewhere = _documents_elsewhere(usable)
    # besides its own, a document needs one for each option from elsewhere
    if (
        len(usable) < task.num_documents
        or min(map(len, elsewhere.values()), default=0) < task.num_documents - 1
    ):
        raise _too_few_documents(task, usable, documents)
    outcomes = _balanced_outcomes(num_examples, task, rng)
    return [_draw_example(usable, elsewhere, outcome, task, rng) for outcome in outcomes]


def _documents_elsewhere(documents: list[Document]) -> dict[Any, list[Document]]:
    """Return for each kind of document those that a sentence from elsewhere may be of."""
    kinds = dict.fromkeys(document.kind for document in documents)
    return {
        kind: [document for document in documents if kind is None or document.kind != kind] for kind in kinds
    }


def _balanced_outcomes(num_examples: int, task: _Format, rng: random.Random) -> list[int]:
    """Return each example's class (pairs) or number of options, equally frequent, in random order."""
    turn = rng.randrange(len(task.outcomes))
    outcomes = [task.outcomes[(turn + i) % len(task.outcomes)] for i in range(num_examples)]
    rng.shuffle(outcomes)
    return outcomes


def _draw_example(
    documents: list[Document],
    elsewhere: dict[Any, list[Document]],
    outcome: int,
    task: _Format,
    rng: random.Random,
) -> Example:
    """Draw queries until one has all the sentences that the outcome asks for; the outcome stays."""
    for _ in range(MAX_TRIES):
        home = rng.choice(documents)
        example = task.draw(elsewhere[home.kind], home, rng.choice(home.queries), outcome, rng)
        if example is not None:
            return {**example, "task": task.name}
    raise CourseError(
        f"No {MAX_TRIES} sentences have enough different sentences to stand beside them.",
        given=f"{len(documents)} documents, task {task.name!r}",
        mend="Use more documents, or ones that share fewer sentences.",
    )


def _draw_pair(
    elsewhere: list[Document], home: Document, query: int, label: int, rng: random.Random
) -> Example | None:
    if label == OTHER_DOCUMENT:
        others = _draw_elsewhere(elsewhere, home, 1, rng)
        if others is None:
            return None
        second = others[0]
    else:
        places = home.neighbours(query) if label == ADJACENT else home.strangers(query)
        second = home.places[rng.choice(places)]
    return {"first": home.places[query], "second": second, "label": label}


def _draw_choice(
    elsewhere: list[Document], home: Document, query: int, num_options: int, rng: random.Random
) -> Example | None:
    answer = home.places[rng.choice(home.neighbours(query))]
    same = [home.places[rng.choice(home.strangers(query))]] if num_options > 2 else []
    others = _draw_elsewhere(elsewhere, home, num_options - 1 - len(same), rng)
    if others is None:
        return None
    options, label = _place_answer(answer, same + others, rng)
    return {"query": home.places[query], "options": options, "label": label}


def _place_answer(answer: str, distractors: list[str], rng: random.Random) -> tuple[list[str], int]:
    """Put the answer at a place drawn without regard to anything, the distractors around it in any order."""
    options = list(distractors)
    rng.shuffle(options)
    label = rng.randrange(len(options) + 1)
    options.insert(label, answer)
    return options, label


def _draw_elsewhere(
    elsewhere: list[Document], home: Document, number: int, rng: random.Random
) -> list[str] | None:
    """Draw sentences that the home document does not have, each from a document of its own."""
    found: dict[str, str] = {}
    for document in rng.sample(elsewhere, min(len(elsewhere), number + SPARE_DOCUMENTS)):
        place = rng.choice(document.linked)
        key = document.keys[place]
        if document is not home and key not in home.all_keys and key not in found:
            found[key] = document.places[place]
        if len(found) == number:
            return list(found.values())
    return None


def _too_few_documents(task: _Format, usable: list[Document], documents: list[Document]) -> CourseError:
    wanted = f"{task.outcomes[-1]} options need" if task.outcomes[-1] > 2 else "Examples of this task need"
    return CourseError(
        f"{wanted} {task.num_documents} documents, each with two adjacent sentences and another that is not "
        f"adjacent, and {len(usable)} of these {len(documents)} documents have that.",
        given=[len(document.places) for document in documents][:20],
        mend="Give more or longer documents, or ask for fewer options; texts that are whole documents are "
        "split by `split=split_sentences`.",
    )


# --- sentences with pseudo-labels -----------------------------------------------------------------


def build_cls_examples(
    sentences: Sequence[str],
    probabilities: np.ndarray,
    num_examples: int,
    seed: int,
    *,
    thresholds: Sequence[float] = CLS_THRESHOLDS,
    excluded: Collection[str] = (),
) -> list[Example]:
    """Build single sentences with a sentiment model's label, where it is sure enough.

    Args:
        sentences: the sentences; of copies the first counts.
        probabilities: float array [n, 5], what a 5-class model says of each, as `Labeller.probabilities`.
        num_examples: how many. Classes are equally frequent as far as they have sentences; the others fill
            up what one lacks.
        seed: seed of the draw.
        thresholds: for each class, what the probability of the most probable class must exceed.
        excluded: texts (of a downstream test set) of which none may be drawn.

    Returns:
        Rows with `text`, `label` (0 terrible to 4 great) and `task` "single", in random order. A class
        without any sentence is warned of.

    Raises:
        CourseError: probabilities that are none, or not one row a sentence; thresholds outside 0 to 1; fewer
            sure sentences than examples.

    Source: the construction and thresholds of Gu et al., ACL 2022, and their published code.
    """
    check_seed(seed)
    check_count("num_examples", num_examples)
    sentences = check_texts("sentences", sentences)
    table = _checked_probabilities(sentences, probabilities)
    thresholds = _checked_thresholds(thresholds)
    labels = table.argmax(axis=1)
    seen = set(text_keys(excluded, None)) | {""}
    pools: list[list[str]] = [[] for _ in SINGLE_WORDS]
    for sentence, label, confidence in zip(sentences, labels, table.max(axis=1), strict=True):
        key = normalise(sentence)
        if confidence > thresholds[label] and key not in seen:
            seen.add(key)
            pools[label].append(sentence)
    rng = random.Random(seed)
    sizes = _even_shares([len(pool) for pool in pools], num_examples)
    chosen = [
        {"text": text, "label": label, "task": "single"}
        for label, (pool, size) in enumerate(zip(pools, sizes, strict=True))
        for text in rng.sample(pool, size)
    ]
    rng.shuffle(chosen)
    return chosen


def _even_shares(available: list[int], number: int) -> list[int]:
    """Return how many of each class, equal as far as there are any.

    Example:
        >>> _even_shares([1, 10, 4], 9)
        [1, 4, 4]
    """
    if number < 1 or sum(available) < number:
        raise CourseError(
            f"{number} examples were asked for, and {sum(available)} sentences pass the thresholds.",
            given=dict(zip(SINGLE_WORDS, available, strict=False)),
            mend="Ask for at least one, give more sentences, or lower the thresholds.",
        )
    empty = [word for word, size in zip(SINGLE_WORDS, available, strict=False) if size == 0]
    if empty:
        warnings.warn(f"No sentence passes the threshold of {', '.join(empty)}.", stacklevel=3)
    shares = [0] * len(available)
    # the scarcest class first: what it cannot give is shared among the others
    for done, label in enumerate(sorted(range(len(available)), key=lambda i: available[i])):
        left = number - sum(shares)
        shares[label] = min(available[label], math.ceil(left / (len(available) - done)))
    return shares


def _checked_probabilities(sentences: Sequence[str], probabilities: np.ndarray) -> np.ndarray:
    table = check_numbers("probabilities", probabilities, num_dims=2)
    if table.shape != (len(sentences), len(SINGLE_WORDS)):
        raise CourseError(
            f"There must be {len(SINGLE_WORDS)} probabilities for each of {len(sentences)} sentences.",
            given=table.shape,
            mend="Use `labeller.probabilities(sentences)`.",
        )
    bad = ~((table >= 0).all(axis=1) & (abs(table.sum(axis=1) - 1) < 1e-3))
    if bad.any():
        raise CourseError(
            "The probabilities of a sentence must be from 0 to 1 and sum to 1.",
            given=table[bad][0].tolist(),
            mend="Logits become probabilities by a softmax.",
        )
    return table


def _checked_thresholds(thresholds: Sequence[float]) -> list[float]:
    found = check_numbers("thresholds", thresholds).tolist()
    if len(found) != len(SINGLE_WORDS) or not all(0 <= value < 1 for value in found):
        raise CourseError(
            f"There must be {len(SINGLE_WORDS)} thresholds, each from 0 to below 1.",
            given=found,
            mend=f"The published ones are {CLS_THRESHOLDS}.",
        )
    return found
