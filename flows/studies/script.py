"""Command line shared by the scripts that validate a finished study on the pocket world."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flows.runtime.client_environment import configure_environment
from flows.runtime.logging import configure_logging
from lycoris.errors import InputError
from lycoris.safety.redaction import printable, redact, redact_values


def study_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the output folder of a study and the option ``--json``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="output folder of a study on the pocket's concepts")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    return parser


def print_text(text: str) -> None:
    """Print text without control characters but line breaks."""
    print(printable(text), flush=True)


def print_error(program: str, error: InputError) -> None:
    """Print an error's message in a line of stderr, without secrets."""
    print(f"{program}: {printable(redact(str(error)))}", file=sys.stderr)


def run_script(arguments: argparse.Namespace, measure: Callable[[], tuple[str, Mapping[str, Any]]]) -> int:
    """Print a table, and the records behind it with ``--json``.

    Args:
        arguments: arguments parsed by `study_parser`.
        measure: returns the table and the JSON object.

    Returns:
        The exit code: 0, or 2 for invalid input.
    """
    configure_environment()
    configure_logging()
    logging.getLogger("lycoris").propagate = False  # Prefect's root handler would print each line again
    try:
        table, result = measure()
    except InputError as error:
        print_error("lycoris", error)
        return 2
    print_text(table)
    if arguments.json:
        print(json.dumps(redact_values(result), allow_nan=False))
    return 0
