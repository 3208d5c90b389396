"""Few examples of a task: the paper's protocol, its methods, and the table of what they reach.

A run draws few training and as many development examples, tunes by one method, keeps the step that does best
on the development examples, and only then reads the test set, once. The test set is the same for all seeds.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from course_lib.errors import CourseError, unknown_name
from course_lib.finetuning import Evaluation
from course_lib.locations import data_folder
from course_lib.models import (
    EMBEDDED,
    ModelAndTokenizer,
    count_parameters,
    floating_dtype,
    load_language_model,
)
from course_lib.ppt.corpus import SCORE_EDGES, build_nss_examples
from course_lib.ppt.label_scoring import label_loss
from course_lib.ppt.patterns import (
    Pattern,
    as_multiple_choice,
    choice_pattern,
    nli_pattern,
    sentiment_pattern,
    single_pattern,
    unified_pattern,
)
from course_lib.ppt.pretraining import (
    PromptEvaluation,
    PromptTrainingSettings,
    evaluate_prompt,
    train_prompt,
)
from course_lib.ppt.prompt_examples import Batches, PromptExample, TaskTokens
from course_lib.ppt.soft_prompt import SoftPrompt, initialise
from course_lib.runs import check_seed
from course_lib.statistics import mean_interval
from course_lib.texts import SPLITS, load_texts, with_binary_labels
from course_lib.verbalizers import Verbalizer

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

Row = dict[str, Any]

# The test examples are drawn with this seed, so that all runs of a task are measured on the same ones.
TEST_SEED = 0
NUM_EXAMPLES = 32
NUM_TEST = 240
# Choices made of each split's documents for the task of the next sentence.
NUM_CHOICES = 1200
# What a prompt of words begins as: it asks nothing that only one task could mean.
INITIAL_WORDS = "Read the text below with care and answer the question about it in a single word."
# Beside an adapter, how it was trained; its `labeller_domains` are read.
TRAINING_FILE = "training.json"


# --- the few examples ------------------------------------------------------------------------------


class SealedRows:
    """Rows that are read once, at the end: who reads a test set twice begins to choose on it.

    Args:
        rows: the rows.

    Example:
        >>> test = SealedRows([{"text": "A fine film.", "label": 1}])
        >>> len(test), len(test.read()), test.num_reads
        (1, 1, 1)
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = list(rows)
        self.num_reads = 0

    def __len__(self) -> int:
        return len(self._rows)

    def read(self) -> list[Row]:
        """Give the rows.

        Raises:
            CourseError: when they have been read before.
        """
        if self.num_reads:
            raise CourseError(
                "The test set has been read already; a second look would choose on it.",
                given=f"{self.num_reads} reading",
                mend="Choose on the development examples, and split again for another run.",
            )
        self.num_reads += 1
        return list(self._rows)


class FewShotSplit(NamedTuple):
    """The rows of one run.

    Args:
        train: to tune on.
        development: to choose the step and the learning rate on.
        test: to measure on, once.
    """

    train: list[Row]
    development: list[Row]
    test: SealedRows


def few_shot_split(
    texts: Dataset,
    seed: int,
    num_train: int = NUM_EXAMPLES,
    num_development: int = NUM_EXAMPLES,
    num_test: int = NUM_TEST,
) -> FewShotSplit:
    """Draw few examples, as many of each class as the numbers allow, and no document in two parts.

    The test rows do not depend on the seed. For one seed a smaller training sample is part of a larger one.

    Args:
        texts: rows with `label` and `group` (rows that share a document or a text share it). With a column
            `split` the parts come from train, validation and test; without, from all rows.
        seed: seed of the draw of the training and the development rows.
        num_train: training rows.
        num_development: development rows.
        num_test: test rows.

    Returns:
        The three parts. Where a number is no multiple of the classes, some classes, drawn at random, have one
        row more than others.

    Raises:
        CourseError: a column missing, numbers of rows smaller than the number of classes, classes with fewer
            rows than asked for.
    """
    check_seed(seed)
    for name in ("label", "group"):
        if name not in texts.column_names:
            raise CourseError(
                f"Few-shot examples need the column `{name}`.",
                given=texts.column_names,
                mend="Use `load_texts`, and `with_binary_labels` for texts with a score.",
            )
    labels, groups = texts["label"][:], texts["group"][:]
    parts = texts["split"][:] if "split" in texts.column_names else None
    used: set[Any] = set()
    # the test set first, and then the development set: neither depends on the number of training examples
    numbers = {"test": num_test, "validation": num_development, "train": num_train}
    drawn = {}
    for part, number in numbers.items():
        rows = range(len(labels)) if parts is None else [i for i, name in enumerate(parts) if name == part]
        start = [TEST_SEED, 0] if part == "test" else [seed, SPLITS.index(part) + 1]
        drawn[part] = _draw_balanced(rows, labels, groups, number, used, start, part)
        used |= {groups[i] for i in drawn[part]}
    train, development, test = (
        texts.select(drawn[part]).to_list() for part in ("train", "validation", "test")
    )
    return FewShotSplit(train, development, SealedRows(test))


