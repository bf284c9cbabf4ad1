"""The guards of a module, and how each is changed. Pure: sources in, code objects out.

A guard is a condition of `if`, `while`, a conditional expression or a comprehension, or a statement that only
calls a check (`_check_…`, `check_…`, `verify…`). It is

* dropped: `if` never holds, a comprehension takes everything, a check is not called;
* negated;
* shifted, for each comparison in it or anywhere else: `<` for `<=`, or a number in it one larger.

The changed tree keeps its line numbers, and what is compiled is the outermost function around the guard: a
code object that can take the place of the one in a living function.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any, TypeAlias

Change: TypeAlias = Callable[[Any], Any]
Place: TypeAlias = tuple[str, int]  # a function's qualified name and its first line, decorators included

CHECKS = ("_check", "check_", "verify")
SHIFTED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
TEXT_MAX = 120


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one module."""

    module: str
    line: int
    kind: str
    becomes: str  # "was → becomes", as in the sources but for spaces
    function: Place | None  # None: the guard stands outside any function
    lines: range  # of the statement's head, which includes the guard
    node: int  # its place in a walk over the tree
    number: int  # of the changes of this node

    def __str__(self) -> str:
        return f"ledger/{self.module}.py:{self.line} {self.kind}: {self.becomes}"

    @property
    def key(self) -> tuple[str, str]:
        """Name the change without line numbers: by its function and what becomes of it."""
        return (self.function[0] if self.function else "", self.becomes)


@dataclass(frozen=True, slots=True)
class _Context:
    function: Place | None = None
    scope: str = ""
    statement: ast.stmt | None = None


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module."""
    tree = ast.parse(source)
    contexts = dict(_contexts(tree, _Context()))
    for place, node in enumerate(ast.walk(tree)):
        for number, (kind, _) in enumerate(changes(node)):
            context = contexts[node]
            assert context.statement is not None
            yield Mutant(
                module=module,
                line=getattr(subject(node), "lineno", context.statement.lineno),
                kind=kind,
                becomes=_becomes(node, number),
                function=context.function,
                lines=_head(context.statement),
                node=place,
                number=number,
            )


def compiled(mutant: Mutant, source: str, path: str) -> CodeType:
    """Return the code of the function that a mutant changes."""
    made = compile(changed(mutant, source), path, "exec")
    return next(code for code in _codes(made) if place_of(code) == mutant.function)


def changed(mutant: Mutant, source: str) -> ast.Module:
    """Return the tree of the changed module."""
    tree = ast.parse(source)
    change(next(node for place, node in enumerate(ast.walk(tree)) if place == mutant.node), mutant.number)
    return ast.fix_missing_locations(tree)


def place_of(code: CodeType) -> Place:
    """Return where a function stands in its module."""
    return code.co_qualname, code.co_firstlineno


def subject(node: Any) -> ast.AST:
    """Return what a change of this node is about."""
    if isinstance(node, ast.comprehension):
        return node.ifs[0] if node.ifs else ast.Constant(value=True)
    return getattr(node, "test", node)


def change(node: ast.AST, number: int) -> None:
    """Make one of a node's changes in place."""
    [each for _, each in changes(node)][number](node)


def changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """Yield (kind, function that changes the node in place)."""
    if isinstance(node, ast.If | ast.IfExp):
        yield "dropped", lambda twin: setattr(twin, "test", ast.Constant(value=False))
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield "negated", lambda twin: setattr(twin, "test", _negation(twin.test))
    if isinstance(node, ast.comprehension) and node.ifs:
        yield "dropped", lambda twin: twin.ifs.pop()
        yield "negated", lambda twin: twin.ifs.append(_negation(twin.ifs.pop()))
    if isinstance(node, ast.Expr) and _called(node.value).startswith(CHECKS):
        yield "dropped", lambda twin: setattr(twin, "value", ast.Constant(value=None))
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            if type(operator) in SHIFTED:
                yield "shifted", lambda twin, place=place: _shift(twin, place)
        for place, value in enumerate([node.left, *node.comparators]):
            if isinstance(value, ast.Constant) and type(value.value) is int:
                yield "shifted", lambda twin, place=place: _count_up(twin, place)


def _negation(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(op=ast.Not(), operand=test)


def _called(value: ast.expr) -> str:
    if not isinstance(value, ast.Call):
        return ""
    return value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")


def _shift(twin: ast.Compare, place: int) -> None:
    twin.ops[place] = SHIFTED[type(twin.ops[place])]()


def _count_up(twin: ast.Compare, place: int) -> None:
    constant = twin.left if place == 0 else twin.comparators[place - 1]
    assert isinstance(constant, ast.Constant)
    constant.value += 1


def _becomes(node: ast.AST, number: int) -> str:
    twin = copy.deepcopy(node)
    change(twin, number)
    was, becomes = (ast.unparse(ast.fix_missing_locations(subject(each))) for each in (node, twin))
    return f"{was[:TEXT_MAX]} → {becomes[:TEXT_MAX]}"


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _contexts(node: ast.AST, context: _Context) -> Iterator[tuple[ast.AST, _Context]]:
    # Every node with its statement and the outermost function around it.
    if isinstance(node, ast.stmt):
        context = _Context(context.function, context.scope, node)
    yield node, context
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        scope = f"{context.scope}{node.name}"
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        outermost = (scope, first) if isinstance(node, ast.FunctionDef) else None
        context = _Context(context.function or outermost, f"{scope}.", node)
    for child in ast.iter_child_nodes(node):
        yield from _contexts(child, context)


def _head(statement: ast.stmt) -> range:
    body = getattr(statement, "body", None)
    end = body[0].lineno if body else (statement.end_lineno or statement.lineno) + 1
    return range(statement.lineno, max(end, statement.lineno + 1))
