"""Commands of soft prompts, `course ppt …`: pre-train, tune, predict, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from course_lib.cli.options import BatchSize, Device, DrawSeed, Dtype, LearningRate, Model, NumSteps, names
from course_lib.errors import CourseError
from course_lib.locations import check_output_file, written_output

if TYPE_CHECKING:
    from course_lib.ppt.user_texts import PromptPredictions


def pretrain(
    task: Annotated[str, typer.Argument(help="pair, choice, single or unified.")],
    num_steps: NumSteps = 1000,
    batch_size: BatchSize = 8,
    num_virtual_tokens: Annotated[int, typer.Option(help="Rows of the prompt.")] = 20,
    learning_rate: LearningRate = 1e-2,
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
    dtype: Dtype = None,
    model: Model = "embedded",
    out: Annotated[Path | None, typer.Option(help="Where it goes; data/prompts/TASK by default.")] = None,
) -> None:
    """Pre-train a prompt on plain text; a stopped run goes on where it was."""
    from course_lib.ppt.pretraining.shipped import pretrain_task
    from course_lib.texts.user_files import split_names

    folder = pretrain_task(
        task,
        folder=out,
        model_source=model,
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
    model: Model = "embedded",
    labels: Annotated[
        str | None, typer.Option(help="The file's labels in the words' order; 0, 1, … by default.")
    ] = None,
    template: Annotated[str, typer.Option(help="The pattern.")] = "{soft}{text} It was",
    start: Annotated[str, typer.Option(help="sample_vocab, random, or a prompt's folder.")] = "sample_vocab",
    num_virtual_tokens: Annotated[int | None, typer.Option(help="Rows of the prompt; 20.")] = None,
    num_steps: NumSteps = 60,
    batch_size: BatchSize = 16,
    learning_rate: LearningRate = 5e-3,
    seed: DrawSeed = 0,
) -> None:
    """Tune a soft prompt for your own model and texts."""
    from course_lib.ppt.optimisation import PromptTrainingSettings
    from course_lib.ppt.user_texts import tune_prompt
    from course_lib.texts.user_files import split_names

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
        labels=names("labels", labels),
        start=start,
        num_virtual_tokens=num_virtual_tokens,
        settings=settings,
        model_source=model,
    )
    typer.echo(result.evaluation_table().to_string(index=False, float_format="{:.3f}".format))
    typer.echo(f"kept step {result.kept_step}, written: {out}")


def predict(
    prompt: Annotated[Path, typer.Option(help="The folder of a tuned prompt.")],
    texts: Annotated[Path, typer.Option(help="A CSV, TSV, JSON lines or parquet file.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write, a row for each text.")],
    model: Model = "embedded",
    words: Annotated[str | None, typer.Option(help="Label words; those of the tuning by default.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="The classes' names in the words' order; as tuned.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="The pattern; that of the tuning by default.")] = None,
    batch_size: Annotated[int, typer.Option(help="Texts at a time.")] = 32,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Predict the labels of your own texts behind a prompt that `course ppt tune` wrote."""
    check_output_file(out, suffix=".csv")
    options = {"batch_size": batch_size, "dtype": dtype, "device": device}
    found = _predictions(prompt, texts, model, words, labels, template, labelled=False, **options)
    typer.echo(found.shares().to_string(index=False, float_format="{:.3f}".format))
    _write_predictions(found, out)


def evaluate(
    folder: Annotated[Path | None, typer.Option(help="The prompts; data/prompts by default.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Which, joined by commas; all by default.")] = None,
    model: Model = "embedded",
    num_test: Annotated[int, typer.Option(help="Held-out examples of each task.")] = 600,
    num_development: Annotated[int, typer.Option(help="Examples to choose the hard pattern on.")] = 200,
    prompt: Annotated[Path | None, typer.Option(help="A tuned prompt of yours instead of these.")] = None,
    texts: Annotated[Path | None, typer.Option(help="For it: a file with `label`.")] = None,
    out: Annotated[Path | None, typer.Option(help="For it: a CSV file for the predictions.")] = None,
    words: Annotated[str | None, typer.Option(help="For it: label words; those of the tuning.")] = None,
    labels: Annotated[str | None, typer.Option(help="For it: the file's labels; as tuned.")] = None,
    template: Annotated[str | None, typer.Option(help="For it: the pattern; that of the tuning.")] = None,
    batch_size: Annotated[int, typer.Option(help="For it: texts at a time.")] = 32,
    dtype: Annotated[str | None, typer.Option(help="For it: bfloat16 or float16 to compute in.")] = None,
    device: Annotated[str | None, typer.Option(help="For it: cpu, cuda or mps.")] = None,
) -> None:
    """Measure pre-trained prompts on held-out documents; or, with --prompt, a tuned one on your own texts."""
    if prompt is None and texts is None:
        _evaluate_shipped(folder, names("tasks", tasks), model, num_test, num_development)
        return
    if prompt is None or texts is None:
        raise CourseError(
            "A tuned prompt is evaluated on texts: --prompt and --texts go together.",
            mend="Give both, or neither for the pre-trained prompts.",
        )
    if out is not None:
        check_output_file(out, suffix=".csv")
    options = {"batch_size": batch_size, "dtype": dtype, "device": device}
    found = _predictions(prompt, texts, model, words, labels, template, labelled=True, **options)
    typer.echo(f"accuracy {found.accuracy} of {found.accuracy.n} texts (95 %)")
    typer.echo(found.shares().to_string(index=False, float_format="{:.3f}".format))
    if out is not None:
        _write_predictions(found, out)


def _evaluate_shipped(
    folder: Path | None, tasks: list[str] | None, model: str, num_test: int, num_development: int
) -> None:
    from course_lib.ppt.pretraining.evaluation import evaluate_shipped

    record = evaluate_shipped(
        folder, task_names=tasks, num_test=num_test, num_development=num_development, model_source=model
    )
    columns = ["task", "num_test", "guessing", "untrained_hybrid", "hard"]
    columns += ["trained_hybrid", "trained_hybrid_low", "trained_hybrid_high", "apart"]
    typer.echo(record.table()[columns].to_string(index=False, float_format="{:.3f}".format))


def _predictions(
    prompt: Path,
    texts: Path,
    model: str,
    words: str | None,
    labels: str | None,
    template: str | None,
    **options: Any,
) -> PromptPredictions:
    from course_lib.models import choose_device
    from course_lib.ppt.user_texts import predict_texts

    choose_device(options["device"])
    return predict_texts(
        texts,
        prompt,
        model_source=model,
        words=names("words", words),
        labels=names("labels", labels),
        template=template,
        **options,
    )


def _write_predictions(found: PromptPredictions, out: Path) -> None:
    with written_output(out) as temporary:
        found.table().to_csv(temporary, index=False)
    typer.echo(f"written: {out}")
