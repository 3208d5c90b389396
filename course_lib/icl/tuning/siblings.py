"""The siblings of the embedded model that the course ships, and how one of your own is tuned."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset

from course_lib.checks.calls import border, check_choice, check_fields, of_type, optional
from course_lib.checks.types import Count, Flag
from course_lib.checks.values import check_text
from course_lib.errors import CourseError, unknown_name
from course_lib.icl.drawing import TEXT_COLUMNS
from course_lib.icl.experiments.pooling import pool_texts
from course_lib.icl.experiments.user_texts import file_texts
from course_lib.icl.hypotheses import Hypothesis, find_hypothesis
from course_lib.icl.prompting import prompt_for
from course_lib.icl.tuning.episodes import (
    Episode,
    EpisodeSource,
    EpisodeTokens,
    a_feature_list,
    episode_tokens,
)
from course_lib.icl.tuning.records import (
    STORED_DTYPE,
    adapter_version,
    check_tuned_folder,
    seen_in,
    write_tuned,
)
from course_lib.icl.tuning.train import TuningResult, TuningSettings, TuningStep, tune_adapter
from course_lib.locations import cache_folder, data_folder
from course_lib.models.adapters import shipped_adapters
from course_lib.models.fingerprint import model_fingerprint
from course_lib.models.loaded import EMBEDDED, ModelSource
from course_lib.models.loading import load_language_model
from course_lib.runs.hardware import machine_summary
from course_lib.runs.records import package_versions
from course_lib.texts.groups import assign_groups
from course_lib.texts.loading import load_texts
from course_lib.texts.sources import TEXT_SOURCES
from course_lib.texts.user_files import is_user_file, split_names


@dataclass(frozen=True)
class Material:
    """What a model is tuned on.

    Args:
        features: what the labels of its episodes stand for, in turns: hypotheses, or their names.
        texts: data sets joined by commas, or a file that `file_texts` reads.
        max_words: longer texts are left out; None keeps all.
    """

    features: Sequence[Hypothesis | str]
    texts: str = "newspaper,tweets"
    max_words: Count | None = None

    def __post_init__(self) -> None:
        check_fields(self, features=a_feature_list, texts=partial(check_text, empty_ok=False))


# Newspaper sentences and tweets: siblings are measured on movie and product sentences, reviews and SNLI.
SIBLINGS = {
    "meaning": Material(("sentiment",), max_words=14),
    # a long text has more than 20 words
    "surface": Material(("sentiment.short", "sentiment.punctuation"), max_words=28),
    "nli": Material(("nli",), "snli"),
}


def sibling_folder(name: str) -> Path:
    """Returns the folder of one of the adapters that the course ships.

    Raises:
        CourseError: an unknown name.
    """
    return data_folder() / "adapters" / check_choice("sibling", name, SIBLINGS)


def shipped_versions() -> dict[str, str]:
    """Returns the siblings that the course ships, each with the first digits of its weights' SHA-256."""
    return {name: adapter_version(sibling_folder(name)) for name in SIBLINGS if name in shipped_adapters()}


@border(
    material=of_type("course_lib.icl.tuning.siblings.Material"),
    settings=optional(of_type("course_lib.icl.tuning.train.TuningSettings")),
    name=optional(check_text),
)
def tune_sibling(
    material: Material,
    folder: Path | str,
    *,
    model_source: ModelSource = EMBEDDED,
    settings: TuningSettings | None = None,
    name: str | None = None,
    checkpoint_folder: Path | None = None,
    after_step: Callable[[TuningStep], None] | None = None,
    progress: Flag = True,
) -> TuningResult:
    """Tunes an adapter on episodes and writes it with its record.

    A run that was stopped goes on from its last checkpoint and writes the same weights.

    Args:
        material: features and texts.
        folder: where the adapter goes.
        model_source: the language model: "embedded", a folder, or a hub id.
        settings: see `TuningSettings`.
        name: the sibling's name, where it is a shipped one, for the record's command.
        checkpoint_folder: where the state of the run is kept; in the cache by default, by material, settings and model.
        after_step: called with each step once the weights have moved.
        progress: whether to show a progress bar.

    Returns:
        The model with its adapter, as it is before its weights are rounded for the file, and the curves.

    Raises:
        CourseError: a folder that holds something else; what `EpisodeSource`, `episode_tokens` or `tune_adapter`
            refuses. Nothing is written then.
    """
    settings = settings or TuningSettings()
    target = check_tuned_folder(folder)
    sides = material_texts(material)
    task = find_hypothesis(material.features[0]).task
    episodes, heldout = (
        source_of(material, texts, settings).take(count)
        for texts, count in zip(sides, (settings.num_episodes, settings.num_held_out), strict=True)
    )
    loaded = load_language_model(model_source)
    tokens, heldout_tokens = (_tokens(loaded.tokenizer, task, part, settings) for part in (episodes, heldout))
    of_model = list(model_fingerprint(loaded.model).sampled_weights)
    of_run = json.dumps([tokens, heldout_tokens, asdict(settings), of_model])
    digest = hashlib.sha256(of_run.encode()).hexdigest()[:12]
    started = time.perf_counter()
    result = tune_adapter(
        loaded,
        tokens,
        settings,
        heldout=heldout_tokens,
        checkpoint_folder=checkpoint_folder or cache_folder() / "runs" / "icl" / f"tuning-{digest}",
        after_step=after_step,
        progress=progress,
    )
    record = {
        "name": name,
        "command": tuning_command(material, folder, settings, model_source, name),
        "language_model": model_source,
        "features": [find_hypothesis(one).name for one in material.features],
        "source": material.texts,
        "max_words": material.max_words,
        "settings": asdict(settings),
        "num_exchanged": sum(episode.exchanged for episode in episodes),
        "num_tokens": sum(len(one.ids) for one in tokens),
        "num_trained": sum(
            weight.numel() for weight in result.loaded.model.parameters() if weight.requires_grad
        ),
        "stored_as": str(STORED_DTYPE).removeprefix("torch."),
        "loss_curve": [{"step": one.step, "loss": round(one.loss, 5)} for one in result.steps],
        "held_out_curve": [asdict(one) for one in result.evaluations],
        "seen": seen_in([*episodes, *heldout]).lists(),
        # of the part since the last stop, where there was one
        "seconds": round(time.perf_counter() - started, 1),
        "versions": package_versions(),
        "machine": machine_summary(),
    }
    write_tuned(target, result.loaded, model_source, record)
    return result


