"""Commands that measure: the reference results, and the inductive bias of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from course_lib.checks.calls import check_choice
from course_lib.cli.options import Device, DrawSeed, Dtype, Model, names
from course_lib.errors import unknown_name
from course_lib.locations import check_writable_folder, data_folder


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
    model: Model = "embedded",
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
    choose_device(device)
    journal = pairs.journal_of(out)
    first, second = user_texts.named_hypotheses(h1, h2)
    rows = pairs.measure_pair(
        model,
        user_texts.named_texts(texts, first, second, names("labels", labels)),
        first,
        second,
        None if intervention is None else check_choice("intervention", intervention, INTERVENTION_KINDS),
        None if towards is None else check_choice("direction", towards, DIRECTIONS),
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
    if not PartialState().is_main_process:
        return
    import pandas as pd

    with written_output(out) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    journal.unlink(missing_ok=True)
    typer.echo(tables.bias_table(rows).to_string(index=False, float_format="{:.3f}".format))
    typer.echo(f"written: {out}")
