"""The published architectures are inferred from the shapes of their weights, on the meta device."""

import pytest
import torch

from benchmarks.unet_configs import SD15, SDXL
from lycoris.bases.files import config_inference
from tests.bases import original_layout as original

SD = {
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "in_channels": 4,
    "out_channels": 4,
}
UNETS = {
    "sd1": {**SD, **SD15, "use_linear_projection": False},
    "sd2": {**SD, "cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True},
    "sdxl": {**SD, **SDXL},
}
TRANSFORMER = {
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
}
TRANSFORMERS = {
    "sd3-medium": {
        **TRANSFORMER,
        "num_layers": 24,
        "num_attention_heads": 24,
        "caption_projection_dim": 1536,
        "pos_embed_max_size": 192,
        "dual_attention_layers": (),
        "qk_norm": None,
    },
    "sd3.5-medium": {
        **TRANSFORMER,
        "num_layers": 24,
        "num_attention_heads": 24,
        "caption_projection_dim": 1536,
        "pos_embed_max_size": 384,
        "dual_attention_layers": tuple(range(13)),
        "qk_norm": "rms_norm",
    },
    "sd3.5-large": {
        **TRANSFORMER,
        "num_layers": 38,
        "num_attention_heads": 38,
        "caption_projection_dim": 2432,
        "pos_embed_max_size": 192,
        "dual_attention_layers": (),
        "qk_norm": "rms_norm",
    },
}


def shapes_of(weights, prefix):
    return {name.removeprefix(prefix): tuple(weight.shape) for name, weight in weights.items()}


def plain(config):
    return {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}


@pytest.mark.parametrize("name", UNETS)
def test_unets(name):
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNETS[name])
    shapes = shapes_of(original._unet(unet), "model.diffusion_model.")
    result = plain(config_inference.unet_config(shapes, eight_heads=name == "sd1"))
    expected = {"transformer_layers_per_block": [1] * len(unet.config.block_out_channels), **plain(UNETS[name])}
    assert result == expected


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name):
    from diffusers import SD3Transformer2DModel

    with torch.device("meta"):
        transformer = SD3Transformer2DModel(**{**TRANSFORMERS[name], "pos_embed_max_size": None})
    weights = original._transformer(transformer) | {
        "model.diffusion_model.pos_embed": torch.empty(1, TRANSFORMERS[name]["pos_embed_max_size"] ** 2, 1)
    }
    assert plain(config_inference.sd3_transformer_config(shapes_of(weights, "model.diffusion_model."))) == plain(
        TRANSFORMERS[name]
    )


@pytest.mark.parametrize(
    ("width", "layers", "projection", "act"),
    [(768, 12, 768, "quick_gelu"), (1024, 23, 1024, "gelu"), (1280, 32, 1280, "gelu")],
)
def test_text_encoders(width, layers, projection, act):
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = {
        "vocab_size": 49408,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 77,
        "projection_dim": projection,
        "hidden_act": act,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    }
    with torch.device("meta"):
        text = CLIPTextModelWithProjection(CLIPTextConfig(**config))
    if act == "quick_gelu":
        assert config_inference.clip_config(shapes_of(original._own_names(text, ""), ""), activation=act) == config
    else:
        assert (
            config_inference.open_clip_config(shapes_of(original._open_clip(text, ""), ""), drop_last_layer=False)
            == config
        )


def test_autoencoders():
    from diffusers import AutoencoderKL

    config = {
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "latent_channels": 16,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "scaling_factor": 1.5305,
        "shift_factor": 0.0609,
    }
    with torch.device("meta"):
        vae = AutoencoderKL(**config)
    shapes = shapes_of(original._vae(vae), "first_stage_model.")
    assert config_inference.vae_config(shapes, scale=1.5305, shift=0.0609) == config
