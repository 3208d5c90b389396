"""The text data sets: where each comes from, and what its columns hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
NLI_LABELS = ("entailment", "neutral", "contradiction")
IDENTITIES = ("male", "female", "LGBTQ", "christian", "muslim", "jewish", "black", "white", "asian")


@dataclass(frozen=True)
class TextSource:
    """One text data set: where it comes from, and what its columns hold.

    Args:
        name: the name for `load_texts`.
        columns: column -> what it holds.
        family: data sets of one family are read together and share the search for duplicates.
        hub_id: the hub's data set, where it is not embedded.
        revision: the hub's revision.
        hub_options: further arguments of `datasets.load_dataset`.
    """

    name: str
    columns: Mapping[str, str]
    family: str
    hub_id: str = ""
    revision: str = ""
    hub_options: Mapping[str, Any] | None = None


_COMMON_COLUMNS = {
    "document_id": "str, rows of one document share it",
    "position": "int, published place of the row in its document, from 0; the source leaves some places out",
    "group": "str, rows that share a document or a text share it, across data sets too",
    "split": "str, train, validation or test; the same for a whole group",
}

_SCORED_COLUMNS = {
    "text": "str, one sentence",
    "score": "float, mean human sentiment from -4 (negative) to 4 (positive)",
    **_COMMON_COLUMNS,
}

_LABELLED_COLUMNS = {"text": "str", "label": "int, 0 negative, 1 positive", **_COMMON_COLUMNS}

_NLI_COLUMNS = {
    "premise": "str",
    "hypothesis": "str",
    "label": "int, 0 entailment, 1 neutral, 2 contradiction",
    **_COMMON_COLUMNS,
}

TEXT_SOURCES: dict[str, TextSource] = {
    source.name: source
    for source in (
        TextSource("movie", _SCORED_COLUMNS, "sentiment"),
        TextSource("product", _SCORED_COLUMNS, "sentiment"),
        TextSource("newspaper", _SCORED_COLUMNS, "sentiment"),
        TextSource("tweets", _SCORED_COLUMNS, "sentiment"),
        TextSource("imdb", _LABELLED_COLUMNS, "sentiment"),
        TextSource("rotten_tomatoes", _LABELLED_COLUMNS, "sentiment"),
        TextSource("snli", _NLI_COLUMNS, "snli"),
        TextSource("yelp", _LABELLED_COLUMNS, "yelp", hub_id="fancyzhx/yelp_polarity"),
        TextSource(
            "multinli",
            {**_NLI_COLUMNS, "genre": "str, for example fiction, government, telephone"},
            "multinli",
            hub_id="nyu-mll/multi_nli",
        ),
        TextSource(
            "boolq",
            {"question": "str", "passage": "str", "label": "int, 1 yes, 0 no", **_COMMON_COLUMNS},
            "boolq",
            hub_id="google/boolq",
            revision="35b264d03638db9f4ce671b711558bf7ff0f80d5",
        ),
        TextSource(
            "civil_comments",
            {
                "text": "str, one comment",
                "label": "int, 1 toxic (at least half of the raters say so), 0 not",
                "toxicity": "float, share of raters who call it toxic",
                **dict.fromkeys(IDENTITIES, "float, share of raters who see this identity mentioned"),
                **_COMMON_COLUMNS,
            },
            "civil_comments",
            hub_id="pietrolesci/civilcomments-wilds",
            revision="c227534cc0a34cf21db6a0bf0edd0f9050c8b305",
            hub_options={"data_files": "raw/*.parquet"},
        ),
    )
}
