"""Faces that load lazily: each name of a package comes from its module when it is first asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_face(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make a package's `__getattr__`, `__dir__` and `__all__`, so that importing the package imports no module.

    Type checkers and editors do not see the names: the package's file imports them for these too, and hides
    `__getattr__` from them, since with it any name would pass.

    Args:
        package: the package's `__name__`.
        names: the names by the module in which they stand: "trainer" is a module of the package,
            "experiments.toy" one of a package in it, and what begins with "course_lib." a module elsewhere.

    Returns:
        The three, in this order.

    Example:
        ```python
        if TYPE_CHECKING:
            from course_lib.smart.trainer import SmartTrainer as SmartTrainer
        else:
            __getattr__, __dir__, __all__ = lazy_face(__name__, {"trainer": ["SmartTrainer"]})
        ```
    """
    modules = {name: module for module, held in names.items() for name in held}

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = modules[name]
        is_elsewhere = module.startswith("course_lib.")
        return getattr(import_module(module if is_elsewhere else f"{package}.{module}"), name)

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return load, list_names, sorted(modules)
