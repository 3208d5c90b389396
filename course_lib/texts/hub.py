"""Texts of the hub, or of a folder in the published schema."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset, concatenate_datasets, load_dataset
from datasets.exceptions import DatasetsError

from course_lib.errors import CourseError
from course_lib.texts.groups import assign_groups, normalise, text_hash
from course_lib.texts.sources import IDENTITIES, TEXT_SOURCES, TextSource
from course_lib.texts.user_files import read_raw_rows

_EMBEDDED = [name for name, source in TEXT_SOURCES.items() if not source.hub_id]


def load_hub(text_source: TextSource, source: str | None) -> Dataset:
    """Load a data set of the hub in the course's columns and splits.

    Args:
        text_source: which.
        source: another hub id, or a folder of files in the published schema.

    Raises:
        CourseError: it cannot be read, or lacks a column.
    """
    published = _read_hub(text_source, source)
    table = _HUB_READERS[text_source.name](_Columns(published, text_source.name)).reset_index(drop=True)
    table["position"] = table.groupby("document_id").cumcount()
    text_columns = [name for name in ("text", "premise", "passage") if name in table.columns]
    assign_groups({text_source.name: table}, text_columns)
    return Dataset.from_pandas(table[list(text_source.columns)], preserve_index=False)


def _read_hub(text_source: TextSource, source: str | None) -> pd.DataFrame:
    """Read every published split as one table; the course cuts its own."""
    files = _text_files(source)
    if files:
        parts = [pd.DataFrame(read_raw_rows(file)) for file in files]
        return pd.concat(parts, ignore_index=True).replace({"": None})
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
            "to the network. Embedded texts: " + ", ".join(_EMBEDDED) + ".",
        ) from error


def _text_files(source: str | None) -> list[Path]:
    """Return the files of a folder that hold plain text, training rows first; parquet needs no reader of ours."""
    if source is None or not Path(source).is_dir():
        return []
    files = [
        file for file in sorted(Path(source).rglob("*")) if file.suffix in (".csv", ".tsv", ".json", ".jsonl")
    ]
    order = {"train": 0, "valid": 1, "dev": 1, "test": 2}
    return sorted(files, key=lambda file: next((order[part] for part in order if part in file.stem), 0))


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
        """Return a column of texts, none missing."""
        return self._complete(self.first_of(*columns)).astype(str)

    def numbers(self, column: str, *, empty: float | None = None) -> pd.Series:
        """Return a column of numbers, or of true and false as 1 and 0; what is neither is refused.

        Args:
            column: its name.
            empty: what an empty field counts as; without it one is refused.
        """
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
    labels = _whole_labels(published.numbers("label"), 2, "yelp")
    texts = published.texts("text")
    return pd.DataFrame({"text": texts, "label": labels, "document_id": [str(i) for i in range(len(texts))]})


def _read_multinli(published: _Columns) -> pd.DataFrame:
    """Pairs that start from one premise (published `promptID`) are one document."""
    columns = {name: published.texts(name) for name in ("premise", "hypothesis", "genre")}
    table = pd.DataFrame(
        {**columns, "label": published.numbers("label"), "document_id": published.texts("promptID")}
    )
    table = table[table["label"] != -1]
    return table.assign(label=_whole_labels(table["label"], 3, "multinli"))


def _read_boolq(published: _Columns) -> pd.DataFrame:
    """Questions about one passage are one document."""
    passages = published.texts("passage")
    return pd.DataFrame(
        {
            "question": published.texts("question"),
            "passage": passages,
            "label": _whole_labels(published.numbers("answer"), 2, "boolq"),
            "document_id": [text_hash(normalise(passage)) for passage in passages],
        }
    )


def _read_civil_comments(published: _Columns) -> pd.DataFrame:
    """A comment of which nobody was asked about identities has none: its shares are empty, and count as 0."""
    texts = published.texts("comment_text", "text")
    toxicity = published.numbers("toxicity")
    columns: dict[str, Any] = {"text": texts, "label": (toxicity >= 0.5).astype(int), "toxicity": toxicity}
    columns |= {name: published.numbers(name, empty=0.0) for name in IDENTITIES}
    return pd.DataFrame({**columns, "document_id": [str(i) for i in range(len(texts))]})


_HUB_READERS: dict[str, Callable[[_Columns], Any]] = {
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
