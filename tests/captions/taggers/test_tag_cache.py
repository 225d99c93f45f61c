"""Results are cached by the image's bytes and the model, and computed again if either changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lycoris.captions.taggers import tag_cache
from lycoris.captions.taggers.tag_cache import compute_cached


class CountingTagger:
    """Return the corner's colour and the width, and count the images."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, images: Sequence[Image.Image]) -> list[Any]:
        self.count += len(images)
        return [{"猫": image.width, str(image.getpixel((0, 0))): 0.5} for image in images]


@pytest.fixture
def image_files(tmp_path: Path) -> list[Path]:
    """Five image files, of which the last two are equal."""
    files = []
    for number, width in enumerate((8, 9, 10, 11, 11)):
        files.append(tmp_path / "data" / f"{number}.png")
        files[-1].parent.mkdir(exist_ok=True)
        Image.new("RGB", (width, 8)).save(files[-1])
    return files


def test_no_image_is_computed_twice_and_results_are_in_order(tmp_path: Path, image_files: list[Path]) -> None:
    tagger = CountingTagger()
    first, _, cached = compute_cached(tmp_path / "cache", {"tagger": "a"}, image_files, tagger)
    assert [entry["猫"] for entry in first] == [8, 9, 10, 11, 11]
    assert (tagger.count, cached) == (4, False)
    again, _, cached = compute_cached(tmp_path / "cache", {"tagger": "a"}, image_files[::-1], tagger)
    assert (again, tagger.count, cached) == (first[::-1], 4, True)


def test_a_changed_image_is_computed_again_and_another_model_computes_all(
    tmp_path: Path, image_files: list[Path]
) -> None:
    tagger = CountingTagger()
    compute_cached(tmp_path / "cache", {"tagger": "a"}, image_files, tagger)
    Image.new("RGB", (20, 8)).save(image_files[1])
    image_files[0].rename(image_files[0].with_name("renamed.png"))
    image_files[0] = image_files[0].with_name("renamed.png")
    entry, _, _ = compute_cached(tmp_path / "cache", {"tagger": "a"}, image_files, tagger)
    assert ([one["猫"] for one in entry], tagger.count) == ([8, 20, 10, 11, 11], 5)
    compute_cached(tmp_path / "cache", {"tagger": "b"}, image_files, tagger)
    assert tagger.count == 9


def test_an_invalid_image_is_reported_and_the_others_are_computed(tmp_path: Path, image_files: list[Path]) -> None:
    image_files[2].write_bytes(b"no image")
    entry, invalid, cached = compute_cached(tmp_path / "cache", {}, image_files, CountingTagger())
    assert ([one["猫"] for one in entry], cached) == ([8, 9, 11, 11], False)
    assert list(invalid) == [image_files[2]]
    assert "2.png" in invalid[image_files[2]]
    again = compute_cached(tmp_path / "cache", {}, image_files, CountingTagger())
    assert again == (entry, invalid, True)
    image_files[2].unlink()
    with pytest.raises(FileNotFoundError):
        compute_cached(tmp_path / "cache", {}, image_files, CountingTagger())


def test_results_before_an_error_are_cached(
    tmp_path: Path, image_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tag_cache, "CHUNK_SIZE", 1)

    def breaks(images: Sequence[Image.Image]) -> list[Any]:
        if images[0].width == 10:
            raise RuntimeError
        return CountingTagger()(images)

    with pytest.raises(RuntimeError):
        compute_cached(tmp_path / "cache", {}, image_files, breaks)
    tagger = CountingTagger()
    compute_cached(tmp_path / "cache", {}, image_files, tagger)
    assert tagger.count == 2


def test_progress_ends_at_the_number_of_distinct_images(tmp_path: Path, image_files: list[Path]) -> None:
    calls: list[tuple[int, int]] = []
    compute_cached(
        tmp_path / "cache", {}, image_files, CountingTagger(), lambda done, total: calls.append((done, total))
    )
    assert calls == [(0, 4), (4, 4)]
    assert compute_cached(tmp_path / "cache", {}, [], CountingTagger()) == ([], {}, True)


@pytest.mark.parametrize("damage", [b"0.5:0.6", b'":\xff', b"{:", b"8:9", b"sha256:sha1"])
def test_a_damaged_entry_is_reported_and_computed_again(
    tmp_path: Path, image_files: list[Path], damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    tagger = CountingTagger()
    first, _, _ = compute_cached(tmp_path / "cache", {}, image_files[:1], tagger)
    (file,) = (tmp_path / "cache").glob("*/*.json")
    before, after = damage.split(b":")
    file.write_bytes(file.read_bytes().replace(before, after, 1))
    again, _, cached = compute_cached(tmp_path / "cache", {}, image_files[:1], tagger)
    assert (again, cached, tagger.count) == (first, False, 2)
    assert str(file) in caplog.text
    assert compute_cached(tmp_path / "cache", {}, image_files[:1], tagger)[2]
