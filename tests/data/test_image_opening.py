"""Only formats that are meant are decoded, by their content; others are named with what to install or do."""

from __future__ import annotations

import ast
import os
import struct
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageFile, PngImagePlugin

from lycoris.data.image_opening import BYTES_PER_PIXEL, open_image
from lycoris.data.images import InvalidImageError, list_images, read_image, read_size
from lycoris.data.jxl_header import read_jxl_size
from lycoris.errors import InputError

ROOT = Path(__file__).parents[2]
HEIC_HEAD = b"\0\0\0\x18ftypheic" + bytes(100)
JXL_HEAD = b"\xff\x0a" + bytes(100)


def gradient(width: int = 48, height: int = 32) -> Image.Image:
    """Red rises to the right, green downwards."""
    red, green = (Image.linear_gradient("L").resize((width, height)) for _ in range(2))
    return Image.merge("RGB", (red.transpose(Image.Transpose.ROTATE_180), green, Image.new("L", (width, height), 90)))


def is_close(image: Image.Image, other: Image.Image, tolerance: int = 12) -> bool:
    pairs = zip(image.get_flattened_data(), other.get_flattened_data(), strict=True)
    return all(abs(a - b) <= tolerance for pixel, wanted in pairs for a, b in zip(pixel, wanted, strict=True))


def test_no_other_module_opens_images() -> None:
    openers = set()
    for folder in ("lycoris", "tasks", "flows", "examples", "benchmarks"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_bytes())):
                if (
                    isinstance(node, ast.Attribute)
                    and node.attr == "open"
                    and ast.unparse(node.value).endswith("Image")
                ):
                    openers.add(file.relative_to(ROOT).as_posix())
    assert openers == {"lycoris/data/image_opening.py"}


@pytest.mark.parametrize("suffix", ["jpg", "png", "eps", "tif"])
def test_postscript_starts_no_interpreter_by_its_content(tmp_path: Path, suffix: str, monkeypatch) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / f"photo.{suffix}"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n")
    for read in (read_size, read_image):
        with pytest.raises(InvalidImageError, match=r"photo.*not a readable image"):
            read(path)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["PPM", "ICO", "PCX", "TGA", "JPEG2000", "SGI", "MSP", "XBM", "PDF"])
def test_a_format_that_is_not_meant_is_refused_under_a_name_that_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / "photo.png"
    gradient().convert("1" if name in ("MSP", "XBM") else "RGB").save(path, name)
    with pytest.raises(InvalidImageError, match=r"photo\.png.*not a readable image"):
        read_image(path)


@pytest.mark.parametrize(
    ("suffix", "name"), [("avif", "AVIF"), ("jfif", "JPEG"), ("jpe", "JPEG"), ("apng", "PNG"), ("JPG", "WEBP")]
)
def test_formats_are_recognized_by_content_and_listed_by_suffix(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    gradient().save(path, name, quality=95)
    assert list_images(tmp_path) == [path]
    assert is_close(read_image(path), gradient())
    assert read_size(path) == (48, 32)


def test_the_first_image_of_a_multi_picture_jpeg_is_read(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    gradient().save(path, "MPO", save_all=True, append_images=[Image.new("RGB", (48, 32))], quality=95)
    assert is_close(read_image(path), gradient())


def test_the_orientation_of_avif_is_applied_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.avif"
    gradient().save(path, exif=exif, quality=95, subsampling="4:4:4")
    assert read_size(path) == (32, 48)
    assert is_close(read_image(path), gradient().transpose(Image.Transpose.ROTATE_270))


@pytest.mark.parametrize("head", [HEIC_HEAD, JXL_HEAD])
@pytest.mark.parametrize("suffix", ["heic", "jxl", "jpg"])
def test_a_format_that_needs_a_package_is_listed_and_names_it(tmp_path: Path, head: bytes, suffix: str, monkeypatch):
    module, package = ("pillow_heif", "pillow-heif") if head is HEIC_HEAD else ("pillow_jxl", "pillow-jxl-plugin")
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    path = tmp_path / f"photo.{suffix}"
    path.write_bytes(head)
    assert list_images(tmp_path) == [path]
    with pytest.raises(InvalidImageError, match=rf"photo\.{suffix}.*{package}.*lycoris-pipeline\[formats\]"):
        read_size(path)


def test_heic_is_read_where_its_plugin_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    gradient(64, 48).save(tmp_path / "a.heic", quality=95, exif=exif.tobytes())
    assert read_size(tmp_path / "a.heic") == (48, 64)
    assert is_close(read_image(tmp_path / "a.heic"), gradient(64, 48).transpose(Image.Transpose.ROTATE_270), 24)


@pytest.mark.parametrize("size", [(64, 48), (8, 256), (257, 100), (640, 480), (1601, 901)])
def test_jpeg_xl_is_read_where_its_plugin_is_installed_and_its_size_from_the_header(tmp_path: Path, size) -> None:
    pytest.importorskip("pillow_jxl")
    path = tmp_path / "a.jxl"
    gradient(*size).save(path, lossless=True)
    with path.open("rb") as file:
        assert read_jxl_size(file) == size == read_size(path)
    assert is_close(read_image(path), gradient(*size), 0)


@pytest.mark.parametrize(
    "bits", [0b0_11_111111111111111111111111111111_001, 0b0_10_000000000011111111_000_10_1111111111111]
)
def test_the_size_in_a_jpeg_xl_header_is_read_without_decoding(tmp_path: Path, bits: int) -> None:
    """Bits from the lowest: not a multiple of 8, height in 18 bits, no ratio, width; or height in 30 bits, square."""
    square = 0b001 << 33 | (2**30 - 1) << 3 | 0b11 << 1
    wide = 9999 << 26 | 0b10 << 24 | 0b000 << 21 | 199 << 3 | 0b10 << 1
    for number, size in ((square, (2**30, 2**30)), (wide, (10_000, 200))):
        codestream = b"\xff\x0a" + number.to_bytes(8, "little")
        box = struct.pack(">I4s", 8 + len(codestream), b"jxlc") + codestream
        container = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl " + box
        for content in (codestream, container):
            (tmp_path / "a.jxl").write_bytes(content)
            with (tmp_path / "a.jxl").open("rb") as file:
                assert read_jxl_size(file) == size


def test_a_pipe_and_a_device_are_refused_before_they_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "device.png"):
        with pytest.raises(InputError, match=rf"{name}.*regular file"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_large_text_beside_the_pixels_does_not_matter(tmp_path: Path, compressed: bool) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("workflow", "x" * 3_000_000, zip=compressed)
    texts.add_text("prompt", "y" * 3_000_000, zip=compressed)
    path = tmp_path / "comfy.png"
    gradient().save(path, pnginfo=texts, icc_profile=b"\0" * 2_000_000)
    assert read_size(path) == (48, 32)
    assert is_close(read_image(path), gradient(), 0)


def test_truncated_files_stay_errors_for_other_users_of_pillow(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.png")
    read_image(tmp_path / "a.png")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_bytes_in_memory_are_opened_too(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.png")
    with open_image((tmp_path / "a.png").read_bytes()) as opened:
        assert (opened.format, opened.size) == ("PNG", (48, 32))
    with pytest.raises(InvalidImageError, match="in memory is not a readable image"), open_image(b"text"):
        pass


def test_every_format_that_is_read_has_its_memory_stated(tmp_path: Path) -> None:
    from lycoris.data.image_opening import _PILLOW_FORMATS, _PLUGINS

    assert {*_PILLOW_FORMATS, *_PLUGINS, "MPO"} == set(BYTES_PER_PIXEL)
