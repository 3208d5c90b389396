"""A user's own texts: a soft prompt tuned for them, and its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from course_lib.checks.values import check_count
from course_lib.errors import CourseError
from course_lib.models.loaded import EMBEDDED, ModelAndTokenizer, floating_dtype
from course_lib.models.loading import load_language_model
from course_lib.ppt.adapter_files import check_adapter_folder, read_adapter
from course_lib.ppt.examples import write_examples
from course_lib.ppt.optimisation import PromptTrainingSettings
from course_lib.ppt.patterns import Pattern
from course_lib.ppt.soft_prompt import INITIALISATIONS, Initialisation, initialise, load_soft_prompt
from course_lib.ppt.training import PromptTrainingResult, evaluate_prompt, train_prompt
from course_lib.prompts.verbalizers import Verbalizer
from course_lib.statistics import Interval, share_interval
from course_lib.texts.user_files import number_labels, read_rows

DEVELOPMENT_SHARE = 0.5


def tune_prompt(
    texts: Path | str,
    out: Path | str,
    words: Sequence[str],
    *,
    template: str = "{soft}{text} It was",
    labels: Sequence[str] | None = None,
    start: str = "sample_vocab",
    num_virtual_tokens: int | None = None,
    settings: PromptTrainingSettings | None = None,
    model_source: str = EMBEDDED,
    loaded: ModelAndTokenizer | None = None,
    progress: bool = True,
) -> PromptTrainingResult:
    """Tune a soft prompt on half of a file's rows, choose the step on the other half, and save it.

    Args:
        texts: a file that `read_rows` reads, with `label` and the columns that the template names.
        out: the folder for the PEFT adapter.
        words: label words, one a class.
        template: a pattern, see `Pattern`; it begins with {soft}.
        labels: what the classes are called in the file, in the order of the words; by default the labels are
            whole numbers from 0.
        start: "random", "sample_vocab", or the folder of a pre-trained prompt.
        num_virtual_tokens: rows; 20, or as many as the pre-trained prompt has.
        settings: how to train; the best step on the development half is kept.
        model_source: the language model: "embedded", a folder or a hub id.
        loaded: a loaded model and tokenizer instead of `model_source`.
        progress: whether to show a progress bar.

    Returns:
        The prompt and its curves.

    Raises:
        CourseError: a folder that may not be replaced, see `check_adapter_folder`; a file that cannot be read,
            labels that are none, a class with fewer than two rows, a pattern without {soft}, and what
            `train_prompt` refuses.
    """
    pattern = own_pattern(template, words)
    check_adapter_folder(out)
    if num_virtual_tokens is not None:
        check_count("num_virtual_tokens", num_virtual_tokens)
    if start not in INITIALISATIONS:
        read_adapter(Path(start))
    settings = settings or PromptTrainingSettings(num_steps=60, evaluate_every=10, keep="best")
    rows = labelled_rows(texts, pattern, labels)
    train, development = _halves(rows, pattern.verbalizer.num_labels, settings.seed)
    loaded = loaded or load_language_model(model_source)
    kind: Initialisation = next((name for name in INITIALISATIONS if name == start), "pretrained")
    folder = None if start in INITIALISATIONS else start
    prompt = initialise(kind, loaded, num_virtual_tokens, seed=settings.seed, prompt=folder)
    result = train_prompt(
        loaded, prompt, write_examples(train, [pattern]), pattern.verbalizer, settings,
        development=write_examples(development, [pattern]), progress=progress,
    )  # fmt: skip
    result.prompt.save(
        out, loaded, task={"template": template, "words": list(words), "labels": labels and list(labels)}
    )
    return result


def own_pattern(template: str, words: Sequence[str]) -> Pattern:
    """Return the pattern of a user's own soft prompt.

    Args:
        template: see `Pattern`; it begins with {soft}.
        words: label words, one a class.

    Raises:
        CourseError: what `Pattern` refuses; no place for the soft prompt.
    """
    pattern = Pattern("own", template, Verbalizer(words))
    if not pattern.is_soft:
        raise CourseError(
            "The template has no place for the soft prompt.", given=template, mend="Begin it with {soft}."
        )
    return pattern


def labelled_rows(file: Path | str, pattern: Pattern, labels: Sequence[str] | None) -> list[dict[str, Any]]:
    """Read the columns that a pattern's fields name, and the labels as numbers.

    Args:
        file: a file that `read_rows` reads.
        pattern: how its rows are written.
        labels: as for `number_labels`.

    Raises:
        CourseError: what `read_rows` or `number_labels` refuses.
    """
    rows = read_rows(file, [*pattern.columns, "label"])
    numbers = number_labels(rows, labels, pattern.verbalizer.num_labels)
    return [{**row, "label": number} for row, number in zip(rows, numbers, strict=True)]


def _halves(
    rows: list[dict[str, Any]], num_classes: int, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Part the rows of each class at random."""
    rng = np.random.default_rng(seed)
    train, development = [], []
    for label in range(num_classes):
        own = [row for row in rows if row["label"] == label]
        if len(own) < 2:
            raise CourseError(
                "Each class needs two rows: one to tune on, one to choose on.",
                given=f"class {label}: {len(own)}",
                mend="Give more rows, or name only the labels that occur.",
            )
        order = rng.permutation(len(own)).tolist()
        half = max(1, int(len(own) * DEVELOPMENT_SHARE))
        development += [own[place] for place in order[:half]]
        train += [own[place] for place in order[half:]]
    return train, development


