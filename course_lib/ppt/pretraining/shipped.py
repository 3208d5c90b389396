"""The prompts that the course ships: how they are trained, and the record of it."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course_lib.checks.calls import border, check_choice, check_fields, each
from course_lib.checks.types import Count
from course_lib.checks.values import check_path, check_text
from course_lib.errors import CourseError, unknown_name
from course_lib.locations import cache_folder, data_folder
from course_lib.models.fingerprint import model_name
from course_lib.models.loaded import EMBEDDED, ModelAndTokenizer
from course_lib.models.loading import load_language_model
from course_lib.ppt.adapter_files import WEIGHTS_FILE, check_adapter_folder
from course_lib.ppt.optimisation import PromptTrainingSettings
from course_lib.ppt.patterns import Kind
from course_lib.ppt.pretraining.documents import NUM_REVIEWS
from course_lib.ppt.pretraining.labeller import PseudoLabels
from course_lib.ppt.pretraining.tasks import (
    PRETRAINING_TASKS,
    THRESHOLDS,
    find_pattern,
    find_task,
    pretraining_examples,
)
from course_lib.ppt.soft_prompt import DEFAULT_NUM_VIRTUAL_TOKENS, Initialisation, SoftPrompt, initialise
from course_lib.ppt.training import PromptTrainingResult, pretrain_prompt
from course_lib.runs.hardware import machine_summary
from course_lib.runs.records import package_versions
from course_lib.texts.sources import Split

TRAINING_FILE = "training.json"
# Hybrid and soft patterns take turns, so that a prompt is good for both.
PROMPT_KINDS: tuple[Kind, ...] = ("hybrid", "soft")
# Initialisations that are drawn at random.
DRAWN: tuple[Initialisation, ...] = ("random", "sample_vocab")

_kinds = each(check_text, least=0)


@dataclass(frozen=True)
class ShippedSettings:
    """What shapes one of the shipped prompts, beside its task.

    Args:
        num_steps: optimizer steps.
        batch_size: examples a step.
        num_virtual_tokens: rows of the prompt.
        learning_rate: peak learning rate.
        seed: seed of the examples, of the prompt's start and of the order of the batches.
        initialisation: how the prompt starts: "random", "sample_vocab", or as a copy of another shipped prompt,
            which is named by its task.
        kinds: kinds of pattern that take turns.
        max_options: most options of the unified task; None for the profile's.
        num_examples: training examples; None for as many as the steps read.
        num_held_out: examples of the validation side, for the curve and the choice of the step.
        num_reviews: IMDb reviews to read, see `CorpusSettings`.
        evaluate_every: steps between evaluations, and between checkpoints.
        dtype: precision to compute in; None for the model's own.
    """

    num_steps: int = 1000
    batch_size: int = 8
    num_virtual_tokens: Count = DEFAULT_NUM_VIRTUAL_TOKENS
    learning_rate: float = 1e-2
    seed: int = 0
    initialisation: str = "sample_vocab"
    kinds: tuple[Kind, ...] = PROMPT_KINDS
    max_options: int | None = None
    num_examples: Count | None = None
    num_held_out: Count = 200
    num_reviews: Count = NUM_REVIEWS["train"]
    evaluate_every: int = 100
    dtype: str | None = None

    def __post_init__(self) -> None:
        # JSON gives a list
        object.__setattr__(self, "kinds", tuple(_kinds("kinds", self.kinds)))

    def check(self) -> None:
        """Refuse sizes and names that no training could have.

        Raises:
            CourseError: at the first of them.
        """
        check_fields(self)
        for kind in self.kinds:
            check_choice("kind of pattern", kind, PROMPT_KINDS)
        # Its own checks look at the rest.
        _ = self.training

    @property
    def training(self) -> PromptTrainingSettings:
        """The settings of the training loop; the step is chosen on the validation side."""
        return PromptTrainingSettings(
            learning_rate=self.learning_rate,
            num_steps=self.num_steps,
            batch_size=self.batch_size,
            evaluate_every=self.evaluate_every,
            keep="best",
            dtype=self.dtype,
            seed=self.seed,
        )


def pretrain_task(
    task: str,
    *,
    folder: Path | str | None = None,
    checkpoint_folder: Path | str | None = None,
    model_source: str = EMBEDDED,
    loaded: ModelAndTokenizer | None = None,
    labelled: PseudoLabels | None = None,
    after_step: Any = None,
    progress: bool = True,
    **settings: Any,
) -> Path:
    """Pre-train one of the shipped prompts and write it with the record of its training.

    A run that was stopped goes on from its last checkpoint and writes the same adapter.

    Args:
        task: one of `PRETRAINING_TASKS`.
        folder: where the adapter goes; `data/prompts/<task>` by default.
        checkpoint_folder: where the state of the run is kept; in the cache by default, by task and settings.
        model_source: the language model: "embedded", a folder or a hub id.
        loaded: a loaded model and tokenizer instead of `model_source`.
        labelled: sentences with pseudo-labels, for "single"; the cache's by default.
        after_step: see `train_prompt`.
        progress: whether to show a progress bar.
        settings: those of `ShippedSettings`.

    Returns:
        The folder: a PEFT adapter and `training.json`.

    Raises:
        CourseError: unknown task; a folder that holds something else; what `pretraining_examples` or
            `pretrain_prompt` refuses.

    Source: Gu et al., ACL 2022, section 3.
    """
    chosen = _settings(task, settings)
    target = check_adapter_folder(folder or shipped_folder(task), [TRAINING_FILE])
    loaded = loaded or load_language_model(model_source)
    labelled = find_task(task).labels(loaded.tokenizer, chosen.num_reviews, labelled, progress=progress)
    options = {**corpus_options(chosen), "labelled": labelled, "kinds": chosen.kinds}
    sizes: dict[Split, int] = {
        "train": chosen.num_examples or chosen.num_steps * chosen.batch_size,
        "validation": chosen.num_held_out,
    }
    train, heldout = (
        pretraining_examples(task, side, size, loaded.tokenizer, **options) for side, size in sizes.items()
    )
    result = pretrain_prompt(
        loaded,
        _start(loaded, chosen),
        train,
        find_pattern(task, chosen.kinds[0], chosen.max_options).verbalizer,
        chosen.training,
        heldout=heldout,
        checkpoint_folder=checkpoint_folder or _checkpoint_folder(task, chosen, loaded),
        after_step=after_step,
        progress=progress,
    )
    if int(os.environ.get("RANK", "0")) == 0:
        record = _training_record(task, chosen, model_source, loaded, labelled, sizes, result)
        # Adapter and record together, so that no adapter stands without its record.
        result.prompt.save(target, loaded, more={TRAINING_FILE: json.dumps(record, indent=1) + "\n"})
    return target


def pretrain_command(task: str, settings: ShippedSettings, model_source: str = EMBEDDED) -> str:
    """Return the command that trains a prompt again.

    Example:
        >>> pretrain_command("pair", ShippedSettings(num_steps=10, max_options=6))
        'course ppt pretrain pair --num-steps 10 --max-options 6'
    """
    words = ["course", "ppt", "pretrain", task]
    usual = asdict(ShippedSettings())
    for name, value in asdict(settings).items():
        if value != usual[name]:
            shown = ",".join(value) if name == "kinds" else f"{value}"
            words += [f"--{name.replace('_', '-')}", shown]
    if model_source != EMBEDDED:
        words += ["--model", model_source]
    return shlex.join(words)


def _settings(task: str, settings: dict[str, Any]) -> ShippedSettings:
    the_task = find_task(task)
    known = list(asdict(ShippedSettings()))
    for name in settings:
        if name not in known:
            raise unknown_name("setting", name, known)
    if the_task.takes_max_options:
        # what the profile says now, so that the record says it too
        settings["max_options"] = the_task.most_options(settings.get("max_options"))
    elif settings.get("max_options") is not None:
        raise CourseError(
            "Only the unified task has a number of options to choose.",
            given=settings["max_options"],
            mend="Leave max_options out.",
        )
    chosen = ShippedSettings(**settings)
    chosen.check()
    starts = (*DRAWN, *(name for name in PRETRAINING_TASKS if name != task))
    if chosen.initialisation not in starts:
        raise unknown_name("initialisation before pre-training", chosen.initialisation, starts)
    if not chosen.kinds or "hard" in chosen.kinds:
        raise CourseError("A soft prompt goes with soft or hybrid patterns.", given=chosen.kinds)
    return chosen


def corpus_options(settings: ShippedSettings) -> dict[str, Any]:
    """Return the arguments of `pretraining_rows` that a prompt's settings name."""
    return {"seed": settings.seed, "max_options": settings.max_options, "num_reviews": settings.num_reviews}


