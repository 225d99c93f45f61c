"""`lycoris pull`: fetch an adapter file from the registry."""

from __future__ import annotations

import argparse
from pathlib import Path

from flows.cli.options import add_json, add_registry, open_registry
from flows.cli.output import print_json, print_lines

HELP = "fetch the adapter file of a concept from the registry"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "name", metavar="CONCEPT[@ALIAS]", help="alias: champion (default), challenger, previous or a version number"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: CONCEPT.safetensors")
    add_registry(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Download the file and print where it comes from."""
    from tasks.tracking import registry

    version, file = registry.pull(open_registry(arguments), arguments.name, arguments.out)
    aliases = ", ".join(version.aliases) or "no alias"
    print_lines(
        [
            f"{version.concept} version {version.version} ({aliases}): {version.algorithm}, "
            f"captions {version.strategy}, seed {version.seed}, data {version.data_version}",
            file,
        ]
    )
    if arguments.json:
        print_json({**registry.lineage(version), "path": str(file.resolve())})
    return 0
