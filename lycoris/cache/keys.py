"""Content keys: hashes of everything that the result of a stage depends on, its code included."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import itertools
import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from lycoris.cache.atomic import atomic_write_text
from lycoris.cache.integrity import file_digest

PACKAGE_ROOT = Path(__file__).parent.parent
SOURCE_HASHES = Path(importlib.util.cache_from_source(__file__)).with_suffix(".sources.json")
"""Beside the byte code that Python caches of this module: the hashes of source files, which are parsed once."""
_PARSE_LOCK = threading.Lock()
_NODES_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def stage_key(stage: str, inputs: Mapping[str, Any]) -> str:
    """The content key of a stage.

    Args:
        stage: name of the stage.
        inputs: everything the result depends on, as JSON values.

    Returns:
        64 hexadecimal digits.
    """
    text = json.dumps({"stage": stage, **inputs}, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of every file below a folder, hidden files excluded."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            digest.update(f"{relative.as_posix()}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()


@lru_cache
def source_hash(*paths: str) -> str:
    """Hash source files of the library; comments, docstrings and layout do not change it.

    Args:
        paths: files or folders below the ``lycoris`` package that a stage runs through, such as ``"training"``.

    Returns:
        16 hexadecimal digits.
    """
    sources: list[tuple[str, bytes]] = []
    for path in sorted(paths):
        root = PACKAGE_ROOT / path
        files = sorted(root.rglob("*.py")) if root.is_dir() else [root]
        sources += [(file.relative_to(PACKAGE_ROOT).as_posix(), file.read_bytes()) for file in files]
    read = hashlib.sha256(Path(__file__).read_bytes())
    for name, source in sources:
        read.update(f"{name}\0{hashlib.sha256(source).hexdigest()}\n".encode())
    entry = "\n".join(sorted(paths))
    remembered = _read_hashes()
    if remembered.get(entry, [""])[0] != read.hexdigest():
        digest = hashlib.sha256()
        for name, source in sources:
            digest.update(f"{name}\0{_source_form(source)}\n".encode())
        remembered = {**_read_hashes(), entry: [read.hexdigest(), digest.hexdigest()[:16]]}
        if not sys.dont_write_bytecode:
            with suppress(OSError):  # an installation that cannot be written: parsed again by each process
                atomic_write_text(SOURCE_HASHES, json.dumps(remembered))
    return remembered[entry][1]


def _read_hashes() -> dict[str, list[str]]:
    """Read what `source_hash` has computed before: paths -> hash of the bytes that were read, hash of their form.

    A file that is not whole, or not of this form, is taken as empty, and replaced when the next hash is computed.
    """
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(SOURCE_HASHES.read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(map(_is_pair_of_hashes, found.values())):
            return found
    return {}


def _is_pair_of_hashes(value: object) -> bool:
    """Whether a value is a list of 64 and of 16 hexadecimal digits."""
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(one, str) for one in value):
        return False
    return all(re.fullmatch(f"[0-9a-f]{{{length}}}", one) for one, length in zip(value, (64, 16), strict=True))


@cache
def _source_form(source: bytes) -> str:
    """The normal form, without docstrings, of a source file; several stages run through one."""
    with _PARSE_LOCK:  # Python 3.11 may fail if several threads parse at the same time
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _NODES_WITH_DOCSTRING) and node.body and _is_docstring(node.body[0]):
            node.body = node.body[1:]
    return normal_form(tree)


def normal_form(node: object) -> str:
    """A syntax tree as text that is the same under every Python from 3.11 on, unlike that of `ast.dump`.

    Empty fields are left out, since later versions add fields; the constant parts of an f-string, which versions split
    differently, are joined.
    """
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__}:{node.value!a}"
    if isinstance(node, ast.JoinedStr):
        return f"JoinedStr[{','.join(_parts(node))}]"
    if isinstance(node, ast.AST):
        fields = ((name, getattr(node, name, None)) for name in node._fields)
        shown = (f"{name}={normal_form(value)}" for name, value in fields if value is not None and value != [])
        return f"{type(node).__name__}({','.join(shown)})"
    if isinstance(node, list):
        return f"[{','.join(normal_form(item) for item in node)}]"
    return ascii(node)


def _parts(node: ast.JoinedStr) -> Iterator[str]:
    """The parts of an f-string, neighbouring constants as one and empty ones left out."""
    for constant, group in itertools.groupby(node.values, lambda part: isinstance(part, ast.Constant)):
        if not constant:
            yield from map(normal_form, group)
        elif text := "".join(str(part.value) for part in group if isinstance(part, ast.Constant)):
            yield ascii(text)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
