"""Predictions for a user's own texts, behind a soft prompt that was tuned for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.checks import check_count
from course_lib.errors import CourseError
from course_lib.models import EMBEDDED, ModelAndTokenizer, floating_dtype, load_language_model
from course_lib.ppt.adapter_files import read_adapter
from course_lib.ppt.patterns import Pattern
from course_lib.ppt.soft_prompt import load_soft_prompt
from course_lib.ppt.training import evaluate_prompt
from course_lib.ppt.user_tuning import labelled_rows, own_pattern
from course_lib.statistics import Interval, share_interval
from course_lib.texts.user_files import read_rows

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


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
        """Give the share of each class: among the predictions, and among the labels where they were read."""
        import numpy as np
        import pandas as pd

        counted = {"predicted": self.predicted} | ({} if self.given is None else {"given": self.given})
        columns = {
            name: np.bincount(values, minlength=len(self.names)) / len(self.rows)
            for name, values in counted.items()
        }
        return pd.DataFrame({"label": self.names, **columns})

    def table(self) -> pd.DataFrame:
        """Give a row for each row of the file: row (from 1), what was read, predicted, each class's probability."""
        import pandas as pd

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
    source: str = EMBEDDED,
    dtype: str | None = None,
    device: str | None = None,
    batch_size: int = 32,
    language_model: ModelAndTokenizer | None = None,
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
        source: the language model, as `load_language_model` takes it.
        dtype: "float32" (the default), "bfloat16" or "float16".
        device: see `choose_device`.
        batch_size: rows at a time; the answers do not depend on it.
        language_model: a loaded one instead of the last four.

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
    loaded = language_model or load_language_model(source, dtype=dtype or "float32", device=device)
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
    from scipy.special import softmax

    return softmax(scores, axis=1)
