"""List the figures of reliability, or measure one: `python -m tests.reliability [FIGURE] [OPTIONS]`.

A figure is a module of this folder with `run(argv)`, which prints the figure and returns the exit status; the first
line of its docstring says what it counts. Modules that begin with an underscore help them.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent


def figures() -> dict[str, str]:
    """Give the name of each figure and what it counts."""
    paths = sorted(path for path in FOLDER.glob("[a-z]*.py") if not path.stem.startswith("test_"))
    return {path.stem: _first_line(path) for path in paths}


def main(argv: Sequence[str]) -> int:
    """List the figures, or measure the one that is named."""
    known = figures()
    if not argv:
        for name, line in known.items():
            print(f"{name:<12} {line}")
        return 0
    name, *rest = argv
    if name not in known:
        print(f"There is no figure {name!r}; there are: {', '.join(known)}.", file=sys.stderr)
        return 2
    status: int = importlib.import_module(f"tests.reliability.{name}").run(rest)
    return status


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