# --- predictions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class PromptPredictions:
    """What a model answers to the rows of a file, behind a soft prompt.

    Args:
        rows: the columns that were read, one mapping a row.
        names: what each class is called, in the order of the label words.
        probabilities: float array [n, num_classes]; those of the label words, which add up to 1.
        given: the file's labels as numbers, where they were read.
    """

    rows: list[dict[str, Any]]
    names: tuple[str, ...]
    probabilities: np.ndarray
    given: tuple[int, ...] | None = None

    @property
    def predicted(self) -> np.ndarray:
        """The number of the most probable class, int array [n]."""
        return self.probabilities.argmax(axis=1)

    @property
    def accuracy(self) -> Interval:
        """The share of rows whose class is the given one, with its 95 % interval over rows.

        Raises:
            CourseError: no labels were read.
        """
        if self.given is None:
            raise CourseError(
                "These predictions have no labels to be compared with.", mend="Read some with them."
            )
        return share_interval(int((self.predicted == self.given).sum()), len(self.given))

    def shares(self) -> pd.DataFrame:
        """Return the share of each class: among the predictions, and among the labels where they were read."""
        counted = {"predicted": self.predicted} | ({} if self.given is None else {"given": self.given})
        columns = {
            name: np.bincount(values, minlength=len(self.names)) / len(self.rows)
            for name, values in counted.items()
        }
        return pd.DataFrame({"label": self.names, **columns})

    def table(self) -> pd.DataFrame:
        """Return a row for each row of the file: row (from 1), what was read, predicted, each class's probability."""
        read = pd.DataFrame(self.rows)
        if self.given is not None:
            read["label"] = [self.names[number] for number in self.given]
        read.insert(0, "row", range(1, len(read) + 1))
        answers: dict[str, Any] = {"predicted": [self.names[number] for number in self.predicted]}
        answers |= {f"p_{name}": self.probabilities[:, number] for number, name in enumerate(self.names)}
        return pd.concat([read, pd.DataFrame(answers)], axis=1)


def predict_texts(
    texts: Path | str,
    prompt: Path | str,
    *,
    labelled: bool = False,
    words: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    template: str | None = None,
    model_source: str = EMBEDDED,
    dtype: str | None = None,
    device: str | None = None,
    batch_size: int = 32,
    loaded: ModelAndTokenizer | None = None,
) -> PromptPredictions:
    """Predict the classes of a file's rows behind a tuned soft prompt.

    Everything but the model is read and checked before the model is loaded.

    Args:
        texts: a file that `read_rows` reads, with the columns that the template names.
        prompt: the folder that `tune_prompt`, or PEFT, wrote.
        labelled: whether the file has a column `label` to compare with.
        words: label words, one a class; those that the prompt was tuned with by default.
        labels: what the classes are called, in the order of the words; as when it was tuned by default, or 0, 1, ….
        template: the pattern; that of the tuning by default.
        model_source: the language model: "embedded", a folder or a hub id.
        dtype: "float32" (the default), "bfloat16" or "float16".
        device: see `choose_device`.
        batch_size: rows at a time; the answers do not depend on it.
        loaded: a loaded model and tokenizer instead of the last four.

    Returns:
        The predictions.

    Raises:
        CourseError: no prompt, or one for another model; no words or template, neither given nor kept with the
            prompt; a file or labels that cannot be read; a row that does not fit into the model's context.
    """
    check_count("batch_size", batch_size)
    floating_dtype(dtype or "float32")
    kept = dict(read_adapter(Path(prompt)).task or {})
    pattern = _pattern_of(kept, words, template, prompt)
    labels = labels if labels is not None or words is not None else kept.get("labels")
    names = tuple(map(str, range(pattern.verbalizer.num_labels) if labels is None else labels))
    if len(set(names)) != pattern.verbalizer.num_labels or len(names) != pattern.verbalizer.num_labels:
        raise CourseError(
            "There must be as many labels as label words, none twice.",
            given=list(names),
            mend="Name a label for each word, in the same order.",
        )
    rows = labelled_rows(texts, pattern, labels) if labelled else read_rows(texts, pattern.columns)
    given = tuple(row["label"] for row in rows) if labelled else None
    examples = [{"text": pattern.text(row), "label": row["label"] if labelled else 0} for row in rows]
    loaded = loaded or load_language_model(model_source, dtype=dtype or "float32", device=device)
    tuned = load_soft_prompt(prompt, loaded)
    scores = evaluate_prompt(loaded, tuned, examples, pattern.verbalizer, batch_size=batch_size).logits
    return PromptPredictions(rows, names, _shares_of(scores), given)


def _pattern_of(
    kept: dict[str, Any], words: Sequence[str] | None, template: str | None, prompt: Path | str
) -> Pattern:
    words, template = words or kept.get("words"), template or kept.get("template")
    if not words or not template:
        raise CourseError(
            "The prompt's folder does not say how texts are written for it.",
            given=str(prompt),
            mend="Give the label words and the template that it was tuned with.",
        )
    return own_pattern(template, words)


def _shares_of(scores: Any) -> Any:
    return softmax(scores, axis=1)
