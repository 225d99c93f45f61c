"""prefect.yaml: a server accepts its names, parameters and triggers."""

import importlib
from pathlib import Path

import pytest
import yaml

from flows.config.loading import parse_experiment
from flows.refresh import PromotionConfig

FILE = Path(__file__).parents[2] / "prefect.yaml"
DEPLOYMENTS = yaml.safe_load(FILE.read_text())["deployments"]


def parameter_sets(deployment):
    """Return the parameters of a deployment and of each of its triggers."""
    return [deployment["parameters"], *(trigger["parameters"] for trigger in deployment.get("triggers", []))]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_parameters_match_the_schema_of_the_flow(deployment):
    from prefect.utilities.callables import parameter_schema
    from prefect.utilities.schema_tools import validate

    module, _, name = deployment["entrypoint"].partition(":")
    schema = parameter_schema(getattr(importlib.import_module(module), name)).model_dump_for_openapi()
    for parameters in parameter_sets(deployment):
        assert validate(parameters, schema, raise_on_error=False) == []
        parse_experiment(parameters["experiment"])
        PromotionConfig(**parameters.get("promotion", {}))


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_deployments_run_one_at_a_time_and_skip_missed_runs(deployment):
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert deployment["work_pool"] == {"name": "local"}
    assert deployment["tags"]


def test_a_data_event_starts_a_refresh_on_the_committed_data():
    refresh = next(each for each in DEPLOYMENTS if each["name"] == "refresh")
    (trigger,) = refresh["triggers"]
    assert trigger["expect"] == ["dvc.data.changed"]
    assert parse_experiment(trigger["parameters"]["experiment"]).data_rev == "HEAD"
    del trigger["parameters"]["experiment"]["data_rev"]
    assert trigger["parameters"] == refresh["parameters"]
