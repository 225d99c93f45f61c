"""Names that become files and folders: they must stay names, on every system."""

from __future__ import annotations

from pathlib import PureWindowsPath

from lycoris.errors import InputError

MAX_NAME_BYTES = 100
"""Bytes of a name; file names are made of several, and file systems end at 255."""


def check_folder_name(label: str, name: object) -> None:
    """Check that a name can be that of a folder, and of nothing outside of it.

    Args:
        where: what the error begins with.
        name: such as a class, a category or a study.

    Raises:
        InputError: it is empty or too long, leads elsewhere, is hidden, or some system has no such names.
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
        shown = text if len(text) <= MAX_NAME_BYTES else f"{text[:MAX_NAME_BYTES]}..."
        raise InputError(f"{label}: `{shown!r}` cannot be the name of a folder.")


def is_printable(text: str) -> bool:
    """Whether a text can be written and shown: no control characters, no half of a character."""
    return not any(ord(each) < 32 or ord(each) == 127 or 0xD800 <= ord(each) <= 0xDFFF for each in text)
