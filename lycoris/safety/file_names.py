"""Names that become files and folders, which must be plain names on every operating system."""

from __future__ import annotations

import hashlib
import re
from pathlib import PureWindowsPath

from lycoris.errors import InputError

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves the cursor, controls a terminal, exchanges left and right, or has no character at all."""
MAX_NAME_BYTES = 100
"""Bytes of a name; file names combine several, and file systems allow 255."""


def check_folder_name(label: str, name: object) -> None:
    """Check that a name can be the name of a folder, and is not a path.

    Args:
        label: start of the error message.
        name: for example of a class, a category or a study.

    Raises:
        InputError: the name is empty, too long, a path, hidden, or not allowed on some operating system.
    """
    text = str(name)
    if (
        not text.strip()
        or text[0] == "."
        or text[-1] in ". "
        or any(character in text for character in '/\\:*?"<>|')
        or not is_printable(text)
        or len(text.encode()) > MAX_NAME_BYTES
        or PureWindowsPath(text).is_reserved()
    ):
        shortened = text if len(text) <= MAX_NAME_BYTES else f"{text[:MAX_NAME_BYTES]}..."
        raise InputError(f"{label}: `{shortened!r}` cannot be the name of a folder.")


def is_printable(text: str) -> bool:
    """Whether a text has no control characters, line separators, changes of direction and lone surrogates."""
    return _UNPRINTABLE.search(text) is None


def safe_file_name(text: str) -> str:
    """Return a text of letters, digits and a few signs; what loses others ends in a hash, so that it stays unique."""
    safe = re.sub(r"[^\w .=+-]+", "-", text)
    return safe if safe == text else f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
