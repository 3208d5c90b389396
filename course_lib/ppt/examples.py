"""Examples for the training of a prompt: read and checked, turned into tokens, put into batches.

The order of the batches is a function of seed and step, and of nothing else, so that a run that goes on from
a checkpoint meets the same batches.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset

from course_lib.checks.calls import border
from course_lib.checks.values import check_count, check_rows
from course_lib.errors import CourseError
from course_lib.finetuning.batches import POOL_BATCHES, length_bucketed_batches
from course_lib.finetuning.evaluating import Evaluation
from course_lib.models.context import find_context_length, refuse_too_long
from course_lib.models.loaded import ModelAndTokenizer
from course_lib.ppt.label_scoring import label_scores, make_label_batch
from course_lib.ppt.patterns import Pattern
from course_lib.ppt.soft_prompt import SoftPrompt
from course_lib.prompts.verbalizers import LabelIds, Verbalizer, find_label_ids


class PromptExample(NamedTuple):
    """A text and its label.

    Args:
        text: ends right before the label word, without the space between.
        label: number of the label word, from 0.
        num_options: how many of the label words the text offers, counted from the first; None for all.
    """

    text: str
    label: int
    num_options: int | None = None


# An example's tokens and its label.
TokenizedExample = tuple[LabelIds, int]
# Rows may be a `datasets.Dataset` or a list of mappings with these names, or of tuples in this order.
Examples = Sequence[Any]


def read_examples(examples: Examples, verbalizer: Verbalizer) -> Iterator[PromptExample]:
    """Read and check rows one by one.

    Args:
        examples: the rows.
        verbalizer: the label words.

    Yields:
        Examples whose `num_options` is a number.

    Raises:
        CourseError: no rows; a row without text, or with a label outside its options.
    """
    _refuse_no_rows(examples)
    for number, row in enumerate(examples):
        yield _read_example(row, number, verbalizer)


def _refuse_no_rows(examples: Any) -> None:
    is_table = hasattr(examples, "__len__") and hasattr(examples, "__getitem__")
    if not is_table or isinstance(examples, (str, bytes, Mapping)) or len(examples) == 0:
        raise CourseError(
            "There must be examples, at least one: a Dataset, or a list of rows.",
            given=examples if not is_table else len(examples),
            mend="Give rows with `text` and `label`.",
        )


def _read_example(row: Any, number: int, verbalizer: Verbalizer) -> PromptExample:
    try:
        if isinstance(row, Mapping):
            row = (row["text"], row["label"], row.get("num_options"))
        text, label, num_options = PromptExample(*row)
        label = _whole(label)
        num_options = verbalizer.num_labels if num_options is None else _whole(num_options)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CourseError(
            f"Example {number} has no text and label.",
            given=row,
            mend="Give rows with `text`, `label` (a whole number) and, if it differs, `num_options`.",
        ) from None
    if not isinstance(text, str) or not text.strip():
        raise CourseError(
            f"The text of example {number} is empty.", given=text, mend="Leave it out, or write a pattern."
        )
    if not 2 <= num_options <= verbalizer.num_labels:
        raise CourseError(
            f"Example {number} must offer from 2 to {verbalizer.num_labels} options, the number of label words.",
            given=num_options,
            mend="Use a verbalizer with more label words, or fewer options.",
        )
    if not 0 <= label < num_options:
        raise CourseError(
            f"The label of example {number} must be from 0 to {num_options - 1}.",
            given=label,
            mend="Count the labels from 0.",
        )
    return PromptExample(text, label, num_options)


def _whole(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError("True and False are no numbers here")
    return int(value.__index__())


@border(rows=partial(check_rows, columns=["label"]))
def write_examples(rows: Sequence[Mapping[str, Any]], patterns: Sequence[Pattern]) -> Dataset:
    """Write rows with patterns that take turns.

    Args:
        rows: as `pretraining_rows` gives.
        patterns: one or several, with as many label words each.

    Returns:
        Rows with `text`, `label` and `num_options`.

    Raises:
        CourseError: no pattern, or a row that a pattern does not fit.
    """
    written = []
    for number, row in enumerate(rows):
        pattern = patterns[number % len(patterns)]
        text, num_options = pattern.text(row), pattern.num_labels(row)
        label = check_count(f"label of row {number}", row["label"], least=0, most=num_options - 1)
        written.append({"text": text, "label": label, "num_options": num_options})
    return Dataset.from_list(written)


@dataclass(frozen=True)
class TaskTokens:
    """What turns examples into tokens behind a prompt.

    Args:
        loaded: whose tokenizer and context length count.
        verbalizer: the label words.
        num_virtual_tokens: rows of the prompt; 0 without one.
    """

    loaded: ModelAndTokenizer
    verbalizer: Verbalizer
    num_virtual_tokens: int

    @property
    def device(self) -> Any:
        """The model's device."""
        return self.loaded.model.device

    def check(self, examples: Examples) -> str:
        """Look at every row before the first step, and give a hash of them all."""
        context = find_context_length(self.loaded.model)
        longest_label = max(len(word.encode()) for word in self.verbalizer.continuations)
        digest = hashlib.sha256()
        for number, example in enumerate(read_examples(examples, self.verbalizer)):
            digest.update(repr(tuple(example)).encode())
            # a token is seldom shorter than a byte: only long texts are counted here, all of them when used
            most = self.num_virtual_tokens + len(example.text.encode()) + longest_label
            if context is not None and most > context:
                self.tokens([example], first_number=number)
        return digest.hexdigest()

    def tokens(self, examples: Sequence[PromptExample], *, first_number: int = 0) -> list[LabelIds]:
        """Return each example's tokens, and those of the labels that it offers; refuse what is too long."""
        found: list[LabelIds | None] = [None] * len(examples)
        for num_options in {example.num_options for example in examples}:
            rows = [i for i, example in enumerate(examples) if example.num_options == num_options]
            words = self.verbalizer.continuations[:num_options]
            texts = [examples[i].text for i in rows]
            for i, ids in zip(rows, find_label_ids(self.loaded.tokenizer, texts, words), strict=True):
                found[i] = ids
        whole = [ids for ids in found if ids is not None]
        # a label's last token is only predicted
        longest = [ids.context + max(ids.labels, key=len)[:-1] for ids in whole]
        refuse_too_long(
            longest,
            find_context_length(self.loaded.model),
            num_virtual_tokens=self.num_virtual_tokens,
            first_number=first_number,
        )
        return whole

    def scores(self, prompt: SoftPrompt | None, tokens: Sequence[LabelIds]) -> tuple[torch.Tensor, int]:
        """Return the scores [B, num_labels], and the number of tokens that were read."""
        batch = make_label_batch(tokens, self.verbalizer.num_labels, device=self.device)
        return label_scores(self.loaded.model, prompt, batch), batch.num_tokens


