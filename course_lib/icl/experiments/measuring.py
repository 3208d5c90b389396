"""The measurement: a prompt for every set, the scores of its test items, the answers, one row for each set.

Rows hold counts, not single answers: `tables.bias_table` puts any number of them together, from one run or several.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any

from course_lib.checks import check_count
from course_lib.errors import CourseError, unknown_name
from course_lib.icl.calibration import CALIBRATIONS, content_free_rows, decide
from course_lib.icl.experiments.pooling import pool_texts
from course_lib.icl.hypotheses import find_hypothesis
from course_lib.icl.interventions import (
    DIRECTIONS,
    INTERVENTION_KINDS,
    LABELS,
    Intervention,
    find_intervention,
)
from course_lib.icl.prompting import TEMPLATES, DemonstrationPrompt, InstanceTemplate
from course_lib.icl.scorers.local import PrefixCachedScorer, Scorer
from course_lib.icl.underspecified import (
    SingleFeatureSplit,
    UnderspecifiedSplit,
    alternate,
    disambiguating_demonstrations,
    single_feature_split,
    underspecified_split,
)
from course_lib.models import kept_language_model
from course_lib.prompts.verbalizers import Verbalizer

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

TASK_TEMPLATES = {
    "sentiment": TEMPLATES["text"],
    "toxicity": TEMPLATES["text"],
    "nli": TEMPLATES["pair"],
    "qa": TEMPLATES["question"],
}
# Kind and direction of everything that is measured for a pair: nothing, then each intervention both ways.
STEERS: tuple[tuple[str | None, str | None], ...] = (
    (None, None),
    *product(INTERVENTION_KINDS, DIRECTIONS),
)
# Texts of at most this many words: 16 demonstrations then fit the context of any model.
MAX_WORDS = 60
# "!" and words in capitals are rare; these data sets together hold enough of both.
SENTENCES = ("movie", "product", "newspaper", "tweets", "imdb")


def prompt_for(
    task: str, intervention: Intervention | None = None, template: InstanceTemplate | None = None
) -> DemonstrationPrompt:
    """Build the prompt of a task, changed by an intervention where there is one.

    Args:
        task: a task of `HYPOTHESES`.
        intervention: what steers the model; None for labels "0" and "1" and nothing else.
        template: how one example is written; the task's own by default.

    Raises:
        CourseError: an unknown task.
    """
    if task not in TASK_TEMPLATES:
        raise unknown_name("task", task, TASK_TEMPLATES)
    template = template or TASK_TEMPLATES[task]
    if intervention is None:
        return DemonstrationPrompt(template, Verbalizer(LABELS))
    if intervention.question:
        template = replace(template, cue=f"{template.joint}{intervention.question}{template.cue}")
    return DemonstrationPrompt(
        template,
        Verbalizer(intervention.verbalizer or LABELS),
        instruction=intervention.instruction,
        explanations=intervention.explanations,
    )


def measure_split(
    scorer: Scorer,
    split: UnderspecifiedSplit,
    task: str,
    *,
    intervention: Intervention | None = None,
    template: InstanceTemplate | None = None,
    calibrations: Sequence[str] = CALIBRATIONS,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Measure which hypothesis a model follows behind one set of demonstrations.

    Args:
        scorer: gives the log-probabilities of the label words.
        split: the demonstrations, and the test set on which the hypotheses differ.
        task: their task.
        intervention: what steers the model, or None.
        template: how one example is written; the task's own by default.
        calibrations: each gives a row.
        progress: whether to show a progress bar.

    Returns:
        For each calibration: calibration, n, num_h1 (answers that agree with h1), share_of_1, num_ties.

    Raises:
        CourseError: what the prompt, the scorer or the calibration refuses.
    """
    shown = split
    if intervention is not None and intervention.disambiguate:
        shown = disambiguating_demonstrations(split, intervention.direction)
    prompt = prompt_for(task, intervention, template)
    prefix = prompt.prefix(list(shown.demonstrations), shown.demonstration_labels)
    labelled = calibrated_predictions(
        scorer, prompt, prefix, split.test, calibrations=calibrations, progress=progress
    )
    return [{**row, "num_h1": int((predictions == split.h1_labels).sum())} for row, predictions in labelled]


