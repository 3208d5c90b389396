"""Pre-training examples out of documents: which sentence stands beside which, and how a sentence feels.

Documents are read in shards of consecutive documents. An example is drawn inside one shard, by a generator
that the seed and the shard's number start, so that memory does not grow with the corpus and the number of
processes changes nothing. Every sentence that can be an answer can also be a distractor, and what the
answer is (class, number of options, place) is drawn before the sentences and without looking at them.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
import time
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from course_lib.checks import (
    border,
    check_callable,
    check_choice,
    check_count,
    check_numbers,
    check_seed,
    check_text,
    check_texts,
    optional,
)
from course_lib.errors import CourseError
from course_lib.ppt.patterns import SINGLE_WORDS, check_num_options
from course_lib.texts import SPLITS, load_texts, normalise

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from course_lib.finetuning import FinetuningSettings
    from course_lib.models import ModelAndTokenizer

Example = dict[str, Any]
Splitter = Callable[[str], list[str]]
Row = tuple[Any, ...]

# Documents held at a time: from this many to twice as many.
# More processes than this are a slip.
MOST_WORKERS = 256
DOCUMENTS_PER_SHARD = 128
# Of a longer document the first so many sentences are used, which bounds the memory for one document.
MAX_SENTENCES = 1000
# A large corpus is sampled: shards from all over it, each giving about so many examples.
EXAMPLES_PER_SHARD = 1024
MAX_TRIES = 200
# Documents drawn beyond those needed, for the case that some sentences are copies.
SPARE_DOCUMENTS = 8

ADJACENT, SAME_DOCUMENT, OTHER_DOCUMENT = range(3)
# The published code's least confidence for each of the five classes.
CLS_THRESHOLDS = (0.95, 0.5, 0.5, 0.5, 0.7)
# Human scores from -4 to 4 in five classes.
SCORE_EDGES = (-1.5, -0.5, 0.5, 1.5)
# Text data sets -> their domain. A labeller never learns from the downstream task's own.
DOMAINS = {
    "movie": "movie",
    "imdb": "movie",
    "rotten_tomatoes": "movie",
    "product": "product",
    "yelp": "business",
    "newspaper": "newspaper",
    "tweets": "tweets",
    "snli": "captions",
}
SCORED_TEXTS = ("movie", "product", "newspaper", "tweets")


# --- examples --------------------------------------------------------------------------------------


def build_nsp_examples(
    documents: Iterable[Mapping[str, Any]],
    num_examples: int,
    seed: int,
    *,
    excluded: Collection[str] = (),
    split: Splitter | None = None,
    elsewhere_by: str = "",
    num_workers: int = 1,
) -> Iterator[Example]:
    """Build sentence pairs, a third each: adjacent; from one document, not adjacent; from two documents.

    Args:
        documents: rows with `document_id`, `position` and `text`, those of one document in a run: a Dataset,
            a list, or anything that can be read from its beginning more than once. Sentences are adjacent
            where their positions are, so a place left out of a document makes no neighbours.
        num_examples: how many.
        seed: seed of the draws.
        excluded: texts (of a downstream test set) of which none may be drawn, compared by their letters and
            digits.
        split: splits each row's text into sentences, as `split_sentences`; `position` is then not read.
        elsewhere_by: a column of the documents, such as their source: a sentence from elsewhere then comes
            from a document that differs in it. Two documents of the Web are seldom of one kind; two of a small
            corpus often are.
        num_workers: processes; their number changes nothing but the time. With more than one, `split` must
            be a function that another process can import.

    Returns:
        Rows with `first`, `second`, `label` (0 adjacent: yes, 1 same document: maybe, 2 other document: no)
        and `task` "pair". They come in the corpus's order: shuffle them where that matters.

    Raises:
        CourseError: rows without these columns, or that can be read only once; documents that are not
            in runs, have a position twice, or give too few sentences to choose from.

    Source: the construction of Gu et al., ACL 2022.
    """
    task = _Task("pair", 2, 2, elsewhere_by)
    return _build(documents, num_examples, seed, task, excluded, split, num_workers)


def build_nss_examples(
    documents: Iterable[Mapping[str, Any]],
    num_examples: int,
    seed: int,
    *,
    num_options: int = 6,
    excluded: Collection[str] = (),
    split: Splitter | None = None,
    elsewhere_by: str = "",
    num_workers: int = 1,
) -> Iterator[Example]:
    """Build multiple choice: a sentence adjacent to the query, one of its document, others from elsewhere.

    Args:
        documents: as in `build_nsp_examples`.
        num_examples: how many.
        seed: seed of the draws.
        num_options: options of each example, from 2 to 16. With 2 there is none from the same document.
        excluded: as in `build_nsp_examples`.
        split: as in `build_nsp_examples`.
        elsewhere_by: as in `build_nsp_examples`.
        num_workers: as in `build_nsp_examples`.

    Returns:
        Rows with `query`, `options` (no two alike, the others each from a document of its own), `label` (the
        adjacent one's place, uniform) and `task` "choice".

    Raises:
        CourseError: as `build_nsp_examples`; fewer documents than the options need.

    Source: the construction of Gu et al., ACL 2022.
    """
    check_num_options(num_options)
    task = _Task("choice", num_options, num_options, elsewhere_by)
    return _build(documents, num_examples, seed, task, excluded, split, num_workers)


def build_unified_examples(
    documents: Iterable[Mapping[str, Any]],
    num_examples: int,
    seed: int,
    *,
    min_options: int = 2,
    max_options: int = 16,
    excluded: Collection[str] = (),
    split: Splitter | None = None,
    elsewhere_by: str = "",
    num_workers: int = 1,
) -> Iterator[Example]:
    """Build multiple choice with varying numbers of options, all equally frequent.

    Args:
        documents: as in `build_nsp_examples`.
        num_examples: how many.
        seed: seed of the draws.
        min_options: fewest options, at least 2. Two options have none from the same document.
        max_options: most options, at most 16.
        excluded: as in `build_nsp_examples`.
        split: as in `build_nsp_examples`.
        elsewhere_by: as in `build_nsp_examples`.
        num_workers: as in `build_nsp_examples`.

    Returns:
        Rows as `build_nss_examples` gives, with `task` "unified". Given the number of options, each place
        of the answer is equally frequent.

    Raises:
        CourseError: as `build_nss_examples`.
    """
    check_num_options(min_options)
    check_num_options(max_options)
    if min_options > max_options:
        raise CourseError("min_options is above max_options.", given=(min_options, max_options))
    task = _Task("unified", min_options, max_options, elsewhere_by)
    return _build(documents, num_examples, seed, task, excluded, split, num_workers)


def examples_per_second(
    build: Callable[..., Iterable[Example]],
    documents: Iterable[Mapping[str, Any]],
    *,
    num_examples: int = 10_000,
    **options: Any,
) -> float:
    """Measure how many examples a second are built, reading and preparing the documents included.

    Args:
        build: one of the builders from documents.
        documents: what it reads.
        num_examples: how many to build.
        options: further arguments of `build`, but for `num_workers`.

    Returns:
        Examples a second of this process's processor time: what one core gives, however busy the machine.
    """
    check_callable("build", build)
    check_count("num_examples", num_examples)
    started = time.process_time()
    deque(build(documents, num_examples, 0, **options), maxlen=0)
    return num_examples / (time.process_time() - started)


@border(text=check_text)
def split_sentences(text: str) -> list[str]:
    """Split an English text into sentences, with the library sentencex.

    Args:
        text: the text.

    Returns:
        The sentences in order, without surrounding white space, none empty.

    Raises:
        CourseError: sentencex is not installed.
    """
    try:
        import sentencex
    except ImportError as error:
        raise CourseError(
            "Splitting texts into sentences needs the library sentencex.", mend="pip install sentencex"
        ) from error
    return [sentence.strip() for sentence in sentencex.segment("en", text) if sentence.strip()]


# --- drawing ---------------------------------------------------------------------------------------


class _Task(NamedTuple):
    """Which examples are to be drawn."""

    name: str
    min_options: int
    max_options: int
    elsewhere_by: str

    @property
    def num_documents(self) -> int:
        """The documents that an example can need: the query's, and one for each option from elsewhere."""
        return 2 if self.max_options == 2 else self.max_options - 1


class _Document:
    """The usable sentences of one document.

    Args:
        places: position in the document -> sentence.
        keys: position -> the sentence's letters and digits, by which copies are told.
        kind: what a document elsewhere must differ in; None where any other document will do.
    """

    def __init__(self, places: dict[int, str], keys: dict[int, str], kind: Any = None) -> None:
        self.places = places
        self.keys = keys
        self.kind = kind
        self.all_keys = frozenset(keys.values())
        # a sentence without neighbours could never be an answer, so it is no distractor either
        self.linked = [place for place in places if place - 1 in places or place + 1 in places]
        self.queries = [place for place in self.linked if self.neighbours(place) and self.strangers(place)]

    def neighbours(self, place: int) -> list[int]:
        """Give the adjacent places whose sentence is not the same."""
        around = [near for near in (place - 1, place + 1) if near in self.places]
        return [near for near in around if self.keys[near] != self.keys[place]]

    def strangers(self, place: int) -> list[int]:
        """Give the places that are not adjacent and whose sentence is no copy of this one or a neighbour."""
        near = {self.keys.get(place + step) for step in (-1, 0, 1)}
        return [far for far in self.linked if abs(far - place) > 1 and self.keys[far] not in near]


def _draw_shard(
    rows: list[Row],
    num_examples: int,
    seed: tuple[int, int],
    task: _Task,
    excluded: frozenset[str],
    split: Splitter | None,
) -> list[Example]:
    """Draw the examples of one shard, from nothing but the arguments."""
    # Python's own generator: several times as fast as numpy's for one number at a time
    rng = random.Random(f"{seed[0]}/{seed[1]}")
    documents = _documents(rows, excluded, split, task.elsewhere_by)
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


def _documents_elsewhere(documents: list[_Document]) -> dict[Any, list[_Document]]:
    """Give for each kind of document those that a sentence from elsewhere may be of."""
    kinds = dict.fromkeys(document.kind for document in documents)
    return {
        kind: [document for document in documents if kind is None or document.kind != kind] for kind in kinds
    }


def _balanced_outcomes(num_examples: int, task: _Task, rng: random.Random) -> list[int]:
    """Give each example's class (pairs) or number of options, equally frequent, in random order."""
    kinds = range(3) if task.name == "pair" else range(task.min_options, task.max_options + 1)
    turn = rng.randrange(len(kinds))
    outcomes = [kinds[(turn + i) % len(kinds)] for i in range(num_examples)]
    rng.shuffle(outcomes)
    return outcomes


def _draw_example(
    documents: list[_Document],
    elsewhere: dict[Any, list[_Document]],
    outcome: int,
    task: _Task,
    rng: random.Random,
) -> Example:
    """Draw queries until one has all the sentences that the outcome asks for; the outcome stays."""
    draw = _draw_pair if task.name == "pair" else _draw_choice
    for _ in range(MAX_TRIES):
        home = rng.choice(documents)
        example = draw(elsewhere[home.kind], home, rng.choice(home.queries), outcome, rng)
        if example is not None:
            return {**example, "task": task.name}
    raise CourseError(
        f"No {MAX_TRIES} sentences have enough different sentences to stand beside them.",
        given=f"{len(documents)} documents, task {task.name!r}",
        mend="Use more documents, or ones that share fewer sentences.",
    )


def _draw_pair(
    elsewhere: list[_Document], home: _Document, query: int, label: int, rng: random.Random
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
    elsewhere: list[_Document], home: _Document, query: int, num_options: int, rng: random.Random
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
    elsewhere: list[_Document], home: _Document, number: int, rng: random.Random
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


def _too_few_documents(task: _Task, usable: list[_Document], documents: list[_Document]) -> CourseError:
    wanted = f"{task.max_options} options need" if task.max_options > 2 else "Examples of this task need"
    return CourseError(
        f"{wanted} {task.num_documents} documents, each with two adjacent sentences and another that is not "
        f"adjacent, and {len(usable)} of these {len(documents)} documents have that.",
        given=[len(document.places) for document in documents][:20],
        mend="Give more or longer documents, or ask for fewer options; texts that are whole documents are "
        "split by `split=split_sentences`.",
    )


# --- reading documents -----------------------------------------------------------------------------


def _documents(
    rows: list[Row], excluded: frozenset[str], split: Splitter | None, elsewhere_by: str
) -> list[_Document]:
    """Group rows by document; sentences without a letter or digit, or excluded ones, leave their place empty."""
    found = []
    seen = set()
    for document_id, group in itertools.groupby(rows, key=lambda row: row[0]):
        if document_id in seen:
            raise CourseError(
                "The rows of a document are not in a run.",
                given=document_id,
                mend="Sort the rows by `document_id` and `position`; do not shuffle them.",
            )
        seen.add(document_id)
        own = list(group)
        sentences = _sentences(document_id, own, split)
        keys = {place: normalise(sentence) for place, sentence in sentences.items()}
        kept = {place: key for place, key in sorted(keys.items()) if key and key not in excluded}
        kind = own[0][-1] if elsewhere_by else None
        found.append(_Document({place: sentences[place] for place in kept}, kept, kind))
    return found


def _sentences(document_id: Any, rows: list[Row], split: Splitter | None) -> dict[int, str]:
    for _, text, *_ in rows:
        if not isinstance(text, str):
            raise CourseError(
                f"A text of the document {document_id!r} is no text.", given=text, mend="Leave it out."
            )
    if split is not None:
        parts = itertools.chain.from_iterable(split(text) for _, text, *_ in rows)
        return dict(enumerate(itertools.islice(parts, MAX_SENTENCES)))
    places = [row[2] for row in rows]
    if len(set(places)) < len(places) or not all(_is_whole(place) for place in places):
        raise CourseError(
            f"The positions in the document {document_id!r} must be whole numbers, none twice.",
            given=places[:20],
            mend="Number each document's sentences from 0; texts that hold several sentences are split by "
            "`split=split_sentences`.",
        )
    return {int(row[2]): row[1] for row in rows}


def _is_whole(place: Any) -> bool:
    from numbers import Integral

    return isinstance(place, Integral)


def _build(
    documents: Iterable[Mapping[str, Any]],
    num_examples: int,
    seed: int,
    task: _Task,
    excluded: Collection[str],
    split: Splitter | None,
    num_workers: int,
) -> Iterator[Example]:
    """Check the arguments at once; read and draw as the examples are asked for."""
    check_seed(seed)
    check_count("num_examples", num_examples)
    check_count("num_workers", num_workers, most=MOST_WORKERS)
    check_text("elsewhere_by", task.elsewhere_by)
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
    draw = functools.partial(_draw_shard, task=task, excluded=_excluded_keys(excluded, split), split=split)
    columns = ["document_id", "text", *([] if split else ["position"])]
    columns += [task.elsewhere_by] if task.elsewhere_by else []
    return _drawn(documents, columns, num_examples, seed, draw, num_workers)


def _excluded_keys(excluded: Collection[str], split: Splitter | None) -> frozenset[str]:
    """Give the keys of the texts, and of their sentences where the corpus is split too."""
    excluded = check_texts("excluded", excluded, least=0)
    parts = [*excluded, *itertools.chain.from_iterable(map(split, excluded))] if split else excluded
    return frozenset(map(normalise, parts))


def _drawn(
    documents: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    num_examples: int,
    seed: int,
    draw: Callable[[list[Row], int, tuple[int, int]], list[Example]],
    num_workers: int,
) -> Iterator[Example]:
    quotas = _quotas(_count_documents(documents), num_examples)
    shards = _shards(documents, columns, quotas)
    calls = ((rows, quotas.examples[number], (seed, number)) for number, rows in shards)
    if num_workers == 1:
        for call in calls:
            yield from draw(*call)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        # no more shards ahead than keep the workers busy: all of them at once would hold the corpus
        waiting = deque(pool.submit(draw, *call) for call in itertools.islice(calls, 2 * num_workers))
        while waiting:
            examples = waiting.popleft().result()
            waiting.extend(pool.submit(draw, *call) for call in itertools.islice(calls, 1))
            yield from examples


class _Quotas(NamedTuple):
    """What is read of a corpus, and how many examples each shard that is read gives."""

    num_documents: int
    num_shards: int
    examples: dict[int, int]


def _quotas(num_documents: int, num_examples: int) -> _Quotas:
    """Cut the documents into shards of nearly equal size, and spread the examples over shards far apart.

    Example:
        >>> _quotas(1000, 3000)
        _Quotas(num_documents=1000, num_shards=7, examples={0: 1000, 2: 1000, 4: 1000})
    """
    if num_documents < 2:
        raise CourseError(
            "The corpus has fewer than two documents, and a distractor comes from another document.",
            given=num_documents,
            mend="Give more documents, each with its own `document_id`.",
        )
    num_shards = max(1, num_documents // DOCUMENTS_PER_SHARD)
    num_read = min(num_shards, math.ceil(num_examples / EXAMPLES_PER_SHARD))
    read = [i * num_shards // num_read for i in range(num_read)]
    shares = [num_examples * (i + 1) // num_read - num_examples * i // num_read for i in range(num_read)]
    return _Quotas(num_documents, num_shards, dict(zip(read, shares, strict=True)))


def _shards(
    documents: Iterable[Mapping[str, Any]], columns: Sequence[str], quotas: _Quotas
) -> Iterator[tuple[int, list[Row]]]:
    """Give the number and the rows of each shard that is read."""
    number = -1
    rows: list[Row] = []
    groups = itertools.groupby(_rows(documents, columns), key=lambda row: row[0])
    for index, (_, group) in enumerate(groups):
        shard = ((index + 1) * quotas.num_shards - 1) // quotas.num_documents
        if shard != number and rows:
            yield number, rows
            rows = []
        number = shard
        if number in quotas.examples:
            rows.extend(itertools.islice(group, MAX_SENTENCES))
    if rows:
        yield number, rows


def _count_documents(documents: Iterable[Mapping[str, Any]]) -> int:
    return sum(1 for _ in itertools.groupby(_rows(documents, ("document_id",)), key=lambda row: row[0]))


def _rows(documents: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[Row]:
    """Give rows as tuples; a Dataset is read in batches, many times as fast as row by row."""
    if hasattr(documents, "select_columns") and hasattr(documents, "iter"):
        there = getattr(documents, "column_names", None) or next(iter(documents), {})
        _refuse_missing(columns, there)
        for batch in documents.select_columns(list(columns)).iter(1000):
            yield from zip(*(batch[name] for name in columns), strict=True)
        return
    for row in documents:
        try:
            yield tuple(row[name] for name in columns)
        except (KeyError, TypeError):
            _refuse_missing(columns, row if isinstance(row, Mapping) else [])
            raise


def _refuse_missing(columns: Sequence[str], there: Iterable[str]) -> None:
    missing = [name for name in columns if name not in there]
    if missing:
        raise CourseError(
            f"The documents lack the column `{missing[0]}`.",
            given=sorted(map(str, there)),
            mend="Give rows with `document_id`, `position` and `text`, and the column of `elsewhere_by`.",
        )


# --- sentences with pseudo-labels --------------------------------------------------------------------


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
    seen = set(_excluded_keys(excluded, None)) | {""}
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
    """Give how many of each class, equal as far as there are any.

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


@dataclass(frozen=True)
class Labeller:
    """A sentiment model of five classes, and how good it is on texts that it did not learn from.

    Args:
        classifier: model mapping token ids [B, T] to logits [B, 5], and its tokenizer.
        accuracy: share of held-out sentences whose class it gives.
        confidence: mean probability of the class it gives, on the same sentences.
        calibration_error: expected calibration error on the same sentences.
        domains: the domains it learnt from.
    """

    classifier: ModelAndTokenizer
    accuracy: float
    confidence: float
    calibration_error: float
    domains: tuple[str, ...]

    def probabilities(self, sentences: Sequence[str], *, batch_size: int = 64) -> np.ndarray:
        """Give what the model says of sentences.

        Args:
            sentences: the sentences.
            batch_size: sentences at a time.

        Returns:
            Float array [n, 5]; each row sums to 1.

        Raises:
            CourseError: if there are no sentences.
        """
        from datasets import Dataset
        from scipy.special import softmax

        from course_lib.finetuning import evaluate

        sentences = check_texts("sentences", sentences)
        rows = Dataset.from_dict({"text": sentences, "label": [0] * len(sentences)})
        return softmax(evaluate(self.classifier, rows, batch_size=batch_size).logits, axis=1)


def labeller_texts(downstream: str | Sequence[str], *, split: str = "train") -> Dataset:
    """Give the sentences with human scores from every domain but the downstream tasks', in five classes.

    Args:
        downstream: the text data set of the downstream task, one of `DOMAINS`, or those of several tasks.
        split: "train", "validation" or "test".

    Returns:
        Rows with `text`, `label` (0 to 4, the score cut at -1.5, -0.5, 0.5 and 1.5) and `domain`.

    Raises:
        CourseError: unknown data set or split; no domain left.
    """
    import numpy as np
    from datasets import Dataset, concatenate_datasets

    check_choice("split", split, SPLITS)
    avoided = _domains_of(downstream)
    names = [name for name in SCORED_TEXTS if DOMAINS[name] not in avoided]
    if not names:
        raise CourseError(
            "No domain with human scores is left to learn from.",
            given=downstream,
            mend=f"Name fewer downstream tasks; the scored texts are {', '.join(SCORED_TEXTS)}.",
        )
    parts = []
    for name in names:
        rows = load_texts(name, split=split)
        labels = np.searchsorted(SCORE_EDGES, rows["score"][:], side="right").tolist()
        parts.append(
            Dataset.from_dict(
                {"text": rows["text"][:], "label": labels, "domain": [DOMAINS[name]] * len(rows)}
            )
        )
    return concatenate_datasets(parts)


def train_labeller(
    texts: Dataset,
    heldout: Dataset,
    downstream: str | Sequence[str],
    settings: FinetuningSettings | None = None,
    *,
    source: str = "embedded",
    progress: bool = True,
) -> Labeller:
    """Fine-tune an encoder to give sentences one of five sentiments.

    Args:
        texts: rows with `text`, `label` from 0 to 4 and `domain`, as `labeller_texts` gives.
        heldout: the same, to measure it on.
        downstream: the text data set that the prompt is later tuned on, or several: none of their domains
            may be among the texts'.
        settings: how to fine-tune.
        source: the encoder, as `load_classifier` takes it.
        progress: whether to show a progress bar.

    Returns:
        The labeller with its measures.

    Raises:
        CourseError: texts without a `domain`, or of the downstream task's own domain, whose labels would
            leak into the pre-training; what `finetune` raises.
    """
    from scipy.special import softmax

    from course_lib.finetuning import evaluate, finetune
    from course_lib.models import load_classifier
    from course_lib.statistics import expected_calibration_error

    domains = _refuse_own_domain(texts, downstream)
    _refuse_own_domain(heldout, downstream)
    seed = settings.seed if settings else 0
    classifier = load_classifier(source, num_labels=len(SINGLE_WORDS), seed=seed)
    finetune(classifier, texts, settings, progress=progress)
    measured = evaluate(classifier, heldout)
    return Labeller(
        classifier=classifier,
        accuracy=measured.accuracy,
        confidence=float(softmax(measured.logits, axis=1).max(axis=1).mean()),
        calibration_error=expected_calibration_error(measured.logits, measured.labels),
        domains=domains,
    )


def _refuse_own_domain(texts: Dataset, downstream: str | Sequence[str]) -> tuple[str, ...]:
    avoided = _domains_of(downstream)
    if "domain" not in texts.column_names:
        raise CourseError(
            "The labeller's texts must say their `domain`.",
            given=texts.column_names,
            mend="Use `labeller_texts(downstream)`.",
        )
    domains = tuple(sorted(set(texts["domain"][:])))
    own = sorted(avoided & set(domains))
    if own:
        raise CourseError(
            f"The labeller would learn from the {' and '.join(own)} texts, the domain of the downstream task "
            "itself: what their raters said would leak into the pre-trained prompt.",
            given=downstream,
            mend="Use `labeller_texts(downstream)`, which leaves that domain out.",
        )
    return domains


def _domains_of(names: str | Sequence[str]) -> set[str]:
    names = check_texts("downstream", [names] if isinstance(names, str) else names)
    for name in names:
        check_choice("text with a known domain", name, DOMAINS)
    return {DOMAINS[name] for name in names}
