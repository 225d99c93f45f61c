"""What was seen is kept by the picture's bytes and the seer: looked at again only when either changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lycoris.captions.taggers import tag_cache
from lycoris.captions.taggers.tag_cache import compute_cached


class CountingTagger:
    """Sees the corner's colour and the size, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, images: Sequence[Image.Image]) -> list[Any]:
        self.count += len(images)
        return [{"猫": image.width, str(image.getpixel((0, 0))): 0.5} for image in images]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Five pictures, of which the last two are the same."""
    files = []
    for number, width in enumerate((8, 9, 10, 11, 11)):
        files.append(tmp_path / "data" / f"{number}.png")
        files[-1].parent.mkdir(exist_ok=True)
        Image.new("RGB", (width, 8)).save(files[-1])
    return files


def test_no_picture_is_looked_at_twice_and_the_order_is_that_of_the_pictures(
    tmp_path: Path, pictures: list[Path]
) -> None:
    eye = CountingTagger()
    first, _, known = compute_cached(tmp_path / "kept", {"tagger": "a"}, pictures, eye)
    assert [seen["猫"] for seen in first] == [8, 9, 10, 11, 11]
    assert (eye.count, known) == (4, False)
    again, _, known = compute_cached(tmp_path / "kept", {"tagger": "a"}, pictures[::-1], eye)
    assert (again, eye.count, known) == (first[::-1], 4, True)


def test_a_changed_picture_is_looked_at_alone_and_another_seer_looks_at_all(
    tmp_path: Path, pictures: list[Path]
) -> None:
    eye = CountingTagger()
    compute_cached(tmp_path / "kept", {"tagger": "a"}, pictures, eye)
    Image.new("RGB", (20, 8)).save(pictures[1])
    pictures[0].rename(pictures[0].with_name("renamed.png"))
    pictures[0] = pictures[0].with_name("renamed.png")
    seen, _, _ = compute_cached(tmp_path / "kept", {"tagger": "a"}, pictures, eye)
    assert ([one["猫"] for one in seen], eye.count) == ([8, 20, 10, 11, 11], 5)
    compute_cached(tmp_path / "kept", {"tagger": "b"}, pictures, eye)
    assert eye.count == 9


def test_a_bad_picture_is_told_and_the_others_are_seen(tmp_path: Path, pictures: list[Path]) -> None:
    pictures[2].write_bytes(b"no picture")
    seen, bad, known = compute_cached(tmp_path / "kept", {}, pictures, CountingTagger())
    assert ([one["猫"] for one in seen], known) == ([8, 9, 11, 11], False)
    assert list(bad) == [pictures[2]]
    assert "2.png" in bad[pictures[2]]
    again = compute_cached(tmp_path / "kept", {}, pictures, CountingTagger())
    assert again == (seen, bad, True)
    pictures[2].unlink()
    with pytest.raises(FileNotFoundError):
        compute_cached(tmp_path / "kept", {}, pictures, CountingTagger())


def test_what_was_seen_before_something_broke_is_kept(
    tmp_path: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tag_cache, "CHUNK_SIZE", 1)

    def breaks(images: Sequence[Image.Image]) -> list[Any]:
        if images[0].width == 10:
            raise RuntimeError
        return CountingTagger()(images)

    with pytest.raises(RuntimeError):
        compute_cached(tmp_path / "kept", {}, pictures, breaks)
    eye = CountingTagger()
    compute_cached(tmp_path / "kept", {}, pictures, eye)
    assert eye.count == 2


def test_progress_ends_at_the_number_of_distinct_pictures(tmp_path: Path, pictures: list[Path]) -> None:
    told: list[tuple[int, int]] = []
    compute_cached(tmp_path / "kept", {}, pictures, CountingTagger(), lambda done, total: told.append((done, total)))
    assert told == [(0, 4), (4, 4)]
    assert compute_cached(tmp_path / "kept", {}, [], CountingTagger()) == ([], {}, True)


@pytest.mark.parametrize("damage", [b"0.5:0.6", b'":\xff', b"{:", b"8:9", b"sha256:sha1"])
def test_a_damaged_entry_is_reported_and_computed_again(
    tmp_path: Path, pictures: list[Path], damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    eye = CountingTagger()
    first, _, _ = compute_cached(tmp_path / "kept", {}, pictures[:1], eye)
    (file,) = (tmp_path / "kept").glob("*/*.json")
    before, after = damage.split(b":")
    file.write_bytes(file.read_bytes().replace(before, after, 1))
    again, _, known = compute_cached(tmp_path / "kept", {}, pictures[:1], eye)
    assert (again, known, eye.count) == (first, False, 2)
    assert str(file) in caplog.text
    assert compute_cached(tmp_path / "kept", {}, pictures[:1], eye)[2]
