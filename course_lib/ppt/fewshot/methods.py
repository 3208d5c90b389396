"""The methods that learn from few examples: kind of pattern, beginning of the prompt, learning rates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from course_lib.checks.calls import check_fields
from course_lib.checks.types import Flag, Text
from course_lib.errors import CourseError
from course_lib.locations import data_folder
from course_lib.models.loaded import ModelAndTokenizer
from course_lib.ppt.fewshot.tasks import FewShotTask, find_named
from course_lib.ppt.patterns import Kind
from course_lib.ppt.soft_prompt import Initialisation, SoftPrompt, initialise


@dataclass(frozen=True)
class FewShotMethod:
    """A way to learn a task from few examples.

    Args:
        name: for tables.
        kind: of the pattern: "hard", "soft" or "hybrid".
        initialisation: how the soft prompt begins: "random", "sample_vocab", "text" or "pretrained"; None to
            train all weights of a copy of the language model instead.
        unified: whether the task is asked as multiple choice.

    Raises:
        CourseError: a soft prompt with a hard pattern, or all weights with a soft one.
    """

    name: Text
    kind: Kind
    initialisation: Initialisation | None
    unified: Flag = False

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.kind == "hard") != (self.initialisation is None):
            raise CourseError(
                "A hard pattern goes with tuning of the whole model, the others with a soft prompt.",
                given=(self.kind, self.initialisation),
                mend="Use kind='hard' and initialisation=None, or give both others.",
            )


METHODS: dict[str, FewShotMethod] = {
    method.name: method
    for method in (
        FewShotMethod("full fine-tuning", "hard", None),
        FewShotMethod("prompt tuning", "soft", "sample_vocab"),
        FewShotMethod("hybrid prompt tuning", "hybrid", "sample_vocab"),
        FewShotMethod("PPT", "soft", "pretrained"),
        FewShotMethod("hybrid PPT", "hybrid", "pretrained"),
        FewShotMethod("unified PPT", "soft", "pretrained", unified=True),
    )
}
# What the search tries: prompts want rates a thousand times those of whole models.
MODEL_LEARNING_RATES = (3e-6, 1e-5, 3e-5)
PROMPT_LEARNING_RATES = (1e-3, 5e-3, 2e-2)


def learning_rates(method: str) -> tuple[float, ...]:
    """Return the learning rates that the search tries for a method.

    Example:
        >>> learning_rates("PPT")
        (0.001, 0.005, 0.02)
    """
    kind = find_named(METHODS, "method", method).kind
    return MODEL_LEARNING_RATES if kind == "hard" else PROMPT_LEARNING_RATES


# What a prompt of words begins as: it asks nothing that only one task could mean.
INITIAL_WORDS = "Read the text below with care and answer the question about it in a single word."
# Beside an adapter, how it was trained; its `labeller_domains` are read.
TRAINING_FILE = "training.json"


def start_prompt(
    task: FewShotTask,
    method: FewShotMethod,
    loaded: ModelAndTokenizer,
    seed: int,
    *,
    num_virtual_tokens: int | None = None,
    prompt_folder: Path | str | None = None,
) -> SoftPrompt:
    """Return the soft prompt that a method begins with.

    Args:
        task: its form names the pre-trained prompt.
        method: its initialisation.
        loaded: the model that the prompt is for.
        seed: seed of the draw, where there is one.
        num_virtual_tokens: rows; 20, or as many as the pre-trained prompt has.
        prompt_folder: the folder with a folder for each pre-trained prompt, `pair`, `choice`, `single` and
            `unified`; `data/prompts` by default.

    Returns:
        The prompt.

    Raises:
        CourseError: no such prompt or one for another model; one whose labeller learnt from the task's domain.
    """
    if method.initialisation is None:
        raise CourseError("This method has no soft prompt.", given=method.name)
    if method.initialisation != "pretrained":
        words = INITIAL_WORDS if method.initialisation == "text" else None
        return initialise(method.initialisation, loaded, num_virtual_tokens, seed=seed, words=words)
    folder = Path(prompt_folder or data_folder() / "prompts") / ("unified" if method.unified else task.form)
    _refuse_leaking_labeller(folder, task)
    return initialise("pretrained", loaded, prompt=folder)


def _refuse_leaking_labeller(folder: Path, task: FewShotTask) -> None:
    """Refuse a prompt whose pseudo-labels come from a model that saw the task's own domain with its labels."""
    file = folder / TRAINING_FILE
    record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    domains = record.get("labeller_domains", [])
    if task.domain and task.domain in domains:
        raise CourseError(
            f"The labeller behind this prompt learnt from the {task.domain} texts: what it knows of them "
            "would count as learnt from few examples.",
            given=str(folder),
            mend="Take a prompt whose labeller learnt from other domains (`labeller_texts`).",
        )
