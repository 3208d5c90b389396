"""The texts that pairs are measured on: several data sets as one, since one alone holds too few of a feature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

import pandas as pd
from datasets import Dataset

from course_lib.checks.calls import border, each, optional
from course_lib.checks.types import Count
from course_lib.checks.values import check_mapping, check_text
from course_lib.errors import CourseError
from course_lib.icl.hypotheses import Hypothesis, find_hypothesis
from course_lib.texts.groups import normalise
from course_lib.texts.loading import load_texts
from course_lib.texts.sampling import with_binary_labels
from course_lib.texts.sources import Split

POOLED_COLUMNS = ("text", "label", "domain", "document_id", "group", "split")
# Texts of at most this many words: 16 demonstrations then fit the context of any model.
MAX_WORDS = 60
# "!" and words in capitals are rare; these data sets together hold enough of both.
SENTENCES = ("movie", "product", "newspaper", "tweets", "imdb")


def _names(name: str, value: Any) -> list[str]:
    return each(check_text, least=0)(name, [value] if isinstance(value, str) else value)


@border(
    names=_names,
    sources=optional(partial(check_mapping, check=check_text, least=0)),
)
def pool_texts(
    names: Iterable[str],
    split: Split | None = None,
    max_words: Count | None = None,
    *,
    sources: Mapping[str, str] | None = None,
) -> Dataset:
    """Loads several text data sets as one, with binary labels and a column that says where a row is from.

    Scored sentences get labels as `with_binary_labels` gives them. Of texts that are the same but for case
    and punctuation the first stays, in the order of `names`; where their labels differ none does. Texts
    without a letter or digit are left out.

    Args:
        names: data sets of single texts: movie, product, newspaper, tweets, imdb, rotten_tomatoes, yelp.
        split: "train", "validation", "test", or None for all rows.
        max_words: longer texts are left out.
        sources: data set -> the hub id or folder it is read from, where that is not the published one.

    Returns:
        Rows with `text`, `label`, `domain` (the data set's name), `document_id` (with the data set's name in
        front, since numbers repeat), `group` (shared by documents that share a text) and `split`.

    Raises:
        CourseError: no names, or one twice; a data set without a single text; nothing short enough; what
            `load_texts` raises.
    """
    names = list(names)
    if not names or len(set(names)) < len(names):
        raise CourseError("A pool needs data sets, each once.", given=names, mend='Use ["movie", "product"].')
    sources = dict(sources or {})
    table = pd.concat([_labelled_table(name, split, sources.get(name)) for name in names])
    if max_words is not None:
        table = table[[len(text.split()) <= max_words for text in table["text"]]]
    table = _without_copies(table)
    if table.empty:
        raise CourseError("No text is left.", given=max_words, mend="Allow more words, or use more texts.")
    return Dataset.from_pandas(table, preserve_index=False)


def _labelled_table(name: str, split: Split | None, source: str | None) -> pd.DataFrame:
    texts = load_texts(name, split=split, source=source)
    if "score" in texts.column_names:
        texts = with_binary_labels(texts)
    if "text" not in texts.column_names:
        raise CourseError(
            f"The {name} rows are pairs of texts, and a pool is of single ones.",
            given=name,
            mend="Use `load_texts` for these.",
        )
    table = texts.to_pandas().assign(domain=name)
    table["document_id"] = name + "/" + table["document_id"]
    return table[list(POOLED_COLUMNS)]


def _without_copies(table: pd.DataFrame) -> pd.DataFrame:
    keys = table["text"].map(normalise)
    agreed = table["label"].groupby(keys).transform("nunique") == 1
    return table[agreed & ~keys.duplicated() & (keys != "")].reset_index(drop=True)


def bias_texts(h1: Hypothesis | str, h2: Hypothesis | str | None = None) -> Dataset:
    """Loads the embedded texts on which a pair of hypotheses, or one alone, can be measured.

    Args:
        h1: a hypothesis of the task "sentiment" or "nli", or its name.
        h2: its competitor, if there is one.

    Returns:
        Texts of at most `MAX_WORDS` words of several data sets, or sentence pairs of SNLI, of all splits:
        nothing is trained, and the rare features are too rare in one.

    Raises:
        CourseError: an unknown hypothesis; hypotheses of two tasks; a task whose texts are on the hub only.
    """
    given = [find_hypothesis(one) for one in ((h1,) if h2 is None else (h1, h2))]
    names, task = {one.name for one in given}, given[0].task
    if any(one.task != task for one in given):
        raise CourseError("A pair of hypotheses is of one task.", given=tuple(one.name for one in given))
    if task not in ("sentiment", "nli"):
        raise CourseError(
            "No embedded texts carry this task.",
            given=task,
            mend="Load texts of the hub with `load_texts` and draw with `underspecified_split`.",
        )
    if task == "nli":
        return _embedded_texts(("snli",))
    if "sentiment.domain" in names:
        return _embedded_texts(("movie", "product"))
    # no product sentence holds a word in capitals: capitals would give the domain away
    without = "product" if "sentiment.uppercase" in names else ""
    return _embedded_texts(tuple(name for name in SENTENCES if name != without))


@lru_cache(maxsize=4)
def _embedded_texts(names: tuple[str, ...]) -> Dataset:
    return load_texts("snli") if names == ("snli",) else pool_texts(names, max_words=MAX_WORDS)
