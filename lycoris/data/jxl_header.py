"""Width and height of a JPEG XL file from its header, because its Pillow plug-in decodes every file that it opens.

Source: ISO/IEC 18181-1, "SizeHeader", and 18181-2, the boxes of the container.
"""

from __future__ import annotations

import io

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height
_SIDE_BITS = (9, 13, 18, 30)


def is_jxl(file: io.BytesIO | io.BufferedReader) -> bool:
    """Whether a file begins as a JPEG XL file does; its position becomes 0."""
    head = file.read(len(CONTAINER))
    file.seek(0)
    return head.startswith(CODESTREAM) or head == CONTAINER


def read_jxl_size(file: io.BytesIO | io.BufferedReader) -> tuple[int, int]:
    """Read width and height in pixels; the file's position becomes 0.

    Raises:
        ValueError: the file has no codestream.
    """
    _seek_codestream(file)
    if file.read(2) != CODESTREAM:
        raise ValueError("it has no codestream")
    bits = _Bits(int.from_bytes(file.read(10).ljust(10, b"\0"), "little"))
    file.seek(0)
    is_small = bits.take(1)
    height = bits.side(is_small)
    ratio = bits.take(3)
    if ratio == 0:
        return bits.side(is_small), height
    numerator, denominator = _RATIOS[ratio - 1]
    return height * numerator // denominator, height


def _seek_codestream(file: io.BytesIO | io.BufferedReader) -> None:
    """Go to the first byte of the codestream: that of the file, or that of the first codestream box."""
    file.seek(0)
    if file.read(len(CODESTREAM)) == CODESTREAM:
        file.seek(0)
        return
    start = 0
    while len(head := _read_at(file, start, 16)) >= 8:
        length, kind, content = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if length == 1:
            length, content = int.from_bytes(head[8:], "big"), start + 16
        if kind in (b"jxlc", b"jxlp"):
            file.seek(content + (4 if kind == b"jxlp" else 0))
            return
        if length < content - start:
            break
        start += length


def _read_at(file: io.BytesIO | io.BufferedReader, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


class _Bits:
    """Bits of a number, lowest first."""

    def __init__(self, value: int) -> None:
        self._value = value

    def take(self, count: int) -> int:
        taken, self._value = self._value & ((1 << count) - 1), self._value >> count
        return taken

    def side(self, is_small: int) -> int:
        """A side in pixels: a multiple of 8 up to 256, or any."""
        return (self.take(5) + 1) * 8 if is_small else self.take(_SIDE_BITS[self.take(2)]) + 1
