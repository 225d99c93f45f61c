"""Images are read upright, opaque and in sRGB, or refused with an error that names the file."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lycoris.data.images import ImageFiles, InvalidImageError, find_mask, list_images, read_alpha, read_image, read_size
from lycoris.errors import InputError

RED, GREEN = (250, 10, 10), (10, 250, 10)


def two_halves(width: int = 24, height: int = 16) -> Image.Image:
    """Red on the left, green on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height))
    return image


def near(image: Image.Image, place: tuple[int, int], colour: tuple[int, int, int], within: int = 12) -> bool:
    return max(abs(a - b) for a, b in zip(image.getpixel(place), colour, strict=True)) <= within


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_every_format_is_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    two_halves().save(path)
    image = read_image(path)
    assert (image.mode, image.size) == ("RGB", (24, 16))
    assert near(image, (2, 8), RED, 40)
    assert near(image, (21, 8), GREEN, 40)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_a_file_cut_anywhere_is_an_image_or_an_input_error(tmp_path: Path, suffix: str) -> None:
    whole = io.BytesIO()
    two_halves(64, 48).save(whole, {"jpg": "JPEG"}.get(suffix, suffix.upper()))
    content = whole.getvalue()
    path = tmp_path / f"cut.{suffix}"
    for length in {*range(0, min(80, len(content))), *range(80, len(content), max(1, len(content) // 60))}:
        path.write_bytes(content[:length])
        with contextlib.suppress(InputError):
            assert read_image(path).size == (64, 48)


def test_a_truncated_jpeg_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"half\.jpg.*truncated"):
        read_image(path)


def test_text_under_an_images_name_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "note.png"
    path.write_text("this is no picture")
    with pytest.raises(InputError, match=r"note\.png.*not a readable image"):
        read_image(path)


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7)])
def test_an_image_under_eight_pixels_a_side_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "dot.png"
    Image.new("RGB", size).save(path)
    with pytest.raises(InputError, match=rf"dot\.png.*8 pixels.*{size[0]} x {size[1]}"):
        read_image(path)


def test_an_absent_file_is_reported_as_absent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no image.*gone\.png"):
        read_image(tmp_path / "gone.png")


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(InputError, match=r"bomb\.png"):
        read_image(path)


def test_the_camera_s_orientation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen, turn by 90 degrees clockwise
    two_halves().save(path, exif=exif, quality=95, subsampling=0)
    image = read_image(path)
    assert image.size == (16, 24)
    assert near(image, (8, 2), RED, 40)
    assert near(image, (8, 21), GREEN, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_that_a_camera_writes_is_applied(tmp_path: Path, orientation: int) -> None:
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    upright = two_halves()
    upright.paste((10, 10, 250), (0, 0, 12, 8))  # every corner its own
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    (upright.transpose(turn[orientation]) if orientation in turn else upright).save(path, exif=exif)
    assert np.array_equal(np.asarray(read_image(path)), np.asarray(upright))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (8, 0, 16, 16))
    path = tmp_path / "clear.png"
    clear.convert(mode).save(path)
    image = read_image(path)
    assert near(image, (2, 8), (255, 255, 255))
    assert near(image, (13, 8), (0, 0, 0))


def test_half_transparent_red_over_white_is_pink(tmp_path: Path) -> None:
    path = tmp_path / "pink.png"
    Image.new("RGBA", (16, 16), (255, 0, 0, 128)).save(path)
    assert near(read_image(path), (3, 3), (255, 127, 127), 2)


def test_sixteen_bit_greys_keep_their_brightness(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    ramp = np.linspace(0, 65535, 16 * 16).reshape(16, 16).astype(np.uint16)
    Image.fromarray(ramp).save(path)
    seen = np.asarray(read_image(path))[:, :, 0].astype(float)
    assert np.abs(seen - ramp / 257).max() <= 1


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    assert near(read_image(path), (8, 8), (255, 0, 0), 20)


def test_an_embedded_profile_is_converted_to_srgb_and_a_broken_one_ignored(tmp_path: Path) -> None:
    plain = Image.new("RGB", (16, 16), (200, 80, 40))
    same = tmp_path / "srgb.png"
    plain.save(same, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    broken = tmp_path / "broken.png"
    plain.save(broken, icc_profile=b"no profile")
    assert near(read_image(same), (3, 3), (200, 80, 40), 2)
    assert near(read_image(broken), (3, 3), (200, 80, 40), 0)


def test_the_profile_decides_the_colours(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tmp!").replace(b"gXYZ", b"rXYZ").replace(b"tmp!", b"gXYZ")
    path = tmp_path / "swapped.png"
    Image.new("RGB", (16, 16), (200, 80, 40)).save(path, icc_profile=swapped)
    assert near(read_image(path), (3, 3), (80, 200, 40), 6)


def test_an_image_knows_its_file_and_a_name_may_be_any(tmp_path: Path) -> None:
    path = tmp_path / "ü 🐻 [1].png"
    two_halves().save(path)
    assert read_image(path).info == {"file": str(path)}


def test_a_folder_under_an_images_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=r"folder\.png.*cannot be opened"):
        read_image(tmp_path / "folder.png")


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    path = tmp_path / "moving.gif"
    first, second = (Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN))
    first.save(path, save_all=True, append_images=[second])
    assert near(read_image(path), (8, 8), RED, 20)


def test_images_are_listed_by_suffix_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", ".hidden.png", "note.txt", "below/c.webp", ".cache/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "b.PNG"]
    below = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path, recursive=True)]
    assert below == ["a.jpg", "b.PNG", "below/c.webp"]


