"""What people do with DVC's own command in a project, in a fresh clone too: ignore files, links, push, pull, repro."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.cli.main import main
from lycoris import pocket
from lycoris.errors import InputError
from tasks.data_versions import checkout, manifest
from tasks.data_versions.dvc import fetch, has_remote, is_complete, push
from tests.e2e.tiny import ENVIRONMENT, TINY

ROOT = Path(__file__).parents[3]
COMMANDS = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def run(project, *command):
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, check=False,
        env={**ENVIRONMENT, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(ROOT), "PATH": COMMANDS},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dvc(project, *arguments):
    return run(project, sys.executable, "-m", "dvc", *arguments)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A git and DVC repository that points to the version that the package ships, as this project does."""
    root = tmp_path_factory.mktemp("origin") / "origin"
    root.mkdir()
    run(root, "git", "init", "-q", ".")
    dvc(root, "init", "-q")
    version = manifest.manifest_hash(manifest.build_manifest(pocket.IMAGES)[0])
    (root / "data.dvc").write_text(f"outs:\n- md5: {version}\n  hash: md5\n  path: data\n")
    (root / ".gitignore").write_text("/data\n/runs/\n")
    shutil.copy(ROOT / "dvc.yaml", root / "dvc.yaml")
    shutil.copy(ROOT / "experiment.yaml", root / "experiment.yaml")
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "first")
    return root


@pytest.fixture
def clone(origin, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    run(tmp_path, "git", "clone", "-q", str(origin), "clone")
    return tmp_path / "clone"


def test_a_fresh_clone_can_push_and_another_pulls_with_dvc_itself(clone, origin, tmp_path, capsys):
    assert main(["data", "pull", "--data", str(clone / "data")]) == 0
    assert "No DVC remote is configured" in capsys.readouterr().out
    assert "data.dvc" not in dvc(clone, "status")
    assert dvc(clone, "diff") == ""
    dvc(clone, "remote", "add", "-q", "--local", "-d", "shelf", str(tmp_path / "shelf"))
    assert main(["data", "push", "--data", str(clone / "data")]) == 0
    run(tmp_path, "git", "clone", "-q", str(origin), "other")
    other = tmp_path / "other"
    dvc(other, "remote", "add", "-q", "--local", "-d", "shelf", str(tmp_path / "shelf"))
    dvc(other, "pull", "-q", "data.dvc")
    assert manifest.build_manifest(other / "data") == manifest.build_manifest(pocket.IMAGES)
    (other / "data" / "concepts.yaml").unlink()
    assert "concepts.yaml" in dvc(other, "diff")
    dvc(other, "checkout", "-q", "--force", "data.dvc")
    assert (other / "data" / "concepts.yaml").is_file()


def test_data_that_was_brought_in_without_a_cache_can_be_pushed(clone, tmp_path):
    shutil.copytree(pocket.IMAGES, clone / "data")
    dvc(clone, "remote", "add", "-q", "--local", "-d", "shelf", str(tmp_path / "shelf"))
    assert main(["data", "push", "--data", str(clone / "data")]) == 0
    assert list((tmp_path / "shelf").rglob("*.dir"))


def test_the_stages_are_named_and_their_dependencies_exist(clone):
    assert "customize" in dvc(clone, "stage", "list")
    assert "data.dvc" in dvc(clone, "dag")


def test_the_ignore_file_counts(clone):
    checkout.materialize(clone)
    version = manifest.read_pointer(clone / "data.dvc")
    (clone / "data" / ".DS_Store").write_bytes(b"x")
    (clone / ".dvcignore").write_text("# of the Finder\n.DS_Store\n")
    found = checkout.ensure_version(clone / "data", clone)
    assert (found.hash, found.state) == (version, "unchanged")
    (clone / ".dvcignore").write_text("")
    assert checkout.ensure_version(clone / "data", clone).state == "new"


def test_a_linked_folder_in_versioned_data_is_refused_and_followed_elsewhere(clone, tmp_path):
    checkout.materialize(clone)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "1.png").write_bytes(b"one")
    (clone / "data" / "toys").mkdir(exist_ok=True)
    (clone / "data" / "toys" / "mine").symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match=r"toys/mine` is a link to the folder"):
        checkout.ensure_version(clone / "data", clone)
    outside = tmp_path / "outside"
    (outside / "toys").mkdir(parents=True)
    (outside / "toys" / "mine").symlink_to(tmp_path / "mine")
    (outside / "toys" / "loop").symlink_to(outside)
    before = checkout.ensure_version(outside, clone)
    assert (before.files, before.state) == (1, "outside")
    (tmp_path / "mine" / "1.png").write_bytes(b"two")
    assert checkout.ensure_version(outside, clone).hash != before.hash


