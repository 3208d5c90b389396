"""Features of a text, as functions from a row to 0, 1 or None, where a feature does not apply.

`Hypothesis` says in words what each of them takes for 1 and for 0, and where it gives None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from course_lib.checks.values import check_text

Row = Mapping[str, Any]
Label = Callable[[Row], int | None]

# The share of raters who must see an identity mentioned, and the most who may where it is not.
IDENTITY_PRESENT = 0.5
IDENTITY_ABSENT = 0.1
# Words that negate without being "no", "not" or "n't": whether they count is a matter of definition.
OTHER_NEGATIONS = frozenset(
    ("never", "nobody", "nothing", "none", "nowhere", "neither", "nor", "without", "cannot", "dont", "cant")
)
# "does" and "did" are missing in scikit-learn's beside "do".
_STOP_WORDS = frozenset(ENGLISH_STOP_WORDS) | {"does", "did"}


def words_of(text: str) -> list[str]:
    """Returns the lower-case words of a text, without punctuation; an apostrophe stays inside its word.

    Example:
        >>> words_of("The dog isn't in U.S. films, 'really'.")
        ['the', 'dog', "isn't", 'in', 'u', 's', 'films', 'really']
    """
    return re.findall(r"\w+(?:'\w+)*", check_text("text", text).lower().replace("’", "'"))


def given_label(row: Row) -> int | None:
    """Returns the label that the row holds."""
    return int(row["label"]) if row["label"] in (0, 1) else None


def entailment(row: Row) -> int | None:
    """Returns 1 for entailment, 0 for neutral and contradiction, in the numbers of `NLI_LABELS`."""
    return {0: 1, 1: 0, 2: 0}.get(row["label"])


def one_of_two(row: Row, *, column: str, one: str, zero: str) -> int | None:
    """Returns which of two values a column holds."""
    return {one: 1, zero: 0}.get(row[column])


def value_of(row: Row, *, column: str) -> Any:
    """Returns what a column holds, which must be a label."""
    return row[column]


def length(row: Row, *, column: str, most: int, least: int, of_short: int) -> int | None:
    """Returns `of_short` up to `most` words, the other label from `least` words on."""
    num_words = len(row[column].split())
    return of_short if num_words <= most else 1 - of_short if num_words >= least else None


def exclamation(row: Row) -> int | None:
    """Returns 1 for a text that ends in an exclamation mark, 0 in a period."""
    return {"!": 1, ".": 0}.get(row["text"].strip()[-1:])


def contains_word(row: Row, *, word: str) -> int | None:
    """Returns 1 for the whole word, 0 without its letters; other words that hold them give None."""
    text = row["text"].lower()
    if word not in text:
        return 0
    return 1 if re.search(rf"\b{word}\b", text) else None


def has_uppercase_word(row: Row, *, digits_count: bool) -> int | None:
    """Returns 1 for a text with a word of capitals, 0 without anything like one."""
    words = re.findall(r"\w+", row["text"])
    if any(_is_uppercase(word, digits_count=digits_count) for word in words):
        return 1
    return None if any(map(_resembles_uppercase, row["text"].split())) else 0


def _is_uppercase(word: str, *, digits_count: bool) -> bool:
    """Returns whether a word is capitals alone, or with digits beside them ("JJP58", "401K", but not "A1")."""
    if not word.isupper() or not word.isalnum():
        return False
    if word.isalpha():
        return len(word) > 1
    return digits_count and (len(word) > 2 or sum(map(str.isupper, word)) > 1)


def _resembles_uppercase(word: str) -> bool:
    """Returns whether a word has two capitals in a row ("DVDs"), or capitals only ("U.S.", "I'M", "MP3")."""
    capitals = [letter.isupper() for letter in word]
    in_a_row = any(a and b for a, b in pairwise(capitals))
    return in_a_row or (sum(capitals) > 1 and word.isupper())


def mentions_either(row: Row, *, one: str, zero: str) -> int | None:
    """Returns which of two identities a comment mentions; None where it is both, neither or unclear."""
    mentions_one, mentions_zero = mentions(row, column=one), mentions(row, column=zero)
    if mentions_one is None or mentions_zero is None or mentions_one == mentions_zero:
        return None
    return mentions_one


def mentions(row: Row, *, column: str) -> int | None:
    """Returns whether enough raters see an identity mentioned; None where they disagree."""
    share = row[column]
    return 1 if share >= IDENTITY_PRESENT else 0 if share <= IDENTITY_ABSENT else None


def hypothesis_overlap(row: Row) -> int | None:
    """Returns 1 where the premise holds every word of the hypothesis."""
    words = set(words_of(row["hypothesis"]))
    return int(words <= set(words_of(row["premise"]))) if words else None


def content_words(text: str) -> set[str]:
    """Returns the lower-case words of a text that are no stop words.

    Words are found as scikit-learn's vectorizers find them, runs of two or more letters or digits; the stop
    words are its `ENGLISH_STOP_WORDS`, and "does" and "did", which are missing there beside "do".

    Example:
        >>> sorted(content_words("does the US have a king's guard"))
        ['guard', 'king']
    """
    return {
        word for word in re.findall(r"\b\w\w+\b", check_text("text", text).lower()) if word not in _STOP_WORDS
    }


def content_overlap(row: Row) -> int | None:
    """Returns 1 where the passage holds every content word of the question, 0 for at most half."""
    asked = content_words(row["question"])
    if not asked:
        return None
    share = len(asked & set(re.findall(r"\w+", row["passage"].lower()))) / len(asked)
    return 1 if share == 1 else 0 if share <= 0.5 else None


def hypothesis_shorter(row: Row) -> int | None:
    """Returns 1 where the hypothesis has fewer words than the premise, 0 where it has more."""
    difference = len(row["premise"].split()) - len(row["hypothesis"].split())
    return 1 if difference > 0 else 0 if difference < 0 else None


def negation(row: Row) -> int | None:
    """Returns 1 for a hypothesis with a negation; None with a word that may be one."""
    words = words_of(row["hypothesis"])
    if any(word in ("no", "not") or word.endswith("n't") for word in words):
        return 1
    return None if OTHER_NEGATIONS.intersection(words) else 0


def question_word(row: Row) -> int | None:
    """Returns 1 for a question with "is" or "was", 0 for one with "do", "does" or "did"."""
    first = words_of(row["question"])[:1]
    return 1 if first in (["is"], ["was"]) else 0 if first in (["do"], ["does"], ["did"]) else None


def same_as(row: Row) -> int:
    """Returns 1 for a question with "same as"."""
    return int(("same", "as") in pairwise(words_of(row["question"])))
