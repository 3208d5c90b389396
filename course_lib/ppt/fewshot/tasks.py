"""Few-shot tasks and methods: what is drawn, how it is asked, and how it is written for the model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from course_lib.checks import check_seed
from course_lib.errors import CourseError, unknown_name
from course_lib.ppt.examples import PromptExample
from course_lib.ppt.patterns import (
    Pattern,
    as_multiple_choice,
    choice_pattern,
    nli_pattern,
    sentiment_pattern,
    single_pattern,
    unified_pattern,
)
from course_lib.ppt.pretraining.documents import SCORE_EDGES, build_nss_examples
from course_lib.prompts.verbalizers import Verbalizer
from course_lib.texts import SPLITS, load_texts, with_binary_labels

if TYPE_CHECKING:
    from datasets import Dataset

Row = dict[str, Any]

# The test examples are drawn with this seed, so that all runs of a task are measured on the same ones.
TEST_SEED = 0
NUM_EXAMPLES = 32
NUM_TEST = 240
# Choices made of each split's documents for the task of the next sentence.
NUM_CHOICES = 1200


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
    return (
        MODEL_LEARNING_RATES
        if find_named(METHODS, "method", method).kind == "hard"
        else PROMPT_LEARNING_RATES
    )


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


def find_named(known: Mapping[str, Any], what: str, given: Any) -> Any:
    """Give what a name stands for; what is no name is given back.

    Raises:
        CourseError: an unknown name.
    """
    if not isinstance(given, str):
        return given
    if given not in known:
        raise unknown_name(what, given, known)
    return known[given]
