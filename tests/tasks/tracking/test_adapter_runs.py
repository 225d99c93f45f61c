"""Adapters and studies as MLflow shows them: times, parents, failures, parameters, and what is logged anew."""

import json
import shutil
import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from mlflow.tracing.constant import TraceTagKey

from lycoris.captions import read_prompts
from lycoris.data.concepts import Concept
from lycoris.metrics import Score
from tasks.tracking.adapter_record import headline_metrics
from tasks.tracking.adapter_runs import find_logged, is_registered, log_adapter
from tasks.tracking.client import connect
from tasks.tracking.failures import log_failure
from tasks.tracking.models import find_version
from tasks.tracking.registry import get_version
from tasks.tracking.runs import close_study, ending_study
from tasks.trainings import AdapterSettings
from tests.tasks.tracking.small_study import SETTINGS, adapter_run, open_small_study

ROOT = Path(__file__).parents[3]
LINKED_PROMPTS = TraceTagKey.LINKED_PROMPTS
ENDED = 1_700_000_100.0
SCORE = Score("image_similarity/trigger/clip", 0.5, 0.4, 0.6, 0.1, None, None, 0.4, 0.3, 0.5, "fidelity", True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An output folder whose database all tests share; each has adapters of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(name, raising=False)
        yield tmp_path_factory.mktemp("tracking")


@pytest.fixture(scope="module")
def study(folder):
    return open_small_study(folder)


@pytest.fixture(scope="module")
def client(study):
    return connect(study.server)


def children(client, study):
    experiment = client.get_run(study.run_id).info.experiment_id
    return client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{study.run_id}'")


def test_a_run_lasts_as_long_as_its_training_and_points_lie_within(folder, study, client):
    made = adapter_run(folder, 1, trained_at=ENDED, scores=[SCORE])
    made = replace(made, summary=replace(made.summary, seconds=50.0))
    run = client.get_run(log_adapter(study, made).run_id)
    assert (run.info.start_time, run.info.end_time) == (1_700_000_050_000, 1_700_000_100_000)
    points = [(point.step, point.timestamp) for point in client.get_metric_history(run.info.run_id, "loss")]
    assert points == [(1, 1_700_000_075_000), (2, 1_700_000_100_000)]
    assert run.data.metrics["low/image_similarity/trigger/clip"] == 0.4
    assert run.data.metrics["high/image_similarity/trigger/clip"] == 0.6
    assert run.data.metrics["difference-low/image_similarity/trigger/clip"] == 0.3
    assert ".500 [.400, .600]" in run.data.tags["mlflow.note.content"]


def test_a_version_has_few_tags_and_a_description(folder, study, client):
    logged = log_adapter(study, adapter_run(folder, 2))
    version = client.get_model_version("grumble", logged.version)
    assert len(version.tags) <= 9
    (model,) = client.search_logged_models(
        [client.get_run(study.run_id).info.experiment_id], f"source_run_id = '{logged.run_id}'"
    )
    assert model.artifact_location.startswith(study.server.artifact_location)
    assert version.description.startswith("**grumble · lora learning_rate=0.5 · none · seed 2**")
    found = get_version(study.server, f"grumble@{logged.version}")
    assert (found.base, found.base_digest, found.commit, found.run_id) == ("pocket", "abc", "c0ffee", logged.run_id)


def test_a_version_says_what_wrote_the_captions_of_its_images(folder):
    run = adapter_run(folder, 2)
    assert "Captions" not in run.description
    sources = {"captioner": "a-model", "captioner.digest": "f" * 64, "instruction": "name what is red"}
    run = replace(run, lineage={**run.lineage, **sources})
    assert "Captions: captioner `a-model`, instruction `name what is red`." in run.description
    assert sources.items() <= json.loads(run.version_tags("id")["lineage"]).items()


def test_long_parameters_are_kept_and_those_beyond_the_limit_are_named(folder, study, client, caplog):
    long, longer = "x" * 5999, "y" * 6001
    settings = AdapterSettings.from_dict({**SETTINGS, "training": {"long": long, "longer": longer}})
    run = client.get_run(log_adapter(study, adapter_run(folder, 3, settings=settings)).run_id)
    assert run.data.params["training.long"] == long
    assert run.data.params["training.longer"] == longer[:6000]
    whole = Path(client.download_artifacts(run.info.run_id, "long_parameters.json", str(folder)))
    assert json.loads(whole.read_text()) == {"training.longer": longer}
    assert "`training.longer` is whole in the artifact" in caplog.text


def test_runs_are_linked_to_one_version_of_prompts_for_each_content(folder, study, client, tmp_path, caplog):
    rows = [{"prompt_type": "alter", "prompt": f"a sks toy in {place}", "seed": 1} for place in ("snow", "fog", "fog")]
    runs = [
        log_adapter(study, adapter_run(folder, number, "odd bear", prompts=prompts)).run_id
        for number, prompts in ((40, rows), (41, rows), (42, rows[:1]))
    ]
    linked = {
        run: [(each["name"], each["version"]) for each in json.loads(client.get_run(run).data.tags[LINKED_PROMPTS])]
        for run in (*runs, study.run_id)
    }
    versions = [("odd_bear-prompts", "1"), ("odd_bear-prompts", "2")]
    assert linked == dict(zip((*runs, study.run_id), (versions[:1], versions[:1], versions[1:], versions), strict=True))
    assert [prompt.name for prompt in client.search_prompts(experiment_filter(client, study))] == ["odd_bear-prompts"]
    file = tmp_path / "prompts.yaml"
    file.write_text(client.load_prompt("prompts:/odd_bear-prompts/1").template)
    concept = Concept("odd bear", "toys", "sks", "toy", "toy", None, (), (), ())
    assert [prompt.text for prompt in read_prompts(file, concept)["alter"]] == ["a sks toy in snow", "a sks toy in fog"]
    log_adapter(study, adapter_run(folder, 43, "odd bear", prompts=[{"prompt_type": "alter", "prompt": "x" * 100_000}]))
    assert "100010 characters" in caplog.text
    assert [model.name for model in client.search_registered_models()].count("odd_bear-prompts") == 0


def experiment_filter(client, study):
    return f"experiment_id = '{client.get_run(study.run_id).info.experiment_id}'"


def test_a_failed_adapter_is_a_failed_run_until_it_succeeds(folder, study, client):
    made = adapter_run(folder, 4)
    for error in ("first error", "ValueError: loss is not finite"):
        run_id = log_failure(study, made.spec, made.settings, error)
    run = client.get_run(run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "ValueError: loss is not finite"
    assert run.data.params["seed"] == "4"
    assert [each.info.run_id for each in children(client, study) if each.info.status == "FAILED"] == [run_id]
    log_adapter(study, made)
    assert [each for each in children(client, study) if each.info.status == "FAILED"] == []


def test_a_study_that_grew_shows_all_adapters_on_its_new_run(folder, study, client):
    first, second = adapter_run(folder, 5), adapter_run(folder, 6)
    before = log_adapter(study, first)
    grown = open_small_study(folder, 2)
    again = log_adapter(grown, first)
    assert (again.run_id, again.cached) == (before.run_id, True)
    log_adapter(grown, second)
    assert {run.info.run_name for run in children(client, grown)} == {first.spec.name, second.spec.name}


def test_a_version_whose_file_was_deleted_is_logged_anew(folder, study, client):
    made = adapter_run(folder, 7, concept="lost")
    first = log_adapter(study, made)
    assert log_adapter(study, made).cached
    uri = client.get_model_version_download_uri("lost", first.version)
    location = client.get_logged_model(uri.rpartition("/")[2]).artifact_location if uri.startswith("models:") else uri
    shutil.rmtree(location.removeprefix("file://"))  # as `mlflow gc` does
    client.delete_run(first.run_id)
    second = log_adapter(study, made)
    assert second.run_id != first.run_id
    assert second.version != first.version
    assert find_version(client, "lost", made.key) == second.version
    assert log_adapter(study, made).cached
    assert get_version(study.server, "lost@challenger").version == second.version


def wrapped(cause: BaseException) -> Exception:
    """An error as pydantic raises it if a signal comes while it serializes."""
    error = ValueError("Error calling function")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (wrapped(KeyboardInterrupt()), "KILLED")],
)
def test_an_interrupted_study_ends_its_run(folder, client, error, status):
    study = open_small_study(folder, 8)
    with pytest.raises(type(error)), ending_study(study):
        raise error
    assert client.get_run(study.run_id).info.status == status


