"""The password of a local Prefect server's API, in the form ``user:password`` that Prefect takes."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from lycoris.cache.atomic import atomic_write
from lycoris.errors import InputError

CLIENT_VARIABLE = "PREFECT_API_AUTH_STRING"
"""Prefect's setting of clients: workers, flows and the command line."""
SERVER_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING"
"""Prefect's setting of the server."""
PASSWORD_FILE = "prefect-auth"
"""The file in the folder of `lycoris server`."""


def generate_password() -> str:
    """Return a new user name and password of 256 random bits."""
    return f"lycoris:{secrets.token_urlsafe(32)}"


def stored_password(file: Path) -> str:
    """Return the password in a file; if there is none, generate it and write the file, readable by its owner only.

    Raises:
        InputError: The file can be read by others, is not a file, or is not of the form ``user:password``.
    """
    if not os.path.lexists(file):
        with atomic_write(file, overwrite=False) as temporary:  # another server may write it now
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(f"{generate_password()}\n")
    mode = file.lstat().st_mode
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise InputError(f"The password file `{file}` must be a file that only its owner can read: `chmod 600 {file}`.")
    text = file.read_text(encoding="utf-8").strip()
    if not all(text.partition(":")[::2]):
        raise InputError(f"The password file `{file}` must contain `user:password`; delete it for a new one.")
    return text
