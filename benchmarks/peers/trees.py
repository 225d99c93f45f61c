"""Module trees of SD 1.5, SDXL, SD 3 and Flux on the meta device, and a small UNet with values."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel


def sd15() -> dict[str, nn.Module]:
    """Stable Diffusion 1.5."""
    return {"unet": UNet2DConditionModel(cross_attention_dim=768), "text_encoder": _clip_l()}


def small_unet() -> UNet2DConditionModel:
    """A UNet of the real class that runs in milliseconds, for 8x8 latents and texts of width 32."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 24),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=4,
        cross_attention_dim=32,
    ).eval()


def sdxl() -> dict[str, nn.Module]:
    """Stable Diffusion XL, the base."""
    unet = UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        cross_attention_dim=2048,
        attention_head_dim=(5, 10, 20),
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
        use_linear_projection=True,
    )
    return {"unet": unet, "text_encoder": _clip_l(), "text_encoder_2": _clip_g()}


def sd3() -> dict[str, nn.Module]:
    """Stable Diffusion 3, medium."""
    transformer = SD3Transformer2DModel(
        num_layers=24,
        num_attention_heads=24,
        caption_projection_dim=1536,
        pos_embed_max_size=192,
    )
    encoders = {"text_encoder": _clip_l(CLIPTextModelWithProjection), "text_encoder_2": _clip_g()}
    return {"transformer": transformer, **encoders, "text_encoder_3": _t5()}


def flux() -> dict[str, nn.Module]:
    """Flux.1, dev."""
    return {
        "transformer": FluxTransformer2DModel(guidance_embeds=True),
        "text_encoder": _clip_l(),
        "text_encoder_2": _t5(),
    }


TREES: dict[str, Callable[[], dict[str, nn.Module]]] = {"sd15": sd15, "sdxl": sdxl, "sd3": sd3, "flux": flux}


def tree(name: str) -> dict[str, nn.Module]:
    """Return the named parts of a model of `TREES`, on the meta device."""
    with torch.device("meta"):
        return TREES[name]()


def _clip_l(kind: type[nn.Module] = CLIPTextModel) -> nn.Module:
    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    return kind(CLIPTextConfig(**sizes, projection_dim=768))


def _clip_g() -> nn.Module:
    sizes = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
    return CLIPTextModelWithProjection(CLIPTextConfig(**sizes, projection_dim=1280))


def _t5() -> nn.Module:
    sizes = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
    return T5EncoderModel(T5Config(**sizes, vocab_size=32128, feed_forward_proj="gated-gelu"))
