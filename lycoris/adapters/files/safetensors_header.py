"""The header of a safetensors file, in one order, so that the same content is the same bytes."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from lycoris.errors import InputError

HEADER_LENGTH = struct.Struct("<Q")


def sort_metadata(file: Path) -> None:
    """Sort the metadata in a file's header, which safetensors writes in an order of chance; nothing else changes.

    Args:
        file: written in place: one that nobody else sees yet.

    Raises:
        InputError: the header has no other order of the same length, so safetensors did not write it.
    """
    with open(file, "r+b") as stream:
        (length,) = HEADER_LENGTH.unpack(stream.read(HEADER_LENGTH.size))
        before = stream.read(length)
        header = json.loads(before)
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        after = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(length)
        if len(after) != length:
            raise InputError(f"`{file}` has a header that safetensors did not write.")
        stream.seek(HEADER_LENGTH.size)
        stream.write(after)
