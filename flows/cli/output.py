"""What the commands print: lines for people, one JSON object for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from lycoris.safety.redaction import one_line


def print_lines(lines: Iterable[object]) -> None:
    """Print lines on standard output, control characters and line breaks inside a line escaped."""
    for line in lines:
        print(one_line(str(line)))
    sys.stdout.flush()


def print_message(text: str) -> None:
    """Print one line on standard error, so that standard output holds results only."""
    print(one_line(text), file=sys.stderr, flush=True)


def print_json(result: Mapping[str, Any]) -> None:
    """Print a result as one JSON object on the last line of standard output."""
    sys.stdout.flush()
    print(json.dumps(result, allow_nan=False, default=os.fspath), flush=True)
