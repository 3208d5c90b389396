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
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError, unknown_name

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

    - length: at most 35 words is short and at least 45 long (threshold 40; `LENGTH_MARGIN`), at most 45 and
      at least 55 for passages (threshold 50). For the short embedded texts, "sentiment.short": under 12
      words against over 20. Words are what white space separates.
    - terminal punctuation: the last character is "!" or "."; any other end gives None.
    - "food", "nice": the whole word in any case is 1; no such letters at all is 0; other words that hold
      them ("seafood", "nicely") give None.
    - all-uppercase word: two or more capital letters in a row, and nothing else, are 1 ("OK", "TV's");
      a lone "I" or "A" is 0; what only resembles one ("U.S.", "DVDs", "MP3", "I'M") gives None.
    - identities: at least half of the raters see one and at most a tenth the other; otherwise None.
    - hypothesis shorter than premise: equal numbers of words give None.
    - negation: "no", "not" and "n't" as words; other negating words ("never", "nobody") give None.
    - "same as": "same" without "as" right behind it gives None.
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
    return re.findall(r"\w+(?:'\w+)*", text.lower().replace("’", "'"))


def _given_label(row: Row) -> int | None:
    return int(row["label"]) if row["label"] in (0, 1) else None


def _entailment(row: Row) -> int | None:
    return {0: 1, 1: 0, 2: 0}.get(row["label"])


def _one_of_two(row: Row, *, column: str, one: str, zero: str) -> int | None:
    return {one: 1, zero: 0}.get(row[column])


def _short(row: Row, *, column: str, most: int, least: int) -> int | None:
    """Give 1 up to `most` words, 0 from `least` words on."""
    num_words = len(row[column].split())
    return 1 if num_words <= most else 0 if num_words >= least else None


def _exclamation(row: Row) -> int | None:
    return {"!": 1, ".": 0}.get(row["text"].strip()[-1:])


def _contains_word(row: Row, *, word: str) -> int | None:
    text = row["text"].lower()
    if word not in text:
        return 0
    return 1 if re.search(rf"\b{word}\b", text) else None


def _uppercase(row: Row) -> int | None:
    words = re.findall(r"\w+", row["text"])
    if any(len(word) > 1 and word.isalpha() and word.isupper() for word in words):
        return 1
    return None if any(map(_resembles_uppercase, row["text"].split())) else 0


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


def _all_words_in(row: Row, *, of: str, within: str) -> int | None:
    words = set(words_of(row[of]))
    return int(words <= set(words_of(row[within]))) if words else None


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


def _same_as(row: Row) -> int | None:
    words = words_of(row["question"])
    if ("same", "as") in pairwise(words):
        return 1
    return None if "same" in words else 0


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
    for name in (one, zero):
        if name not in known:
            raise unknown_name(kind, name, known)
    if known[one] == known[zero]:
        raise CourseError(f"The two {kind}s are about the same thing.", given=(one, zero), mend="Use two.")


def _identity_hypothesis(name: str, *, one: str, zero: str) -> Hypothesis:
    label = partial(_mentions_either, one=one, zero=zero)
    words = {"zero": IDENTITY_WORDS[zero], "one": IDENTITY_WORDS[one]}
    return _either(name, label, (one, zero), "the comment", **words)


def _length_hypothesis(
    name: str, subject: str, *, column: str = "text", short_below: int = 40, long_above: int = 40
) -> Hypothesis:
    """Build a hypothesis of short (1) against long (0); one threshold for both gets the margin."""
    if short_below == long_above:
        most, least = short_below - LENGTH_MARGIN, long_above + LENGTH_MARGIN
    else:
        most, least = short_below - 1, long_above + 1
    return _either(
        name,
        partial(_short, column=column, most=most, least=least),
        (column,),
        subject,
        zero=("long", f"is long, more than {long_above} words"),
        one=("short", f"is short, fewer than {short_below} words"),
    )


def _contains_hypothesis(name: str, word: str) -> Hypothesis:
    label = partial(_contains_word, word=word)
    return _whether(name, label, ("text",), "the text", "contain", f'the word "{word}"')


