"""Patterns: how an example becomes a text that ends where the label word begins.

Each task has one pattern in three kinds: hard (words alone), soft (virtual tokens and the bare fields) and
hybrid (virtual tokens and words). What is pre-trained and what is tuned on a downstream task share a
pattern, so that a prompt trained on the one fits the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from transformers import PreTrainedTokenizerBase

from course_lib.checks.calls import border, check_choice
from course_lib.checks.values import check_count, check_rows, check_text, check_texts
from course_lib.errors import CourseError
from course_lib.prompts.templates import Template
from course_lib.prompts.verbalizers import LabelIds, Verbalizer, find_label_ids

Kind = Literal["hard", "soft", "hybrid"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SOFT = "{soft}"
LETTERS = tuple("ABCDEFGHIJKLMNOP")

PAIR_WORDS = ("yes", "maybe", "no")
SINGLE_WORDS = ("terrible", "bad", "maybe", "good", "great")
SENTIMENT_WORDS = ("bad", "good")

# Task -> the bare fields, and the same with words around them. The words ask nothing that only one of the
# tasks of a form could mean: "belong together" is said of neighbouring sentences and of entailment alike.
# A choice is laid out like demonstrations: each option with its letter behind it, then the query, whose letter is
# asked for. A causal model has read an option when it comes to its letter, and continuing such a list is what its
# attention is good at. In front of the option ("A. …") the letter says nothing yet: see lesson 06.
_FORMS = {
    "pair": ("{first}\n{second}", "First: {first}\nSecond: {second}\nDo they belong together? Answer:"),
    "choice": (
        "{labelled}\n\n{query}\nLabel:",
        "Texts that belong together have the same label.\n\n{labelled}\n\n{query}\nLabel:",
    ),
    "single": ("{text}", "{text} All in all, it was"),
}


@dataclass(frozen=True)
class Pattern(Template):
    """How a task's rows are written for a language model, and the words it answers with.

    Args:
        name: for messages and records, such as "pair/hybrid".
        template: the text, with the row's columns as fields in braces. `{soft}`, at most once and at the
            very front, is where the soft prompt's virtual tokens go. Both `{options}` and `{labelled}` write
            the row's `options`: as lines lettered A., B., …, and each with its letter behind it.
        verbalizer: the label words.
        fewer_options: a row may have fewer options than there are label words; only the letters of its own
            options are then labels.

    Raises:
        CourseError: no field, a field that is no plain name, `{soft}` anywhere but at the front, or a
            template that ends in white space.

    Example:
        >>> pattern = Pattern("mine", "{soft}{text} It was", Verbalizer(["bad", "good"]))
        >>> pattern.is_soft, pattern.text({"text": "A fine film."})
        (True, 'A fine film. It was')
    """

    name: str
    template: str
    verbalizer: Verbalizer
    fewer_options: bool = False

    def __post_init__(self) -> None:
        check_text("template", self.template)
        self.check_fields("{soft}{text} It was")
        if "soft" in self.fields:
            raise CourseError(
                "{soft} stands at the very front of a pattern, once.",
                given=self.template,
                mend="Virtual tokens are put before the text: begin the template with {soft}.",
            )
        if self.template != self.template.rstrip():
            raise CourseError(
                "The template ends in white space, which tokenizers merge with the label word.",
                given=self.template,
                mend="Leave it out: the label word brings its own space.",
            )

    @property
    def is_soft(self) -> bool:
        """Whether a soft prompt goes in front."""
        return self.template.startswith(SOFT)

    @property
    def text_with_fields(self) -> str:
        """The template without the mark of the soft prompt."""
        return self.template.removeprefix(SOFT)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the fields are read from."""
        return tuple("options" if field in _OPTION_FIELDS else field for field in self.fields)

    def text(self, row: Mapping[str, Any]) -> str:
        """Write one row, up to its label word and without the virtual tokens.

        Args:
            row: the row's columns: texts, and for `{options}` and `{labelled}` the list of texts `options`.

        Returns:
            The text, which ends right before the label word (no trailing space).

        Raises:
            CourseError: the row lacks a field, or the field holds nothing; a number of options that the
                label words do not fit.
        """
        (row,) = check_rows("rows", [row])
        return self.write(row)

    def num_labels(self, row: Mapping[str, Any]) -> int:
        """Return how many of the label words, from the first, are answers to this row."""
        return len(_checked_options(row["options"], self)) if self.fewer_options else self._num_words

    def label_ids(
        self, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]]
    ) -> list[LabelIds]:
        """Find the tokens of each row's text and of the label words behind it, each word whole.

        Args:
            tokenizer: the model's tokenizer.
            rows: the rows.

        Returns:
            For each row the text's tokens, and those of the label words that are answers to it.

        Raises:
            CourseError: what `text` refuses; label words that this tokenizer gives no tokens or the same tokens.
        """
        found = find_label_ids(tokenizer, [self.text(row) for row in rows], self.verbalizer.continuations)
        return [
            LabelIds(ids.context, ids.labels[: self.num_labels(row)])
            for ids, row in zip(found, rows, strict=True)
        ]

    @property
    def _num_words(self) -> int:
        return self.verbalizer.num_labels

    def field_text(self, row: Mapping[str, Any], field: str) -> str:
        """Returns what stands in the place of a field: a text without white space around it, or the options."""
        write_options = _OPTION_FIELDS.get(field)
        value = self.value(row, "options" if write_options else field)
        if write_options is not None:
            return write_options(_checked_options(value, self))
        text = check_text(field, value).strip()
        if not text:
            raise CourseError(
                f"The field {field!r} is empty.", given=value, mend="Leave out rows without text."
            )
        return text


