"""What tuning made of a model: siblings beside it on the same texts, and over the number of episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from filelock import FileLock

from course_lib.checks.calls import border
from course_lib.checks.types import Count, Whole
from course_lib.icl.experiments.embedded import bias_run, feature_run
from course_lib.icl.experiments.rows import BiasRow, FeatureRow
from course_lib.icl.interventions import Direction, InterventionKind
from course_lib.icl.tuning.records import TUNING_FILE
from course_lib.icl.tuning.siblings import SIBLINGS, sibling_folder, tune_sibling
from course_lib.icl.tuning.train import TuningSettings
from course_lib.locations import cache_folder
from course_lib.models.loaded import EMBEDDED, ModelSource

# The paper's number.
NUM_DEMONSTRATIONS = 16


@border()
def sibling_run(
    model_source: ModelSource,
    h1: str,
    h2: str | None,
    set_number: Whole,
    kind: InterventionKind | None = None,
    direction: Direction | None = None,
    *,
    beside: Sequence[ModelSource],
    test_size: Count,
) -> list[BiasRow] | list[FeatureRow]:
    """Measures a model on a pair, or on a feature alone, behind one set, on texts that no model beside it has seen.

    Args:
        model_source: the model.
        h1: name of the first hypothesis, or of the feature.
        h2: name of the second; None for the feature alone.
        set_number: which set, from 0.
        kind: an intervention, or None.
        direction: "h1" or "h2", where the intervention steers to.
        beside: all models that are compared.
        test_size: test items at most.

    Returns:
        A row for each calibration.

    Raises:
        CourseError: as `bias_run` and `feature_run`.
    """
    options: dict[str, Any] = {"model_source": model_source, "beside": beside, "test_size": test_size}
    if h2 is None:
        return feature_run(h1, set_number, num_demonstrations=NUM_DEMONSTRATIONS, **options)
    return bias_run(h1, h2, set_number, kind, direction, **options)


@border()
def curve_run(
    sibling: str, num_episodes: Whole, h1: str, h2: str, set_number: Whole, *, test_size: Count
) -> list[dict[str, Any]]:
    """Measures a sibling that was tuned on so many episodes, a prefix of the shipped one's, with a schedule of its own.

    Args:
        sibling: a name of `SIBLINGS`.
        num_episodes: 0 for the model without tuning; for as many as the shipped one has, that one is taken.
        h1: name of the first hypothesis.
        h2: name of the second.
        set_number: which set, from 0.
        test_size: test items at most.

    Returns:
        The rows of `bias_run`, with `sibling` and `num_episodes`. The model is tuned once, and kept in the cache.

    Raises:
        CourseError: as `tune_sibling` and `bias_run`.
    """
    model_source = _tuned_on(sibling, num_episodes)
    rows = bias_run(h1, h2, set_number, model_source=model_source, beside=[sibling], test_size=test_size)
    return [{**row, "model": sibling, "sibling": sibling, "num_episodes": num_episodes} for row in rows]


def _tuned_on(sibling: str, num_episodes: int) -> str:
    """Returns the name of a model for it, tuned the first time."""
    folder = sibling_folder(sibling)
    whole = TuningSettings()
    if num_episodes == 0:
        return EMBEDDED
    if num_episodes == whole.num_episodes and (folder / TUNING_FILE).is_file():
        return sibling
    place = cache_folder() / "runs" / "icl" / f"sibling-{sibling}-{num_episodes}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not (place / TUNING_FILE).is_file():
            settings = replace(whole, num_episodes=num_episodes)
            tune_sibling(SIBLINGS[sibling], place, settings=settings, progress=False)
    return str(place)
