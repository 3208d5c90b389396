"""The rules of the house: who may import whom, and that importing the library is light."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import course_lib
from course_lib.reference import REFERENCES
from course_lib.runs.profiles import declared_sizes

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


def dynamic_imports(package: Path) -> set[str]:
    """Give the files that import by a name that is made up at run time, where no reader of imports sees it."""
    callers = {"import_module", "__import__"}
    found = set()
    for path in package.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = {getattr(node, kind, "") for node in nodes for kind in ("id", "attr", "name")}
        if names & callers:
            found.add(path.relative_to(package).as_posix())
    return found


def test_only_these_import_by_a_made_up_name() -> None:
    """Profiles read `sizes.py` of each part, which imports nothing of the house; the roof collects references."""
    found = {path for path in dynamic_imports(PACKAGE) if not path.startswith(("classroom/", "cli/"))}
    assert found - {"lazy.py"} == {"runs/profiles.py", "reference.py"}


def test_sizes_are_plain_values_and_each_is_declared_once() -> None:
    files = sorted(PACKAGE.glob("*/sizes.py"))
    assert len(files) >= 5
    assert not [path for path in files if list(imported_parts(path, PACKAGE))]
    tables = [importlib.import_module(f"course_lib.{path.parent.name}.sizes").SIZES for path in files]
    assert len(declared_sizes()) == sum(map(len, tables))


def test_a_planted_import_by_a_made_up_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "runs.py").write_text("import importlib\nimportlib.import_module('course_lib.' + 'smart')")
    (tmp_path / "texts.py").write_text("from importlib import import_module as load")
    assert dynamic_imports(tmp_path) == {"runs.py", "texts.py"}


def test_references_are_found_and_named_as_their_functions() -> None:
    found = {name: make.__module__.split(".")[1] for name, make in REFERENCES.items()}
    assert found["sample_size"] == "complexity"
    assert set(found.values()) == CHAPTERS
    assert len(found) == 16


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
