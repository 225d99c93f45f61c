"""A small random denoiser of every family, of diffusers' own classes, and of the text encoders that files know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


def _unet(**settings: Any) -> nn.Module:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "block_out_channels": (8, 16),
            "layers_per_block": 2,
            "norm_num_groups": 4,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "cross_attention_dim": 768,
            "attention_head_dim": 4,
            **settings,
        }
    )


def _xl() -> nn.Module:
    return _unet(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=1,
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=76,
    )


def _transformer(class_name: str, **settings: Any) -> nn.Module:
    import diffusers

    return getattr(diffusers, class_name)(**settings)


_FLUX = {
    "patch_size": 1,
    "in_channels": 4,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 12,
    "axes_dims_rope": (2, 2, 4),
}
_KREA = {
    "attention_head_dim": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "timestep_embed_dim": 8,
    "text_hidden_dim": 8,
    "text_num_attention_heads": 2,
    "text_num_key_value_heads": 1,
    "text_intermediate_size": 12,
    "num_layerwise_text_blocks": 1,
    "num_refiner_text_blocks": 1,
    "axes_dims_rope": (2, 2, 0),
}


@dataclass(frozen=True)
class Denoiser:
    """A family's denoiser.

    Attributes:
        build: builds the small member.
        pipeline: the class of diffusers whose loader reads its adapters.
    """

    build: Callable[[], nn.Module]
    pipeline: str

    @property
    def part(self) -> str:
        """The name of the part."""
        return "unet" if self.pipeline in ("StableDiffusionPipeline", "StableDiffusionXLPipeline") else "transformer"

    def parts(self) -> dict[str, nn.Module]:
        """The denoiser in float64, by the name of its part."""
        torch.manual_seed(0)
        return {self.part: self.build().double().eval()}


DENOISERS: dict[str, Denoiser] = {
    "stable-diffusion-1": Denoiser(_unet, "StableDiffusionPipeline"),
    "stable-diffusion-xl": Denoiser(_xl, "StableDiffusionXLPipeline"),
    "stable-diffusion-3": Denoiser(
        lambda: _transformer(
            "SD3Transformer2DModel",
            sample_size=8,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=24,
            caption_projection_dim=16,
            pooled_projection_dim=20,
            pos_embed_max_size=8,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        ),
        "StableDiffusion3Pipeline",
    ),
    "flux.1": Denoiser(
        lambda: _transformer("FluxTransformer2DModel", **_FLUX, pooled_projection_dim=10, guidance_embeds=True),
        "FluxPipeline",
    ),
    "chroma": Denoiser(
        lambda: _transformer(
            "ChromaTransformer2DModel",
            **_FLUX,
            approximator_hidden_dim=8,
            approximator_layers=1,
            approximator_num_channels=8,
        ),
        "ChromaPipeline",
    ),
    "flux.2": Denoiser(
        lambda: _transformer(
            "Flux2Transformer2DModel",
            **{**_FLUX, "axes_dims_rope": (2, 2, 2, 2)},
            timestep_guidance_channels=16,
            guidance_embeds=True,
        ),
        "Flux2KleinPipeline",
    ),
    "qwen-image": Denoiser(
        lambda: _transformer(
            "QwenImageTransformer2DModel",
            in_channels=4,
            out_channels=1,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=12,
            axes_dims_rope=(2, 2, 4),
        ),
        "QwenImagePipeline",
    ),
    "z-image": Denoiser(
        lambda: _transformer(
            "ZImageTransformer2DModel",
            in_channels=4,
            dim=16,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=12,
            axes_dims=[4, 2, 2],
            axes_lens=[16, 16, 16],
        ),
        "ZImagePipeline",
    ),
    "lumina-2": Denoiser(
        lambda: _transformer(
            "Lumina2Transformer2DModel",
            sample_size=4,
            in_channels=4,
            hidden_size=16,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=2,
            num_kv_heads=1,
            multiple_of=8,
            axes_dim_rope=(4, 2, 2),
            cap_feat_dim=12,
        ),
        "Lumina2Pipeline",
    ),
    "krea-2": Denoiser(
        lambda: _transformer("Krea2Transformer2DModel", in_channels=4, num_layers=1, num_text_layers=3, **_KREA),
        "Krea2Pipeline",
    ),
    "hidream-i1": Denoiser(
        lambda: _transformer(
            "HiDreamImageTransformer2DModel",
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            caption_channels=[12, 8],
            text_emb_dim=16,
            num_routed_experts=2,
            num_activated_experts=1,
            axes_dims_rope=(4, 2, 2),
            max_resolution=(16, 16),
            llama_layers=(0, 1),
        ),
        "HiDreamImagePipeline",
    ),
    "ideogram-4": Denoiser(
        lambda: _transformer(
            "Ideogram4Transformer2DModel",
            in_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            intermediate_size=24,
            adaln_dim=8,
            llm_features_dim=12,
            rope_theta=10000,
            mrope_section=(2, 1, 1),
        ),
        "Ideogram4Pipeline",
    ),
    "sana": Denoiser(
        lambda: _transformer(
            "SanaTransformer2DModel",
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=12,
            sample_size=8,
        ),
        "SanaPipeline",
    ),
    "auraflow": Denoiser(
        lambda: _transformer(
            "AuraFlowTransformer2DModel",
            sample_size=8,
            in_channels=4,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=12,
            caption_projection_dim=16,
            out_channels=4,
            pos_embed_max_size=16,
        ),
        "AuraFlowPipeline",
    ),
    "wan": Denoiser(
        lambda: _transformer(
            "WanTransformer3DModel",
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=8,
            freq_dim=16,
            ffn_dim=32,
            num_layers=1,
            cross_attn_norm=True,
            rope_max_seq_len=32,
        ),
        "WanPipeline",
    ),
}
"""Every family with a small member, by its name in `FAMILIES`."""
