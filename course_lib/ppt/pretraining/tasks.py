"""What the shipped prompts are pre-trained on: examples out of the embedded documents, by side.

Documents of the train side are trained on, those of the validation side give the curve and every choice,
those of the test side the figure that is reported. No sentence of a downstream test set is among them, and
no sentence stands on two sides.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from course_lib.checks import check_seed
from course_lib.errors import CourseError, unknown_name
from course_lib.locations import cache_folder, cache_trouble, written_whole
from course_lib.models import EMBEDDED
from course_lib.ppt.patterns import SINGLE_WORDS, Pattern, find_pattern, unified_pattern
from course_lib.ppt.pretraining.documents import (
    Example,
    build_cls_examples,
    build_nsp_examples,
    build_nss_examples,
    build_unified_examples,
    labeller_texts,
    split_sentences,
    train_labeller,
)
from course_lib.runs import profile
from course_lib.texts import SPLITS, load_texts, normalise, sample_texts

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

TASK_NAMES = ("pair", "choice", "single", "unified")
# Where documents come from. Of the newspaper and the product reviews the train side alone is read, and its
# documents are divided again: their other sides belong to downstream tasks.
SOURCES = ("newspaper", "product", "imdb")
DIVIDED = ("newspaper", "product")
# Of the divided documents, one in so many goes to the validation side and one to the test side.
DIVISOR = 8
# The labeller learns from the newspaper, so only other sentences get its labels.
SINGLE_SOURCES = ("product", "imdb")
# What the labeller must not have learnt from, since sentiment is tuned on these later.
LABELLER_AVOIDS = ("movie", "product")
# Downstream data set -> its columns of texts, and the sides that are measured on.
DOWNSTREAM: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "movie": (("text",), ("test",)),
    "product": (("text",), ("test",)),
    "snli": (("premise", "hypothesis"), ("test",)),
    "newspaper": (("text",), ("validation", "test")),
}
# Longest sentence in tokens: seven of 20 make an example of about 120.
MAX_TOKENS = {"pair": 30, "choice": 20, "single": 30, "unified": 20}
# Shortest: "I agree." could stand beside anything.
MIN_TOKENS = 7
NUM_OPTIONS = 6
UNIFIED_OPTIONS = {"smoke": 6, "default": 6, "full": 16}
# Of 25,000 reviews so many of each side are read, evenly spread: more than the examples of a run need.
NUM_REVIEWS = {"train": 2000, "validation": 400, "test": 400}
MIN_SENTENCES = 4
# 16 options need sentences of 15 other documents, and some documents share theirs.
MIN_DOCUMENTS = 20
# The pseudo-labels' thresholds; the published ones are made for a larger labeller. Of 1,000 IMDb sentences of
# the validation side, the published ones keep 0, 147, 0, 58 and 47 from terrible to great, these about 160,
# 330, 220, 120 and 80. As in the published ones, the outer classes ask for more than the inner ones.
THRESHOLDS = (0.5, 0.4, 0.4, 0.4, 0.5)
LABELLED_FILE = "pseudo_labels.jsonl"


class CorpusSettings(NamedTuple):
    """Which sentences the examples are made of.

    Args:
        max_tokens: longest sentence.
        num_reviews: IMDb reviews of the train side; of the others a fifth as many.
        min_tokens: shortest sentence.
    """

    max_tokens: int = 30
    num_reviews: int = NUM_REVIEWS["train"]
    min_tokens: int = MIN_TOKENS


# --- examples --------------------------------------------------------------------------------------


def pretraining_examples(
    task: str,
    split: str,
    num_examples: int,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int = 0,
    kinds: Sequence[str] = ("hybrid",),
    max_options: int | None = None,
    max_tokens: int | None = None,
    num_reviews: int = NUM_REVIEWS["train"],
    labelled: PseudoLabels | None = None,
) -> Dataset:
    """Build what `pretrain_prompt` takes for one of the four tasks.

    Args:
        task: "pair", "choice" (6 options), "single" or "unified".
        split: "train" to train on, "validation" for the curve and every choice, "test" for the figure that
            is reported.
        num_examples: how many.
        tokenizer: counts the tokens of a sentence.
        seed: seed of the draws and of the order.
        kinds: kinds of pattern that take turns, so that the prompt is good for each of them.
        max_options: most options of the unified task; 6, and 16 in the profile "full", by default.
        max_tokens: longest sentence; `MAX_TOKENS` by default.
        num_reviews: IMDb reviews of the train side; of the others a fifth as many.
        labelled: the sentences with pseudo-labels, for "single" only; `pseudo_labels` by default.

    Returns:
        Rows with `text`, `label`, `num_options`, shuffled.

    Raises:
        CourseError: unknown task, split or kind; too few documents or sentences.
    """
    rows = pretraining_rows(
        task, split, num_examples, tokenizer,
        seed=seed, max_options=max_options, max_tokens=max_tokens, num_reviews=num_reviews, labelled=labelled,
    )  # fmt: skip
    return write_examples(rows, [task_pattern(task, kind, max_options) for kind in kinds])


def pretraining_rows(
    task: str,
    split: str,
    num_examples: int,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int = 0,
    max_options: int | None = None,
    max_tokens: int | None = None,
    num_reviews: int = NUM_REVIEWS["train"],
    labelled: PseudoLabels | None = None,
) -> list[Example]:
    """Build the rows of `pretraining_examples` before a pattern writes them; the arguments are the same."""
    if task not in TASK_NAMES:
        raise unknown_name("task", task, TASK_NAMES)
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    check_seed(seed)
    # a generator of its own for each side
    own_seed = (seed * len(SPLITS) + SPLITS.index(split)) % 2**32
    corpus = CorpusSettings(max_tokens or MAX_TOKENS[task], num_reviews)
    if task == "single":
        labelled = labelled or pseudo_labels(tokenizer, corpus)
        sentences, probabilities = labelled.side(split)
        return build_cls_examples(
            sentences, probabilities, num_examples, own_seed,
            thresholds=THRESHOLDS, excluded=downstream_sentences(),
        )  # fmt: skip
    build = _builder(task, max_options)
    documents = mixed_documents(sides(tokenizer, corpus)[split])
    rows = list(build(documents, num_examples, own_seed, excluded=downstream_sentences()))
    random.Random(own_seed).shuffle(rows)
    return rows


def write_examples(rows: Sequence[Example], patterns: Sequence[Pattern]) -> Dataset:
    """Write rows with patterns that take turns.

    Args:
        rows: as `pretraining_rows` gives.
        patterns: one or several, with as many label words each.

    Returns:
        Rows with `text`, `label` and `num_options`.

    Raises:
        CourseError: no pattern, or a row that a pattern does not fit.
    """
    from datasets import Dataset

    if not patterns:
        raise CourseError("There is no pattern to write with.", given=[], mend="Use kinds=('hybrid',).")
    written = []
    for number, row in enumerate(rows):
        pattern = patterns[number % len(patterns)]
        written.append(
            {"text": pattern.text(row), "label": row["label"], "num_options": pattern.num_labels(row)}
        )
    return Dataset.from_list(written)


def task_pattern(task: str, kind: str = "hybrid", max_options: int | None = None) -> Pattern:
    """Give the pattern of a pre-training task; the unified one with the letters that its options need."""
    if task == "unified":
        return unified_pattern(kind, max_options=max_options or unified_options())
    return find_pattern(task, kind)


def unified_options() -> int:
    """Give the most options of the unified task in this profile."""
    return UNIFIED_OPTIONS[profile().name]


def _builder(task: str, max_options: int | None) -> Callable[..., Iterator[Example]]:
    if task == "pair":
        return functools.partial(build_nsp_examples, elsewhere_by="source")
    if task == "choice":
        return functools.partial(build_nss_examples, num_options=NUM_OPTIONS, elsewhere_by="source")
    most = max_options or unified_options()
    return functools.partial(build_unified_examples, max_options=most, elsewhere_by="source")


# --- documents -------------------------------------------------------------------------------------


@functools.cache
def downstream_sentences() -> frozenset[str]:
    """Give every sentence that a downstream task is measured on, of which none may be trained on."""
    found: set[str] = set()
    for name, (columns, splits) in DOWNSTREAM.items():
        for split in splits:
            rows = load_texts(name, split=split)
            for column in columns:
                found.update(rows[column][:])
    return frozenset(found)


def mixed_documents(sources: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Shuffle the documents of all sources together, none of which gives more than half of them.

    A sentence from elsewhere is of another source, as two pages of the Web are seldom of one kind. Among film
    reviews alone, no probe of the embedded model's hidden states tells whether two sentences are of one
    document.

    Args:
        sources: source -> rows with `document_id`, those of one document in a run.

    Returns:
        The rows, those of one document in a run; always in the same order.

    Raises:
        CourseError: fewer documents than sixteen options need.
    """
    documents = {
        name: [list(rows) for _, rows in itertools.groupby(source, key=lambda row: row["document_id"])]
        for name, source in sources.items()
    }
    draw = random.Random(0)
    total = sum(len(each) for each in documents.values())
    mixed = []
    for each in documents.values():
        draw.shuffle(each)
        others = total - len(each)
        mixed += each[:others] if others else each
    if len(mixed) < MIN_DOCUMENTS:
        raise CourseError(
            f"There are fewer than {MIN_DOCUMENTS} documents of {MIN_SENTENCES} short sentences on this side.",
            given=len(mixed),
            mend="Read more reviews (num_reviews), or allow longer sentences (max_tokens).",
        )
    draw.shuffle(mixed)
    return [row for document in mixed for row in document]


