"""What stands in for Jupyter's shell in the sandbox: it runs the Python of a notebook, and passes over the rest.

IPython's own transformer says what a line that is no Python means. Nothing outside Python is run: a shell command does
nothing and gives no output. This file belongs to the worker's side of the judge.
"""

from __future__ import annotations
import __future__ as futures

import ast
import asyncio
import inspect
import linecache
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Magics with Python under them, or on their line, that a notebook's later cells may count on.
_RUN_MAGICS = (
    "time",
    "timeit",
    "capture",
    "prun",
    "memit",
    "mprun",
    "lprun",
    "heat",
    "snakeviz",
    "pyinstrument",
)
_RUN_LINE_MAGICS = ("time", "prun")
_FUTURE_FLAGS = sum(getattr(futures, name).compiler_flag for name in futures.all_feature_names)
# What a newer Python brought that an older one cannot read: since when, what it is called, and how a line of it begins.
_NEWER_SYNTAX = (
    ((3, 12), "a `type` statement", re.compile(r"^\s*type\s+\w+\s*(\[.*\]\s*)?=")),
    ((3, 12), "type parameters in square brackets", re.compile(r"^\s*(async\s+)?(def|class)\s+\w+\s*\[")),
    (
        (3, 12),
        "an f-string with its own quotes or a backslash inside",
        re.compile(r"\b[rR]?[fF][rR]?[\"'].*\{"),
    ),
    (
        (3, 14),
        "several exceptions after `except` without brackets",
        re.compile(r"^\s*except\*?\s+[\w.]+\s*,"),
    ),
    ((3, 14), "a t-string", re.compile(r"\b[rR]?[tT][rR]?[\"']")),
)


class NotInstalled:
    """Stands for a module, or something of it, that is not installed here: using it does nothing.

    Args:
        name: what was imported.
    """

    def __init__(self, name: str) -> None:
        self.__dict__["_name"] = name

    def __repr__(self) -> str:
        return f"<{self._name}, which cannot be imported here>"

    def __getattr__(self, name: str) -> NotInstalled:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *arguments: Any, **_: Any) -> Any:
        """Do nothing, and give nothing but itself."""
        # As a decorator it leaves the function as it is.
        return arguments[0] if len(arguments) == 1 and inspect.isfunction(arguments[0]) else self

    def __getitem__(self, _: object) -> NotInstalled:
        return self

    def __iter__(self) -> Iterator[Any]:
        raise ModuleNotFoundError(f"{self._name} cannot be imported here")

    def _ignore(self, *_: object) -> None:
        """Take a value and forget it."""

    __setattr__ = __setitem__ = __delattr__ = __delitem__ = __exit__ = _ignore

    def __enter__(self) -> NotInstalled:
        return self


