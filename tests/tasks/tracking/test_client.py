"""The tracking server of an output folder."""

import os

import pytest

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
