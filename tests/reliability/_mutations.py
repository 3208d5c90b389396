"""Small faults in source code: one operator, constant, condition or call changed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_OPPOSITES: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
# Calls that hand their object on: without them the numbers are the same until something is shared.
_COPIES = {"clone", "detach", "copy", "deepcopy", "contiguous"}
_SAID = {"problem", "given", "mend", "desc", "help", "metadata"}


@dataclass(frozen=True)
class Mutation:
    """One small fault.

    Args:
        line: the line that it changes, from 1.
        index: its number among the faults of its file.
        scope: the function or class that it is in, as "Class.method"; empty outside of any.
        says: what it changes into what.
    """

    line: int
    index: int
    scope: str
    says: str


def mutations(source: str) -> list[Mutation]:
    """List the small faults that can be made in a file."""
    tree = ast.parse(source)
    return [
        Mutation(node.lineno, index, scope, _says(before, after))
        for index, (node, scope, before, after, _) in enumerate(_changes(tree))
    ]


def mutate(source: str, index: int) -> str:
    """Return the source with one of `mutations` made."""
    tree = ast.parse(source)
    for place, (*_, change) in enumerate(_changes(tree)):
        if place == index:
            change()
            return ast.unparse(ast.fix_missing_locations(tree)) + "\n"
    raise IndexError(index)


_Change = tuple[ast.AST, str, str, str, Callable[[], None]]
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _changes(tree: ast.Module) -> Iterator[_Change]:
    """Give each change with its node, its scope, the code before and after, and what makes it."""
    for parent, field, position, node, scope in _walk(tree):
        for replacement in _replacements(node):
            before, after = ast.unparse(node), ast.unparse(ast.fix_missing_locations(replacement))
            yield node, scope, before, after, _setter(parent, field, position, replacement)


def _setter(parent: ast.AST, field: str, position: int | None, replacement: ast.AST) -> Callable[[], None]:
    def change() -> None:
        if position is None:
            setattr(parent, field, replacement)
        else:
            getattr(parent, field)[position] = replacement

    return change


def _walk(node: ast.AST, scope: str = "") -> Iterator[tuple[ast.AST, str, int | None, ast.AST, str]]:
    """Give every node that runs and does not only speak: no texts, annotations, errors or imports."""
    if isinstance(node, _SCOPES):
        scope = f"{scope}.{node.name}".lstrip(".")
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        children = [(None, value)] if isinstance(value, ast.AST) else []
        children += [*enumerate(value)] if isinstance(value, list) else []
        for position, child in children:
            if isinstance(child, ast.AST) and not _only_speaks(child):
                yield node, field, position, child, scope
                yield from _walk(child, scope)


def _only_speaks(node: ast.AST) -> bool:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    is_type_checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    is_said = isinstance(node, ast.keyword) and node.arg in _SAID
    kinds = (ast.Import, ast.ImportFrom, ast.Raise, ast.JoinedStr, ast.expr_context)
    return is_text or is_type_checking or is_said or isinstance(node, kinds)


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _OPPOSITES:
        yield ast.Compare(node.left, [_OPPOSITES[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPPOSITES:
        yield ast.BinOp(node.left, _OPPOSITES[type(node.op)](), node.right)
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(_OPPOSITES[type(node.op)](), node.values)
        yield node.values[-1]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield node.operand
    if isinstance(node, ast.Constant):
        yield from _other_constants(node.value)
    if isinstance(node, (ast.If, ast.IfExp, ast.While)):
        flipped = ast.UnaryOp(ast.Not(), node.test)
        yield type(node)(**{**dict(ast.iter_fields(node)), "test": flipped})
    if isinstance(node, ast.Return) and ast.unparse(node) not in ("return", "return None"):
        yield ast.Return(None)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()
    if isinstance(node, ast.Call):
        yield from _other_calls(node)
    if isinstance(node, ast.AugAssign) and type(node.op) in _OPPOSITES:
        yield ast.AugAssign(node.target, _OPPOSITES[type(node.op)](), node.value)


def _other_constants(value: object) -> Iterator[ast.AST]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, float):
        yield ast.Constant(value * 2 + (value == 0))


def _other_calls(node: ast.Call) -> Iterator[ast.AST]:
    if isinstance(node.func, ast.Attribute) and node.func.attr in _COPIES and not node.args:
        yield node.func.value
    elif ast.unparse(node.func).endswith("deepcopy") and len(node.args) == 1:
        yield node.args[0]
    for place, keyword in enumerate(node.keywords):
        if keyword.arg and keyword.arg not in _SAID and not isinstance(keyword.value, ast.JoinedStr):
            yield ast.Call(node.func, node.args, node.keywords[:place] + node.keywords[place + 1 :])


def _says(before: str, after: str) -> str:
    """Say what becomes what, from shortly before the first difference on."""
    before, after = " ".join(before.split()), " ".join(after.split())
    start = next((place for place, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
    start = start - 30 if max(len(before), len(after)) > 60 and start > 30 else 0
    return f"{_short(before, start)}  →  {_short(after, start)}"


def _short(code: str, start: int) -> str:
    end = start + 60
    return "..." * (start > 0) + code[start:end] + "..." * (end < len(code))
