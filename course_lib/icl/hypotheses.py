"""Hypotheses: features of a text that a demonstration's label could stand for.

Every row of the feature table of Si et al. (ACL 2023) is a `Hypothesis` here: four intended features (h1:
sentiment, toxicity, entailment, the answer to a question) and the surface features that compete with each
of them (h2). One of your own is a `Hypothesis` too. A hypothesis also carries its own wording, in one place, so
that instructions, label words and explanations made of it agree with each other and with the label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from course_lib.checks.calls import Check, border, check_choice, optional
from course_lib.checks.types import Text
from course_lib.checks.values import check_callable, check_text, check_texts
from course_lib.errors import CourseError
from course_lib.icl import features
from course_lib.icl.features import Label

# Texts within this many words of a length threshold are neither short nor long.
LENGTH_MARGIN = 5


@dataclass(frozen=True)
class Hypothesis:
    """One feature that the labels 0 and 1 of the demonstrations could stand for.

    `label` gives None where the feature does not apply, and near a threshold, where a text is neither one
    thing nor the other. The margins of the registered ones are:

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

    Raises:
        CourseError: a name, wording or column that is no text or empty; other than two of what there is for each
            label, or twice the same; a label that cannot be called.

    Example:
        >>> def is_question(row):
        ...     return int(row["text"].endswith("?"))
        >>> mine = Hypothesis(
        ...     name="mine.question",
        ...     task="sentiment",
        ...     meanings=("no question", "a question"),
        ...     label=is_question,
        ...     columns=("text",),
        ...     clauses=("the text asks nothing", "the text is a question"),
        ...     label_words=("statement", "question"),
        ... )
        >>> mine.label({"text": "Why?"})
        1
    """

    name: str
    task: str
    meanings: tuple[str, str]
    label: Label
    columns: tuple[str, ...]
    clauses: tuple[str, str]
    label_words: tuple[str, str]
    question: str | None = None

    def __post_init__(self) -> None:
        checks: dict[str, Check] = {
            **dict.fromkeys(("name", "task"), partial(check_text, empty_ok=False)),
            **dict.fromkeys(("meanings", "clauses", "label_words"), two_texts),
            "label": check_callable,
            "columns": lambda name, value: tuple(check_texts(name, value, empty_ok=False)),
            "question": optional(check_text),
        }
        for name, check in checks.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))


def two_texts(name: str, texts: Any) -> tuple[str, str]:
    """Returns a text for label 0 and another for label 1; a check of an argument.

    Raises:
        CourseError: not two, an empty one, or the same for both.
    """
    found = check_texts(name, texts, empty_ok=False)
    if len(found) != 2 or found[0] == found[1]:
        raise CourseError(
            f"{name} must be two different texts, for label 0 and for label 1.",
            given=texts,
            mend='Write, for example, ("0", "1").',
        )
    return found[0], found[1]


# A label word, and what is said of the subject; the word alone where that is "is" and the word.
Side = str | tuple[str, str]


def _either(
    name: str, label: Label, columns: tuple[str, ...], subject: str, *, zero: Side, one: Side
) -> Hypothesis:
    """Builds a hypothesis between two things."""
    sides = [(side, f"is {side}") if isinstance(side, str) else side for side in (zero, one)]
    (zero_word, said_of_zero), (one_word, said_of_one) = sides
    return Hypothesis(
        name=name,
        task=name.partition(".")[0],
        meanings=(zero_word, one_word),
        label=label,
        columns=columns,
        clauses=(f"{subject} {said_of_zero}", f"{subject} {said_of_one}"),
        label_words=(zero_word, one_word),
    )


def _whether(name: str, label: Label, columns: tuple[str, ...], subject: str, phrase: str) -> Hypothesis:
    """Builds a hypothesis of yes (1) or no (0); clauses and question follow from a phrase such as "mention men"."""
    verb, _, rest = phrase.partition(" ")
    return Hypothesis(
        name=name,
        task=name.partition(".")[0],
        meanings=(f"does not {phrase}", f"{verb}s {rest}"),
        label=label,
        columns=columns,
        clauses=(f"{subject} does not {phrase}", f"{subject} {verb}s {rest}"),
        label_words=("no", "yes"),
        question=f"Does {subject} {phrase}?",
    )


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


@border()
def domain_hypothesis(one: str = "movie", zero: str = "product", *, name: Text = "") -> Hypothesis:
    """Builds the hypothesis that the label says which data set a text is from.

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
    label = partial(features.one_of_two, column="domain", one=one, zero=zero)
    name = name or f"sentiment.domain_{one}_{zero}"
    return _either(name, label, ("domain",), "the text", zero=DOMAINS[zero], one=DOMAINS[one])


