"""How the shipped prompts do on held-out documents of their own task."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from course_lib.checks.calls import border, each, optional
from course_lib.checks.types import Count, Flag
from course_lib.checks.values import check_path
from course_lib.errors import CourseError
from course_lib.locations import data_folder
from course_lib.models.loaded import EMBEDDED, ModelAndTokenizer, ModelSource, floating_dtype
from course_lib.models.loading import load_language_model
from course_lib.ppt.examples import write_examples
from course_lib.ppt.patterns import Pattern
from course_lib.ppt.pretraining.labeller import PseudoLabels
from course_lib.ppt.pretraining.shards import Example
from course_lib.ppt.pretraining.shipped import (
    PROMPT_KINDS,
    ShippedSettings,
    corpus_options,
    prompt_version,
    read_training,
    untrained_prompt,
)
from course_lib.ppt.pretraining.tasks import PRETRAINING_TASKS, find_pattern, find_task, pretraining_rows
from course_lib.ppt.soft_prompt import SoftPrompt, load_soft_prompt
from course_lib.ppt.training import evaluate_prompt
from course_lib.runs.records import ResultRecord
from course_lib.runs.resuming import run_resumable
from course_lib.statistics import Interval, mean_interval

RESULT_NAME = "ppt_prompts"


class ShippedRow(TypedDict):
    """What one shipped prompt reaches on held-out documents, beside an untrained one and the best hard pattern.

    Each accuracy has its 95 % interval beside it, `_low` and `_high`.

    Args:
        task: the pre-training task.
        num_test: test examples.
        guessing: the expected share of right answers of blind guesses.
        trained_hybrid: accuracy of the prompt with the hybrid pattern.
        trained_soft: the same with the soft one.
        untrained_hybrid: accuracy of a prompt drawn at random with the hybrid pattern.
        untrained_soft: the same with the soft one.
        hard: accuracy of the best hard pattern.
        hard_template: its template.
        hard_development: its accuracy on the validation side, on which it was chosen.
        apart: whether the trained hybrid's interval lies above both others'.
    """

    task: str
    num_test: int
    guessing: float
    trained_hybrid: float
    trained_hybrid_low: float
    trained_hybrid_high: float
    untrained_hybrid: float
    untrained_hybrid_low: float
    untrained_hybrid_high: float
    hard: float
    hard_low: float
    hard_high: float
    trained_soft: float
    trained_soft_low: float
    trained_soft_high: float
    untrained_soft: float
    untrained_soft_low: float
    untrained_soft_high: float
    apart: bool
    hard_template: str
    hard_development: float


def _a_task(name: str, value: Any) -> str:
    return find_task(value).name


@border(folder=optional(check_path), task_names=optional(each(_a_task)))
def evaluate_shipped(
    folder: Path | str | None = None,
    *,
    task_names: Sequence[str] | None = None,
    num_test: Count = 600,
    num_development: Count = 200,
    model_source: ModelSource = EMBEDDED,
    dtype: str | None = None,
    num_workers: Count | None = None,
    progress: Flag = True,
) -> ResultRecord:
    """Measure the shipped prompts on the test side of their own pre-training tasks.

    Args:
        folder: the folder with a folder for each prompt; `data/prompts` by default.
        task_names: which of them; all by default.
        num_test: test examples.
        num_development: validation examples, on which the best hard pattern is chosen.
        model_source: the language model: "embedded", a folder or a hub id.
        dtype: precision to compute in; None for float32.
        num_workers: processes that share the prompts; None for this one.
        progress: whether to show a progress bar.

    Returns:
        The record `ppt_prompts`, a row for each prompt, see `evaluate_task`.

    Raises:
        CourseError: a prompt that is missing or damaged, or for another model.
    """
    floating_dtype("float32" if dtype is None else dtype)
    task_names = task_names or list(PRETRAINING_TASKS)
    folder = Path(folder or data_folder() / "prompts")
    if not folder.is_dir():
        raise CourseError(
            "There is no such folder of prompts.", given=str(folder), mend="Name one that is there."
        )
    sizes: dict[str, Any] = {"num_test": num_test, "num_development": num_development, "dtype": dtype}
    versions = {task: prompt_version(folder / task) for task in task_names}
    run_task = functools.partial(evaluate_task, folder=str(folder), model_source=model_source, **sizes)
    return run_resumable(
        RESULT_NAME,
        command=f"course reference {RESULT_NAME}",
        settings={**sizes, "source": model_source, "prompts": versions},
        tasks=[{"task": task} for task in task_names],
        run_task=run_task,
        num_workers=num_workers,
        progress=progress,
    )


@border(task=_a_task, folder=check_path)
def evaluate_task(
    task: str,
    *,
    folder: Path | str,
    num_test: Count,
    num_development: Count,
    model_source: ModelSource = EMBEDDED,
    dtype: str | None = None,
    loaded: ModelAndTokenizer | None = None,
    labelled: PseudoLabels | None = None,
) -> list[ShippedRow]:
    """Measure one shipped prompt beside an untrained one and the best hard pattern.

    Args:
        task: one of `PRETRAINING_TASKS`.
        folder: the folder with a folder for each prompt.
        num_test: test examples.
        num_development: validation examples, on which the best hard pattern is chosen.
        model_source: the language model: "embedded", a folder or a hub id.
        dtype: precision to compute in; None for float32.
        loaded: a loaded model and tokenizer instead of `model_source`.
        labelled: sentences with pseudo-labels, for "single"; the cache's by default.

    Returns:
        One row.

    Raises:
        CourseError: a prompt that is missing or damaged, or for another model.
    """
    place = Path(folder) / task
    settings = ShippedSettings(**read_training(place)["settings"])
    loaded = loaded or load_language_model(model_source, dtype="float32" if dtype is None else dtype)
    trained = load_soft_prompt(place, loaded)
    labelled = find_task(task).labels(loaded.tokenizer, settings.num_reviews, labelled)
    options = {**corpus_options(settings), "labelled": labelled}
    development = pretraining_rows(task, "validation", num_development, loaded.tokenizer, **options)
    test = pretraining_rows(task, "test", num_test, loaded.tokenizer, **options)
    hybrid, soft = (find_pattern(task, kind, settings.max_options) for kind in PROMPT_KINDS)
    hard, hard_accuracy = _best_hard(find_task(task).hard_patterns(settings.max_options), loaded, development)
    measured = {
        "trained_hybrid": _accuracy(loaded, trained, test, hybrid),
        "untrained_hybrid": _accuracy(loaded, untrained_prompt(loaded, settings), test, hybrid),
        "hard": _accuracy(loaded, None, test, hard),
        "trained_soft": _accuracy(loaded, trained, test, soft),
        "untrained_soft": _accuracy(loaded, untrained_prompt(loaded, settings), test, soft),
    }
    row: dict[str, Any] = {"task": task, "num_test": len(test)}
    row["guessing"] = sum(1 / hybrid.num_labels(each) for each in test) / len(test)
    for name, interval in measured.items():
        row |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    others = max(measured["untrained_hybrid"].high, measured["hard"].high)
    row["apart"] = bool(measured["trained_hybrid"].low > others)
    row |= {"hard_template": hard.template, "hard_development": hard_accuracy}
    return [cast(ShippedRow, row)]


def _best_hard(
    patterns: list[Pattern], loaded: ModelAndTokenizer, development: list[Example]
) -> tuple[Pattern, float]:
    found = [(pattern, _accuracy(loaded, None, development, pattern).mean) for pattern in patterns]
    return max(found, key=lambda pair: pair[1])


def _accuracy(
    loaded: ModelAndTokenizer, prompt: SoftPrompt | None, rows: list[Example], pattern: Pattern
) -> Interval:
    examples = write_examples(rows, [pattern])
    found = evaluate_prompt(loaded, prompt, examples, pattern.verbalizer)
    return mean_interval((found.predictions == found.labels).astype(float).tolist())
