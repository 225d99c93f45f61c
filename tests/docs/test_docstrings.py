"""Docstrings document parameters and attributes that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for package in ("flows", "tasks", "lycoris") for path in (ROOT / package).rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def section(docstring: str, title: str) -> list[str]:
    """The names that a section of a docstring describes; a line may describe several, with commas between."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)*)", docstring + "\n", re.MULTILINE)
    entries = re.findall(r"^    ([\w*][\w*, ]*)(?: \([^)]*\))?:(?=\s)", found[1], re.MULTILINE) if found else []
    return [name.strip().lstrip("*") for entry in entries for name in entry.split(",")]


def parameters(function: Function) -> set[str]:
    """The names of a function's parameters."""
    each = function.args
    extra = [one for one in (each.vararg, each.kwarg) if one is not None]
    return {one.arg for one in [*each.posonlyargs, *each.args, *each.kwonlyargs, *extra]}


def attributes(node: ast.ClassDef) -> set[str]:
    """The names that a class defines: in its body, as methods and properties, and on ``self``."""
    names = set()
    for each in ast.walk(node):
        if isinstance(each, Function | ast.ClassDef):
            names.add(each.name)
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            names.add(each.id)
        elif isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "self":
            names.add(each.attr)
    return names


def mistakes(path: Path) -> Iterator[str]:
    """Each documented name that does not exist."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, Function | ast.ClassDef) or not (text := ast.get_docstring(node)):
            continue
        where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            known = attributes(node)
            inits = [each for each in node.body if isinstance(each, Function) and each.name == "__init__"]
            accepted = known.union(*map(parameters, inits))
            described = [] if node.bases else section(text, "Attributes")  # a base class may define them
            yield from (f"{where}: attribute {name}" for name in described if name not in known)
            yield from (f"{where}: argument {name}" for name in section(text, "Args") if name not in accepted)
        else:
            yield from (f"{where}: argument {name}" for name in section(text, "Args") if name not in parameters(node))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_names_exist(path: Path) -> None:
    assert not list(mistakes(path))
