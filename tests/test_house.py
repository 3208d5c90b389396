"""The rules of the house: who may import whom, how faces load, and how large a file and a room may be."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal, get_origin, is_typeddict

import pytest

import course_lib
from course_lib.checks import types
from course_lib.checks.calls import annotated_checks
from course_lib.lazy import names_for_type_checkers
from course_lib.reference import REFERENCES
from course_lib.runs.profiles import declared_sizes

PACKAGE = Path(course_lib.__file__).resolve().parent
CHAPTERS = {"complexity", "smart", "ppt", "icl"}
GROUND = {
    "assets", "checks", "errors", "finetuning", "lazy", "locations", "models", "prompts", "runs", "statistics", "texts",
}  # fmt: skip
ROOF = {"cli", "reference"}
UPPER = {"plotting", "classroom", *ROOF}
# What each part of the package may not import. The roof may import everything.
FORBIDDEN = {
    **dict.fromkeys(GROUND, CHAPTERS | UPPER),
    **{name: (CHAPTERS - {name}) | UPPER for name in CHAPTERS},
    "plotting": UPPER - {"plotting"},
    "classroom": ROOF,
    "__init__": CHAPTERS | UPPER,
}
MOST_LINES, MOST_FILES = 500, 12
# Types whose annotation is a check.
CHECKED_TYPES = {name for name, kind in vars(types).items() if get_origin(kind) is Annotated}
# Files that import where they use it what takes long and few users need, a package index and peft, or may be missing.
SLOW_AND_RARE = {
    "assets.py",
    "icl/tuning/records.py",
    "models/adapters.py",
    "ppt/pretraining/documents.py",
}


FACE = "if TYPE_CHECKING:\n    from {}\nelse:\n    a, b, c = lazy_face(__name__, __file__)"


def module_name(path: Path, package: Path) -> str:
    """Give a file's name as a module: "course_lib.smart.trainer", for a package's own file the package's."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(("course_lib", *(part for part in parts if part != "__init__")))


