"""The prompts that the course ships: how they are trained, and how they do on held-out documents."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.checks import check_choice, check_count
from course_lib.errors import CourseError, unknown_name
from course_lib.locations import cache_folder, data_folder
from course_lib.models import EMBEDDED, ModelAndTokenizer, load_language_model
from course_lib.models.fingerprint import model_name
from course_lib.ppt.adapter_files import WEIGHTS_FILE, check_adapter_folder
from course_lib.ppt.patterns import Pattern
from course_lib.ppt.pretraining import tasks
from course_lib.ppt.soft_prompt import DEFAULT_NUM_VIRTUAL_TOKENS, SoftPrompt, initialise, load_soft_prompt
from course_lib.ppt.training import (
    PromptTrainingResult,
    PromptTrainingSettings,
    evaluate_prompt,
    pretrain_prompt,
)
from course_lib.runs import ResultRecord, package_versions, run_resumable
from course_lib.runs.hardware import machine_summary
from course_lib.statistics import Interval, mean_interval

if TYPE_CHECKING:
    from course_lib.ppt.pretraining.documents import Example
    from course_lib.ppt.pretraining.tasks import PseudoLabels

TRAINING_FILE = "training.json"
RESULT_NAME = "ppt_prompts"
# Hybrid and soft patterns take turns, so that a prompt is good for both.
KINDS = ("hybrid", "soft")
# Hard patterns beside the one of the hybrid prompt; the best is chosen on the validation side.
HARD_TEMPLATES: dict[str, tuple[str, ...]] = {
    "pair": (
        "{first} {second}\nDoes the second sentence stand next to the first? Answer:",
        "Sentence 1: {first}\nSentence 2: {second}\nAre they neighbours in one text, yes, maybe or no? It is",
        "{first}\n{second}\nAnswer:",
    ),
    "choice": (
        "Sentence: {query}\nWhich of these stands next to it?\n{options}\nAnswer:",
        "{query}\nOptions:\n{options}\nThe right letter is",
        "{query}\n{options}\nOf these, the one that fits is",
    ),
    "single": ("{text} It was", "{text} In a word:", "Review: {text}\nThe writer's opinion is"),
}
HARD_TEMPLATES["unified"] = HARD_TEMPLATES["choice"]
# Initialisations that are drawn at random.
DRAWN = ("random", "sample_vocab")


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
        num_reviews: IMDb reviews to read, see `tasks.CorpusSettings`.
        evaluate_every: steps between evaluations, and between checkpoints.
        dtype: precision to compute in; None for the model's own.
    """

    num_steps: int = 1000
    batch_size: int = 8
    num_virtual_tokens: int = DEFAULT_NUM_VIRTUAL_TOKENS
    learning_rate: float = 1e-2
    seed: int = 0
    initialisation: str = "sample_vocab"
    kinds: tuple[str, ...] = KINDS
    max_options: int | None = None
    num_examples: int | None = None
    num_held_out: int = 200
    num_reviews: int = tasks.NUM_REVIEWS["train"]
    evaluate_every: int = 100
    dtype: str | None = None

    def __post_init__(self) -> None:
        # JSON gives a list
        object.__setattr__(self, "kinds", tuple(self.kinds))

    def check(self) -> None:
        """Refuse sizes and names that no training could have.

        Raises:
            CourseError: at the first of them.
        """
        for name in ("num_virtual_tokens", "num_held_out", "num_reviews"):
            check_count(name, getattr(self, name))
        if self.num_examples is not None:
            check_count("num_examples", self.num_examples)
        for kind in self.kinds:
            check_choice("kind of pattern", kind, KINDS)
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


# --- training --------------------------------------------------------------------------------------