def _draw_balanced(
    rows: Sequence[int],
    labels: Sequence[int],
    groups: Sequence[Any],
    number: int,
    used: set[Any],
    seed: list[int],
    part: str,
) -> list[int]:
    """Draw rows of unused groups until each class has its number."""
    import numpy as np

    classes = sorted(set(labels))
    if len(classes) < 2 or not isinstance(number, int) or number < len(classes):
        raise CourseError(
            f"The {part} part needs at least one example of each of {len(classes)} classes, two or more.",
            given=number,
            mend="Ask for more examples, or give texts with two classes.",
        )
    rng = np.random.default_rng(seed)
    extra = rng.permutation(len(classes)).tolist()
    wanted = {
        label: number // len(classes) + (extra[place] < number % len(classes))
        for place, label in enumerate(classes)
    }
    free = [i for i in rows if groups[i] not in used]
    order = rng.permutation(len(free)).tolist()
    chosen = []
    missing = dict(wanted)
    for place in order:
        row = free[place]
        if missing[labels[row]]:
            missing[labels[row]] -= 1
            chosen.append(row)
        if len(chosen) == number:
            return chosen
    raise CourseError(
        f"Some classes have fewer {part} examples than asked for.",
        given={label: f"{wanted[label] - missing[label]} of {wanted[label]}" for label in classes},
        mend="Ask for fewer, or give more texts.",
    )


# --- tasks -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FewShotTask:
    """A task that is learnt from few examples.

    Args:
        name: for tables.
        form: "pair", "choice" or "single": which pre-training task it resembles, and so which prompt it takes.
        read: gives the rows: `label`, `group`, where there is one `split`, and the pattern's columns.
        pattern: kind of pattern -> the pattern.
        question: the query of the multiple-choice form, with the columns in braces; "" for rows that are
            multiple choice already.
        options: what each class is called in the multiple-choice form.
        domain: where the texts are from: a pre-training labeller must not have learnt from it.
    """

    name: str
    form: str
    read: Callable[[], Dataset]
    pattern: Callable[[str], Pattern]
    question: str = ""
    options: tuple[str, ...] = ()
    domain: str = ""

    def unified(self, kind: str) -> Pattern:
        """Give the pattern of the multiple-choice form."""
        return unified_pattern(kind, max_options=self.pattern(kind).verbalizer.num_labels)

    def unified_row(self, row: Row) -> Row:
        """Give a row in the multiple-choice form."""
        return as_multiple_choice(row, self.question, self.options) if self.question else row


def _read_sentiment(name: str) -> Dataset:
    return with_binary_labels(load_texts(name))


def _read_five_classes(name: str) -> Dataset:
    import numpy as np

    texts = load_texts(name)
    labels = np.searchsorted(SCORE_EDGES, texts["score"][:], side="right").tolist()
    return texts.add_column("label", labels)


def _read_choices(name: str, num_options: int) -> Dataset:
    """Make choices of the next sentence out of each split's own documents."""
    from datasets import Dataset

    rows: list[Row] = []
    for number, part in enumerate(SPLITS):
        documents = load_texts(name, split=part)
        built = build_nss_examples(documents, NUM_CHOICES, number, num_options=num_options)
        # a choice holds sentences of several documents, so the whole split is its group
        rows += [{**row, "group": part, "split": part} for row in built]
    return Dataset.from_list(rows)


