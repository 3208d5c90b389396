"""Tables of what was measured: sets put together with their interval, models compared set by set.

A row counts the answers behind one set of demonstrations. Sets are the unit of every interval, so the same set
twice, or the sets of two models as if they were one's, would make it too narrow: both are refused.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from course_lib.checks.values import check_count, check_rows, check_share, check_texts
from course_lib.errors import CourseError
from course_lib.icl.calibration import Calibration
from course_lib.statistics import hierarchical_bootstrap, mean_interval

BIAS_KEYS = ("model", "h1", "h2", "intervention", "direction", "calibration")
FEATURE_KEYS = ("model", "feature", "calibration")
# What a row may be a row of, apart from its set.
_ROW_KEYS = ("condition", "model", "feature", "h1", "h2", "intervention", "direction", "calibration")
_SET_KEYS = ("seed", "set")
_COUNTED = ("num_h1", "num_right", "num_ties")


def checked_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Returns the rows of a measurement, each of another set.

    Args:
        rows: what `bias_run` or `feature_run` gave, also read from a CSV file. Rows without a `model` are of one
            model that is not named.
        columns: further columns that each must have.

    Raises:
        CourseError: no rows, or one without a column; counts that cannot be; a set that is there twice.
    """
    columns = check_texts("columns", columns, least=0)
    kept = check_rows("rows", rows, ("calibration", "set", "n", *columns), least=0)
    if not kept:
        raise CourseError("There are no rows to put together.", given=0, mend="Measure at least one set.")
    found = [{key: _plain(value) for key, value in row.items()} for row in kept]
    seen: dict[tuple[Any, ...], int] = {}
    for place, row in enumerate(found):
        _check_counts(row, place, columns)
        key = tuple(_name(row, place, name) for name in (*_ROW_KEYS, *_SET_KEYS))
        if key in seen:
            raise CourseError(
                f"Rows {seen[key]} and {place} are of the same set; pooled, they would count as two.",
                given={name: row[name] for name in (*_ROW_KEYS, *_SET_KEYS) if row.get(name) is not None},
                mend="Leave one out, or name in a column `model` or `seed` what differs.",
            )
        seen[key] = place
    return found


def _plain(value: Any) -> Any:
    """Returns an empty field of a CSV file as None, as it was before."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _name(row: Mapping[str, Any], place: int, name: str) -> Any:
    """Give what a row says it is of: a word or a number, no list."""
    value = row.get(name)
    if not isinstance(value, Hashable):
        raise CourseError(
            f"{name} of row {place} is neither a word nor a number.",
            given=value,
            mend="Give one word or one number.",
        )
    return value


def _check_counts(row: Mapping[str, Any], place: int, columns: Sequence[str]) -> None:
    n = check_count(f"n of row {place}", _whole(row["n"]))
    for name in _COUNTED:
        if row.get(name) is not None or name in columns:
            check_count(f"{name} of row {place}", _whole(row[name]), least=0, most=n)
    if row.get("share_of_1") is not None or "share_of_1" in columns:
        check_share(f"share_of_1 of row {place}", row["share_of_1"])


def _whole(value: Any) -> Any:
    """Returns a whole float as an int: a column that elsewhere is empty holds floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def table_of(
    rows: Sequence[Mapping[str, Any]], calibration: Calibration, columns: Sequence[str] = ()
) -> pd.DataFrame:
    """Returns the rows of one calibration as a table.

    Args:
        rows: of `bias_run` or `feature_run`.
        calibration: the calibration to keep.
        columns: further columns that each row must have.

    Raises:
        CourseError: as `checked_rows`; no rows of this calibration.
    """
    kept = [row for row in checked_rows(rows, columns) if row["calibration"] == calibration]
    if not kept:
        raise CourseError("There are no rows of this calibration.", given=calibration)
    return pd.DataFrame(kept)


def table_of_one_model(
    rows: Sequence[Mapping[str, Any]], calibration: Calibration, columns: Sequence[str] = ()
) -> pd.DataFrame:
    """Returns the rows of one calibration as a table, in which a set is named by its number alone.

    Args:
        rows: of `bias_run` or `feature_run`, all of one model and one seed.
        calibration: the calibration to keep.
        columns: further columns that each row must have.

    Raises:
        CourseError: as `table_of`; rows of several models or seeds.
    """
    table = table_of(rows, calibration, columns)
    # rows of features alone name no seed
    named = {"model": table.get("model"), "seed": table["seed"].dropna() if "seed" in table else None}
    for name, values in named.items():
        several = [] if values is None else sorted(map(str, values.unique()))
        if len(several) > 1:
            raise CourseError(
                f"These rows are of more than one {name}, and would be pooled.",
                given=several,
                mend=f"Look at one {name} at a time; `compare_models` compares two models.",
            )
    return table


def h1_accuracies(table: pd.DataFrame) -> pd.Series:
    """Returns the h1-accuracy of each row of a pair: the measurement counted n · `h_accuracy`."""
    return table.num_h1 / table.n