def lettered(options: Sequence[str]) -> str:
    """Write options as lines that begin with their letters.

    Args:
        options: texts; white space within one becomes a single space, so that no option can pass for two.

    Example:
        >>> print(lettered(["It rained.", "The end."]))
        A. It rained.
        B. The end.
    """
    return "\n".join(f"{letter}. {option}" for letter, option in _with_letters(options))


def labelled(options: Sequence[str]) -> str:
    """Write options like demonstrations: each with its letter behind it.

    Args:
        options: as for `lettered`.

    Example:
        >>> print(labelled(["It rained.", "The end."]))
        It rained.
        Label: A
        <BLANKLINE>
        The end.
        Label: B
    """
    return "\n\n".join(f"{option}\nLabel: {letter}" for letter, option in _with_letters(options))


def _with_letters(options: Sequence[str]) -> list[tuple[str, str]]:
    tidy = [" ".join(option.split()) for option in check_texts("options", options, least=0)]
    return list(zip(LETTERS, tidy, strict=False))


def _a_column(name: str, value: Any) -> str:
    """Return the name of a column, which can stand between braces."""
    if not check_text(name, value).isidentifier():
        raise CourseError(f"{name} must be the plain name of a column.", given=value)
    return value


_OPTION_FIELDS = {"options": lettered, "labelled": labelled}


@border(first=_a_column, second=_a_column)
def pair_pattern(kind: Kind = "hybrid", *, first: str = "first", second: str = "second") -> Pattern:
    """Return the pattern of sentence pairs: yes, maybe or no.

    Args:
        kind: "hard", "soft" or "hybrid".
        first: the column of the first sentence.
        second: the column of the second.

    Raises:
        CourseError: unknown kind.

    Example:
        >>> print(pair_pattern("hard").text({"first": "It rains.", "second": "We are wet."}))
        First: It rains.
        Second: We are wet.
        Do they belong together? Answer:
    """
    return _pattern("pair", kind, PAIR_WORDS, {"first": first, "second": second})


def nli_pattern(kind: Kind = "hybrid") -> Pattern:
    """Return the sentence-pair pattern for `premise` and `hypothesis`: yes, maybe, no in `NLI_LABELS`' order."""
    return pair_pattern(kind, first="premise", second="hypothesis")


def choice_pattern(num_options: int = 6, kind: Kind = "hybrid") -> Pattern:
    """Return the pattern of multiple choice with a fixed number of options: `query` and `options`.

    Args:
        num_options: from 2 to 16.
        kind: "hard", "soft" or "hybrid".

    Raises:
        CourseError: unknown kind, or a number of options without letters.

    Example:
        >>> row = {"query": "It rains.", "options": ["We are wet.", "Two is even."]}
        >>> print(choice_pattern(2, "soft").text(row))
        We are wet.
        Label: A
        <BLANKLINE>
        Two is even.
        Label: B
        <BLANKLINE>
        It rains.
        Label:
    """
    check_num_options(num_options)
    return _pattern("choice", kind, LETTERS[:num_options])


