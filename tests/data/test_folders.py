"""Linked folders are followed once, loops end, and what is left out is logged."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from PIL import Image

from flows.config.defaults import default_name
from lycoris.data.concepts import load_concepts
from lycoris.data.folders import walk_folders
from lycoris.data.images import list_images
from lycoris.errors import InputError


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9)).save(path)


def test_a_linked_class_and_a_linked_subclass_are_used_and_logged(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO, "lycoris")
    write_image(tmp_path / "elsewhere" / "1.png")
    write_image(tmp_path / "data" / "cat" / "teapot" / "red" / "2.png")
    (tmp_path / "data" / "cat" / "teapot" / "blue").symlink_to(tmp_path / "elsewhere")
    (teapot,) = load_concepts(tmp_path / "data")
    assert {(image.subclass, image.path.name) for image in teapot.images} == {("blue", "1.png"), ("red", "2.png")}
    assert f"`{tmp_path}/data/cat/teapot/blue` is read from `{tmp_path}/elsewhere`" in caplog.text
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes" / "teapot").symlink_to(tmp_path / "elsewhere")
    (linked,) = load_concepts(tmp_path / "classes")
    assert (linked.name, len(linked.images)) == ("teapot", 1)


def test_names_are_those_of_links_and_not_of_their_targets(tmp_path: Path) -> None:
    write_image(tmp_path / "blobs" / "5f3a" / "1.png")
    (tmp_path / "photos").symlink_to(tmp_path / "blobs" / "5f3a")
    (flat,) = load_concepts(tmp_path / "photos")
    assert (flat.name, flat.class_noun) == ("photos", "photos")
    (tmp_path / "data" / "pots").mkdir(parents=True)
    (tmp_path / "data" / "pots" / "teapot").symlink_to(tmp_path / "blobs" / "5f3a")
    (teapot,) = load_concepts(tmp_path / "data")
    assert (teapot.category, teapot.name) == ("pots", "teapot")
    assert default_name(tmp_path / "photos") == "photos"


def test_a_link_to_the_data_folder_among_the_classes_is_left_out(tmp_path: Path) -> None:
    write_image(tmp_path / "data" / "cat" / "1.png")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    assert [concept.name for concept in load_concepts(tmp_path / "data")] == ["cat"]


@pytest.mark.parametrize("target", [".", "..", "../b", "../../data"])
def test_a_loop_of_links_ends_and_is_logged(tmp_path: Path, target: str, caplog) -> None:
    data = tmp_path / "data"
    for name in ("a", "b"):
        write_image(data / name / "1.png")
        (data / name / "loop").symlink_to(target)
    assert [path.relative_to(data).as_posix() for path in list_images(data, recursive=True)] == ["a/1.png", "b/1.png"]
    assert "is left out" in caplog.text


def test_a_link_to_a_folder_above_the_data_folder_reads_what_is_new_there(tmp_path: Path) -> None:
    for name in ("data/a/1.png", "other/2.png"):
        write_image(tmp_path / name)
    (tmp_path / "data" / "up").symlink_to("..")
    files = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path / "data", recursive=True)]
    assert files == ["data/a/1.png", "data/up/other/2.png"]


def test_folders_that_all_link_to_one_another_are_each_read_once(tmp_path: Path) -> None:
    names = [f"{number:02}" for number in range(12)]
    for name in names:
        write_image(tmp_path / "all" / name / "1.png")
        for other in names:
            (tmp_path / "all" / name / f"to{other}").symlink_to(tmp_path / "all" / other)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "in").symlink_to(tmp_path / "all" / "00")
    assert len(list_images(tmp_path / "data", recursive=True)) == 12


def test_hidden_folders_and_dangling_links_are_no_folders(tmp_path: Path) -> None:
    write_image(tmp_path / ".cache" / "1.png")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert list(walk_folders(tmp_path)) == [tmp_path]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch) -> None:
    """A file takes its place while it is walked, as root may read any folder."""
    write_image(tmp_path / "a" / "1.png")
    walk = walk_folders(tmp_path)
    next(walk)
    folder = next(walk)
    (folder / "1.png").unlink()
    folder.rmdir()
    folder.write_text("")
    with pytest.raises(InputError, match=r"a` cannot be read: Not a directory"):
        next(walk)
