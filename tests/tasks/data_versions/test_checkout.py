"""Data versions: DVC's hash, the files of a fresh clone, and errors when they do not match."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lycoris import pocket
from lycoris.cache.processes import machine_id
from lycoris.errors import InputError
from tasks.data_versions import checkout, dvc, manifest


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    """A git and DVC repository whose data/ is a small folder of images, versioned by DVC itself."""
    root = tmp_path_factory.mktemp("pattern") / "project"
    (root / "data" / "toys" / "bär").mkdir(parents=True)
    (root / "data" / "toys" / "bär" / "1 %20?# (ü, 雪).png").write_bytes(b"one")
    (root / "data" / "toys" / "bär-2").mkdir()
    (root / "data" / "toys" / "bär-2" / "1.png").write_bytes(b"two")
    (root / "data" / "concepts.yaml").write_text("concepts: {}\n")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_NO_ANALYTICS", "1")
        from dvc.repo import Repo

        with Repo.init(str(root)) as repo:
            repo.add(str(root / "data"))
    return root


@pytest.fixture
def project(pattern, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    return Path(shutil.copytree(pattern, tmp_path / "project"))


def test_the_hash_is_the_one_dvc_records(project):
    found = checkout.ensure_version(project / "data", project)
    assert found.hash == manifest.read_pointer(project / "data.dvc")
    assert (found.state, found.files, found.size) == ("unchanged", 3, 19)


def test_a_changed_folder_is_a_new_version_that_dvc_records_and_it_is_logged(project, caplog):
    before = manifest.read_pointer(project / "data.dvc")
    (project / "data" / "toys" / "bär" / "2.png").write_bytes(b"two")
    caplog.set_level("INFO")
    found = checkout.ensure_version(project / "data", project)
    assert found.state == "new"
    assert found.hash == manifest.read_pointer(project / "data.dvc") != before
    assert manifest.manifest_hash(manifest.build_manifest(project / "data")[0]) == found.hash
    assert found.hash in caplog.text
    shutil.rmtree(project / "data")
    assert checkout.materialize(project) == "cache"
    assert (project / "data" / "toys" / "bär" / "2.png").read_bytes() == b"two"


def test_a_folder_that_was_never_versioned_becomes_the_first_version(project):
    (project / "data.dvc").unlink()
    found = checkout.ensure_version(project / "data", project)
    assert found.state == "new"
    assert found.hash == manifest.read_pointer(project / "data.dvc")


def test_an_unchanged_folder_imports_no_dvc(project):
    code = (
        "import sys; from pathlib import Path; from tasks.data_versions.checkout import ensure_version\n"
        "print(ensure_version(Path(sys.argv[1]) / 'data', Path(sys.argv[1])).state, 'dvc' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert done.stdout.split() == ["unchanged", "False"]


def test_a_missing_folder_comes_back_from_the_cache_and_is_writable(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where there is no `data` either
    shutil.rmtree(project / "data")
    assert checkout.ensure_version("data", project).state == "fetched"
    back = project / "data" / "toys" / "bär" / "1 %20?# (ü, 雪).png"
    assert back.read_bytes() == b"one"
    back.write_bytes(b"other")  # must not reach into the cache
    shutil.rmtree(project / "data")
    assert checkout.materialize(project) == "cache"
    assert back.read_bytes() == b"one"


def test_a_configured_remote_comes_before_the_cache(project, tmp_path):
    from dvc.repo import Repo

    with (project / ".dvc" / "config.local").open("w") as stream:
        stream.write(f"[core]\n    remote = shelf\n['remote \"shelf\"']\n    url = {tmp_path / 'shelf'}\n")
    with Repo(str(project)) as repo:
        repo.push()
    shutil.rmtree(project / "data")
    shutil.rmtree(project / ".dvc" / "cache")
    assert checkout.materialize(project) == "remote"
    assert (project / "data" / "toys" / "bär" / "1 %20?# (ü, 雪).png").read_bytes() == b"one"


def test_a_remote_that_fails_is_logged_and_the_cache_is_used(project, caplog):
    (project / ".dvc" / "config.local").write_text(
        "[core]\n    remote = shelf\n['remote \"shelf\"']\n    url = nosuchthing://shelf\n"
    )
    shutil.rmtree(project / "data")
    assert checkout.materialize(project) == "cache"
    assert "remote" in caplog.text
    assert (project / "data" / "toys" / "bär-2" / "1.png").read_bytes() == b"two"


def test_a_version_without_origin_is_an_error(project):
    shutil.rmtree(project / "data")
    shutil.rmtree(project / ".dvc" / "cache")
    with pytest.raises(InputError, match="dvc remote add"):
        checkout.ensure_version(project / "data", project)


def test_a_modified_file_of_the_cache_is_named(project):
    shutil.rmtree(project / "data")
    for file in (project / ".dvc" / "cache" / "files" / "md5").rglob("*"):
        if file.is_file() and file.read_bytes() == b"one":
            file.chmod(0o644)
            file.write_bytes(b"eno")
    with pytest.raises(InputError, match=r"bär/1 %20\?# \(ü, 雪\)\.png"):
        checkout.materialize(project)
    assert not (project / "data").exists()


def test_a_lock_of_another_process_is_waited_for(project, monkeypatch):
    from dvc.lock import LockError
    from dvc.repo import Repo

    monkeypatch.setattr(dvc.time, "sleep", lambda seconds: None)
    real, calls = Repo.add, []

    def busy(self, *arguments, **options):
        calls.append(1)
        if len(calls) < 3:
            raise LockError("held")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Repo, "add", busy)
    (project / "data" / "more.png").write_bytes(b"three")
    assert checkout.ensure_version(project / "data", project).state == "new"
    assert len(calls) == 3
    monkeypatch.setattr(Repo, "add", lambda *arguments, **options: (_ for _ in ()).throw(LockError("held")))
    (project / "data" / "more.png").write_bytes(b"four")
    with pytest.raises(InputError, match="Another process"):
        checkout.ensure_version(project / "data", project)


def test_a_folder_outside_the_project_is_hashed_and_not_changed(project, tmp_path):
    (tmp_path / "photos" / "a" / "b").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "b" / "1.jpg").write_bytes(b"x")
    found = checkout.ensure_version(tmp_path / "photos", project)
    assert found.state == "outside"
    assert not (tmp_path / "photos.dvc").exists()


def test_an_absent_folder_is_an_error(project, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        checkout.ensure_version(tmp_path / "nowhere", project)


@pytest.mark.parametrize("text", ["", "outs: []", "outs: [{md5: ../../etc.dir}]", "outs: [{md5: 12.dir}]", "\0"])
def test_a_broken_pointer_is_named(project, text):
    (project / "data.dvc").write_text(text)
    with pytest.raises(InputError, match=r"data\.dvc"):
        checkout.ensure_version(project / "data", project)


@pytest.fixture
def clone(tmp_path):
    """A fresh clone: a pointer to the version that the pocket ships, and nothing else."""
    root = tmp_path / "clone"
    root.mkdir()
    version = manifest.manifest_hash(manifest.build_manifest(pocket.IMAGES)[0])
    (root / "data.dvc").write_text(f"outs:\n- md5: {version}\n  hash: md5\n  path: data\n")
    return root


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A copy of what the pocket ships, to be damaged."""
    folder = Path(shutil.copytree(pocket.IMAGES, tmp_path / "images"))
    file = tmp_path / "manifest.json"
    file.write_bytes(manifest.serialize_manifest(manifest.build_manifest(folder)[0]))
    monkeypatch.setattr(pocket, "IMAGES", folder)
    monkeypatch.setattr(pocket, "MANIFEST", file)
    return folder