def bias_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Puts the rows of `bias_run` together: h1-accuracy over the sets, with its interval.

    Args:
        rows: of any number of models, pairs, sets, interventions and calibrations.

    Returns:
        A row for each model, pair, intervention, direction and calibration: h1_accuracy, low, high (95 %, drawn
        over sets, then items), has_preference (whether the interval leaves out 0.5), share_of_1, num_sets,
        num_items (of all sets), num_ties. `model` is None where the rows name none.

    Raises:
        CourseError: as `checked_rows`.

    Example:
        >>> row = {"h1": "sentiment", "h2": "sentiment.short", "calibration": "none", "n": 20, "share_of_1": 0.5}
        >>> rows = [{**row, "model": "mine", "set": number, "num_h1": 15, "num_ties": 0} for number in range(3)]
        >>> bias_table(rows)[["model", "h1_accuracy", "num_sets"]].to_dict("records")
        [{'model': 'mine', 'h1_accuracy': 0.75, 'num_sets': 3}]
    """
    columns = ("h1", "h2", "num_h1", "share_of_1", "num_ties")
    return _over_sets(checked_rows(rows, columns), BIAS_KEYS, "num_h1", "h1_accuracy").assign(
        has_preference=lambda table: (table.low > 0.5) | (table.high < 0.5)
    )


def feature_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Puts the rows of `feature_run` together: accuracy over the sets, with its interval.

    Args:
        rows: of any number of models, features, sets and calibrations.

    Returns:
        A row for each model, feature and calibration: accuracy, low, high, share_of_1, num_sets, num_items,
        num_ties.

    Raises:
        CourseError: as `checked_rows`.
    """
    columns = ("feature", "num_right", "share_of_1", "num_ties")
    return _over_sets(checked_rows(rows, columns), FEATURE_KEYS, "num_right", "accuracy")


def _over_sets(rows: list[dict[str, Any]], keys: Sequence[str], counted: str, name: str) -> pd.DataFrame:
    parts: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    found = []
    for values, part in parts.items():
        # the bootstrap does not care which of a set's items agreed, only how many
        agreed = [[1.0] * int(row[counted]) + [0.0] * int(row["n"] - row[counted]) for row in part]
        interval = hierarchical_bootstrap(agreed)
        num_items = sum(int(row["n"]) for row in part)
        found.append(
            {
                **dict(zip(keys, values, strict=True)),
                name: interval.mean,
                "low": interval.low,
                "high": interval.high,
                "share_of_1": sum(row["share_of_1"] * row["n"] for row in part) / num_items,
                "num_sets": interval.n,
                "num_items": num_items,
                "num_ties": sum(int(row["num_ties"]) for row in part),
            }
        )
    return pd.DataFrame(found)


def compare_models(
    rows: Sequence[Mapping[str, Any]], first: str, second: str, calibration: Calibration = "median"
) -> pd.DataFrame:
    """Compares two models on the same sets of demonstrations: how much more the first follows h1.

    Each set's difference is one number; that both models saw the same demonstrations and test items takes the
    luck of the draw out of it.

    Args:
        rows: of `bias_run` or `course bias`, of both models, on the same texts with the same seed.
        first: the column `model` of the one.
        second: that of the other.
        calibration: the calibration looked at.

    Returns:
        A row for each pair, intervention and direction: difference (h1-accuracy of the first less that of the
        second, mean over sets), low, high (95 %, Student's t over sets), differs (the interval leaves out 0),
        num_sets.

    Raises:
        CourseError: as `checked_rows`; a model without rows; a set that was measured for one alone, or with
            another number of test items.

    Example:
        >>> row = {"h1": "sentiment", "h2": "sentiment.short", "calibration": "median", "n": 10}
        >>> counts = {"base": (4, 5, 6), "tuned": (8, 9, 9)}
        >>> rows = [
        ...     {**row, "model": model, "set": number, "num_h1": count}
        ...     for model, of_sets in counts.items()
        ...     for number, count in enumerate(of_sets)
        ... ]
        >>> compare_models(rows, "tuned", "base")[["difference", "differs", "num_sets"]].round(3).to_dict("records")
        [{'difference': 0.367, 'differs': True, 'num_sets': 3}]
    """
    keys = [key for key in BIAS_KEYS if key not in ("model", "calibration")]
    kept = [row for row in checked_rows(rows, ("h1", "h2", "num_h1")) if row["calibration"] == calibration]
    sides = [_by_set(kept, model, [*keys, *_SET_KEYS]) for model in (first, second)]
    alone = sides[0].keys() ^ sides[1].keys()
    unequal = [key for key in sides[0] if key not in alone and sides[0][key]["n"] != sides[1][key]["n"]]
    if alone or unequal:
        raise CourseError(
            "The two models are compared set by set, and not both were measured on the same ones.",
            given=dict(zip([*keys, *_SET_KEYS], next(iter([*alone, *unequal])), strict=True)),
            mend="Measure both on the same texts, with the same sets, sizes and seed.",
        )
    differences: dict[tuple[Any, ...], list[float]] = {}
    for key, row in sides[0].items():
        other = sides[1][key]
        difference = (row["num_h1"] - other["num_h1"]) / row["n"]
        differences.setdefault(key[: len(keys)], []).append(difference)
    found = []
    for values, of_sets in differences.items():
        interval = mean_interval(of_sets)
        found.append(
            {
                **dict(zip(keys, values, strict=True)),
                "difference": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "differs": interval.low > 0 or interval.high < 0,
                "num_sets": interval.n,
            }
        )
    return pd.DataFrame(found)


def _by_set(rows: list[dict[str, Any]], model: str, keys: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    found = {tuple(row.get(key) for key in keys): row for row in rows if row.get("model") == model}
    if not found:
        raise CourseError(
            "There are no rows of this model and calibration.",
            given=model,
            mend=f"Name one of {sorted({str(row.get('model')) for row in rows})}.",
        )
    return found
