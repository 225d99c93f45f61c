"""Secrets out of texts that people and logs will see."""

from __future__ import annotations

import os
import re

from lycoris.safety.file_names import is_printable

_URL_PASSWORD = re.compile(r"(:/{1,2})[^/\s@]*:[^/\s@]*@")  # a path of one has a single stroke
_SECRET_NAME = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|API_KEY|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
MIN_SECRET_LENGTH = 6
"""Characters; shorter values are words that stand everywhere."""


def redact(text: str) -> str:
    """A text without the passwords of addresses and without the values of secret environment variables."""
    text = _URL_PASSWORD.sub(r"\1***@", text)
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= MIN_SECRET_LENGTH:
            text = text.replace(value, "***")
    return text


def printable(text: str) -> str:
    """A text in which what a terminal would obey, or could not show, stands as its code."""
    return "".join(each if each == "\n" or is_printable(each) else _escape(ord(each)) for each in text)


def _escape(number: int) -> str:
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