@border()
def genre_hypothesis(one: str, zero: str, *, name: Text = "") -> Hypothesis:
    """Builds the hypothesis that the label says which genre a premise is from (MultiNLI).

    Args:
        one: the genre of label 1, as in the column `genre`.
        zero: the genre of label 0.
        name: the hypothesis's name; "nli.genre_" and the two genres when left out.

    Raises:
        CourseError: an unknown genre, or twice the same.
    """
    _check_two("genre", one, zero, GENRES)
    label = partial(features.one_of_two, column="genre", one=one, zero=zero)
    name = name or f"nli.genre_{one}_{zero}"
    return _either(name, label, ("genre",), "the premise", zero=GENRES[zero], one=GENRES[one])


def _check_two(kind: str, one: str, zero: str, known: Mapping[str, tuple[str, str]]) -> None:
    if known[check_choice(kind, one, known)] == known[check_choice(kind, zero, known)]:
        raise CourseError(f"The two {kind}s are about the same thing.", given=(one, zero), mend="Use two.")


def _identity_hypothesis(name: str, *, one: str, zero: str) -> Hypothesis:
    label = partial(features.mentions_either, one=one, zero=zero)
    words = {"zero": IDENTITY_WORDS[zero], "one": IDENTITY_WORDS[one]}
    return _either(name, label, (one, zero), "the comment", **words)


def _length_hypothesis(name: str, subject: str, *, short_below: int = 40, long_above: int = 40) -> Hypothesis:
    """Builds a hypothesis of short (1) against long (0); one threshold for both gets the margin."""
    if short_below == long_above:
        most, least = short_below - LENGTH_MARGIN, long_above + LENGTH_MARGIN
    else:
        most, least = short_below - 1, long_above + 1
    return _either(
        name,
        partial(features.length, column="text", most=most, least=least, of_short=1),
        ("text",),
        subject,
        zero=("long", f"is long, more than {long_above} words"),
        one=("short", f"is short, fewer than {short_below} words"),
    )


def _contains_hypothesis(name: str, word: str) -> Hypothesis:
    label = partial(features.contains_word, word=word)
    return _whether(name, label, ("text",), "the text", f'contain the word "{word}"')


def _uppercase_hypothesis(name: str, subject: str, *, digits_count: bool) -> Hypothesis:
    label = partial(features.has_uppercase_word, digits_count=digits_count)
    return _whether(name, label, ("text",), subject, "contain a word written all in capital letters")


# --- the feature table -----------------------------------------------------------------------------

