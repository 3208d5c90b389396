"""The `course` command, one file a group of commands.

Imports stand inside the commands, so that `course --help` is quick.
"""

from __future__ import annotations

import typer

from course_lib.cli import grading, lessons, measuring, prompts, tuning
from course_lib.cli.frame import CourseCommand, CourseGroup, answer_ctrl_c, before_any_command

app = typer.Typer(
    cls=CourseGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(before_any_command)
app.command(cls=CourseCommand)(lessons.run)
app.command(cls=CourseCommand)(lessons.build)
app.command(cls=CourseCommand)(lessons.lab)
app.command(name="assets", cls=CourseCommand)(lessons.list_assets)
app.command(cls=CourseCommand)(lessons.clean)
app.command(cls=CourseCommand)(lessons.progress)
app.command(cls=CourseCommand)(measuring.reference)
app.command(cls=CourseCommand)(measuring.bias)
app.command(cls=CourseCommand)(grading.assignment)
app.command(cls=CourseCommand)(grading.grade)
app.command(cls=CourseCommand)(grading.gradescope)

ppt = typer.Typer(
    help="Soft prompts: pre-train the shipped ones, tune one on your texts, predict, evaluate.",
    no_args_is_help=True,
)
ppt.command(cls=CourseCommand)(prompts.pretrain)
ppt.command(cls=CourseCommand)(prompts.tune)
ppt.command(cls=CourseCommand)(prompts.predict)
ppt.command(cls=CourseCommand)(prompts.evaluate)
app.add_typer(ppt, name="ppt")

icl = typer.Typer(
    help="In-context learning: tune a sibling of a model to follow a feature.", no_args_is_help=True
)
# a group of one command would be that command
icl.callback()(lambda: None)
icl.command(cls=CourseCommand)(tuning.tune)
app.add_typer(icl, name="icl")


def main() -> None:
    """Run the `course` command."""
    answer_ctrl_c()
    app(prog_name="course")
