"""Exercise cells: the learner's stub and the solution, both from one cell of the source.

In the source the solution stands between the comment lines `# solution` and `# end of solution`.
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass

from course_lib.errors import CourseError

START = "# solution"
END = "# end of solution"


@dataclass(frozen=True)
class Exercise:
    """One exercise, split at its markers.

    Args:
        name: for example "01.parameter_ratio".
        before: the lines above the solution.
        solution: the lines between the markers.
        after: the lines below the solution.
    """

    name: str
    before: list[str]
    solution: list[str]
    after: list[str]

    def solved(self) -> str:
        """Give the cell with its solution and without the markers."""
        return "\n".join([*self.before, *self.solution, *self.after])

    def stub(self) -> str:
        """Give the cell with the part that the learner is to write.

        A solution inside a function becomes `raise NotImplementedError`, one at top level becomes
        `name = None`.

        Raises:
            CourseError: if a solution at top level does not assign exactly one name.
        """
        first = next(line for line in self.solution if line.strip())
        indentation = first[: len(first) - len(first.lstrip())]
        todo = f'raise NotImplementedError("{self.name}")' if indentation else self._answer_stub()
        return "\n".join([*self.before, indentation + todo, *self.after])

    def _answer_stub(self) -> str:
        names = _assigned_names("\n".join(self.solution))
        if len(names) != 1:
            raise CourseError(
                f"The solution of the exercise {self.name} assigns {len(names)} names at top level.",
                given=sorted(names),
                mend="Assign one name between the markers, or put the solution inside a function.",
            )
        return f"{names.pop()} = None  # your answer"


def split_exercise(name: str, source: str) -> Exercise:
    """Split an exercise's cell at its markers.

    Args:
        name: the exercise's name.
        source: the cell.

    Raises:
        CourseError: if there is not exactly one pair of markers in order, or nothing between them.
    """
    lines = source.splitlines()
    starts = [index for index, line in enumerate(lines) if line.strip() == START]
    ends = [index for index, line in enumerate(lines) if line.strip() == END]
    if len(starts) != 1 or len(ends) != 1 or starts[0] > ends[0]:
        raise CourseError(
            f"The exercise {name} needs one pair of marker lines.",
            given=f"{len(starts)} x '{START}', {len(ends)} x '{END}'",
            mend=f"Put '{START}' above the solution and '{END}' below it.",
        )
    solution = lines[starts[0] + 1 : ends[0]]
    if not any(line.strip() for line in solution):
        raise CourseError(f"The exercise {name} has no solution.", mend="Write it between the markers.")
    return Exercise(name, lines[: starts[0]], solution, lines[ends[0] + 1 :])


def has_markers(source: str) -> bool:
    """Say whether a cell holds a marker line."""
    return any(line.strip() in (START, END) for line in source.splitlines())


def _assigned_names(code: str) -> set[str]:
    names: set[str] = set()
    for statement in ast.parse(textwrap.dedent(code)).body:
        targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
        names.update(target.id for target in targets if isinstance(target, ast.Name))
    return names
