"""Label words: how a language model says a label, scored whole and at the right place.

A label word is a continuation of a prompt. Where it begins is found by comparing the tokens of the prompt
with the tokens of prompt and word together, never by taking "the first token of the word": some
tokenizers split the leading space off (" 0" becomes a space and "0"), and that token is the same for all
labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from course_lib.checks.calls import border, each, of_type
from course_lib.checks.values import check_text, check_texts
from course_lib.errors import CourseError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


a_tokenizer = of_type("transformers.PreTrainedTokenizerBase")
some_texts = partial(check_texts, least=0)


def _token_ids(name: str, value: Any) -> Sequence[int]:
    # ids are not looked at one by one: prompts are long, and a tokenizer makes them
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise CourseError(f"{name} must be a list of token ids.", given=value)
    return value


class LabelIds(NamedTuple):
    """The tokens of a prompt, and of each label word behind it.

    Args:
        context: token ids of the prompt. Where a label's first token takes in the prompt's last characters
            (a prompt that ends with a space), those characters belong to the labels, not to the context.
        labels: for each label the token ids of its whole continuation, at least one.
    """

    context: list[int]
    labels: list[list[int]]

    @property
    def num_shared(self) -> int:
        """The number of leading tokens that all labels share, which tell nothing apart."""
        return shared_length(self.labels)


@dataclass(frozen=True)
class Verbalizer:
    """The words that stand for labels 0, 1, …

    Args:
        label_words: one word or phrase a label, without white space around it.
        separator: what stands between the prompt and the word; "" behind a chat template's turn marker, or
            for a writing system without spaces.

    Raises:
        CourseError: fewer than two words, an empty word, a word twice, white space around a word.

    Example:
        >>> Verbalizer(["bad", "good"]).continuations
        (' bad', ' good')
    """

    label_words: Sequence[str]
    separator: str = " "

    def __post_init__(self) -> None:
        words = _checked_words(self.label_words)
        if any(word != word.strip() for word in words):
            raise CourseError(
                "A label word begins or ends with white space, so that it is another word than it seems.",
                given=list(words),
                mend="Leave the white space out; the one in front of a word is the `separator`.",
            )
        check_text("separator", self.separator)
        object.__setattr__(self, "label_words", words)

    @property
    def num_labels(self) -> int:
        """The number of labels."""
        return len(self.label_words)

    @property
    def continuations(self) -> tuple[str, ...]:
        """What follows the prompt for each label: separator and word."""
        return tuple(self.separator + word for word in self.label_words)

    def token_ids(self, tokenizer: PreTrainedTokenizerBase, prompt: str) -> LabelIds:
        """Find each label's tokens behind a prompt.

        Args:
            tokenizer: the model's tokenizer.
            prompt: the text up to the label word.

        Returns:
            The prompt's tokens, and the labels'.

        Raises:
            CourseError: as `find_label_ids`.
        """
        return find_label_ids(tokenizer, [check_text("prompt", prompt)], self.continuations)[0]


@border(tokenizer=a_tokenizer, prompts=some_texts)
def find_label_ids(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], continuations: Sequence[str]
) -> list[LabelIds]:
    """Find the tokens of every label's continuation behind every prompt.

    Prompt and continuation are tokenized together, as the model would read them, and the labels begin where
    the first of them departs from the prompt's own tokens. So all labels are scored from one place.

    Two labels are refused where one's tokens begin with all of the other's ("good" and "good enough"):
    whatever the model says, the longer one can then never be the more probable. Words of which only the
    letters begin alike ("art" and "artist" as one token each) are different tokens, and are allowed.

    Args:
        tokenizer: the model's tokenizer.
        prompts: texts up to the label word.
        continuations: what follows for each label, with its leading space where there is one.

    Returns:
        Tokens for each prompt.

    Raises:
        CourseError: as `check_continuations`; labels that tokenize to the same thing, or of which one is the
            beginning of another.
    """
    words = check_continuations(continuations)
    contexts = text_ids(tokenizer, prompts)
    wholes = [text_ids(tokenizer, [prompt + word for prompt in prompts]) for word in words]
    found = []
    for context, *with_label in zip(contexts, *wholes, strict=True):
        start = min(shared_length([context, whole]) for whole in with_label)
        labels = [whole[start:] for whole in with_label]
        _refuse_incomparable(labels, words)
        found.append(LabelIds(context[:start], labels))
    return found


class Reading(NamedTuple):
    """A probability to be read off a row: that of `token`, at the output of position `position`."""

    row: int
    position: int
    token: int
    item: int
    label: int


@dataclass(frozen=True)
class Rows:
    """Token rows to be run through a model, and what to read off them.

    Args:
        ids: the rows' token ids.
        readings: for every item and label, one reading for each token of the label.
        first_reading: for each row, the first position that is read.
    """

    ids: list[list[int]]
    readings: list[Reading]
    first_reading: list[int]


@border(examples=each(of_type("course_lib.prompts.verbalizers.LabelIds"), least=0))
def lay_out_rows(examples: Sequence[LabelIds]) -> Rows:
    """Lay out the rows that the labels of all examples are read off.

    The last token of a label is only predicted, never read by the model. So labels of one token share one
    row, the prompt itself; labels that share their first tokens share the row that holds those; and only
    labels of several tokens that differ before the last one need a row each.

    Args:
        examples: the tokens of each prompt, and of each label behind it.

    Returns:
        The rows.

    Raises:
        CourseError: nothing before the label that a model could read, or a label without a token.

    Example:
        >>> lay_out_rows([LabelIds([7, 8], [[1], [2]]), LabelIds([7], [[3, 1], [4, 1]])]).ids
        [[7, 8], [7, 3], [7, 4]]
    """
    ids: list[list[int]] = []
    readings: list[Reading] = []
    first_reading: list[int] = []
    for item, (context, labels) in enumerate(examples):
        if not context:
            raise CourseError(
                "There is no token before the label word, so nothing to predict it from.",
                given=f"item {item}",
                mend="Write a prompt before the label word.",
            )
        if not labels or not all(labels):
            raise CourseError("Each item needs labels of at least one token.", given=labels)
        needed = _longest_only([label[:-1] for label in labels])
        for number, label in enumerate(labels):
            row = next(i for i, read in enumerate(needed) if read[: len(label) - 1] == label[:-1])
            readings += [
                Reading(len(ids) + row, len(context) - 1 + i, token, item, number)
                for i, token in enumerate(label)
            ]
        ids += [context + read for read in needed]
        first_reading += [len(context) - 1] * len(needed)
    return Rows(ids, readings, first_reading)


def _longest_only(sequences: list[list[int]]) -> list[list[int]]:
    """Leave out what is the beginning of another sequence, or a copy of one."""
    kept: list[list[int]] = []
    for sequence in sorted(sequences, key=len, reverse=True):
        if not any(other[: len(sequence)] == sequence for other in kept):
            kept.append(sequence)
    return kept


@border(tokenizer=a_tokenizer, texts=some_texts)
def text_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Tokenize texts that are still to be continued: with the start token if the model has one, no end token.

    Args:
        tokenizer: the model's tokenizer.
        texts: the texts.

    Returns:
        Token ids for each text.
    """
    if not texts:
        return []
    sample = tokenizer("a", return_special_tokens_mask=True)
    num_start = next(i for i, special in enumerate(sample["special_tokens_mask"]) if not special)
    start = list(sample["input_ids"][:num_start])
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return [start + list(ids) for ids in encoded]


