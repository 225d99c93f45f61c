"""Stable Diffusion 1.x and 2.x: one CLIP text encoder and a UNet with epsilon- or v-prediction."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lycoris.bases.conditioning import TextConditioning
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, parts_of
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
from lycoris.bases.noise import DiscreteDiffusion
from lycoris.bases.shapes import Latents

if TYPE_CHECKING:
    from lycoris.bases.files.model_files import ModelFiles

_OPEN_CLIP = "cond_stage_model.model."
_LATENT_SCALE = 0.18215
_VAE = PartLayout(VAE_PREFIX, lambda shapes: config_inference.vae_config(shapes, scale=_LATENT_SCALE), convert_vae)


_LAYOUTS: Mapping[str, CheckpointLayout] = {
    "sd1": CheckpointLayout(
        "StableDiffusionPipeline",
        {
            "unet": PartLayout(
                UNET_PREFIX, lambda shapes: config_inference.unet_config(shapes, eight_heads=True), convert_unet
            ),
            "vae": _VAE,
            "text_encoder": openai_clip("cond_stage_model.transformer."),
        },
        {"tokenizer": PAD_END},
        DDIM_CONFIG,
        64,
        (_LATENT_SCALE, None),
        "stable-diffusion-v1",
        {
            "unet": unet_tensors(UNET_PREFIX),
            "vae": vae_tensors(VAE_PREFIX),
            "text_encoder": clip_tensors("cond_stage_model.transformer."),
        },
    ),
    "sd2": CheckpointLayout(
        "StableDiffusionPipeline",
        {
            "unet": PartLayout(
                UNET_PREFIX, lambda shapes: config_inference.unet_config(shapes, eight_heads=False), convert_unet
            ),
            "vae": _VAE,
            "text_encoder": PartLayout(
                _OPEN_CLIP,
                lambda shapes: config_inference.open_clip_config(shapes, drop_last_layer=True),
                convert_open_clip(_OPEN_CLIP),
            ),
        },
        {"tokenizer": PAD_ZERO},
        DDIM_CONFIG,
        64,
        (_LATENT_SCALE, None),
        "stable-diffusion-v2",
        {
            "unet": unet_tensors(UNET_PREFIX),
            "vae": vae_tensors(VAE_PREFIX),
            "text_encoder": open_clip_tensors(_OPEN_CLIP, repeat_last_layer=True),
        },
    ),
}


def _matches(files: ModelFiles) -> bool:
    pipeline = str(files.model_index().get("_class_name", "StableDiffusionPipeline"))
    return bool(re.fullmatch(r"StableDiffusion(?!3|XL)\w*Pipeline", pipeline)) and not files.has_part("text_encoder_2")


def _open(components: Components) -> ModelCalls:
    unet, text = components.modules["unet"], components.text_encoder()

    def encode_text(prompts: Sequence[str]) -> TextConditioning:
        """The last hidden states of the text encoder."""
        return TextConditioning(text.last_hidden_states(prompts).float())

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the UNet; it has no size conditioning."""
        return unet(inputs.noisy, inputs.timesteps, inputs.conditioning.hidden_states, return_dict=False)[0]

    return ModelCalls(encode_text, predict, Guidance(is_batched=True))


STABLE_DIFFUSION = Family(
    name="stable-diffusion",
    models="the pocket, SD 1.x, SD 2.x",
    pipeline_class="StableDiffusionPipeline",
    matches=_matches,
    part_classes=parts_of(
        unet="diffusers.UNet2DConditionModel",
        vae="diffusers.AutoencoderKL",
        text_encoder="transformers.CLIPTextModel",
        tokenizer="transformers.CLIPTokenizer",
    ),
    open=_open,
    denoiser="unet",
    text_encoders=("text_encoder",),
    forward_process=DiscreteDiffusion,
    default_scheduler="DDIMScheduler",
    layouts=_LAYOUTS,
    pipeline_options=lambda _: {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
)
"""Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models"."""
