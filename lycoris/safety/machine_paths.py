"""Absolute paths in what is about to be published: they name a machine's folders and its user."""

from __future__ import annotations

import re

_ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/\\,<~-])~?/[\w.@+-]+(?:/[\w.@+-]+)+"  # POSIX; of an address of the net only the part after the host
    r"|(?<![\w])[A-Za-z]:[\\/][\w .@+\\/-]+"
    r"|\\\\[\w.$-]+\\[\w.$ -]+"
    r"|\bfile:/+\S+|\b[a-z][a-z0-9+.-]*:/{3,}\S+"
)


def find_machine_path(text: str) -> str | None:
    """The first absolute path in a text, or None; embedded images (``data:``) are not searched."""
    if text.startswith("data:"):
        return None
    match = _ABSOLUTE_PATH.search(text)
    return None if match is None else match.group()
