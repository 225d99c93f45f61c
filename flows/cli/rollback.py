"""`lycoris rollback`: make an earlier version the champion of its concept again."""

from __future__ import annotations

from flows.cli.options import OUTPUT, Arguments, argument, open_registry, option
from flows.cli.output import print_lines

PARAMETERS = (
    argument("concept", help="the concept"),
    option("--to", metavar="VERSION", help="a version number; default: the previous champion"),
    option("--reason", default="rolled back", help="recorded with the version that is rejected"),
    OUTPUT,
)


def run(arguments: Arguments) -> int:
    """Move the alias `champion` back."""
    from tasks.tracking.promotion import rollback

    rejected, champion = rollback(open_registry(arguments), arguments.concept, arguments.to, arguments.reason)
    print_lines(
        [f"{champion.concept}: version {champion.version} is champion again; version {rejected.version} was rejected."]
    )
    return 0