_SENTIMENT_OPTIONS = ("It was bad.", "It was good.")
_FIVE_OPTIONS = ("It was terrible.", "It was bad.", "It was middling.", "It was good.", "It was great.")
_PAIR_OPTIONS = ("Yes, it follows.", "Maybe, one cannot tell.", "No, they contradict each other.")

TASKS: dict[str, FewShotTask] = {
    task.name: task
    for task in (
        FewShotTask(
            "movie",
            "single",
            functools.partial(_read_sentiment, "movie"),
            sentiment_pattern,
            "{text}",
            _SENTIMENT_OPTIONS,
            "movie",
        ),
        FewShotTask(
            "product",
            "single",
            functools.partial(_read_sentiment, "product"),
            sentiment_pattern,
            "{text}",
            _SENTIMENT_OPTIONS,
            "product",
        ),
        FewShotTask(
            "snli",
            "pair",
            lambda: load_texts("snli"),
            nli_pattern,
            "{premise} Then: {hypothesis}",
            _PAIR_OPTIONS,
            "captions",
        ),
        FewShotTask(
            "five_class",
            "single",
            functools.partial(_read_five_classes, "movie"),
            single_pattern,
            "{text}",
            _FIVE_OPTIONS,
            "movie",
        ),
        FewShotTask(
            "next_sentence",
            "choice",
            functools.partial(_read_choices, "newspaper", 6),
            functools.partial(choice_pattern, 6),
            domain="newspaper",
        ),
    )
}


# --- methods ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FewShotMethod:
    """A way to learn a task from few examples.

    Args:
        name: for tables.
        kind: of the pattern: "hard", "soft" or "hybrid".
        initialisation: how the soft prompt begins: "random", "sample_vocab", "text" or "pretrained"; None to
            train all weights of a copy of the language model instead.
        unified: whether the task is asked as multiple choice.

    Raises:
        CourseError: a soft prompt with a hard pattern, or all weights with a soft one.
    """

    name: str
    kind: str
    initialisation: str | None
    unified: bool = False

    def __post_init__(self) -> None:
        if (self.kind == "hard") != (self.initialisation is None):
            raise CourseError(
                "A hard pattern goes with tuning of the whole model, the others with a soft prompt.",
                given=(self.kind, self.initialisation),
                mend="Use kind='hard' and initialisation=None, or give both others.",
            )


METHODS: dict[str, FewShotMethod] = {
    method.name: method
    for method in (
        FewShotMethod("full fine-tuning", "hard", None),
        FewShotMethod("prompt tuning", "soft", "sample_vocab"),
        FewShotMethod("hybrid prompt tuning", "hybrid", "sample_vocab"),
        FewShotMethod("PPT", "soft", "pretrained"),
        FewShotMethod("hybrid PPT", "hybrid", "pretrained"),
        FewShotMethod("unified PPT", "soft", "pretrained", unified=True),
    )
}

# What the search tries: prompts want rates a thousand times those of whole models.
MODEL_LEARNING_RATES = (3e-6, 1e-5, 3e-5)
PROMPT_LEARNING_RATES = (1e-3, 5e-3, 2e-2)


def learning_rates(method: str) -> tuple[float, ...]:
    """Give the learning rates that the search tries for a method.

    Example:
        >>> learning_rates("PPT")
        (0.001, 0.005, 0.02)
    """
    return MODEL_LEARNING_RATES if _find(METHODS, "method", method).kind == "hard" else PROMPT_LEARNING_RATES


@dataclass(frozen=True)
class _Examples:
    """A split written out for the language model; the test rows stay sealed until `test` is called."""

    pattern: Pattern
    write: Callable[[Sequence[Row]], list[PromptExample]]
    train: list[PromptExample]
    development: list[PromptExample]
    sealed: SealedRows

    @property
    def verbalizer(self) -> Verbalizer:
        return self.pattern.verbalizer

    def test(self) -> list[PromptExample]:
        return self.write(self.sealed.read())


