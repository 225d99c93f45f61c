"""Default hyperparameters: a changed default changes every adapter that does not set it, so each is pinned."""

import json

import pytest

from flows.config.defaults import (
    default_co_train,
    default_sampling,
    default_settings,
    embedded_encoders_note,
    recipe_note,
)
from flows.config.experiment import Experiment
from lycoris.bases import BASES
from lycoris.training import TrainingSettings

POCKET = {
    "steps": 120,
    "batch_size": 6,
    "schedule": "cosine",
    "warmup_steps": 10,
    "caption_dropout": 0.05,
    "min_snr": 5.0,
}
PAPER = {"epochs": 50, "batch_size": 8, "warmup_steps": 100, "caption_dropout": 0.05}


@pytest.mark.parametrize(
    ("algorithm", "rank", "alpha", "factor", "learning_rate"),
    [
        ("lora", 8, 8.0, None, 5e-3),
        ("loha", 4, 4.0, None, 5e-3),
        ("lokr", None, None, 8, 7e-3),
        ("full", None, None, None, 1e-3),
    ],
)
def test_the_pockets_settings_are_those_found_by_experiment(algorithm, rank, alpha, factor, learning_rate):
    settings = default_settings("pocket", algorithm)
    assert (settings.preset, settings.rank, settings.alpha, settings.factor) == ("full", rank, alpha, factor)
    assert settings.training == {**POCKET, "learning_rate": learning_rate}


@pytest.mark.parametrize(
    ("algorithm", "rank", "alpha", "factor", "learning_rate"),
    [
        ("lora", 8, 4.0, None, 5e-4),
        ("loha", 4, 2.0, None, 5e-4),
        ("lokr", None, None, 8, 5e-4),
        ("full", None, None, None, 1e-6),
    ],
)
def test_a_full_size_bases_settings_are_the_papers(algorithm, rank, alpha, factor, learning_rate):
    settings = default_settings("some/base", algorithm)
    assert (settings.preset, settings.rank, settings.alpha, settings.factor) == ("attn-mlp", rank, alpha, factor)
    assert settings.training == {**PAPER, "learning_rate": learning_rate}


def test_sampling_and_co_training_by_base():
    assert default_sampling("pocket") == {"scheduler": "dpm++-2m", "steps": 14, "guidance": 7.0}
    assert default_sampling("some/base") == {"scheduler": None, "steps": 25, "guidance": None}
    assert (default_co_train("pocket"), default_co_train("some/base")) == (4, 1)


@pytest.mark.parametrize(
    ("encoders", "style_encoder", "named"),
    [
        (("clip", "dinov2"), "vgg", "(clip, dinov2 and vgg)"),
        (("owner/clip",), "vgg", "(vgg)"),
        (("clip",), "f", "(clip)"),
    ],
)
def test_embedded_encoders_on_a_real_base_are_named_with_what_to_set(encoders, style_encoder, named):
    note = embedded_encoders_note("owner/model", encoders, style_encoder)
    assert note.startswith(f"the embedded encoders {named} know the drawn world only")
    assert ("--set encoders=" in note) == ("clip" in encoders)
    assert ("--set style_encoder=" in note) == (style_encoder == "vgg")


def test_encoders_that_fit_their_base_are_not_named():
    assert embedded_encoders_note("pocket", ("clip", "dinov2"), "vgg") is None
    assert embedded_encoders_note("owner/model", ("owner/clip",), "vgg19.pth") is None


@pytest.fixture
def z_image(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "ZImagePipeline"}')
    return str(tmp_path)


@pytest.mark.parametrize(
    ("algorithm", "rank", "alpha", "learning_rate"),
    [("lora", 32, 32.0, 1e-4), ("loha", 4, 2.0, 1e-4), ("full", None, None, 1e-6), ("boft", None, None, 1e-4)],
)
def test_a_familys_public_recipe_is_the_default_on_its_bases(z_image, algorithm, rank, alpha, learning_rate):
    settings = default_settings(z_image, algorithm)
    assert (settings.preset, settings.rank, settings.alpha) == ("attn-mlp", rank, alpha)
    assert settings.training == {
        "steps": 3000,
        "batch_size": 1,
        "warmup_steps": 0,
        "caption_dropout": 0.05,
        "learning_rate": learning_rate,
        "timestep_shift": 2.0,
    }
    TrainingSettings(**settings.training)


def test_the_recipe_of_a_transformer_in_one_file_is_that_of_its_components(z_image):
    assert default_settings("some.safetensors", "lora", z_image) == default_settings(z_image, "lora")


def test_a_run_names_the_recipe_and_its_source(z_image):
    note = recipe_note(z_image)
    assert note.startswith("defaults of the family z-image: learning rate 0.0001, LoRA rank 32, alpha 32, 3000 steps")
    assert "timestep_shift 2" in note
    assert "musubi-tuner, zimage.md" in note
    assert recipe_note("pocket") is recipe_note("some/base") is None


@pytest.mark.parametrize("name", [name for name, family in BASES.items() if family.recipe])
def test_every_recipe_is_a_valid_training(name, tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": BASES[name].pipeline_class}))
    settings = default_settings(str(tmp_path), "lora")
    training = TrainingSettings(**settings.training)
    assert training.steps == BASES[name].recipe.steps
    assert settings.rank == BASES[name].recipe.rank


def test_options_of_an_experiment_replace_a_recipes(z_image):
    adapter = {"algorithm": "lora", "rank": 4}
    experiment = Experiment(base=z_image, steps=20, training={"timestep_shift": 5.0}, algorithms=(adapter,))
    settings = experiment.adapter_settings(experiment.algorithms[0])
    assert (settings.rank, settings.alpha, settings.training["steps"]) == (4, 4.0, 20)
    assert settings.training["timestep_shift"] == 5
