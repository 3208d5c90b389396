"""Tables of few-shot runs: means and paired differences over seeds, and the choice of learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from course_lib.checks.calls import border
from course_lib.checks.tables import check_table
from course_lib.checks.values import check_text, check_texts
from course_lib.errors import CourseError
from course_lib.finetuning.evaluating import Evaluation
from course_lib.ppt.fewshot.splits import Row
from course_lib.statistics import mean_interval


@border()
def median_accuracy(evaluation: Evaluation) -> float | None:
    """Return the accuracy of two classes with the threshold at the median of the scores.

    It uses the inputs of the test set all at once and never their labels, and takes for granted that about
    half of them belong to each class. It tells a model that ranks the examples well, but leans to one label
    word, from one that does not know.

    Args:
        evaluation: log-probabilities [n, 2] and labels.

    Returns:
        The share of right answers, or None for other than two classes.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[-1.0, -9.0], [-1.0, -8.0], [-1.0, -3.0], [-1.0, -2.0]])
        >>> leaning = Evaluation(scores, np.array([0, 0, 1, 1]))
        >>> leaning.accuracy, median_accuracy(leaning)
        (0.5, 1.0)
    """
    if evaluation.logits.shape[1] != 2:
        return None
    difference = evaluation.logits[:, 1] - evaluation.logits[:, 0]
    predictions = difference > np.median(difference)
    return float((predictions == evaluation.labels).mean())


def choose_learning_rates(rows: Sequence[Row] | pd.DataFrame) -> dict[str, float]:
    """Choose one learning rate for each method, on development examples alone.

    Args:
        rows: what `few_shot_run` gives, each method's rates on the same tasks and seeds. The test accuracy,
            if there is one, is not looked at.

    Returns:
        Method -> the rate with the highest mean development accuracy over tasks and seeds, among equal ones
        that with the lowest mean development loss.

    Raises:
        CourseError: no rows, or rates of a method that were tried on different tasks or seeds.
    """
    measured = ("learning_rate", "development_accuracy", "development_loss")
    table = check_table("rows", rows, ("method", "task", "seed"), finite=measured)
    chosen = {}
    for method, part in table.groupby("method", sort=False):
        tried = {
            rate: sorted(zip(each.task, each.seed, strict=True))
            for rate, each in part.groupby("learning_rate")
        }
        if len({tuple(pairs) for pairs in tried.values()}) != 1:
            raise CourseError(
                f"The learning rates of {method!r} were tried on different tasks or seeds.",
                given={rate: len(pairs) for rate, pairs in tried.items()},
                mend="Give the rows of a finished search.",
            )
        means = part.groupby("learning_rate")[["development_accuracy", "development_loss"]].mean()
        order = means.sort_values(["development_accuracy", "development_loss"], ascending=[False, True])
        chosen[str(method)] = float(order.index[0])
    return chosen


def few_shot_table(
    rows: Sequence[Row] | pd.DataFrame,
    *,
    measure: str = "accuracy",
    against: str = "prompt tuning",
    by: Sequence[str] = ("task",),
) -> pd.DataFrame:
    """Compute mean, spread and interval of each method over seeds, and its paired difference from another.

    Runs of one seed share their examples, so methods are compared seed by seed: what the draw of the examples
    does to all of them cancels.

    Args:
        rows: what `few_shot_run` gives.
        measure: the column to sum up; rows without it (None) are left out.
        against: the method to compare with.
        by: what is never averaged over, such as the task, or the task and `num_train`.

    Returns:
        For each of `by` and `method`: `mean`, `spread` (standard deviation over seeds; None with one), `low` and
        `high` of the mean's 95 % interval, `n`, `trained_parameters`, `bytes_stored`; `difference`,
        `difference_low` and `difference_high`, the mean of the paired differences from `against` and its 95 %
        interval (None where that method was not run). With one seed intervals have infinite ends.

    Raises:
        CourseError: no rows, or a seed that was run twice.
    """
    check_text("measure", measure)
    table = check_table("rows", rows, (*check_texts("by", by), "method", "seed", measure))
    table = table[table[measure].notna()]
    found = []
    for key, part in table.groupby([*by, "method"], sort=False):
        values = part.set_index("seed")[measure]
        _refuse_repeated(values.index.tolist(), key)
        interval = mean_interval(values.tolist())
        here = (table[list(by)] == list(key[:-1])).all(axis=1)
        other = table[here & (table.method == against)].set_index("seed")[measure]
        found.append(
            {
                **dict(zip((*by, "method"), key, strict=True)),
                "mean": interval.mean,
                "spread": float(values.std(ddof=1)) if len(values) > 1 else None,
                "low": interval.low,
                "high": interval.high,
                "n": interval.n,
                **{
                    name: int(part[name].iloc[0])
                    for name in ("trained_parameters", "bytes_stored")
                    if name in part
                },
                **_paired(values, other),
            }
        )
    return pd.DataFrame(found)


def _paired(values: pd.Series, other: pd.Series) -> Row:
    """Return the mean difference over the seeds that both have."""
    names = ("difference", "difference_low", "difference_high")
    differences = (values - other).dropna()
    if differences.empty:
        return dict.fromkeys(names)
    interval = mean_interval(differences.tolist())
    return dict(zip(names, (interval.mean, interval.low, interval.high), strict=True))


def _refuse_repeated(seeds: list[int], key: Any) -> None:
    if len(set(seeds)) < len(seeds):
        raise CourseError(
            f"A seed occurs twice for {key}: the same run would count as two.",
            given=seeds,
            mend="Name in `by` what tells the rows apart, such as `num_train`.",
        )
