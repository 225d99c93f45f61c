"""Stable Diffusion 3 and 3.5: a transformer trained by flow matching, two CLIP text encoders and an optional T5."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lycoris.bases.conditioning import TextConditioning, require_pooled
from lycoris.bases.families.family import Components
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
from lycoris.bases.flow_matching import FlowMatching
from lycoris.bases.noise import ForwardProcess
from lycoris.bases.shapes import ImageSizes, Latents, Timesteps

if TYPE_CHECKING:
    from torch import Tensor

    from lycoris.bases.files.model_files import ModelFiles

T5_PARTS = {"text_encoder_3": "transformers.T5EncoderModel", "tokenizer_3": "transformers.AutoTokenizer"}
T5_MAX_LENGTH = 256
_LATENT_SCALE, _LATENT_SHIFT = 1.5305, 0.0609
_CLIP_G = "text_encoders.clip_g.transformer."


def _convert_transformer(module: Any, weights: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers

    return convert_sd3_transformer_checkpoint_to_diffusers(dict(weights))


class StableDiffusion3:
    """The Stable Diffusion 3 and 3.5 family; see `lycoris.bases.families.family.Family`.

    Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis". T5 is never adapted and
    may be absent: its states are then zeros, which the denoiser was trained with.
    """

    name = "stable-diffusion-3"
    models = "SD 3, SD 3.5"
    denoiser = "transformer"
    text_encoders: tuple[str, ...] = ("text_encoder", "text_encoder_2")
    forward_process: type[ForwardProcess] = FlowMatching
    upcasts_vae = False
    pipeline_class = "StableDiffusion3Pipeline"
    default_scheduler = "FlowMatchEulerDiscreteScheduler"
    layouts: Mapping[str, CheckpointLayout] = {
        "sd3": CheckpointLayout(
            "StableDiffusion3Pipeline",
            {
                "transformer": PartLayout(UNET_PREFIX, config_inference.sd3_transformer_config, _convert_transformer),
                "vae": PartLayout(
                    VAE_PREFIX,
                    lambda shapes: config_inference.vae_config(shapes, scale=_LATENT_SCALE, shift=_LATENT_SHIFT),
                    convert_vae,
                ),
                "text_encoder": openai_clip("text_encoders.clip_l.transformer."),
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
        ),
    }

    def __init__(self, components: Components) -> None:
        self._transformer = components.modules["transformer"]
        self._text = components.text_encoder()
        self._text_2 = components.text_encoder("_2", self._text.length)
        has_t5 = "text_encoder_3" in components.modules
        self._text_3 = components.text_encoder("_3", T5_MAX_LENGTH) if has_t5 else None
        self.pipeline_options: Mapping[str, Any] = {"text_encoder_3": None, "tokenizer_3": None}

    @staticmethod
    def matches(files: ModelFiles) -> bool:
        """Whether files are of this family, even if some are missing."""
        pipeline = files.model_index().get("_class_name")
        if pipeline is None:
            return files.has_part("transformer") and files.has_part("text_encoder_2")
        return re.fullmatch(r"StableDiffusion3\w*Pipeline", str(pipeline)) is not None

    @staticmethod
    def part_classes(files: ModelFiles) -> Mapping[str, str]:
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

    @staticmethod
    def digest_options(files: ModelFiles) -> str:
        """No option of the model index changes the output."""
        return ""

    def encode_text(self, prompts: Sequence[str]) -> TextConditioning:
        """The CLIPs' states, concatenated by width, T5's after them, and the CLIPs' pooled states."""
        first, pooled = self._text.penultimate_and_pooled(prompts)
        second, pooled_2 = self._text_2.penultimate_and_pooled(prompts)
        clip = torch.cat([first, second], dim=-1).float()
        width = self._transformer.config.joint_attention_dim
        if self._text_3 is None:
            t5 = clip.new_zeros(len(prompts), T5_MAX_LENGTH, width)
        else:
            t5 = self._text_3.last_hidden_states(prompts).float()
        clip = nn.functional.pad(clip, (0, width - clip.shape[-1]))
        return TextConditioning(torch.cat([clip, t5], dim=1), torch.cat([pooled, pooled_2], dim=-1).float())

    def predict(
        self, noisy: Latents, timesteps: Timesteps, conditioning: TextConditioning, size_conditioning: ImageSizes | None
    ) -> Latents:
        """Run the transformer, which predicts a velocity; it has no size conditioning."""
        hidden_states, pooled = conditioning.hidden_states, require_pooled(conditioning)
        return self._transformer(noisy, hidden_states, pooled, timesteps, return_dict=False)[0]
