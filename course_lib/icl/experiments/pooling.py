"""Texts of several data sets as one, for features that one data set alone holds too few of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError
from course_lib.texts import load_texts, normalise, with_binary_labels

if TYPE_CHECKING:
    from datasets import Dataset

POOLED_COLUMNS = ("text", "label", "domain", "document_id", "group", "split")


def pool_texts(
    names: Iterable[str],
    split: str | None = None,
    max_words: int | None = None,
    *,
    sources: Mapping[str, str] | None = None,
) -> Dataset:
    """Load several text data sets as one, with binary labels and a column that says where a row is from.

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
    import pandas as pd
    from datasets import Dataset

    names = [names] if isinstance(names, str) else list(names)
    if not names or len(set(names)) < len(names):
        raise CourseError("A pool needs data sets, each once.", given=names, mend='Use ["movie", "product"].')
    if max_words is not None and max_words < 1:
        raise CourseError("max_words must be at least 1.", given=max_words, mend="Leave it out.")
    sources = dict(sources or {})
    table = pd.concat([_labelled_table(name, split, sources.get(name)) for name in names])
    if max_words is not None:
        table = table[table["text"].str.split().str.len() <= max_words]
    table = _without_copies(table)
    if table.empty:
        raise CourseError("No text is left.", given=max_words, mend="Allow more words, or use more texts.")
    return Dataset.from_pandas(table, preserve_index=False)


def _labelled_table(name: str, split: str | None, source: str | None) -> Any:
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


def _without_copies(table: Any) -> Any:
    keys = table["text"].map(normalise)
    agreed = table["label"].groupby(keys).transform("nunique") == 1
    return table[agreed & ~keys.duplicated() & (keys != "")].reset_index(drop=True)
