"""`lycoris pull` and `lycoris rollback`: adapters out of the registry, and a champion taken back."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lycoris.errors import InputError


def add(commands: Any) -> None:
    """Add the commands to the parser's."""
    pull = commands.add_parser("pull", help="fetch a concept's adapter file from the registry")
    pull.add_argument(
        "name", metavar="CONCEPT[@ALIAS]", help="alias: champion (default), challenger, previous, a number"
    )
    pull.add_argument("--out", type=Path, metavar="FILE", help="by default CONCEPT.safetensors")
    pull.add_argument("--json", action="store_true", help="print where it comes from as one JSON object, last line")
    pull.set_defaults(command=_pull)

    back = commands.add_parser("rollback", help="make the champion before this one champion again")
    back.add_argument("concept", metavar="CONCEPT")
    back.add_argument("--to", metavar="VERSION", help="a version's number; by default the champion before")
    back.add_argument("--reason", default="rolled back", help="kept with the version that is taken back")
    back.set_defaults(command=_rollback)

    for command in (pull, back):
        command.add_argument(
            "--output", type=Path, default=Path("runs"), help="whose registry; MLFLOW_TRACKING_URI wins"
        )


def open_registry(output: Path) -> Any:
    """The registry of an output folder.

    Raises:
        InputError: nothing was registered there.
    """
    from tasks.tracking.client import existing_server

    found = existing_server(output)
    if found is None:
        raise InputError(f"`{output}` has no registry: run something first, or name it by `--output FOLDER`.")
    return found


def _pull(arguments: argparse.Namespace) -> int:
    from tasks.tracking import registry

    version, file = registry.pull(open_registry(arguments.output), arguments.name, arguments.out)
    print(
        f"{version.concept} version {version.version} ({', '.join(version.aliases) or 'no alias'}): "
        f"{version.algorithm}, captions {version.strategy}, seed {version.seed}, data {version.data_version}"
    )
    print(file, flush=True)
    if arguments.json:
        print(json.dumps({**registry.lineage(version), "path": str(file.resolve())}))
    return 0


def _rollback(arguments: argparse.Namespace) -> int:
    from tasks.tracking import registry

    was, now = registry.rollback(open_registry(arguments.output), arguments.concept, arguments.to, arguments.reason)
    print(f"{now.concept}: version {now.version} is champion again; version {was.version} was taken back.")
    return 0
