"""One run of the few-shot protocol: draw, write, tune, choose, measure.

It draws few training and as many development examples, tunes by one method, keeps the step that does best
on the development examples, and only then reads the test set, once. The test set is the same for all seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypedDict

from course_lib.checks.calls import border, optional
from course_lib.checks.types import Count, Flag, Positive, Seed, Text
from course_lib.checks.values import check_path, check_texts
from course_lib.errors import CourseError
from course_lib.models.loaded import EMBEDDED, ModelAndTokenizer, ModelSource, floating_dtype
from course_lib.models.loading import kept_language_model
from course_lib.ppt.examples import PromptExample
from course_lib.ppt.fewshot.methods import METHODS, FewShotMethod, start_prompt
from course_lib.ppt.fewshot.splits import (
    NUM_EXAMPLES,
    NUM_TEST,
    FewShotSplit,
    Row,
    SealedRows,
    few_shot_split,
)
from course_lib.ppt.fewshot.tables import median_accuracy
from course_lib.ppt.fewshot.tasks import FEW_SHOT_TASKS, FewShotTask, find_named
from course_lib.ppt.fewshot.tuning import Tuned, finetune_language_model
from course_lib.ppt.optimisation import PromptTrainingSettings
from course_lib.ppt.patterns import Pattern
from course_lib.ppt.soft_prompt import SoftPrompt
from course_lib.ppt.training import train_prompt
from course_lib.prompts.verbalizers import Verbalizer


class FewShotRow(TypedDict):
    """What a run gives.

    Args:
        task: its name.
        method: its name.
        seed: the run's.
        num_train: training examples.
        num_updates: optimizer steps.
        learning_rate: peak learning rate.
        accuracy: on the test set, label words compared with each other alone; None where it stays closed.
        median_accuracy: the same with the threshold at the median of the test scores; None for other than two
            classes too.
        development_accuracy: at `kept_step`.
        development_loss: at `kept_step`, in nats.
        kept_step: the step that is best on the development examples.
        train_loss: mean of the last ten steps, in nats.
        trained_parameters: how many numbers are trained.
        bytes_stored: for the task, in float32.
        num_test: test examples.
    """

    task: str
    method: str
    seed: int
    num_train: int
    num_updates: int
    learning_rate: float
    accuracy: float | None
    median_accuracy: float | None
    development_accuracy: float
    development_loss: float
    kept_step: int
    train_loss: float
    trained_parameters: int
    bytes_stored: int
    num_test: int


@border(
    prompt_folder=optional(check_path),
    words=optional(partial(check_texts, least=2)),
)
def few_shot_run(
    task: str | FewShotTask,
    method: str | FewShotMethod,
    seed: Seed,
    *,
    learning_rate: Positive,
    num_updates: int = 60,
    num_train: int = NUM_EXAMPLES,
    num_development: int = NUM_EXAMPLES,
    num_test: int = NUM_TEST,
    batch_size: int = 16,
    evaluate_every: int = 10,
    num_virtual_tokens: Count | None = None,
    prompt_folder: Path | str | None = None,
    words: Sequence[str] | None = None,
    template: Text | None = None,
    dtype: str | None = None,
    model_source: ModelSource = EMBEDDED,
    loaded: ModelAndTokenizer | None = None,
    read_test: Flag = True,
    progress: Flag = False,
) -> FewShotRow:
    """Tune on few examples by one method, choose the step on the development examples, and measure once.

    Args:
        task: one of `FEW_SHOT_TASKS`, or a task of your own.
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
        model_source: the language model: "embedded", a folder or a hub id.
        loaded: a loaded model and tokenizer instead of `model_source`.
        read_test: False for a search of settings: the test set then stays closed.
        progress: whether to show a progress bar.

    Returns:
        What the run gives, see `FewShotRow`.

    Raises:
        CourseError: unknown names, too few examples, label words that do not fit the classes, training that
            ends in no number, a prompt that is missing or not for this model.

    Source: Gu et al., ACL 2022, section 4.1.
    """
    the_task: FewShotTask = find_named(FEW_SHOT_TASKS, "task", task)
    the_method: FewShotMethod = find_named(METHODS, "method", method)
    floating_dtype("float32" if dtype is None else dtype)
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
    if loaded is None:
        in_float32 = the_method.initialisation is None or dtype is None
        loaded = kept_language_model(model_source, dtype="float32" if in_float32 else str(dtype))
    prompt = None
    if the_method.initialisation is not None:
        prompt = start_prompt(
            the_task, the_method, loaded, seed,
            num_virtual_tokens=num_virtual_tokens, prompt_folder=prompt_folder,
        )  # fmt: skip
    tuned = _tune(loaded, prompt, examples, settings, progress)
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
    loaded: ModelAndTokenizer,
    prompt: SoftPrompt | None,
    examples: WrittenSplit,
    settings: PromptTrainingSettings,
    progress: bool,
) -> Tuned:
    few = (examples.train, examples.verbalizer, settings)
    if prompt is None:
        return finetune_language_model(loaded, *few, development=examples.development, progress=progress)
    result = train_prompt(loaded, prompt, *few, development=examples.development, progress=progress)
    losses = [step.loss for step in result.steps]
    return Tuned(loaded, result.prompt, result.evaluations, result.kept_step, losses)


@dataclass(frozen=True)
class WrittenSplit:
    """A split written out for the language model; the test rows stay sealed until `test` is called.

    Args:
        pattern: how the task is asked.
        write: writes rows out.
        train: examples to tune on.
        development: examples to choose on.
        sealed: the test rows.
    """

    pattern: Pattern
    write: Callable[[Sequence[Row]], list[PromptExample]]
    train: list[PromptExample]
    development: list[PromptExample]
    sealed: SealedRows

    @property
    def verbalizer(self) -> Verbalizer:
        """The label words."""
        return self.pattern.verbalizer

    def test(self) -> list[PromptExample]:
        """Read the test rows, which can be done once."""
        return self.write(self.sealed.read())


def write_split(
    task: FewShotTask,
    method: FewShotMethod,
    split: FewShotSplit,
    words: Sequence[str] | None,
    template: str | None,
) -> WrittenSplit:
    """Write a split out for the language model.

    Args:
        task: its patterns.
        method: the kind of pattern, and whether the task is asked as multiple choice.
        split: the rows.
        words: label words instead of the pattern's.
        template: a template instead of the pattern's.

    Returns:
        The examples; those of the test set are read later.

    Raises:
        CourseError: not one label word a class, a template that does not fit the rows.
    """
    pattern = task.unified(method.kind) if method.unified else task.pattern(method.kind)
    if words is not None:
        pattern = replace(pattern, verbalizer=_same_number(words, pattern.verbalizer))
    if template is not None:
        pattern = replace(pattern, template=template)

    def write(rows: Sequence[Row]) -> list[PromptExample]:
        asked = [task.unified_row(row) for row in rows] if method.unified else rows
        return [PromptExample(pattern.text(row), row["label"], pattern.num_labels(row)) for row in asked]

    return WrittenSplit(pattern, write, write(split.train), write(split.development), split.test)


def _same_number(words: Sequence[str], verbalizer: Verbalizer) -> Verbalizer:
    given = Verbalizer(words, verbalizer.separator)
    if given.num_labels != verbalizer.num_labels:
        raise CourseError(
            f"The task has {verbalizer.num_labels} classes, so it needs as many label words.",
            given=list(words),
            mend="Give one word a class, in the order of the labels.",
        )
    return given
