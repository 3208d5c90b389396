"""Real texts by name."""

from __future__ import annotations

from datasets import Dataset

from course_lib.checks.calls import border, check_choice, optional
from course_lib.checks.values import check_path
from course_lib.errors import CourseError
from course_lib.texts.embedded import load_embedded
from course_lib.texts.hub import load_hub
from course_lib.texts.sources import TEXT_SOURCES, Split


@border()
def load_texts(name: str, *, split: Split | None = None, source: str | None = None) -> Dataset:
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
    optional(check_path)("source", source)
    if source is not None and not text_source.hub_id:
        raise CourseError(f"The {name} texts are embedded.", given=source, mend="Leave `source` out.")
    rows = load_hub(text_source, source) if text_source.hub_id else load_embedded(text_source)
    if split is None:
        return rows
    return rows.select([i for i, value in enumerate(rows["split"][:]) if value == split])
