"""A text file that is a link is read only where it cannot bring in other files of the user."""

from __future__ import annotations

from pathlib import Path

import pytest

from lycoris.data.caption_files import find_caption_files
from lycoris.data.concepts import load_concepts
from lycoris.errors import InputError
from lycoris.safety.links import forbidden_target

OBJECTS = ("ab/" + "0" * 30, "cd/" + "1" * 30)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data" / "toys").mkdir(parents=True)
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    (tmp_path / "home" / "Pictures").mkdir()
    for name in (".ssh/key", "Pictures/1.png", "Pictures/1.txt"):
        (tmp_path / "home" / name).write_text(name)
    return tmp_path / "data"


def link(path: Path, target: Path | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def test_files_and_links_inside_of_the_folder_are_read(root: Path) -> None:
    (root / "toys" / "1.txt").write_text("red")
    assert forbidden_target(root / "toys" / "1.txt", root) is None
    assert forbidden_target(link(root / "toys" / "2.txt", "1.txt"), root) is None
    assert forbidden_target(link(root / "3.txt", root / "toys" / "1.txt"), root) is None


@pytest.mark.parametrize("target", ["../../home/.ssh/key", "../../home/Pictures/1.txt", "/etc/hostname", "/dev/zero"])
def test_a_link_out_of_the_folder_is_not(root: Path, target: str) -> None:
    file = link(root / "toys" / "1.txt", target)
    assert forbidden_target(file, root) == file.resolve()
    (root / "toys" / "1.png").write_bytes(b"")
    assert forbidden_target(file, root, root / "toys" / "1.png") == file.resolve()


def test_a_chain_of_links_is_followed_to_its_end(root: Path) -> None:
    link(root / "toys" / "1.txt", "2.txt")
    link(root / "toys" / "2.txt", root.parent / "home" / ".ssh" / "key")
    assert forbidden_target(root / "toys" / "1.txt", root) == (root.parent / "home" / ".ssh" / "key").resolve()


def test_a_link_beside_a_linked_image_is_read_from_the_folder_of_the_image_only(root: Path) -> None:
    home = root.parent / "home"
    image = link(root / "toys" / "1.png", home / "Pictures" / "1.png")
    assert forbidden_target(link(root / "toys" / "1.txt", home / "Pictures" / "1.txt"), root, image) is None
    key = link(root / "toys" / "1.caption", home / ".ssh" / "key")
    assert forbidden_target(key, root, image) == (home / ".ssh" / "key").resolve()


@pytest.mark.parametrize("name", ["1.mask.png", "1-masklabel.png"])
def test_a_mask_that_is_a_link_is_checked_like_a_text_file(root: Path, name: str) -> None:
    pictures = root.parent / "home" / "Pictures"
    link(root / "toys" / "cat" / "1.png", pictures / "1.png")
    mask = link(root / "toys" / "cat" / name, root.parent / "home" / ".ssh" / "key")
    with pytest.raises(InputError, match=rf"{name}` must not be a link out of the data folder, but leads to `.*/key`"):
        load_concepts(root)
    mask.unlink()
    (pictures / name).write_bytes(b"")
    link(mask, pictures / name)  # from the folder of the image
    assert [len(concept.images) for concept in load_concepts(root)] == [1]


def test_a_data_folder_of_links_into_the_cache_of_dvc_is_read(root: Path) -> None:
    cache = root.parent / "cache" / "md5"
    for name in OBJECTS:
        (cache / name).parent.mkdir(parents=True)
        (cache / name).write_text("x")
    image, text = link(root / "toys" / "1.png", cache / OBJECTS[0]), link(root / "toys" / "1.txt", cache / OBJECTS[1])
    assert forbidden_target(text, root, image) is None
    other = root.parent / "other" / OBJECTS[1]
    other.parent.mkdir(parents=True)
    other.write_text("x")
    assert forbidden_target(link(root / "toys" / "1.caption", other), root, image) == other.resolve()


def test_a_file_below_a_linked_folder_is_a_file_of_that_folder(root: Path) -> None:
    link(root / "linked", root.parent / "home" / "Pictures")
    assert forbidden_target(root / "linked" / "1.txt", root) is None
    inner = link(root.parent / "home" / "Pictures" / "2.txt", "1.txt")
    assert forbidden_target(root / "linked" / inner.name, root) is None
    link(root.parent / "home" / "Pictures" / "3.txt", root.parent / "home" / ".ssh" / "key")
    assert forbidden_target(root / "linked" / "3.txt", root) is not None


def test_captions_and_tables_that_are_links_out_of_the_folder_are_named_and_not_read(root: Path) -> None:
    image = root / "toys" / "1.png"
    image.write_bytes(b"")
    secret = root.parent / "home" / "secret"
    secret.write_text('{"file_name": "1.png", "text": "a secret"}\n')
    for name in ("toys/1.txt", "toys/metadata.jsonl", "metadata.jsonl"):
        link(root / name, secret)
    found = find_caption_files([image], root)
    assert found.tags(image) is None
    assert found.sentence(image) is None
    assert {file.relative_to(root).as_posix() for file in found.unread} == {
        "toys/1.txt", "toys/metadata.jsonl", "metadata.jsonl"
    }  # fmt: skip
    assert all(str(secret) in reason for reason in found.unread.values())
