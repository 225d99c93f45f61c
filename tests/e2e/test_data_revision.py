"""Runs on the data of an earlier commit repeat nothing and overwrite nothing."""

import pytest

from tests.e2e import project
from tests.e2e.tiny import copy_concept, json_result, run_lycoris, write_experiment

ONE_ADAPTER = {"algorithms": ["lora"], "captions": ["none"]}


@pytest.mark.slow
def test_a_run_on_an_earlier_revision_equals_the_earlier_run(tmp_path):
    copy_concept(tmp_path / "data", "grumble")
    project.init_project(tmp_path)
    first = project.commit_data(tmp_path, "v1")
    study = write_experiment(tmp_path, **ONE_ADAPTER)
    then = json_result(run_lycoris("run", study, "--json"))
    (tmp_path / "data" / "movie_characters" / "grumble" / "00.png").unlink()
    second = project.commit_data(tmp_path, "v2")
    now = json_result(run_lycoris("run", study, "--json"))
    again = json_result(run_lycoris("run", study, "--data-rev", "v1", "--json"))
    assert (then["data_version"], now["data_version"], again["data_version"]) == (first, second, first)
    assert not any(adapter["cached"] for adapter in now["adapters"])
    assert all(adapter["cached"] for adapter in again["adapters"])
    assert [adapter["run_id"] for adapter in again["adapters"]] == [adapter["run_id"] for adapter in then["adapters"]]
    assert not (tmp_path / "data" / "movie_characters" / "grumble" / "00.png").exists()


def test_an_unknown_revision_is_an_error_before_anything_starts(tmp_path):
    copy_concept(tmp_path / "data", "grumble")
    project.init_project(tmp_path)
    project.commit_data(tmp_path, "v1")
    done = run_lycoris("run", write_experiment(tmp_path), "--data-rev", "v9")
    assert done.returncode == 2
    assert "`v9`" in done.stderr
    assert not (tmp_path / "runs").exists()
