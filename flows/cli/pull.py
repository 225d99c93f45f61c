"""`lycoris pull`: fetch an adapter file from the registry."""

from __future__ import annotations

from flows.cli.options import JSON, OUTPUT, PATH, Arguments, argument, open_registry, option
from flows.cli.output import print_json, print_lines

PARAMETERS = (
    argument(
        "name", metavar="CONCEPT[@ALIAS]", help="alias: champion (default), challenger, previous or a version number"
    ),
    option("--out", type=PATH, metavar="FILE", help="default: CONCEPT.safetensors"),
    OUTPUT,
    JSON,
)


def run(arguments: Arguments) -> int:
    """Download the file and print where it comes from."""
    from tasks.tracking import registry

    version, file = registry.pull(open_registry(arguments), arguments.name, arguments.out)
    aliases = ", ".join(version.aliases) or "no alias"
    print_lines(
        [
            f"{version.concept} version {version.version} ({aliases}): {version.algorithm}, "
            f"captions {version.strategy}, seed {version.seed}, data {version.data_version}",
            *([f"why       {version.reason}"] if version.reason else []),
            file,
        ]
    )
    if arguments.json:
        print_json({**registry.lineage(version), "path": str(file.resolve())})
    return 0
