"""Default hyperparameters: a changed default changes every adapter that does not set it, so each is pinned."""

import pytest

from flows.config.defaults import default_co_train, default_sampling, default_settings, embedded_encoders_note

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
