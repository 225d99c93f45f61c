"""Large images of a constant color in small files, each in the way of its format that takes the most memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def deflate(count: int) -> bytes:
    """Compress zeros."""
    stream, parts = zlib.compressobj(1), []
    for start in range(0, count, 2**20):
        parts.append(stream.compress(bytes(min(2**20, count - start))))
    return b"".join(parts) + stream.flush()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(
    path: Path, side: int, color: int = 6, depth: int = 8, interlaced: bool = False, metadata: bytes = b""
) -> None:
    """Write a black PNG: color type 0 is grey, 2 RGB, 3 palette, 6 RGBA."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    passes = [((side - x + dx - 1) // dx, (side - y + dy - 1) // dy) for x, y, dx, dy in ADAM7]
    size = sum(
        height * (1 + (width * channels * depth + 7) // 8)
        for width, height in (passes if interlaced else [(side, side)])
        if width > 0
    )
    header = struct.pack(">IIBBBBB", side, side, depth, color, 0, 0, interlaced)
    chunks = png_chunk(b"IHDR", header) + metadata + png_chunk(b"IDAT", deflate(size)) + png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def write_tiff(path: Path, side: int, bits: int = 16, tile: int | None = None) -> None:
    """Write a transparent TIFF of one deflated strip, or of one tile whose sides may exceed the image's."""
    content = deflate((tile or side) ** 2 * 4 * bits // 8)
    bits_offset = 8 + len(content) + len(content) % 2
    if tile:
        place = [(322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, 8), (325, 4, 1, len(content))]
    else:
        place = [(273, 4, 1, 8), (278, 4, 1, side), (279, 4, 1, len(content))]
    tags = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 4, bits_offset), (259, 3, 1, 8), (262, 3, 1, 2)]
    tags = sorted([*tags, (277, 3, 1, 4), (284, 3, 1, 1), (338, 3, 1, 2), *place])
    body = content + bytes(len(content) % 2) + struct.pack("<4H", *[bits] * 4)
    entries = b"".join(
        struct.pack("<HHI", tag, kind, count) + struct.pack("<HH" if kind == 3 and count == 1 else "<I", *values)
        for tag, kind, count, *values in ((*each, 0) if each[1] == 3 and each[2] == 1 else each for each in tags)
    )
    path.write_bytes(
        b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + bytes(4)
    )


def turned() -> Image.Exif:
    """EXIF metadata of an image that is to be rotated by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _save(mode: str, **options: object) -> Callable[[Path, int], None]:
    return lambda path, side: Image.new(mode, (side, side)).save(path, **options)


def _write_frames(path: Path, side: int) -> None:
    frames = [Image.new("P", (side, side), number) for number in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], disposal=2)


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "interlaced.png": lambda path, side: write_png(path, side, interlaced=True),
    "progressive_cmyk.jpg": _save("CMYK", progressive=True),
    "one_strip.tif": write_tiff,
    "transparent.webp": _save("RGBA", lossless=True, quality=0, method=0),
    "unsampled.avif": _save("RGBA", speed=10, subsampling="4:4:4"),
    "frames.gif": _write_frames,
}
"""What takes the most memory in each format."""
MORE_WRITERS: dict[str, Callable[[Path, int], None]] = {
    "rgb.png": lambda path, side: write_png(path, side, color=2),
    "rgba_16_bits.png": lambda path, side: write_png(path, side, depth=16),
    "grey_16_bits.png": lambda path, side: write_png(path, side, color=0, depth=16),
    "turned.png": lambda path, side: write_png(path, side, metadata=png_chunk(b"eXIf", turned().tobytes()[6:])),
    "text.png": lambda path, side: write_png(
        path, side, metadata=png_chunk(b"zTXt", b"workflow\0\0" + deflate(30 * 2**20))
    ),
    "palette.png": lambda path, side: write_png(
        path, side, color=3, metadata=png_chunk(b"PLTE", bytes(768)) + png_chunk(b"tRNS", bytes(256))
    ),
    "plain.jpg": _save("RGB"),
    "progressive.jpg": _save("RGB", progressive=True, subsampling=0),
    "turned.jpg": lambda path, side: Image.new("RGB", (side, side)).save(path, exif=turned()),
    "lossy.webp": _save("RGB", method=0),
    "float.tif": _save("F", compression="tiff_adobe_deflate"),
    "lab.tif": _save("LAB", compression="tiff_adobe_deflate"),
    "one_tile.tif": lambda path, side: write_tiff(path, side // 16 * 16, tile=side // 16 * 16),
    "plain.avif": _save("RGB", speed=10),
    "plain.bmp": _save("RGB"),
    "transparent.heic": _save("RGBA"),
    "transparent.jxl": _save("RGBA", lossless=True, effort=1),
}
"""HEIC and JPEG XL need their plug-ins."""
