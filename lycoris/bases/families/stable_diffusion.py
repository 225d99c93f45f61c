"""Stable Diffusion 1.x and 2.x: a CLIP text encoder, a VAE and a UNet, epsilon- or v-prediction."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lycoris.bases.conditioning import TextConditioning
from lycoris.bases.files.model_files import ModelFiles
from lycoris.bases.files.model_loading import autocast, freeze, resolve_device, resolve_dtype, silence_transformers
from lycoris.bases.latents import LatentCodec, native_resolution
from lycoris.bases.noise import DiscreteDiffusion
from lycoris.bases.text_encoding import TextEncoder, max_prompt_length

if TYPE_CHECKING:
    from jaxtyping import Float, Num
    from torch import Tensor

PARTS = {
    "unet": "weights",
    "vae": "weights",
    "text_encoder": "weights",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}


class StableDiffusion:
    """A base of the Stable Diffusion 1.x and 2.x family; see `lycoris.bases.Base` for the face.

    Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models".

    Args:
        files: where its parts are.
        source: the name to report; the files' path when left out.
        device: a torch device or ``"auto"``.
        dtype: `float32`, `bfloat16`, `float16` or ``"auto"``.

    Raises:
        InputError: a part is missing or incomplete, or the UNet and the VAE do not belong together.
    """

    family = "stable-diffusion"

    def __init__(self, files: ModelFiles, source: str | None = None, device: str = "auto", dtype: str = "auto") -> None:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        files.check_parts(PARTS)
        self.files, self.source = files, source or str(files.path)
        self.device = resolve_device(device)
        self.dtype = resolve_dtype(dtype, self.device)
        self.unet: Any = files.load_module("unet", UNet2DConditionModel, self.dtype)
        self.text_encoder: Any = files.load_module("text_encoder", CLIPTextModel, self.dtype)
        self.vae: Any = files.load_module("vae", AutoencoderKL, self.dtype)
        self.parts: dict[str, nn.Module] = {"unet": self.unet, "text_encoder": self.text_encoder}
        freeze({**self.parts, "vae": self.vae}, self.device)
        self.tokenizer = files.load_tokenizer("tokenizer", CLIPTokenizer)
        self.scheduler_config: Mapping[str, Any] = files.scheduler_config()
        self.forward_process = DiscreteDiffusion.from_config(self.scheduler_config, self.device)

        self._latent_codec = LatentCodec(self.vae)
        self.vae_scale_factor, self.latent_channels = self._latent_codec.scale_factor, self._latent_codec.channels
        self.resolution = native_resolution(self.unet, self.vae, self.source)
        self._text = TextEncoder(
            self.text_encoder, self.tokenizer, max_prompt_length(self.tokenizer, self.text_encoder)
        )

    @staticmethod
    def matches(files: ModelFiles) -> bool:
        """Whether files are, or would be if nothing were missing, of this family."""
        kind = str(files.model_index().get("_class_name", "StableDiffusionPipeline"))
        one_encoder = re.fullmatch(r"StableDiffusion(?!3|XL)\w*Pipeline", kind) is not None
        return one_encoder and not files.has_part("text_encoder_2")

    @staticmethod
    def compute_digest(files: ModelFiles) -> str:
        """SHA-256 over weights, configurations and vocabulary, in hexadecimal, without opening them.

        Raises:
            InputError: a part is missing.
        """
        files.check_parts(PARTS)
        return files.digest(PARTS)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over weights, configurations and vocabulary, in hexadecimal."""
        return self.compute_digest(self.files)

    def encode_text(self, prompts: Sequence[str]) -> TextConditioning:
        """The text encoder's last states; differentiable where it is adapted.

        Args:
            prompts: any number; the empty one is the unconditional.

        Returns:
            One sequence of states a prompt, in float32. What a prompt has too much is cut off with a
            `TruncatedPrompt` warning.
        """
        with autocast(self.device, self.dtype):
            return TextConditioning(self._text.last_hidden_states(prompts).float())

    def encode_images(
        self, images: Float[Tensor, "batch 3 height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Scaled latents of pictures in [0, 1]; the posterior's mean, or a sample when given a generator."""
        return self._latent_codec.encode(images, generator)

    def decode_latents(
        self, latents: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Pictures in [0, 1] of scaled latents."""
        return self._latent_codec.decode(latents)

    def predict(
        self,
        noisy: Float[Tensor, "batch channels rows columns"],
        timesteps: Num[Tensor, " batch"],
        conditioning: TextConditioning,
        size_conditioning: Float[Tensor, "batch 6"] | None = None,
    ) -> Float[Tensor, "batch channels rows columns"]:
        """What the UNet says of noisy latents, in float32; differentiable. The family knows no sizes."""
        with autocast(self.device, self.dtype):
            noisy = noisy.to(self.dtype, memory_format=torch.channels_last)
            return self.unet(noisy, timesteps, conditioning.hidden_states.to(self.dtype), return_dict=False)[0].float()

    def pipeline(self) -> Any:
        """A `StableDiffusionPipeline` that shares the modules, adapters included."""
        import diffusers

        name = self.scheduler_config.get("_class_name", "DDIMScheduler")
        with (
            silence_transformers()
        ):  # without torchvision, importing the pipeline tells of image processors it does not need
            kind = diffusers.StableDiffusionPipeline
        return kind(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=getattr(diffusers, name).from_config(dict(self.scheduler_config)),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
