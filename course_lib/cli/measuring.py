"""Commands that measure: the reference results, and the inductive bias of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from course_lib.checks.calls import check_choice
from course_lib.cli.options import Device, DrawSeed, Dtype, Models, names
from course_lib.errors import CourseError, unknown_name
from course_lib.locations import check_writable_folder, data_folder

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")


def reference(
    name: Annotated[str | None, typer.Argument(help="The reference result to make again.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List the reference results.")] = False,
) -> None:
    """Make a reference result of data/results/ again, at full size."""
    from course_lib.reference import REFERENCES

    if show or name is None:
        for known in sorted(REFERENCES):
            typer.echo(known)
        return
    if name not in REFERENCES:
        raise unknown_name("reference result", name, sorted(REFERENCES))
    check_writable_folder(data_folder() / "results")
    typer.echo(f"written: {REFERENCES[name]().save()}")


def bias(
    h1: Annotated[
        str,
        typer.Option(
            help="The intended feature, for example sentiment, or column:NAME for a column of 0 and 1 of your file."
        ),
    ],
    h2: Annotated[
        str, typer.Option(help="Its competitor, for example sentiment.short or column:is_question.")
    ],
    out: Annotated[Path, typer.Option(help="The CSV file to write, a row for each set and calibration.")],
    model: Models = None,
    texts: Annotated[
        str,
        typer.Option(
            help="embedded, names of texts joined by commas, or a CSV, TSV, JSON lines or parquet file."
        ),
    ] = "embedded",
    labels: Annotated[
        str | None, typer.Option(help="The file's labels joined by commas, the first for 0; 0,1 by default.")
    ] = None,
    intervention: Annotated[
        str | None, typer.Option(help="instruction, verbalizer, explanation or disambiguation.")
    ] = None,
    towards: Annotated[str | None, typer.Option(help="h1 or h2: where the intervention steers to.")] = None,
    num_demonstrations: Annotated[int, typer.Option(help="Demonstrations of a set.")] = 16,
    test_size: Annotated[int, typer.Option(help="Test items of a set, at most.")] = 1200,
    num_sets: Annotated[int, typer.Option(help="Sets of demonstrations.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Test items at a time.")] = 16,
    seed: DrawSeed = 0,
    dtype: Dtype = None,
    device: Device = None,
    figure: Annotated[Path | None, typer.Option(help="The figure to draw, .png, .svg or .pdf.")] = None,
) -> None:
    """Measure which of two features a language model follows (h-accuracy); a stopped run goes on where it was.

    Several processes share the sets: torchrun --nproc-per-node 2 -m course_lib bias …
    """
    from accelerate import PartialState

    from course_lib.icl.experiments import pairs, tables, user_texts
    from course_lib.icl.interventions import DIRECTIONS, INTERVENTION_KINDS
    from course_lib.locations import check_output_file, written_output
    from course_lib.models import choose_device

    check_output_file(out, suffix=".csv")
    if figure is not None:
        _check_figure_file(figure)
    models = _distinct(model or ["embedded"])
    choose_device(device)
    journal = pairs.journal_of(out)
    first, second = user_texts.named_hypotheses(h1, h2)
    loaded_texts = user_texts.named_texts(texts, first, second, names("labels", labels))
    rows = [
        row
        for name in models
        for row in pairs.measure_pair(
            name,
            loaded_texts,
            first,
            second,
            None if intervention is None else check_choice("intervention", intervention, INTERVENTION_KINDS),
            None if towards is None else check_choice("direction", towards, DIRECTIONS),
            beside=models,
            num_sets=num_sets,
            batch_size=batch_size,
            num_demonstrations=num_demonstrations,
            test_size=test_size,
            seed=seed,
            dtype=dtype,
            device=device,
            journal=journal,
            progress=True,
        )
    ]
    if not PartialState().is_main_process:
        return
    import pandas as pd

    with written_output(out) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    journal.unlink(missing_ok=True)
    table = tables.bias_table(rows)
    _show(table)
    for name in models[1:]:
        typer.echo(f"\n{name} less {models[0]}, h1-accuracy at the median:")
        _show(tables.compare_models(rows, name, models[0]))
    typer.echo(f"written: {out}")
    if figure is not None:
        _draw(table, figure)
        typer.echo(f"written: {figure}")


def _distinct(models: list[str]) -> list[str]:
    """Refuses an empty name, and the same model twice."""
    if "" in models:
        raise CourseError("--model is given, but empty.", mend="Give a value, or leave it out.")
    if len(set(models)) < len(models):
        raise CourseError("A model is there twice.", given=models, mend="Name each once.")
    return models


def _show(table: Any) -> None:
    typer.echo(table.to_string(index=False, float_format="{:.3f}".format))


def _check_figure_file(figure: Path) -> None:
    from course_lib.locations import check_output_file

    if figure.suffix.lower() not in FIGURE_SUFFIXES:
        raise CourseError(
            "A figure is one of these kinds of file.",
            given=str(figure),
            mend=f"End its name in {FIGURE_SUFFIXES}.",
        )
    check_output_file(figure)


def _draw(table: Any, figure: Path) -> None:
    """Draws a table of `bias_table`, a row for each model."""
    from course_lib.locations import written_output
    from course_lib.plotting.bias import bias_figure

    drawn = bias_figure(table)
    with written_output(figure) as temporary:
        drawn.savefig(temporary, format=figure.suffix.lower().removeprefix("."))
