"""The tasks that are learnt from few examples: their rows, and how they are asked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from datasets import Dataset

from course_lib.checks.calls import check_choice
from course_lib.ppt.fewshot.splits import Row
from course_lib.ppt.patterns import (
    Kind,
    Pattern,
    as_multiple_choice,
    choice_pattern,
    nli_pattern,
    sentiment_pattern,
    single_pattern,
    unified_pattern,
)
from course_lib.ppt.pretraining.examples import build_nss_examples
from course_lib.ppt.pretraining.labeller import SCORE_EDGES
from course_lib.texts.loading import load_texts
from course_lib.texts.sampling import with_binary_labels
from course_lib.texts.sources import SPLITS

Named = TypeVar("Named")
# Choices made of each split's documents for the task of the next sentence.
NUM_CHOICES = 1200


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
    pattern: Callable[[Kind], Pattern]
    question: str = ""
    options: tuple[str, ...] = ()
    domain: str = ""

    def unified(self, kind: Kind) -> Pattern:
        """Return the pattern of the multiple-choice form."""
        return unified_pattern(kind, max_options=self.pattern(kind).verbalizer.num_labels)

    def unified_row(self, row: Row) -> Row:
        """Return a row in the multiple-choice form."""
        return as_multiple_choice(row, self.question, self.options) if self.question else row


def _sentiment_task(name: str) -> FewShotTask:
    return FewShotTask(
        name,
        form="single",
        read=lambda: with_binary_labels(load_texts(name)),
        pattern=sentiment_pattern,
        question="{text}",
        options=("It was bad.", "It was good."),
        domain=name,
    )


def _read_five_classes(name: str) -> Dataset:
    texts = load_texts(name)
    labels = np.searchsorted(SCORE_EDGES, texts["score"][:], side="right").tolist()
    return texts.add_column("label", labels)


def _read_choices(name: str, num_options: int) -> Dataset:
    """Make choices of the next sentence out of each split's own documents."""
    rows: list[Row] = []
    for number, part in enumerate(SPLITS):
        documents = load_texts(name, split=part)
        built = build_nss_examples(documents, NUM_CHOICES, number, num_options=num_options)
        # a choice holds sentences of several documents, so the whole split is its group
        rows += [{**row, "group": part, "split": part} for row in built]
    return Dataset.from_list(rows)


FEW_SHOT_TASKS: dict[str, FewShotTask] = {
    task.name: task
    for task in (
        _sentiment_task("movie"),
        _sentiment_task("product"),
        FewShotTask(
            "snli",
            form="pair",
            read=lambda: load_texts("snli"),
            pattern=nli_pattern,
            question="{premise} Then: {hypothesis}",
            options=("Yes, it follows.", "Maybe, one cannot tell.", "No, they contradict each other."),
            domain="captions",
        ),
        FewShotTask(
            "five_class",
            form="single",
            read=functools.partial(_read_five_classes, "movie"),
            pattern=single_pattern,
            question="{text}",
            options=("It was terrible.", "It was bad.", "It was middling.", "It was good.", "It was great."),
            domain="movie",
        ),
        FewShotTask(
            "next_sentence",
            form="choice",
            read=functools.partial(_read_choices, "newspaper", 6),
            pattern=functools.partial(choice_pattern, 6),
            domain="newspaper",
        ),
    )
}


def find_named(known: Mapping[str, Named], what: str, given: str | Named) -> Named:
    """Return what a name stands for; one of the things themselves is given back.

    Args:
        known: all by name.
        what: they are, for messages.
        given: a name, or one of their kind.

    Raises:
        CourseError: an unknown name, or neither a name nor such a thing.
    """
    if isinstance(given, type(next(iter(known.values())))):
        return given
    return known[check_choice(what, given, known)]