def pretrain_task(
    task: str,
    *,
    folder: Path | str | None = None,
    checkpoint_folder: Path | str | None = None,
    source: str = EMBEDDED,
    language_model: ModelAndTokenizer | None = None,
    labelled: PseudoLabels | None = None,
    after_step: Any = None,
    progress: bool = True,
    **settings: Any,
) -> Path:
    """Pre-train one of the shipped prompts and write it with the record of its training.

    A run that was stopped goes on from its last checkpoint and writes the same adapter.

    Args:
        task: "pair", "choice", "single" or "unified".
        folder: where the adapter goes; `data/prompts/<task>` by default.
        checkpoint_folder: where the state of the run is kept; in the cache by default, by task and settings.
        source: the language model, as `load_language_model` takes it.
        language_model: a loaded one instead.
        labelled: sentences with pseudo-labels, for "single"; the cache's by default.
        after_step: see `train_prompt`.
        progress: whether to show a progress bar.
        settings: those of `ShippedSettings`.

    Returns:
        The folder: a PEFT adapter and `training.json`.

    Raises:
        CourseError: unknown task; a folder that holds something else; as `pretraining_examples` and
            `pretrain_prompt`.

    Source: Gu et al., ACL 2022, section 3.
    """
    chosen = _settings(task, settings)
    target = check_adapter_folder(folder or shipped_folder(task), [TRAINING_FILE])
    loaded = language_model or load_language_model(source)
    if task != "single":
        labelled = None
    elif labelled is None:
        labelled = _cached_labels(loaded, chosen.num_reviews, progress)
    options = {**_corpus_options(chosen), "labelled": labelled, "kinds": chosen.kinds}
    sizes = {
        "train": chosen.num_examples or chosen.num_steps * chosen.batch_size,
        "validation": chosen.num_held_out,
    }
    train, held_out = (
        tasks.pretraining_examples(task, side, size, loaded.tokenizer, **options)
        for side, size in sizes.items()
    )
    result = pretrain_prompt(
        loaded,
        _start(loaded, chosen),
        train,
        tasks.task_pattern(task, chosen.kinds[0], chosen.max_options).verbalizer,
        chosen.training,
        held_out=held_out,
        checkpoint_folder=checkpoint_folder or _checkpoint_folder(task, chosen, loaded),
        after_step=after_step,
        progress=progress,
    )
    if int(os.environ.get("RANK", "0")) == 0:
        record = _training_record(task, chosen, source, loaded, labelled, sizes, result)
        # Adapter and record together, so that no adapter stands without its record.
        result.prompt.save(target, loaded, more={TRAINING_FILE: json.dumps(record, indent=1) + "\n"})
    return target


