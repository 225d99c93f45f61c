"""The header of a JPEG file: whether its decoder holds the whole image in memory, however small it decodes it."""

from __future__ import annotations

import io

_START_OF_SCAN = 0xDA
_PROGRESSIVE = (0xC2, 0xCA)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})


def decodes_whole(file: io.BytesIO | io.BufferedReader) -> bool:
    """Whether the decoder holds all coefficients at once: several scans, as in a progressive file, or no valid header.

    The position in the file is restored.
    """
    position = file.tell()
    try:
        file.seek(2)
        return _decodes_whole(file)
    finally:
        file.seek(position)


def _decodes_whole(file: io.BytesIO | io.BufferedReader) -> bool:
    components = None
    while len(head := file.read(2)) == 2 and head[0] == 0xFF:
        marker = head[1]
        if marker == 0xFF:  # a fill byte
            file.seek(-1, io.SEEK_CUR)
            continue
        if marker in _WITHOUT_LENGTH:
            continue
        content = file.read(max(int.from_bytes(file.read(2)) - 2, 0))
        if marker in _PROGRESSIVE:
            return True
        if marker in _FRAMES and len(content) > 5:
            components = content[5]
        elif marker == _START_OF_SCAN:
            return not content or content[0] != components
    return True
