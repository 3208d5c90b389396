"""How an assignment is declared: tasks with variants, hidden cases, references, usual mistakes and marks.

An assignment is a file `assignment_NAME.py` beside this one with a constant `ASSIGNMENT`, and a source of its
notebook, `notebooks/src/assignments/NAME.py`. The instructor's secret seed picks one variant of each task; the
run's seed draws the hidden cases.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import textwrap
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError, unknown_name
from course_lib.exercises.comparing import TOLERANCE
from course_lib.exercises.framework import Mistake
from course_lib.grading.limits import Limits

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "AS_GIVEN",
    "Assignment",
    "Case",
    "Measured",
    "Mistake",
    "Task",
    "Variant",
    "assignment_names",
    "first_problem",
    "load_assignment",
    "read_rubric",
    "shown_source",
]

# What a notebook may import unless its assignment says otherwise, and what pip installs for it.
PACKAGES = {
    "numpy": "numpy>=2.0.2",
    "scipy": "scipy>=1.14",
    "pandas": "pandas>=2.2.2",
    "matplotlib": "matplotlib>=3.9",
    "seaborn": "seaborn>=0.13.2",
    "sklearn": "scikit-learn>=1.6.1",
    "tqdm": "tqdm>=4.67.1",
}
# How the hint to a planted bug begins where it was handed in again.
AS_GIVEN = "This behaves as the function that you were given. "


@dataclass(frozen=True)
class Case:
    """One hidden call.

    Args:
        arguments: what the learner's function gets, in the order of its parameters; plain data as in
            `channel.encode`. They go by position, so that their names are the learner's own.
        hidden: what a task's `measure` needs besides, and no submission ever sees.
    """

    arguments: Mapping[str, Any]
    hidden: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """One form of a task.

    Args:
        name: a few words; the rubric says it.
        texts: what the source's placeholders `<<name>>` stand for in this form.
        reference: the right implementation, with the learner's parameters by name. An open task has none.
        mistakes: usual wrong implementations, with the same parameters. The one that gives the learner's
            results gives the hint.
    """

    name: str
    texts: Mapping[str, str] = field(default_factory=dict)
    reference: Callable[..., Any] | None = None
    mistakes: tuple[Mistake, ...] = ()


@dataclass(frozen=True)
class Measured:
    """One property of an open task's answers, as measured.

    Args:
        name: the property, as the rubric names it.
        marks: what it is worth.
        passed: whether the answers have it.
        message: what was measured, in a sentence that tells nothing hidden.
    """

    name: str
    marks: int
    passed: bool
    message: str = ""


@dataclass(frozen=True)
class Task:
    """One graded task.

    Args:
        name: assignment and function, for example "a1.descend".
        title: a few words for the rubric.
        marks: what it is worth.
        cases: gives the hidden cases for a random generator and the variant's name, the simplest first. The
            same generator gives the same cases.
        variants: the forms of the task, at least one.
        hint: what to tell when no usual mistake explains the results.
        tolerance: how far numbers may be apart, as in `course_lib.exercises.compare`.
        measure: for an open task: gives the properties for the cases and the answers. It runs in the judge on
            plain data that may be anything, with NumPy alone; whatever it raises counts as not measurable.
    """

    name: str
    title: str
    marks: int
    cases: Callable[[np.random.Generator, str], Sequence[Case]]
    variants: tuple[Variant, ...]
    hint: str
    tolerance: float = TOLERANCE
    measure: Callable[[Sequence[Case], Sequence[Any]], Sequence[Measured]] | None = None

    @property
    def function(self) -> str:
        """The name of the function that the learner writes."""
        return self.name.partition(".")[2]

    def variant(self, secret_seed: int) -> Variant:
        """Give the form of this task that an instructor's secret seed picks."""
        return self.variants[int(self._generator(secret_seed).integers(len(self.variants)))]

    def variant_number(self, secret_seed: int) -> int:
        """Give the number of that form, from 1."""
        return 1 + self.variants.index(self.variant(secret_seed))

    def drawn_cases(self, seed: int, variant: Variant) -> list[Case]:
        """Give the hidden cases that a run's seed draws."""
        return list(self.cases(self._generator(_stretched(seed)), variant.name))

    def _generator(self, seed: int) -> np.random.Generator:
        import numpy as np

        # A seed of its own for each task: a task more changes nothing for the others.
        return np.random.default_rng([seed, zlib.crc32(self.name.encode())])


