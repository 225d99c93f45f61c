"""Secrets out of texts that people and logs will see."""

from __future__ import annotations

import os
import re

from lycoris.safety.file_names import is_text

_IN_ADDRESS = re.compile(r"(:/{1,2})[^/\s@]*:[^/\s@]*@")  # a path of one has a single stroke
_NAMED = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|API_KEY|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
SHORTEST = 6
"""Characters; shorter values are words that stand everywhere."""


def redacted(text: str) -> str:
    """A text without the passwords of addresses and without the values of secret environment variables."""
    text = _IN_ADDRESS.sub(r"\1***@", text)
    for name, value in os.environ.items():
        if _NAMED.search(name) and len(value) >= SHORTEST:
            text = text.replace(value, "***")
    return text


def printable(text: str) -> str:
    """A text in which what a terminal would obey, or could not show, stands as its code."""
    return "".join(each if each == "\n" or is_text(each) else _code(ord(each)) for each in text)


def _code(number: int) -> str:
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
