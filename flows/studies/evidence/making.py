"""Making a table again: its study or script, then its raw scores in ``docs/data``, then its record."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.runtime.environment import code_version
from flows.studies.evidence.figures import DATA, ROOT
from flows.studies.evidence.published import published_values, render_values
from flows.studies.evidence.result_tables import keep_scores
from flows.studies.evidence.stamps import INPUTS, Made, TableRecord, read_tree, record_made, stale_inputs, tree_inputs
from lycoris.cache.atomic import atomic_write_text
from lycoris.errors import InputError


def plan_lines(stale: Sequence[TableRecord], root: Path = ROOT) -> list[str]:
    """Return what is stale, why, and the hours of one core that it takes."""
    lines = []
    for record in stale:
        why = "never made" if record.made is None else ", ".join(
            INPUTS[name] + ("" if record.made.inputs[name] else " (not recorded)")
            for name in stale_inputs(record, tree_inputs(record.sources, root))
        )  # fmt: skip
        hours = f"{record.core_hours} core hours ({record.hours_from})" if record.core_hours else "hours not known"
        lines.append(f"{record.name} in {record.document}: {why}; {hours}")
    total = sum(record.core_hours or 0 for record in stale)
    unknown = sum(record.core_hours is None for record in stale)
    end = f", and {unknown} whose hours `lycoris study NAME --plan` estimates" if unknown else ""
    return [*lines, f"{len(stale)} stale, {total:g} core hours{end}"]


def make_table(record: TableRecord, output: Path, published: Path | None, root: Path = ROOT) -> None:
    """Make a table and record what it was made with; what is finished already is found in the cache.

    Args:
        record: of the table.
        output: output folder of the studies.
        published: folder of the published table, for the tables made from it.
        root: the repository.

    Raises:
        InputError: A command failed, or the published table is not given.
    """
    tree = tree_inputs(record.sources, root)
    if record.maker:
        _make_published(record, published, root)
    else:
        own = output.absolute() / record.name
        if record.before and not (root / record.before[-1]).exists():
            _run_module(record.name, record.before, root)
        for command in record.commands:
            words = [word.replace("OUTPUT", str(own)) for word in shlex.split(command)]
            _run_module(record.name, ["flows.cli", *words], root)
        if record.script:
            _run_module(record.name, [word.replace("OUTPUT", str(own)) for word in record.script], root)
        if record.study:
            keep_scores(own / record.study, record.name, root)
    if read_tree(record.sources, root) != tree:
        raise InputError(f"Data, weights or definitions changed while the table `{record.name}` was made.")
    record_made(record.name, Made(code_version(), {name: tree[name] for name in record.inputs}), root)


def _make_published(record: TableRecord, published: Path | None, root: Path) -> None:
    if published is None:
        raise InputError(f"The table `{record.name}` needs `--published DIR`, the published table of arXiv 2309.14859.")
    atomic_write_text(root / DATA / f"{record.name}.csv", render_values(published_values(published)))


def _run_module(name: str, words: Sequence[str], root: Path) -> None:
    result = subprocess.run([sys.executable, "-m", *words], cwd=root, check=False)
    if result.returncode:
        raise InputError(f"The table `{name}`: `python -m {shlex.join(words)}` ended with {result.returncode}.")
