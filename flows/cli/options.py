"""Options that several commands share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.errors import InputError

if TYPE_CHECKING:
    from tasks.tracking.client import TrackingServer


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument(
        "--json", action="store_true", help="print the result as one JSON object on the last line of stdout"
    )


def add_overrides(parser: argparse.ArgumentParser, help: str = "set an option of `lycoris run`; repeatable") -> None:
    """Add ``--set``."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help=help)


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Add the experiment file, ``--set``, ``--data-rev`` and ``--json``."""
    parser.add_argument("experiment", nargs="?", type=Path, help="a YAML file of options (see `lycoris run --help`)")
    add_overrides(parser, "set one option; repeatable")
    parser.add_argument("--data-rev", metavar="REV", help="use the data of this git revision or version hash")
    add_json(parser)


def experiment_overrides(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the ``key=value`` overrides of `add_experiment`'s options."""
    revision = () if arguments.data_rev is None else (override("data_rev", arguments.data_rev),)
    return (*arguments.overrides, *revision)


def override(name: str, value: object) -> str:
    """Return an option and its value as ``--set`` takes them; the value is quoted, since it is read as YAML."""
    return f"{name}={json.dumps(str(value))}"


def add_registry(parser: argparse.ArgumentParser) -> None:
    """Add ``--output``, the folder whose registry is used."""
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs"),
        help="output folder whose registry is used (default: runs); MLFLOW_TRACKING_URI takes precedence",
    )


def open_registry(arguments: argparse.Namespace) -> TrackingServer:
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
