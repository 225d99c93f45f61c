"""Stable Diffusion 1.x and 2.x: a CLIP text encoder, a VAE and a UNet, epsilon- or v-prediction."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lycoris.bases.conditions import Conditions
from lycoris.bases.folder import check_parts, digest_of, read_json
from lycoris.bases.group_norm import guard_group_norms
from lycoris.bases.noise import DiscreteNoise
from lycoris.bases.opening import choose_device, choose_dtype, open_part, quiet
from lycoris.bases.tokens import Tokens
from lycoris.errors import InputError

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
PIXELS_AT_ONCE = 2**19
"""The VAE takes pictures in groups of about this many pixels: two of 512x512."""
PROMPTS_AT_ONCE = 64


class StableDiffusion:
    """A base of the Stable Diffusion 1.x and 2.x family; see `lycoris.bases.Base` for the face.

    Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models".

    Args:
        folder: in the diffusers layout.
        source: the name to report; the folder when left out.
        device: a torch device or ``"auto"``.
        dtype: `float32`, `bfloat16`, `float16` or ``"auto"``.

    Raises:
        InputError: a part is missing or incomplete, or the UNet and the VAE do not belong together.
    """

    family = "stable-diffusion"

    def __init__(self, folder: Path, source: str | None = None, device: str = "auto", dtype: str = "auto") -> None:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        check_parts(folder, PARTS)
        self.folder = folder
        self.source = source or str(folder)
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        opened: dict[str, Any] = {
            part: open_part(folder / part, kind, self.dtype)
            for part, kind in {
                "unet": UNet2DConditionModel,
                "text_encoder": CLIPTextModel,
                "vae": AutoencoderKL,
            }.items()
        }
        for module in opened.values():
            module.requires_grad_(False).eval().to(self.device)
        for part in ("unet", "vae"):
            opened[part].to(memory_format=torch.channels_last)
            guard_group_norms(opened[part])
        self.unet, self.text_encoder, self.vae = opened["unet"], opened["text_encoder"], opened["vae"]
        self.parts: dict[str, nn.Module] = {"unet": self.unet, "text_encoder": self.text_encoder}
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        self.scheduler_config: Mapping[str, Any] = read_json(folder / "scheduler" / "scheduler_config.json")
        self.noise = DiscreteNoise.from_config(self.scheduler_config, self.device)

        self.factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.latent_channels = self.vae.config.latent_channels
        if self.unet.config.in_channels != self.latent_channels:
            raise InputError(
                f"The UNet of base `{self.source}` must take the VAE's {self.latent_channels} channels, "
                f"but takes {self.unet.config.in_channels}; inpainting and depth models are not supported."
            )
        size = self.unet.config.sample_size
        self.resolution = (size if isinstance(size, int) else max(size)) * self.factor
        length = min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings)
        self._tokens = Tokens(self.tokenizer, length)

    @staticmethod
    def recognises(folder: Path) -> bool:
        """Whether a folder is, or would be if nothing were missing, of this family."""
        index = folder / "model_index.json"
        kind = str(read_json(index).get("_class_name")) if index.is_file() else "StableDiffusionPipeline"
        two_encoders = (folder / "text_encoder_2").is_dir()
        return re.fullmatch(r"StableDiffusion(?!3|XL)\w*Pipeline", kind) is not None and not two_encoders

    @staticmethod
    def digest_of(folder: Path) -> str:
        """SHA-256 over weights, configurations and vocabulary of a folder, in hexadecimal, without opening it.

        Raises:
            InputError: a part is missing.
        """
        check_parts(folder, PARTS)
        return digest_of(folder, PARTS)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over weights, configurations and vocabulary, in hexadecimal."""
        return self.digest_of(self.folder)

    def encode_text(self, prompts: Sequence[str]) -> Conditions:
        """The text encoder's last states; differentiable where it is adapted.

        Args:
            prompts: any number; the empty one is the unconditional.

        Returns:
            One sequence of states a prompt, in float32. What a prompt has too much is cut off with a
            `TruncatedPrompt` warning.
        """
        ids = self._tokens(prompts).to(self.device)
        with self._precision():
            states = [self.text_encoder(some).last_hidden_state for some in ids.split(PROMPTS_AT_ONCE)]
        return Conditions(torch.cat(states).float())

    @torch.no_grad()
    def encode_images(
        self, images: Float[Tensor, "batch 3 height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Scaled latents of pictures in [0, 1]; the posterior's mean, or a sample when given a generator."""
        pixels = self._to_pictures(images)
        latents = []
        for some in pixels.split(self._pictures_at_once(*images.shape[-2:])):
            posterior = self.vae.encode(some).latent_dist
            latents.append(posterior.mode() if generator is None else posterior.sample(generator))
        return torch.cat(latents).float() * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(
        self, latents: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Pictures in [0, 1] of scaled latents."""
        scaled = (latents / self.vae.config.scaling_factor).to(self.device, self.dtype)
        rows, columns = latents.shape[-2:]
        count = self._pictures_at_once(rows * self.factor, columns * self.factor)
        pixels = torch.cat([self.vae.decode(some, return_dict=False)[0] for some in scaled.split(count)])
        return (pixels.float() / 2 + 0.5).clamp(0, 1)

    def predict(
        self,
        noisy: Float[Tensor, "batch channels rows columns"],
        timesteps: Num[Tensor, " batch"],
        conditions: Conditions,
        sizes: Float[Tensor, "batch 6"] | None = None,
    ) -> Float[Tensor, "batch channels rows columns"]:
        """What the UNet says of noisy latents, in float32; differentiable. The family knows no sizes."""
        with self._precision():
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

    def _precision(self) -> contextlib.AbstractContextManager:
        """Mixed precision below float32, so that adapters may keep float32 weights."""
        if self.dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def _to_pictures(self, images: Tensor) -> Tensor:
        pixels = images.to(self.device, self.dtype) * 2 - 1
        return pixels.contiguous(memory_format=torch.channels_last)

    def _pictures_at_once(self, height: int, width: int) -> int:
        return max(1, PIXELS_AT_ONCE // (height * width))
