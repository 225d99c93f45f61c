import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel


@pytest.fixture(scope="session")
def _small():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 24),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=4,
        cross_attention_dim=32,
    )
    config = CLIPTextConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=12,
        projection_dim=32,
    )
    return {"unet": unet.eval(), "text_encoder": CLIPTextModel(config).eval()}


@pytest.fixture
def parts(_small):
    """A small UNet and CLIP text encoder as diffusers and transformers build them, fresh in every test."""
    import copy

    return copy.deepcopy(_small)


@pytest.fixture
def draw():
    """Text ids through the text encoder and a latent through the UNet, as one training step does."""

    def run(parts, batch: int = 2):
        generator = torch.Generator().manual_seed(3)
        ids = torch.randint(0, 50, (batch, 12), generator=generator)
        latent = torch.randn(batch, 4, 8, 8, generator=generator)
        text = parts["text_encoder"](ids)[0]
        return parts["unet"](latent.to(text.dtype), torch.tensor([10] * batch), text).sample

    return run
