"""The paper's pilot findings on few examples: label words, initialisations, patterns, how much data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pandas as pd

from course_lib.checks.calls import border
from course_lib.checks.tables import check_table
from course_lib.checks.types import Count
from course_lib.checks.values import check_mapping, check_rows
from course_lib.ppt.fewshot.methods import METHODS, FewShotMethod
from course_lib.ppt.fewshot.run import FewShotRow, few_shot_run
from course_lib.ppt.fewshot.splits import Row
from course_lib.ppt.fewshot.tables import few_shot_table
from course_lib.ppt.fewshot.tasks import find_named


class Variant(NamedTuple):
    """One way to do what a pilot finding is about.

    Args:
        finding: which finding.
        name: of this variant.
        method: the method it varies.
        options: further arguments of `few_shot_run`.
    """

    finding: str
    name: str
    method: str
    options: Mapping[str, Any]


class PilotRow(FewShotRow):
    """What a run of a variant gave, with the variant's options."""

    options: dict[str, Any]


@border()
def pilot_variants(num_full: Count, full_updates: Count) -> list[Variant]:
    """Return what the paper's pilot compares, on the sentiment of movie sentences.

    Args:
        num_full: training examples of the runs with much data.
        full_updates: optimizer steps of those.

    Returns:
        Label words; initialisations; patterns around the soft prompt; prompt tuning against full fine-tuning,
        with few and with many examples. The first variant of a finding is what the others are compared with.
    """
    soft, hybrid = "prompt tuning", "hybrid prompt tuning"
    words = (("terrible", "great"), ("no", "yes"), ("good", "bad"))
    much = {"num_train": num_full, "num_updates": full_updates}
    return [
        Variant("label words", "bad/good", hybrid, {}),
        *(Variant("label words", "/".join(pair), hybrid, {"words": list(pair)}) for pair in words),
        Variant("initialisation", "random", soft, {"initialisation": "random"}),
        Variant("initialisation", "sample_vocab", soft, {}),
        Variant("initialisation", "text", soft, {"initialisation": "text"}),
        Variant("pattern", "soft tokens alone", soft, {}),
        Variant("pattern", "hybrid: All in all, it was", hybrid, {}),
        Variant("pattern", "hybrid: It was", hybrid, {"template": "{soft}{text} It was"}),
        *(
            Variant(f"{size} examples", method, method, options)
            for size, options in (("few", {}), ("many", much))
            for method in ("full fine-tuning", soft)
        ),
    ]


@border(options=partial(check_mapping, least=0))
def pilot_run(
    method: str,
    seed: int,
    learning_rate: float,
    options: Mapping[str, Any],
    **settings: Any,
) -> list[PilotRow]:
    """Run what a variant of a pilot finding does.

    Args:
        method: the variant's method.
        seed: seed of the run.
        learning_rate: peak learning rate.
        options: the variant's options; they go before `settings`.
        settings: further arguments of `few_shot_run`.

    Returns:
        One row, that of `few_shot_run` with the `options`.
    """
    chosen = {**settings, **options}
    kind = chosen.pop("initialisation", None)
    usual: FewShotMethod = find_named(METHODS, "method", method)
    used = usual if kind is None else replace(usual, initialisation=kind)
    row = few_shot_run("movie", used, seed, learning_rate=learning_rate, **chosen)
    return [{**row, "options": dict(options)}]


@border(rows=partial(check_rows, columns=("method", "options")))
def pilot_rows(rows: Sequence[Row], variants: Sequence[Variant]) -> list[Row]:
    """Return each variant its rows; one run can stand for the usual way of several findings.

    Args:
        rows: what `pilot_run` gives.
        variants: what `pilot_variants` gives.

    Returns:
        Rows with `finding` and `variant` in front, variants whose method and options were not run left out.
    """
    return [
        {"finding": variant.finding, "variant": variant.name, **row}
        for variant in variants
        for row in rows
        if (row["method"], row["options"]) == (variant.method, variant.options)
    ]


def pilot_differences(rows: Sequence[Row] | pd.DataFrame) -> pd.DataFrame:
    """Compare the variants of each finding with its first one, seed by seed.

    Args:
        rows: what `pilot_rows` gives.

    Returns:
        What `few_shot_table` gives, for each `finding` and `variant`; the first variant's differences are 0.

    Raises:
        CourseError: what `few_shot_table` refuses.
    """
    table = check_table("rows", rows, ("finding", "variant", "seed", "accuracy"))
    parts = []
    for _, part in table.groupby("finding", sort=False):
        named = part.assign(method=part.variant)
        parts.append(few_shot_table(named, against=named.method.iloc[0], by=("finding",)))
    return pd.concat(parts, ignore_index=True).rename(columns={"method": "variant"})
