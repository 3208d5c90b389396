"""The search for a condition in which a model's preference is steadier from one demonstration set to the next.

A condition is how the demonstrations are shown: how many, in which template, in which order. It is chosen on
pairs of features that are not reported, so that no reported bias had a say in how it is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from course_lib.checks.calls import border, check_choice, check_fields, each
from course_lib.checks.tables import with_columns
from course_lib.checks.types import Count, Flag
from course_lib.checks.values import check_count, check_rows
from course_lib.errors import CourseError
from course_lib.icl.calibration import Calibration
from course_lib.icl.experiments.embedded import bias_run, feature_run
from course_lib.icl.experiments.rows import FeatureConditionRow, PairConditionRow
from course_lib.icl.experiments.tables import h1_accuracies, table_of_one_model
from course_lib.icl.hypotheses import Hypothesis, find_hypothesis
from course_lib.icl.prompting import TemplateName
from course_lib.models.loaded import EMBEDDED, ModelSource

ConditionRow = PairConditionRow | FeatureConditionRow


@dataclass(frozen=True)
class Condition:
    """How demonstrations are shown.

    Args:
        num_demonstrations: how many, half of each label.
        template: name of one of `TEMPLATES`; None for the task's own.
        alternating: whether their labels alternate; else the order is drawn.

    Raises:
        CourseError: no number of demonstrations, an unknown template, no bool.
    """

    num_demonstrations: Count = 16
    template: TemplateName | None = None
    alternating: Flag = False

    def __post_init__(self) -> None:
        check_fields(self)


# The first is the paper's. The others change one thing each.
CONDITIONS = {
    "16 demonstrations": Condition(),
    "32 demonstrations": Condition(32),
    "64 demonstrations": Condition(64),
    "label on a line of its own": Condition(template="lines"),
    "alternating labels": Condition(alternating=True),
}
# Pairs without "sentiment" or "nli" on either side: none of them is reported.
SEARCH_PAIRS = (
    ("sentiment.domain", "sentiment.short"),
    ("sentiment.punctuation", "sentiment.uppercase"),
)
SEARCH_FEATURES = ("sentiment.domain", "sentiment.short", "sentiment.punctuation")


def find_condition(name: str) -> Condition:
    """Returns a condition of `CONDITIONS`.

    Raises:
        CourseError: no condition has this name.
    """
    return CONDITIONS[check_choice("condition", name, CONDITIONS)]


@border(num_sets=partial(check_count, most=10_000))
def condition_tasks(num_sets: int) -> list[dict[str, Any]]:
    """Returns the arguments of every `condition_run` of the search, all features and pairs of a condition together.

    Args:
        num_sets: demonstration sets of each.
    """
    measured = [(feature, None) for feature in SEARCH_FEATURES] + list(SEARCH_PAIRS)
    return [
        {"condition": condition, "h1": h1, "h2": h2, "set_number": number}
        for condition, (h1, h2), number in product(CONDITIONS, measured, range(num_sets))
    ]


def condition_run(
    condition: str,
    h1: Hypothesis | str,
    h2: Hypothesis | str | None,
    set_number: int,
    *,
    test_size: int,
    model_source: str = EMBEDDED,
) -> list[ConditionRow]:
    """Measures a pair, or one feature alone, behind one set of demonstrations in one condition.

    Args:
        condition: a name of `CONDITIONS`.
        h1: the first hypothesis, or the feature, or its name.
        h2: the second hypothesis, or None for the feature alone.
        set_number: which set, from 0.
        test_size: test items at most.
        model_source: "embedded", a folder, or a hub id.

    Returns:
        The rows of `bias_run` or `feature_run`, with a column condition.

    Raises:
        CourseError: as those; an unknown condition.
    """
    shown = asdict(find_condition(condition))
    options: dict[str, Any] = {"model_source": model_source, "test_size": test_size, **shown}
    if h2 is None:
        return [{"condition": condition, **row} for row in feature_run(h1, set_number, **options)]
    return [{"condition": condition, **row} for row in bias_run(h1, h2, set_number, **options)]


def _a_measured(name: str, value: Any) -> tuple[Hypothesis, Hypothesis | None]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise CourseError(
            f"{name} must be two names.", given=value, mend='Write ("sentiment", None) for one alone.'
        )
    h1, h2 = value
    return find_hypothesis(h1), None if h2 is None else find_hypothesis(h2)


@border(
    measured=each(_a_measured),
    condition=lambda name, value: check_choice(name, value, CONDITIONS),
)
def sweep(
    measured: Sequence[tuple[Hypothesis | str, Hypothesis | str | None]],
    num_sets: Count,
    test_size: Count,
    *,
    condition: str = "16 demonstrations",
    model_source: ModelSource = EMBEDDED,
    progress: Flag = True,
) -> list[ConditionRow]:
    """Measures several pairs and features alone, each over several sets, one after the other.

    Args:
        measured: (h1, h2), or (feature, None) for one alone.
        num_sets: demonstration sets of each.
        test_size: test items of a set at most.
        condition: a name of `CONDITIONS`.
        model_source: "embedded", a folder, or a hub id.
        progress: whether to show a progress bar.

    Returns:
        The rows of `condition_run`.

    Raises:
        CourseError: as `condition_run`; wrong names and numbers before anything is measured.
    """
    tasks = list(product(measured, range(num_sets)))
    return [
        row
        for (h1, h2), number in tqdm(tasks, desc="demonstration sets", disable=not progress)
        for row in condition_run(condition, h1, h2, number, test_size=test_size, model_source=model_source)
    ]


def split_rows(
    rows: Sequence[Mapping[str, Any]], condition: str | None = None
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Parts the rows of `condition_run` into those of pairs and those of features alone.

    Args:
        rows: of any number of conditions.
        condition: the one to keep; None keeps all.

    Returns:
        The rows of pairs, for `bias_table`, and those of features, for `feature_table`.

    Raises:
        CourseError: an unknown condition.
    """
    if condition is not None:
        find_condition(condition)
    kept = [row for row in check_rows("rows", rows, ["condition"]) if condition in (None, row["condition"])]
    return [row for row in kept if "h1" in row], [row for row in kept if "feature" in row]


