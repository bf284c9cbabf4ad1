"""Notebooks are documents with live cells: what every one of them must look like, read from its source.

Each rule has a case that breaks it, so that a rule which no longer bites is found.
"""

from __future__ import annotations

import ast
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
PACKAGES = frozenset({"workbench.audit", "workbench.client", "workbench.desk"})
STDLIB = frozenset({"datetime", "decimal", "pathlib"})
CODE_CELLS_MAX = 12
LINES_MAX = 10
CALLS = frozenset({"__import__", "eval", "exec", "print"})
FORBIDDEN = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)

Notebook = dict[str, Any]


def source(cell: dict[str, Any]) -> str:
    """Return a cell's text."""
    return "".join(cell["source"])


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield what is imported; `from workbench import desk` names workbench.desk."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if module == "workbench":
                yield from (f"workbench.{alias.name}" for alias in node.names)
            else:
                yield module


def allowed(module: str) -> bool:
    """Whether a notebook may import this module."""
    return module in STDLIB or any(module == name or module.startswith(f"{name}.") for name in PACKAGES)


def faults_of_code(cell: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the rules that one code cell breaks."""
    if cell["outputs"]:
        yield "outputs"
    if cell["execution_count"] is not None:
        yield "execution count"
    lines = [line for line in source(cell).splitlines() if line.strip()]
    if len(lines) > LINES_MAX:
        yield "long cell"
    if not lines:
        yield "empty cell"
    yield from faults_of_text(source(cell))


def faults_of_text(text: str) -> Iterator[str]:
    """Yield the names of the rules that a cell's code breaks."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        yield "not Python"
        return
    yield from (f"imports {module}" for module in imported(tree) if not allowed(module))
    for node in ast.walk(tree):
        if isinstance(node, FORBIDDEN):
            yield type(node).__name__
        elif isinstance(node, ast.Name) and node.id in CALLS:
            yield f"uses {node.id}"


def faults(notebook: Notebook) -> list[str]:
    """Return the names of the rules that a notebook breaks."""
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    found = [fault for cell in code for fault in faults_of_code(cell)]
    if len(code) > CODE_CELLS_MAX:
        found.append("too many code cells")
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1 or tagged[0] is not code[0]:
        found.append("parameters cell")
    for before, cell in zip([None, *cells], cells, strict=False):
        if cell["cell_type"] != "code":
            continue
        if before is None or before["cell_type"] != "markdown" or not source(before).strip():
            found.append("no prose before a code cell")
    if not cells or not source(cells[-1]).strip() or cells[-1]["cell_type"] != "code":
        found.append("no conclusion")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_notebook_keeps_the_contract(path: Path) -> None:
    """No notebook breaks a rule."""
    assert faults(json.loads(path.read_text())) == []


def test_there_are_notebooks() -> None:
    """The contract would hold of an empty folder too."""
    assert NOTEBOOKS


def adding(text: str) -> Callable[[Notebook], None]:
    """Return a change that puts this code into the second code cell."""

    def change(notebook: Notebook) -> None:
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        code[1]["source"] = [text]

    return change


def without_prose(notebook: Notebook) -> None:
    """Take the text before the second code cell away."""
    places = [index for index, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]
    del notebook["cells"][places[1] - 1]


def run_once(notebook: Notebook) -> None:
    """Leave an output and a count behind."""
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    cell["outputs"], cell["execution_count"] = [{"output_type": "stream"}], 1


def two_parameters(notebook: Notebook) -> None:
    """Tag the last code cell too."""
    notebook["cells"][-1]["metadata"] = {"tags": ["parameters"]}


def late_parameters(notebook: Notebook) -> None:
    """Move the tag to a later cell."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code[0]["metadata"], code[1]["metadata"] = {}, {"tags": ["parameters"]}


def ends_in_nothing(notebook: Notebook) -> None:
    """Let the last cell be empty."""
    notebook["cells"][-1]["source"] = ["\n"]


def ends_in_prose(notebook: Notebook) -> None:
    """Type the conclusion by hand."""
    notebook["cells"].append({"cell_type": "markdown", "metadata": {}, "source": ["All is well."]})


def thirteen(notebook: Notebook) -> None:
    """Repeat a section until there are too many."""
    notebook["cells"][2:2] = copy.deepcopy(notebook["cells"][2:4]) * CODE_CELLS_MAX


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        pytest.param(adding("import os"), "imports os", id="another module"),
        pytest.param(adding("import workbench.service"), "imports workbench.service", id="a process"),
        pytest.param(adding("from workbench import demo"), "imports workbench.demo", id="the demo world"),
        pytest.param(adding("from . import x"), "imports .", id="a neighbour"),
        pytest.param(adding("from ledger import store"), "imports ledger", id="the ledger"),
        pytest.param(adding("__import__('os')"), "uses __import__", id="an import by another name"),
        pytest.param(adding("exec('1')"), "uses exec", id="code in text"),
        pytest.param(adding("def f(): ..."), "FunctionDef", id="a function"),
        pytest.param(adding("class A: ..."), "ClassDef", id="a class"),
        pytest.param(adding("f = lambda: 1"), "Lambda", id="a lambda"),
        pytest.param(adding("print(1)"), "uses print", id="a print"),
        pytest.param(adding("%matplotlib inline"), "not Python", id="a magic"),
        pytest.param(adding("!pip install x"), "not Python", id="a shell command"),
        pytest.param(adding("x = 1\n" * 11), "long cell", id="eleven lines"),
        pytest.param(adding("\n"), "empty cell", id="an empty cell"),
        pytest.param(without_prose, "no prose before a code cell", id="no prose"),
        pytest.param(run_once, "outputs", id="an output"),
        pytest.param(run_once, "execution count", id="a count"),
        pytest.param(two_parameters, "parameters cell", id="two parameters cells"),
        pytest.param(late_parameters, "parameters cell", id="parameters that come late"),
        pytest.param(ends_in_nothing, "no conclusion", id="nothing at the end"),
        pytest.param(ends_in_prose, "no conclusion", id="a conclusion typed by hand"),
        pytest.param(thirteen, "too many code cells", id="thirteen cells"),
    ],
)
def test_the_contract_bites(change: Callable[[Notebook], None], fault: str) -> None:
    """A notebook that breaks a rule is found by that rule."""
    notebook = json.loads(NOTEBOOKS[0].read_text())
    change(notebook)
    assert fault in faults(notebook)