def single_pattern(kind: Kind = "hybrid", words: Sequence[str] = SINGLE_WORDS) -> Pattern:
    """Return the pattern of single sentences: five words from terrible to great.

    Args:
        kind: "hard", "soft" or "hybrid".
        words: the label words, from the most negative to the most positive.

    Raises:
        CourseError: unknown kind; words that are no label words.

    Example:
        >>> single_pattern("hard").text({"text": "I slept."})
        'I slept. All in all, it was'
    """
    return _pattern("single", kind, words)


def sentiment_pattern(kind: Kind = "hybrid") -> Pattern:
    """Return the single-sentence pattern with two of its five words: bad (label 0) and good (label 1)."""
    return single_pattern(kind, SENTIMENT_WORDS)


def unified_pattern(kind: Kind = "hybrid", *, max_options: int = len(LETTERS)) -> Pattern:
    """Return the pattern of the unified form: multiple choice with 2 to `max_options` options.

    Args:
        kind: "hard", "soft" or "hybrid".
        max_options: the most options a row has, from 2 to 16.

    Raises:
        CourseError: unknown kind, or a number of options without letters.
    """
    check_num_options(max_options)
    return _pattern("choice", kind, LETTERS[:max_options], task="unified", fewer_options=True)


def as_multiple_choice(row: Mapping[str, Any], question: str, label_names: Sequence[str]) -> dict[str, Any]:
    """Ask a downstream task as multiple choice: the classes are the options.

    Args:
        row: the row's columns, with its `label` where it is known.
        question: the query, with the row's columns as fields in braces.
        label_names: what each class is called, in the order of the labels.

    Returns:
        `query`, `options` and, where the row has it, `label`.

    Raises:
        CourseError: no field in the question, or one that the row lacks; fewer than 2 or more than 16
            classes; a label outside them.

    Example:
        >>> row = {"text": "A fine film.", "label": 1}
        >>> as_multiple_choice(row, "{text} How was it?", ["It was bad.", "It was good."])
        {'query': 'A fine film. How was it?', 'options': ['It was bad.', 'It was good.'], 'label': 1}
    """
    (row,) = check_rows("rows", [row])
    # the verbalizer's check is what label names need too: two at least, none empty, none twice
    names = list(Verbalizer(label_names).label_words)
    check_num_options(len(names))
    query = Pattern("question", question, Verbalizer(LETTERS)).text(row)
    asked = {"query": query, "options": names}
    if row.get("label") is None:
        return asked
    return {**asked, "label": check_count("label", row["label"], least=0, most=len(names) - 1)}


def check_num_options(num_options: int) -> None:
    """Refuse a number of options that there are no letters for.

    Raises:
        CourseError: not a whole number from 2 to 16.
    """
    check_count("num_options", num_options, least=2, most=len(LETTERS))


def _pattern(
    form: str,
    kind: Kind,
    words: Sequence[str],
    columns: Mapping[str, str] | None = None,
    *,
    task: str = "",
    fewer_options: bool = False,
) -> Pattern:
    check_choice("kind of pattern", kind, KINDS)
    bare, worded = _FORMS[form]
    template = bare if kind == "soft" else worded
    for field, column in (columns or {}).items():
        template = template.replace(f"{{{field}}}", f"{{{column}}}")
    front = "" if kind == "hard" else SOFT
    return Pattern(f"{task or form}/{kind}", front + template, Verbalizer(words), fewer_options)


def _checked_options(options: Any, pattern: Pattern) -> Sequence[str]:
    """Refuse options that are no list of texts, or that the pattern's letters do not fit."""
    most = pattern.verbalizer.num_labels
    fits = isinstance(options, Sequence) and not isinstance(options, str)
    if fits and not all(str(option).strip() for option in options):
        raise CourseError("An option is empty.", given=list(options), mend="Give every option a text.")
    if fits and (2 <= len(options) <= most if pattern.fewer_options else len(options) == most):
        return options
    wanted = f"from 2 to {most}" if pattern.fewer_options else str(most)
    raise CourseError(
        f"The pattern {pattern.name!r} takes a list of {wanted} options.",
        given=options,
        mend="Take `choice_pattern(num_options)` of their number, or `unified_pattern()`.",
    )