def _start(loaded: ModelAndTokenizer, settings: ShippedSettings) -> SoftPrompt:
    if settings.initialisation in DRAWN:
        return untrained_prompt(loaded, settings)
    earlier = shipped_folder(settings.initialisation)
    return initialise("pretrained", loaded, settings.num_virtual_tokens, prompt=earlier)


def untrained_prompt(loaded: ModelAndTokenizer, settings: ShippedSettings) -> SoftPrompt:
    """Return the prompt as it is before any training, drawn at random."""
    kind: Initialisation = next((name for name in DRAWN if name == settings.initialisation), "sample_vocab")
    return initialise(kind, loaded, settings.num_virtual_tokens, seed=settings.seed)


def _checkpoint_folder(task: str, settings: ShippedSettings, loaded: ModelAndTokenizer) -> Path:
    of_run = f"{asdict(settings)} {model_name(loaded.model)}"
    return cache_folder() / "runs" / "ppt" / f"{task}-{hashlib.sha256(of_run.encode()).hexdigest()[:12]}"


def _training_record(
    task: str,
    settings: ShippedSettings,
    model_source: str,
    loaded: ModelAndTokenizer,
    labelled: PseudoLabels | None,
    sizes: Mapping[Split, int],
    result: PromptTrainingResult,
) -> dict[str, Any]:
    return {
        "task": task,
        "command": pretrain_command(task, settings, model_source),
        "language_model": model_name(loaded.model),
        "steps": settings.num_steps,
        "kept_step": result.kept_step,
        "seed": settings.seed,
        "settings": asdict(settings),
        "num_examples": sizes,
        "max_tokens": find_task(task).max_tokens,
        "labeller": labelled.labeller if labelled else None,
        "labeller_domains": labelled.labeller["domains"] if labelled else [],
        "thresholds": list(THRESHOLDS) if labelled else None,
        "loss_curve": [{"step": step.step, "loss": round(step.loss, 5)} for step in result.steps],
        "held_out_curve": [asdict(evaluation) for evaluation in result.evaluations],
        "versions": package_versions(),
        "machine": machine_summary(),
    }


