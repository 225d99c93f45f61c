"""Stable Diffusion XL: two CLIP text encoders, and a UNet conditioned on a pooled text state and on image sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.conditioning import TextConditioning, require_pooled
from lycoris.bases.families.family import Components
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
from lycoris.bases.latent_codec import default_size_conditioning
from lycoris.bases.noise import DiscreteDiffusion, ForwardProcess
from lycoris.bases.shapes import ImageSizes, Latents, Timesteps
from lycoris.errors import InputError

if TYPE_CHECKING:
    from lycoris.bases.files.model_files import ModelFiles

_LATENT_SCALE = 0.13025
_CLIP_L, _CLIP_G = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."


class StableDiffusionXL:
    """The Stable Diffusion XL family; see `lycoris.bases.families.family.Family`.

    Podell et al., "SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis".

    Raises:
        InputError: the UNet is conditioned on something other than sizes (the refiner).
    """

    name = "stable-diffusion-xl"
    models = "SDXL base and models tuned from it"
    denoiser = "unet"
    text_encoders: tuple[str, ...] = ("text_encoder", "text_encoder_2")
    forward_process: type[ForwardProcess] = DiscreteDiffusion
    upcasts_vae = True
    pipeline_class = "StableDiffusionXLPipeline"
    default_scheduler = "EulerDiscreteScheduler"
    layouts: Mapping[str, CheckpointLayout] = {
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
        ),
    }

    def __init__(self, components: Components) -> None:
        self._unet = components.modules["unet"]
        self._vae_scale_factor = components.vae_scale_factor
        _check_size_conditioning(components)
        self._text, self._text_2 = components.text_encoder(), components.text_encoder("_2")
        self._zeros_for_empty = _zeros_for_empty(components.model_index)
        self.pipeline_options: Mapping[str, Any] = {
            "force_zeros_for_empty_prompt": self._zeros_for_empty,
            "add_watermarker": False,
        }

    @staticmethod
    def matches(files: ModelFiles) -> bool:
        """Whether files are of this family, even if some are missing."""
        pipeline = files.model_index().get("_class_name")
        if pipeline is None:
            return files.has_part("text_encoder_2") and not files.has_part("transformer")
        return re.fullmatch(r"StableDiffusionXL\w*Pipeline", str(pipeline)) is not None

    @staticmethod
    def part_classes(files: ModelFiles) -> Mapping[str, str]:
        """Each part's class."""
        return {
            "unet": "diffusers.UNet2DConditionModel",
            "vae": "diffusers.AutoencoderKL",
            "text_encoder": "transformers.CLIPTextModel",
            "text_encoder_2": "transformers.CLIPTextModelWithProjection",
            "tokenizer": "transformers.CLIPTokenizer",
            "tokenizer_2": "transformers.CLIPTokenizer",
        }

    @staticmethod
    def digest_options(files: ModelFiles) -> str:
        """How the empty prompt is encoded."""
        return f"zeros for the empty prompt: {_zeros_for_empty(files.model_index())}"

    def encode_text(self, prompts: Sequence[str]) -> TextConditioning:
        """Both encoders' penultimate hidden states, concatenated by width, and the second one's pooled state.

        The empty prompt is zeros where ``model_index.json`` has `force_zeros_for_empty_prompt`, as SDXL was trained.
        """
        first = self._text.penultimate_hidden_states(prompts)
        second, pooled = self._text_2.penultimate_and_pooled(prompts)
        hidden_states, pooled = torch.cat([first, second], dim=-1).float(), pooled.float()
        if self._zeros_for_empty and "" in prompts:
            mask = torch.tensor([float(prompt != "") for prompt in prompts], device=hidden_states.device)
            hidden_states, pooled = hidden_states * mask[:, None, None], pooled * mask[:, None]
        return TextConditioning(hidden_states, pooled)

    def predict(
        self, noisy: Latents, timesteps: Timesteps, conditioning: TextConditioning, size_conditioning: ImageSizes | None
    ) -> Latents:
        """Run the UNet for images of these sizes."""
        if size_conditioning is None:
            size_conditioning = default_size_conditioning(noisy, self._vae_scale_factor)
        added = {"text_embeds": require_pooled(conditioning), "time_ids": size_conditioning}
        states = conditioning.hidden_states
        return self._unet(noisy, timesteps, states, added_cond_kwargs=added, return_dict=False)[0]


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
