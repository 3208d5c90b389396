"""Few examples of a task: the paper's protocol, its methods, and the table of what they reach.

A run draws few training and as many development examples, tunes by one method, keeps the step that does best
on the development examples, and only then reads the test set, once. The test set is the same for all seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from course_lib.checks import border, check_count, check_table, check_text, check_texts, of_type
from course_lib.errors import CourseError
from course_lib.finetuning import Evaluation
from course_lib.locations import data_folder
from course_lib.models import EMBEDDED, ModelAndTokenizer, kept_language_model
from course_lib.ppt.fewshot.tasks import (
    METHODS,
    NUM_EXAMPLES,
    NUM_TEST,
    TASKS,
    FewShotMethod,
    FewShotTask,
    Row,
    WrittenSplit,
    few_shot_split,
    find_named,
    write_split,
)
from course_lib.ppt.fewshot.tuning import Tuned, finetune_language_model, start_prompt
from course_lib.ppt.soft_prompt import SoftPrompt
from course_lib.ppt.training import PromptTrainingSettings, train_prompt
from course_lib.statistics import mean_interval

if TYPE_CHECKING:
    import pandas as pd


# --- one run ---------------------------------------------------------------------------------------


def few_shot_run(
    task: str | FewShotTask,
    method: str | FewShotMethod,
    seed: int,
    *,
    learning_rate: float,
    num_updates: int = 60,
    num_train: int = NUM_EXAMPLES,
    num_development: int = NUM_EXAMPLES,
    num_test: int = NUM_TEST,
    batch_size: int = 16,
    evaluate_every: int = 10,
    num_virtual_tokens: int | None = None,
    prompt_folder: Path | str | None = None,
    words: Sequence[str] | None = None,
    template: str | None = None,
    dtype: str | None = None,
    source: str = EMBEDDED,
    language_model: ModelAndTokenizer | None = None,
    read_test: bool = True,
    progress: bool = False,
) -> Row:
    """Tune on few examples by one method, choose the step on the development examples, and measure once.

    Args:
        task: one of `TASKS`, or a task of your own.
        method: one of `METHODS`, or a method of your own.
        seed: draws the examples, the prompt's start and the order of the batches.
        learning_rate: peak learning rate.
        num_updates: optimizer steps.
        num_train: training examples.
        num_development: development examples.
        num_test: test examples, the same for every seed.
        batch_size: examples a step.
        evaluate_every: steps between looks at the development examples.
        num_virtual_tokens: rows of a prompt that is not pre-trained; 20 by default.
        prompt_folder: see `start_prompt`.
        words: label words instead of the pattern's.
        template: a template instead of the pattern's.
        dtype: precision to compute in; None for float32. What is trained stays in float32.
        source: the language model, as `kept_language_model` takes it.
        language_model: a loaded one instead.
        read_test: False for a search of settings: the test set then stays closed.
        progress: whether to show a progress bar.

    Returns:
        One row: `task`, `method`, `seed`, `num_train`, `num_updates`, `learning_rate`; `accuracy` (label words
        compared with each other alone) and `median_accuracy` (with the threshold at the median of the test
        scores; None for other than two classes), both None where the test set stays closed;
        `development_accuracy` and `development_loss` at `kept_step`; `train_loss`, the mean of the last ten
        steps; `trained_parameters`, `bytes_stored` for the task in float32, `num_test`.

    Raises:
        CourseError: unknown names, too few examples, label words that do not fit the classes, training that
            ends in no number, a prompt that is missing or not for this model.

    Source: Gu et al., ACL 2022, section 4.1.
    """
    the_task: FewShotTask = find_named(TASKS, "task", task)
    the_method: FewShotMethod = find_named(METHODS, "method", method)
    split = few_shot_split(the_task.read(), seed, num_train, num_development, num_test)
    examples = write_split(the_task, the_method, split, words, template)
    settings = PromptTrainingSettings(
        learning_rate=learning_rate,
        num_steps=num_updates,
        batch_size=batch_size,
        evaluate_every=evaluate_every,
        keep="best",
        dtype=dtype,
        seed=seed,
    )
    if language_model is None:
        in_float32 = the_method.initialisation is None or dtype is None
        language_model = kept_language_model(source, dtype="float32" if in_float32 else str(dtype))
    prompt = None
    if the_method.initialisation is not None:
        prompt = start_prompt(
            the_task, the_method, language_model, seed,
            num_virtual_tokens=num_virtual_tokens, prompt_folder=prompt_folder,
        )  # fmt: skip
    tuned = _tune(language_model, prompt, examples, settings, progress)
    measured = tuned.evaluate(examples.test(), examples.verbalizer) if read_test else None
    return {
        "task": the_task.name,
        "method": the_method.name,
        "seed": seed,
        "num_train": num_train,
        "num_updates": num_updates,
        "learning_rate": learning_rate,
        "accuracy": measured.accuracy if measured else None,
        "median_accuracy": median_accuracy(measured) if measured else None,
        "development_accuracy": tuned.kept.accuracy,
        "development_loss": tuned.kept.loss,
        "kept_step": tuned.kept_step,
        "train_loss": sum(tuned.losses[-10:]) / len(tuned.losses[-10:]),
        "trained_parameters": tuned.num_trained,
        "bytes_stored": tuned.num_bytes,
        "num_test": len(split.test),
    }


def _tune(
    language_model: ModelAndTokenizer,
    prompt: SoftPrompt | None,
    examples: WrittenSplit,
    settings: PromptTrainingSettings,
    progress: bool,
) -> Tuned:
    few = (examples.train, examples.verbalizer, settings)
    if prompt is None:
        return finetune_language_model(
            language_model, *few, development=examples.development, progress=progress
        )
    result = train_prompt(language_model, prompt, *few, development=examples.development, progress=progress)
    losses = [step.loss for step in result.steps]
    return Tuned(language_model, result.prompt, result.evaluations, result.kept_step, losses)


@border(evaluation=of_type("course_lib.finetuning.evaluating.Evaluation"))
def median_accuracy(evaluation: Evaluation) -> float | None:
    """Give the accuracy of two classes with the threshold at the median of the scores.

    It uses the inputs of the test set all at once and never their labels, and takes for granted that about
    half of them belong to each class. It tells a model that ranks the examples well, but leans to one label
    word, from one that does not know.

    Args:
        evaluation: log-probabilities [n, 2] and labels.

    Returns:
        The share of right answers, or None for other than two classes.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[-1.0, -9.0], [-1.0, -8.0], [-1.0, -3.0], [-1.0, -2.0]])
        >>> leaning = Evaluation(scores, np.array([0, 0, 1, 1]))
        >>> leaning.accuracy, median_accuracy(leaning)
        (0.5, 1.0)
    """
    import numpy as np

    if evaluation.logits.shape[1] != 2:
        return None
    difference = evaluation.logits[:, 1] - evaluation.logits[:, 0]
    predictions = difference > np.median(difference)
    return float((predictions == evaluation.labels).mean())


# --- tables ----------------------------------------------------------------------------------------


def choose_learning_rates(rows: Sequence[Row] | pd.DataFrame) -> dict[str, float]:
    """Choose one learning rate for each method, on development examples alone.

    Args:
        rows: what `few_shot_run` gives, each method's rates on the same tasks and seeds. The test accuracy,
            if there is one, is not looked at.

    Returns:
        Method -> the rate with the highest mean development accuracy over tasks and seeds, among equal ones
        that with the lowest mean development loss.

    Raises:
        CourseError: no rows, or rates of a method that were tried on different tasks or seeds.
    """
    measured = ("learning_rate", "development_accuracy", "development_loss")
    table = check_table("rows", rows, ("method", "task", "seed"), finite=measured)
    chosen = {}
    for method, part in table.groupby("method", sort=False):
        tried = {
            rate: sorted(zip(each.task, each.seed, strict=True))
            for rate, each in part.groupby("learning_rate")
        }
        if len({tuple(pairs) for pairs in tried.values()}) != 1:
            raise CourseError(
                f"The learning rates of {method!r} were tried on different tasks or seeds.",
                given={rate: len(pairs) for rate, pairs in tried.items()},
                mend="Give the rows of a finished search.",
            )
        means = part.groupby("learning_rate")[["development_accuracy", "development_loss"]].mean()
        order = means.sort_values(["development_accuracy", "development_loss"], ascending=[False, True])
        chosen[str(method)] = float(order.index[0])
    return chosen


def few_shot_table(
    rows: Sequence[Row] | pd.DataFrame,
    *,
    measure: str = "accuracy",
    against: str = "prompt tuning",
    by: Sequence[str] = ("task",),
) -> pd.DataFrame:
    """Give mean, spread and interval of each method over seeds, and its paired difference from another.

    Runs of one seed share their examples, so methods are compared seed by seed: what the draw of the examples
    does to all of them cancels.

    Args:
        rows: what `few_shot_run` gives.
        measure: the column to sum up; rows without it (None) are left out.
        against: the method to compare with.
        by: what is never averaged over, such as the task, or the task and `num_train`.

    Returns:
        For each of `by` and `method`: `mean`, `spread` (standard deviation over seeds; None with one), `low` and
        `high` of the mean's 95 % interval, `n`, `trained_parameters`, `bytes_stored`; `difference`,
        `difference_low` and `difference_high`, the mean of the paired differences from `against` and its 95 %
        interval (None where that method was not run). With one seed intervals have infinite ends.

    Raises:
        CourseError: no rows, or a seed that was run twice.
    """
    import pandas as pd

    check_text("measure", measure)
    table = check_table("rows", rows, (*check_texts("by", by), "method", "seed", measure))
    table = table[table[measure].notna()]
    found = []
    for key, part in table.groupby([*by, "method"], sort=False):
        values = part.set_index("seed")[measure]
        _refuse_repeated(values.index.tolist(), key)
        interval = mean_interval(values.tolist())
        here = (table[list(by)] == list(key[:-1])).all(axis=1)
        other = table[here & (table.method == against)].set_index("seed")[measure]
        found.append(
            {
                **dict(zip((*by, "method"), key, strict=True)),
                "mean": interval.mean,
                "spread": float(values.std(ddof=1)) if len(values) > 1 else None,
                "low": interval.low,
                "high": interval.high,
                "n": interval.n,
                **{
                    name: int(part[name].iloc[0])
                    for name in ("trained_parameters", "bytes_stored")
                    if name in part
                },
                **_paired(values, other),
            }
        )
    return pd.DataFrame(found)


def _paired(values: pd.Series, other: pd.Series) -> Row:
    """Give the mean difference over the seeds that both have."""
    names = ("difference", "difference_low", "difference_high")
    differences = (values - other).dropna()
    if differences.empty:
        return dict.fromkeys(names)
    interval = mean_interval(differences.tolist())
    return dict(zip(names, (interval.mean, interval.low, interval.high), strict=True))


def _refuse_repeated(seeds: list[int], key: Any) -> None:
    if len(set(seeds)) < len(seeds):
        raise CourseError(
            f"A seed occurs twice for {key}: the same run would count as two.",
            given=seeds,
            mend="Name in `by` what tells the rows apart, such as `num_train`.",
        )


# --- the reference runs ----------------------------------------------------------------------------


def few_shot_rows(task: str, method: str, seed: int, learning_rate: float, **settings: Any) -> list[Row]:
    """Give the row of `few_shot_run` as a list, as the reference runs keep it."""
    return [few_shot_run(task, method, seed, learning_rate=learning_rate, **settings)]


def prompt_versions(folder: Path | str | None = None) -> dict[str, str]:
    """Give the first digits of the SHA-256 of each pre-trained prompt, for the record of a run.

    Args:
        folder: as `prompt_folder` in `start_prompt`.

    Raises:
        CourseError: if there are no prompts.
    """
    folder = Path(folder or data_folder() / "prompts")
    files = sorted(folder.glob("*/adapter_model.safetensors"))
    if not files:
        raise CourseError(
            "There are no pre-trained prompts here.",
            given=str(folder),
            mend="Train them with `course ppt pretrain`, or restore them from git.",
        )
    return {file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in files}


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


@border(num_full=check_count, full_updates=check_count)
def pilot_variants(num_full: int, full_updates: int) -> list[Variant]:
    """Give what the paper's pilot compares, on the sentiment of movie sentences.

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


def pilot_run(
    method: str,
    seed: int,
    learning_rate: float,
    options: Mapping[str, Any],
    **settings: Any,
) -> list[Row]:
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
    used = METHODS[method] if kind is None else replace(METHODS[method], initialisation=kind)
    row = few_shot_run("movie", used, seed, learning_rate=learning_rate, **chosen)
    return [{**row, "options": dict(options)}]


def pilot_rows(rows: Sequence[Row], variants: Sequence[Variant]) -> list[Row]:
    """Give each variant its rows; one run can stand for the usual way of several findings.

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
        CourseError: as `few_shot_table`.
    """
    import pandas as pd

    table = check_table("rows", rows, ("finding", "variant", "seed", "accuracy"))
    parts = []
    for _, part in table.groupby("finding", sort=False):
        named = part.assign(method=part.variant)
        parts.append(few_shot_table(named, against=named.method.iloc[0], by=("finding",)))
    return pd.concat(parts, ignore_index=True).rename(columns={"method": "variant"})