def _uppercase_hypothesis(name: str, subject: str) -> Hypothesis:
    return _whether(name, _uppercase, ("text",), subject, "contain", "a word written all in capital letters")


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
        _uppercase_hypothesis("sentiment.uppercase", "the text"),
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
        _uppercase_hypothesis("toxicity.uppercase", "the comment"),
        _whether("nli", _entailment, ("label",), "the premise", "entail", "the hypothesis"),
        genre_hypothesis("government", "fiction", name="nli.genre_fiction"),
        genre_hypothesis("government", "telephone", name="nli.genre_telephone"),
        _whether(
            "nli.overlap",
            partial(_all_words_in, of="hypothesis", within="premise"),
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
            partial(_all_words_in, of="question", within="passage"),
            ("question", "passage"),
            "the passage",
            "contain",
            "every word of the question",
        ),
        _whether("qa.same_as", _same_as, ("question",), "the question", "contain", 'the words "same as"'),
        _length_hypothesis("qa.length", "the passage", column="passage", short_below=50, long_above=50),
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
    if name not in HYPOTHESES:
        raise unknown_name("hypothesis", name, HYPOTHESES)
    return HYPOTHESES[name]


def competitors(h1: str) -> list[Hypothesis]:
    """Give every surface feature (h2) of a task, in the table's order.

    Args:
        h1: "sentiment", "toxicity", "nli" or "qa".

    Raises:
        CourseError: no task has this name.
    """
    tasks = list(dict.fromkeys(hypothesis.task for hypothesis in HYPOTHESES.values()))
    if h1 not in tasks:
        raise unknown_name("task", h1, tasks)
    return [hypothesis for hypothesis in HYPOTHESES.values() if hypothesis.name.startswith(f"{h1}.")]


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


def _rows(texts: Dataset, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Give the rows with these columns alone; much faster than a Dataset's own rows."""
    columns = list(columns)
    values = texts.select_columns(columns)[:]
    for row in zip(*(values[column] for column in columns), strict=True):
        yield dict(zip(columns, row, strict=True))


# --- texts of several data sets --------------------------------------------------------------------

POOLED_COLUMNS = ("text", "label", "domain", "document_id", "group", "split")


def pool_texts(
    names: Iterable[str],
    split: str | None = None,
    max_words: int | None = None,
    *,
    sources: Mapping[str, str] | None = None,
) -> Dataset:
    """Load several text data sets as one, with binary labels and a column that says where a row is from.

    Scored sentences get labels as `with_binary_labels` gives them. Of texts that are the same but for case
    and punctuation the first stays, in the order of `names`; where their labels differ none does. Texts
    without a letter or digit are left out.

    Args:
        names: data sets of single texts: movie, product, newspaper, tweets, imdb, rotten_tomatoes, yelp.
        split: "train", "validation", "test", or None for all rows.
        max_words: longer texts are left out.
        sources: data set -> the hub id or folder it is read from, where that is not the published one.

    Returns:
        Rows with `text`, `label`, `domain` (the data set's name), `document_id` (with the data set's name in
        front, since numbers repeat), `group` (shared by documents that share a text) and `split`.

    Raises:
        CourseError: no names, or one twice; a data set without a single text; nothing short enough; what
            `load_texts` raises.
    """
    import pandas as pd
    from datasets import Dataset

    names = [names] if isinstance(names, str) else list(names)
    if not names or len(set(names)) < len(names):
        raise CourseError("A pool needs data sets, each once.", given=names, mend='Use ["movie", "product"].')
    if max_words is not None and max_words < 1:
        raise CourseError("max_words must be at least 1.", given=max_words, mend="Leave it out.")
    sources = dict(sources or {})
    table = pd.concat([_labelled_table(name, split, sources.get(name)) for name in names])
    if max_words is not None:
        table = table[table["text"].str.split().str.len() <= max_words]
    table = _without_copies(table)
    if table.empty:
        raise CourseError("No text is left.", given=max_words, mend="Allow more words, or use more texts.")
    return Dataset.from_pandas(table, preserve_index=False)


def _labelled_table(name: str, split: str | None, source: str | None) -> Any:
    from course_lib.texts import load_texts, with_binary_labels

    texts = load_texts(name, split=split, source=source)
    if "score" in texts.column_names:
        texts = with_binary_labels(texts)
    if "text" not in texts.column_names:
        raise CourseError(
            f"The {name} rows are pairs of texts, and a pool is of single ones.",
            given=name,
            mend="Use `load_texts` for these.",
        )
    table = texts.to_pandas().assign(domain=name)
    table["document_id"] = name + "/" + table["document_id"]
    return table[list(POOLED_COLUMNS)]


def _without_copies(table: Any) -> Any:
    from course_lib.texts import normalise

    keys = table["text"].map(normalise)
    agreed = table["label"].groupby(keys).transform("nunique") == 1
    return table[agreed & ~keys.duplicated() & (keys != "")].reset_index(drop=True)
