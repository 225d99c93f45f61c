"""Every file of a data folder is used, or is named with a reason."""

from __future__ import annotations

import os
import random
import re
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lycoris.captions.sidecar import Sidecars
from lycoris.data.census import MAX_NAMES, take_census
from lycoris.data.concepts import load_concepts
from lycoris.errors import InputError
from tests.data.data_trees import write_tree


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "toys" / "cat"
    folder.mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (16, 16)).save(folder / f"{number}.png")
    return tmp_path / "data"


def census(data: Path) -> dict[str, str]:
    """Unused file -> reason."""
    return {file.name: reason for file, reason in take_census(data, load_concepts(data)).unused.items()}


def test_images_captions_masks_and_the_concepts_file_are_used(data: Path) -> None:
    folder = data / "toys" / "cat"
    (folder / "0.txt").write_text("red")
    (data / "metadata.jsonl").write_text('{"file_name": "toys/cat/1.png", "text": "blue"}')
    Image.new("L", (16, 16), 9).save(folder / "0.mask.png")
    (data / "concepts.yaml").write_text("concepts: {cat: {category: toys, trigger: sks, class_noun: cat}}")
    taken = take_census(data, load_concepts(data))
    assert [file.name for file in taken.used] == [
        "concepts.yaml", "metadata.jsonl", "0.mask.png", "0.png", "0.txt", "1.png",
    ]  # fmt: skip
    assert (taken.unused, taken.masks, taken.messages()) == ({}, 1, [])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("2.psd", b"", "a format that is not read"),
        ("7.txt", b"red", "a caption of no image"),
        (".DS_Store", b"", "hidden"),
        ("notes.md", b"", "neither image, caption nor mask"),
        ("0.caption", b"a red cat", "another caption file of the same image takes precedence"),
        ("metadata.parquet", b"", "not read, only metadata.jsonl and metadata.csv are"),
        ("0-condlabel.png", b"", "a conditioning image, which no training reads"),
        ("0.json", b'{"width": 9}', "it has no caption (a field `caption`, `text` or `tags`)"),
    ],
)
def test_what_is_not_used_is_named_with_the_reason(data: Path, name: str, content: bytes, reason: str) -> None:
    folder = data / "toys" / "cat"
    if "precedence" in reason:
        (folder / "0.json").write_text('{"caption": "a red cat", "tags": "cat, red"}')
        (folder / "0.jpg.txt").unlink(missing_ok=True)
        (folder / "0.txt").write_text("cat, red")
        name = "0.json"
        (folder / "0.caption").write_bytes(content)
    else:
        (folder / name).write_bytes(content)
    assert census(data) == {name: reason}


def test_links_that_lead_nowhere_or_are_not_followed_are_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (data / "toys" / "cat" / "9.png").symlink_to(tmp_path / "missing")
    (data / "more").symlink_to(tmp_path / "store")
    os.mkfifo(data / "pipe")
    assert census(data) == {"9.png": "a broken link", "more": "a linked folder", "pipe": "not a regular file"}


def test_a_message_counts_and_names_files_once_by_reason(data: Path) -> None:
    for number in range(MAX_NAMES + 3):
        (data / "toys" / "cat" / f"x{number:02}.psd").write_bytes(b"")
    (data / "notes.md").write_text("x")
    (message,) = take_census(data, load_concepts(data)).messages()
    assert message.startswith(f"{MAX_NAMES + 4} of {MAX_NAMES + 6} files in")
    assert f"{MAX_NAMES + 3} (a format that is not read): toys/cat/x00.psd, " in message
    assert "and 3 more" in message
    assert "1 (neither image, caption nor mask): notes.md" in message


def problem_of(data: Path) -> str | None:
    """Load a data folder as a run does, and check its census; return the message of an input error."""
    try:
        concepts = load_concepts(data)
        taken = take_census(data, concepts)
        images = [image.path for concept in concepts for image in concept.images]
        sidecars = Sidecars.read(images, data)
        captions = [caption for image in images for caption in (sidecars.tags(image), sidecars.sentences(image))]
    except InputError as error:
        return str(error)
    mentioned = {*taken.used, *taken.unused}
    assert len(mentioned) == len(taken.used) + len(taken.unused)
    folders_with_use = {folder for file in taken.used for folder in file.parents}
    for file in paths_in(data):
        assert file in mentioned or (file.is_dir() and file in folders_with_use), file
    assert set(images) <= set(taken.used)
    assert len(captions) == 2 * len(images)
    text = "\n".join(taken.messages())
    assert all(file.name in text for file in taken.unused)
    return None


def paths_in(data: Path) -> set[Path]:
    """Every file and link below a folder."""
    return {
        Path(folder) / name
        for folder, folders, files in os.walk(data)
        for name in (*files, *(inner for inner in folders if (Path(folder) / inner).is_symlink()))
    }


def fuzz(count: int) -> Counter[bool]:
    """Check random data folders; return how many were used (False) and refused (True)."""
    refused: Counter[bool] = Counter()

    @settings(max_examples=count, deadline=None, derandomize=True, database=None)
    @given(st.randoms(use_true_random=False))
    def check(chance: random.Random) -> None:
        with tempfile.TemporaryDirectory() as folder:
            data = write_tree(Path(folder), chance)
            problem = problem_of(data)
            refused[problem is not None] += 1
            named = [Path(name) for name in re.findall("`([^`]*)`", problem or "")]
            assert problem is None or any(place.is_relative_to(data) and place.exists() for place in named), problem

    check()
    return refused


def test_no_file_of_sixty_random_folders_goes_unmentioned() -> None:
    refused = fuzz(60)
    assert min(refused[False], refused[True]) >= 5


@pytest.mark.slow
def test_no_file_of_two_thousand_random_folders_goes_unmentioned() -> None:
    refused = fuzz(2000)
    assert refused[False] + refused[True] >= 2000
    assert min(refused[False], refused[True]) >= 200
