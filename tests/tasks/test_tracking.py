"""Where runs and models are logged, without any flow."""

import os

import pytest

from tasks.tracking import runs


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    """The user names no server; what MLflow writes into the environment goes away again."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_each_output_folder_has_runs_and_models_of_its_own(tmp_path):
    for name in ("one", "two"):
        client = runs._connect(runs.tracking_server(tmp_path / name))
        client.create_experiment(name)
        client.create_registered_model(name)
    for name in ("one", "two"):
        client = runs._connect(runs.tracking_server(tmp_path / name))
        assert [model.name for model in client.search_registered_models()] == [name]
        assert {found.name for found in client.search_experiments()} == {"Default", name}
        assert [file.name for file in (tmp_path / name / "mlflow").iterdir() if file.is_file()] == ["mlflow.db"]


def test_an_address_that_the_user_gave_wins(tmp_path, monkeypatch):
    runs._connect(runs.tracking_server(tmp_path / "before"))
    theirs = f"sqlite:///{tmp_path}/theirs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", theirs)
    assert runs.tracking_server(tmp_path / "after") == runs.TrackingServer(theirs, None)
    runs._connect(runs.tracking_server(tmp_path / "after")).create_registered_model("x")
    assert os.environ["MLFLOW_REGISTRY_URI"] == theirs
    assert not (tmp_path / "after").exists()


def test_a_page_is_told_where_a_run_is_tracked(tmp_path):
    place = runs.tracking_server(tmp_path)
    client = runs._connect(place)
    run = client.create_run(client.create_experiment("mine")).info.run_id
    told = runs.tracking_links(place, run)
    assert told == {
        "address": place.uri,
        "experiment": client.get_experiment_by_name("mine").experiment_id,
        "run": run,
    }
