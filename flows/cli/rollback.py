"""`lycoris rollback`: make an earlier version the champion of its concept again."""

from __future__ import annotations

import argparse

from flows.cli.options import add_registry, open_registry
from flows.cli.output import print_lines

HELP = "make the previous champion of a concept its champion again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("concept", metavar="CONCEPT")
    parser.add_argument("--to", metavar="VERSION", help="a version number; default: the previous champion")
    parser.add_argument("--reason", default="rolled back", help="recorded with the version that is rejected")
    add_registry(parser)


def run(arguments: argparse.Namespace) -> int:
    """Move the alias `champion` back."""
    from tasks.tracking import registry

    rejected, champion = registry.rollback(open_registry(arguments), arguments.concept, arguments.to, arguments.reason)
    print_lines(
        [f"{champion.concept}: version {champion.version} is champion again; version {rejected.version} was rejected."]
    )
    return 0
