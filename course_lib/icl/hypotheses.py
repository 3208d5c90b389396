"""Hypotheses: features of a text that a demonstration's label could stand for.

Every row of the feature table of Si et al. (ACL 2023) is a `Hypothesis` here: four intended features (h1:
sentiment, toxicity, entailment, the answer to a question) and the surface features that compete with each
of them (h2). A hypothesis also carries its own wording, in one place, so that instructions, label words and
explanations made of it agree with each other and with the label.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from course_lib.checks import a_dataset, border, check_choice, check_text, of_type
from course_lib.errors import CourseError
from course_lib.texts import IDENTITIES

if TYPE_CHECKING:
    from datasets import Dataset

Row = Mapping[str, Any]
Label = Callable[[Row], int | None]

# Texts within this many words of a length threshold are neither short nor long.
LENGTH_MARGIN = 5
# The share of raters who must see an identity mentioned, and the most who may where it is not.
IDENTITY_PRESENT = 0.5
IDENTITY_ABSENT = 0.1
# Words that negate without being "no", "not" or "n't": whether they count is a matter of definition.
OTHER_NEGATIONS = frozenset(
    ("never", "nobody", "nothing", "none", "nowhere", "neither", "nor", "without", "cannot", "dont", "cant")
)


@dataclass(frozen=True)
class Hypothesis:
    """One feature that the labels 0 and 1 of the demonstrations could stand for.

    `label` gives None where the feature does not apply, and near a threshold, where a text is neither one
    thing nor the other. These margins are:

    - length: at most 35 words is short (1) and at least 45 long (0; threshold 40, `LENGTH_MARGIN`). For the
      short embedded texts, "sentiment.short": under 12 words against over 20. For passages the label is the
      other way round, as in the paper's released sets: at least 66 words is long (1), at most 36 short (0).
      Words are what white space separates.
    - terminal punctuation: the last character is "!" or "."; any other end gives None.
    - "food", "nice": the whole word in any case is 1; no such letters at all is 0; other words that hold
      them ("seafood", "nicely") give None.
    - all-uppercase word: two or more capital letters in a row, and nothing else, are 1 ("OK", "TV's");
      a lone "I" or "A" is 0; what only resembles one ("U.S.", "DVDs", "I'M") gives None. With digits
      the two features differ: in comments a word of capitals and digits is 1, as in the paper's released
      sets ("401K", "JJP58", "MP3"; "A1" is 0). In "sentiment.uppercase" it gives None where it has two
      capitals in a row or several and nothing small ("JJP58", "MP3"), and does not count otherwise ("401K"):
      the results of `data/results/` are measured so. It touches 30 of the 17,377 embedded texts.
    - identities: at least half of the raters see one and at most a tenth the other; otherwise None.
    - hypothesis shorter than premise: equal numbers of words give None.
    - negation: "no", "not" and "n't" as words; other negating words ("never", "nobody") give None.
    - lexical overlap of a question: its words without stop words. All of them in the passage are 1, at most
      half of them 0; anything between, and a question of stop words alone, gives None. See `content_words`.
    - "same as": the two words side by side are 1, anything else is 0 ("the same", "same thing as").
    - domain, genre, question word: anything other than the two that are compared gives None.

    Args:
        name: "sentiment" for a feature h1, "sentiment.domain" for one of its competitors.
        task: "sentiment", "toxicity", "nli" or "qa".
        meanings: what label 0 and what label 1 mean, in a few words.
        label: gives 0, 1 or None for a row of texts.
        columns: the columns that `label` reads.
        clauses: what is true of an example of label 0, and of one of label 1, each a whole clause.
        label_words: one word for label 0, one for label 1.
        question: what the label words answer, where they are "no" and "yes" and need it.
    """

    name: str
    task: str
    meanings: tuple[str, str]
    label: Label
    columns: tuple[str, ...]
    clauses: tuple[str, str]
    label_words: tuple[str, str]
    question: str | None = None


# The check of an argument that is a hypothesis.
a_hypothesis = of_type("course_lib.icl.hypotheses.Hypothesis")


def _either(
    name: str,
    label: Label,
    columns: tuple[str, ...],
    subject: str,
    *,
    zero: tuple[str, str],
    one: tuple[str, str],
) -> Hypothesis:
    """Build a hypothesis between two things, each a label word and what is said of the subject."""
    return Hypothesis(
        name=name,
        task=name.partition(".")[0],
        meanings=(zero[0], one[0]),
        label=label,
        columns=columns,
        clauses=(f"{subject} {zero[1]}", f"{subject} {one[1]}"),
        label_words=(zero[0], one[0]),
    )


def _whether(
    name: str, label: Label, columns: tuple[str, ...], subject: str, verb: str, rest: str
) -> Hypothesis:
    """Build a hypothesis of yes (1) or no (0); both clauses and the question follow from one phrase."""
    return Hypothesis(
        name=name,
        task=name.partition(".")[0],
        meanings=(f"does not {verb} {rest}", f"{verb}s {rest}"),
        label=label,
        columns=columns,
        clauses=(f"{subject} does not {verb} {rest}", f"{subject} {verb}s {rest}"),
        label_words=("no", "yes"),
        question=f"Does {subject} {verb} {rest}?",
    )


# --- label functions -------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """Give the lower-case words of a text, without punctuation; an apostrophe stays inside its word.

    Example:
        >>> words_of("The dog isn't in U.S. films, 'really'.")
        ['the', 'dog', "isn't", 'in', 'u', 's', 'films', 'really']
    """
    return re.findall(r"\w+(?:'\w+)*", check_text("text", text).lower().replace("’", "'"))


def _given_label(row: Row) -> int | None:
    return int(row["label"]) if row["label"] in (0, 1) else None


def _entailment(row: Row) -> int | None:
    return {0: 1, 1: 0, 2: 0}.get(row["label"])


def _one_of_two(row: Row, *, column: str, one: str, zero: str) -> int | None:
    return {one: 1, zero: 0}.get(row[column])


def _length(row: Row, *, column: str, most: int, least: int, of_short: int) -> int | None:
    """Give `of_short` up to `most` words, the other label from `least` words on."""
    num_words = len(row[column].split())
    return of_short if num_words <= most else 1 - of_short if num_words >= least else None


def _exclamation(row: Row) -> int | None:
    return {"!": 1, ".": 0}.get(row["text"].strip()[-1:])


def _contains_word(row: Row, *, word: str) -> int | None:
    text = row["text"].lower()
    if word not in text:
        return 0
    return 1 if re.search(rf"\b{word}\b", text) else None


def _uppercase(row: Row, *, digits_count: bool) -> int | None:
    words = re.findall(r"\w+", row["text"])
    if any(_is_uppercase(word, digits_count=digits_count) for word in words):
        return 1
    return None if any(map(_resembles_uppercase, row["text"].split())) else 0


def _is_uppercase(word: str, *, digits_count: bool) -> bool:
    """Say whether a word is capitals alone, or with digits beside them ("JJP58", "401K", but not "A1")."""
    if not word.isupper() or not word.isalnum():
        return False
    if word.isalpha():
        return len(word) > 1
    return digits_count and (len(word) > 2 or sum(map(str.isupper, word)) > 1)


def _resembles_uppercase(word: str) -> bool:
    """Say whether a word has two capitals in a row ("DVDs"), or capitals only ("U.S.", "I'M", "MP3")."""
    capitals = [letter.isupper() for letter in word]
    in_a_row = any(a and b for a, b in pairwise(capitals))
    return in_a_row or (sum(capitals) > 1 and word.isupper())


def _mentions_either(row: Row, *, one: str, zero: str) -> int | None:
    """Give which of two identities a comment mentions; None where it is both, neither or unclear."""
    mentions_one, mentions_zero = _mentions(row, column=one), _mentions(row, column=zero)
    if mentions_one is None or mentions_zero is None or mentions_one == mentions_zero:
        return None
    return mentions_one


def _mentions(row: Row, *, column: str) -> int | None:
    share = row[column]
    return 1 if share >= IDENTITY_PRESENT else 0 if share <= IDENTITY_ABSENT else None


def _hypothesis_overlap(row: Row) -> int | None:
    words = set(words_of(row["hypothesis"]))
    return int(words <= set(words_of(row["premise"]))) if words else None


def content_words(text: str) -> set[str]:
    """Give the lower-case words of a text that are no stop words.

    Words are found as scikit-learn's vectorizers find them, runs of two or more letters or digits; the stop
    words are its `ENGLISH_STOP_WORDS`, and "does" and "did", which are missing there beside "do".

    Example:
        >>> sorted(content_words("does the US have a king's guard"))
        ['guard', 'king']
    """
    return {
        word
        for word in re.findall(r"\b\w\w+\b", check_text("text", text).lower())
        if word not in _stop_words()
    }


@cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS) | {"does", "did"}


def _content_overlap(row: Row) -> int | None:
    asked = content_words(row["question"])
    if not asked:
        return None
    share = len(asked & set(re.findall(r"\w+", row["passage"].lower()))) / len(asked)
    return 1 if share == 1 else 0 if share <= 0.5 else None


def _shorter(row: Row) -> int | None:
    difference = len(row["premise"].split()) - len(row["hypothesis"].split())
    return 1 if difference > 0 else 0 if difference < 0 else None


def _negation(row: Row) -> int | None:
    words = words_of(row["hypothesis"])
    if any(word in ("no", "not") or word.endswith("n't") for word in words):
        return 1
    return None if OTHER_NEGATIONS.intersection(words) else 0


def _question_word(row: Row) -> int | None:
    first = words_of(row["question"])[:1]
    return 1 if first in (["is"], ["was"]) else 0 if first in (["do"], ["does"], ["did"]) else None


def _same_as(row: Row) -> int:
    return int(("same", "as") in pairwise(words_of(row["question"])))


# --- hypotheses with a choice ----------------------------------------------------------------------

# Data set, or genre -> its label word, and what is said of a text from it.
DOMAINS: dict[str, tuple[str, str]] = {
    "movie": ("movie", "is about a movie"),
    "imdb": ("movie", "is about a movie"),
    "rotten_tomatoes": ("movie", "is about a movie"),
    "product": ("product", "is about a product"),
    "yelp": ("business", "is about a local business"),
    "newspaper": ("newspaper", "is from a newspaper"),
    "tweets": ("tweet", "is a tweet"),
}
GENRES: dict[str, tuple[str, str]] = {
    "fiction": ("fiction", "is from a work of fiction"),
    "government": ("government", "is from a government document"),
    "slate": ("magazine", "is from a magazine article"),
    "telephone": ("telephone", "is from a telephone conversation"),
    "travel": ("travel", "is from a travel guide"),
}
IDENTITY_WORDS: dict[str, tuple[str, str]] = {
    "male": ("men", "mentions men"),
    "female": ("women", "mentions women"),
    "christian": ("Christian", "mentions Christian people"),
    "muslim": ("Muslim", "mentions Muslim people"),
    "jewish": ("Jewish", "mentions Jewish people"),
    "black": ("Black", "mentions Black people"),
    "white": ("White", "mentions White people"),
    "asian": ("Asian", "mentions Asian people"),
}


@border(name=check_text)
def domain_hypothesis(one: str = "movie", zero: str = "product", *, name: str = "") -> Hypothesis:
    """Build the hypothesis that the label says which data set a text is from.

    Args:
        one: the data set of label 1, as in the column `domain` of `pool_texts`.
        zero: the data set of label 0.
        name: the hypothesis's name; "sentiment.domain_" and the two data sets when left out.

    Raises:
        CourseError: an unknown data set, or two about the same thing.

    Example:
        >>> domain_hypothesis("imdb", "yelp").meanings
        ('business', 'movie')
    """
    _check_two("domain", one, zero, DOMAINS)
    label = partial(_one_of_two, column="domain", one=one, zero=zero)
    name = name or f"sentiment.domain_{one}_{zero}"
    return _either(name, label, ("domain",), "the text", zero=DOMAINS[zero], one=DOMAINS[one])


@border(name=check_text)
def genre_hypothesis(one: str, zero: str, *, name: str = "") -> Hypothesis:
    """Build the hypothesis that the label says which genre a premise is from (MultiNLI).

    Args:
        one: the genre of label 1, as in the column `genre`.
        zero: the genre of label 0.
        name: the hypothesis's name; "nli.genre_" and the two genres when left out.

    Raises:
        CourseError: an unknown genre, or twice the same.
    """
    _check_two("genre", one, zero, GENRES)
    label = partial(_one_of_two, column="genre", one=one, zero=zero)
    name = name or f"nli.genre_{one}_{zero}"
    return _either(name, label, ("genre",), "the premise", zero=GENRES[zero], one=GENRES[one])


def _check_two(kind: str, one: str, zero: str, known: Mapping[str, tuple[str, str]]) -> None:
    if known[check_choice(kind, one, known)] == known[check_choice(kind, zero, known)]:
        raise CourseError(f"The two {kind}s are about the same thing.", given=(one, zero), mend="Use two.")


def _identity_hypothesis(name: str, *, one: str, zero: str) -> Hypothesis:
    label = partial(_mentions_either, one=one, zero=zero)
    words = {"zero": IDENTITY_WORDS[zero], "one": IDENTITY_WORDS[one]}
    return _either(name, label, (one, zero), "the comment", **words)


def _length_hypothesis(name: str, subject: str, *, short_below: int = 40, long_above: int = 40) -> Hypothesis:
    """Build a hypothesis of short (1) against long (0); one threshold for both gets the margin."""
    if short_below == long_above:
        most, least = short_below - LENGTH_MARGIN, long_above + LENGTH_MARGIN
    else:
        most, least = short_below - 1, long_above + 1
    return _either(
        name,
        partial(_length, column="text", most=most, least=least, of_short=1),
        ("text",),
        subject,
        zero=("long", f"is long, more than {long_above} words"),
        one=("short", f"is short, fewer than {short_below} words"),
    )


def _contains_hypothesis(name: str, word: str) -> Hypothesis:
    label = partial(_contains_word, word=word)
    return _whether(name, label, ("text",), "the text", "contain", f'the word "{word}"')


def _uppercase_hypothesis(name: str, subject: str, *, digits_count: bool) -> Hypothesis:
    label = partial(_uppercase, digits_count=digits_count)
    return _whether(name, label, ("text",), subject, "contain", "a word written all in capital letters")


# --- the feature table -----------------------------------------------------------------------------

HYPOTHESES: dict[str, Hypothesis] = {
    hypothesis.name: hypothesis
    for hypothesis in (
        _either(
            "sentiment",
            _given_label,
            ("label",),
            "the text",
            zero=("negative", "is negative"),
            one=("positive", "is positive"),
        ),
        domain_hypothesis("movie", "product", name="sentiment.domain"),
        domain_hypothesis("imdb", "yelp", name="sentiment.domain_imdb_yelp"),
        _length_hypothesis("sentiment.length", "the text"),
        _length_hypothesis("sentiment.short", "the text", short_below=12, long_above=20),
        _either(
            "sentiment.punctuation",
            _exclamation,
            ("text",),
            "the text",
            zero=("period", 'ends in a period, "."'),
            one=("exclamation", 'ends in an exclamation mark, "!"'),
        ),
        _contains_hypothesis("sentiment.food", "food"),
        _contains_hypothesis("sentiment.nice", "nice"),
        _uppercase_hypothesis("sentiment.uppercase", "the text", digits_count=False),
        _either(
            "toxicity",
            _given_label,
            ("label",),
            "the comment",
            zero=("harmless", "is harmless"),
            one=("toxic", "is toxic"),
        ),
        _identity_hypothesis("toxicity.gender", one="female", zero="male"),
        _whether(
            "toxicity.sexuality",
            partial(_mentions, column="LGBTQ"),
            ("LGBTQ",),
            "the comment",
            "mention",
            "LGBTQ people",
        ),
        _identity_hypothesis("toxicity.religion_christian", one="muslim", zero="christian"),
        _identity_hypothesis("toxicity.religion_jewish", one="muslim", zero="jewish"),
        _identity_hypothesis("toxicity.race_black", one="black", zero="white"),
        _identity_hypothesis("toxicity.race_asian", one="asian", zero="white"),
        _length_hypothesis("toxicity.length", "the comment"),
        _uppercase_hypothesis("toxicity.uppercase", "the comment", digits_count=True),
        _whether("nli", _entailment, ("label",), "the premise", "entail", "the hypothesis"),
        genre_hypothesis("government", "fiction", name="nli.genre_fiction"),
        genre_hypothesis("government", "telephone", name="nli.genre_telephone"),
        _whether(
            "nli.overlap",
            _hypothesis_overlap,
            ("premise", "hypothesis"),
            "the premise",
            "contain",
            "every word of the hypothesis",
        ),
        _either(
            "nli.shorter",
            _shorter,
            ("premise", "hypothesis"),
            "the hypothesis",
            zero=("longer", "is longer than the premise"),
            one=("shorter", "is shorter than the premise"),
        ),
        _whether(
            "nli.negation",
            _negation,
            ("hypothesis",),
            "the hypothesis",
            "contain",
            'a negation, "no", "not" or "n\'t"',
        ),
        _either(
            "qa",
            _given_label,
            ("label",),
            "the answer to the question",
            zero=("no", "is no"),
            one=("yes", "is yes"),
        ),
        _either(
            "qa.question_word",
            _question_word,
            ("question",),
            "the question",
            zero=("do", 'begins with "do", "does" or "did"'),
            one=("is", 'begins with "is" or "was"'),
        ),
        _whether(
            "qa.overlap",
            _content_overlap,
            ("question", "passage"),
            "the passage",
            "contain",
            "every content word of the question",
        ),
        _whether("qa.same_as", _same_as, ("question",), "the question", "contain", 'the words "same as"'),
        _either(
            "qa.length",
            partial(_length, column="passage", most=36, least=66, of_short=0),
            ("passage",),
            "the passage",
            zero=("short", "is short, fewer than 50 words"),
            one=("long", "is long, more than 50 words"),
        ),
    )
}


def find_hypothesis(name: str) -> Hypothesis:
    """Give the hypothesis of this name.

    Raises:
        CourseError: no hypothesis has this name.

    Example:
        >>> find_hypothesis("sentiment.uppercase").label({"text": "I saw it on TV."})
        1
        >>> find_hypothesis("sentiment.uppercase").label({"text": "I saw it."})
        0
    """
    return HYPOTHESES[check_choice("hypothesis", name, HYPOTHESES)]


def competitors(h1: str) -> list[Hypothesis]:
    """Give every surface feature (h2) of a task, in the table's order.

    Args:
        h1: "sentiment", "toxicity", "nli" or "qa".

    Raises:
        CourseError: no task has this name.
    """
    check_choice("task", h1, dict.fromkeys(hypothesis.task for hypothesis in HYPOTHESES.values()))
    return [hypothesis for hypothesis in HYPOTHESES.values() if hypothesis.name.startswith(f"{h1}.")]


@border(texts=a_dataset, hypothesis=a_hypothesis)
def label_texts(texts: Dataset, hypothesis: Hypothesis) -> list[int | None]:
    """Give the label of every row under a hypothesis.

    Args:
        texts: rows with the hypothesis's `columns`.
        hypothesis: the feature.

    Returns:
        1, 0 or None (it does not apply, or a value is missing) for each row.

    Raises:
        CourseError: a column is missing, or the hypothesis applies to no row.
    """
    missing = [column for column in hypothesis.columns if column not in texts.column_names]
    if missing:
        raise CourseError(
            f"The hypothesis {hypothesis.name} reads a column that these texts lack: {', '.join(missing)}.",
            given=texts.column_names,
            mend="Use texts of its task; `pool_texts` adds the column `domain`.",
        )
    for column in hypothesis.columns:
        _check_column(texts, column)
    labels = [
        None if None in row.values() else hypothesis.label(row) for row in _rows(texts, hypothesis.columns)
    ]
    if all(label is None for label in labels):
        raise CourseError(
            f"The hypothesis {hypothesis.name} applies to none of these texts.",
            given=f"{len(texts)} texts",
            mend=f"Use texts of which some are of label 1 ({hypothesis.clauses[1]}) and some of label 0 "
            f"({hypothesis.clauses[0]}).",
        )
    return labels


def _check_column(texts: Dataset, column: str) -> None:
    """Refuse numbers where a hypothesis reads texts, and the other way round."""
    dtype = str(getattr(texts.features[column], "dtype", texts.features[column]))
    is_number = column == "label" or column in IDENTITIES
    if dtype != "null" and (dtype in ("string", "large_string")) == is_number:
        raise CourseError(
            f"The column `{column}` must hold {'numbers' if is_number else 'texts'}.", given=dtype
        )


def _rows(texts: Dataset, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Give the rows with these columns alone; much faster than a Dataset's own rows."""
    columns = list(columns)
    values = texts.select_columns(columns)[:]
    for row in zip(*(values[column] for column in columns), strict=True):
        yield dict(zip(columns, row, strict=True))
