"""The measurement: a prompt for every set, the scores of its test items, the answers, one row for each set.

Rows hold counts, not single answers: `tables.bias_table` puts any number of them together, from one run or several.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from datasets import Dataset

from course_lib.checks.arrays import check_scores
from course_lib.checks.calls import border, each
from course_lib.checks.types import Count, Flag, Seed, Text, Whole
from course_lib.errors import CourseError
from course_lib.icl.bias import Labels, h_accuracy
from course_lib.icl.calibration import CALIBRATIONS, Calibration, content_free_rows, decide
from course_lib.icl.experiments.rows import AnswersRow, FeatureSetRow, PairAnswersRow, SetRow
from course_lib.icl.interventions import Direction, Intervention, InterventionKind, find_intervention
from course_lib.icl.prompting import (
    TEMPLATES,
    DemonstrationPrompt,
    InstanceTemplate,
    TemplateName,
    a_row,
    prompt_for,
)
from course_lib.icl.scorers.scorer import Scorer, a_scorer
from course_lib.icl.underspecified import (
    SingleFeaturePool,
    SingleFeatureSplit,
    UnderspecifiedPool,
    UnderspecifiedSplit,
    alternate,
    disambiguating_demonstrations,
)


@border(scorer=a_scorer)
def measure_split(
    scorer: Scorer,
    split: UnderspecifiedSplit,
    task: str,
    *,
    intervention: Intervention | None = None,
    template: InstanceTemplate | None = None,
    calibrations: Sequence[Calibration] = CALIBRATIONS,
    progress: Flag = False,
) -> list[PairAnswersRow]:
    """Measures which hypothesis a model follows behind one set of demonstrations.

    Args:
        scorer: gives the log-probabilities of the label words.
        split: the demonstrations, and the test set on which the hypotheses differ.
        task: their task.
        intervention: what steers the model, or None.
        template: how one example is written; the task's own by default.
        calibrations: each gives a row.
        progress: whether to show a progress bar.

    Returns:
        A row for each calibration.

    Raises:
        CourseError: what the prompt, the scorer or the calibration refuses.
    """
    shown = split
    if intervention is not None and intervention.disambiguate:
        shown = disambiguating_demonstrations(split, intervention.direction)
    prompt = prompt_for(task, intervention, template)
    answered = _answers(scorer, prompt, shown, calibrations, progress=progress)
    return [{**row, "num_h1": _num_agreeing(answers, split.h1_labels)} for row, answers in answered]


@border(scorer=a_scorer)
def measure_feature(
    scorer: Scorer,
    pool: SingleFeaturePool,
    set_number: Whole,
    *,
    num_demonstrations: int,
    test_size: int,
    template: TemplateName | None = None,
    alternating: Flag = False,
    progress: Flag = False,
) -> list[FeatureSetRow]:
    """Measures how well a model learns one feature alone from one set of demonstrations.

    Args:
        scorer: gives the log-probabilities of the label words.
        pool: the texts, labelled by the feature.
        set_number: which set, from 0.
        num_demonstrations: demonstrations of a set.
        test_size: test items at most.
        template: name of one of `TEMPLATES`; the task's own by default.
        alternating: whether the demonstrations' labels alternate; else their order is drawn.
        progress: whether to show a progress bar.

    Returns:
        A row for each calibration.

    Raises:
        CourseError: as `SingleFeaturePool.draw` and `measure_split`; an unknown template.
    """
    prompt = prompt_for(pool.hypothesis.task, template=template and TEMPLATES[template])
    split = pool.draw(set_number, num_demonstrations=num_demonstrations, test_size=test_size)
    shown = alternate(split) if alternating else split
    return [
        {
            "feature": pool.hypothesis.name,
            "set": set_number,
            **row,
            "num_right": _num_agreeing(answers, split.labels),
        }
        for row, answers in _answers(scorer, prompt, shown, CALIBRATIONS, progress=progress)
    ]


def _answers(
    scorer: Scorer,
    prompt: DemonstrationPrompt,
    split: UnderspecifiedSplit | SingleFeatureSplit,
    calibrations: Sequence[Calibration],
    *,
    progress: bool,
) -> Iterator[tuple[AnswersRow, np.ndarray]]:
    prefix = prompt.prefix(list(split.demonstrations), split.demonstration_labels)
    return calibrated_predictions(
        scorer, prompt, prefix, split.test, calibrations=calibrations, progress=progress
    )


def _num_agreeing(predictions: np.ndarray, labels: Labels) -> int:
    """Returns n · h-accuracy, which is a whole number."""
    return round(h_accuracy(predictions, labels) * len(predictions))


@border(scorer=a_scorer, test=each(a_row))
def calibrated_predictions(
    scorer: Scorer,
    prompt: DemonstrationPrompt,
    prefix: Text,
    test: Dataset,
    *,
    calibrations: Sequence[Calibration] = CALIBRATIONS,
    progress: Flag = False,
) -> Iterator[tuple[AnswersRow, np.ndarray]]:
    """Scores test items behind a prefix once, and decides them with every calibration.

    Args:
        scorer: gives the log-probabilities of the label words.
        prompt: how an item is written, and the label words.
        prefix: the shared text.
        test: rows with the template's fields, [n].
        calibrations: names of `CALIBRATIONS`.
        progress: whether to show a progress bar.

    Returns:
        For each calibration: a row, and predictions, int [n].

    Raises:
        CourseError: what the scorer or the calibration refuses.
    """
    without_content = content_free_rows(prompt.template) if "contextual" in calibrations else []
    items = [prompt.item(row) for row in [*test, *without_content]]
    scores = scorer.log_probabilities(prefix, items, prompt.continuations, progress=progress)
    scores = check_scores("the scorer's log-probabilities", scores, num_rows=len(items))
    for calibration in calibrations:
        content_free = scores[len(test) :] if calibration == "contextual" else None
        decisions = decide(scores[: len(test)], calibration, content_free)
        yield (
            {
                "calibration": calibration,
                "n": len(test),
                "share_of_1": float(decisions.predictions.mean()),
                "num_ties": int(decisions.num_ties),
            },
            decisions.predictions,
        )


@border(scorer=a_scorer)
def measure_set(
    scorer: Scorer,
    pool: UnderspecifiedPool,
    set_number: Whole,
    kind: InterventionKind | None = None,
    direction: Direction | None = None,
    *,
    num_demonstrations: int = 16,
    test_size: int = 1200,
    template: TemplateName | None = None,
    alternating: Flag = False,
    seed: Seed = 0,
    progress: Flag = False,
) -> list[SetRow]:
    """Measures a pair of hypotheses behind one set of demonstrations.

    Args:
        scorer: gives the log-probabilities of the label words.
        pool: the texts, labelled by both hypotheses.
        set_number: which set, from 0.
        kind: an intervention, or None.
        direction: "h1" or "h2", where the intervention steers to.
        num_demonstrations: demonstrations of a set.
        test_size: test items at most.
        template: name of one of `TEMPLATES`; the task's own by default.
        alternating: whether the demonstrations' labels alternate; else their order is drawn.
        seed: seed of the draws.
        progress: whether to show a progress bar.

    Returns:
        A row for each calibration.

    Raises:
        CourseError: as `draw_set`, `steer_between` and `measure_split`; an unknown template.
    """
    intervention = steer_between(pool, kind, direction)
    split = draw_set(pool, set_number, num_demonstrations=num_demonstrations, test_size=test_size, seed=seed)
    rows = measure_split(
        scorer,
        alternate(split) if alternating else split,
        pool.h1.task,
        intervention=intervention,
        template=template and TEMPLATES[template],
        progress=progress,
    )
    return [
        {
            "h1": pool.h1.name,
            "h2": pool.h2.name,
            "set": set_number,
            "seed": seed,
            "intervention": kind,
            "direction": direction,
            **row,
        }
        for row in rows
    ]


@border()
def draw_set(
    pool: UnderspecifiedPool,
    set_number: Whole,
    *,
    num_demonstrations: Count = 16,
    test_size: int = 1200,
    seed: int = 0,
) -> UnderspecifiedSplit:
    """Draws the set that `measure_set` measures, the same with an intervention and without.

    Args:
        pool: the texts, labelled by both hypotheses.
        set_number: which set, from 0.
        num_demonstrations: demonstrations of a set.
        test_size: test items at most.
        seed: seed of the draws.

    Raises:
        CourseError: as `UnderspecifiedPool.draw`.
    """
    return pool.draw(
        set_number,
        num_demonstrations=num_demonstrations,
        test_size=test_size,
        seed=seed,
        num_held_back=2 * (num_demonstrations // 4),
    )


@border()
def steer_between(
    pool: UnderspecifiedPool, kind: InterventionKind | None, direction: Direction | None
) -> Intervention | None:
    """Returns the intervention of this kind and direction for a pool's hypotheses; None without any.

    Args:
        pool: the texts, labelled by both hypotheses.
        kind: an intervention, or None.
        direction: "h1" or "h2", where the intervention steers to.

    Raises:
        CourseError: an unknown name; an intervention without a direction, or the other way round.
    """
    if (kind is None) != (direction is None):
        raise CourseError(
            "An intervention needs a direction, and a direction an intervention.",
            given=(kind, direction),
            mend="Give both, or neither.",
        )
    return find_intervention(kind, direction, pool.h1, pool.h2) if kind and direction else None
