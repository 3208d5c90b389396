"""The embedded documents by side: train, validation and test of pre-training.

Documents of the train side are trained on, those of the validation side give the curve and every choice,
those of the test side the figure that is reported. No sentence of a downstream test set is among them, and
no sentence stands on two sides.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from course_lib.checks.calls import border
from course_lib.checks.types import Text
from course_lib.errors import CourseError
from course_lib.texts.groups import normalise
from course_lib.texts.loading import load_texts
from course_lib.texts.sources import SPLITS, Split

# Where documents come from. Of the newspaper and the product reviews the train side alone is read, and its
# documents are divided again: their other sides belong to downstream tasks.
SOURCES = ("newspaper", "product", "imdb")
DIVIDED = ("newspaper", "product")
# Of the divided documents, one in so many goes to the validation side and one to the test side.
DIVISOR = 8
# Downstream data set -> its columns of texts, and the sides that are measured on.
DOWNSTREAM: dict[str, tuple[tuple[str, ...], tuple[Split, ...]]] = {
    "movie": (("text",), ("test",)),
    "product": (("text",), ("test",)),
    "snli": (("premise", "hypothesis"), ("test",)),
    "newspaper": (("text",), ("validation", "test")),
}
# Shortest: "I agree." could stand beside anything.
MIN_TOKENS = 7
# Of 25,000 reviews so many of each side are read, evenly spread: more than the examples of a run need.
NUM_REVIEWS = {"train": 2000, "validation": 400, "test": 400}
MIN_SENTENCES = 4
# 16 options need sentences of 15 other documents, and some documents share theirs.
MIN_DOCUMENTS = 20


class CorpusSettings(NamedTuple):
    """Which sentences the examples are made of.

    Args:
        max_tokens: longest sentence.
        num_reviews: IMDb reviews of the train side; of the others a fifth as many.
        min_tokens: shortest sentence.
    """

    max_tokens: int = 30
    num_reviews: int = NUM_REVIEWS["train"]
    min_tokens: int = MIN_TOKENS


@functools.cache
def downstream_sentences() -> frozenset[str]:
    """Return every sentence that a downstream task is measured on, of which none may be trained on."""
    found: set[str] = set()
    for name, (columns, splits) in DOWNSTREAM.items():
        for split in splits:
            rows = load_texts(name, split=split)
            for column in columns:
                found.update(rows[column][:])
    return frozenset(found)


def mixed_documents(sources: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Shuffle the documents of all sources together, none of which gives more than half of them.

    A sentence from elsewhere is of another source, as two pages of the Web are seldom of one kind. Among film
    reviews alone, no probe of the embedded model's hidden states tells whether two sentences are of one
    document.

    Args:
        sources: source -> rows with `document_id`, those of one document in a run.

    Returns:
        The rows, those of one document in a run; always in the same order.

    Raises:
        CourseError: fewer documents than sixteen options need.
    """
    documents = {
        name: [list(rows) for _, rows in itertools.groupby(source, key=lambda row: row["document_id"])]
        for name, source in sources.items()
    }
    draw = random.Random(0)
    total = sum(len(each) for each in documents.values())
    mixed = []
    for each in documents.values():
        draw.shuffle(each)
        others = total - len(each)
        mixed += each[:others] if others else each
    if len(mixed) < MIN_DOCUMENTS:
        raise CourseError(
            f"There are fewer than {MIN_DOCUMENTS} documents of {MIN_SENTENCES} short sentences on this side.",
            given=len(mixed),
            mend="Read more reviews (num_reviews), or allow longer sentences (max_tokens).",
        )
    draw.shuffle(mixed)
    return [row for document in mixed for row in document]


def sides(
    tokenizer: PreTrainedTokenizerBase, corpus: CorpusSettings
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the documents' short sentences of every side and source.

    A sentence that is too long or too short, or that a downstream task is measured on, leaves its place
    empty, and so does one that stands on an earlier side already. Documents of fewer than four sentences are
    left out.

    Args:
        tokenizer: counts the tokens of a sentence.
        corpus: which sentences count.

    Returns:
        Side -> source -> rows with `document_id`, `position` and `text`.
    """
    return _sides(tokenizer, corpus)


# more than one, so that two tasks with sentences of different lengths do not push each other out
@functools.lru_cache(maxsize=2)
def _sides(
    tokenizer: PreTrainedTokenizerBase, corpus: CorpusSettings
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    taken = {normalise(text) for text in downstream_sentences()} | {""}
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for split in SPLITS:
        read = {name: _short_sentences(name, split, tokenizer, corpus) for name in SOURCES}
        kept = {
            name: _long_documents([row for row in rows if row["key"] not in taken])
            for name, rows in read.items()
        }
        found[split] = {name: rows for name, rows in kept.items() if rows}
        # of what is left out here, nothing may stand on a later side either
        taken |= {row["key"] for rows in read.values() for row in rows}
    return found


def _short_sentences(
    name: str, split: Split, tokenizer: PreTrainedTokenizerBase, corpus: CorpusSettings
) -> list[dict[str, Any]]:
    rows = _sentences(name, split, corpus.num_reviews)
    if not rows:
        return []
    ids = tokenizer([row["text"] for row in rows], add_special_tokens=False)["input_ids"]
    shortest, longest = corpus.min_tokens, corpus.max_tokens
    return [row for row, tokens in zip(rows, ids, strict=True) if shortest <= len(tokens) <= longest]


def _sentences(name: str, split: Split, num_reviews: int) -> list[dict[str, Any]]:
    if name in DIVIDED:
        texts = load_texts(name, split="train")
        columns = (texts[column][:] for column in ("document_id", "position", "text"))
        rows = [_row(name, *values) for values in zip(*columns, strict=True)]
        return [row for row in rows if _side(row["document_id"]) == split]
    texts = load_texts(name, split=split)
    number = num_reviews if split == "train" else max(1, num_reviews // 5)
    # the published order is by label, so a beginning would be all of one
    step = max(1, len(texts) // number)
    chosen = texts.select(range(0, len(texts), step)[:number])
    return [
        _row(name, document, position, sentence)
        for document, review in zip(chosen["document_id"][:], chosen["text"][:], strict=True)
        for position, sentence in enumerate(split_sentences(review))
    ]


@functools.cache
def _side(document: str) -> str:
    number = int.from_bytes(hashlib.sha256(document.encode()).digest()[:8], "big") % DIVISOR
    return {0: "validation", 1: "test"}.get(number, "train")


def _row(source: str, document: str, position: int, text: str) -> dict[str, Any]:
    return {
        "document_id": f"{source}/{document}",
        "source": source,
        "position": position,
        "text": text,
        "key": normalise(text),
    }


def _long_documents(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of documents with sentences enough."""
    documents: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        documents.setdefault(row["document_id"], []).append(row)
    return [row for document in documents.values() if _has_choices(document) for row in document]


def _has_choices(document: list[dict[str, Any]]) -> bool:
    places = {row["position"] for row in document}
    return len(document) >= MIN_SENTENCES and any(place + 1 in places for place in places)


@border()
def split_sentences(text: Text) -> list[str]:
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
