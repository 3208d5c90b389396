"""The texts that a user measures a model on: of the course, or of a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from datasets import Dataset

from course_lib.checks.calls import check_choice
from course_lib.errors import CourseError, unknown_name
from course_lib.icl.experiments.pooling import bias_texts, pool_texts
from course_lib.icl.hypotheses import Hypothesis, column_hypothesis, find_hypothesis
from course_lib.icl.prompting import TASK_TEMPLATES
from course_lib.texts.loading import load_texts
from course_lib.texts.sources import IDENTITIES, NLI_LABELS, TEXT_SOURCES
from course_lib.texts.user_files import is_user_file, number_labels, read_rows, split_names

# What stands before the name of a column that is a feature.
COLUMN = "column:"
Value = TypeVar("Value")


def named_hypotheses(h1: str, h2: str) -> tuple[Hypothesis, Hypothesis]:
    """Finds the pair of hypotheses that a user names.

    Args:
        h1: a name of `HYPOTHESES`, or "column:NAME" for a column of the user's file that holds 0 or 1.
        h2: the same for its competitor.

    Returns:
        The two; a column's is of the other's task, and where both are columns, of single texts.

    Raises:
        CourseError: an unknown name, or a column without one.

    Example:
        >>> [(one.name, one.task) for one in named_hypotheses("nli", "column:is_question")]
        [('nli', 'nli'), ('column:is_question', 'nli')]
    """
    first, second = named_features([h1, h2])
    return first, second


def named_features(names: Sequence[str]) -> list[Hypothesis]:
    """Finds features that a user names, as `named_hypotheses` finds a pair of them.

    Raises:
        CourseError: an unknown name, or a column without one.
    """
    registered = [find_hypothesis(name) for name in names if not name.startswith(COLUMN)]
    task = registered[0].task if registered else "sentiment"
    return [
        column_hypothesis(name.removeprefix(COLUMN).strip(), task)
        if name.startswith(COLUMN)
        else find_hypothesis(name)
        for name in names
    ]


def named_texts(
    names: str, h1: Hypothesis | str, h2: Hypothesis | str, labels: Sequence[str] | None = None
) -> Dataset:
    """Loads the texts that a user names for a pair of hypotheses.

    Args:
        names: "embedded", names of `texts.TEXT_SOURCES` joined by commas, or a file that `read_rows` reads with
            the columns of the hypotheses and of the task's template.
        h1: the first hypothesis, or its name.
        h2: the second.
        labels: what the labels are called in a file, in the order of the task's: two, or three for "nli"; by
            default whole numbers from 0. A pair of sentences without a label is -1, and left out.

    Raises:
        CourseError: neither a file nor a name; a file that cannot be read; labels, or a column as a feature, for
            texts of the course.
    """
    first, second = find_hypothesis(h1), find_hypothesis(h2)
    if is_user_file(names):
        return file_texts(Path(names), [first, second], labels)
    if labels is not None:
        raise CourseError("Labels are named for a file of one's own.", given=names, mend="Leave them out.")
    for one in (first, second):
        if one.name.startswith(COLUMN):
            raise CourseError(
                f"{one.name} is a column of a file of one's own.",
                given=names,
                mend="Name the file with --texts.",
            )
    if names == "embedded":
        return bias_texts(first, second)
    chosen = split_names("texts", names)
    for name in chosen:
        if name not in TEXT_SOURCES:
            raise unknown_name("text", name, TEXT_SOURCES)
    is_pooled = first.name == "sentiment" or len(chosen) > 1
    return pool_texts(chosen) if is_pooled else load_texts(chosen[0])


def file_texts(path: Path, hypotheses: Sequence[Hypothesis], labels: Sequence[str] | None = None) -> Dataset:
    """Reads a file of one's own with the columns of hypotheses of one task, and of the task's template.

    Args:
        path: a file that `read_rows` reads.
        hypotheses: at least one; a column's says which column it is.
        labels: what the labels are called, as for `named_texts`.

    Raises:
        CourseError: a file that cannot be read; labels that are none.
    """
    task = check_choice("task", hypotheses[0].task, TASK_TEMPLATES)
    needed = [column for one in hypotheses for column in one.columns]
    read = dict.fromkeys([*needed, *TASK_TEMPLATES[task].fields])
    rows = read_rows(path, list(read), optional=("group", "document_id"))
    table: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in rows[0]}
    features = [one.columns[0] for one in hypotheses if one.name.startswith(COLUMN)]
    for name in {*IDENTITIES}.intersection(table).difference(features):
        table[name] = _converted(
            table[name], name, _share, "share from 0 to 1", "Write the share of raters who see it mentioned."
        )
    if "label" in table and "label" not in features:
        table["label"] = _file_labels(rows, task, labels)
    for name in features:
        table[name] = _converted(
            table[name],
            name,
            _feature,
            "0 or 1",
            "Write 1 where the text has the feature, 0 where it has not.",
        )
    return Dataset.from_dict(table)


def _file_labels(rows: list[dict[str, Any]], task: str, labels: Sequence[str] | None) -> list[int]:
    num_labels = len(NLI_LABELS) if task == "nli" else 2
    unlabelled = [task == "nli" and row["label"].strip() == "-1" for row in rows]
    known = [row for row, without in zip(rows, unlabelled, strict=True) if not without]
    numbers = iter(number_labels(known, labels, num_labels))
    return [-1 if without else next(numbers) for without in unlabelled]


def _converted(
    values: list[str], name: str, convert: Callable[[str], Value], wanted: str, mend: str
) -> list[Value]:
    """Returns what a function makes of each value; where it refuses one, the row is named."""
    found = []
    for number, value in enumerate(values, start=1):
        try:
            found.append(convert(value))
        except (ValueError, KeyError, TypeError) as error:
            raise CourseError(
                f"Row {number} has no {wanted} in the column `{name}`. Rows are counted from 1, without the "
                "header.",
                given=value,
                mend=mend,
            ) from error
    return found


def _share(value: str) -> float:
    share = float(value)
    if not 0 <= share <= 1:
        raise ValueError(value)
    return share


def _feature(value: str) -> int:
    return {"0": 0, "1": 1}[value.strip()]
