"""Commands of in-context learning, `course icl …`: tune a sibling of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from course_lib.cli.options import LearningRate, Model
from course_lib.errors import CourseError


def tune(
    name: Annotated[
        str | None, typer.Argument(help="A shipped sibling: meaning, surface or nli; else --features.")
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(help="What the labels stand for, in turns: features joined by commas, or column:NAME."),
    ] = None,
    texts: Annotated[
        str, typer.Option(help="Names of texts joined by commas, or a CSV, TSV, JSON lines or parquet file.")
    ] = "newspaper,tweets",
    max_words: Annotated[int | None, typer.Option(help="Longer texts are left out.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The adapter's folder; data/adapters/NAME for a shipped one.")
    ] = None,
    model: Model = "embedded",
    num_episodes: Annotated[int, typer.Option(help="Episodes, one a step.")] = 90,
    num_demonstrations: Annotated[int, typer.Option(help="Texts of an episode, half of each label.")] = 12,
    exchanged_share: Annotated[float, typer.Option(help="Share of episodes with labels exchanged.")] = 0.3,
    num_unscored: Annotated[int, typer.Option(help="First labels of an episode that do not count.")] = 2,
    rank: Annotated[int, typer.Option(help="Rank of LoRA's matrices.")] = 8,
    alpha: Annotated[int, typer.Option(help="LoRA's scale.")] = 16,
    learning_rate: LearningRate = 1e-3,
    num_warmup: Annotated[int, typer.Option(help="Steps over which the rate rises.")] = 10,
    max_grad_norm: Annotated[float, typer.Option(help="Longest gradient.")] = 1.0,
    num_held_out: Annotated[int, typer.Option(help="Episodes for the held-out curve.")] = 6,
    evaluate_every: Annotated[int, typer.Option(help="Episodes between evaluations.")] = 30,
    checkpoint_every: Annotated[int, typer.Option(help="Episodes between checkpoints.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the episodes and of the adapter.")] = 0,
) -> None:
    """Tune an adapter to learn in context from the features you name; a stopped run goes on where it was."""
    from course_lib.checks.calls import check_choice
    from course_lib.icl.experiments.user_texts import named_features
    from course_lib.icl.tuning.siblings import SIBLINGS, Material, sibling_folder, tune_sibling
    from course_lib.icl.tuning.train import TuningSettings
    from course_lib.texts.user_files import split_names

    if (name is None) == (features is None):
        raise CourseError(
            "Name a sibling that the course ships, or features of your own with --features.",
            mend=f"Siblings: {', '.join(SIBLINGS)}.",
        )
    if features is not None and out is None:
        raise CourseError("An adapter of your own needs a place.", mend="Name a folder with --out.")
    if name is not None:
        material = SIBLINGS[check_choice("sibling", name, SIBLINGS)]
    else:
        hypotheses = named_features(split_names("features", features or ""))
        material = Material(hypotheses, texts, max_words)
    settings = TuningSettings(
        num_episodes=num_episodes,
        num_demonstrations=num_demonstrations,
        exchanged_share=exchanged_share,
        num_unscored=num_unscored,
        rank=rank,
        alpha=alpha,
        learning_rate=learning_rate,
        num_warmup=num_warmup,
        max_grad_norm=max_grad_norm,
        num_held_out=num_held_out,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
        seed=seed,
    )
    folder = out or sibling_folder(name or "")
    result = tune_sibling(material, folder, model_source=model, settings=settings, name=name)
    for one in result.evaluations:
        typer.echo(f"after {one.step} episodes: held-out loss {one.loss:.3f}, accuracy {one.accuracy:.3f}")
    typer.echo(f"written: {folder}")
