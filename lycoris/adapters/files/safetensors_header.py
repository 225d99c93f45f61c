"""Headers of safetensors files in a fixed order, so that equal content gives equal bytes."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from lycoris.errors import InputError

HEADER_LENGTH = struct.Struct("<Q")


def sort_metadata(file: Path) -> None:
    """Sort the metadata in a file's header, which safetensors writes in random order; nothing else changes.

    Args:
        file: written in place, so no other process may read it yet.

    Raises:
        InputError: the sorted header has another length, so safetensors did not write it.
    """
    with open(file, "r+b") as stream:
        (length,) = HEADER_LENGTH.unpack(stream.read(HEADER_LENGTH.size))
        header = json.loads(stream.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(length)
        if len(text) != length:
            raise InputError(f"File `{file}` has a header that safetensors did not write.")
        stream.seek(HEADER_LENGTH.size)
        stream.write(text)
