"""Options that several commands have, and how their values are read."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[str, typer.Option(help="embedded, a folder, or a hub id.")]
Models = Annotated[
    list[str] | None,
    typer.Option(
        help="embedded, a shipped sibling, a folder, or a hub id; several, each behind --model, are compared with the "
        "first."
    ),
]
Dtype = Annotated[str | None, typer.Option(help="bfloat16 or float16 to compute in.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or mps; the fastest by default.")]
DrawSeed = Annotated[int, typer.Option(help="Seed of the draws.")]
NumSteps = Annotated[int, typer.Option(help="Optimizer steps.")]
BatchSize = Annotated[int, typer.Option(help="Examples a step.")]
LearningRate = Annotated[float, typer.Option(help="Peak learning rate.")]


def names(what: str, joined: str | None) -> list[str] | None:
    """Return the names that an option joins by commas; None where it is not given.

    Args:
        what: the option, for the error.
        joined: its value.

    Raises:
        CourseError: no name, an empty one or one given twice.
    """
    from course_lib.texts.user_files import split_names

    return None if joined is None else split_names(what, joined)
