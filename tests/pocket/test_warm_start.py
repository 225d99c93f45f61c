"""Training without a checkpoint starts from the committed weights."""

import pytest
import torch
from safetensors.torch import load_file

from lycoris.pocket import BASE, CLIP, WEIGHTS
from lycoris.pocket.training.clip import build_clip
from lycoris.pocket.training.networks import CLASSIFIER_SPECS
from lycoris.pocket.training.unet import build_text_encoder, build_unet
from lycoris.pocket.training.vae import build_vae
from lycoris.pocket.training.warm_start import base_part_folder, warm_start
from lycoris.pocket.world.vocabulary import build_tokenizer


@pytest.mark.parametrize("name", CLASSIFIER_SPECS)
def test_every_classifier_starts_at_its_committed_weights(name):
    network = CLASSIFIER_SPECS[name].build()
    assert warm_start(network.encoder, WEIGHTS / name)
    committed = load_file(WEIGHTS / name / "model.safetensors")
    state = network.encoder.state_dict()
    shared = committed.keys() & state.keys()
    assert shared
    assert all(torch.equal(committed[key].to(state[key].dtype), state[key]) for key in shared)


def test_the_committed_base_and_clip_fit_the_networks_that_training_builds():
    tokenizer = build_tokenizer()
    assert warm_start(build_vae(), BASE / "vae")
    assert warm_start(build_unet(), BASE / "unet")
    assert warm_start(build_text_encoder(tokenizer), BASE / "text_encoder")
    assert warm_start(build_clip(tokenizer), CLIP)


def test_an_empty_folder_loads_nothing(tmp_path):
    assert not warm_start(build_vae(), tmp_path)
    assert base_part_folder(tmp_path, "vae") == BASE / "vae"