def _stretched(seed: int) -> int:
    """Make a run's seed costly to try: a submission that knows its first inputs must not find the seed of the rest."""
    return int.from_bytes(hashlib.pbkdf2_hmac("sha256", str(seed).encode(), b"hidden cases", 10_000))


@dataclass(frozen=True)
class Assignment:
    """A graded assignment.

    Args:
        name: for example "a1"; the names of its files.
        title: its title.
        tasks: in the order of the notebook.
        blocked: modules and names of the course that are taken out of the sandbox, because the assignment asks
            to write them; see `copy_course`.
        packages: what a notebook may import, by the name that it imports, and what pip is to install for it where
            the assignment is graded on a bare machine (Gradescope).
        limits: what a submission may use.
    """

    name: str
    title: str
    tasks: tuple[Task, ...]
    blocked: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=lambda: PACKAGES)
    limits: Limits = field(default_factory=Limits)

    @property
    def marks(self) -> int:
        """What all tasks are worth."""
        return sum(task.marks for task in self.tasks)

    def texts(self, secret_seed: int) -> dict[str, str]:
        """Give what the source's placeholders stand for under a secret seed.

        Returns:
            The texts of the tasks' variants, `form`, and `imports`: what a notebook may import.
        """
        chosen = [task.variant(secret_seed) for task in self.tasks]
        texts = {name: text for variant in chosen for name, text in variant.texts.items()}
        *names, last = (f"`{name}`" for name in self.packages)
        imports = f"{', '.join(names)} and {last}" if names else last
        return {**texts, "form": self.form(secret_seed), "imports": imports}

    def form(self, secret_seed: int) -> str:
        """Give the form of the assignment under a secret seed, which tells learners apart and no bug.

        Returns:
            Its name and the number of each task's variant, such as "a1 2-1-3-1-2".
        """
        numbers = "-".join(str(task.variant_number(secret_seed)) for task in self.tasks)
        return f"{self.name} {numbers}"


def assignment_names() -> list[str]:
    """List the assignments that exist."""
    folder = Path(__file__).parent
    return sorted(path.stem.removeprefix("assignment_") for path in folder.glob("assignment_*.py"))


def load_assignment(name: str) -> Assignment:
    """Give an assignment by name.

    Raises:
        CourseError: if there is none of this name, or two of its tasks have one name.
    """
    if name not in assignment_names():
        raise unknown_name("assignment", name, assignment_names())
    assignment: Assignment = importlib.import_module(f"course_lib.grading.assignment_{name}").ASSIGNMENT
    names = [task.name for task in assignment.tasks]
    if len(set(names)) != len(names) or not all(task.startswith(f"{name}.") for task in names):
        raise CourseError(
            "An assignment's tasks have names of their own that begin with its name.",
            given=names,
            mend=f"Call them {name}.something.",
        )
    return assignment


def read_rubric(given: str) -> tuple[str, int]:
    """Give the assignment and the secret seed that `course grade --assignment` names.

    Args:
        given: an assignment ("a1": its public form), or the `rubric.json` that `course assignment` wrote, or that
            file's folder.

    Raises:
        CourseError: if it is neither.
    """
    path = Path(given)
    path = path / "rubric.json" if path.is_dir() else path
    if path.suffix != ".json":
        return load_assignment(given).name, 0
    try:
        rubric = json.loads(path.read_text(encoding="utf-8"))
        return load_assignment(rubric["assignment"]).name, int(rubric["secret_seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CourseError(
            "This rubric cannot be read.",
            given=given,
            mend="Name the rubric.json that `course assignment` wrote.",
        ) from error


def first_problem(problems: Iterable[str]) -> str:
    """Give the first problem there is, for a property's message; empty if there is none.

    Args:
        problems: one for each thing that was looked at, empty where it is right.
    """
    return next(filter(None, problems), "")


def shown_source(function: Callable[..., Any], name: str) -> str:
    """Give the source of a planted bug as the notebook shows it.

    Args:
        function: its parameters bear no annotations.
        name: what the notebook calls it.
    """
    source = textwrap.dedent(inspect.getsource(function)).replace(function.__name__, name)
    return source.replace("  # type: ignore[no-untyped-def]", "").rstrip()