@border(sequences=each(_token_ids))
def shared_length(sequences: Sequence[Sequence[int]]) -> int:
    """Give how many leading entries all sequences share.

    Args:
        sequences: token ids of at least one text.

    Raises:
        CourseError: there are none, or one is no list of token ids.

    Example:
        >>> shared_length([[1, 2, 3], [1, 2], [1, 2, 4]])
        2
    """
    # the least and the greatest in order differ first where any two do
    least, greatest = min(map(tuple, sequences)), max(map(tuple, sequences))
    pairs = zip(least, greatest, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(least), len(greatest)))


def check_continuations(continuations: Sequence[str]) -> tuple[str, ...]:
    """Return what follows a prompt for each label, if it can be compared.

    Args:
        continuations: for each label, with the white space in front of its word where there is some.

    Raises:
        CourseError: fewer than two, an empty one, one twice; other white space around one word than another:
            " good" and "good" are different words, and which is more probable says nothing of the label.

    Example:
        >>> check_continuations([" bad", " good"])
        (' bad', ' good')
    """
    words = _checked_words(continuations)
    if len({tuple(word.split(word.strip(), 1)) for word in words}) > 1:
        raise CourseError(
            "The label words have different white space around them.",
            given=list(words),
            mend="Begin all of them with one space, or none.",
        )
    return words


def _checked_words(words: Sequence[str]) -> tuple[str, ...]:
    words = tuple(check_texts("label_words", words, least=0))
    if len(words) < 2:
        raise CourseError(
            "There must be at least two label words.", given=list(words), mend="Give one word a label."
        )
    if not all(word.strip() for word in words):
        raise CourseError(
            "A label word is empty or no text.",
            given=list(words),
            mend="Give every label a word; write numbers as text, '0' and '1'.",
        )
    if len(set(words)) < len(words):
        raise CourseError(
            "Two labels have the same word.", given=list(words), mend="Give every label its own word."
        )
    return words


def _refuse_incomparable(labels: list[list[int]], words: tuple[str, ...]) -> None:
    for i, one in enumerate(labels):
        for j, other in enumerate(labels):
            if i == j or other[: len(one)] != one:
                continue
            if one == other:
                raise CourseError(
                    f"The labels {words[i]!r} and {words[j]!r} tokenize to the same thing.",
                    given=one,
                    mend="Use words that this tokenizer tells apart.",
                )
            raise CourseError(
                f"The tokens of {words[j]!r} begin with all those of {words[i]!r}, so that it could never be "
                "the more probable label.",
                given=[one, other],
                mend="Use words of which none begins with another.",
            )