class Shell:
    """Runs cells in one namespace, one statement after the other as Jupyter does.

    Args:
        namespace: what cells see and define.
        python: the version that the notebook says it was written with, such as "3.13.1"; empty if it does not say.
    """

    def __init__(self, namespace: dict[str, Any], python: str = "") -> None:
        self._namespace, self._python = namespace, python
        # What `from __future__` has switched on holds for the cells below, too.
        self._flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._absent: list[str] = []
        namespace.update(
            get_ipython=lambda: self, display=_display, In=[""], Out={}, exit=_nothing, quit=_nothing
        )

    def run(self, source: str, name: str, start: Callable[[], None] = lambda: None) -> list[str]:
        """Run a cell.

        Args:
            source: its text.
            name: what its errors call it.
            start: called when the cell has been read and is about to run.

        Returns:
            What could not be imported, a sentence each: the cell went on without it.

        Raises:
            BaseException: what the cell raises.
        """
        self._absent = []
        tree = self._parsed(source, name)
        start()
        self._run(tree, name)
        return self._absent

    def run_cell_magic(self, name: str, line: str, cell: str) -> Any:
        """Run the Python of a cell under a magic; write the file of %%writefile."""
        if name in _RUN_MAGICS:
            for variable in _words(line)[:1] if name == "capture" else ():
                self._namespace[variable] = NotInstalled("%%capture's output")
            self._run(self._parsed(cell, self._file()), self._file())
        if name in ("writefile", "file"):
            _write(line, cell)
        return None

    def run_line_magic(self, name: str, line: str, _stack_depth: int = 1) -> Any:
        """Run the Python on the line of a magic, or the file that %run names."""
        caller = sys._getframe(1)
        if name == "run":
            self._run_file(line)
        if name in ("env", "set_env") and "=" in line:
            variable, _, value = line.partition("=")
            os.environ[variable.strip()] = value.strip()
        if name not in _RUN_LINE_MAGICS:
            return NotInstalled(f"%{name}")
        try:
            # A shell command may stand there, too.
            tree = self._parsed(re.sub(r"^(\s*-{1,2}[\w-]+)*\s*", "", line), self._file())
        except SyntaxError:
            return NotInstalled(f"%{name}")
        # At the top of a cell the caller's names are the notebook's own, and a name that is set there stays.
        return _value(tree, self._file(), caller.f_globals, caller.f_locals)

    def system(self, command: str) -> None:
        """Run no shell command."""
        self._namespace["_exit_code"] = 0

    def getoutput(self, command: str, **_: Any) -> Any:
        """Give what a shell command that is not run says: nothing."""
        from IPython.utils.text import SList

        return SList()

    def __getattr__(self, name: str) -> NotInstalled:
        if name.startswith("__"):
            raise AttributeError(name)
        return NotInstalled(f"get_ipython().{name}")

    def _file(self) -> str:
        """Give the name of the cell that runs, for places in errors."""
        frame: Any = sys._getframe(1)
        while frame is not None and not frame.f_code.co_filename.startswith("code cell"):
            frame = frame.f_back
        return frame.f_code.co_filename if frame is not None else "code cell"

    def _parsed(self, source: str, name: str) -> ast.Module:
        if "IPython" in source:
            self._stand_in_for_ipython()
        try:
            return _tree(source, name)
        except SyntaxError:
            pass
        self._stand_in_for_ipython()
        from IPython.core.inputtransformer2 import TransformerManager

        transformed = TransformerManager().transform_cell(source)
        try:
            return _tree(transformed, name)
        except SyntaxError as error:
            if newer := newer_syntax(error, self._python):
                error.msg = f"{error.msg}. {newer}"
            raise

    def _stand_in_for_ipython(self) -> None:
        """Have IPython's own function give this shell, wherever a notebook imports it from."""
        import IPython
        from IPython.core import getipython

        IPython.get_ipython = getipython.get_ipython = lambda: self  # type: ignore[assignment,return-value]

    def _run(self, tree: ast.Module, name: str) -> None:
        for statement in (part for whole in tree.body for part in _one_import_each(whole)):
            try:
                self._run_statement(statement, name)
            except Exception as error:
                if not isinstance(statement, ast.Import | ast.ImportFrom):
                    raise
                self._go_on_without(statement, error)

    def _run_statement(self, statement: ast.stmt, name: str) -> None:
        module = ast.Module([statement], type_ignores=[])
        code = compile(module, name, "exec", self._flags, dont_inherit=True)
        self._flags |= code.co_flags & _FUTURE_FLAGS
        result = eval(code, self._namespace)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(result)

    def _go_on_without(self, statement: ast.Import | ast.ImportFrom, error: Exception) -> None:
        """Have something stand for what cannot be imported: what is below in the cell counts all the same."""
        module = statement.module or "" if isinstance(statement, ast.ImportFrom) else ""
        for alias in statement.names:
            bound = alias.asname or (alias.name if module else alias.name.partition(".")[0])
            self._namespace[bound] = NotInstalled(f"{module}.{alias.name}".strip("."))
        self._absent.append(f"{type(error).__name__}: {error} (line {statement.lineno})")

    def _run_file(self, line: str) -> None:
        for name in _words(line)[:1]:
            path = Path(name if name.endswith(".py") else f"{name}.py")
            if path.is_file():
                self._run(self._parsed(path.read_text(encoding="utf-8"), self._file()), self._file())


def newer_syntax(error: SyntaxError, written_with: str = "") -> str:
    """Say of a syntax error that a newer Python would read the line; empty if nothing tells so.

    Args:
        error: the error.
        written_with: the version of Python that the notebook was written with, such as "3.13.1".
    """
    here = sys.version_info[:2]
    marked = f"this notebook is marked with Python {here[0]}.{here[1]}"
    for since, what, pattern in _NEWER_SYNTAX:
        if since > here and pattern.search(error.text or ""):
            return f"This looks like {what}: it needs Python {since[0]}.{since[1]} or newer, and {marked}"
    version = re.match(r"(\d+)\.(\d+)", written_with)
    if version and (int(version[1]), int(version[2])) > here:
        return f"The line may need Python {version[1]}.{version[2]}, which it was written with; {marked}"
    return ""


def _tree(source: str, name: str) -> ast.Module:
    tree = ast.parse(source, name)
    # So that inspect and tracebacks find the lines of a cell, as in Jupyter.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return tree


def _one_import_each(statement: ast.stmt) -> Iterator[ast.stmt]:
    """Split an import of several names, so that one that fails costs no other."""
    if not isinstance(statement, ast.Import | ast.ImportFrom):
        yield statement
        return
    for alias in statement.names:
        single = ast.Import([alias]) if isinstance(statement, ast.Import) else _only(statement, alias)
        yield ast.copy_location(single, statement)


def _only(statement: ast.ImportFrom, alias: ast.alias) -> ast.ImportFrom:
    return ast.ImportFrom(statement.module, [alias], statement.level)


def _value(tree: ast.Module, file: str, names: dict[str, Any], own: Any) -> Any:
    """Run a line of Python; give its value if it is an expression."""
    if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
        return eval(compile(ast.Expression(tree.body[0].value), file, "eval", dont_inherit=True), names, own)
    return exec(compile(tree, file, "exec", dont_inherit=True), names, own)


def _words(line: str) -> list[str]:
    """Give the words of a magic's line that are no options."""
    return [word.strip("\"'") for word in line.split() if not word.startswith("-")]


def _write(line: str, text: str) -> None:
    """Write the file of %%writefile, where the sandbox lets it: cells below may import it."""
    for name in _words(line)[-1:]:
        path = Path(name).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if "-a" in line.split() else "w", encoding="utf-8") as file:
            file.write(text)


def _display(*objects: Any, **_: Any) -> NotInstalled:
    print(*objects)
    return NotInstalled("a display")


def _nothing(*_: Any) -> None:
    """Stand for what ends Jupyter's kernel after the cell."""
