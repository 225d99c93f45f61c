"""Make every table of results in the documents again: ``make evidence``; a table that is finished is not made twice.

`--plan` lists what is stale and the hours that it takes. Without an option every stale table is made, the shortest
first. An interrupted run continues: studies find finished work in their cache, and each table is recorded when it
is done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.studies.evidence.documents import accept_unsourced, check_documents, update_documents
from flows.studies.evidence.making import make_table, plan_lines
from flows.studies.evidence.stamps import read_records, stale_inputs, tree_inputs
from flows.studies.script import print_error, print_text
from lycoris.errors import InputError, unknown_name_error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 1 where a document is not as its sources, 2 for invalid input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", action="store_true", help="print what is stale and the hours that it takes")
    parser.add_argument("--check", action="store_true", help="compare documents with sources and stamps")
    parser.add_argument("--write", action="store_true", help="write figures, tables and stamps anew, and make nothing")
    parser.add_argument("--accept", action="store_true", help="list the figures without a source as they are now")
    parser.add_argument("--only", metavar="NAMES", help="tables to make, separated by commas (all that are stale)")
    parser.add_argument("--published", type=Path, metavar="DIR", help="folder of the published table of the paper")
    parser.add_argument("--output", type=Path, default=Path("runs/evidence"), help="output folder (runs/evidence)")
    options = parser.parse_args(argv)
    try:
        return _run(options)
    except InputError as error:
        print_error("evidence", error)
        return 2


def _run(options: argparse.Namespace) -> int:
    records = read_records()
    names = options.only.split(",") if options.only else list(records)
    for name in names:
        if name not in records:
            raise unknown_name_error("table", name, tuple(records))
    stale = [records[name] for name in names if stale_inputs(records[name], tree_inputs(records[name].sources))]
    if options.plan:
        print_text("\n".join(plan_lines(stale)))
        return 0
    if options.accept:
        print_text("\n".join(accept_unsourced()))
        return 0
    if options.write:
        update_documents()
    elif not options.check:
        for record in sorted(stale, key=lambda one: one.core_hours or float("inf")):
            print_text(f"{record.name}: making it")
            make_table(record, options.output, options.published)
            update_documents()
    problems = check_documents()
    print_text("\n".join(problems or ["Every figure and stamp of the documents is as its source."]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
