"""Whole runs on the embedded texts: a pair or a feature by name, one set at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any

from tqdm.auto import tqdm

from course_lib.checks.calls import border
from course_lib.checks.types import Count, Flag, Whole
from course_lib.icl.experiments.measuring import measure_feature, measure_set
from course_lib.icl.experiments.pooling import bias_texts
from course_lib.icl.experiments.rows import BiasRow, FeatureRow
from course_lib.icl.hypotheses import Hypothesis, find_hypothesis
from course_lib.icl.interventions import STEERS, Direction, InterventionKind
from course_lib.icl.prompting import TemplateName
from course_lib.icl.scorers.prefix_cached import find_scorer
from course_lib.icl.tuning.records import NOTHING_SEEN, Seen, seen_by, unseen_texts
from course_lib.icl.underspecified import SingleFeaturePool, UnderspecifiedPool
from course_lib.models.loaded import EMBEDDED, ModelSource

# The pairs that the embedded texts can be measured on. Those of the other tasks, genres and Yelp need texts of
# the hub; single sentences hardly reach 40 words; "food" and "nice" leave under 25 items of one kind.
EMBEDDED_PAIRS = (
    ("sentiment", "sentiment.domain"),
    ("sentiment", "sentiment.short"),
    ("sentiment", "sentiment.punctuation"),
    ("sentiment", "sentiment.uppercase"),
    ("nli", "nli.overlap"),
    ("nli", "nli.shorter"),
    ("nli", "nli.negation"),
)


@lru_cache(maxsize=8)
def pair_pool(h1: Hypothesis, h2: Hypothesis, seen: Seen = NOTHING_SEEN) -> UnderspecifiedPool:
    """Returns the embedded texts labelled by a pair of hypotheses; the last eight are kept.

    Args:
        h1: the first hypothesis.
        h2: the second.
        seen: what tuned models have seen, which is left out.

    Raises:
        CourseError: as `bias_texts`, `unseen_texts` and `UnderspecifiedPool`.
    """
    return UnderspecifiedPool(unseen_texts(bias_texts(h1, h2), seen), h1, h2)


@lru_cache(maxsize=8)
def feature_pool(feature: Hypothesis, seen: Seen = NOTHING_SEEN) -> SingleFeaturePool:
    """Returns the embedded texts labelled by one feature; the last eight are kept.

    Args:
        feature: the hypothesis.
        seen: what tuned models have seen, which is left out.

    Raises:
        CourseError: as `bias_texts`, `unseen_texts` and `SingleFeaturePool`.
    """
    return SingleFeaturePool(unseen_texts(bias_texts(feature), seen), feature)


@border()
def bias_run(
    h1: Hypothesis | str,
    h2: Hypothesis | str,
    set_number: Whole,
    kind: InterventionKind | None = None,
    direction: Direction | None = None,
    *,
    model_source: ModelSource = EMBEDDED,
    beside: Sequence[ModelSource] = (),
    batch_size: Count = 16,
    **options: Any,
) -> list[BiasRow]:
    """Measures a pair of hypotheses behind one set of demonstrations of the embedded texts.

    Args:
        h1: the first hypothesis, or its name.
        h2: the second.
        set_number: which set, from 0.
        kind: an intervention, or None.
        direction: "h1" or "h2", where the intervention steers to.
        model_source: "embedded", a folder, or a hub id.
        beside: models that this one is compared with: what they or this one were tuned on is left out.
        batch_size: test items at a time.
        **options: the other arguments of `measure_set`.

    Returns:
        A row for each calibration.

    Raises:
        CourseError: as `pair_pool` and `measure_set`.
    """
    pool = pair_pool(find_hypothesis(h1), find_hypothesis(h2), seen_by([model_source, *beside]))
    rows = measure_set(find_scorer(model_source, batch_size), pool, set_number, kind, direction, **options)
    return [{"model": model_source, **row} for row in rows]


@border()
def feature_run(
    feature: Hypothesis | str,
    set_number: Whole,
    *,
    model_source: ModelSource = EMBEDDED,
    beside: Sequence[ModelSource] = (),
    template: TemplateName | None = None,
    batch_size: Count = 16,
    **options: Any,
) -> list[FeatureRow]:
    """Measures how visible one feature is alone, behind one set of demonstrations of the embedded texts.

    Args:
        feature: the hypothesis, or its name.
        set_number: which set, from 0.
        model_source: "embedded", a folder, or a hub id.
        beside: models that this one is compared with: what they or this one were tuned on is left out.
        template: how one example is written; the task's own by default. It is checked before the texts are labelled.
        batch_size: test items at a time.
        **options: the other arguments of `measure_feature`.

    Returns:
        A row for each calibration.

    Raises:
        CourseError: as `feature_pool` and `measure_feature`.
    """
    pool = feature_pool(find_hypothesis(feature), seen_by([model_source, *beside]))
    scorer = find_scorer(model_source, batch_size)
    rows = measure_feature(scorer, pool, set_number, template=template, **options)
    return [{"model": model_source, **row} for row in rows]


@border()
def intervention_sweep(
    h1: Hypothesis | str,
    h2: Hypothesis | str,
    num_sets: Count,
    test_size: Count,
    *,
    model_source: ModelSource = EMBEDDED,
    progress: Flag = True,
) -> list[BiasRow]:
    """Measures a pair without an intervention and with each, in both directions, over several sets.

    Args:
        h1: the first hypothesis, or its name.
        h2: the second.
        num_sets: demonstration sets.
        test_size: test items of a set at most.
        model_source: "embedded", a folder, or a hub id.
        progress: whether to show a progress bar.

    Returns:
        The rows of `bias_run`.

    Raises:
        CourseError: as `bias_run`; nothing is measured before.
    """
    first, second = find_hypothesis(h1), find_hypothesis(h2)
    tasks = list(product(STEERS, range(num_sets)))
    return [
        row
        for (kind, direction), number in tqdm(tasks, desc="interventions", disable=not progress)
        for row in bias_run(
            first, second, number, kind, direction, model_source=model_source, test_size=test_size
        )
    ]
