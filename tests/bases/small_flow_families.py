"""A small random model of every family that is trained by flow matching, saved in the diffusers layout.

All have images of 32 pixels and 4 to 64 tokens of an image; the text encoders have as many layers as are read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.bases.small_base import small_tokenizer
from tests.bases.small_families import save_small_auraflow, small_clip_config, small_vae
from tests.bases.small_parts import (
    byte_tokenizer,
    flux_2_vae,
    gemma_tokenizer,
    plain_vae,
    schedule,
    small_gemma,
    small_qwen_3_vl,
    small_t5,
    small_umt5,
    word_tokenizer,
)
from tests.bases.small_transformers import (
    chroma,
    flux_1,
    flux_2_dev,
    klein,
    krea_2,
    qwen_image,
    schnell,
    z_image,
)


def ernie():
    from diffusers import ErnieImagePipeline, ErnieImageTransformer2DModel
    from transformers import Mistral3Config, Mistral3Model

    config = Mistral3Config(
        text_config={
            "model_type": "ministral3", "vocab_size": 300, "hidden_size": 16, "intermediate_size": 16,
            "num_attention_heads": 2, "num_hidden_layers": 2, "num_key_value_heads": 1, "head_dim": 8,
        },
        vision_config={
            "model_type": "pixtral", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "image_size": 12, "patch_size": 6,
        },
        image_token_index=5,
    )  # fmt: skip
    transformer = ErnieImageTransformer2DModel(
        hidden_size=32, num_attention_heads=2, num_layers=1, ffn_hidden_size=32, in_channels=8, out_channels=8,
        patch_size=1, text_in_dim=16, rope_axes_dim=(4, 6, 6),
    )  # fmt: skip
    return ErnieImagePipeline(
        transformer=transformer,
        vae=flux_2_vae(),
        text_encoder=Mistral3Model(config),
        tokenizer=byte_tokenizer(),
        scheduler=schedule(shift=3.0),
    )


def ideogram_4():
    from diffusers import Ideogram4Pipeline, Ideogram4Transformer2DModel
    from diffusers.pipelines.ideogram4.pipeline_ideogram4 import QWEN3_VL_ACTIVATION_LAYERS

    transformers = [
        Ideogram4Transformer2DModel(
            in_channels=8, num_layers=1, attention_head_dim=8, num_attention_heads=2, intermediate_size=32,
            adaln_dim=16, llm_features_dim=len(QWEN3_VL_ACTIVATION_LAYERS) * 16, rope_theta=10000,
            mrope_section=(2, 1, 1),
        )
        for _ in range(2)
    ]  # fmt: skip
    return Ideogram4Pipeline(
        scheduler=schedule(),
        vae=flux_2_vae(),
        text_encoder=small_qwen_3_vl(max(QWEN3_VL_ACTIVATION_LAYERS) + 1),
        tokenizer=byte_tokenizer(),
        transformer=transformers[0],
        unconditional_transformer=transformers[1],
    )


def lumina_2():
    from diffusers import Lumina2Pipeline, Lumina2Transformer2DModel

    tokenizer = gemma_tokenizer()
    transformer = Lumina2Transformer2DModel(
        sample_size=4, patch_size=2, in_channels=4, hidden_size=16, num_layers=1, num_refiner_layers=1,
        num_attention_heads=2, num_kv_heads=1, multiple_of=16, scaling_factor=1.0, axes_dim_rope=(4, 2, 2),
        cap_feat_dim=16,
    )  # fmt: skip
    blocks = {"block_out_channels": (4, 4, 4, 8), "down_block_types": ["DownEncoderBlock2D"] * 4}
    return Lumina2Pipeline(
        transformer=transformer,
        scheduler=schedule(shift=6.0),
        vae=small_vae(scaling_factor=0.4, shift_factor=0.1, up_block_types=["UpDecoderBlock2D"] * 4, **blocks),
        text_encoder=small_gemma(tokenizer),
        tokenizer=tokenizer,
    )


def sana():
    from diffusers import AutoencoderDC, SanaPipeline, SanaTransformer2DModel

    tokenizer = gemma_tokenizer()
    transformer = SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=8,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=16,
        sample_size=8,
    )  # fmt: skip
    vae = AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=4, encoder_qkv_multiscales=((), (), (5,)),
        encoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8, 8), decoder_block_out_channels=(8, 8, 8),
        decoder_qkv_multiscales=((), (), (5,)), encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1), downsample_block_type="conv", upsample_block_type="interpolate",
        decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=0.4,
    )  # fmt: skip
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=small_gemma(tokenizer),
        vae=vae,
        transformer=transformer,
        scheduler=schedule(shift=3.0),
    )


def wan():
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel

    vae = AutoencoderKLWan(
        base_dim=4, z_dim=4, dim_mult=[1, 2, 2], num_res_blocks=1, temperal_downsample=[False, True],
        latents_mean=[0.1, -0.2, 0.3, 0], latents_std=[0.5, 0.8, 1, 1.2], scale_factor_spatial=4,
    )  # fmt: skip
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=32,
        freq_dim=32, ffn_dim=32, num_layers=1, cross_attn_norm=True, qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )  # fmt: skip
    tokenizer = word_tokenizer()
    return WanPipeline(
        transformer=transformer,
        vae=vae,
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        text_encoder=small_umt5(tokenizer),
        tokenizer=tokenizer,
        transformer_2=None,
    )


def hidream():
    from diffusers import HiDreamImagePipeline, HiDreamImageTransformer2DModel
    from transformers import CLIPTextModelWithProjection, LlamaConfig, LlamaForCausalLM

    clips = [small_tokenizer(128), small_tokenizer(128)]
    llama = byte_tokenizer()
    transformer = HiDreamImageTransformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=4, caption_channels=[32, 16], text_emb_dim=48, num_routed_experts=4,
        num_activated_experts=2, axes_dims_rope=(4, 2, 2), max_resolution=(16, 16), llama_layers=(0, 1),
    )  # fmt: skip
    encoders = [CLIPTextModelWithProjection(small_clip_config(clip, 24, max_position_embeddings=128)) for clip in clips]
    pipeline = HiDreamImagePipeline(
        scheduler=schedule(shift=3.0),
        vae=plain_vae(),
        text_encoder=encoders[0],
        tokenizer=clips[0],
        text_encoder_2=encoders[1],
        tokenizer_2=clips[1],
        text_encoder_3=small_t5(),
        tokenizer_3=word_tokenizer(),
        text_encoder_4=LlamaForCausalLM(
            LlamaConfig(
                vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
                num_key_value_heads=1,
            )
        ),
        tokenizer_4=llama,
        transformer=transformer,
    )  # fmt: skip
    return pipeline


def auraflow():
    from diffusers import AuraFlowPipeline

    with tempfile.TemporaryDirectory() as folder:
        return AuraFlowPipeline.from_pretrained(save_small_auraflow(Path(folder)))


def auraflow_clip():
    """The pipeline of the flow pocket: a CLIP text model of 12 tokens in UMT5's place."""
    from diffusers import AuraFlowPipeline
    from transformers import CLIPTextModel

    parts, tokenizer = auraflow().components, small_tokenizer()
    text = CLIPTextModel(small_clip_config(tokenizer, 40))
    return AuraFlowPipeline(**{**parts, "tokenizer": tokenizer, "text_encoder": text})


