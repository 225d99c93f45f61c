"""`max_token_length` reaches training, the header of the adapter's file, the model in MLflow and the scores."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

import lycoris
from flows.config.loading import load_experiment
from flows.config.scoring import ScoringTarget, token_length_note
from lycoris import bases, pocket
from lycoris.bases import TruncatedPromptWarning
from tasks.artifacts import BaseOptions, ImageSet, ModelRef, RunContext, RunSpec
from tasks.runtime.adapter_training import ADAPTER_FILE
from tasks.tracking.pyfunc_model import AdapterModel
from tasks.train import train_adapter
from tasks.trainings import AdapterSettings, TrainingRequest

LONG = "a ohw bear, " + ", ".join(["red hat", "blue sky"] * 8)
"""51 tokens, of which the pocket reads 30 in one window."""


@pytest.fixture(scope="module")
def options():
    return load_experiment(None, ("max_token_length=60",)).base_options()


@pytest.fixture(scope="module")
def file(tmp_path_factory, options):
    store = tmp_path_factory.mktemp("store")
    settings = AdapterSettings("lora", "unet-attn-mlp", rank=1, alpha=1.0, training={"steps": 1, "batch_size": 1})
    request = TrainingRequest(
        spec=RunSpec("grumble", "lora", "all", 0),
        base=ModelRef("pocket", bases.digest("pocket", **options.for_base), options),
        images=ImageSet((next((pocket.IMAGES / "movie_characters" / "grumble").glob("*.png")),), "0"),
        captions=(LONG,),
        settings=settings,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", TruncatedPromptWarning)
        return train_adapter.fn(RunContext(store, device="cpu"), request).final.folder / ADAPTER_FILE


def test_a_training_reads_the_whole_caption_and_the_header_says_so(file):
    assert lycoris.read_metadata(file)["ss_max_token_length"] == "60"


def test_the_model_in_mlflow_reads_as_much(file, options):
    model = AdapterModel()
    config = {"base": "pocket", "base_options": options.for_base}
    model.load_context(SimpleNamespace(model_config=config, artifacts={"adapter": str(file)}))
    model.network.detach()
    assert model.base.count_windows([LONG, "a bear"]) == [2, 1]
    assert BaseOptions().for_base["max_token_length"] is None


def test_scores_with_another_length_than_the_files_are_named(file):
    def note(header, value):
        return token_length_note(ScoringTarget("a", Path("a.safetensors"), "bear", "all", header), value)

    header = lycoris.read_metadata(file)
    assert note(header, 60) is None
    assert "`--set max_token_length=60`" in note(header, None)
    assert note({"ss_max_token_length": "None"}, None) is None
    assert note({"lycoris.algorithm": "lora"}, None) is None
    assert "`--set max_token_length=null`" in note({"ss_max_token_length": "None"}, 150)
    assert note({}, 150) is None  # a folder of images
