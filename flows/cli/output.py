"""What the commands print: lines for people, one JSON object for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from lycoris.safety.redaction import one_line, redact, redact_values


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
