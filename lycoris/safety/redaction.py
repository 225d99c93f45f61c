"""Remove secrets and control characters from texts for people and logs."""

from __future__ import annotations

import os
import re

from lycoris.safety.file_names import is_printable

_URL_PASSWORD = re.compile(r"(:/{1,2})[^/\s@]*:[^/\s@]*@")  # `Path` turns the two slashes of a URL into one
_SECRET_NAME = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|API_KEY|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
MIN_SECRET_LENGTH = 6
"""Characters; shorter values are words that occur everywhere."""


def redact(text: str) -> str:
    """Replace user names and passwords of URLs, and the values of secret environment variables, by ``***``."""
    text = _URL_PASSWORD.sub(r"\1***@", text)
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= MIN_SECRET_LENGTH:
            text = text.replace(value, "***")
    return text


def printable(text: str) -> str:
    """Replace characters that control a terminal, or cannot be shown, by their escape codes; line breaks stay."""
    return "".join(each if each == "\n" or is_printable(each) else _escape(ord(each)) for each in text)


def one_line(text: str) -> str:
    """Like `printable`, for what is to stay on one line: line breaks are escaped too."""
    return printable(text).replace("\n", _escape(ord("\n")))


def _escape(code_point: int) -> str:
    return f"\\x{code_point:02x}" if code_point < 256 else f"\\u{code_point:04x}"
