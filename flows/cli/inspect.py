"""`lycoris inspect`: what an adapter file is, and what is odd about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from flows.cli.options import JSON, PATH, Arguments, argument, option
from flows.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from lycoris.adapters.toolbox.inspection import AdapterSummary

PARAMETERS = (
    argument("file", type=PATH, help="the adapter file, or a PEFT folder"),
    option("--layers", is_flag=True, help="also list every layer"),
    JSON,
)


def run(arguments: Arguments) -> int:
    """Describe the file."""
    import lycoris

    summary = lycoris.inspect_adapter(arguments.file)
    if arguments.json:
        ranks = {str(rank): count for rank, count in summary.ranks.items()}
        print_json({**asdict(summary), "ranks": ranks, "opens_on": summary.opens_on})
        return 0
    print_lines(_lines(summary))
    if arguments.layers:
        print_lines(
            f"{each.name}  {each.algorithm}  rank {each.rank or '-'}  alpha {_number(each.alpha)}  "
            f"norm {_number(each.norm)}"
            for each in summary.layers
        )
    return 0


def _lines(summary: AdapterSummary) -> Iterator[str]:
    from lycoris.adapters.toolbox.inspection import histogram

    algorithms = ", ".join(f"{name} ({count} layers)" for name, count in summary.algorithms.items())
    ranks = ", ".join(f"{rank} ({count} layers)" for rank, count in summary.ranks.items())
    parts = ", ".join(f"{part} ({count} layers)" for part, count in summary.parts.items())
    facts = {
        "file": summary.path,
        "algorithm": algorithms,
        "dialect": f"{summary.dialect} (the one of {summary.written_by})",
        "family": summary.family or "not known from the names",
        "architecture": summary.architecture,
        "parts": parts,
        "opens on": summary.opens_on,
        "ranks": ranks,
        "dtypes": ", ".join(summary.dtypes),
        "norm": f"{summary.norm:.4g}",
        **summary.training,
        "tags": ", ".join(f"{tag} ({count})" for tag, count in summary.tags.items()),
    }
    width = max(len(name) for name in facts)
    yield from (f"{name:<{width}}  {value}" for name, value in facts.items() if value)
    yield from (f"{'odd':<{width}}  {text}" for text in summary.oddities)
    yield "norm of the update by block:"
    yield from histogram(summary)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