def test_a_remote_of_the_users_configuration_counts(clone, tmp_path, monkeypatch):
    assert not has_remote(clone)
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "config").write_text("[core]\n    remote = mine\n['remote \"mine\"']\n    url = /nowhere\n")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "user"))
    assert has_remote(clone)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A data folder of two files below the root of a DVC repository without git."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    from dvc.repo import Repo

    Repo.init(str(tmp_path), no_scm=True).close()
    project = tmp_path / "project"
    (project / "data" / "toys").mkdir(parents=True)
    (project / "data" / "toys" / "1.png").write_bytes(b"one")
    (project / "data" / "toys" / "2.png").write_bytes(b"two")
    return project


def test_the_ignore_file_of_the_repository_counts_with_and_without_a_dvc_folder(small):
    version = checkout.ensure_version(small / "data", small).hash
    (small / "data" / "toys" / "a.tmp").write_bytes(b"x")
    (small.parent / ".dvcignore").write_text("*.tmp\n")
    found = checkout.ensure_version(small / "data", small)
    assert (found.hash, found.state, found.files) == (version, "unchanged", 2)
    shutil.rmtree(small.parent / ".dvc")
    (small.parent / ".dvcignore").rename(small / ".dvcignore")
    assert checkout.ensure_version(small / "data", small).hash == version


def test_names_that_dvc_leaves_out_make_no_new_version(small):
    version = checkout.ensure_version(small / "data", small).hash
    for name in (".hg", "other/.dvc"):  # a repository of Mercurial, and one of DVC
        (small / "data" / name).mkdir(parents=True)
    (small / "data" / ".hg" / "hgrc").write_bytes(b"x")
    (small / "data" / "other" / "3.png").write_bytes(b"three")
    found = checkout.ensure_version(small / "data", small)
    assert (found.hash, found.state, found.files) == (version, "unchanged", 2)


def test_an_ignore_file_in_the_data_is_refused_in_a_sentence(small):
    (small / "data" / ".dvcignore").write_text("*.tmp\n")
    with pytest.raises(InputError, match=r"DVC refused .*\.dvcignore"):
        checkout.ensure_version(small / "data", small)


def test_a_shared_cache_gets_and_supplies_links(small, tmp_path):
    shared = tmp_path / "shared"
    (tmp_path / ".dvc" / "config.local").write_text(
        f"[cache]\n    dir = {shared}\n    type = symlink\n    shared = group\n"
    )
    version = checkout.ensure_version(small / "data", small).hash
    shutil.rmtree(small / "data")
    assert checkout.materialize(small) == "cache"
    image = small / "data" / "toys" / "1.png"
    assert image.resolve().is_relative_to(shared)
    assert image.read_bytes() == b"one"
    assert checkout.ensure_version(small / "data", small) == manifest.DataVersion(
        version, small / "data", 2, 6, "unchanged"
    )