ROLE_PRESETS = ("attn-only", "feed-forward", "attn-mlp", "modulation", "embedder", "full")
"""Presets by what a layer does, and those that join them."""


@dataclass(frozen=True)
class FlowCase:
    """A family and what is expected of it.

    Attributes:
        build: builds its small pipeline.
        family: key in `BASES`.
        architecture: of a file's header.
        guided: our guidance scale → arguments of the pipeline's call.
        layers: how many of the transformer's layers each of `ROLE_PRESETS` chooses.
        is_guided: whether its transformer is called with the negative prompt as well.
        wide: height and width of an image that is not square; HiDream's pipeline scales others to another area.
        format: of the file that diffusers opens; its reader of Lumina 2's default one expects the published sizes.
    """

    build: Callable[[], Any]
    family: str
    architecture: str
    guided: Callable[[float], dict[str, Any]]
    layers: tuple[int, ...]
    is_guided: bool = True
    wide: tuple[int, int] = (32, 64)
    format: str | None = None

    def save(self, folder: Path) -> Path:
        torch.manual_seed(0)
        pipeline = self.build()
        for weight in pipeline.transformer.parameters():
            if not weight.any():  # a zero gate would hide what is behind it
                torch.nn.init.normal_(weight, std=0.1)
        pipeline.save_pretrained(folder)
        return folder


