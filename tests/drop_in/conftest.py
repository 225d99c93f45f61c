"""A tiny UNet and a tiny text encoder, and presets as they were."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.peers.trees import small_unet
from lycoris.drop_in.kohya import LycorisNetworkKohya
from lycoris.drop_in.network import LycorisNetwork


@pytest.fixture(scope="session")
def parts():
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    return small_unet(), CLIPTextModel(config).eval()


@pytest.fixture
def unet(parts):
    return copy.deepcopy(parts[0])


@pytest.fixture
def text_encoder(parts):
    return copy.deepcopy(parts[1])


@pytest.fixture(autouse=True)
def _presets_stay_in_their_test(monkeypatch):
    for network in (LycorisNetwork, LycorisNetworkKohya):
        for name in set(network._PRESET_ATTRIBUTES.values()):
            monkeypatch.setattr(network, name, getattr(network, name))


@pytest.fixture(scope="session")
def batch():
    generator = torch.Generator().manual_seed(1)
    return {
        "sample": torch.randn(2, 4, 8, 8, generator=generator),
        "timestep": torch.tensor([10, 500]),
        "encoder_hidden_states": torch.randn(2, 7, 32, generator=generator),
    }
