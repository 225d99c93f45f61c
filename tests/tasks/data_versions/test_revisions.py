"""Earlier data versions: written beside the workspace, compared, pushed to and pulled from a DVC remote."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.main import main
from lycoris.errors import InputError
from tasks.data import data_version
from tasks.data_versions import checkout, dvc, revisions
from tasks.data_versions.diff import DataDiff, diff_manifests

ONE = {"toys/bear/1.png": b"one", "toys/bear/1.txt": b"a bear", "concepts.yaml": b"concepts: {}\n"}
TWO = {"toys/bear/1.png": b"uno", "toys/bear/2.png": b"two", "concepts.yaml": b"concepts: {}\n"}


def write(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def read(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def git(project, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    subprocess.run(["git", "-C", str(project), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    """A project of two committed data versions, the second one in its workspace."""
    root = tmp_path_factory.mktemp("pattern") / "project"
    root.mkdir()
    git(root.parent, "init", "-q", str(root))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_NO_ANALYTICS", "1")
        from dvc.repo import Repo

        Repo.init(str(root)).close()
        for tag, files in (("v1", ONE), ("v2", TWO)):
            write(root / "data", files)
            checkout.ensure_version(root / "data", root)
            git(root, "add", "data.dvc", ".dvc/config")
            git(root, "commit", "-qm", tag)
            git(root, "tag", tag)
    return root


@pytest.fixture
def project(pattern, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    return Path(shutil.copytree(pattern, tmp_path / "project"))


@pytest.fixture
def shelf(project, tmp_path):
    """A folder as the project's default remote."""
    (project / ".dvc" / "config.local").write_text(
        f"[core]\n    remote = shelf\n['remote \"shelf\"']\n    url = {tmp_path / 'shelf'}\n"
    )
    return tmp_path / "shelf"


def test_an_earlier_version_is_written_beside_the_workspace_and_never_over_it(project, tmp_path):
    (project / "data" / "toys" / "bear" / "3.png").write_bytes(b"not yet a version")
    before = read(project / "data"), (project / "data.dvc").read_bytes()
    found = revisions.checkout_revision("v1", project, tmp_path / "runs" / "data")
    assert read(found.path) == ONE
    assert found.path == tmp_path / "runs" / "data" / found.hash.removesuffix(".dir")
    assert (found.state, found.files) == ("earlier", 3)
    assert (read(project / "data"), (project / "data.dvc").read_bytes()) == before
    again = revisions.checkout_revision(found.hash, project, tmp_path / "runs" / "data")
    assert again == found


def test_a_modified_earlier_version_is_written_again(project, tmp_path):
    folder = revisions.checkout_revision("v1", project, tmp_path / "data").path
    (folder / "toys" / "bear" / "1.png").write_bytes(b"modified")
    assert read(revisions.checkout_revision("v1", project, tmp_path / "data").path) == ONE
    assert [path.name for path in (tmp_path / "data").iterdir()] == [folder.name]


@pytest.mark.parametrize("revision", ["nosuch", "--upload-pack=x", "", "v1\0", "v1:data", "0" * 31, "../../etc"])
def test_an_invalid_revision_is_an_error(project, tmp_path, revision):
    with pytest.raises(InputError, match="revision"):
        revisions.checkout_revision(revision, project, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_version_without_origin_is_an_error(project, tmp_path):
    with pytest.raises(InputError, match="0" * 32):
        revisions.checkout_revision("0" * 32, project, tmp_path / "data")


def test_unversioned_data_has_no_revisions(tmp_path, project):
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="versions this data folder"):
        data_version.fn(tmp_path / "photos", project, "v1", tmp_path / "data")


def test_a_diff_lists_added_removed_changed_and_moved_files():
    def entries(files):
        return [{"relpath": name, "md5": md5} for name, md5 in files.items()]

    found = diff_manifests(
        entries({"a.png": "1", "b.png": "2", "c.png": "3", "e.png": "5"}),
        entries({"a.png": "1", "b.png": "9", "d.png": "3", "f.png": "6"}),
    )
    assert (found.added, found.removed, found.changed) == (("f.png",), ("e.png",), ("b.png",))
    assert found.moved == (("c.png", "d.png"),)
    assert diff_manifests(entries({"a": "1"}), entries({"a": "1"})) == DataDiff((), (), (), ())