HYPOTHESES: dict[str, Hypothesis] = {
    hypothesis.name: hypothesis
    for hypothesis in (
        _either("sentiment", features.given_label, ("label",), "the text", zero="negative", one="positive"),
        domain_hypothesis("movie", "product", name="sentiment.domain"),
        domain_hypothesis("imdb", "yelp", name="sentiment.domain_imdb_yelp"),
        _length_hypothesis("sentiment.length", "the text"),
        _length_hypothesis("sentiment.short", "the text", short_below=12, long_above=20),
        _either(
            "sentiment.punctuation",
            features.exclamation,
            ("text",),
            "the text",
            zero=("period", 'ends in a period, "."'),
            one=("exclamation", 'ends in an exclamation mark, "!"'),
        ),
        _contains_hypothesis("sentiment.food", "food"),
        _contains_hypothesis("sentiment.nice", "nice"),
        _uppercase_hypothesis("sentiment.uppercase", "the text", digits_count=False),
        _either("toxicity", features.given_label, ("label",), "the comment", zero="harmless", one="toxic"),
        _identity_hypothesis("toxicity.gender", one="female", zero="male"),
        _whether(
            "toxicity.sexuality",
            partial(features.mentions, column="LGBTQ"),
            ("LGBTQ",),
            "the comment",
            "mention LGBTQ people",
        ),
        _identity_hypothesis("toxicity.religion_christian", one="muslim", zero="christian"),
        _identity_hypothesis("toxicity.religion_jewish", one="muslim", zero="jewish"),
        _identity_hypothesis("toxicity.race_black", one="black", zero="white"),
        _identity_hypothesis("toxicity.race_asian", one="asian", zero="white"),
        _length_hypothesis("toxicity.length", "the comment"),
        _uppercase_hypothesis("toxicity.uppercase", "the comment", digits_count=True),
        _whether("nli", features.entailment, ("label",), "the premise", "entail the hypothesis"),
        genre_hypothesis("government", "fiction", name="nli.genre_fiction"),
        genre_hypothesis("government", "telephone", name="nli.genre_telephone"),
        _whether(
            "nli.overlap",
            features.hypothesis_overlap,
            ("premise", "hypothesis"),
            "the premise",
            "contain every word of the hypothesis",
        ),
        _either(
            "nli.shorter",
            features.hypothesis_shorter,
            ("premise", "hypothesis"),
            "the hypothesis",
            zero=("longer", "is longer than the premise"),
            one=("shorter", "is shorter than the premise"),
        ),
        _whether(
            "nli.negation",
            features.negation,
            ("hypothesis",),
            "the hypothesis",
            'contain a negation, "no", "not" or "n\'t"',
        ),
        _either("qa", features.given_label, ("label",), "the answer to the question", zero="no", one="yes"),
        _either(
            "qa.question_word",
            features.question_word,
            ("question",),
            "the question",
            zero=("do", 'begins with "do", "does" or "did"'),
            one=("is", 'begins with "is" or "was"'),
        ),
        _whether(
            "qa.overlap",
            features.content_overlap,
            ("question", "passage"),
            "the passage",
            "contain every content word of the question",
        ),
        _whether(
            "qa.same_as", features.same_as, ("question",), "the question", 'contain the words "same as"'
        ),
        _either(
            "qa.length",
            partial(features.length, column="passage", most=36, least=66, of_short=0),
            ("passage",),
            "the passage",
            zero=("short", "is short, fewer than 50 words"),
            one=("long", "is long, more than 50 words"),
        ),
    )
}


def find_hypothesis(hypothesis: Hypothesis | str) -> Hypothesis:
    """Returns the hypothesis of this name; one that is given whole is returned as it is.

    Args:
        hypothesis: a name of `HYPOTHESES`, or a hypothesis of one's own.

    Raises:
        CourseError: no hypothesis has this name.

    Example:
        >>> find_hypothesis("sentiment.uppercase").label({"text": "I saw it on TV."})
        1
        >>> find_hypothesis("sentiment.uppercase").label({"text": "I saw it."})
        0
    """
    if isinstance(hypothesis, Hypothesis):
        return hypothesis
    return HYPOTHESES[check_choice("hypothesis", hypothesis, HYPOTHESES)]


@border(column=partial(check_text, empty_ok=False), task=partial(check_text, empty_ok=False))
def column_hypothesis(column: str, task: str = "sentiment") -> Hypothesis:
    """Builds the hypothesis that the label is what a column holds, 0 or 1.

    Args:
        column: the column's name; where interventions speak of it, underscores are spaces.
        task: the task of the hypothesis that it competes with.

    Example:
        >>> column_hypothesis("is_question").clauses[1]
        'the feature "is question" is present'
    """
    feature = f'the feature "{" ".join(column.replace("_", " ").split())}"'
    return Hypothesis(
        name=f"column:{column}",
        task=task,
        meanings=(f"{feature} is absent", f"{feature} is present"),
        label=partial(features.value_of, column=column),
        columns=(column,),
        clauses=(f"{feature} is absent", f"{feature} is present"),
        label_words=("no", "yes"),
        question=f"Is {feature} present?",
    )


def competitors(h1: str) -> list[Hypothesis]:
    """Returns every surface feature (h2) of a task, in the table's order.

    Args:
        h1: "sentiment", "toxicity", "nli" or "qa".

    Raises:
        CourseError: no task has this name.
    """
    check_choice("task", h1, dict.fromkeys(hypothesis.task for hypothesis in HYPOTHESES.values()))
    return [hypothesis for hypothesis in HYPOTHESES.values() if hypothesis.name.startswith(f"{h1}.")]