def _examples(
    task: FewShotTask,
    method: FewShotMethod,
    split: FewShotSplit,
    words: Sequence[str] | None,
    template: str | None,
) -> _Examples:
    pattern = task.unified(method.kind) if method.unified else task.pattern(method.kind)
    if words is not None:
        pattern = replace(pattern, verbalizer=_same_number(words, pattern.verbalizer))
    if template is not None:
        pattern = replace(pattern, template=template)

    def write(rows: Sequence[Row]) -> list[PromptExample]:
        asked = [task.unified_row(row) for row in rows] if method.unified else rows
        return [PromptExample(pattern.text(row), row["label"], pattern.num_labels(row)) for row in asked]

    return _Examples(pattern, write, write(split.train), write(split.development), split.test)


def _same_number(words: Sequence[str], verbalizer: Verbalizer) -> Verbalizer:
    given = Verbalizer(words, verbalizer.separator)
    if given.num_labels != verbalizer.num_labels:
        raise CourseError(
            f"The task has {verbalizer.num_labels} classes, so it needs as many label words.",
            given=list(words),
            mend="Give one word a class, in the order of the labels.",
        )
    return given


# --- tuning ----------------------------------------------------------------------------------------


@dataclass
class Tuned:
    """What a method has made of the few examples.

    Args:
        language_model: the frozen model, or the copy that was trained.
        prompt: the soft prompt, or None where the model itself was trained.
        evaluations: on the development examples.
        kept_step: the step with the highest development accuracy, among those the lowest loss.
        losses: training loss of each step, in nats.
        dtype: precision to compute in behind a trained copy; None for its own.
    """

    language_model: ModelAndTokenizer
    prompt: SoftPrompt | None
    evaluations: list[PromptEvaluation]
    kept_step: int
    losses: list[float] = field(default_factory=list)
    dtype: str | None = None

    @property
    def kept(self) -> PromptEvaluation:
        """The development evaluation of the step that is kept."""
        return next(each for each in self.evaluations if each.step == self.kept_step)

    @property
    def num_trained(self) -> int:
        """The number of trained parameters."""
        return count_parameters(self.language_model.model) if self.prompt is None else self._prompt_entries

    @property
    def num_bytes(self) -> int:
        """The bytes that have to be stored for the task, in float32."""
        return 4 * self.num_trained

    @property
    def _prompt_entries(self) -> int:
        return 0 if self.prompt is None else self.prompt.embeddings.numel()

    def evaluate(self, examples: Sequence[PromptExample], verbalizer: Verbalizer) -> Evaluation:
        """Score examples; see `evaluate_prompt`."""
        with _autocast(self.language_model, self.dtype):
            return evaluate_prompt(self.language_model, self.prompt, examples, verbalizer)


def finetune_language_model(
    language_model: ModelAndTokenizer,
    examples: Sequence[PromptExample],
    verbalizer: Verbalizer,
    settings: PromptTrainingSettings,
    *,
    development: Sequence[PromptExample],
    progress: bool = False,
) -> Tuned:
    """Train all weights of a copy of a language model to say the label words behind a hard pattern.

    The loss is that of prompt tuning: cross-entropy over the label words at the answer position. The copy is
    in evaluation mode throughout, as the frozen model of prompt tuning is, so nothing is drawn at random.

    Args:
        language_model: a causal language model; it stays as it is.
        examples: texts and labels.
        verbalizer: the label words.
        settings: as for a prompt. The weights stay in float32 where `dtype` names a lower precision:
            small updates would vanish in bfloat16.
        development: examples to choose the step on; the copy ends with the weights of that step, whatever
            `keep` says.
        progress: whether to show a progress bar.

    Returns:
        The copy and its curves.

    Raises:
        CourseError: texts longer than the model's context; a loss or gradient that is not a finite number.
    """
    import copy

    import torch
    from tqdm.auto import tqdm

    model: Any = copy.deepcopy(language_model.model).float().eval()
    for weight in model.parameters():
        weight.requires_grad_(True)
    tuned = Tuned(ModelAndTokenizer(model, language_model.tokenizer), None, [], 0, dtype=settings.dtype)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    task = TaskTokens(tuned.language_model, verbalizer, num_virtual_tokens=0)
    batches = Batches(task, examples, settings.batch_size, settings.seed)
    best = _BestWeights(tuned, development, verbalizer)
    best.look(0)
    for number in tqdm(range(1, settings.num_steps + 1), desc="weights", disable=not progress, leave=False):
        batch = batches.at(number)
        optimizer.param_groups[0]["lr"] = settings.learning_rate_at(number)
        optimizer.zero_grad(set_to_none=True)
        with _autocast(tuned.language_model, settings.dtype):
            scores, _ = task.scores(None, [tokens for tokens, _ in batch])
        loss = label_loss(scores, torch.tensor([label for _, label in batch], device=scores.device))
        _refuse_not_finite("loss", loss.item(), number, settings)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        _refuse_not_finite("gradient", float(norm), number, settings)
        optimizer.step()
        tuned.losses.append(loss.item())
        if number % settings.evaluate_every == 0 or number == settings.num_steps:
            best.look(number)
    best.restore()
    return tuned