def test_the_command_distinguishes_images_from_captions(project, capsys):
    data = str(project / "data")
    assert main(["data", "diff", "v1", "v2", "--data", data, "--json"]) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[:3] == ["+ picture  toys/bear/2.png", "- caption  toys/bear/1.txt", "* picture  toys/bear/1.png"]
    record = json.loads(output[-1])
    assert (record["came"], record["went"], record["changed"]) == (
        ["toys/bear/2.png"], ["toys/bear/1.txt"], ["toys/bear/1.png"],
    )  # fmt: skip
    assert record["kinds"]["toys/bear/1.txt"] == "caption"
    (project / "data" / "new.txt").write_text("x")
    assert main(["data", "diff", "v2", "--data", data]) == 0
    assert "+ caption  new.txt" in capsys.readouterr().out


def test_versions_are_pushed_to_a_remote_and_pulled_from_it(project, shelf, tmp_path, capsys):
    data = str(project / "data")
    assert main(["data", "push", "v1", "--data", data]) == 0
    assert main(["data", "push", "--data", data]) == 0
    shutil.rmtree(project / ".dvc" / "cache")
    assert read(revisions.checkout_revision("v1", project, tmp_path / "out").path) == ONE
    shutil.rmtree(project / ".dvc" / "cache")
    shutil.rmtree(project / "data")
    assert main(["data", "pull", "--data", data]) == 0
    assert read(project / "data") == TWO
    assert "pushed" in capsys.readouterr().out


def test_a_fresh_clone_reads_versions_that_were_pushed_before_the_remote_was_configured(project, shelf, tmp_path):
    dvc.push([revisions.resolve_revision("v1", project)], project)
    git(tmp_path, "clone", "-q", str(project), "clone")
    shutil.copy(project / ".dvc" / "config.local", tmp_path / "clone" / ".dvc")
    assert read(revisions.checkout_revision("v1", tmp_path / "clone", tmp_path / "out").path) == ONE


def test_pull_syncs_data_to_the_pointer_and_deletes_nothing_unversioned(project, shelf, capsys):
    data = str(project / "data")
    assert main(["data", "push", "v1", "v2", "--data", data]) == 0
    git(project, "checkout", "-q", "v1")
    assert main(["data", "pull", "--data", data]) == 0
    assert read(project / "data") == ONE
    (project / "data" / "mine.png").write_bytes(b"mine")
    git(project, "checkout", "-q", "v2")
    assert main(["data", "pull", "--data", data]) == 2
    assert "changed since" in capsys.readouterr().err
    assert read(project / "data") == {**ONE, "mine.png": b"mine"}


def test_a_missing_remote_is_an_error(project, capsys):
    assert main(["data", "push", "--data", str(project / "data")]) == 2
    output = capsys.readouterr().err
    assert "remote" in output
    assert "Traceback" not in output


def test_a_killed_process_leaves_no_dvc_lock(project):
    script = (
        "import os, sys, time\nfrom pathlib import Path\nfrom tasks.data_versions import dvc\n"
        "def hold(repo):\n"
        "    from dvc.rwlock import rwlock\n"
        "    with rwlock(repo.tmp_dir, repo.fs, 'x', [], [str(Path(repo.root_dir) / 'data')], False):\n"
        "        print('held' if repo.lock.is_locked else 'free', flush=True)\n        time.sleep(600)\n"
        "dvc.with_repo(Path(sys.argv[1]), hold)\n"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", script, str(project)], stdout=subprocess.PIPE, text=True, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="lock"):
            dvc.with_repo(project, lambda repo: repo.lock.lock(), attempts=1)
        os.kill(process.pid, signal.SIGKILL)
    (project / "data" / "3.png").write_bytes(b"three")
    assert checkout.ensure_version(project / "data", project).state == "new"


def test_versions_are_removed_unless_data_dvc_or_a_champion_needs_them(project, tmp_path, capsys, monkeypatch):
    from tasks.tracking.client import connect, tracking_server

    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    data, runs = str(project / "data"), tmp_path / "runs"
    options = ("--data", data, "--output", str(runs))
    assert main(["data", "remove", "v2", *options]) == 2
    assert "data.dvc records" in capsys.readouterr().err
    client = connect(tracking_server(runs))
    client.create_registered_model("bear")
    client.create_model_version("bear", str(tmp_path), tags={"data.version": revisions.resolve_revision("v1", project)})
    client.set_registered_model_alias("bear", "champion", "1")
    assert main(["data", "remove", "v1", *options]) == 2
    assert "bear@champion (version 1)" in capsys.readouterr().err
    client.delete_registered_model_alias("bear", "champion")
    assert main(["data", "remove", "v1", *options]) == 0
    with pytest.raises(InputError, match="Neither a DVC remote"):
        revisions.checkout_revision("v1", project, tmp_path / "out")
    shutil.rmtree(project / "data")
    assert checkout.materialize(project) == "cache"
    assert read(project / "data") == TWO
