"""Claims about data versions: DVC's hash, a fresh clone's bytes, and what happens when they are wrong."""

import shutil
import subprocess

import pytest

from lycoris import pocket
from lycoris.errors import InputError
from tasks import versioning


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A git and DVC repository whose data/ is a small picture folder, versioned by DVC itself."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    root = tmp_path / "project"
    (root / "data" / "toys" / "bär").mkdir(parents=True)
    (root / "data" / "toys" / "bär" / "1.png").write_bytes(b"one")
    (root / "data" / "concepts.yaml").write_text("concepts: {}\n")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    from dvc.repo import Repo

    with Repo.init(str(root)) as repo:
        repo.add(str(root / "data"))
    return root


def test_the_hash_is_the_one_dvc_records(project):
    found = versioning.version(project / "data", project)
    assert found.hash == versioning.recorded(project / "data.dvc")
    assert (found.state, found.files) == ("unchanged", 2)


def test_a_changed_folder_is_a_new_version_that_dvc_records(project):
    before = versioning.recorded(project / "data.dvc")
    (project / "data" / "toys" / "bär" / "2.png").write_bytes(b"two")
    found = versioning.version(project / "data", project)
    assert found.state == "new"
    assert found.hash == versioning.recorded(project / "data.dvc") != before


def test_an_unchanged_folder_needs_no_dvc(project, monkeypatch):
    monkeypatch.setattr(versioning, "_with_repo", lambda *_: pytest.fail("asked DVC"))
    assert versioning.version(project / "data", project).state == "unchanged"


def test_a_missing_folder_comes_back_from_the_cache(project):
    shutil.rmtree(project / "data")
    assert versioning.version(project / "data", project).state == "fetched"
    assert (project / "data" / "toys" / "bär" / "1.png").read_bytes() == b"one"


def test_a_configured_remote_goes_before_everything_else(project, tmp_path):
    from dvc.repo import Repo

    subprocess.run(["git", "-C", str(project), "config", "--local", "user.email", "a@b"], check=True)
    with (project / ".dvc" / "config.local").open("w") as stream:
        stream.write(f"[core]\n    remote = shelf\n['remote \"shelf\"']\n    url = {tmp_path / 'shelf'}\n")
    with Repo(str(project)) as repo:
        repo.push()
    shutil.rmtree(project / "data")
    shutil.rmtree(project / ".dvc" / "cache")
    assert versioning.materialise(project) == "remote"
    assert (project / "data" / "toys" / "bär" / "1.png").read_bytes() == b"one"


def test_a_version_that_nothing_has_is_an_error(project):
    shutil.rmtree(project / "data")
    shutil.rmtree(project / ".dvc" / "cache")
    with pytest.raises(InputError, match="remote"):
        versioning.version(project / "data", project)


def test_a_folder_elsewhere_is_hashed_and_left_alone(project, tmp_path):
    (tmp_path / "photos" / "a" / "b").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "b" / "1.jpg").write_bytes(b"x")
    found = versioning.version(tmp_path / "photos", project)
    assert found.state == "outside"
    assert not (tmp_path / "photos.dvc").exists()


@pytest.fixture
def clone(tmp_path):
    """A fresh clone: a pointer to the version that the pocket ships, and nothing else."""
    root = tmp_path / "clone"
    root.mkdir()
    content = versioning.hash_of(versioning.manifest(pocket.PICTURES)[0])
    (root / "data.dvc").write_text(f"outs:\n- md5: {content}\n  hash: md5\n  path: data\n")
    return root


def test_a_fresh_clone_gets_exactly_the_shipped_bytes(clone):
    assert versioning.materialise(clone) == "pocket"
    assert versioning.manifest(clone / "data") == versioning.manifest(pocket.PICTURES)


def test_a_shipped_file_that_was_touched_is_named(clone, tmp_path, monkeypatch):
    shipped = tmp_path / "pictures"
    shutil.copytree(pocket.PICTURES, shipped)
    monkeypatch.setattr(pocket, "PICTURES", shipped)
    victim = sorted(shipped.rglob("*.png"))[3]
    victim.write_bytes(victim.read_bytes() + b"!")
    with pytest.raises(InputError, match=str(victim)):
        versioning.materialise(clone)
    assert not (clone / "data").exists()
    assert list(clone.iterdir()) == [clone / "data.dvc"]


def test_the_project_points_at_the_version_the_pocket_ships():
    from pathlib import Path

    pointer = Path(__file__).parents[2] / "data.dvc"
    assert versioning.recorded(pointer) == versioning.hash_of(versioning.manifest(pocket.PICTURES)[0])
