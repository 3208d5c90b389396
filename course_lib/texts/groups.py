"""Splits that do not leak.

Every text data set is cut into train, validation and test (80, 10 and 10 %) by document. Documents
that share a text, in one data set or in several, are found and put on the same side, so that
training on one data set and testing on another shows no model a test sentence beforehand.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from course_lib.checks.calls import border
from course_lib.checks.tables import with_columns
from course_lib.checks.values import check_text, check_texts, mapping_to

SPLIT_SEED = 0
# Two long documents that share a sentence of fewer letters and digits than this ("Yes.", "That's it.")
# are not copies of each other.
MIN_SHARED_CHARACTERS = 20


def normalise(text: str) -> str:
    """Reduce a text to what stays the same between copies of it: its letters and digits.

    Accents and Latin's special letters (æ, ø, ß), which copies often lose, do not count.

    Example:
        >>> normalise("Clichéd, but <i>fun</i> &amp; short !")
        'clichedbutifunishort'
    """
    plain = unicodedata.normalize("NFKD", html.unescape(check_text("text", text))).lower()
    return re.sub(r"[\W_]|[^a-z0-9\u0370-\U0010ffff]", "", plain)


@border(tables=mapping_to(with_columns("document_id")), text_columns=check_texts)
def assign_groups(tables: Mapping[str, pd.DataFrame], text_columns: Iterable[str]) -> None:
    """Add `group` and `split` to each table, in place: documents that share a text share both.

    A group is named by the least hash of its texts, not by its data set, so a sentence falls on the
    same side wherever it occurs.

    Args:
        tables: data set -> rows with `document_id` and the text columns.
        text_columns: the columns whose content must not cross sides.
    """
    columns = tuple(text_columns)
    for name, table in tables.items():
        with_columns("document_id", *columns)(name, table)
    links = [
        (f"{name}/{document}", linked)
        for name, table in tables.items()
        for document, text_hashes in _telling_texts(table, columns)
        for linked in text_hashes or [f"{name}/{document}"]
    ]
    least = _least_linked(links)
    for name, table in tables.items():
        table["group"] = [text_hash(least[f"{name}/{document}"]) for document in table["document_id"]]
        table["split"] = [_split_of(group) for group in table["group"]]


def _least_linked(links: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Map each key to the least of those that links lead to from it; hashes ("#…") sort before names."""
    codes, keys = pd.factorize(np.array([key for link in links for key in link], dtype=object), sort=True)
    graph = coo_array((np.ones(len(links)), codes.reshape(-1, 2).T), shape=(len(keys), len(keys)))
    _, parts = connected_components(graph, directed=False)
    _, first = np.unique(parts, return_index=True)
    return dict(zip(keys, keys[first[parts]], strict=True))


def _telling_texts(table: pd.DataFrame, columns: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Return each row's document and the hashes of its texts that would tell a copy of the document."""
    is_alone = ~table["document_id"].duplicated(keep=False)
    rows = table[["document_id", *columns]].itertuples(index=False)
    for row, alone in zip(rows, is_alone, strict=True):
        texts = [normalise(text) for text in row[1:]]
        yield row[0], [f"#{text_hash(text)}" for text in texts if alone or len(text) >= MIN_SHARED_CHARACTERS]


def _split_of(group: str) -> str:
    share = int(text_hash(f"{SPLIT_SEED}:{group}"), 16) / 16**12
    return "train" if share < 0.8 else "validation" if share < 0.9 else "test"


def text_hash(text: str) -> str:
    """Return 12 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
