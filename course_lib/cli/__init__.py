"""The `course` command, one file a group of commands.

Imports stand inside the commands, so that `course --help` is quick.
"""

from __future__ import annotations

import typer

from course_lib.cli import grading, lessons, measuring, prompts
from course_lib.cli.frame import CourseGroup, answer_ctrl_c, before_any_command

app = typer.Typer(
    cls=CourseGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(before_any_command)
app.command()(lessons.run)
app.command()(lessons.build)
app.command()(lessons.lab)
app.command(name="assets")(lessons.list_assets)
app.command()(lessons.clean)
app.command()(lessons.progress)
app.command()(measuring.reference)
app.command()(measuring.bias)
app.command()(grading.assignment)
app.command()(grading.grade)
app.command()(grading.gradescope)

ppt = typer.Typer(
    help="Soft prompts: pre-train the shipped ones, tune one on your texts, predict, evaluate.",
    no_args_is_help=True,
)
ppt.command()(prompts.pretrain)
ppt.command()(prompts.tune)
ppt.command()(prompts.predict)
ppt.command()(prompts.evaluate)
app.add_typer(ppt, name="ppt")


def main() -> None:
    """Run the `course` command."""
    answer_ctrl_c()
    app(prog_name="course")