ORIENTED = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tiff": "TIFF"}


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_the_header_tells_the_size_that_the_image_has(tmp_path: Path, suffix: str, orientation: int | None) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    two_halves(40, 16).save(path, **({"exif": exif} if suffix in ORIENTED else {}))
    assert read_size(path) == read_image(path).size
    turned = suffix in ORIENTED and (orientation or 1) > 4
    assert read_size(path) == ((16, 40) if turned else (40, 16))


def test_a_png_that_tells_its_orientation_behind_its_pixels_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "late.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    two_halves(40, 16).save(path, exif=exif)
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    chunk = content[start : start + 12 + int.from_bytes(content[start : start + 4], "big")]
    end = content.index(b"IEND") - 4
    path.write_bytes(content[:start] + content[start + len(chunk) : end] + chunk + content[end:])
    assert read_size(path) == read_image(path).size == (16, 40)


def test_an_orientation_in_xmp_is_understood_alike(tmp_path: Path) -> None:
    path = tmp_path / "xmp.jpg"
    two_halves(40, 16).save(path, xmp=b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>')
    assert read_size(path) == read_image(path).size == (16, 40)


def test_a_size_is_read_without_decoding(tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    assert read_size(path) == (48, 64)
    with pytest.raises(InvalidImageError, match=r"half\.png"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_a_bad_header_is_an_invalid_image_and_an_absent_file_is_not(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(InvalidImageError, match=r"bad\.png"):
        read_size(path)
    with pytest.raises(InputError) as error:
        read_size(tmp_path / "gone.png")
    assert not isinstance(error.value, InvalidImageError)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_sixteen_bit_colours_are_brought_to_eight(tmp_path: Path, mode: str) -> None:
    """Pillow cannot write them, so the file is put together by hand."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    channels = len(mode)
    colours = np.full((16, 16, channels), 65535, dtype=">u2")
    colours[..., 0], colours[..., 1] = np.arange(16) * 4096, 0x8000
    rows = b"".join(b"\0" + row.tobytes() for row in colours)
    head = struct.pack(">IIBBBBB", 16, 16, 16, {"RGB": 2, "RGBA": 6}[mode], 0, 0, 0)
    path = tmp_path / "deep.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    seen = np.asarray(read_image(path)).astype(float)
    assert np.abs(seen - colours[..., :3] / 257).max() <= 1
    assert read_size(path) == (16, 16)


def test_a_profile_of_greys_and_of_transparent_images_is_applied(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tmp!").replace(b"gXYZ", b"rXYZ").replace(b"tmp!", b"gXYZ")
    path = tmp_path / "clear.png"
    Image.new("RGBA", (16, 16), (200, 80, 40, 0)).save(path, icc_profile=swapped)
    assert near(read_image(path), (3, 3), (255, 255, 255), 0)
    Image.new("RGBA", (16, 16), (200, 80, 40, 255)).save(path, icc_profile=swapped)
    assert near(read_image(path), (3, 3), (80, 200, 40), 6)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_how_opaque_an_image_is_can_be_asked(tmp_path: Path, mode: str) -> None:
    clear = Image.new("RGBA", (16, 8), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (8, 0, 16, 8))
    path = tmp_path / "clear.png"
    clear.convert(mode).save(path)
    alpha = read_alpha(path)
    assert (alpha.mode, alpha.size) == ("L", (16, 8))
    assert [alpha.getpixel((x, 4)) for x in (2, 13)] == [0, 255]
    two_halves().save(path)
    assert read_alpha(path) is None


def test_a_mask_is_no_image_of_its_own(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.mask.png", "b.c.png", "b.c.mask.png", "mask.png", "d.png", "d-masklabel.png"):
        two_halves().save(tmp_path / name)
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "b.c.png", "d.png", "mask.png"]
    assert find_mask(tmp_path / "d.png") == tmp_path / "d-masklabel.png"
    assert find_mask(tmp_path / "a.jpg") == tmp_path / "a.mask.png"
    assert find_mask(tmp_path / "b.c.png") == tmp_path / "b.c.mask.png"
    assert find_mask(tmp_path / "mask.png") is None


def test_a_conditioning_image_of_onetrainer_is_no_image_of_its_own(tmp_path: Path) -> None:
    for name in ("a.jpg", "a-condlabel.png", "a-masklabel.png", "b-condlabel.png"):
        two_halves().save(tmp_path / name)
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "b-condlabel.png"]


@pytest.mark.parametrize("name", ["b.mask.png", "a.mask.jpg", "b-masklabel.png"])
def test_a_mask_without_its_image_or_in_another_format_is_named(tmp_path: Path, name: str) -> None:
    for file in ("a.png", name):
        two_halves().save(tmp_path / file)
    with pytest.raises(InputError, match=name):
        list_images(tmp_path)


def test_files_are_opened_when_they_are_asked_for(tmp_path: Path) -> None:
    paths = [tmp_path / f"{width}.png" for width in (8, 9, 10)]
    files = ImageFiles(paths)
    assert len(files) == 3
    for path in paths[:2]:
        Image.new("RGB", (int(path.stem), 8)).save(path)
    assert [image.width for image in files[:2]] == [8, 9]
    with pytest.raises(InputError, match=r"10\.png"):
        files[2]