def sides(
    tokenizer: PreTrainedTokenizerBase, corpus: CorpusSettings
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Give the documents' short sentences of every side and source.

    A sentence that is too long or too short, or that a downstream task is measured on, leaves its place
    empty, and so does one that stands on an earlier side already. Documents of fewer than four sentences are
    left out.

    Args:
        tokenizer: counts the tokens of a sentence.
        corpus: which sentences count.

    Returns:
        Side -> source -> rows with `document_id`, `position` and `text`.
    """
    return _sides(tokenizer, corpus)


# more than one, so that two tasks with sentences of different lengths do not push each other out
@functools.lru_cache(maxsize=2)
def _sides(
    tokenizer: PreTrainedTokenizerBase, corpus: CorpusSettings
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    taken = {normalise(text) for text in downstream_sentences()} | {""}
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for split in SPLITS:
        read = {name: _short_sentences(name, split, tokenizer, corpus) for name in SOURCES}
        kept = {
            name: _long_documents([row for row in rows if row["key"] not in taken])
            for name, rows in read.items()
        }
        found[split] = {name: rows for name, rows in kept.items() if rows}
        # of what is left out here, nothing may stand on a later side either
        taken |= {row["key"] for rows in read.values() for row in rows}
    return found


def _short_sentences(
    name: str, split: str, tokenizer: PreTrainedTokenizerBase, corpus: CorpusSettings
) -> list[dict[str, Any]]:
    rows = _sentences(name, split, corpus.num_reviews)
    if not rows:
        return []
    ids = tokenizer([row["text"] for row in rows], add_special_tokens=False)["input_ids"]
    shortest, longest = corpus.min_tokens, corpus.max_tokens
    return [row for row, tokens in zip(rows, ids, strict=True) if shortest <= len(tokens) <= longest]


def _sentences(name: str, split: str, num_reviews: int) -> list[dict[str, Any]]:
    if name in DIVIDED:
        texts = load_texts(name, split="train")
        columns = (texts[column][:] for column in ("document_id", "position", "text"))
        rows = [_row(name, *values) for values in zip(*columns, strict=True)]
        return [row for row in rows if _side(row["document_id"]) == split]
    texts = load_texts(name, split=split)
    number = num_reviews if split == "train" else max(1, num_reviews // 5)
    # the published order is by label, so a beginning would be all of one
    step = max(1, len(texts) // number)
    chosen = texts.select(range(0, len(texts), step)[:number])
    return [
        _row(name, document, position, sentence)
        for document, review in zip(chosen["document_id"][:], chosen["text"][:], strict=True)
        for position, sentence in enumerate(split_sentences(review))
    ]


@functools.cache
def _side(document: str) -> str:
    number = int.from_bytes(hashlib.sha256(document.encode()).digest()[:8], "big") % DIVISOR
    return {0: "validation", 1: "test"}.get(number, "train")


def _row(source: str, document: str, position: int, text: str) -> dict[str, Any]:
    return {
        "document_id": f"{source}/{document}",
        "source": source,
        "position": position,
        "text": text,
        "key": normalise(text),
    }


def _long_documents(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the rows of documents with sentences enough."""
    documents: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        documents.setdefault(row["document_id"], []).append(row)
    return [row for document in documents.values() if _has_choices(document) for row in document]


def _has_choices(document: list[dict[str, Any]]) -> bool:
    places = {row["position"] for row in document}
    return len(document) >= MIN_SENTENCES and any(place + 1 in places for place in places)


# --- pseudo-labels ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabellerSettings:
    """How the labeller of the single sentences is trained.

    Its texts are drawn with as many of each class: trained on all, where the outer classes are rare, it hardly
    ever gives these.

    Args:
        num_steps: optimizer steps of 16 sentences.
        learning_rate: peak learning rate.
        seed: seed of its head, of its texts and of the order of the batches.
        source: the encoder, as `load_classifier` takes it.
    """

    num_steps: int = 200
    learning_rate: float = 2e-4
    seed: int = 0
    source: str = EMBEDDED


@dataclass(frozen=True)
class PseudoLabels:
    """Sentences and what the labeller says of them.

    Args:
        rows: mappings with `split`, `text` and `probabilities` (five, from terrible to great).
        labeller: its `accuracy`, `confidence`, `calibration_error` and `domains`.
    """

    rows: list[dict[str, Any]]
    labeller: dict[str, Any]

    def side(self, split: str) -> tuple[list[str], np.ndarray]:
        """Give the sentences of a side, and their probabilities [n, 5]."""
        import numpy as np

        rows = [row for row in self.rows if row["split"] == split]
        if not rows:
            raise CourseError(
                f"No {split} sentence has pseudo-labels.", given=len(self.rows), mend="Read more reviews."
            )
        return [row["text"] for row in rows], np.array([row["probabilities"] for row in rows])


def pseudo_labels(
    tokenizer: PreTrainedTokenizerBase,
    corpus: CorpusSettings | None = None,
    settings: LabellerSettings | None = None,
    *,
    file: Path | None = None,
    progress: bool = False,
) -> PseudoLabels:
    """Give the single sentences with the labels of a model that learnt from newspaper and tweets.

    They are kept in one file, so that a resumed run sees the same sentences with the same labels.

    Args:
        tokenizer: counts the tokens of a sentence.
        corpus: which sentences count.
        settings: how the labeller is trained.
        file: where they are kept; in the cache by default. With other settings it is made anew.
        progress: whether to show a progress bar.

    Returns:
        The sentences of all sides.

    Raises:
        CourseError: as `train_labeller`; a damaged file.
    """
    corpus, settings = corpus or CorpusSettings(), settings or LabellerSettings()
    file = file or cache_folder() / "runs" / "ppt" / LABELLED_FILE
    identity = {**corpus._asdict(), **asdict(settings), "sentences": ""}
    sentences = [
        (split, row["text"])
        for split, sources in sides(tokenizer, corpus).items()
        for name in SINGLE_SOURCES
        for row in sources.get(name, [])
    ]
    identity["sentences"] = hashlib.sha256(repr(sentences).encode()).hexdigest()
    found = _read_labelled(file, identity)
    if found is None:
        found = _label(sentences, settings, progress)
        _write_labelled(file, identity, found)
    return found


def label_counts(labelled: PseudoLabels, thresholds: Sequence[float]) -> dict[str, list[int]]:
    """Count the sentences of each side and class that pass the thresholds.

    Args:
        labelled: the sentences.
        thresholds: for each class, what the probability of the most probable class must exceed.

    Returns:
        Side -> five counts, from terrible to great.
    """
    import numpy as np

    counts = {}
    for split in SPLITS:
        table = labelled.side(split)[1]
        labels = table.argmax(axis=1)
        sure = table.max(axis=1) > np.array(thresholds)[labels]
        counts[split] = np.bincount(labels[sure], minlength=len(thresholds)).tolist()
    return counts


def _label(sentences: list[tuple[str, str]], settings: LabellerSettings, progress: bool) -> PseudoLabels:
    from course_lib.finetuning import FinetuningSettings

    texts = labeller_texts(LABELLER_AVOIDS)
    scarcest = min(Counter(texts["label"][:]).values())
    labeller = train_labeller(
        sample_texts(texts, scarcest * len(SINGLE_WORDS), seed=settings.seed),
        labeller_texts(LABELLER_AVOIDS, split="validation"),
        LABELLER_AVOIDS,
        FinetuningSettings(
            num_steps=settings.num_steps, learning_rate=settings.learning_rate, seed=settings.seed
        ),
        source=settings.source,
        progress=progress,
    )
    probabilities = labeller.probabilities([text for _, text in sentences])
    rows = [
        {"split": split, "text": text, "probabilities": [round(float(value), 6) for value in row]}
        for (split, text), row in zip(sentences, probabilities, strict=True)
    ]
    measures = {name: getattr(labeller, name) for name in ("accuracy", "confidence", "calibration_error")}
    return PseudoLabels(rows, {**measures, "domains": list(labeller.domains)})


def _read_labelled(file: Path, identity: dict[str, Any]) -> PseudoLabels | None:
    if not file.is_file():
        return None
    try:
        head, *rows = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
        found = PseudoLabels(rows, head["labeller"])
        is_whole = head["num_rows"] == len(rows)
    except (ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise CourseError(
            "The file of pseudo-labels is damaged.", given=str(file), mend="Delete it; it is made again."
        )
    return found if head["identity"] == identity else None


def _write_labelled(file: Path, identity: dict[str, Any], labelled: PseudoLabels) -> None:
    head = {"identity": identity, "labeller": labelled.labeller, "num_rows": len(labelled.rows)}
    with cache_trouble("the pseudo-labels"), written_whole(file) as temporary:
        lines = (json.dumps(row) for row in (head, *labelled.rows))
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
