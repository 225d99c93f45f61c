"""The folder of a publication: only what we wrote is replaced, and no path or secret leaves the machine."""

import pytest
import torch
from safetensors.torch import save_file

from lycoris.errors import InputError
from lycoris.publishing.adapter_files import publish_tensors
from lycoris.publishing.folder import MANIFEST, check_shareable, replace_publication, write_manifest


def publication(folder, version, *names):
    folder.mkdir()
    for name in names:
        (folder / name).write_text(f"{name} {version}")
    write_manifest(folder, "bear", version)
    return folder


@pytest.fixture
def published(tmp_path):
    """A folder with a publication of two files, and the same files of the next version."""
    target = tmp_path / "target"
    replace_publication(publication(tmp_path / "one", "1", "README.md", "old.json"), target, "bear")
    return target, publication(tmp_path / "two", "2", "README.md", "new.json")


def test_the_next_version_replaces_the_one_before_and_keeps_other_files(published):
    target, source = published
    (target / "mine.txt").write_text("mine")
    replace_publication(source, target, "bear")
    assert {file.name for file in target.iterdir()} == {"README.md", "new.json", "mine.txt", MANIFEST}
    assert (target / "README.md").read_text() == "README.md 2"


@pytest.mark.parametrize(
    ("name", "concept", "message"),
    [("README.md", "bear", "changed after"), ("new.json", "bear", "own files"), ("mine.txt", "robot", "`bear`, not")],
)
def test_files_of_the_user_are_not_replaced(published, name, concept, message):
    target, source = published
    (target / name).write_text("mine")
    before = {file.name: file.read_text() for file in target.iterdir()}
    with pytest.raises(InputError, match=message):
        replace_publication(source, target, concept)
    assert {file.name: file.read_text() for file in target.iterdir()} == before


def test_a_folder_of_something_else_is_refused(published, tmp_path):
    target = tmp_path / "other"
    target.mkdir()
    (target / "a.txt").write_text("a")
    with pytest.raises(InputError, match=r"not empty and was not written by `lycoris publish`"):
        replace_publication(published[1], target, "bear")
    (target / MANIFEST).write_text('{"concept": "bear", "files": {"../one/README.md": "0"}}')
    with pytest.raises(InputError, match="outside"):
        replace_publication(published[1], target, "bear")
    with pytest.raises(InputError, match="is a file"):
        replace_publication(published[1], target / "a.txt", "bear")


def test_headers_lose_entries_with_paths_and_secrets(tmp_path):
    tensors = {"x": torch.arange(3.0)}
    header = {"a": "/srv/models/base", "b": "https://u:secretword@host/x", "c": "x"}
    save_file(tensors, tmp_path / "in.safetensors", metadata=header)
    with pytest.raises(InputError, match=r"in\.safetensors"):
        check_shareable(tmp_path)
    (tmp_path / "out").mkdir()
    left_out = publish_tensors(tmp_path / "in.safetensors", tmp_path / "out" / "x.safetensors", "ohw")
    assert left_out == ["a", "b"]
    check_shareable(tmp_path / "out")
    (tmp_path / "out" / "card.md").write_text("trained in C:\\Users\\ada\\bear")
    with pytest.raises(InputError, match=r"card\.md"):
        check_shareable(tmp_path / "out")
