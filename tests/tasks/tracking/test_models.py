"""Registered models: what MLflow's users do with them, on a real store, registry and scoring server."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageChops

import lycoris
from lycoris.bases import open_base
from lycoris.pocket import BASE
from tasks.tracking.adapter_runs import log_adapter
from tasks.tracking.client import connect, tracking_server
from tasks.tracking.model_package import absolute_base, pinned_requirements
from tests.tasks.tracking.small_study import adapter_run, open_small_study

PROMPT = "a grumble on a beach"
FAST = {"steps": 1}


@pytest.fixture(scope="module")
def adapter_file(tmp_path_factory):
    """An adapter of the embedded base that changes its images."""
    file = tmp_path_factory.mktemp("adapter") / "adapter.safetensors"
    base = open_base()
    network = lycoris.attach(base.parts, algorithm="lora", rank=2)
    for parameter in network.parameters():
        parameter.data.fill_(0.05)
    network.save(file)
    return file


@pytest.fixture(scope="module")
def runs(tmp_path_factory, adapter_file):
    """An output folder with one registered adapter."""
    root = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        study = open_small_study(root / "runs")
        log_adapter(study, adapter_run(root, 1, file=adapter_file))
    return root / "runs"


@pytest.fixture(scope="module")
def model(runs):
    import mlflow

    connect(tracking_server(runs))
    return mlflow.pyfunc.load_model("models:/grumble@challenger")


def differ(first, second):
    return ImageChops.difference(first, second).getbbox() is not None


def test_parameters_of_predict_are_in_the_signature_and_obeyed(model):
    stored = {spec.name for spec in model.metadata.get_params_schema().params}
    assert stored == {"seed", "steps", "guidance", "scale", "format"}
    images = [model.predict([PROMPT], params={**FAST, "seed": seed})[0] for seed in (7, 8, 7)]
    assert differ(images[0], images[1])
    assert not differ(images[0], images[2])
    bare, full = (model.predict([PROMPT], params={**FAST, "seed": 7, "scale": scale})[0] for scale in (0, 1))
    assert differ(bare, full)
    assert not differ(full, images[0])
    more, less = (model.predict([PROMPT], params={**FAST, "guidance": guidance})[0] for guidance in (7, 2))
    assert differ(more, less)


def test_an_input_example_is_stored_with_the_model(model):
    assert np.asarray(model.input_example).ravel().tolist() == ["x"]
    assert model.metadata.saved_input_example_info["params"]


@pytest.mark.parametrize(
    ("prompts", "count"),
    [
        (PROMPT, 1),
        ([PROMPT, PROMPT], 2),
        (np.array([PROMPT, PROMPT]), 2),
        (pd.Series([PROMPT, PROMPT], name="prompts"), 2),
        (pd.DataFrame({"prompt": [PROMPT]}), 1),
        ({"prompt": PROMPT}, 1),
        ({"prompt": [PROMPT, PROMPT]}, 2),
        ({"prompt": np.array([PROMPT, PROMPT])}, 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_prompts_may_come_in_any_container_that_mlflow_takes(model, prompts, count):
    images = model.predict(prompts, params=FAST)
    assert len(images) == count
    assert all(isinstance(image, Image.Image) for image in images)
    assert not differ(images[0], model.predict([PROMPT], params=FAST)[0])


def test_an_unknown_format_is_an_error(model):
    with pytest.raises(Exception, match=r"`format` must be one of auto, pil, png"):
        model.predict([PROMPT], params={**FAST, "format": "jpeg"})


def test_a_served_model_answers_with_base64_png(model, monkeypatch):
    from fastapi.testclient import TestClient
    from mlflow.pyfunc import scoring_server

    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")  # the server sets it in this process
    client = TestClient(scoring_server.init(model))
    for body in ({"inputs": [PROMPT]}, {"inputs": PROMPT}, {"dataframe_split": {"columns": ["p"], "data": [[PROMPT]]}}):
        answer = client.post("/invocations", json={**body, "params": {**FAST, "seed": 7}})
        assert answer.status_code == 200, answer.text
        (text,) = answer.json()["predictions"]
        with Image.open(io.BytesIO(base64.b64decode(text))) as image:
            assert image.format == "PNG"
            monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")
            assert not differ(image.convert("RGB"), model.predict([PROMPT], params={**FAST, "seed": 7})[0])
        monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")


@pytest.mark.slow
def test_mlflow_models_serve_answers_a_post_with_an_image(runs, model, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/grumble@challenger"]
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [*command, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)],
            cwd=tmp_path, env={**os.environ, "MLFLOW_TRACKING_URI": tracking_server(runs).uri}, stdout=stream,
            stderr=stream, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 900
        while not _answers(f"{address}/ping"):
            assert server.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(1)
        images = {}
        for seed in (7, 8):
            body = json.dumps({"inputs": [PROMPT], "params": {**FAST, "seed": seed}}).encode()
            request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=300) as answer:
                (text,) = json.load(answer)["predictions"]
            with Image.open(io.BytesIO(base64.b64decode(text))) as image:
                images[seed] = image.convert("RGB")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)
    for seed, image in images.items():
        assert not differ(image, model.predict([PROMPT], params={**FAST, "seed": seed})[0])
    assert differ(images[7], images[8])


def _answers(address):
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


ALONE = """
import ast, json, os, sys
sys.path.append(os.environ["SITE"])                # without the files that make projects importable
sys.modules["peft"] = None                         # an extra, which only adapters of PEFT's methods need
import mlflow
from importlib.metadata import packages_distributions
from importlib.util import find_spec
assert find_spec("lycoris") is None
model = mlflow.pyfunc.load_model(sys.argv[1])
(image,) = model.predict(["a toy"], params={"steps": 1, "seed": 7})
import lycoris
trees = [
    ast.parse(module.__loader__.get_source(name))
    for name, module in list(sys.modules.items())
    if name.partition(".")[0] == "lycoris"
]
imported = {
    name.partition(".")[0]
    for tree in trees
    for node in ast.walk(tree)
    for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else
                 [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
}
names = packages_distributions()
loaded = {key for key, module in sys.modules.items() if module}
used = {name for module in imported & loaded for name in names.get(module, [])}
print(json.dumps({"code": lycoris.__file__, "size": image.size, "used": sorted(used)}))
"""


def test_a_model_loads_where_the_project_is_not_installed(runs, tmp_path):
    server = tracking_server(runs)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ALONE, connect(server).get_model_version_download_uri("grumble", "1")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={
            "SITE": str(next(path for path in map(os.path.abspath, sys.path) if path.endswith("site-packages"))),
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "HF_HUB_OFFLINE": "1",
            "MLFLOW_TRACKING_URI": server.uri,
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["code"].endswith("lycoris.zip/lycoris/__init__.py")
    required = {line.partition("==")[0] for line in pinned_requirements()}
    used = {name.lower().replace("_", "-") for name in result["used"]} - {"lycoris-pipeline"}  # the archive itself
    assert {"torch", "diffusers"} <= used <= required


def test_requirements_are_pinned_and_each_is_on_an_index(model):
    import mlflow

    file = mlflow.pyfunc.get_model_dependencies(model.metadata.get_model_info().model_uri)
    lines = Path(file).read_text().split()
    assert lines
    assert all("==" in line and "+" not in line and "lycoris" not in line for line in lines)


def test_a_relative_base_means_the_same_folder_everywhere(monkeypatch):
    monkeypatch.chdir(BASE.parent)
    assert absolute_base("./base") == str(BASE)
    assert [absolute_base(name) for name in ("pocket", "owner/model")] == ["pocket", "owner/model"]
