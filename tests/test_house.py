"""The rules of the house: who may import whom, and that importing the library is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import course_lib

PACKAGE = Path(course_lib.__file__).resolve().parent
CHAPTERS = {"complexity", "smart", "ppt", "icl"}
GROUND = {
    "checks", "errors", "locations", "assets", "models", "texts", "prompts", "finetuning", "statistics", "runs",
}  # fmt: skip
UPPER = {"plotting", "classroom", "cli", "reference"}
# What each part of the package may not import. cli and reference are the roof: they may import everything.
FORBIDDEN = {
    **dict.fromkeys(GROUND, CHAPTERS | UPPER),
    **{name: (CHAPTERS - {name}) | {"classroom", "cli", "reference"} for name in CHAPTERS},
    "plotting": {"cli", "reference", "classroom"},
    "__init__": CHAPTERS | UPPER,
}


def imported_parts(path: Path, package: Path) -> Iterator[str]:
    """Give the part of the package ("smart", "runs") of each import in a file, wherever it stands."""
    inside = ["course_lib", *path.relative_to(package).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("course_lib."))


def violations(package: Path) -> list[str]:
    """Say each import that breaks the rules."""
    found = []
    for path in sorted(package.rglob("*.py")):
        part = path.relative_to(package).with_suffix("").parts[0]
        for other in imported_parts(path, package):
            if other in FORBIDDEN.get(part, set()):
                found.append(f"{path.relative_to(package)} imports {other}")
    return found


def test_the_package_keeps_its_layers() -> None:
    assert violations(PACKAGE) == []


def test_every_part_of_the_package_has_its_place() -> None:
    parts = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert parts <= CHAPTERS | GROUND | UPPER | {"__init__", "__main__"}


@pytest.mark.parametrize(
    ("file", "code", "broken"),
    [
        ("smart/trainer.py", "from course_lib.ppt import patterns", True),
        ("smart/trainer.py", "from ..ppt.patterns import Pattern", True),
        ("smart/trainer.py", "from course_lib import icl", True),
        ("smart/trainer.py", "def lazily():\n    import course_lib.complexity.capacity", True),
        ("smart/trainer.py", "from course_lib.smart.divergence import kl\nfrom . import proximal", False),
        ("smart/trainer.py", "from course_lib.finetuning import fine_tune", False),
        ("texts.py", "from course_lib.plotting import style", True),
        ("runs.py", "from course_lib.smart import SmartTrainer", True),
        ("models.py", "from course_lib.classroom.exercises import check", True),
        ("models.py", "from .classroom.pipeline import headline", True),
        ("models.py", "from course_lib.errors import CourseError", False),
        ("cli/measuring.py", "from course_lib.smart import SmartTrainer", False),
        ("reference.py", "from course_lib.complexity import sweep", False),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, file: str, code: str, broken: bool) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)
    assert bool(violations(tmp_path)) == broken


def test_importing_the_library_is_light() -> None:
    code = "import sys, course_lib; print({'torch', 'transformers', 'datasets', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