def test_a_fresh_clone_gets_exactly_the_shipped_bytes(clone, shipped):
    assert checkout.materialize(clone) == "pocket"
    assert manifest.build_manifest(clone / "data") == manifest.build_manifest(pocket.IMAGES)
    assert sorted(path.name for path in clone.iterdir()) == ["data", "data.dvc"]


def test_modified_or_lost_shipped_files_are_named(clone, shipped):
    changed, lost = sorted(shipped.rglob("*.png"))[3:5]
    changed.write_bytes(changed.read_bytes() + b"!")
    lost.unlink()
    with pytest.raises(InputError) as caught:
        checkout.materialize(clone)
    assert changed.relative_to(shipped).as_posix() in str(caught.value)
    assert lost.relative_to(shipped).as_posix() in str(caught.value)
    assert list(clone.iterdir()) == [clone / "data.dvc"]


def test_a_manifest_with_a_path_outside_the_folder_is_an_error(clone, shipped):
    entries = json.loads(pocket.MANIFEST.read_bytes())
    entries[0]["relpath"] = "../../escaped.png"
    pocket.MANIFEST.write_bytes(manifest.serialize_manifest(entries))
    (clone / "data.dvc").write_text(f"outs:\n- md5: {manifest.manifest_hash(entries)}\n  path: data\n")
    with pytest.raises(InputError, match="outside"):
        checkout.materialize(clone)
    assert not (clone.parent / "escaped.png").exists()


def test_leftovers_of_a_killed_process_are_removed(clone, shipped):
    leftover = clone / f".data-{machine_id()}-999999999-00000000"
    leftover.mkdir()
    checkout.materialize(clone)
    assert not leftover.exists()


def test_the_project_points_at_the_version_the_pocket_ships():
    root = Path(__file__).parents[3]
    entries, _ = manifest.build_manifest(pocket.IMAGES)
    assert manifest.read_pointer(root / "data.dvc") == manifest.manifest_hash(entries)
    assert pocket.MANIFEST.read_bytes() == manifest.serialize_manifest(entries)
