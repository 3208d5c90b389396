"""What an intervention changes: h-accuracy of the intended feature, with it and without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from course_lib.checks.calls import border, check_choice, each
from course_lib.checks.tables import with_columns
from course_lib.checks.types import Share
from course_lib.errors import CourseError
from course_lib.icl.calibration import Calibration
from course_lib.icl.experiments.tables import h1_accuracies, table_of_one_model
from course_lib.icl.interventions import DIRECTIONS, INTERVENTION_KINDS, Direction
from course_lib.statistics import mean_interval

# Our hypotheses' names -> the feature's name in the published table.
PUBLISHED_FEATURES = {
    "sentiment.domain": "domain",
    "sentiment.short": "length",
    "sentiment.punctuation": "punctuation",
    "sentiment.uppercase": "capitalization",
    "nli.overlap": "overlap",
    "nli.shorter": "length",
    "nli.negation": "negation",
    "toxicity.uppercase": "capitalization",
    "qa.same_as": "structure",
}


@border()
def intended_change(h1_before: Share, h1_after: Share, direction: Direction) -> float:
    """Computes how far h-accuracy moved towards the intended feature.

    Args:
        h1_before: h1-accuracy without the intervention.
        h1_after: h1-accuracy with it.
        direction: "h1" or "h2", the feature intended.

    Returns:
        Positive where the intervention worked. As h2-accuracy is 1 - h1-accuracy, it is the same size for both.

    Raises:
        CourseError: an unknown direction.

    Example:
        >>> intended_change(0.75, 0.25, "h2")
        0.5
    """
    return h1_after - h1_before if direction == "h1" else h1_before - h1_after


def intervention_effects(
    rows: Sequence[Mapping[str, Any]], calibration: Calibration = "median"
) -> pd.DataFrame:
    """Compares every intervention with the same demonstration sets without one.

    Args:
        rows: what `bias_run` gave for one model, with and without interventions, for the same sets.
        calibration: the calibration looked at.

    Returns:
        A row for each h1, h2, direction and intervention: baseline and h1_accuracy (means over sets), change
        (mean of `intended_change` over sets) with low and high (95 %, paired by set), works (the interval lies
        above 0), backfires (below 0), num_sets.

    Raises:
        CourseError: no rows of this calibration; an intervention on a set without its baseline.
    """
    table = _accuracies(rows, calibration)
    keys = ["h1", "h2", "set"]
    baseline = table.loc[table.intervention.isna(), [*keys, "h1_accuracy"]]
    steered = table[table.intervention.notna()].merge(
        baseline.rename(columns={"h1_accuracy": "baseline"}), on=keys, how="left"
    )
    if steered.baseline.isna().any():
        raise CourseError(
            "An intervention is compared with the same set without it, and that was not measured.",
            given=steered.loc[steered.baseline.isna(), keys].iloc[0].to_dict(),
            mend="Measure every set without an intervention, too.",
        )
    found = []
    columns = ["h1", "h2", "direction", "intervention"]
    for values, part in steered.groupby(columns, sort=False):
        names = dict(zip(columns, map(str, values), strict=True))
        changes = [
            intended_change(row["baseline"], row["h1_accuracy"], row["direction"])
            for row in part.to_dict("records")
        ]
        means = {name: float(part[name].mean()) for name in ("baseline", "h1_accuracy")}
        found.append({**names, **means, **_over_sets(changes)})
    return pd.DataFrame(found)


def steering(rows: Sequence[Mapping[str, Any]], calibration: Calibration = "median") -> pd.DataFrame:
    """Compares both directions of every intervention: does it matter what the intervention says?

    An intervention can also change a preference by disturbing the prompt, whatever it says. That drops out
    here, because it is the same in both directions.

    Args:
        rows: what `bias_run` gave for one model with every intervention in both directions, for the same sets.
        calibration: the calibration looked at.

    Returns:
        A row for each h1, h2 and intervention: change (mean over sets of h1-accuracy towards h1 less that
        towards h2) with low and high (95 %, paired by set), works, backfires, num_sets.

    Raises:
        CourseError: no rows of this calibration; a set with one direction only.
    """
    table = _accuracies(rows, calibration)
    keys = ["h1", "h2", "intervention", "set"]
    steered = table[table.intervention.notna()]
    both = steered.pivot(index=keys, columns="direction", values="h1_accuracy")
    both = both.loc[steered.set_index(keys).index.unique()]
    if set(both.columns) != set(DIRECTIONS) or both.isna().any(axis=None):
        raise CourseError(
            "Both directions of an intervention are compared, and one was not measured.",
            given=sorted(both.columns),
            mend="Measure every set in both directions.",
        )
    found = []
    differences = (both["h1"] - both["h2"]).reset_index(name="difference")
    for values, part in differences.groupby(keys[:-1], sort=False):
        names = dict(zip(keys[:-1], map(str, values), strict=True))
        found.append({**names, **_over_sets(part.difference.to_list())})
    return pd.DataFrame(found)


def _over_sets(changes: Sequence[float]) -> dict[str, Any]:
    change, low, high, num_sets = mean_interval(changes)
    verdicts = {"works": low > 0, "backfires": high < 0}
    return {"change": change, "low": low, "high": high, **verdicts, "num_sets": num_sets}


def _accuracies(rows: Sequence[Mapping[str, Any]], calibration: Calibration) -> pd.DataFrame:
    """Returns the rows of one calibration as a table with h1_accuracy."""
    table = table_of_one_model(rows, calibration, ("h1", "h2", "num_h1"))
    return table.assign(h1_accuracy=h1_accuracies(table))


@border(published=with_columns("model", "steer", "task", "feature", "baseline", *INTERVENTION_KINDS))
def published_effects(published: pd.DataFrame, model: str) -> pd.DataFrame:
    """Returns the same changes from the published table, its features named and ordered as those measured here.

    Args:
        published: `load_published("icl_interventions")`.
        model: "davinci" or "text-davinci-002".

    Returns:
        A row for each task, feature, direction and intervention: baseline, h1_accuracy, change, all as shares.
        Features without a counterpart in `PUBLISHED_FEATURES` keep their published names and come last.

    Raises:
        CourseError: a model that the table lacks.
    """
    check_choice("published model", model, sorted(set(published.model)))
    long = published[published.model == model].melt(
        id_vars=["task", "feature", "steer", "baseline"],
        value_vars=list(INTERVENTION_KINDS),
        var_name="intervention",
        value_name="h1_accuracy",
    )
    shares = long.assign(baseline=long.baseline / 100, h1_accuracy=long.h1_accuracy / 100)
    changes = [
        intended_change(row["baseline"], row["h1_accuracy"], row["steer"])
        for row in shares.to_dict("records")
    ]
    return _named_as_ours(shares.rename(columns={"steer": "direction"}).assign(change=changes))


def _named_as_ours(rows: pd.DataFrame) -> pd.DataFrame:
    ours = {(name.partition(".")[0], feature): name for name, feature in PUBLISHED_FEATURES.items()}
    published = list(zip(rows.task, rows.feature, strict=True))
    places = {key: place for place, key in enumerate(dict.fromkeys([*ours, *published]))}
    names = [ours.get(key, ".".join(key)).partition(".")[2] for key in published]
    in_order = sorted(range(len(rows)), key=lambda row: places[published[row]])
    return rows.assign(feature=names).iloc[in_order].reset_index(drop=True)


def _a_feature(name: str, value: Any) -> str:
    return check_choice("published feature", value, PUBLISHED_FEATURES)


@border(published=with_columns("model", "task", "feature", "baseline"), h2=each(_a_feature))
def published_baselines(published: pd.DataFrame, h2: Sequence[str]) -> pd.DataFrame:
    """Returns the published h1-accuracy without intervention of the features that were measured here too.

    Args:
        published: `load_published("icl_interventions")`.
        h2: names of hypotheses, keys of `PUBLISHED_FEATURES`.

    Returns:
        A row for each name, in its order, and a column for each model, as shares.

    Raises:
        CourseError: a hypothesis without a published counterpart.
    """
    baselines = published.drop_duplicates(["model", "task", "feature"])
    shares = baselines.set_index(["task", "feature", "model"]).baseline.unstack(sort=False) / 100
    keys = [(name.partition(".")[0], PUBLISHED_FEATURES[name]) for name in h2]
    return pd.DataFrame(shares.loc[keys].to_numpy(), index=list(h2), columns=list(shares.columns))
