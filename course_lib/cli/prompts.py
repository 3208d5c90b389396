"""Commands of soft prompts, `course ppt …`: pre-train, tune, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def pretrain(
    task: Annotated[str, typer.Argument(help="pair, choice, single or unified.")],
    num_steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Examples a step.")] = 8,
    num_virtual_tokens: Annotated[int, typer.Option(help="Rows of the prompt.")] = 20,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-2,
    seed: Annotated[int, typer.Option(help="Seed of examples, start and batches.")] = 0,
    initialisation: Annotated[
        str, typer.Option(help="random, sample_vocab, or a shipped prompt.")
    ] = "sample_vocab",
    kinds: Annotated[str, typer.Option(help="Kinds of pattern that take turns.")] = "hybrid,soft",
    max_options: Annotated[int | None, typer.Option(help="Most options of the unified task.")] = None,
    num_examples: Annotated[int | None, typer.Option(help="Training examples; as many as are read.")] = None,
    num_held_out: Annotated[int, typer.Option(help="Examples for the held-out curve.")] = 200,
    num_reviews: Annotated[int, typer.Option(help="IMDb reviews to read.")] = 2000,
    evaluate_every: Annotated[int, typer.Option(help="Steps between evaluations and checkpoints.")] = 100,
    dtype: Annotated[str | None, typer.Option(help="bfloat16 or float16 to compute in.")] = None,
    model: Annotated[str, typer.Option(help="embedded, a folder, or a hub id.")] = "embedded",
    out: Annotated[Path | None, typer.Option(help="Where it goes; data/prompts/TASK by default.")] = None,
) -> None:
    """Pre-train a prompt on plain text; a stopped run goes on where it was."""
    from course_lib.ppt.shipped import pretrain_task
    from course_lib.user_files import split_names

    folder = pretrain_task(
        task,
        folder=out,
        source=model,
        num_steps=num_steps,
        batch_size=batch_size,
        num_virtual_tokens=num_virtual_tokens,
        learning_rate=learning_rate,
        seed=seed,
        initialisation=initialisation,
        kinds=tuple(split_names("kinds", kinds)),
        max_options=max_options,
        num_examples=num_examples,
        num_held_out=num_held_out,
        num_reviews=num_reviews,
        evaluate_every=evaluate_every,
        dtype=dtype,
    )
    typer.echo(f"written: {folder}")


def tune(
    texts: Annotated[Path, typer.Option(help="A CSV, JSON lines or parquet file with `label`.")],
    words: Annotated[str, typer.Option(help="Label words joined by commas, one a class.")],
    out: Annotated[Path, typer.Option(help="The folder for the adapter.")],
    model: Annotated[str, typer.Option(help="embedded, a folder, or a hub id.")] = "embedded",
    labels: Annotated[
        str | None, typer.Option(help="The file's labels in the words' order; 0, 1, … by default.")
    ] = None,
    template: Annotated[str, typer.Option(help="The pattern.")] = "{soft}{text} It was",
    start: Annotated[str, typer.Option(help="sample_vocab, random, or a prompt's folder.")] = "sample_vocab",
    num_virtual_tokens: Annotated[int | None, typer.Option(help="Rows of the prompt; 20.")] = None,
    num_steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 60,
    batch_size: Annotated[int, typer.Option(help="Examples a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 5e-3,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
) -> None:
    """Tune a soft prompt for your own model and texts."""
    from course_lib.ppt.pretraining import PromptTrainingSettings
    from course_lib.ppt.tuning import tune_prompt
    from course_lib.user_files import split_names

    settings = PromptTrainingSettings(
        learning_rate=learning_rate,
        num_steps=num_steps,
        batch_size=batch_size,
        evaluate_every=10,
        keep="best",
        seed=seed,
    )
    result = tune_prompt(
        texts,
        out,
        split_names("words", words),
        template=template,
        labels=None if labels is None else split_names("labels", labels),
        start=start,
        num_virtual_tokens=num_virtual_tokens,
        settings=settings,
        source=model,
    )
    typer.echo(result.evaluation_table().to_string(index=False, float_format="{:.3f}".format))
    typer.echo(f"kept step {result.kept_step}, written: {out}")


def evaluate(
    folder: Annotated[Path | None, typer.Option(help="The prompts; data/prompts by default.")] = None,
    tasks: Annotated[str, typer.Option(help="Which, joined by commas.")] = "pair,choice,single,unified",
    model: Annotated[str, typer.Option(help="embedded, a folder, or a hub id.")] = "embedded",
    num_test: Annotated[int, typer.Option(help="Held-out examples of each task.")] = 600,
    num_development: Annotated[int, typer.Option(help="Examples to choose the hard pattern on.")] = 200,
) -> None:
    """Measure pre-trained prompts on held-out documents, beside untrained ones and hard patterns."""
    from course_lib.ppt.shipped import evaluate_shipped
    from course_lib.user_files import split_names

    record = evaluate_shipped(
        folder,
        task_names=split_names("tasks", tasks),
        num_test=num_test,
        num_development=num_development,
        source=model,
    )
    columns = ["task", "num_test", "guessing", "untrained_hybrid", "hard"]
    columns += ["trained_hybrid", "trained_hybrid_low", "trained_hybrid_high", "apart"]
    typer.echo(record.table()[columns].to_string(index=False, float_format="{:.3f}".format))
