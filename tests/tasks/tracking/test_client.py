"""The tracking server of an output folder."""

import os
from pathlib import Path

import pytest

from lycoris.errors import InputError
from tasks.data_versions.manifest import DataVersion
from tasks.tracking.client import TrackingServer, connect, tracking_server
from tasks.tracking.runs import StudyRun, tracking_links


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    """The user names no server; what MLflow writes to the environment is removed again."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_each_output_folder_has_runs_and_models_of_its_own(tmp_path):
    for name in ("one", "two"):
        client = connect(tracking_server(tmp_path / name))
        client.create_experiment(name)
        client.create_registered_model(name)
    for name in ("one", "two"):
        client = connect(tracking_server(tmp_path / name))
        assert [model.name for model in client.search_registered_models()] == [name]
        assert {found.name for found in client.search_experiments()} == {"Default", name}
        assert [file.name for file in (tmp_path / name / "mlflow").iterdir() if file.is_file()] == ["mlflow.db"]


def test_the_user_s_address_has_priority(tmp_path, monkeypatch):
    connect(tracking_server(tmp_path / "before"))
    theirs = f"sqlite:///{tmp_path}/theirs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", theirs)
    assert tracking_server(tmp_path / "after") == TrackingServer(theirs, None)
    connect(tracking_server(tmp_path / "after")).create_registered_model("x")
    assert os.environ["MLFLOW_REGISTRY_URI"] == theirs
    assert not (tmp_path / "after").exists()


def test_an_own_address_is_never_taken_for_the_user_s(tmp_path, monkeypatch):
    connect(tracking_server(tmp_path / "first"))
    first = {name: os.environ[name] for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    connect(tracking_server(tmp_path / "second"))
    for name, value in first.items():  # as code does that saves the environment and restores it
        monkeypatch.setenv(name, value)
    third = tracking_server(tmp_path / "third")
    assert third.uri.endswith("third/mlflow/mlflow.db")
    connect(third).create_registered_model("x")
    assert os.environ["MLFLOW_REGISTRY_URI"] == third.uri


def test_a_report_links_to_its_tracked_run(tmp_path):
    server = tracking_server(tmp_path)
    client = connect(server)
    run = client.create_run(client.create_experiment("mine")).info.run_id
    version = DataVersion("0" * 32 + ".dir", tmp_path, 0, 0, "outside")
    assert tracking_links(StudyRun(server, "mine", run, version)) == {
        "address": server.uri,
        "experiment": client.get_experiment_by_name("mine").experiment_id,
        "run": run,
    }


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("./mlruns", "filesystem tracking backend"),
        ("postgresql+nosuch://user:secret@host/x", "Can't load plugin"),
        ("mysql://user:secret@host/x", "MySQLdb"),
        ("ftp://host/x", "unsupported URI"),
        ("sqlite:////no/such/folder/x.db", "folder that does not exist"),
    ],
)
def test_an_address_that_mlflow_cannot_open_is_one_sentence(tmp_path, monkeypatch, address, reason):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(InputError, match=reason) as caught:
        connect(tracking_server(tmp_path))
    text = str(caught.value)
    assert "secret" not in text
    assert text.count("\n") == 0


def test_a_moved_store_finds_its_artifacts(tmp_path):
    server = tracking_server(tmp_path / "before" / "runs")
    client = connect(server)
    run = client.create_run(client.create_experiment("mine", artifact_location=server.artifact_location)).info.run_id
    client.log_text(run, "hello", "note.txt")
    (tmp_path / "before").rename(tmp_path / "after")
    moved = connect(tracking_server(tmp_path / "after" / "runs"))
    assert Path(moved.download_artifacts(run, "note.txt", str(tmp_path))).read_text() == "hello"
    assert moved.get_run(run).info.artifact_uri.startswith((tmp_path / "after").as_uri())
