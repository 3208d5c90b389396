"""The texts that a user measures a model on: of the course, or of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError, unknown_name
from course_lib.icl.experiments.measuring import TASK_TEMPLATES, bias_texts
from course_lib.icl.experiments.pooling import pool_texts
from course_lib.icl.hypotheses import Hypothesis, find_hypothesis
from course_lib.texts import IDENTITIES, NLI_LABELS, TEXT_SOURCES, load_texts
from course_lib.texts.user_files import is_user_file, number_labels, read_rows, split_names

if TYPE_CHECKING:
    from datasets import Dataset


def named_texts(names: str, h1: str, h2: str, labels: Sequence[str] | None = None) -> Dataset:
    """Load the texts that a user names for a pair of hypotheses.

    Args:
        names: "embedded", names of `texts.TEXT_SOURCES` joined by commas, or a file that `read_rows` reads with
            the columns of the hypotheses and of the task's template.
        h1: name of the first hypothesis.
        h2: name of the second.
        labels: what the labels are called in a file, in the order of the task's: two, or three for "nli"; by
            default whole numbers from 0. A pair of sentences without a label is -1, and left out.

    Raises:
        CourseError: neither a file nor a name; a file that cannot be read; labels for texts of the course.
    """
    if is_user_file(names):
        return _read_file(Path(names), find_hypothesis(h1), find_hypothesis(h2), labels)
    if labels is not None:
        raise CourseError("Labels are named for a file of one's own.", given=names, mend="Leave them out.")
    if names == "embedded":
        return bias_texts(h1, h2)
    chosen = split_names("texts", names)
    for name in chosen:
        if name not in TEXT_SOURCES:
            raise unknown_name("text", name, TEXT_SOURCES)
    return load_texts(chosen[0]) if h1 != "sentiment" and len(chosen) == 1 else pool_texts(chosen)


def _read_file(path: Path, h1: Hypothesis, h2: Hypothesis, labels: Sequence[str] | None) -> Dataset:
    from datasets import Dataset

    read = dict.fromkeys([*h1.columns, *h2.columns, *TASK_TEMPLATES[h1.task].fields])
    rows = read_rows(path, list(read), optional=("group", "document_id"))
    table = {name: [row[name] for row in rows] for name in rows[0]}
    for name in set(table) & set(IDENTITIES):
        table[name] = _shares(table[name], name)
    if "label" in table:
        table["label"] = _file_labels(rows, h1.task, labels)
    return Dataset.from_dict(table)


def _file_labels(rows: list[dict[str, Any]], task: str, labels: Sequence[str] | None) -> list[int]:
    num_labels = len(NLI_LABELS) if task == "nli" else 2
    unlabelled = [task == "nli" and row["label"].strip() == "-1" for row in rows]
    known = [row for row, without in zip(rows, unlabelled, strict=True) if not without]
    numbers = iter(number_labels(known, labels, num_labels))
    return [-1 if without else next(numbers) for without in unlabelled]


def _shares(values: list[str], name: str) -> list[float]:
    for number, value in enumerate(values, start=1):
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise CourseError(
                f"Row {number} has no share from 0 to 1 in the column `{name}`.",
                given=value,
                mend="Write the share of raters who see this identity mentioned.",
            )
    return [float(value) for value in values]
