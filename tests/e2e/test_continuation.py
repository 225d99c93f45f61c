"""`lycoris run` with more steps than a finished adapter: it goes on where the schedule allows it, and says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

import lycoris as library
from tests.e2e.tiny import copy_concept, json_result, run_lycoris, write_experiment

OPTIONS = {
    "algorithms": ["lora"],
    "captions": ["none"],
    "images": {"train": 0, "trigger": 1, "alter": 0, "style": 0},
    "encoders": ["clip"],
    "workers": 1,
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of 4 steps, then of 8, then of 40 with the same settings."""
    folder = tmp_path_factory.mktemp("continuation")
    copy_concept(folder / "data", "grumble")
    done = {}
    for steps in (4, 8, 40):
        training = {"schedule": "constant"}
        file = write_experiment(folder, steps=steps, name=f"steps-{steps}", training=training, **OPTIONS)
        done[steps] = run_lycoris("run", file, "--json")
    return folder, done


def test_more_steps_go_on_and_the_default_warm_up_allows_it_in_short_trainings(runs):
    _, done = runs
    assert "continues from step 4 of a finished training" in done[8].stderr
    (adapter,) = json_result(done[8])["adapters"]
    header = library.read_metadata(Path(adapter["file"]))
    assert (header["step"], header["continued_from"]) == ("8", "4")


def test_the_step_is_a_tag_of_the_run_in_mlflow_and_of_the_registered_version(runs):
    import mlflow

    folder, done = runs
    (adapter,) = json_result(done[8])["adapters"]
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'runs' / 'mlflow' / 'mlflow.db'}")
    assert client.get_run(adapter["run_id"]).data.tags["continued_from"] == "4"
    versions = [version for version in client.search_model_versions() if version.run_id == adapter["run_id"]]
    assert [version.tags["continued_from"] for version in versions] == ["4"]


def test_a_longer_default_warm_up_is_named_with_the_setting_that_would_go_on(runs):
    _, done = runs
    assert "a finished training of 8 steps is not continued" in done[40].stderr
    assert "It continues with `training.warmup_steps=0`." in done[40].stderr
    assert json_result(done[40])["adapters"][0]["step"] == 40
