"""Stable Diffusion XL: two CLIP text encoders, and a UNet conditioned on a pooled text state and on image sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.conditioning import TextConditioning, require_pooled
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, parts_of
from lycoris.bases.files import config_inference
from lycoris.bases.files.checkpoint_layouts import (
    DDIM_CONFIG,
    PAD_END,
    PAD_ZERO,
    UNET_PREFIX,
    VAE_PREFIX,
    CheckpointLayout,
    PartLayout,
    convert_open_clip,
    convert_unet,
    convert_vae,
    openai_clip,
)
from lycoris.bases.files.original_tensors import clip_tensors, open_clip_tensors, unet_tensors, vae_tensors
from lycoris.bases.guidance import Guidance
from lycoris.bases.latent_codec import default_size_conditioning
from lycoris.bases.noise import DiscreteDiffusion
from lycoris.bases.shapes import Latents
from lycoris.errors import InputError

if TYPE_CHECKING:
    from lycoris.bases.files.model_files import ModelFiles

_LATENT_SCALE = 0.13025
_CLIP_L, _CLIP_G = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."


_LAYOUTS: Mapping[str, CheckpointLayout] = {
    "sdxl": CheckpointLayout(
        "StableDiffusionXLPipeline",
        {
            "unet": PartLayout(
                UNET_PREFIX, lambda shapes: config_inference.unet_config(shapes, eight_heads=False), convert_unet
            ),
            "vae": PartLayout(
                VAE_PREFIX, lambda shapes: config_inference.vae_config(shapes, scale=_LATENT_SCALE), convert_vae
            ),
            "text_encoder": openai_clip(_CLIP_L),
            "text_encoder_2": PartLayout(
                _CLIP_G,
                lambda shapes: config_inference.open_clip_config(shapes, drop_last_layer=False),
                convert_open_clip(_CLIP_G),
            ),
        },
        {"tokenizer": PAD_END, "tokenizer_2": PAD_ZERO},
        DDIM_CONFIG,
        128,
        (_LATENT_SCALE, None),
        "stable-diffusion-xl-v1-base",
        {
            "unet": unet_tensors(UNET_PREFIX),
            "vae": vae_tensors(VAE_PREFIX),
            "text_encoder": clip_tensors(_CLIP_L),
            "text_encoder_2": open_clip_tensors(_CLIP_G),
        },
    ),
}


def _matches(files: ModelFiles) -> bool:
    pipeline = files.model_index().get("_class_name")
    if pipeline is None:
        return files.has_part("text_encoder_2") and not files.has_part("transformer")
    return re.fullmatch(r"StableDiffusionXL\w*Pipeline", str(pipeline)) is not None


def _open(components: Components) -> ModelCalls:
    """See `lycoris.bases.families.family.Family.open`.

    Raises:
        InputError: the UNet is conditioned on something other than sizes (the refiner).
    """
    _check_size_conditioning(components)
    unet, text, text_2 = components.modules["unet"], components.text_encoder(), components.text_encoder("_2")
    zeros_for_empty = _zeros_for_empty(components.model_index)

    def encode_text(prompts: Sequence[str]) -> TextConditioning:
        """Both encoders' penultimate hidden states, concatenated by width, and the second one's pooled state.

        The empty prompt is zeros where ``model_index.json`` has `force_zeros_for_empty_prompt`, as SDXL was trained.
        """
        first = text.penultimate_hidden_states(prompts)
        second, pooled = text_2.penultimate_and_pooled(prompts)
        hidden_states, pooled = torch.cat([first, second], dim=-1).float(), pooled.float()
        if zeros_for_empty and "" in prompts:
            mask = torch.tensor([float(prompt != "") for prompt in prompts], device=hidden_states.device)
            hidden_states, pooled = hidden_states * mask[:, None, None], pooled * mask[:, None]
        return TextConditioning(hidden_states, pooled)

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the UNet for images of these sizes."""
        sizes = inputs.sizes
        if sizes is None:
            sizes = default_size_conditioning(inputs.noisy, components.vae_scale_factor)
        added = {"text_embeds": require_pooled(inputs.conditioning), "time_ids": sizes}
        states = inputs.conditioning.hidden_states
        return unet(inputs.noisy, inputs.timesteps, states, added_cond_kwargs=added, return_dict=False)[0]

    return ModelCalls(encode_text, predict, Guidance(is_batched=True))


def _zeros_for_empty(model_index: Mapping[str, Any]) -> bool:
    """Whether the empty prompt is encoded as zeros, the default."""
    return bool(model_index.get("force_zeros_for_empty_prompt", True))


def _check_size_conditioning(components: Components) -> None:
    config = components.modules["unet"].config
    actual = config.projection_class_embeddings_input_dim or 0
    pooled_width = components.modules["text_encoder_2"].config.projection_dim
    expected = pooled_width + 6 * (config.addition_time_embed_dim or 0)
    if config.addition_embed_type != "text_time" or actual != expected:
        raise InputError(
            f"The UNet of base `{components.source}` must take a pooled state and six sizes ({expected} numbers), "
            f"but takes {actual} of kind {config.addition_embed_type}; the refiner is not supported."
        )


STABLE_DIFFUSION_XL = Family(
    name="stable-diffusion-xl",
    models="SDXL base and models tuned from it",
    pipeline_class="StableDiffusionXLPipeline",
    matches=_matches,
    part_classes=parts_of(
        unet="diffusers.UNet2DConditionModel",
        vae="diffusers.AutoencoderKL",
        text_encoder="transformers.CLIPTextModel",
        text_encoder_2="transformers.CLIPTextModelWithProjection",
        tokenizer="transformers.CLIPTokenizer",
        tokenizer_2="transformers.CLIPTokenizer",
    ),
    open=_open,
    denoiser="unet",
    text_encoders=("text_encoder", "text_encoder_2"),
    forward_process=DiscreteDiffusion,
    upcasts_vae=True,
    default_scheduler="EulerDiscreteScheduler",
    layouts=_LAYOUTS,
    pipeline_options=lambda index: {
        "force_zeros_for_empty_prompt": _zeros_for_empty(index),
        "add_watermarker": False,
    },
    digest_options=lambda files: f"zeros for the empty prompt: {_zeros_for_empty(files.model_index())}",
    recipe=Recipe(
        rank=32,
        alpha=16,
        steps=500,
        accumulation=4,
        source="sd-scripts, sdxl_train_network.md; steps: diffusers, examples/dreambooth/README_sdxl.md",
    ),
)
"""Podell et al., "SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis"."""
