"""What a forked process has, and why it may: lftreg's modules can be imported in any order."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import lftreg
from tests import forks

PACKAGE = Path(lftreg.__file__).parent


def test_a_process_has_the_libraries_and_every_command() -> None:
    asked = ("torch", "peft", "matplotlib.figure", "lftreg.cli.commands.train", "lftreg.serving.engine")
    told = forks.python("import sys; print(*(name in sys.modules for name in sys.argv[1:]))", *asked)
    assert told.stdout.split() == ["True"] * len(asked)


def test_no_two_modules_need_each_other_to_be_imported() -> None:
    """So none can fail in a process that begins with another one."""
    modules = {_name(path): path for path in PACKAGE.rglob("*.py")}
    needs = {
        name: {wanted for wanted in _needed(path, modules) if wanted != name}
        for name, path in modules.items()
    }
    assert len(needs["lftreg.cli.main"]) > 3
    assert len(list(TopologicalSorter(needs).static_order())) == len(modules)


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _needed(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """What is imported as the module is, of lftreg."""
    for node in _at_once(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module


def _at_once(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run on import: none of a function, none that only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _at_once(child)
