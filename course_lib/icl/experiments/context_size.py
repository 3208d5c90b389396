"""Accuracy of in-context learning over the number of demonstrations, raw and calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from course_lib.checks.calls import border
from course_lib.checks.tables import check_table
from course_lib.checks.types import Count, Flag, Whole
from course_lib.checks.values import check_share
from course_lib.icl.bias import h_accuracy
from course_lib.icl.experiments.measuring import calibrated_predictions
from course_lib.icl.experiments.rows import ContextRow
from course_lib.icl.prompting import prompt_for
from course_lib.icl.scorers.prefix_cached import find_scorer
from course_lib.models.loaded import EMBEDDED, ModelSource
from course_lib.statistics import mean_interval
from course_lib.texts.sampling import labelled_splits, sample_texts


@border()
def context_run(
    set_number: Whole,
    num_demonstrations: Whole,
    *,
    texts: str = "movie",
    num_items: Count,
    model_source: ModelSource = EMBEDDED,
    progress: Flag = False,
) -> list[ContextRow]:
    """Measures accuracy behind one set of demonstrations, each calibration a row.

    Args:
        set_number: seed of the demonstrations; of one seed, fewer are the beginning of more.
        num_demonstrations: as many of each label as the number allows; 0 asks without any.
        texts: name of sentiment texts.
        num_items: held-out texts to label, the same for every set.
        model_source: "embedded", a folder, or a hub id.
        progress: whether to show a progress bar.

    Returns:
        A row for each calibration.

    Raises:
        CourseError: as `labelled_splits` and the scorer; one demonstration, which is of one label.
    """
    pool, heldout = labelled_splits(texts, num_heldout=num_items)
    prompt = replace(prompt_for("sentiment"), zero_shot=num_demonstrations == 0)
    shown = sample_texts(pool, num_demonstrations, seed=set_number) if num_demonstrations else []
    prefix = prompt.prefix(list(shown), [row["label"] for row in shown])
    scorer = find_scorer(model_source)
    return [
        {
            "num_demonstrations": num_demonstrations,
            "set": set_number,
            **row,
            "accuracy": h_accuracy(predictions, heldout["label"][:]),
        }
        for row, predictions in calibrated_predictions(scorer, prompt, prefix, heldout, progress=progress)
    ]


def context_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Puts the rows of `context_run` together: accuracy over sets with its 95 % interval.

    Args:
        rows: of several sets and numbers of demonstrations.

    Returns:
        A row for each number of demonstrations and calibration: accuracy, low, high, share_of_1, num_sets.

    Raises:
        CourseError: no rows, a column that is missing, or a value that is no share.
    """
    table = check_table("rows", rows, ("num_demonstrations", "calibration", "accuracy", "share_of_1"))
    for column in ("accuracy", "share_of_1"):
        for value in table[column].tolist():
            check_share(f"{column} of rows", value)
    found = []
    keys = ["num_demonstrations", "calibration"]
    for (count, calibration), part in table.groupby(keys, sort=False):
        mean, low, high, num_sets = mean_interval(part.accuracy.to_list())
        found.append(
            {
                "num_demonstrations": count,
                "calibration": calibration,
                "accuracy": mean,
                "low": low,
                "high": high,
                "share_of_1": float(part.share_of_1.mean()),
                "num_sets": num_sets,
            }
        )
    return pd.DataFrame(found)