def pretrain_command(task: str, settings: ShippedSettings, source: str = EMBEDDED) -> str:
    """Give the command that trains a prompt again.

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
    if source != EMBEDDED:
        words += ["--model", source]
    return shlex.join(words)


def _settings(task: str, settings: dict[str, Any]) -> ShippedSettings:
    if task not in tasks.TASK_NAMES:
        raise unknown_name("task", task, tasks.TASK_NAMES)
    known = list(asdict(ShippedSettings()))
    for name in settings:
        if name not in known:
            raise unknown_name("setting", name, known)
    if task == "unified":
        # what the profile says now, so that the record says it too
        settings["max_options"] = settings.get("max_options") or tasks.unified_options()
    elif settings.get("max_options") is not None:
        raise CourseError(
            "Only the unified task has a number of options to choose.",
            given=settings["max_options"],
            mend="Leave max_options out.",
        )
    chosen = ShippedSettings(**settings)
    chosen.check()
    starts = (*DRAWN, *(name for name in tasks.TASK_NAMES if name != task))
    if chosen.initialisation not in starts:
        raise unknown_name("initialisation before pre-training", chosen.initialisation, starts)
    if not chosen.kinds or "hard" in chosen.kinds:
        raise CourseError("A soft prompt goes with soft or hybrid patterns.", given=chosen.kinds)
    return chosen


def _corpus_options(settings: ShippedSettings) -> dict[str, Any]:
    return {"seed": settings.seed, "max_options": settings.max_options, "num_reviews": settings.num_reviews}


def _cached_labels(language_model: ModelAndTokenizer, num_reviews: int, progress: bool) -> PseudoLabels:
    corpus = tasks.CorpusSettings(tasks.MAX_TOKENS["single"], num_reviews)
    return tasks.pseudo_labels(language_model.tokenizer, corpus, progress=progress)


def _start(language_model: ModelAndTokenizer, settings: ShippedSettings) -> SoftPrompt:
    if settings.initialisation in DRAWN:
        return _untrained(language_model, settings)
    earlier = shipped_folder(settings.initialisation)
    return initialise("pretrained", language_model, settings.num_virtual_tokens, prompt=earlier)


def _untrained(language_model: ModelAndTokenizer, settings: ShippedSettings) -> SoftPrompt:
    kind = settings.initialisation if settings.initialisation in DRAWN else "sample_vocab"
    return initialise(kind, language_model, settings.num_virtual_tokens, seed=settings.seed)


def _checkpoint_folder(task: str, settings: ShippedSettings, language_model: ModelAndTokenizer) -> Path:
    of_run = f"{asdict(settings)} {model_name(language_model.model)}"
    return cache_folder() / "runs" / "ppt" / f"{task}-{hashlib.sha256(of_run.encode()).hexdigest()[:12]}"


def _training_record(
    task: str,
    settings: ShippedSettings,
    source: str,
    language_model: ModelAndTokenizer,
    labelled: PseudoLabels | None,
    sizes: dict[str, int],
    result: PromptTrainingResult,
) -> dict[str, Any]:
    return {
        "task": task,
        "command": pretrain_command(task, settings, source),
        "language_model": model_name(language_model.model),
        "steps": settings.num_steps,
        "kept_step": result.kept_step,
        "seed": settings.seed,
        "settings": asdict(settings),
        "num_examples": sizes,
        "max_tokens": tasks.MAX_TOKENS[task],
        "labeller": labelled.labeller if labelled else None,
        "labeller_domains": labelled.labeller["domains"] if labelled else [],
        "thresholds": list(tasks.THRESHOLDS) if labelled else None,
        "loss_curve": [{"step": step.step, "loss": round(step.loss, 5)} for step in result.steps],
        "held_out_curve": [asdict(evaluation) for evaluation in result.evaluations],
        "versions": package_versions(),
        "machine": machine_summary(),
    }


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
    """Give the folder of one of the prompts that the course ships.

    Args:
        task: "pair", "choice", "single" or "unified".

    Raises:
        CourseError: unknown task.
    """
    if task not in tasks.TASK_NAMES:
        raise unknown_name("task", task, tasks.TASK_NAMES)
    return data_folder() / "prompts" / task


def shipped_training(task: str) -> dict[str, Any]:
    """Read how one of the prompts in `data/prompts` was trained: command, settings, curves, labeller.

    Args:
        task: "pair", "choice", "single" or "unified".

    Raises:
        CourseError: unknown task; a record that is missing or damaged.
    """
    return read_training(shipped_folder(task))


# --- evaluation ------------------------------------------------------------------------------------


def evaluate_shipped(
    folder: Path | str | None = None,
    *,
    task_names: Sequence[str] = tasks.TASK_NAMES,
    num_test: int = 600,
    num_development: int = 200,
    source: str = EMBEDDED,
    dtype: str | None = None,
    num_workers: int | None = None,
    progress: bool = True,
) -> ResultRecord:
    """Measure the shipped prompts on the test side of their own pre-training tasks.

    Args:
        folder: the folder with a folder for each prompt; `data/prompts` by default.
        task_names: which of them.
        num_test: test examples.
        num_development: validation examples, on which the best hard pattern is chosen.
        source: the language model, as `load_language_model` takes it.
        dtype: precision to compute in; None for float32.
        num_workers: processes that share the prompts; None for this one.
        progress: whether to show a progress bar.

    Returns:
        The record `ppt_prompts`, a row for each prompt, see `evaluate_task`.

    Raises:
        CourseError: a prompt that is missing or damaged, or for another model.
    """
    check_count("num_test", num_test)
    check_count("num_development", num_development)
    for task in task_names:
        check_choice("task", task, tasks.TASK_NAMES)
    folder = Path(folder or data_folder() / "prompts")
    if not folder.is_dir():
        raise CourseError(
            "There is no such folder of prompts.", given=str(folder), mend="Name one that is there."
        )
    settings: dict[str, Any] = {
        "num_test": num_test, "num_development": num_development, "source": source, "dtype": dtype
    }  # fmt: skip
    versions = {task: _version(folder / task) for task in task_names}
    run_task = functools.partial(evaluate_task, folder=str(folder), **settings)
    return run_resumable(
        RESULT_NAME,
        command=f"course reference {RESULT_NAME}",
        settings={**settings, "prompts": versions},
        tasks=[{"task": task} for task in task_names],
        run_task=run_task,
        num_workers=num_workers,
        progress=progress,
    )


def evaluate_task(
    task: str,
    *,
    folder: Path | str,
    num_test: int,
    num_development: int,
    source: str = EMBEDDED,
    dtype: str | None = None,
    language_model: ModelAndTokenizer | None = None,
    labelled: PseudoLabels | None = None,
) -> list[dict[str, Any]]:
    """Measure one shipped prompt beside an untrained one and the best hard pattern.

    Args:
        task: "pair", "choice", "single" or "unified".
        folder: the folder with a folder for each prompt.
        num_test: test examples.
        num_development: validation examples, on which the best hard pattern is chosen.
        source: the language model, as `load_language_model` takes it.
        dtype: precision to compute in; None for float32.
        language_model: a loaded one instead.
        labelled: sentences with pseudo-labels, for "single"; the cache's by default.

    Returns:
        One row: `task`, `num_test`, `guessing` (the expected share of right answers of blind guesses) and,
        for each of "trained" and "untrained" in the patterns "hybrid" and "soft", and for "hard", accuracy
        and its 95 % interval, as `trained_hybrid`, `trained_hybrid_low`, `trained_hybrid_high` and so on;
        `hard_template`, `hard_development` (its accuracy on the validation side), `apart` (whether the
        trained hybrid's interval lies above both others').

    Raises:
        CourseError: a prompt that is missing or damaged, or for another model.
    """
    place = Path(folder) / task
    settings = ShippedSettings(**read_training(place)["settings"])
    loaded = language_model or load_language_model(source, dtype=dtype or "float32")
    trained = load_soft_prompt(place, loaded)
    if task == "single":
        labelled = labelled or _cached_labels(loaded, settings.num_reviews, progress=False)
    options = {**_corpus_options(settings), "labelled": labelled}
    development, test = (
        tasks.pretraining_rows(task, side, size, loaded.tokenizer, **options)
        for side, size in (("validation", num_development), ("test", num_test))
    )
    hybrid, soft = (tasks.task_pattern(task, kind, settings.max_options) for kind in KINDS)
    hard, hard_accuracy = _best_hard(task, loaded, development, settings.max_options)
    measured = {
        "trained_hybrid": _accuracy(loaded, trained, test, hybrid),
        "untrained_hybrid": _accuracy(loaded, _untrained(loaded, settings), test, hybrid),
        "hard": _accuracy(loaded, None, test, hard),
        "trained_soft": _accuracy(loaded, trained, test, soft),
        "untrained_soft": _accuracy(loaded, _untrained(loaded, settings), test, soft),
    }
    row: dict[str, Any] = {"task": task, "num_test": len(test)}
    row["guessing"] = sum(1 / hybrid.num_labels(each) for each in test) / len(test)
    for name, interval in measured.items():
        row |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    others = max(measured["untrained_hybrid"].high, measured["hard"].high)
    row["apart"] = bool(measured["trained_hybrid"].low > others)
    return [{**row, "hard_template": hard.template, "hard_development": hard_accuracy}]


def hard_patterns(task: str, max_options: int | None = None) -> list[Pattern]:
    """Give the hard patterns of a task, of which the best is what a trained prompt has to beat."""
    own = tasks.task_pattern(task, "hard", max_options)
    others = [
        Pattern(f"{task}/hard {number}", template, own.verbalizer, own.fewer_options)
        for number, template in enumerate(HARD_TEMPLATES[task], start=2)
    ]
    return [own, *others]


def _best_hard(
    task: str, language_model: ModelAndTokenizer, development: list[Example], max_options: int | None
) -> tuple[Pattern, float]:
    found = [
        (pattern, _accuracy(language_model, None, development, pattern).mean)
        for pattern in hard_patterns(task, max_options)
    ]
    return max(found, key=lambda pair: pair[1])


def _accuracy(
    language_model: ModelAndTokenizer, prompt: SoftPrompt | None, rows: list[Example], pattern: Pattern
) -> Interval:
    examples = tasks.write_examples(rows, [pattern])
    found = evaluate_prompt(language_model, prompt, examples, pattern.verbalizer)
    return mean_interval((found.predictions == found.labels).astype(float).tolist())


def _version(folder: Path) -> str:
    read_training(folder)
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        raise CourseError("The prompt has no weights.", given=str(file), mend="Restore it from git.")
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
