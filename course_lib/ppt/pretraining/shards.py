"""Documents read shard by shard, each shard's examples drawn by a generator of its own.

A shard is a run of consecutive documents. Its generator starts from the seed and the shard's number, so that
memory does not grow with the corpus and the number of processes changes nothing.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from numbers import Integral
from typing import Any, NamedTuple

from course_lib.checks.values import check_texts
from course_lib.errors import CourseError
from course_lib.texts.groups import normalise

Example = dict[str, Any]
Splitter = Callable[[str], list[str]]
Row = tuple[Any, ...]
# More processes than this are a slip.
MOST_WORKERS = 256
# Documents held at a time: from this many to twice as many.
DOCUMENTS_PER_SHARD = 128
# Of a longer document the first so many sentences are used, which bounds the memory for one document.
MAX_SENTENCES = 1000
# A large corpus is sampled: shards from all over it, each giving about so many examples.
EXAMPLES_PER_SHARD = 1024


class Document:
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
        """Return the adjacent places whose sentence is not the same."""
        around = [near for near in (place - 1, place + 1) if near in self.places]
        return [near for near in around if self.keys[near] != self.keys[place]]

    def strangers(self, place: int) -> list[int]:
        """Return the places that are not adjacent and whose sentence is no copy of this one or a neighbour."""
        near = {self.keys.get(place + step) for step in (-1, 0, 1)}
        return [far for far in self.linked if abs(far - place) > 1 and self.keys[far] not in near]


def read_shard(
    rows: list[Row], excluded: frozenset[str], split: Splitter | None, elsewhere_by: str
) -> list[Document]:
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
        found.append(Document({place: sentences[place] for place in kept}, kept, kind))
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
    return isinstance(place, Integral)


def text_keys(excluded: Collection[str], split: Splitter | None) -> frozenset[str]:
    """Return the keys of the texts, and of their sentences where the corpus is split too."""
    excluded = check_texts("excluded", excluded, least=0)
    parts = [*excluded, *itertools.chain.from_iterable(map(split, excluded))] if split else excluded
    return frozenset(map(normalise, parts))


def draw_by_shard(
    documents: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    num_examples: int,
    seed: int,
    draw: Callable[[list[Row], int, tuple[int, int]], list[Example]],
    num_workers: int,
) -> Iterator[Example]:
    """Draw examples shard by shard, each from its own rows and generator.

    Args:
        documents: rows, those of one document in a run.
        columns: what is read of them.
        num_examples: how many, spread over the shards.
        seed: seed of all shards' generators.
        draw: gives the examples of a shard from its rows, their number, and the shard's seed.
        num_workers: processes that draw.

    Yields:
        The examples in the order of the shards.
    """
    quotas = _quotas(_count_documents(documents), num_examples)
    shards = _shards(documents, columns, quotas)
    calls = ((rows, quotas.examples[number], (seed, number)) for number, rows in shards)
    if num_workers == 1:
        for call in calls:
            yield from draw(*call)
        return
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
    """Return the number and the rows of each shard that is read."""
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
    """Yield rows as tuples; a Dataset is read in batches, many times as fast as row by row."""
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