@border(folder=check_path)
def read_training(folder: Path) -> dict[str, Any]:
    """Read how a prompt was trained.

    Args:
        folder: the prompt's folder.

    Raises:
        CourseError: no such file, or a damaged one.
    """
    file = folder / TRAINING_FILE
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        ShippedSettings(**record["settings"])
        return record
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CourseError(
            "How this prompt was trained cannot be read.",
            given=str(file),
            mend="Restore it from git, or train the prompt again with `course ppt pretrain`.",
        ) from error


def shipped_folder(task: str) -> Path:
    """Return the folder of one of the prompts that the course ships.

    Args:
        task: one of `PRETRAINING_TASKS`.

    Raises:
        CourseError: unknown task.
    """
    return data_folder() / "prompts" / find_task(task).name


def shipped_training(task: str) -> dict[str, Any]:
    """Read how one of the prompts in `data/prompts` was trained: command, settings, curves, labeller.

    Args:
        task: one of `PRETRAINING_TASKS`.

    Raises:
        CourseError: unknown task; a record that is missing or damaged.
    """
    return read_training(shipped_folder(task))


@border(folder=check_path)
def prompt_version(folder: Path) -> str:
    """Return the first digits of the SHA-256 of a pre-trained prompt, for the record of a run.

    Args:
        folder: the prompt's folder.

    Raises:
        CourseError: no weights there, or no record of their training.
    """
    read_training(folder)
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        raise CourseError("The prompt has no weights.", given=str(file), mend="Restore it from git.")
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def prompt_versions() -> dict[str, str]:
    """Return the version of each prompt that the course ships, see `prompt_version`.

    Raises:
        CourseError: if there are no prompts.
    """
    folder = data_folder() / "prompts"
    files = sorted(folder.glob(f"*/{WEIGHTS_FILE}"))
    if not files:
        raise CourseError(
            "There are no pre-trained prompts here.",
            given=str(folder),
            mend="Train them with `course ppt pretrain`, or restore them from git.",
        )
    return {file.parent.name: prompt_version(file.parent) for file in files}