class Batches:
    """The batch of every step: bucketed by length in pools, in an order that is a function of seed and step."""

    def __init__(self, task: TaskTokens, examples: Examples, batch_size: int, seed: int) -> None:
        self.task = task
        self.examples = examples
        self.digest = task.check(examples)
        self._size = batch_size
        self._seed = seed
        self._kept: tuple[tuple[int, int], list[list[TokenizedExample]]] | None = None

    def at(self, step: int) -> list[TokenizedExample]:
        """Return the examples of a step, counted from 1, as tokens and label."""
        epoch, number = divmod(step - 1, math.ceil(len(self.examples) / self._size))
        pool, place = divmod(number, POOL_BATCHES)
        if self._kept is None or self._kept[0] != (epoch, pool):
            self._kept = ((epoch, pool), self._pool(epoch, pool))
        return self._kept[1][place]

    def _pool(self, epoch: int, pool: int) -> list[list[TokenizedExample]]:
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self.examples))
        size = self._size * POOL_BATCHES
        rows = order[pool * size : (pool + 1) * size].tolist()
        read = [_read_example(self.examples[row], row, self.task.verbalizer) for row in rows]
        tokens = self.task.tokens(read)
        lengths = [len(ids.context) for ids in tokens]
        seed = int(np.random.SeedSequence([self._seed, epoch, pool + 1]).generate_state(1)[0])
        batches = length_bucketed_batches(lengths, self._size, seed=seed)
        return [[(tokens[i], read[i].label) for i in batch] for batch in batches]


class Processes:
    """The processes that share a step's batch: several where `torchrun` or `accelerate launch` started them.

    Args:
        device: the model's; None for this process alone.

    Raises:
        CourseError: several processes, and the model is not on this one's own device.
    """

    def __init__(self, device: torch.device | None) -> None:
        self.index, self.count, self._accelerator = 0, 1, None
        if device is None or int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return
        accelerator: Any = Accelerator(cpu=device.type == "cpu")
        own = accelerator.device
        # a CPU's number means nothing: all processes share it
        if own.type != device.type or (own.type != "cpu" and own.index not in (None, device.index)):
            raise CourseError(
                "Each process needs its model on a device of its own.",
                given=f"the model is on {device}, this process is for {own}",
                mend=f"Load it with device='{own}'.",
            )
        self.index, self.count = accelerator.process_index, accelerator.num_processes
        self._accelerator = accelerator

    @classmethod
    def alone(cls) -> Processes:
        """Return this process alone, whatever others there are."""
        return cls(None)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Add up over all processes."""
        return values if self._accelerator is None else self._accelerator.reduce(values, reduction="sum")


class HeldoutExamples:
    """Examples to evaluate on, turned into tokens once."""

    def __init__(self, task: TaskTokens, examples: Examples, batch_size: int = 32) -> None:
        self.task = task
        self.digest = task.check(examples)
        read = list(read_examples(examples, task.verbalizer))
        self.labels = [example.label for example in read]
        self.tokens = task.tokens(read)
        self.batches = length_bucketed_batches([len(ids.context) for ids in self.tokens], batch_size)

    def evaluate(self, prompt: SoftPrompt | None, processes: Processes) -> Evaluation:
        """Score all examples, the batches shared among the processes."""
        scores = torch.zeros(len(self.labels), self.task.verbalizer.num_labels, device=self.task.device)
        with torch.no_grad():
            for rows in self.batches[processes.index :: processes.count]:
                scores[rows] = self.task.scores(prompt, [self.tokens[row] for row in rows])[0]
        values = processes.sum(scores).cpu().numpy()
        _refuse_bad_scores(values)
        return Evaluation(values, np.array(self.labels))


def _refuse_bad_scores(scores: np.ndarray) -> None:
    bad = (
        np.isnan(scores).any(axis=1) | (scores[:, :2] == -np.inf).any(axis=1) | (scores == np.inf).any(axis=1)
    )
    if bad.any():
        raise CourseError(
            "The scores of some examples are not finite numbers.",
            given=f"{int(bad.sum())} of {len(bad)} examples",
            mend="Use float32 and a prompt that was trained with a smaller learning rate.",
        )