def test_a_file_that_the_cache_lost_is_named_and_its_version_is_not_pushed(small, tmp_path):
    version = checkout.ensure_version(small / "data", small).hash
    (tmp_path / ".dvc" / "config.local").write_text(f"['remote \"shelf\"']\n    url = {tmp_path / 'shelf'}\n")
    cache = tmp_path / ".dvc" / "cache" / "files" / "md5"
    next(file for file in cache.rglob("*") if file.is_file() and file.read_bytes() == b"two").unlink()
    (small / "data" / "toys" / "2.png").write_bytes(b"later")
    checkout.ensure_version(small / "data", small)
    with pytest.raises(InputError, match=f"lacks files of data version {version}"):
        push([version], small, "shelf")
    assert not list((tmp_path / "shelf").rglob("*.dir"))
    with pytest.raises(InputError, match=r"toys/2\.png"):
        checkout.write_version(version, small, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_the_remote_lost_is_an_error(small, tmp_path):
    version = checkout.ensure_version(small / "data", small).hash
    (tmp_path / ".dvc" / "config.local").write_text(f"['remote \"shelf\"']\n    url = {tmp_path / 'shelf'}\n")
    assert push([version], small, "shelf") == 3
    next(file for file in (tmp_path / "shelf").rglob("*") if file.is_file() and file.read_bytes() == b"two").unlink()
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    with pytest.raises(InputError, match=f"files of data version {version}"):
        fetch([version], small, "shelf")
    shutil.rmtree(tmp_path / "shelf")  # of which DVC only warns, where the cache has the list of files
    with pytest.raises(InputError, match=f"remote lacks files of data version {version}"):
        fetch([version], small, "shelf")


def test_a_lost_file_of_the_version_in_the_package_is_copied_from_there(small, tmp_path, monkeypatch):
    version = checkout.ensure_version(small / "data", small).hash
    (tmp_path / "manifest.json").write_bytes(manifest.serialize_manifest(manifest.build_manifest(small / "data")[0]))
    monkeypatch.setattr(pocket, "MANIFEST", tmp_path / "manifest.json")
    monkeypatch.setattr(pocket, "IMAGES", (small / "data").rename(tmp_path / "images"))
    cache = tmp_path / ".dvc" / "cache" / "files" / "md5"
    next(file for file in cache.rglob("*") if file.is_file() and file.read_bytes() == b"two").unlink()
    assert checkout.materialize(small) == "pocket"
    assert is_complete(version, small)


def test_a_kind_of_link_that_does_not_exist_is_named(small, tmp_path):
    (tmp_path / ".dvc" / "config.local").write_text("[cache]\n    type = shortcut\n")
    with pytest.raises(InputError, match="shortcut"):
        checkout.ensure_version(small / "data", small)
    with pytest.raises(InputError, match="shortcut"):
        has_remote(small)


@pytest.mark.parametrize(
    ("url", "message"), [("s3://bucket/x", "requires 'dvc-s3'"), ("nosuch://x", "Unsupported URL type")]
)
def test_a_remote_of_a_kind_that_is_not_installed_is_named(small, tmp_path, url, message):
    version = checkout.ensure_version(small / "data", small).hash
    (tmp_path / ".dvc" / "config.local").write_text(f"['remote \"shelf\"']\n    url = {url}\n")
    if url.startswith("s3") and importlib.util.find_spec("dvc_s3"):
        pytest.skip("dvc-s3 is installed")
    with pytest.raises(InputError, match=message):
        push([version], small, "shelf")


@pytest.mark.slow
def test_dvc_repro_runs_the_stage_once_and_status_checkout_and_diff_agree(clone):
    experiment = {**TINY, "name": "pocket", "concepts": ["grumble"], "algorithms": ["lora"], "captions": ["none"]}
    (clone / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    assert main(["data", "pull", "--data", str(clone / "data")]) == 0
    assert "customize" in dvc(clone, "status")
    assert "Running stage 'customize'" in dvc(clone, "repro")
    assert (clone / "runs" / "pocket" / "scores.csv").is_file()
    assert (clone / "dvc.lock").is_file()
    assert "up to date" in dvc(clone, "status")
    assert "didn't change, skipping" in dvc(clone, "repro")
    assert dvc(clone, "diff") == ""  # against the commit: the data is the committed version
    image = next((clone / "data").rglob("*.png"))
    image.unlink()
    assert "data" in dvc(clone, "status")
    assert image.name in dvc(clone, "diff", "--targets", "data")
    dvc(clone, "checkout", "-q", "--force", "data.dvc")
    assert image.is_file()
    assert "up to date" in dvc(clone, "status")