def condition_table(rows: Sequence[Mapping[str, Any]], calibration: Calibration = "median") -> pd.DataFrame:
    """Compares conditions: how far a preference moves from set to set, and how much there is to be seen.

    Args:
        rows: what `condition_run` gave for every condition, with several sets each.
        calibration: the calibration looked at.

    Returns:
        A row for each condition, in the order of `rows`: visibility (mean accuracy of the features alone),
        spread (standard deviation of h1-accuracy over sets, root mean square over pairs), chance_spread (what
        the finite number of items alone would give), and unsteadiness = spread / (visibility - 0.5): the
        smaller, the steadier.

    Raises:
        CourseError: no rows of this calibration; a pair with fewer than two sets.
    """
    table = table_of_one_model(rows, calibration, ("condition",))
    found = []
    for condition, part in table.groupby("condition", sort=False):
        alone, pairs = part[part.num_right.notna()], part[part.num_h1.notna()]
        accuracies = h1_accuracies(pairs).groupby([pairs.h1, pairs.h2], sort=False)
        if accuracies.size().min() < 2:
            raise CourseError("A spread over sets needs at least two of them.", given=condition)
        visibility = float((alone.num_right / alone.n).mean())
        spread = float(accuracies.var().mean() ** 0.5)
        found.append(
            {
                "condition": condition,
                "visibility": visibility,
                "spread": spread,
                "chance_spread": float((0.25 / pairs.n).mean() ** 0.5),
                "unsteadiness": spread / (visibility - 0.5) if visibility > 0.5 else float("inf"),
            }
        )
    return pd.DataFrame(found)


@border(table=with_columns("condition", "unsteadiness"))
def choose_condition(table: pd.DataFrame) -> str:
    """Returns the name of the steadiest condition of `condition_table`.

    A spread of .1 means more where a feature shown alone is found again in 55 % of the items than where it is in
    75 %; hence the spread is taken relative to that.

    Raises:
        CourseError: in no condition does the model see any feature.
    """
    if not (table.unsteadiness < float("inf")).any():
        raise CourseError("In none of these conditions does the model see a feature.", given=len(table))
    return str(table.set_index("condition").unsteadiness.idxmin())