class _BestWeights:
    """The weights of the step that does best on the development examples."""

    def __init__(self, tuned: Tuned, development: Sequence[PromptExample], verbalizer: Verbalizer) -> None:
        self._tuned = tuned
        self._development = development
        self._verbalizer = verbalizer
        self._rank = (-math.inf, -math.inf)
        self._weights: dict[str, Any] = {}

    def look(self, step: int) -> None:
        found = self._tuned.evaluate(self._development, self._verbalizer)
        self._tuned.evaluations.append(PromptEvaluation(step, found.loss, found.accuracy))
        if (found.accuracy, -found.loss) > self._rank:
            self._rank = (found.accuracy, -found.loss)
            self._tuned.kept_step = step
            named = self._tuned.language_model.model.named_parameters()
            self._weights = {name: weight.detach().clone() for name, weight in named}

    def restore(self) -> None:
        import torch

        with torch.no_grad():
            for name, weight in self._tuned.language_model.model.named_parameters():
                weight.copy_(self._weights[name])
                weight.grad = None


def _refuse_not_finite(what: str, value: float, step: int, settings: PromptTrainingSettings) -> None:
    if not math.isfinite(value):
        raise CourseError(
            f"The {what} of step {step} is not a finite number.",
            given=value,
            mend=f"Use a smaller learning rate than {settings.learning_rate:g}.",
        )


@contextlib.contextmanager
def _autocast(language_model: ModelAndTokenizer, dtype: str | None) -> Iterator[None]:
    """Compute in a lower precision with weights that stay as they are."""
    import torch

    if dtype is None or floating_dtype(dtype) == torch.float32:
        yield
        return
    with torch.autocast(language_model.model.device.type, dtype=floating_dtype(dtype)):
        yield


def start_prompt(
    task: FewShotTask,
    method: FewShotMethod,
    language_model: ModelAndTokenizer,
    seed: int,
    *,
    num_virtual_tokens: int | None = None,
    prompt_folder: Path | str | None = None,
) -> SoftPrompt:
    """Give the soft prompt that a method begins with.

    Args:
        task: its form names the pre-trained prompt.
        method: its initialisation.
        language_model: the model that the prompt is for.
        seed: seed of the draw, where there is one.
        num_virtual_tokens: rows; 20, or as many as the pre-trained prompt has.
        prompt_folder: the folder with a folder for each pre-trained prompt, `pair`, `choice`, `single` and
            `unified`; `data/prompts` by default.

    Returns:
        The prompt.

    Raises:
        CourseError: no such prompt or one for another model; one whose labeller learnt from the task's domain.
    """
    if method.initialisation is None:
        raise CourseError("This method has no soft prompt.", given=method.name)
    if method.initialisation != "pretrained":
        words = INITIAL_WORDS if method.initialisation == "text" else None
        return initialise(method.initialisation, language_model, num_virtual_tokens, seed=seed, words=words)
    folder = Path(prompt_folder or data_folder() / "prompts") / ("unified" if method.unified else task.form)
    _refuse_leaking_labeller(folder, task)
    return initialise("pretrained", language_model, prompt=folder)


