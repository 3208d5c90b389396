"""The labeller of single sentences: a sentiment model of five classes, and the pseudo-labels that it gives."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from scipy.special import softmax
from transformers import PreTrainedTokenizerBase

from course_lib.checks.calls import border, check_choice, check_fields, optional
from course_lib.checks.tables import dataset_with
from course_lib.checks.types import Count, Flag, Positive, Seed
from course_lib.checks.values import check_path, check_texts
from course_lib.errors import CourseError
from course_lib.finetuning.evaluating import evaluate
from course_lib.finetuning.loop import FinetuningSettings, finetune
from course_lib.locations import cache_folder, cache_trouble, written_whole
from course_lib.models.loaded import EMBEDDED, ModelAndTokenizer, ModelSource
from course_lib.models.loading import load_classifier
from course_lib.ppt.patterns import SINGLE_WORDS
from course_lib.ppt.pretraining.documents import CorpusSettings, sides
from course_lib.prompts.verbalizers import a_tokenizer
from course_lib.statistics import expected_calibration_error
from course_lib.texts.loading import load_texts
from course_lib.texts.sampling import sample_texts
from course_lib.texts.sources import Split

# Human scores from -4 to 4 in five classes.
SCORE_EDGES = (-1.5, -0.5, 0.5, 1.5)
# Text data sets -> their domain. A labeller never learns from the downstream task's own.
DOMAINS = {
    "movie": "movie",
    "imdb": "movie",
    "rotten_tomatoes": "movie",
    "product": "product",
    "yelp": "business",
    "newspaper": "newspaper",
    "tweets": "tweets",
    "snli": "captions",
}
SCORED_TEXTS = ("movie", "product", "newspaper", "tweets")
# The labeller learns from the newspaper, so only other sentences get its labels.
SINGLE_SOURCES = ("product", "imdb")
# What the labeller must not have learnt from, since sentiment is tuned on these later.
LABELLER_AVOIDS = ("movie", "product")
LABELLED_FILE = "pseudo_labels.jsonl"


@dataclass(frozen=True)
class Labeller:
    """A sentiment model of five classes, and how good it is on texts that it did not learn from.

    Args:
        classifier: model mapping token ids [B, T] to logits [B, 5], and its tokenizer.
        accuracy: share of held-out sentences whose class it gives.
        confidence: mean probability of the class it gives, on the same sentences.
        calibration_error: expected calibration error on the same sentences.
        domains: the domains it learnt from.
    """

    classifier: ModelAndTokenizer
    accuracy: float
    confidence: float
    calibration_error: float
    domains: tuple[str, ...]

    def probabilities(self, sentences: Sequence[str], *, batch_size: int = 64) -> np.ndarray:
        """Return what the model says of sentences.

        Args:
            sentences: the sentences.
            batch_size: sentences at a time.

        Returns:
            Float array [n, 5]; each row sums to 1.

        Raises:
            CourseError: if there are no sentences.
        """
        sentences = check_texts("sentences", sentences)
        rows = Dataset.from_dict({"text": sentences, "label": [0] * len(sentences)})
        return softmax(evaluate(self.classifier, rows, batch_size=batch_size).logits, axis=1)


@border()
def labeller_texts(downstream: str | Sequence[str], *, split: Split = "train") -> Dataset:
    """Return the sentences with human scores from every domain but the downstream tasks', in five classes.

    Args:
        downstream: the text data set of the downstream task, one of `DOMAINS`, or those of several tasks.
        split: "train", "validation" or "test".

    Returns:
        Rows with `text`, `label` (0 to 4, the score cut at -1.5, -0.5, 0.5 and 1.5) and `domain`.

    Raises:
        CourseError: unknown data set or split; no domain left.
    """
    avoided = _domains_of(downstream)
    names = [name for name in SCORED_TEXTS if DOMAINS[name] not in avoided]
    if not names:
        raise CourseError(
            "No domain with human scores is left to learn from.",
            given=downstream,
            mend=f"Name fewer downstream tasks; the scored texts are {', '.join(SCORED_TEXTS)}.",
        )
    parts = []
    for name in names:
        rows = load_texts(name, split=split)
        labels = np.searchsorted(SCORE_EDGES, rows["score"][:], side="right").tolist()
        parts.append(
            Dataset.from_dict(
                {"text": rows["text"][:], "label": labels, "domain": [DOMAINS[name]] * len(rows)}
            )
        )
    return concatenate_datasets(parts)


@border(texts=dataset_with("domain"), heldout=dataset_with("domain"))
def train_labeller(
    texts: Dataset,
    heldout: Dataset,
    downstream: str | Sequence[str],
    settings: FinetuningSettings | None = None,
    *,
    model_source: ModelSource = EMBEDDED,
    progress: Flag = True,
) -> Labeller:
    """Fine-tune an encoder to give sentences one of five sentiments.

    Args:
        texts: rows with `text`, `label` from 0 to 4 and `domain`, as `labeller_texts` gives.
        heldout: the same, to measure it on.
        downstream: the text data set that the prompt is later tuned on, or several: none of their domains
            may be among the texts'.
        settings: how to fine-tune.
        model_source: the encoder: "embedded", a folder or a hub id.
        progress: whether to show a progress bar.

    Returns:
        The labeller with its measures.

    Raises:
        CourseError: texts without a `domain`, or of the downstream task's own domain, whose labels would
            leak into the pre-training; what `finetune` raises.
    """
    domains = _refuse_own_domain(texts, downstream)
    _refuse_own_domain(heldout, downstream)
    seed = settings.seed if settings else 0
    classifier = load_classifier(model_source, num_labels=len(SINGLE_WORDS), seed=seed)
    finetune(classifier, texts, settings, progress=progress)
    measured = evaluate(classifier, heldout)
    return Labeller(
        classifier=classifier,
        accuracy=measured.accuracy,
        confidence=float(softmax(measured.logits, axis=1).max(axis=1).mean()),
        calibration_error=expected_calibration_error(measured.logits, measured.labels),
        domains=domains,
    )


def _refuse_own_domain(texts: Dataset, downstream: str | Sequence[str]) -> tuple[str, ...]:
    avoided = _domains_of(downstream)
    domains = tuple(sorted(set(texts["domain"][:])))
    own = sorted(avoided & set(domains))
    if own:
        raise CourseError(
            f"The labeller would learn from the {' and '.join(own)} texts, the domain of the downstream task "
            "itself: what their raters said would leak into the pre-trained prompt.",
            given=downstream,
            mend="Use `labeller_texts(downstream)`, which leaves that domain out.",
        )
    return domains


def _domains_of(names: str | Sequence[str]) -> set[str]:
    names = check_texts("downstream", [names] if isinstance(names, str) else names)
    for name in names:
        check_choice("text with a known domain", name, DOMAINS)
    return {DOMAINS[name] for name in names}


# --- pseudo-labels --------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabellerSettings:
    """How the labeller of the single sentences is trained.

    Its texts are drawn with as many of each class: trained on all, where the outer classes are rare, it hardly
    ever gives these.

    Args:
        num_steps: optimizer steps of 16 sentences.
        learning_rate: peak learning rate.
        seed: seed of its head, of its texts and of the order of the batches.
        source: the encoder: "embedded", a folder or a hub id.

    Raises:
        CourseError: a setting out of its range.
    """

    num_steps: Count = 200
    learning_rate: Positive = 2e-4
    seed: Seed = 0
    source: ModelSource = EMBEDDED

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class PseudoLabels:
    """Sentences and what the labeller says of them.

    Args:
        rows: mappings with `split`, `text` and `probabilities` (five, from terrible to great).
        labeller: its `accuracy`, `confidence`, `calibration_error` and `domains`.
    """

    rows: list[dict[str, Any]]
    labeller: dict[str, Any]

    def side(self, split: Split) -> tuple[list[str], np.ndarray]:
        """Return the sentences of a side, and their probabilities [n, 5]."""
        rows = [row for row in self.rows if row["split"] == split]
        if not rows:
            raise CourseError(
                f"No {split} sentence has pseudo-labels.", given=len(self.rows), mend="Read more reviews."
            )
        return [row["text"] for row in rows], np.array([row["probabilities"] for row in rows])


@border(tokenizer=a_tokenizer, file=optional(check_path))
def pseudo_labels(
    tokenizer: PreTrainedTokenizerBase,
    corpus: CorpusSettings | None = None,
    settings: LabellerSettings | None = None,
    *,
    file: Path | None = None,
    progress: Flag = False,
) -> PseudoLabels:
    """Return the single sentences with the labels of a model that learnt from newspaper and tweets.

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
        CourseError: what `train_labeller` refuses; a damaged file.
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


def _label(sentences: list[tuple[str, str]], settings: LabellerSettings, progress: bool) -> PseudoLabels:
    texts = labeller_texts(LABELLER_AVOIDS)
    scarcest = min(Counter(texts["label"][:]).values())
    labeller = train_labeller(
        sample_texts(texts, scarcest * len(SINGLE_WORDS), seed=settings.seed),
        labeller_texts(LABELLER_AVOIDS, split="validation"),
        LABELLER_AVOIDS,
        FinetuningSettings(
            num_steps=settings.num_steps, learning_rate=settings.learning_rate, seed=settings.seed
        ),
        model_source=settings.source,
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
