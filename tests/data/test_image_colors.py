"""Every mode that Pillow decodes becomes the RGB that a viewer shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lycoris.data import image_colors
from lycoris.data.images import InvalidImageError, read_alpha, read_image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = SRGB.replace(b"rXYZ", b"tmp!").replace(b"gXYZ", b"rXYZ").replace(b"tmp!", b"gXYZ")
"""A profile that exchanges red and green."""


def ramp(low: float, high: float, dtype: type) -> np.ndarray:
    return np.linspace(low, high, 40 * 30).reshape(30, 40).astype(dtype)


def red(path: Path) -> np.ndarray:
    return np.asarray(read_image(path))[..., 0].astype(float)


def test_floats_from_0_to_1_are_scaled_and_a_small_overshoot_is_clipped(tmp_path: Path) -> None:
    for low, high in ((0, 1), (0.2, 0.4), (-0.1, 1.1)):
        Image.fromarray(ramp(low, high, np.float32)).save(tmp_path / "a.tif")
        assert np.abs(red(tmp_path / "a.tif") - ramp(low, high, float).clip(0, 1) * 255).max() <= 1


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-3, 0.5), (0, 2)])
def test_floats_of_another_range_are_refused_with_their_range(tmp_path: Path, low: float, high: float) -> None:
    Image.fromarray(ramp(low, high, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InvalidImageError, match=rf"a\.tif.*from 0 to 1, but has some from {low:g} to {high:g}"):
        read_image(tmp_path / "a.tif")


def test_a_float_that_is_no_number_is_refused(tmp_path: Path) -> None:
    values = ramp(0, 1, np.float32)
    values[7, 7] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(InvalidImageError, match=r"a\.tif.*nan"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_greys_of_16_bits_keep_their_brightness(tmp_path: Path, name: str) -> None:
    Image.fromarray(ramp(0, 65535, np.uint16)).save(tmp_path / name)
    assert np.abs(red(tmp_path / name) - ramp(0, 255, float)).max() <= 1


def test_integers_of_32_bits_are_read_up_to_16_bits_and_refused_above(tmp_path: Path) -> None:
    Image.fromarray(ramp(0, 65535, np.int32)).save(tmp_path / "a.tif")
    assert np.abs(red(tmp_path / "a.tif") - ramp(0, 255, float)).max() <= 1
    Image.fromarray(ramp(0, 1e6, np.int32)).save(tmp_path / "b.tif")
    with pytest.raises(InvalidImageError, match=r"b\.tif.*65535.*1e\+06"):
        read_image(tmp_path / "b.tif")


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", "jpg"), ("CMYK", "tif"), ("LAB", "tif"), ("YCbCr", "tif")])
def test_other_color_spaces_show_the_same_color(tmp_path: Path, mode: str, suffix: str) -> None:
    color = Image.new("RGB", (32, 32), (200, 90, 30))
    if mode == "LAB":
        lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        ImageCms.applyTransform(color, lab).save(tmp_path / f"a.{suffix}")
    else:
        color.convert(mode).save(tmp_path / f"a.{suffix}")
    assert np.abs(np.asarray(read_image(tmp_path / f"a.{suffix}")).astype(int) - (200, 90, 30)).max() <= 6


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_the_profile_is_applied_in_every_mode(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (32, 32), (200, 80, 40))
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(tmp_path / "a.png", icc_profile=SWAPPED)
    assert np.abs(np.asarray(read_image(tmp_path / "a.png")).astype(int) - (80, 200, 40)).max() <= 6


@pytest.mark.parametrize("mode", ["L", "LA", "CMYK", "LAB", "1"])
def test_a_profile_of_another_color_space_is_ignored(tmp_path: Path, mode: str) -> None:
    suffix = "png" if mode in ("L", "LA", "1") else "tif"
    image = Image.new("L", (32, 32), 255).convert("CMYK" if mode == "LAB" else mode)
    if mode == "LAB":
        image = Image.new("LAB", (32, 32), (255, 128, 128))
    image.save(tmp_path / f"a.{suffix}", icc_profile=SWAPPED)
    assert np.asarray(read_image(tmp_path / f"a.{suffix}")).min() >= 250


def test_a_transparent_color_is_white_and_counts_as_alpha(tmp_path: Path) -> None:
    image = Image.new("RGB", (32, 32), (10, 200, 10))
    image.paste((1, 2, 3), (0, 0, 16, 32))
    image.save(tmp_path / "a.png", transparency=(1, 2, 3))
    shown = read_image(tmp_path / "a.png")
    assert (shown.getpixel((3, 3)), shown.getpixel((30, 3))) == ((255, 255, 255), (10, 200, 10))
    assert [read_alpha(tmp_path / "a.png").getpixel((x, 3)) for x in (3, 30)] == [0, 255]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "PA", "I;16", "F", "CMYK", "1", "L"])
def test_strips_join_without_seams(tmp_path: Path, mode: str, monkeypatch) -> None:
    values = np.random.default_rng(0).integers(0, 256, (37, 41, 4), dtype=np.uint8)
    image = Image.fromarray(values).convert({"P": "RGB", "PA": "RGBA", "I;16": "L", "F": "L"}.get(mode, "RGBA"))
    if mode == "F":
        image = Image.fromarray(np.asarray(image).astype(np.float32) / 255)
    elif mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    image.info["icc_profile"] = SWAPPED
    whole, alpha = image_colors.to_rgb(image, Path("a")), image_colors.to_alpha(image)
    monkeypatch.setattr(image_colors, "STRIP_PIXELS", 41 * 5)
    assert image_colors.to_rgb(image, Path("a")).tobytes() == whole.tobytes()
    assert whole.size == (41, 37)
    if alpha is not None:
        assert image_colors.to_alpha(image).tobytes() == alpha.tobytes()
