"""deploy/compose.yaml, as far as it can be checked without containers."""

import re
from pathlib import Path

import pytest
import yaml

from flows.cli.main import parse_arguments
from flows.config.loading import parse_experiment
from flows.runtime import prefect_server
from tasks.tracking import guarded_server

DEPLOY = Path(__file__).parents[2] / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
CUDA = yaml.safe_load((DEPLOY / "compose.cuda.yaml").read_text())["services"]["worker"]
SECRET = re.compile(r"PASSWORD|SECRET|KEY|AUTH_STRING|USER")
VARIABLE = re.compile(r"\$\{(\w+)(:?[-?][^}]*)?\}")


def environments():
    return [(name, key, value) for name, one in SERVICES.items() for key, value in one.get("environment", {}).items()]


def options(command):
    return {option for parameter in command.params for option in parameter.opts}


def test_all_services_are_defined():
    assert {"postgres", "store", "prefect", "mlflow", "scheduler", "worker", "study"} == SERVICES.keys()
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


def test_no_secret_has_a_default_or_may_be_empty():
    for name, key, value in environments():
        if SECRET.search(key) and (name, key) != ("postgres", "POSTGRES_USER"):
            assert VARIABLE.match(value), (name, key)
    used = VARIABLE.findall(TEXT)
    required = {name for name, rest in used if rest.startswith(":?")}
    assert {name for name, rest in used if not rest} <= required
    assert {name for name, rest in used if rest.startswith(":-")} == {"BIND", "PREFECT_HOSTS", "MLFLOW_HOSTS"}
    example = (DEPLOY / "env.example").read_text()
    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == required
    assert not re.search(r"^\w+=.", example, re.MULTILINE)


def test_ports_are_published_on_loopback_by_default():
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert published == {"prefect": ["${BIND:-127.0.0.1}:4200:4200"], "mlflow": ["${BIND:-127.0.0.1}:5050:5050"]}


def test_images_have_versions():
    images = [one["image"] for one in SERVICES.values()]
    images += re.findall(r"^ARG BASE=(\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    images += [CUDA["build"]["args"]["BASE"], CUDA["image"]]
    assert len(images) == len(SERVICES) + 3
    for image in images:
        assert re.search(r":v?\d+\.\d+", image), image


def test_the_cuda_image_is_a_variant_of_the_same_file_by_its_arguments():
    build = CUDA["build"]
    text = (DEPLOY.parent / build["dockerfile"]).read_text()
    assert build["args"].keys() == set(re.findall(r"^ARG (\w+)", text, re.MULTILINE))
    defaults = dict(re.findall(r'^ARG (\w+)="?([^"\n]+)"?$', text, re.MULTILINE))
    for name, separator in (("EXTRAS", ","), ("PACKAGES", " ")):
        assert set(defaults[name].split(separator)) < set(build["args"][name].split(separator))
    assert CUDA["command"] == [*SERVICES["worker"]["command"], "--resources", "GPU=1"]


def test_the_build_context_has_what_the_image_copies_and_no_secret():
    given = [line.removeprefix("!") for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()]
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    files = {name for line in copied for name in line.split()}
    assert given[0] == "*"
    assert files <= set(given)
    assert all((DEPLOY.parent / name).exists() for name in files)
    assert "/deploy/.env" in (DEPLOY.parent / ".gitignore").read_text().splitlines()


def test_every_permanent_service_has_a_health_check_and_waits_for_its_dependencies():
    for name, one in SERVICES.items():
        assert "healthcheck" in one or name == "study", name
        for needed, how in one.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[needed]
    mounted = [config for one in SERVICES.values() for config in one.get("configs", [])]
    assert {config["source"] for config in mounted} == COMPOSE["configs"].keys()


def test_mlflow_requires_a_password_and_accepts_these_options():
    from mlflow import environment_variables
    from mlflow.cli import cli

    command = SERVICES["mlflow"]["command"]
    assert command[:5] == ["python", "-m", guarded_server.__name__, "--app-name", "basic-auth"]
    assert {part for part in command if part.startswith("--")} <= options(cli.commands["server"])
    for _, key, _ in environments():
        if key.startswith("MLFLOW_"):
            known = hasattr(environment_variables, key)
            assert known or any(key == getattr(p, "envvar", None) for p in cli.commands["server"].params), key


def test_prefect_accepts_these_settings():
    from prefect import settings

    assert SERVICES["prefect"]["command"] == ["python", "-m", prefect_server.__name__, "4200", "0.0.0.0"]
    for _, key, _ in environments():
        if key.startswith("PREFECT_"):
            assert hasattr(settings, key), key


def test_the_servers_answer_under_the_names_that_other_services_use():
    from urllib.parse import urlsplit

    from lycoris.safety.request_guard import ALLOWED_HOSTS_VARIABLE, find_refusal

    for server, variable in (("prefect", "PREFECT_API_URL"), ("mlflow", "MLFLOW_TRACKING_URI")):
        _, default = SERVICES[server]["environment"][ALLOWED_HOSTS_VARIABLE].rstrip("}").split(":-")
        host = urlsplit(SERVICES["study"]["environment"][variable]).netloc
        assert find_refusal([(b"host", host.encode())], [default]) is None
        assert find_refusal([(b"host", b"attacker.test")], [default])


def test_dask_accepts_these_options():
    scheduler = pytest.importorskip("distributed.cli.dask_scheduler", reason="needs `dask`")
    worker = pytest.importorskip("distributed.cli.dask_worker", reason="needs `dask`")
    for name, main in (("scheduler", scheduler.main), ("worker", worker.main)):
        command = SERVICES[name]["command"]
        assert command[:2] == ["dask", name]
        taken = {option for given in options(main) for option in given.split("/")}
        flags = {f"--no-{option[2:]}" for option in taken} | taken
        assert {part for part in command if part.startswith("--")} <= flags


def test_a_study_runs_on_the_workers_and_accepts_more_options():
    _, *entry = SERVICES["study"]["entrypoint"]
    given = parse_arguments([*entry, "--set", "concepts=grumble"])
    experiment = parse_experiment(dict(change.split("=", 1) for change in given.overrides))
    assert experiment.runner == f"tcp://scheduler:{SERVICES['scheduler']['command'][5]}"
    assert experiment.artifact_store == "s3://lycoris/stages"