def parsed(package: Path) -> dict[str, tuple[Path, ast.Module]]:
    """Read every file of the package: its module's name -> the file and its tree."""
    return {
        module_name(path, package): (path, ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(package.rglob("*.py"))
    }


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def import_nodes(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Give the imports below a node, wherever they stand, but for those of type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif is_type_checking(child):
            yield from (found for other in child.orelse for found in import_nodes(other))
        else:
            yield from import_nodes(child)


def imported(node: ast.Import | ast.ImportFrom, path: Path, package: Path) -> Iterator[tuple[str, str]]:
    """Give module and name of each import; the name is empty where a module is imported whole."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
        return
    inside = ["course_lib", *path.relative_to(package).parent.parts]
    base = inside[: len(inside) - node.level + 1] if node.level else []
    stem = ".".join([*base, *([node.module] if node.module else [])])
    yield from ((stem, alias.name) for alias in node.names)


def is_face(tree: ast.Module) -> bool:
    """Say whether a file loads its names lazily."""
    return any(
        isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_face" for node in ast.walk(tree)
    )


def face_modules(tree: ast.Module) -> dict[str, str]:
    """Give the names of a lazy face, each with the module that it comes from."""
    if not is_face(tree):
        return {}
    return {shown: module for module, names in names_for_type_checkers(tree).items() for shown in names}


# --- who may import whom -------------------------------------------------------------------------------


def violations(package: Path) -> list[str]:
    """Say each import that breaks the layers, lazy ones and those of type checkers included."""
    found = []
    for path, tree in parsed(package).values():
        part = path.relative_to(package).with_suffix("").parts[0]
        nodes = (node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)))
        names = [f"{stem}.{one}".split(".") for node in nodes for stem, one in imported(node, path, package)]
        names += [module.split(".") for module in face_modules(tree).values()]
        others = dict.fromkeys(parts[1] for parts in names if parts[0] == "course_lib" and len(parts) > 1)
        found += [
            f"{path.relative_to(package)} imports {other}"
            for other in others
            if other in FORBIDDEN.get(part, set())
        ]
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
    assert found == {"lazy.py", "runs/profiles.py", "reference.py"}


def test_sizes_are_plain_values_and_each_is_declared_once() -> None:
    files = sorted(PACKAGE.glob("*/sizes.py"))
    assert len(files) >= 5
    graph = import_graph(PACKAGE)
    assert not [path for path in files if graph[module_name(path, PACKAGE)]]
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
    assert len(found) == 19


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
        ("smart/experiments/toy.py", "from ...icl import bias", True),
        ("smart/trainer.py", "from course_lib.classroom.grading import judging", True),
        ("smart/trainer.py", "if TYPE_CHECKING:\n    from course_lib.classroom import grading", True),
        ("smart/trainer.py", "from course_lib.plotting import style", True),
        ("smart/__init__.py", FACE.format("course_lib.icl.bias import h_accuracy as h_accuracy"), True),
        (
            "smart/__init__.py",
            FACE.format("course_lib.smart.trainer import SmartTrainer as SmartTrainer"),
            False,
        ),
        ("smart/trainer.py", "from course_lib.smart.divergence import kl\nfrom . import proximal", False),
        ("smart/trainer.py", "from course_lib.finetuning import fine_tune", False),
        ("texts.py", "from course_lib.plotting import style", True),
        ("runs.py", "from course_lib.smart import SmartTrainer", True),
        ("runs/records.py", "from course_lib.smart import SmartTrainer", True),
        ("models.py", "from course_lib.classroom.exercises import check", True),
        ("models.py", "from .classroom.pipeline import headline", True),
        ("models.py", "from course_lib.errors import CourseError", False),
        ("plotting/smart.py", "from course_lib.classroom import grading", True),
        ("plotting/smart.py", "from course_lib.smart.divergence import DIVERGENCES", False),
        ("classroom/pipeline/build.py", "from course_lib.cli import frame", True),
        ("cli/measuring.py", "from course_lib.smart import SmartTrainer", False),
        ("reference.py", "from course_lib.complexity import sweep", False),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, file: str, code: str, broken: bool) -> None:
    plant(tmp_path, {file: code})
    assert bool(violations(tmp_path)) == broken


def plant(package: Path, files: dict[str, str]) -> None:
    for file, code in files.items():
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        (package / file).write_text(code)


# --- no cycles ------------------------------------------------------------------------------------------


def import_graph(package: Path) -> dict[str, set[str]]:
    """Give the modules that each module imports, at its head, in a function or through its face.

    Importing a module runs the files of the packages around it too, but for those that the importing module
    itself lies in: they run already.
    """
    files = parsed(package)
    graph = {}
    for name, (path, tree) in files.items():
        found = {
            f"{stem}.{one}" if f"{stem}.{one}" in files else stem
            for node in import_nodes(tree)
            for stem, one in imported(node, path, package)
        } | set(face_modules(tree).values())
        around = {parent for module in found for parent in parents(module) if parent not in parents(name)}
        graph[name] = {module for module in found | around if module in files and module != name}
    return graph


def parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def import_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Give the modules of an import cycle, the first one again at its end; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert import_cycle(import_graph(PACKAGE)) == []


@pytest.mark.parametrize(
    ("files", "is_cycle"),
    [
        ({"a": "from course_lib.b import one", "b": "import course_lib.a"}, True),
        ({"a": "from course_lib import b", "b": "from .a import two"}, True),
        ({"a": "def f():\n    from course_lib import b", "b": "from course_lib import a"}, True),
        ({"a": "import course_lib.b", "b": "import course_lib.c", "c": "import course_lib.a"}, True),
        # a face that loads its module, which asks the face for another name
        (
            {
                "smart/__init__": FACE.format("course_lib.smart.loss import a as a"),
                "smart/loss": "from course_lib.smart import b",
            },
            True,
        ),
        # importing room.inner runs the room's own file, which imports a
        (
            {"a": "import course_lib.room.inner", "room/__init__": "import course_lib.a", "room/inner": ""},
            True,
        ),
        (
            {
                "room/__init__": "from .one import a",
                "room/one": "from course_lib.room import two",
                "room/two": "",
            },
            False,
        ),
        ({"a": "if TYPE_CHECKING:\n    from course_lib import b", "b": "import course_lib.a"}, False),
        ({"a": "import course_lib.b", "b": ""}, False),
    ],
)
def test_a_planted_cycle_is_found(tmp_path: Path, files: dict[str, str], is_cycle: bool) -> None:
    plant(tmp_path, {"__init__.py": "", **{f"{name}.py": code for name, code in files.items()}})
    assert bool(import_cycle(import_graph(tmp_path))) == is_cycle


# --- imports stand at the head ----------------------------------------------------------------------------


def late_imports(package: Path) -> set[str]:
    """Name the files of the methods in which an import stands inside a function."""
    found = set()
    for path, tree in parsed(package).values():
        functions = (
            node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        )
        if any(True for function in functions for _ in import_nodes(function)):
            found.add(path.relative_to(package).as_posix())
    return {file for file in found if Path(file).with_suffix("").parts[0] not in {"classroom", *ROOF}}


def test_imports_stand_at_the_head_of_a_file() -> None:
    assert late_imports(PACKAGE) - SLOW_AND_RARE == set()


@pytest.mark.parametrize(
    ("file", "code", "found"),
    [
        ("smart/loss.py", "def f():\n    import torch", {"smart/loss.py"}),
        ("smart/loss.py", "class A:\n    def f(self):\n        from torch import nn", {"smart/loss.py"}),
        ("runs.py", "def f():\n    if True:\n        import torch", {"runs.py"}),
        ("smart/loss.py", "import torch\nif TYPE_CHECKING:\n    import pandas", set()),
        ("cli/lessons.py", "def f():\n    import torch", set()),
    ],
)
def test_a_planted_late_import_is_found(tmp_path: Path, file: str, code: str, found: set[str]) -> None:
    plant(tmp_path, {file: code})
    assert late_imports(tmp_path) == found


# --- faces ----------------------------------------------------------------------------------------------


def face_faults(package: Path) -> list[str]:
    """Say which names of a lazy face are hidden from type checkers, and which hide a module."""
    files = parsed(package)
    found = []
    for name, (_, tree) in files.items():
        shown = face_modules(tree)
        aliases = {
            alias.asname
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        found += [f"{name}: {one} is not imported as itself" for one in sorted(set(shown) - aliases)]
        found += [f"{name}: {one} is a module too" for one in sorted(shown) if f"{name}.{one}" in files]
    return found


def test_faces_load_what_they_show() -> None:
    assert face_faults(PACKAGE) == []


def test_every_name_of_a_face_is_there() -> None:
    faces = [name for name, (_, tree) in parsed(PACKAGE).items() if is_face(tree)]
    assert faces
    for name in faces:
        face = importlib.import_module(name)
        for one in face.__all__:
            assert getattr(face, one) is not None, f"{name}.{one}"


@pytest.mark.parametrize(
    ("shown", "fault"),
    [
        ("course_lib.room.a import one as one", ""),
        ("course_lib.a import one as one", ""),
        ("course_lib.room.a import one", "one is not imported as itself"),
        ("course_lib.room.b import a as a", "a is a module too"),
    ],
)
def test_a_planted_fault_of_a_face_is_found(tmp_path: Path, shown: str, fault: str) -> None:
    plant(tmp_path, {"room/__init__.py": FACE.format(shown), "room/a.py": "", "room/b.py": "", "a.py": ""})
    found = face_faults(tmp_path)
    assert bool(found) == bool(fault)
    assert not fault or any(fault in one for one in found)


def test_importing_the_library_is_light() -> None:
    chapters = ", ".join(f"course_lib.{name}" for name in ("smart", "complexity", "icl", "plotting"))
    code = f"import sys, course_lib, {chapters}\n"
    code += "print({'torch', 'transformers', 'datasets', 'pandas', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# --- checks that annotations carry ------------------------------------------------------------------------


def unread_annotations(module: ModuleType) -> list[str]:
    """Name the functions and classes of a module whose annotations name a type of checks that is not read.

    That is so where an annotation names what only type checkers import: the check would be left out silently.
    """
    own = [one for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__]
    own += [method for one in own if isinstance(one, type) for method in vars(one).values()]
    found = []
    for one in own:
        owner = inspect.unwrap(one) if callable(one) else one
        said = [str(hint) for name, hint in getattr(owner, "__annotations__", {}).items() if name != "return"]
        words = {word for hint in said for word in re.findall(r"[\w.]+", hint)}
        alone = {
            match[1]
            for hint in said
            if (match := re.fullmatch(r"(?:Sequence\[)?(\w+)\]?(?: \| None)?", hint))
        }
        # another class may have such a name
        meant = {word for word in words & CHECKED_TYPES if not isinstance(vars(module).get(word), type)}
        meant |= {word for word in alone if get_origin(vars(module).get(word)) in (Annotated, Literal)}
        if meant and not is_typeddict(owner) and not annotated_checks(owner):
            found.append(f"{module.__name__}.{owner.__qualname__}")
    return found


def test_checks_that_annotations_carry_are_read() -> None:
    names = [name for name in parsed(PACKAGE) if not name.endswith("__main__")]
    assert [one for name in names for one in unread_annotations(importlib.import_module(name))] == []


def test_an_annotation_that_is_not_read_is_found() -> None:
    module = ModuleType("planted")
    code = "from __future__ import annotations\nfrom course_lib.checks import Count, border\n"
    code += "@border()\ndef read(n: Count) -> None: ...\n"
    code += "@border()\ndef unread(n: Count, table: OnlyForTypeCheckers) -> None: ...\n"
    exec(code, vars(module))
    assert unread_annotations(module) == ["planted.unread"]


# --- sizes ----------------------------------------------------------------------------------------------


def too_large(package: Path) -> set[str]:
    """Name the files of more than `MOST_LINES` lines and the rooms of more than `MOST_FILES` files."""
    files = sorted(package.rglob("*.py"))
    long = {str(path.relative_to(package)) for path in files if num_lines(path) > MOST_LINES}
    rooms = {path.parent for path in files}
    return long | {
        str(room.relative_to(package)) for room in rooms if len(list(room.glob("*.py"))) > MOST_FILES
    }


def num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_and_rooms_stay_small() -> None:
    assert too_large(PACKAGE) == set()


@pytest.mark.parametrize(
    ("num_lines", "num_files", "found"),
    [(500, 11, set()), (501, 11, {"room/long.py"}), (500, 12, {"room"})],
)
def test_planted_sizes_are_found(tmp_path: Path, num_lines: int, num_files: int, found: set[str]) -> None:
    others = {f"room/f{number}.py": "" for number in range(num_files)}
    plant(tmp_path, {"room/long.py": "pass\n" * num_lines, **others})
    assert too_large(tmp_path) == found