def measure_feature(
    scorer: Scorer,
    split: SingleFeatureSplit,
    task: str,
    *,
    template: InstanceTemplate | None = None,
    calibrations: Sequence[str] = CALIBRATIONS,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Measure how well a model learns one feature alone from one set of demonstrations.

    Args:
        scorer: gives the log-probabilities of the label words.
        split: demonstrations and test set labelled by the feature.
        task: its task.
        template: how one example is written; the task's own by default.
        calibrations: each gives a row.
        progress: whether to show a progress bar.

    Returns:
        For each calibration: calibration, n, num_right, share_of_1, num_ties.

    Raises:
        CourseError: as `measure_split`.
    """
    prompt = prompt_for(task, template=template)
    prefix = prompt.prefix(list(split.demonstrations), split.demonstration_labels)
    labelled = calibrated_predictions(
        scorer, prompt, prefix, split.test, calibrations=calibrations, progress=progress
    )
    return [{**row, "num_right": int((predictions == split.labels).sum())} for row, predictions in labelled]


def calibrated_predictions(
    scorer: Scorer,
    prompt: DemonstrationPrompt,
    prefix: str,
    test: Dataset,
    *,
    calibrations: Sequence[str] = CALIBRATIONS,
    progress: bool = False,
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Score test items behind a prefix once, and decide them with every calibration.

    Args:
        scorer: gives the log-probabilities of the label words.
        prompt: how an item is written, and the label words.
        prefix: the shared text.
        test: rows with the template's fields, [n].
        calibrations: names of `CALIBRATIONS`.
        progress: whether to show a progress bar.

    Returns:
        For each calibration: a row (calibration, n, share_of_1, num_ties), and predictions, int [n].

    Raises:
        CourseError: what the scorer or the calibration refuses.
    """
    without_content = content_free_rows(prompt.template) if "contextual" in calibrations else []
    items = [prompt.item(row) for row in [*test, *without_content]]
    scores = scorer.log_probabilities(prefix, items, prompt.continuations, progress=progress)
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


# --- whole runs ------------------------------------------------------------------------------------


def bias_texts(h1: str, h2: str | None = None) -> Dataset:
    """Load the embedded texts on which a pair of hypotheses, or one alone, can be measured.

    Args:
        h1: "sentiment" or "nli", or one of their features.
        h2: its competitor, if there is one.

    Returns:
        Texts of at most `MAX_WORDS` words of several data sets, or sentence pairs of SNLI, of all splits:
        nothing is trained, and the rare features are too rare in one.

    Raises:
        CourseError: an unknown hypothesis; a task whose texts are on the hub only.
    """
    task = find_hypothesis(h1).task
    if task == "sentiment":
        if "sentiment.domain" in (h1, h2):
            return pool_texts(("movie", "product"), max_words=MAX_WORDS)
        # no product sentence holds a word in capitals: capitals would give the domain away
        without = "product" if "sentiment.uppercase" in (h1, h2) else ""
        return pool_texts([name for name in SENTENCES if name != without], max_words=MAX_WORDS)
    if task == "nli":
        from course_lib.texts import load_texts

        return load_texts("snli")
    raise CourseError(
        "No embedded texts carry this task.",
        given=task,
        mend="Load texts of the hub with `load_texts` and draw with `underspecified_split`.",
    )


def measure_set(
    scorer: Scorer,
    texts: Dataset,
    h1: str,
    h2: str,
    set_number: int,
    kind: str | None = None,
    direction: str | None = None,
    *,
    num_demonstrations: int = 16,
    test_size: int = 1200,
    template: str | None = None,
    alternating: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Measure one pair of hypotheses behind one set of demonstrations.

    Args:
        scorer: gives the log-probabilities of the label words.
        texts: rows that both hypotheses can read.
        h1: name of the first hypothesis.
        h2: name of the second.
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
        A row for each calibration: h1, h2, set, seed, intervention, direction, and what `measure_split` gives.

    Raises:
        CourseError: unknown names, an intervention without a direction or the other way round, and as
            `underspecified_split` and `measure_split`.
    """
    drawn = draw_sets(
        texts, h1, h2, set_number + 1, kind, direction,
        num_demonstrations=num_demonstrations, test_size=test_size, seed=seed,
    )  # fmt: skip
    return measure_drawn(
        scorer, drawn, set_number, template=template, alternating=alternating, progress=progress
    )


@dataclass(frozen=True)
class DrawnSets:
    """Sets of demonstrations, each with its test set, and what is to be measured on them."""

    splits: list[UnderspecifiedSplit]
    h1: str
    h2: str
    intervention: Intervention | None
    seed: int


def draw_sets(
    texts: Dataset,
    h1: str,
    h2: str,
    num_sets: int,
    kind: str | None = None,
    direction: str | None = None,
    *,
    num_demonstrations: int = 16,
    test_size: int = 1200,
    seed: int = 0,
) -> DrawnSets:
    """Draw the sets that a pair is measured on; no model is needed, so bad input shows before one is loaded.

    Args:
        texts: rows that both hypotheses can read.
        h1: name of the first hypothesis.
        h2: name of the second.
        num_sets: sets of demonstrations.
        kind: an intervention, or None.
        direction: "h1" or "h2", where the intervention steers to.
        num_demonstrations: demonstrations of a set.
        test_size: test items at most.
        seed: seed of the draws.

    Raises:
        CourseError: unknown names, an intervention without a direction or the other way round, and as
            `underspecified_split`.
    """
    if (kind is None) != (direction is None):
        raise CourseError(
            "An intervention needs a direction, and a direction an intervention.",
            given=(kind, direction),
            mend="Give both, or neither.",
        )
    first, second = find_hypothesis(h1), find_hypothesis(h2)
    intervention = find_intervention(kind, direction, first, second) if kind and direction else None
    splits = underspecified_split(
        texts,
        first,
        second,
        num_demonstrations,
        test_size,
        num_sets=num_sets,
        seed=seed,
        num_held_back=2 * (num_demonstrations // 4),
    )
    return DrawnSets(splits, h1, h2, intervention, seed)


def measure_drawn(
    scorer: Scorer,
    drawn: DrawnSets,
    set_number: int,
    *,
    template: str | None = None,
    alternating: bool = False,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Measure one of the sets that `draw_sets` drew.

    Args:
        scorer: gives the log-probabilities of the label words.
        drawn: the sets.
        set_number: which of them, from 0.
        template: as for `measure_set`.
        alternating: as there.
        progress: whether to show a progress bar.

    Returns:
        As `measure_set`.

    Raises:
        CourseError: as `measure_split`; if there is no such set.
    """
    check_count("set_number", set_number, least=0, most=len(drawn.splits) - 1)
    split, intervention = drawn.splits[set_number], drawn.intervention
    rows = measure_split(
        scorer,
        alternate(split) if alternating else split,
        find_hypothesis(drawn.h1).task,
        intervention=intervention,
        template=_find_template(template),
        progress=progress,
    )
    names = {
        "h1": drawn.h1,
        "h2": drawn.h2,
        "set": set_number,
        "seed": drawn.seed,
        "intervention": intervention.kind if intervention else None,
        "direction": intervention.direction if intervention else None,
    }
    return [{**names, **row} for row in rows]


def bias_run(
    h1: str,
    h2: str,
    set_number: int,
    kind: str | None = None,
    direction: str | None = None,
    *,
    model: str = "embedded",
    batch_size: int = 16,
    **options: Any,
) -> list[dict[str, Any]]:
    """Measure one pair of hypotheses behind one set of demonstrations of the embedded texts.

    Args:
        h1: name of the first hypothesis.
        h2: name of the second.
        set_number: which set, from 0.
        kind: an intervention, or None.
        direction: "h1" or "h2", where the intervention steers to.
        model: "embedded", a folder, or a hub id.
        batch_size: test items at a time.
        **options: the other arguments of `measure_set`.

    Returns:
        The rows of `measure_set`, with a column model.

    Raises:
        CourseError: as `measure_set`.
    """
    scorer = find_scorer(model, batch_size)
    rows = measure_set(scorer, _texts(h1, h2), h1, h2, set_number, kind, direction, **options)
    return [{"model": model, **row} for row in rows]


def feature_run(
    feature: str,
    set_number: int,
    *,
    model: str = "embedded",
    num_demonstrations: int,
    test_size: int,
    template: str | None = None,
    alternating: bool = False,
    batch_size: int = 16,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Measure how visible one feature is alone, behind one set of demonstrations of the embedded texts.

    Args:
        feature: name of the hypothesis.
        set_number: which set, from 0.
        model: as in `bias_run`.
        num_demonstrations: as there.
        test_size: as there.
        template: as there.
        alternating: as there.
        batch_size: as there.
        progress: as there.

    Returns:
        A row for each calibration: model, feature, set, and what `measure_feature` gives.

    Raises:
        CourseError: as `bias_run`.
    """
    hypothesis = find_hypothesis(feature)
    split = single_feature_split(
        _texts(feature, None), hypothesis, num_demonstrations, test_size, num_sets=set_number + 1
    )[set_number]
    rows = measure_feature(
        find_scorer(model, batch_size),
        alternate(split) if alternating else split,
        hypothesis.task,
        template=_find_template(template),
        progress=progress,
    )
    return [{"model": model, "feature": feature, "set": set_number, **row} for row in rows]


def _find_template(name: str | None) -> InstanceTemplate | None:
    if name is not None and name not in TEMPLATES:
        raise unknown_name("template", name, TEMPLATES)
    return TEMPLATES[name] if name else None


def intervention_sweep(
    h1: str, h2: str, num_sets: int, test_size: int, *, model: str = "embedded", progress: bool = True
) -> list[dict[str, Any]]:
    """Measure a pair without an intervention and with each, in both directions, over several sets.

    Args:
        h1: name of the first hypothesis.
        h2: name of the second.
        num_sets: demonstration sets.
        test_size: test items of a set at most.
        model: "embedded", a folder, or a hub id.
        progress: whether to show a progress bar.

    Returns:
        The rows of `bias_run`.

    Raises:
        CourseError: as `bias_run`; nothing is measured before.
    """
    from tqdm.auto import tqdm

    check_count("test_size", test_size)
    for name in (h1, h2):
        find_hypothesis(name)
    tasks = list(product(STEERS, range(check_count("num_sets", num_sets))))
    return [
        row
        for (kind, direction), number in tqdm(tasks, desc="interventions", disable=not progress)
        for row in bias_run(h1, h2, number, kind, direction, model=model, test_size=test_size)
    ]


def find_scorer(
    model: str = "embedded", batch_size: int = 16, dtype: str | None = None, device: str | None = None
) -> PrefixCachedScorer:
    """Give the scorer of a model; the last two models are kept as long as their files are the same.

    Args:
        model: "embedded", a folder, or a hub id.
        batch_size: test items at a time.
        dtype: what it computes in; "float32" by default.
        device: see `choose_device`.
    """
    loaded = kept_language_model(model, dtype=dtype or "float32", device=device)
    return PrefixCachedScorer(loaded.model, loaded.tokenizer, batch_size=batch_size)


@lru_cache(maxsize=4)
def _texts(h1: str, h2: str | None) -> Dataset:
    return bias_texts(h1, h2)


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
