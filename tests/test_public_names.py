"""The names of `lycoris` itself: imported when first used, and the same at run time and for type checkers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lycoris


def test_importing_the_library_imports_nothing_heavy():
    code = "import sys, lycoris; print([m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_every_name_is_imported_from_its_module():
    for name in lycoris.__all__:
        assert getattr(lycoris, name) is not None
        assert name in dir(lycoris)
    with pytest.raises(AttributeError, match="nothing"):
        _ = lycoris.nothing


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(lycoris.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in block.body for alias in node.names}
    assert typed == lycoris._MODULES
    assert sorted(lycoris.__all__) == sorted(typed)
