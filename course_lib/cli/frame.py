"""What all commands share: errors are one readable message on stderr and an exit code."""

from __future__ import annotations

import errno
from typing import Any

import typer
from typer.core import TyperGroup

from course_lib.errors import CourseError

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


def print_error(error: CourseError) -> None:
    """Print an error in bold red on stderr, with its detail."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    console.print(Text(str(error), style="bold red"), soft_wrap=True)
    detail = getattr(error, "detail", "")
    if detail:
        console.print(Text.from_ansi(detail), soft_wrap=True)
