"""Files and folders appear complete or not at all, and nothing is written through a link."""

import os
import stat

import pytest

from lycoris.cache.atomic import atomic_dir, atomic_write, atomic_write_text, remove_leftovers, temporary_path


def test_a_file_appears_when_the_block_ends(tmp_path):
    file = tmp_path / "deep" / "a-b.txt"
    with atomic_write(file) as temporary:
        temporary.write_text("new")
        assert not file.exists()
        assert temporary.name == file.name
    assert file.read_text() == "new"
    assert os.listdir(file.parent) == ["a-b.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_block_changes_nothing(tmp_path, error):
    atomic_write_text(tmp_path / "file", "old")
    with pytest.raises(error), atomic_write(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise error
    with pytest.raises(error), atomic_dir(tmp_path / "folder") as folder:
        (folder / "half").touch()
        raise error
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_of_another_process_can_be_kept(tmp_path):
    with atomic_write(tmp_path / "file", overwrite=False) as temporary:
        temporary.write_text("mine")
        (tmp_path / "file").write_text("theirs")
    assert (tmp_path / "file").read_text() == "theirs"


def test_links_are_replaced_and_not_followed(tmp_path):
    (tmp_path / "target").write_text("untouched")
    (tmp_path / "file").symlink_to(tmp_path / "target")
    atomic_write_text(tmp_path / "file", "new")
    assert (tmp_path / "target").read_text() == "untouched"
    assert not (tmp_path / "file").is_symlink()


def test_temporary_names_are_unpredictable_private_and_within_the_limit_of_file_systems(tmp_path):
    assert temporary_path(tmp_path, "x") != temporary_path(tmp_path, "x")
    with atomic_write(tmp_path / ("é" * 120)) as temporary:
        assert stat.S_IMODE(temporary.parent.stat().st_mode) == 0o700
        temporary.touch()
    assert len(os.listdir(tmp_path)) == 1


def test_a_folder_that_is_not_empty_is_replaced_only_by_its_like(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("theirs")
    with pytest.raises(OSError), atomic_dir(tmp_path / "folder") as folder:
        (folder / "file").write_text("mine")
    with atomic_dir(tmp_path / "folder", keep_existing=lambda path: True) as folder:
        (folder / "file").write_text("mine")
    assert (tmp_path / "folder" / "file").read_text() == "theirs"
    assert os.listdir(tmp_path) == ["folder"]


def test_leftovers_of_dead_processes_are_removed_and_others_are_not(tmp_path, monkeypatch):
    mine = temporary_path(tmp_path, "a-file")
    dead = mine.with_name(mine.name.replace(f"-{os.getpid()}-", "-999999999-"))
    elsewhere = mine.with_name(".a-file-00000000-1-00000000")
    for path in (mine, dead, elsewhere):
        path.mkdir()
    (tmp_path / ".a-b-c-d").touch()
    assert remove_leftovers(tmp_path) == 1
    assert not dead.exists()
    assert remove_leftovers(tmp_path, max_age_s=-1) == 2
    assert mine.is_dir()
