"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from lycoris.errors import InputError

if TYPE_CHECKING:
    from tasks.tracking.client import TrackingServer


class Arguments(SimpleNamespace):
    """The arguments of a command by name, with `verbose` and `quiet`, and the command's function as `run`."""


@dataclass(frozen=True)
class Action:
    """A subcommand: its help, its parameters and its function."""

    help: str
    parameters: Sequence[click.Parameter]
    run: Callable[[Arguments], None]


def option(*names: str, **settings: Any) -> click.Option:
    """Return an option: its names, the last of which may be that of its argument, and click's settings."""
    return click.Option(names, **settings)


def argument(name: str, **settings: Any) -> click.Argument:
    """Return a positional argument: its name, and click's settings."""
    return click.Argument([name], **settings)


PATH = click.Path(path_type=Path)
JSON = option("--json", is_flag=True, help="print the result as one JSON object on the last line of stdout")
OUTPUT = option(
    "--output",
    type=PATH,
    default=Path("runs"),
    metavar="FOLDER",
    help="output folder whose registry is used (default: runs); MLFLOW_TRACKING_URI takes precedence",
)


def overrides(help: str = "set an option of `lycoris run`; repeatable") -> click.Option:
    """Return ``--set``."""
    return option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help=help)


EXPERIMENT = (
    argument("experiment", required=False, type=PATH, help="a YAML file of options (see `lycoris run --help`)"),
    overrides("set one option; repeatable"),
    option("--data-rev", metavar="REV", help="use the data of this git revision or version hash"),
    JSON,
)
"""The experiment file, ``--set``, ``--data-rev`` and ``--json``."""


def experiment_overrides(arguments: Arguments) -> tuple[str, ...]:
    """Return the ``key=value`` overrides of the options `EXPERIMENT`."""
    revision = () if arguments.data_rev is None else (override("data_rev", arguments.data_rev),)
    return (*arguments.overrides, *revision)


def override(name: str, value: object) -> str:
    """Return an option and its value as ``--set`` takes them; the value is quoted, since it is read as YAML."""
    import json

    return f"{name}={json.dumps(str(value))}"


def open_registry(arguments: Arguments) -> TrackingServer:
    """Return the registry of the folder that ``--output`` names.

    Raises:
        InputError: Nothing was registered there.
    """
    from tasks.tracking.client import existing_server

    server = existing_server(arguments.output)
    if server is None:
        raise InputError(
            f"Output folder `{arguments.output}` has no registry: run an experiment first, or set `--output`."
        )
    return server


def load_base_parts(source: str) -> dict[str, Any]:
    """Load a base model on the CPU and return its adaptable modules."""
    from lycoris import bases

    return bases.open_base(source, device="cpu", dtype="float32").parts


def scaled_files(words: Sequence[str]) -> list[tuple[str, float]]:
    """Return each ``FILE[:FACTOR]`` as file and factor, 1 by default.

    Raises:
        InputError: What follows the last colon is no number, and there is no such file.
    """
    files = []
    for word in words:
        path, colon, factor = word.rpartition(":")
        if not colon or Path(word).exists():
            files.append((word, 1.0))
            continue
        try:
            files.append((path, float(factor)))
        except ValueError:
            if not Path(path).exists():
                files.append((word, 1.0))
                continue
            raise InputError(f"`{word}` must be `FILE` or `FILE:FACTOR`, but `{factor}` is no number.") from None
    return files
