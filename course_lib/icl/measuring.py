"""The measurement: a prompt for every set, the scores of its test items, the answers, one row for each set.

Rows hold counts, not single answers: `bias_table` puts any number of them together, from one run or several.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError, unknown_name
from course_lib.icl.calibration import CALIBRATIONS, content_free_rows, decide
from course_lib.icl.hypotheses import Hypothesis, find_hypothesis
from course_lib.icl.interventions import (
    DIRECTIONS,
    INTERVENTION_KINDS,
    LABELS,
    Intervention,
    find_intervention,
)
from course_lib.icl.pooling import pool_texts
from course_lib.icl.prompting import TEMPLATES, DemonstrationPrompt, InstanceTemplate
from course_lib.icl.scoring import PrefixCachedScorer, Scorer
from course_lib.icl.underspecified import (
    SingleFeatureSplit,
    UnderspecifiedSplit,
    alternate,
    disambiguating_demonstrations,
    single_feature_split,
    underspecified_split,
)
from course_lib.statistics import hierarchical_bootstrap
from course_lib.texts import IDENTITIES, NLI_LABELS
from course_lib.user_files import is_user_file, number_labels, read_rows, split_names
from course_lib.verbalizers import Verbalizer

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from accelerate import PartialState
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


def named_texts(names: str, h1: str, h2: str, labels: Sequence[str] | None = None) -> Dataset:
    """Load the texts that a user names for a pair of hypotheses.

    Args:
        names: "embedded", names of `texts.TEXT_SOURCES` joined by commas, or a file that `read_rows` reads with
            the columns of the hypotheses and of the task's template.
        h1: name of the first hypothesis.
        h2: name of the second.
        labels: what the labels are called in a file, in the order of the task's: two, or three for "nli"; by
            default whole numbers from 0. A pair of sentences without a label is -1, and left out.

    Raises:
        CourseError: neither a file nor a name; a file that cannot be read; labels for texts of the course.
    """
    from course_lib.texts import TEXT_SOURCES, load_texts

    if is_user_file(names):
        return _read_file(Path(names), find_hypothesis(h1), find_hypothesis(h2), labels)
    if labels is not None:
        raise CourseError("Labels are named for a file of one's own.", given=names, mend="Leave them out.")
    if names == "embedded":
        return bias_texts(h1, h2)
    chosen = split_names("texts", names)
    for name in chosen:
        if name not in TEXT_SOURCES:
            raise unknown_name("text", name, TEXT_SOURCES)
    return load_texts(chosen[0]) if h1 != "sentiment" and len(chosen) == 1 else pool_texts(chosen)


def _read_file(path: Path, h1: Hypothesis, h2: Hypothesis, labels: Sequence[str] | None) -> Dataset:
    from datasets import Dataset

    read = dict.fromkeys([*h1.columns, *h2.columns, *TASK_TEMPLATES[h1.task].fields])
    rows = read_rows(path, list(read), optional=("group", "document_id"))
    table = {name: [row[name] for row in rows] for name in rows[0]}
    for name in set(table) & set(IDENTITIES):
        table[name] = _shares(table[name], name)
    if "label" in table:
        table["label"] = _file_labels(rows, h1.task, labels)
    return Dataset.from_dict(table)


def _file_labels(rows: list[dict[str, Any]], task: str, labels: Sequence[str] | None) -> list[int]:
    num_labels = len(NLI_LABELS) if task == "nli" else 2
    unlabelled = [task == "nli" and row["label"].strip() == "-1" for row in rows]
    known = [row for row, without in zip(rows, unlabelled, strict=True) if not without]
    numbers = iter(number_labels(known, labels, num_labels))
    return [-1 if without else next(numbers) for without in unlabelled]


def _shares(values: list[str], name: str) -> list[float]:
    for number, value in enumerate(values, start=1):
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise CourseError(
                f"Row {number} has no share from 0 to 1 in the column `{name}`.",
                given=value,
                mend="Write the share of raters who see this identity mentioned.",
            )
    return [float(value) for value in values]


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
        A row for each calibration: h1, h2, set, intervention, direction, and what `measure_split` gives.

    Raises:
        CourseError: unknown names, an intervention without a direction or the other way round, and as
            `underspecified_split` and `measure_split`.
    """
    if (kind is None) != (direction is None):
        raise CourseError(
            "An intervention needs a direction, and a direction an intervention.",
            given=(kind, direction),
            mend="Give both, or neither.",
        )
    first, second = find_hypothesis(h1), find_hypothesis(h2)
    intervention = find_intervention(kind, direction, first, second) if kind and direction else None
    split = underspecified_split(
        texts,
        first,
        second,
        num_demonstrations,
        test_size,
        num_sets=set_number + 1,
        seed=seed,
        num_held_back=2 * (num_demonstrations // 4),
    )[set_number]
    rows = measure_split(
        scorer,
        alternate(split) if alternating else split,
        first.task,
        intervention=intervention,
        template=_find_template(template),
        progress=progress,
    )
    names = {"h1": h1, "h2": h2, "set": set_number, "intervention": kind, "direction": direction}
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
        As `measure_set`.

    Raises:
        CourseError: as `measure_set`.
    """
    scorer = find_scorer(model, batch_size)
    return measure_set(scorer, _texts(h1, h2), h1, h2, set_number, kind, direction, **options)


def measure_pair(
    model: str,
    texts: Dataset,
    h1: str,
    h2: str,
    kind: str | None = None,
    direction: str | None = None,
    *,
    num_sets: int = 3,
    batch_size: int = 16,
    **options: Any,
) -> list[dict[str, Any]]:
    """Measure a pair over several sets; processes started by a launcher share the sets among them.

    Args:
        model: "embedded", a folder, or a hub id.
        texts: rows that both hypotheses can read.
        h1: name of the first hypothesis.
        h2: name of the second.
        kind: an intervention, or None.
        direction: "h1" or "h2", where the intervention steers to.
        num_sets: sets of demonstrations.
        batch_size: test items at a time.
        **options: the other arguments of `measure_set`.

    Returns:
        The rows of `measure_set` for every set, in their order, in every process.

    Raises:
        CourseError: as `measure_set`; fewer than one set.
    """
    from accelerate.utils import gather_object

    if num_sets < 1:
        raise CourseError("num_sets must be at least 1.", given=num_sets, mend="Use 3.")
    processes = _launched_processes()
    scorer = find_scorer(model, batch_size)
    rows = [
        row
        for number in own_share(num_sets, processes.process_index, processes.num_processes)
        for row in measure_set(scorer, texts, h1, h2, number, kind, direction, **options)
    ]
    return sorted(gather_object(rows), key=lambda row: int(row["set"]))


def own_share(count: int, process_index: int, num_processes: int) -> range:
    """Give the numbers below `count` that are this process's: each number is one process's, whatever the counts.

    Accelerate's own `split_between_processes` gave the last element to every idle process until 1.14.

    Args:
        count: how many things are shared.
        process_index: which process this is, from 0.
        num_processes: how many there are.

    Example:
        >>> [list(own_share(5, index, 3)) for index in range(3)]
        [[0, 3], [1, 4], [2]]
    """
    return range(process_index, count, num_processes)


def _launched_processes() -> PartialState:
    """Join the processes that a launcher started, if one did.

    Where there is no GPU, Accelerate must be told to join them on the CPU: each would else take itself for
    the only one, measure every set, and write the file.
    """
    import torch
    from accelerate import PartialState

    # without a launcher the choice of the device is left to whoever trains in this process later
    return PartialState(cpu="LOCAL_RANK" in os.environ and not torch.cuda.is_available())


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
        A row for each calibration: feature, set, and what `measure_feature` gives.

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
    return [{"feature": feature, "set": set_number, **row} for row in rows]


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
        CourseError: as `bias_run`.
    """
    from tqdm.auto import tqdm

    tasks = list(product(STEERS, range(num_sets)))
    return [
        row
        for (kind, direction), number in tqdm(tasks, desc="interventions", disable=not progress)
        for row in bias_run(h1, h2, number, kind, direction, model=model, test_size=test_size)
    ]


@lru_cache(maxsize=2)
def find_scorer(model: str = "embedded", batch_size: int = 16) -> PrefixCachedScorer:
    """Give the scorer of a model; the last two are kept.

    Args:
        model: "embedded", a folder, or a hub id.
        batch_size: test items at a time.
    """
    from course_lib.models import load_language_model

    loaded = load_language_model(model)
    return PrefixCachedScorer(loaded.model, loaded.tokenizer, batch_size=batch_size)


@lru_cache(maxsize=4)
def _texts(h1: str, h2: str | None) -> Dataset:
    return bias_texts(h1, h2)


# --- tables ----------------------------------------------------------------------------------------

BIAS_KEYS = ("h1", "h2", "intervention", "direction", "calibration")


def table_of(rows: Sequence[Mapping[str, Any]], calibration: str) -> pd.DataFrame:
    """Give the rows of one calibration as a table.

    Args:
        rows: of `bias_run` or `feature_run`.
        calibration: the calibration to keep.

    Raises:
        CourseError: no rows of this calibration.
    """
    import pandas as pd

    kept = [row for row in rows if row["calibration"] == calibration]
    if not kept:
        raise CourseError("There are no rows of this calibration.", given=calibration)
    return pd.DataFrame(kept)


def bias_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Put the rows of `bias_run` together: h1-accuracy over the sets, with its interval.

    Args:
        rows: of any number of pairs, sets, interventions and calibrations.

    Returns:
        A row for each pair, intervention, direction and calibration: h1_accuracy, low, high (95 %, drawn over
        sets, then items), has_preference (whether the interval leaves out 0.5), share_of_1, num_sets,
        num_items (of all sets), num_ties.

    Raises:
        CourseError: no rows.
    """
    return _over_sets(rows, BIAS_KEYS, "num_h1", "h1_accuracy").assign(
        has_preference=lambda table: (table.low > 0.5) | (table.high < 0.5)
    )


def feature_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Put the rows of `feature_run` together: accuracy over the sets, with its interval.

    Args:
        rows: of any number of features, sets and calibrations.

    Returns:
        A row for each feature and calibration: accuracy, low, high, share_of_1, num_sets, num_items, num_ties.

    Raises:
        CourseError: no rows.
    """
    return _over_sets(rows, ("feature", "calibration"), "num_right", "accuracy")


def _over_sets(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str], counted: str, name: str
) -> pd.DataFrame:
    import pandas as pd

    if not len(rows):
        raise CourseError("There are no rows to put together.", given=0, mend="Measure at least one set.")
    found = []
    for values, part in pd.DataFrame(list(rows)).groupby(list(keys), dropna=False, sort=False):
        # the bootstrap does not care which of a set's items agreed, only how many
        counts = zip(part["n"].to_list(), part[counted].to_list(), strict=True)
        agreed = [[1.0] * count + [0.0] * (n - count) for n, count in counts]
        interval = hierarchical_bootstrap(agreed)
        found.append(
            {
                **dict(zip(keys, values, strict=True)),
                name: interval.mean,
                "low": interval.low,
                "high": interval.high,
                "share_of_1": float((part["share_of_1"] * part["n"]).sum() / part["n"].sum()),
                "num_sets": interval.n,
                "num_items": int(part["n"].sum()),
                "num_ties": int(part["num_ties"].sum()),
            }
        )
    return pd.DataFrame(found)


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
