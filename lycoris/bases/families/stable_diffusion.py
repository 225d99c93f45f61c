"""Stable Diffusion 1.x and 2.x: a CLIP text encoder, a VAE and a UNet, epsilon- or v-prediction."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lycoris.bases.conditioning import Conditions
from lycoris.bases.files.model_files import Files
from lycoris.bases.files.model_loading import choose_device, choose_dtype, freeze, mixed, quiet
from lycoris.bases.latents import Latents, resolution_of
from lycoris.bases.noise import DiscreteNoise
from lycoris.bases.text_encoding import TextEncoder, clip_length

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

    def __init__(self, files: Files, source: str | None = None, device: str = "auto", dtype: str = "auto") -> None:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        files.check(PARTS)
        self.files, self.source = files, source or str(files.path)
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.unet: Any = files.module("unet", UNet2DConditionModel, self.dtype)
        self.text_encoder: Any = files.module("text_encoder", CLIPTextModel, self.dtype)
        self.vae: Any = files.module("vae", AutoencoderKL, self.dtype)
        self.parts: dict[str, nn.Module] = {"unet": self.unet, "text_encoder": self.text_encoder}
        freeze({**self.parts, "vae": self.vae}, self.device)
        self.tokenizer = files.tokenizer("tokenizer", CLIPTokenizer)
        self.scheduler_config: Mapping[str, Any] = files.scheduler()
        self.noise = DiscreteNoise.from_config(self.scheduler_config, self.device)

        self._latents = Latents(self.vae)
        self.factor, self.latent_channels = self._latents.factor, self._latents.channels
        self.resolution = resolution_of(self.unet, self.vae, self.source)
        self._text = TextEncoder(self.text_encoder, self.tokenizer, clip_length(self.tokenizer, self.text_encoder))

    @staticmethod
    def recognises(files: Files) -> bool:
        """Whether files are, or would be if nothing were missing, of this family."""
        kind = str(files.index().get("_class_name", "StableDiffusionPipeline"))
        one_encoder = re.fullmatch(r"StableDiffusion(?!3|XL)\w*Pipeline", kind) is not None
        return one_encoder and not files.has("text_encoder_2")

    @staticmethod
    def digest_of(files: Files) -> str:
        """SHA-256 over weights, configurations and vocabulary, in hexadecimal, without opening them.

        Raises:
            InputError: a part is missing.
        """
        files.check(PARTS)
        return files.digest(PARTS)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over weights, configurations and vocabulary, in hexadecimal."""
        return self.digest_of(self.files)

    def encode_text(self, prompts: Sequence[str]) -> Conditions:
        """The text encoder's last states; differentiable where it is adapted.

        Args:
            prompts: any number; the empty one is the unconditional.

        Returns:
            One sequence of states a prompt, in float32. What a prompt has too much is cut off with a
            `TruncatedPrompt` warning.
        """
        with mixed(self.device, self.dtype):
            return Conditions(self._text.last(prompts).float())

    def encode_images(
        self, images: Float[Tensor, "batch 3 height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Scaled latents of pictures in [0, 1]; the posterior's mean, or a sample when given a generator."""
        return self._latents.encode(images, generator)

    def decode_latents(
        self, latents: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Pictures in [0, 1] of scaled latents."""
        return self._latents.decode(latents)

    def predict(
        self,
        noisy: Float[Tensor, "batch channels rows columns"],
        timesteps: Num[Tensor, " batch"],
        conditions: Conditions,
        sizes: Float[Tensor, "batch 6"] | None = None,
    ) -> Float[Tensor, "batch channels rows columns"]:
        """What the UNet says of noisy latents, in float32; differentiable. The family knows no sizes."""
        with mixed(self.device, self.dtype):
            noisy = noisy.to(self.dtype, memory_format=torch.channels_last)
            return self.unet(noisy, timesteps, conditions.states.to(self.dtype), return_dict=False)[0].float()

    def pipeline(self) -> Any:
        """A `StableDiffusionPipeline` that shares the modules, adapters included."""
        import diffusers

        name = self.scheduler_config.get("_class_name", "DDIMScheduler")
        with quiet():  # without torchvision, importing the pipeline tells of image processors it does not need
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