def _refuse_leaking_labeller(folder: Path, task: FewShotTask) -> None:
    """Refuse a prompt whose pseudo-labels come from a model that saw the task's own domain with its labels."""
    file = folder / TRAINING_FILE
    record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    domains = record.get("labeller_domains", [])
    if task.domain and task.domain in domains:
        raise CourseError(
            f"The labeller behind this prompt learnt from the {task.domain} texts: what it knows of them "
            "would count as learnt from few examples.",
            given=str(folder),
            mend="Take a prompt whose labeller learnt from other domains (`labeller_texts`).",
        )


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
        source: the language model, as `load_language_model` takes it.
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
    the_task: FewShotTask = _find(TASKS, "task", task)
    the_method: FewShotMethod = _find(METHODS, "method", method)
    split = few_shot_split(the_task.read(), seed, num_train, num_development, num_test)
    examples = _examples(the_task, the_method, split, words, template)
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
        language_model = _loaded(source, "float32" if in_float32 else str(dtype))
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
    examples: _Examples,
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


@functools.lru_cache(maxsize=1)
def _loaded(source: str, dtype: str) -> ModelAndTokenizer:
    return load_language_model(source, dtype=dtype)


def _find(known: Mapping[str, Any], what: str, given: Any) -> Any:
    if not isinstance(given, str):
        return given
    if given not in known:
        raise unknown_name(what, given, known)
    return known[given]


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
    table = _table(rows, ("method", "learning_rate", "task", "seed", "development_accuracy"))
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

    table = _table(rows, (*by, "method", "seed", measure))
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


def _table(rows: Sequence[Row] | pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame(rows)
    missing = [name for name in columns if name not in table.columns]
    if table.empty or missing:
        raise CourseError(
            "There are no such rows.",
            given=missing or 0,
            mend="Give the rows of `few_shot_run`.",
        )
    return table


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


def pilot_variants(num_full: int, full_updates: int) -> list[Variant]:
    """Give what the paper's pilot compares, on the sentiment of movie sentences.

    Args:
        num_full: training examples of the runs with much data.
        full_updates: optimizer steps of those.

    Returns:
        Label words; initialisations; patterns around the soft prompt; few against many examples.
    """
    hybrid = "hybrid prompt tuning"
    words = (("bad", "good"), ("terrible", "great"), ("negative", "positive"), ("no", "yes"), ("good", "bad"))
    templates = {
        "soft tokens alone": "{soft}{text}",
        "hybrid: It was": "{soft}{text} It was",
        "hybrid: All in all, it was": "{soft}{text} All in all, it was",
        "hybrid: question in front": "{soft}Is this bad or good? {text} Answer:",
    }
    much = {"num_train": num_full, "num_updates": full_updates}
    return [
        *(Variant("label words", "/".join(pair), hybrid, {"words": list(pair)}) for pair in words),
        *(
            Variant("initialisation", kind, "prompt tuning", {"initialisation": kind})
            for kind in ("random", "sample_vocab", "text")
        ),
        *(Variant("pattern", name, hybrid, {"template": template}) for name, template in templates.items()),
        *(
            Variant("amount of data", f"{method}, {size}", method, options)
            for method in ("full fine-tuning", "prompt tuning")
            for size, options in (("few", {}), ("many", much))
        ),
    ]


def pilot_run(
    finding: str,
    variant: str,
    method: str,
    seed: int,
    learning_rate: float,
    options: Mapping[str, Any],
    **settings: Any,
) -> list[Row]:
    """Run one variant of a pilot finding.

    Args:
        finding: see `Variant`.
        variant: its name.
        method: its method.
        seed: seed of the run.
        learning_rate: peak learning rate.
        options: its options; they go before `settings`.
        settings: further arguments of `few_shot_run`.

    Returns:
        One row: `finding`, `variant` and those of `few_shot_run`.
    """
    chosen = {**settings, **options}
    kind = chosen.pop("initialisation", None)
    used = METHODS[method] if kind is None else replace(METHODS[method], initialisation=kind)
    row = few_shot_run("movie", used, seed, learning_rate=learning_rate, **chosen)
    return [{"finding": finding, "variant": variant, **row}]
