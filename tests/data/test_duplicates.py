"""Duplicates are named: the same bytes, and the same look after a resize or another encoding."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

from lycoris import pocket
from lycoris.data.concepts import load_concepts
from lycoris.data.duplicates import duplicate_notes, equal_files, perceptual_hash, similar_images
from lycoris.data.images import read_image

DREAMBOOTH = Path(__file__).parents[3] / "shared" / "data" / "dreambooth"


@pytest.fixture(scope="module")
def bears() -> list[Image.Image]:
    concept = next(concept for concept in load_concepts(pocket.IMAGES) if len(concept.images) >= 12)
    return [read_image(image.path) for image in concept.images]


def as_jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=60)
    return Image.open(stream).convert("RGB")


def close(first: Image.Image, second: Image.Image) -> bool:
    hashes = {Path("a"): perceptual_hash(first), Path("b"): perceptual_hash(second)}
    return similar_images(hashes) == [[Path("a"), Path("b")]]


def test_an_image_looks_like_itself_resized_reencoded_and_slightly_brighter(bears) -> None:
    for image in bears:
        assert close(image, image.resize((200, 200), Image.Resampling.BICUBIC))
        assert close(image, as_jpeg(image.resize((256, 256), Image.Resampling.BICUBIC)))
        assert close(image, ImageEnhance.Brightness(image).enhance(1.03))


def test_plain_images_are_told_apart_by_their_colors() -> None:
    red, green, dark_red = (Image.new("RGB", (32, 32), color) for color in ("red", "green", "darkred"))
    assert not close(red, green)
    assert not close(red, dark_red)
    assert close(red, Image.new("RGB", (64, 64), (250, 4, 4)))


@pytest.mark.skipif(not DREAMBOOTH.is_dir(), reason="needs the photographs")
def test_different_photographs_of_one_thing_do_not_look_the_same() -> None:
    folder = DREAMBOOTH / "object" / "teapot"
    images = [read_image(path) for path in sorted(folder.iterdir())]
    assert not any(close(first, second) for first, second in itertools.combinations(images, 2))


def test_the_same_bytes_and_the_same_look_are_named_apart(tmp_path: Path, bears) -> None:
    for number, image in enumerate((bears[0], bears[0], bears[1], bears[1].resize((300, 300)), bears[2])):
        image.save(tmp_path / f"{number}.png")
    files = sorted(tmp_path.iterdir())
    assert equal_files(files) == [files[:2]]
    notes = duplicate_notes("bear", {file: perceptual_hash(read_image(file)) for file in files})
    assert len(notes) == 2
    assert "same bytes, which count as several images: `0.png` = `1.png`." in notes[0]
    assert "look the same: `2.png` = `3.png`." in notes[1]


def test_without_duplicates_nothing_is_noted(tmp_path: Path, bears) -> None:
    for number in range(2):
        bears[number].save(tmp_path / f"{number}.png")
    assert duplicate_notes("bear", {file: perceptual_hash(read_image(file)) for file in tmp_path.iterdir()}) == []
    assert duplicate_notes("bear", {}) == []
