"""Reading an image takes no more memory than its format's limit states; each file is read in a process of its own."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lycoris.data import image_opening
from lycoris.data.image_opening import BYTES_PER_PIXEL, MAX_MEMORY
from lycoris.data.images import InvalidImageError, read_image, read_size
from tests.data.large_images import MORE_WRITERS, WRITERS, png_chunk, turned, write_tiff

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
ROOT = Path(__file__).parents[2]
FORMATS = {
    "png": "PNG",
    "jpg": "JPEG",
    "tif": "TIFF",
    "webp": "WEBP",
    "avif": "AVIF",
    "gif": "GIF",
    "bmp": "BMP",
    "heic": "HEIF",
    "jxl": "JXL",
}
FIXED_BYTES = 60_000_000
"""What does not grow with the image: strips, decoders, texts."""
PROBE = """
import sys
from pathlib import Path
from PIL import Image
from lycoris.data.images import read_image
def peak():  # not `ru_maxrss`, which a process inherits from its parent
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
Image.init()
before = peak()
try:
    size = read_image(Path(sys.argv[1])).size
except ValueError:
    size = (0, 0)
print(size[0], size[1], (peak() - before) * 1024)
"""


def peak_bytes(path: Path) -> tuple[tuple[int, int], int]:
    """Size of an image, (0, 0) if it is refused, and the memory that reading it takes at its peak."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(path)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    )
    width, height, taken = map(int, done.stdout.split())
    return (width, height), taken


@pytest.mark.parametrize("name", WRITERS)
def test_an_image_takes_no_more_bytes_per_pixel_than_stated(tmp_path: Path, name: str) -> None:
    side = 3000
    WRITERS[name](tmp_path / name, side)
    size, taken = peak_bytes(tmp_path / name)
    assert size == (side, side)
    assert taken <= BYTES_PER_PIXEL[FORMATS[name.rpartition(".")[2]]] * side**2 + FIXED_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", [*WRITERS, *MORE_WRITERS])
def test_the_largest_image_of_each_kind_stays_within_the_limit(tmp_path: Path, name: str) -> None:
    if name.endswith(".heic"):
        pytest.importorskip("pillow_heif").register_heif_opener()
    elif name.endswith(".jxl"):
        pytest.importorskip("pillow_jxl")
    side = math.isqrt(MAX_MEMORY // BYTES_PER_PIXEL[FORMATS[name.rpartition(".")[2]]])
    {**WRITERS, **MORE_WRITERS}[name](tmp_path / name, side)
    size, taken = peak_bytes(tmp_path / name)
    print(f"{name}: {side} x {side} pixels, {taken / 1e6:.0f} MB at the peak, {taken / side**2:.1f} bytes per pixel")
    assert min(size) > side - 16  # tiles are multiples of 16
    assert taken <= MAX_MEMORY


@pytest.mark.parametrize(
    ("options", "size"),
    [({}, (50, 40)), ({"progressive": True}, (13, 10)), ({"exif": turned()}, (40, 50))],
    ids=["plain", "progressive", "turned"],
)
def test_a_jpeg_file_over_the_limit_is_decoded_reduced(tmp_path: Path, monkeypatch, options, size) -> None:
    monkeypatch.setattr(image_opening, "MAX_MEMORY", BYTES_PER_PIXEL["JPEG"] * 64**2)
    Image.new("RGB", (100, 80), (200, 30, 60)).save(tmp_path / "phone.jpg", **options)
    assert read_size(tmp_path / "phone.jpg") == size
    image = read_image(tmp_path / "phone.jpg")
    assert image.size == size
    assert image.resize((1, 1)).getpixel((0, 0)) == pytest.approx((200, 30, 60), abs=3)
    Image.new("RGB", (100, 80)).save(tmp_path / "screen.png")
    with pytest.raises(InvalidImageError, match=r"screen\.png.*100 x 80"):
        read_size(tmp_path / "screen.png")
    Image.new("RGB", (700, 700)).save(tmp_path / "huge.jpg", **options)  # too large at an eighth as well
    with pytest.raises(InvalidImageError, match=r"huge\.jpg.*700 x 700"):
        read_size(tmp_path / "huge.jpg")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}], ids=["plain", "progressive", "full"]
)
def test_the_largest_image_of_a_phone_is_read_within_the_limit(tmp_path: Path, options: dict[str, object]) -> None:
    Image.new("RGB", (12000, 9000)).save(tmp_path / "phone.jpg", **options)
    size, taken = peak_bytes(tmp_path / "phone.jpg")
    print(f"{options}: {taken / 1e6:.0f} MB at the peak")
    assert size == (6000, 4500)
    assert taken <= MAX_MEMORY


def test_one_pixel_more_a_side_is_refused_from_the_header_alone(tmp_path: Path) -> None:
    side = math.isqrt(MAX_MEMORY // BYTES_PER_PIXEL["PNG"])
    path = tmp_path / "large.png"
    for width, refused in ((side + 1, True), (side, False)):
        header = struct.pack(">IIBBBBB", width, side, 8, 6, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b""))
        if refused:
            for read in (read_size, read_image):
                with pytest.raises(InvalidImageError, match=r"large\.png.*100,000,000 in total are refused in a PNG"):
                    read(path)
        else:
            assert read_size(path) == (side, side)


def test_a_small_image_in_a_huge_tile_is_refused_before_the_tile_is_decoded(tmp_path: Path) -> None:
    write_tiff(tmp_path / "tile.tif", 64, bits=8, tile=9008)
    with pytest.raises(InvalidImageError, match=r"tile\.tif.*tiles of 9008 x 9008"):
        read_size(tmp_path / "tile.tif")
    size, taken = peak_bytes(tmp_path / "tile.tif")
    assert size == (0, 0)
    assert taken < FIXED_BYTES
