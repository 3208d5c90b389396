"""How an assignment is declared: tasks with variants, hidden cases, references, usual mistakes and marks.

An assignment is a folder beside this file: one file a task, and an `__init__` with a constant `ASSIGNMENT`. Its
notebook's source is `notebooks/src/assignments/NAME.py`. The instructor's secret seed picks one variant of each
task; the run's seed draws the hidden cases.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from course_lib.classroom.checking.explaining import Mistake
from course_lib.classroom.limits import Limits
from course_lib.errors import CourseError, unknown_name

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Assignment",
    "Case",
    "Measured",
    "Mistake",
    "Task",
    "TaskFile",
    "Variant",
    "assignment_names",
    "load_assignment",
    "load_rubric",
    "read_rubric",
    "rubric_of",
    "tasks",
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
# The file of an assignment that was set; what marks are in it is the instructor's to change.
RUBRIC = "rubric.json"
MAX_MARKS = 1000
# How far numbers may be apart: other roundings of double precision pass, six decimal places and floats of half the
# precision do not.
TOLERANCE = 1e-9


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
        texts: what the source's placeholders `<<function.name>>` stand for in this form, by name.
        reference: the right implementation, with the learner's parameters by name. An open task has none.
        mistakes: usual wrong implementations, with the same parameters. The one that gives the learner's
            results gives the hint.
    """

    name: str
    texts: Mapping[str, str] = field(default_factory=dict)
    reference: Callable[..., Any] | None = None
    mistakes: Sequence[Mistake] = ()


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
        tolerance: how far numbers may be apart, as in `course_lib.classroom.exercises.compare`.
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


class TaskFile(Protocol):
    """A module that holds a task, with the fields of `Task`; that of an open task has a function `measure` besides."""

    __name__: str
    TITLE: str
    MARKS: int
    HINT: str

    @property
    def VARIANTS(self) -> tuple[Variant, ...]:  # noqa: N802
        """The forms of the task."""
        ...

    def cases(self, rng: np.random.Generator, variant: str, /) -> Sequence[Case]:
        """Gives the hidden cases, as `Task.cases` does."""
        ...


def tasks(*files: TaskFile) -> tuple[Task, ...]:
    """Returns the tasks of an assignment, each named after its file and the file's folder.

    Args:
        files: a module for each task, in the order of the notebook.
    """
    return tuple(
        Task(
            name=".".join(file.__name__.split(".")[-2:]),
            title=file.TITLE,
            marks=file.MARKS,
            cases=file.cases,
            variants=file.VARIANTS,
            hint=file.HINT,
            measure=getattr(file, "measure", None),
        )
        for file in files
    )


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
        texts = {
            f"{task.function}.{name}": text
            for task in self.tasks
            for name, text in task.variant(secret_seed).texts.items()
        }
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
    """List the assignments that exist; none where the course was installed from a wheel."""
    folder = Path(__file__).parent
    return sorted(path.parent.name for path in folder.glob("*/__init__.py"))


def load_assignment(name: str) -> Assignment:
    """Give an assignment by name.

    Raises:
        CourseError: if there is none of this name, two of its tasks have one name, or this installation holds no
            assignments.
    """
    known = assignment_names()
    if not known:
        raise CourseError(
            "The graded assignments are not installed: a wheel leaves them out, since they hold the solutions.",
            mend="Clone the course's repository, run `make course` in it, and use its .venv/bin/course.",
        )
    if name not in known:
        raise unknown_name("assignment", name, known)
    assignment: Assignment = importlib.import_module(f"course_lib.classroom.assignments.{name}").ASSIGNMENT
    names = [task.name for task in assignment.tasks]
    if len(set(names)) != len(names) or not all(task.startswith(f"{name}.") for task in names):
        raise CourseError(
            "An assignment's tasks have names of their own that begin with its name.",
            given=names,
            mend=f"Call them {name}.something.",
        )
    return assignment


def rubric_of(assignment: Assignment, secret_seed: int) -> dict[str, Any]:
    """Give what `rubric.json` says: assignment, seed, the form of each task that they pick, and its marks."""
    return {
        "assignment": assignment.name,
        "secret_seed": secret_seed,
        "variants": {task.name: task.variant(secret_seed).name for task in assignment.tasks},
        "marks": {task.name: task.marks for task in assignment.tasks},
    }


def read_rubric(given: str) -> tuple[str, int]:
    """Give the assignment and the secret seed that `course grade --assignment` names.

    Args:
        given: as for `load_rubric`.

    Raises:
        CourseError: as `load_rubric` does.
    """
    assignment, secret_seed = load_rubric(given)
    return assignment.name, secret_seed


def load_rubric(given: str) -> tuple[Assignment, int]:
    """Give the assignment, with the rubric's marks, and the secret seed that `course grade --assignment` names.

    Args:
        given: an assignment ("a1": its public form), or the `rubric.json` that `course assignment` wrote, or that
            file's folder.

    Raises:
        CourseError: if it is neither, or the file says anything that cannot be followed.
    """
    path = Path(given)
    path = path / RUBRIC if path.is_dir() else path
    if path.suffix != ".json":
        return load_assignment(given), 0
    try:
        rubric = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_no_name_twice)
        assignment, secret_seed = load_assignment(rubric["assignment"]), rubric["secret_seed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CourseError(
            "This rubric cannot be read.",
            given=given,
            mend=f"Name the {RUBRIC} that `course assignment` wrote.",
        ) from error
    if type(secret_seed) is not int or secret_seed < 0:
        raise _refused_rubric("The secret seed is a whole number from 0.", f"secret_seed {secret_seed!r}")
    expected = rubric_of(assignment, secret_seed)
    if unknown := sorted(set(rubric) - set(expected)):
        raise _refused_rubric("The rubric says something that grading does not know.", unknown)
    if rubric.get("variants", expected["variants"]) != expected["variants"]:
        raise _refused_rubric(
            "The seed picks the form of each task, and with this course it picks others.", rubric["variants"]
        )
    return _with_marks(assignment, rubric.get("marks", expected["marks"])), secret_seed


def _with_marks(assignment: Assignment, marks: Any) -> Assignment:
    """Give the assignment with other marks for its tasks."""
    names = [task.name for task in assignment.tasks]
    if not isinstance(marks, dict) or sorted(marks) != sorted(names):
        raise _refused_rubric(f"Each task has its marks: {', '.join(names)}, and nothing else has.", marks)
    if not all(type(mark) is int and 0 <= mark <= MAX_MARKS for mark in marks.values()):
        raise _refused_rubric(f"Marks are whole numbers from 0 to {MAX_MARKS}.", marks)
    if not any(marks.values()):
        raise _refused_rubric("A task at least has marks.", marks)
    for task in assignment.tasks:
        if task.measure is not None and marks[task.name] % task.marks:
            raise _refused_rubric(
                f"{task.name} earns its {task.marks} marks property by property, and has a multiple of them.",
                marks[task.name],
            )
    return replace(
        assignment, tasks=tuple(replace(task, marks=marks[task.name]) for task in assignment.tasks)
    )


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _refused_rubric(problem: str, given: object) -> CourseError:
    return CourseError(
        problem, given=given, mend=f"Change it in {RUBRIC}, or take the file as it was written."
    )
