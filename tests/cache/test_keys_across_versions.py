"""The keys of stages are the same under each supported version of Python, so that they share one cache."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from lycoris.cache.keys import normal_form, source_hash
from tests.interpreters import VERSIONS, find_python

ROOT = Path(__file__).parents[2]
PARTS = ("adapters", "bases", "captions", "data", "encoders", "metrics", "training")
SOURCE = r'''
import os as system
class Stage(object, metaclass=type):
    """A stage."""
    name: str = u"é\u0378" "x" f"{system!r:>{3}}" f"" "y"
async def run(a, /, b=1, *c, d=None, **e) -> None:
    """Runs."""
    async with a as b: pass
    return f"{a:}{b=} {{c}} {d:{e}.2f}" "tail", {**e}, a[1:2], ..., 1e400, 2j, -0.0
def nothing(): pass
match system:
    case {"a": [1, *rest], **more} | str(): pass
try: pass
except* ValueError: pass
'''
"""Syntax whose tree differs between versions, or might."""
SCRIPT = """
import ast, sys
from lycoris.cache.keys import normal_form, source_hash
print(normal_form(ast.parse(sys.stdin.read())))
print(source_hash(*sys.argv[1:]))
"""


def keys_under(interpreter: Path) -> str:
    command = [str(interpreter), "-c", SCRIPT, *PARTS]
    done = subprocess.run(command, input=SOURCE, capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def keys_here() -> str:
    return f"{normal_form(ast.parse(SOURCE))}\n{source_hash(*PARTS)}\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_keys_are_the_same_under_each_version(version: str, keys_here: str) -> None:
    interpreter = find_python(version)
    if interpreter is None:
        pytest.skip(f"Python {version} is not on this machine")
    assert keys_under(interpreter) == keys_here
