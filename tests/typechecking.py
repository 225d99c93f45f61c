"""Check the annotations of `lycoris` in every test: shapes by jaxtyping, types by beartype."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import GenericAlias, ModuleType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin

import torch
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook
from typing_extensions import is_protocol

CONFIGURATION = BeartypeConf(is_pep484_tower=True)
"""An `int` is a `float`, as type checkers have it."""
_PAUSED: list[bool] = []


@contextmanager
def paused() -> Iterator[None]:
    """Check nothing in the block, which passes values of wrong types on purpose."""
    _PAUSED.append(True)
    try:
        yield
    finally:
        _PAUSED.pop()


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function's arguments and result.

    beartype cannot resolve `Self` in a function that it decorates alone. A name in a `Literal` may be misspelt by a
    user: functions check it themselves, with a better message.
    """
    function.__annotations__.update({name: relaxed(hint) for name, hint in function.__annotations__.items()})
    checked = beartype(function, conf=CONFIGURATION)

    @functools.wraps(function)
    def checked_unless_paused(*args: Any, **kwargs: Any) -> Any:
        return (function if _PAUSED or torch.compiler.is_compiling() else checked)(*args, **kwargs)

    return checked_unless_paused


def relaxed(hint: Any) -> Any:
    """An annotation that beartype can check: without `Self`, without protocols that `isinstance` or `issubclass`
    refuses, and with the type of its values in place of a `Literal`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Self or (is_protocol(hint) and not getattr(hint, "_is_runtime_protocol", False)):
        return Any
    if origin is Literal:
        return Union[tuple({type(value) for value in arguments})]  # noqa: UP007
    if origin in (Union, UnionType):
        return Union[tuple(relaxed(item) for item in arguments)]  # noqa: UP007
    if origin is type and is_protocol(arguments[0]):
        return type
    if type(hint) is GenericAlias:
        return origin[tuple(relaxed(item) for item in arguments)]
    return hint


class TypeImports(MetaPathFinder):
    """Before a module runs, import what it imports under `TYPE_CHECKING` from other packages.

    Without these names its annotations could not be resolved and would go unchecked. Names of `lycoris` itself are
    left out: such imports may be circular.

    Args:
        finder: the import hook of jaxtyping.
    """

    def __init__(self, finder: MetaPathFinder) -> None:
        self.finder = finder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = self.finder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None and spec.origin is not None:
            source, run = Path(spec.origin), spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                for statement in type_imports(source):
                    exec(compile(ast.Module([statement], []), str(source), "exec"), module.__dict__)
                run(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def type_imports(source: Path) -> list[ast.stmt]:
    """The imports from other packages under `if TYPE_CHECKING:` at the top level of a module."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return [each for block in blocks for each in block.body if "lycoris" not in ast.unparse(each)]


def install() -> None:
    """Install the import hook; modules imported before it stay unchecked."""
    install_import_hook("lycoris", "tests.typechecking.check")
    sys.meta_path[0] = TypeImports(sys.meta_path[0])  # type: ignore[arg-type]
