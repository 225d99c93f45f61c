"""Stable Diffusion 1.x and 2.x: one CLIP text encoder and a UNet with epsilon- or v-prediction."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lycoris.bases.conditioning import TextConditioning
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
from lycoris.bases.noise import DiscreteDiffusion, ForwardProcess
from lycoris.bases.shapes import ImageSizes, Latents, Timesteps

if TYPE_CHECKING:
    from lycoris.bases.files.model_files import ModelFiles

_OPEN_CLIP = "cond_stage_model.model."
_LATENT_SCALE = 0.18215
_VAE = PartLayout(VAE_PREFIX, lambda shapes: config_inference.vae_config(shapes, scale=_LATENT_SCALE), convert_vae)


class StableDiffusion:
    """The Stable Diffusion 1.x and 2.x family; see `lycoris.bases.families.family.Family`.

    Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models".
    """

    name = "stable-diffusion"
    models = "the pocket, SD 1.x, SD 2.x"
    denoiser = "unet"
    text_encoders: tuple[str, ...] = ("text_encoder",)
    forward_process: type[ForwardProcess] = DiscreteDiffusion
    upcasts_vae = False
    pipeline_class = "StableDiffusionPipeline"
    default_scheduler = "DDIMScheduler"
    layouts: Mapping[str, CheckpointLayout] = {
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
        ),
    }

    def __init__(self, components: Components) -> None:
        self._unet = components.modules["unet"]
        self._text = components.text_encoder()
        self.pipeline_options: Mapping[str, Any] = {
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        }

    @staticmethod
    def matches(files: ModelFiles) -> bool:
        """Whether files are of this family, even if some are missing."""
        pipeline = str(files.model_index().get("_class_name", "StableDiffusionPipeline"))
        return bool(re.fullmatch(r"StableDiffusion(?!3|XL)\w*Pipeline", pipeline)) and not files.has_part(
            "text_encoder_2"
        )

    @staticmethod
    def part_classes(files: ModelFiles) -> Mapping[str, str]:
        """Each part's class."""
        return {
            "unet": "diffusers.UNet2DConditionModel",
            "vae": "diffusers.AutoencoderKL",
            "text_encoder": "transformers.CLIPTextModel",
            "tokenizer": "transformers.CLIPTokenizer",
        }

    @staticmethod
    def digest_options(files: ModelFiles) -> str:
        """No option of the model index changes the output."""
        return ""

    def encode_text(self, prompts: Sequence[str]) -> TextConditioning:
        """The last hidden states of the text encoder."""
        return TextConditioning(self._text.last_hidden_states(prompts).float())

    def predict(
        self, noisy: Latents, timesteps: Timesteps, conditioning: TextConditioning, size_conditioning: ImageSizes | None
    ) -> Latents:
        """Run the UNet; it has no size conditioning."""
        return self._unet(noisy, timesteps, conditioning.hidden_states, return_dict=False)[0]
