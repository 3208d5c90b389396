"""Faces that load lazily: each name of a package comes from its module when it is first asked for."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def lazy_face(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make a package's `__getattr__`, `__dir__` and `__all__`, so that importing the package imports no module.

    Type checkers and editors do not see what is loaded so: the package's file imports the names for these too, and
    hides `__getattr__` from them, since with it any name would pass.

    Args:
        package: the package's `__name__`.
        file: the package's `__file__`, whose imports for type checkers say which names it shows, and of which modules.

    Returns:
        The three, in this order.

    Example:
        ```python
        if TYPE_CHECKING:
            from course_lib.smart.trainer import SmartTrainer as SmartTrainer
        else:
            __getattr__, __dir__, __all__ = lazy_face(__name__, __file__)
        ```
    """
    held = names_for_type_checkers(ast.parse(Path(file).read_text("utf-8")))
    modules = {name: module for module, names in held.items() for name in names}

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return load, list_names, sorted(modules)


def names_for_type_checkers(tree: ast.Module) -> dict[str, list[str]]:
    """Return the names that a file imports under `if TYPE_CHECKING:`, by module."""
    blocks = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    found: dict[str, list[str]] = {}
    for node in (node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)):
        found.setdefault(node.module or "", []).extend(alias.name for alias in node.names)
    return found
