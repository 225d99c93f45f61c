import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.peers.trees import small_unet


@pytest.fixture(scope="session")
def _small():
    torch.manual_seed(0)
    unet = small_unet()
    config = CLIPTextConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=12,
        projection_dim=32,
    )
    return {"unet": unet, "text_encoder": CLIPTextModel(config).eval()}


@pytest.fixture
def parts(_small):
    """A small UNet and CLIP text encoder as diffusers and transformers build them, fresh in every test."""
    import copy

    return copy.deepcopy(_small)


@pytest.fixture
def forward():
    """Text ids through the text encoder and a latent through the UNet, as one training step does."""

    def run(parts, batch: int = 2):
        generator = torch.Generator().manual_seed(3)
        ids = torch.randint(0, 50, (batch, 12), generator=generator)
        latent = torch.randn(batch, 4, 8, 8, generator=generator)
        text = parts["text_encoder"](ids)[0]
        return parts["unet"](latent.to(text.dtype), torch.tensor([10] * batch), text).sample

    return run
