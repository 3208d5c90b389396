"""The rule that notebooks are thin: what needs more than a few lines belongs in `course_lib`."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

MAX_CODE_LINES = 12

_LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


def thinness_violations(cell: NotebookNode) -> list[str]:
    """Say how a cell breaks the rule.

    A code cell has at most 12 lines of code (blank lines, comments and docstrings do not count), defines no
    class, and outside exercises defines no function and holds no `for` or `while` statement.

    Args:
        cell: a cell of a lesson's source; an exercise carries the metadata `exercise`.

    Returns:
        One sentence for each violation; none for a thin cell.
    """
    if cell.cell_type != "code":
        return []
    if cell.source.lstrip().startswith("%%"):
        return ["it uses a cell magic, which hides its code"]
    try:
        code, tree = _parsed(cell.source)
    except (SyntaxError, tokenize.TokenError) as error:
        return [f"it is not valid Python ({error})"]
    return list(_violations(code, tree, is_exercise="exercise" in cell.metadata))


def _violations(code: str, tree: ast.Module, *, is_exercise: bool) -> Iterator[str]:
    num_lines = _count_code_lines(code, tree)
    if num_lines > MAX_CODE_LINES:
        yield f"it has {num_lines} lines of code; {MAX_CODE_LINES} are allowed"
    nodes = list(ast.walk(tree))
    if any(isinstance(node, ast.ClassDef) for node in nodes):
        yield "it defines a class"
    if is_exercise:
        return
    if any(isinstance(node, _FUNCTIONS) for node in nodes):
        yield "it defines a function outside an exercise"
    if any(isinstance(node, _LOOPS) for node in nodes):
        yield "it holds a for or while statement outside an exercise"


def _parsed(source: str) -> tuple[str, ast.Module]:
    """Give the cell as Python (magics translated) and its syntax tree."""
    from IPython.core.inputtransformer2 import TransformerManager

    code = TransformerManager().transform_cell(source)
    return code, ast.parse(code)


def _count_code_lines(code: str, tree: ast.Module) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    used = {
        line
        for token in tokens
        if token.type not in _LAYOUT
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(used - _docstring_lines(tree))


def _docstring_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and ast.get_docstring(node) is not None:
            lines.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return lines
