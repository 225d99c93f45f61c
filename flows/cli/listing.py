"""The long lists in the help of some commands, kept as text so that help imports neither torch nor pydantic.

``python -m flows.cli.listing`` writes them again after an option, an algorithm or a metric was added; a test compares.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from lycoris.cache.atomic import atomic_write_text

LISTINGS = Path(__file__).parent / "listings"
"""The folder of the texts, one for each command that has a `build_listing`."""
COMMANDS = ("run", "score")


def read_listing(command: str) -> str:
    """Return the list in the help of a command."""
    return (LISTINGS / f"{command}.txt").read_text(encoding="utf-8").rstrip("\n")


def build_listing(command: str) -> str:
    """Build the list in the help of a command from its records and tables."""
    return importlib.import_module(f"flows.cli.{command}").build_listing()


def write_listings() -> None:
    """Write the list of every command that has one."""
    for command in COMMANDS:
        atomic_write_text(LISTINGS / f"{command}.txt", f"{build_listing(command)}\n")


if __name__ == "__main__":
    write_listings()
