"""What the commands print: lines for people, one JSON object for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lycoris.safety.redaction import one_line, redact, redact_values

if TYPE_CHECKING:
    from lycoris.adapters.low_rank_approximation import ApproximationReport

LARGE_ERROR = 0.1
"""Relative error of an update beyond which a command warns."""


def print_lines(lines: Iterable[object]) -> None:
    """Print lines on standard output, without secrets; control characters and line breaks inside a line are escaped."""
    for line in lines:
        print(one_line(redact(str(line))))
    sys.stdout.flush()


def print_message(text: str) -> None:
    """Print one line on standard error, so that standard output holds results only."""
    print(one_line(redact(text)), file=sys.stderr, flush=True)


def print_json(result: Mapping[str, Any]) -> None:
    """Print a result without secrets as one JSON object on the last line of standard output."""
    sys.stdout.flush()
    print(json.dumps(redact_values(result), allow_nan=False, default=os.fspath), flush=True)


def print_fit(report: ApproximationReport, *, verbose: bool) -> None:
    """Print how much of an adapter a new file has, on standard error: one line, with `verbose` one for each layer too.

    Args:
        report: of the new file.
        verbose: whether every layer is listed.
    """
    if verbose:
        for line in str(report).splitlines()[:-1]:
            print_message(line)
    if report.layers:
        print_message(f"relative error {report.error:.3g} of {len(report.layers)} layers")
    if report.left_out and not verbose:
        print_message(f"left out: {len(report.left_out)}, such as {report.left_out[0]}")
    for note in report.notes:
        print_message(f"Note: {note}")
    if report.error > LARGE_ERROR:
        print_message(f"Warning: more than a tenth of the update is lost (relative error {report.error:.3g}).")
