"""Stable Diffusion 3 and 3.5: a transformer trained by flow matching, two CLIP text encoders and an optional T5."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lycoris.bases.conditioning import TextConditioning, require_pooled
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe
from lycoris.bases.files import config_inference
from lycoris.bases.files.checkpoint_layouts import (
    PAD_END,
    PAD_ZERO,
    UNET_PREFIX,
    VAE_PREFIX,
    CheckpointLayout,
    PartLayout,
    convert_vae,
    openai_clip,
    strip_prefix,
)
from lycoris.bases.files.original_tensors import clip_tensors, own_names, sd3_tensors, vae_tensors
from lycoris.bases.files.transformer_layouts import TransformerLayout, converter
from lycoris.bases.guidance import Guidance
from lycoris.bases.shapes import Latents

if TYPE_CHECKING:
    from torch import Tensor

    from lycoris.bases.files.model_files import ModelFiles

T5_PARTS = {"text_encoder_3": "transformers.T5EncoderModel", "tokenizer_3": "transformers.AutoTokenizer"}
T5_MAX_LENGTH = 256
_LATENT_SCALE, _LATENT_SHIFT = 1.5305, 0.0609
_CLIP_L, _CLIP_G = "text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer."
_T5 = "text_encoders.t5xxl.transformer."


def _convert_transformer(module: Any, weights: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers

    return convert_sd3_transformer_checkpoint_to_diffusers(dict(weights))


_LAYOUTS: Mapping[str, CheckpointLayout] = {
    "sd3": CheckpointLayout(
        "StableDiffusion3Pipeline",
        {
            "transformer": PartLayout(UNET_PREFIX, config_inference.sd3_transformer_config, _convert_transformer),
            "vae": PartLayout(
                VAE_PREFIX,
                lambda shapes: config_inference.vae_config(shapes, scale=_LATENT_SCALE, shift=_LATENT_SHIFT),
                convert_vae,
            ),
            "text_encoder": openai_clip(_CLIP_L),
            "text_encoder_2": PartLayout(
                _CLIP_G,
                lambda shapes: config_inference.clip_config(shapes, activation="gelu"),
                strip_prefix(_CLIP_G),
            ),
        },
        {"tokenizer": PAD_END, "tokenizer_2": PAD_ZERO},
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
        128,
        (_LATENT_SCALE, _LATENT_SHIFT),
        "stable-diffusion-3-medium",
        {
            "transformer": sd3_tensors(UNET_PREFIX),
            "vae": vae_tensors(VAE_PREFIX),
            "text_encoder": clip_tensors(_CLIP_L, projection=False),
            "text_encoder_2": clip_tensors(_CLIP_G),
            "text_encoder_3": own_names(_T5),
        },
    ),
}


def _matches(files: ModelFiles) -> bool:
    pipeline = files.model_index().get("_class_name")
    if pipeline is None:
        return files.has_part("transformer") and files.has_part("text_encoder_2")
    return re.fullmatch(r"StableDiffusion3\w*Pipeline", str(pipeline)) is not None


def _part_classes(files: ModelFiles) -> Mapping[str, str]:
    """Each part's class; T5's two where one of them is there."""
    classes = {
        "transformer": "diffusers.SD3Transformer2DModel",
        "vae": "diffusers.AutoencoderKL",
        "text_encoder": "transformers.CLIPTextModelWithProjection",
        "text_encoder_2": "transformers.CLIPTextModelWithProjection",
        "tokenizer": "transformers.CLIPTokenizer",
        "tokenizer_2": "transformers.CLIPTokenizer",
    }
    return classes | (T5_PARTS if any(files.has_part(part) for part in T5_PARTS) else {})


def _open(components: Components) -> ModelCalls:
    transformer, text = components.modules["transformer"], components.text_encoder()
    text_2 = components.text_encoder("_2", text.length)
    text_3 = components.text_encoder("_3", T5_MAX_LENGTH) if "text_encoder_3" in components.modules else None

    def encode_text(prompts: Sequence[str]) -> TextConditioning:
        """The CLIPs' states, concatenated by width, T5's after them, and the CLIPs' pooled states."""
        first, pooled = text.penultimate_and_pooled(prompts)
        second, pooled_2 = text_2.penultimate_and_pooled(prompts)
        clip = torch.cat([first, second], dim=-1).float()
        width = transformer.config.joint_attention_dim
        if text_3 is None:
            t5 = clip.new_zeros(len(prompts), T5_MAX_LENGTH, width)
        else:
            t5 = text_3.last_hidden_states(prompts).float()
        clip = nn.functional.pad(clip, (0, width - clip.shape[-1]))
        return TextConditioning(torch.cat([clip, t5], dim=1), torch.cat([pooled, pooled_2], dim=-1).float())

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the transformer, which predicts a velocity."""
        hidden_states, pooled = inputs.conditioning.hidden_states, require_pooled(inputs.conditioning)
        return transformer(inputs.noisy, hidden_states, pooled, inputs.timesteps, return_dict=False)[0]

    return ModelCalls(encode_text, predict, Guidance(is_batched=True))


STABLE_DIFFUSION_3 = Family(
    name="stable-diffusion-3",
    models="SD 3, SD 3.5",
    pipeline_class="StableDiffusion3Pipeline",
    matches=_matches,
    part_classes=_part_classes,
    open=_open,
    transformer_file=TransformerLayout(
        ("joint_blocks.0.context_block.adaLN_modulation.1.bias",),
        converter("convert_sd3_transformer_checkpoint_to_diffusers"),
        "stabilityai/stable-diffusion-3.5-medium",
        {"clip_l": "text_encoder", "clip_g": "text_encoder_2", "t5xxl": "text_encoder_3"},
    ),
    text_encoders=("text_encoder", "text_encoder_2"),
    layouts=_LAYOUTS,
    pipeline_options=lambda _: {"text_encoder_3": None, "tokenizer_3": None},
    patch_size=2,
    recipe=Recipe(
        rank=16,
        steps=2000,
        source="ai-toolkit, config/examples/train_lora_sd35_large_24gb.yaml",
        timestep_density="uniform",
    ),
)
"""Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis".

T5 is never adapted and may be absent: its states are then zeros, which the denoiser was trained with.
"""
