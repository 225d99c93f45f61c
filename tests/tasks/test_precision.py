"""The precision of a base reaches the key of a training, its file's header, its record and the model in MLflow."""

import json
from types import SimpleNamespace

import pytest
import torch

import lycoris
from flows.config.loading import load_experiment
from lycoris import bases, pocket
from tasks.artifacts import BaseOptions, ImageSet, ModelRef, RunContext, RunSpec
from tasks.runtime.adapter_training import ADAPTER_FILE, AdapterTraining
from tasks.tracking.model_package import REQUIRED_PACKAGES, required_packages
from tasks.tracking.pyfunc_model import AdapterModel
from tasks.train import train_adapter
from tasks.trainings import AdapterSettings, TrainingRequest
from tests.tasks.tracking.small_study import adapter_run


def _request(options):
    return TrainingRequest(
        spec=RunSpec("grumble", "lora", "all", 0),
        base=ModelRef("pocket", bases.digest("pocket", **options.for_base), options),
        images=ImageSet((next((pocket.IMAGES / "movie_characters" / "grumble").glob("*.png")),), "0"),
        captions=("a bear",),
        settings=AdapterSettings("lora", "unet-attn-mlp", rank=1, alpha=1.0, training={"steps": 1, "batch_size": 1}),
    )


@pytest.fixture(scope="module")
def options():
    return load_experiment(None, ("precision.denoiser=bf16",)).base_options()


def test_one_value_is_for_both_parts(options):
    assert options.precision == {"denoiser": "bf16"}
    both = load_experiment(None, ("precision=bf16",)).base_options()
    assert both.precision == {"denoiser": "bf16", "text_encoders": "bf16"}
    assert load_experiment(None, ()).base_options() == BaseOptions()


def test_the_header_and_the_model_in_mlflow_have_it(options, tmp_path):
    context = RunContext(tmp_path, device="cpu")
    file = train_adapter.fn(context, _request(options)).final.folder / ADAPTER_FILE
    assert json.loads(lycoris.read_metadata(file)["lycoris.base_precision"]) == {"denoiser": "bf16"}
    model = AdapterModel()
    config = {"base": "pocket", "base_options": json.loads(json.dumps(options.for_base))}
    model.load_context(SimpleNamespace(model_config=config, artifacts={"adapter": str(file)}))
    model.network.detach()
    assert {parameter.dtype for parameter in model.base.parts["unet"].parameters()} == {torch.bfloat16}
    assert model.base.digest == bases.digest("pocket", precision=options.precision)


def test_the_key_of_a_training_depends_on_it(options, tmp_path):
    context = RunContext(tmp_path, device="cpu")
    plain, other = (AdapterTraining(context, _request(each)) for each in (BaseOptions(), options))
    assert plain.key != other.key


def test_the_record_has_it(options, tmp_path):
    plain = adapter_run(tmp_path, 0)
    run = adapter_run(tmp_path, 0, base=ModelRef(plain.base.source, plain.base.digest, options))
    assert run.parameters == {**plain.parameters, "precision.denoiser": "bf16"}
    assert json.loads(run.version_tags("1")["lineage"])["precision"] == {"denoiser": "bf16"}
    assert "precision" not in json.loads(plain.version_tags("1")["lineage"])


def test_a_registered_model_requires_the_package_of_its_base(monkeypatch):
    from lycoris.bases import quantization

    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: object())
    assert required_packages({}) == REQUIRED_PACKAGES
    assert required_packages({"denoiser": "nf4", "text_encoders": "int8"})[-2:] == ("bitsandbytes", "torchao")
