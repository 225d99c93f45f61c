"""Small random pipelines of FLUX, Z-Image, Qwen-Image, Chroma and Krea 2."""

from __future__ import annotations

from typing import Any

import torch

from tests.bases.small_base import small_tokenizer
from tests.bases.small_families import small_clip_config
from tests.bases.small_parts import (
    SHIFT_BY_SIZE,
    byte_tokenizer,
    flux_2_vae,
    plain_vae,
    qwen_vae,
    schedule,
    small_qwen_3,
    small_qwen_3_vl,
    small_t5,
    word_tokenizer,
)


def flux_1(guidance_embeds: bool = True, **scheduler: Any):
    from diffusers import FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel

    tokenizer = small_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=24, axes_dims_rope=(4, 4, 8), guidance_embeds=guidance_embeds,
    )  # fmt: skip
    return FluxPipeline(
        scheduler=schedule(**(scheduler or SHIFT_BY_SIZE)),
        vae=plain_vae(),
        text_encoder=CLIPTextModel(small_clip_config(tokenizer, 24)),
        tokenizer=tokenizer,
        text_encoder_2=small_t5(),
        tokenizer_2=word_tokenizer(),
        transformer=transformer,
    )


def schnell():
    return flux_1(guidance_embeds=False, shift=1.0)


def flux_2_transformer(width: int, guidance_embeds: bool):
    from diffusers import Flux2Transformer2DModel

    return Flux2Transformer2DModel(
        patch_size=1, in_channels=8, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=width, timestep_guidance_channels=32, axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance_embeds,
    )  # fmt: skip


def klein(is_distilled: bool = False):
    from diffusers import Flux2KleinPipeline
    from transformers import Qwen3ForCausalLM

    return Flux2KleinPipeline(
        scheduler=schedule(**SHIFT_BY_SIZE),
        vae=flux_2_vae(),
        text_encoder=small_qwen_3(Qwen3ForCausalLM, 28),
        tokenizer=byte_tokenizer(),
        transformer=flux_2_transformer(48, guidance_embeds=False),
        is_distilled=is_distilled,
    )


def flux_2_dev():
    from diffusers import Flux2Pipeline
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    config = Mistral3Config(
        text_config={
            "model_type": "mistral", "vocab_size": 300, "hidden_size": 16, "intermediate_size": 16,
            "num_attention_heads": 2, "num_hidden_layers": 31, "num_key_value_heads": 1, "head_dim": 8,
        },
        vision_config={
            "model_type": "pixtral", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "image_size": 12, "patch_size": 6,
        },
        image_token_index=5,
    )  # fmt: skip
    return Flux2Pipeline(
        scheduler=schedule(**SHIFT_BY_SIZE),
        vae=flux_2_vae(),
        text_encoder=Mistral3ForConditionalGeneration(config),
        tokenizer=byte_tokenizer(),
        transformer=flux_2_transformer(48, guidance_embeds=True),
    )


def z_image():
    from diffusers import ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Model

    transformer = ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2,
        n_kv_heads=2, cap_feat_dim=16, axes_dims=[8, 4, 4], axes_lens=[512, 32, 32],
    )  # fmt: skip
    with torch.no_grad():
        transformer.x_pad_token.normal_()
        transformer.cap_pad_token.normal_()
    return ZImagePipeline(
        scheduler=schedule(shift=3.0),
        vae=plain_vae(),
        text_encoder=small_qwen_3(Qwen3Model, 2),
        tokenizer=byte_tokenizer(),
        transformer=transformer,
    )


def qwen_image():
    from diffusers import QwenImagePipeline, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "vocab_size": 300, "rope_theta": 1e6,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
        },
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16},
    )  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, guidance_embeds=False, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    return QwenImagePipeline(
        scheduler=schedule(**SHIFT_BY_SIZE, shift_terminal=0.02),
        vae=qwen_vae(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=byte_tokenizer(),
        transformer=transformer,
    )


def chroma():
    from diffusers import ChromaPipeline, ChromaTransformer2DModel

    transformer = ChromaTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, axes_dims_rope=(4, 4, 8), approximator_hidden_dim=32, approximator_layers=1,
        approximator_num_channels=16,
    )  # fmt: skip
    return ChromaPipeline(
        scheduler=schedule(use_dynamic_shifting=False, shift=1.0),
        vae=plain_vae(),
        text_encoder=small_t5(),
        tokenizer=word_tokenizer(),
        transformer=transformer,
    )


def krea_2():
    from diffusers import Krea2Pipeline, Krea2Transformer2DModel

    transformer = Krea2Transformer2DModel(
        in_channels=16, num_layers=1, attention_head_dim=8, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=32, timestep_embed_dim=8, text_hidden_dim=16, num_text_layers=3, text_num_attention_heads=2,
        text_num_key_value_heads=1, text_intermediate_size=16, num_layerwise_text_blocks=1, num_refiner_text_blocks=1,
        axes_dims_rope=(4, 2, 2),
    )  # fmt: skip
    return Krea2Pipeline(
        scheduler=schedule(**SHIFT_BY_SIZE),
        vae=qwen_vae(),
        text_encoder=small_qwen_3_vl(2),
        tokenizer=byte_tokenizer(),
        transformer=transformer,
        text_encoder_select_layers=(0, 1, 2),
    )
