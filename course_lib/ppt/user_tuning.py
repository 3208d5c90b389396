"""Prompt tuning of a user's own language model on a user's own texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_lib.checks import check_count
from course_lib.errors import CourseError
from course_lib.models import EMBEDDED, ModelAndTokenizer, load_language_model
from course_lib.ppt.adapter_files import check_adapter_folder, read_adapter
from course_lib.ppt.patterns import Pattern
from course_lib.ppt.pretraining.tasks import write_examples
from course_lib.ppt.soft_prompt import KINDS, initialise
from course_lib.ppt.training import PromptTrainingResult, PromptTrainingSettings, train_prompt
from course_lib.prompts.verbalizers import Verbalizer
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
    source: str = EMBEDDED,
    language_model: ModelAndTokenizer | None = None,
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
        source: the language model, as `load_language_model` takes it.
        language_model: a loaded one instead.
        progress: whether to show a progress bar.

    Returns:
        The prompt and its curves.

    Raises:
        CourseError: a folder that may not be replaced, see `check_adapter_folder`; a file that cannot be read,
            labels that are none, a class with fewer than two rows, a pattern without {soft}, and as `train_prompt`.
    """
    pattern = own_pattern(template, words)
    check_adapter_folder(out)
    if num_virtual_tokens is not None:
        check_count("num_virtual_tokens", num_virtual_tokens)
    if start not in KINDS:
        read_adapter(Path(start))
    settings = settings or PromptTrainingSettings(num_steps=60, evaluate_every=10, keep="best")
    rows = labelled_rows(texts, pattern, labels)
    train, development = _halves(rows, pattern.verbalizer.num_labels, settings.seed)
    loaded = language_model or load_language_model(source)
    if start in KINDS:
        prompt = initialise(start, loaded, num_virtual_tokens, seed=settings.seed)
    else:
        prompt = initialise("pretrained", loaded, num_virtual_tokens, prompt=start)
    result = train_prompt(
        loaded, prompt, write_examples(train, [pattern]), pattern.verbalizer, settings,
        development=write_examples(development, [pattern]), progress=progress,
    )  # fmt: skip
    result.prompt.save(
        out, loaded, task={"template": template, "words": list(words), "labels": labels and list(labels)}
    )
    return result


def own_pattern(template: str, words: Sequence[str]) -> Pattern:
    """Give the pattern of a user's own soft prompt.

    Args:
        template: see `Pattern`; it begins with {soft}.
        words: label words, one a class.

    Raises:
        CourseError: as `Pattern`; no place for the soft prompt.
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
        CourseError: as `read_rows` and `number_labels`.
    """
    rows = read_rows(file, [*pattern.columns, "label"])
    numbers = number_labels(rows, labels, pattern.verbalizer.num_labels)
    return [{**row, "label": number} for row, number in zip(rows, numbers, strict=True)]


def _halves(
    rows: list[dict[str, Any]], num_classes: int, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Part the rows of each class at random."""
    import numpy as np

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