def test_a_study_s_run_has_its_headline_metrics_and_a_description(folder, client):
    study = open_small_study(folder, 9)
    metrics = {"failed": 0.0, **headline_metrics({"o'bear@5%#": [SCORE]})}
    close_study(study, [], "**study**: 1 adapter", metrics)
    run = client.get_run(study.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"failed": 0.0, "best/o_bear_5__/image_similarity/trigger/clip": 0.5}
    assert run.data.tags["mlflow.note.content"] == "**study**: 1 adapter"
    close_study(study, [], "all failed", failed=True)
    assert client.get_run(study.run_id).info.status == "FAILED"


def test_the_source_of_a_run_s_dataset_opens_by_the_package_s_entry_point(study, client, monkeypatch):
    import mlflow
    from mlflow.data import dataset_source_registry

    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["mlflow.dataset_source"]
    declared = [EntryPoint(name, value, "mlflow.dataset_source") for name, value in points.items()]
    monkeypatch.setattr(dataset_source_registry, "get_entry_points", lambda group: declared)
    registry = dataset_source_registry.DatasetSourceRegistry()
    registry.register_entrypoints()
    monkeypatch.setattr(dataset_source_registry, "_dataset_source_registry", registry)
    (used,) = client.get_run(study.run_id).inputs.dataset_inputs
    source = mlflow.data.get_source(used)
    assert (source.to_dict()["hash"], source.load()) == (study.data_version.hash, str(study.data_version.path))


def test_all_logged_adapters_of_a_study_are_found_by_two_queries(folder, client, monkeypatch):
    from mlflow import MlflowClient

    study = open_small_study(folder, 7)
    adapters = [adapter_run(folder, number) for number in (70, 71)]
    logged = {adapter.key: replace(log_adapter(study, adapter), cached=True) for adapter in adapters}
    queries = []
    for name in ("search_runs", "search_model_versions", "get_run", "get_model_version"):
        original = getattr(MlflowClient, name)
        monkeypatch.setattr(
            MlflowClient, name, lambda *a, _name=name, _call=original, **k: queries.append(_name) or _call(*a, **k)
        )
    assert find_logged(study) == logged
    assert queries == ["search_runs", "search_model_versions"]
    own = logged[adapters[0].key]
    assert is_registered(study, adapters[0], own)
    assert not is_registered(study, replace(adapters[0], file=folder / "another.safetensors"), own)
    client.update_run(own.run_id, "RUNNING")  # as a killed process leaves it
    assert find_logged(study) == {adapters[1].key: logged[adapters[1].key]}
