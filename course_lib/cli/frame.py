"""What all commands share: errors are one readable message on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from course_lib import __version__
from course_lib.errors import CourseError
from course_lib.locations import CACHE_VARIABLE, cache_folder

STOPPED = 130
# What an error of the system means to someone who runs a command that writes files.
_SYSTEM_TROUBLE = {
    errno.ENOSPC: "The disk is full.",
    errno.EACCES: "This file may not be read or written.",
    errno.EPERM: "This file may not be read or written.",
    errno.EROFS: "This folder is read-only.",
}


class CourseGroup(TyperGroup):
    """Commands whose errors are one readable message on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; 1 is a failing lesson, 2 bad input, 130 Ctrl-C."""
        # Kernels and workers have folders of their own: there a relative one would be another cache.
        if os.environ.get(CACHE_VARIABLE):
            os.environ[CACHE_VARIABLE] = str(cache_folder())
        try:
            return super().invoke(ctx)
        except CourseError as error:
            print_error(error)
            raise typer.Exit(getattr(error, "exit_code", 2)) from None
        except KeyboardInterrupt:
            print_error(CourseError("stopped"))
            raise typer.Exit(STOPPED) from None
        except OSError as error:
            if error.errno not in _SYSTEM_TROUBLE:
                raise
            mend = "Free some space, or mend its permissions, and run the command again."
            print_error(CourseError(_SYSTEM_TROUBLE[error.errno], given=error.filename, mend=mend))
            raise typer.Exit(2) from None


class CourseCommand(TyperCommand):
    """A command that takes no option without a value, as of `--model "$UNSET"`: it would stand for the default."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        for parameter in self.params:
            if ctx.params.get(parameter.name) == "" and parameter.default != "":
                raise CourseError(
                    f"{parameter.opts[-1]} is given, but empty.", mend="Give a value, or leave it out."
                )
        return super().invoke(ctx)


def answer_ctrl_c() -> None:
    """Say at the first Ctrl-C that the command is stopping; at the second, end it and all it started at once."""
    owner = os.getpid()

    def first(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            os.write(2, b"\nStopping. Ctrl-C again ends at once.\n")
            signal.signal(signal.SIGINT, second)
        raise KeyboardInterrupt

    def second(number: int, frame: FrameType | None) -> None:
        _kill_children()
        os._exit(STOPPED)

    # Where Ctrl-C is ignored (as under nohup), it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, first)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"course {__version__}")
        raise typer.Exit()


def before_any_command(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Adapting pre-trained language models: run, build and read the course."""


def _kill_children() -> None:
    try:
        import psutil

        children = psutil.Process().children(recursive=True)
    except (ImportError, OSError):
        return
    for child in children:
        with suppress(psutil.Error):
            child.kill()


def print_error(error: CourseError) -> None:
    """Print an error in bold red on stderr, with its detail."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    console.print(Text(str(error), style="bold red"), soft_wrap=True)
    detail = getattr(error, "detail", "")
    if detail:
        console.print(Text.from_ansi(detail), soft_wrap=True)