def from_one(scale: float) -> dict[str, Any]:
    return {"guidance_scale": scale}


def from_zero(scale: float) -> dict[str, Any]:
    return {"guidance_scale": scale - 1}


def for_every_step(scale: float) -> dict[str, Any]:
    return {"guidance_scale": scale, "guidance_schedule": None}


def true_cfg(scale: float) -> dict[str, Any]:
    return {"true_cfg_scale": scale}


FLOW_CASES = {
    "klein": FlowCase(klein, "flux-2-klein", "flux-2", from_one, (10, 4, 14, 4, 5, 23)),
    "flux-2-dev": FlowCase(flux_2_dev, "flux-2-dev", "flux-2", from_one, (10, 4, 14, 4, 7, 25), is_guided=False),
    "z-image": FlowCase(z_image, "z-image", "Z-Image", from_zero, (12, 9, 21, 3, 5, 29)),
    "qwen-image": FlowCase(qwen_image, "qwen-image", "Qwen-Image", true_cfg, (8, 4, 12, 3, 5, 20)),
    "flux-1": FlowCase(flux_1, "flux-1", "flux-1-dev", from_one, (11, 6, 17, 4, 9, 30), is_guided=False),
    "schnell": FlowCase(schnell, "flux-1", "flux-1-dev", true_cfg, (11, 6, 17, 4, 7, 28)),
    "chroma": FlowCase(chroma, "chroma", "chroma", from_one, (11, 6, 17, 4, 3, 24)),
    "ernie": FlowCase(ernie, "ernie-image", "ernie-image", from_one, (4, 3, 7, 2, 5, 14)),
    "ideogram-4": FlowCase(
        ideogram_4, "ideogram-4", "ideogram-4", for_every_step, (4, 3, 7, 3, 5, 15), is_guided=False
    ),
    "lumina-2": FlowCase(lumina_2, "lumina-2", "lumina-2", from_one, (12, 9, 21, 3, 5, 29), format="diffusers"),
    "hidream": FlowCase(hidream, "hidream", "hidream-i1", from_one, (12, 33, 45, 3, 9, 57), wide=(16, 48)),
    "sana": FlowCase(sana, "sana", "sana", from_one, (8, 2, 10, 1, 6, 18)),
    "auraflow": FlowCase(auraflow, "auraflow", "auraflow", from_one, (12, 9, 21, 4, 5, 30)),
    "auraflow-clip": FlowCase(
        auraflow_clip,
        "auraflow",
        "auraflow",
        lambda scale: {"guidance_scale": scale, "max_sequence_length": 12},
        (12, 9, 21, 4, 5, 30),
    ),
    "wan": FlowCase(wan, "wan", "wan2.1", from_one, (8, 2, 10, 1, 6, 17)),
    "krea-2": FlowCase(krea_2, "krea-2", "krea-2", from_zero, (15, 9, 24, 1, 7, 32)),
}
"""Every family, by the name in test ids."""