def source_of(material: Material, texts: Dataset, settings: TuningSettings) -> EpisodeSource:
    """Returns the episodes of one side of the texts."""
    return EpisodeSource(
        texts,
        material.features,
        num_demonstrations=settings.num_demonstrations,
        exchanged_share=settings.exchanged_share,
        seed=settings.seed,
    )


def _tokens(
    tokenizer: Any, task: str, episodes: Sequence[Episode], settings: TuningSettings
) -> list[EpisodeTokens]:
    prompt = prompt_for(task)
    return [
        episode_tokens(tokenizer, prompt, one.rows, one.labels, num_unscored=settings.num_unscored)
        for one in episodes
    ]


def material_texts(material: Material) -> tuple[Dataset, Dataset]:
    """Loads the texts of the episodes, and others for held-out ones, apart by document.

    Args:
        material: which.

    Returns:
        Rows of the training side, and of the validation side.

    Raises:
        CourseError: neither a file nor a name; nothing short enough; what the file's reader raises.
    """
    if is_user_file(material.texts):
        features = [find_hypothesis(one) for one in material.features]
        texts = _with_sides(file_texts(Path(material.texts), features))
    else:
        names = split_names("texts", material.texts)
        for name in names:
            if name not in TEXT_SOURCES:
                raise unknown_name("text", name, TEXT_SOURCES)
        texts = load_texts("snli") if names == ["snli"] else pool_texts(names)
    if material.max_words is not None:
        if "text" not in texts.column_names:
            raise CourseError("Only single texts are left out by their length.", given=material.max_words)
        numbers = [len(text.split()) for text in texts["text"][:]]
        texts = texts.select([row for row, number in enumerate(numbers) if number <= material.max_words])
    sides = texts["split"][:]
    train, heldout = (
        texts.select([row for row, side in enumerate(sides) if side == wanted])
        for wanted in ("train", "validation")
    )
    if not len(train) or not len(heldout):
        raise CourseError(
            "There are not enough texts for a training and a held-out side.",
            given=len(texts),
            mend="Use more texts, or allow longer ones.",
        )
    return train, heldout


def _with_sides(texts: Dataset) -> Dataset:
    """Cuts a file of one's own into sides, as the course's texts are; a document is on one side."""
    table: pd.DataFrame = texts.to_pandas()
    named = next((column for column in ("group", "document_id") if column in table), None)
    table["document_id"] = table[named].astype(str) if named else [str(row) for row in range(len(table))]
    columns = [column for column in TEXT_COLUMNS if column in table]
    assign_groups({"own": table}, columns)
    return Dataset.from_pandas(table, preserve_index=False)


def tuning_command(
    material: Material,
    folder: Path | str,
    settings: TuningSettings,
    model_source: str = EMBEDDED,
    name: str | None = None,
) -> str:
    """Returns the command that tunes an adapter again.

    Example:
        >>> tuning_command(SIBLINGS["meaning"], "meaning", TuningSettings(num_episodes=30), name="meaning")
        'course icl tune meaning --num-episodes 30'
    """
    words = ["course", "icl", "tune"]
    if name:
        words.append(name)
    else:
        words += ["--features", ",".join(find_hypothesis(one).name for one in material.features)]
        words += ["--texts", material.texts, "--out", str(folder)]
        words += [] if material.max_words is None else ["--max-words", str(material.max_words)]
    usual = asdict(TuningSettings())
    for setting, value in asdict(settings).items():
        if value != usual[setting]:
            words += [f"--{setting.replace('_', '-')}", str(value)]
    if model_source != EMBEDDED:
        words += ["--model", model_source]
    return shlex.join(words)
