"""Stable Diffusion XL: two CLIP text encoders, a pooled state, and a UNet told of each picture's size and cut."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lycoris.bases.conditioning import TextConditioning, require_pooled
from lycoris.bases.files.model_files import ModelFiles
from lycoris.bases.files.model_loading import autocast, freeze, resolve_device, resolve_dtype, silence_transformers
from lycoris.bases.latents import LatentCodec, default_size_conditioning, native_resolution
from lycoris.bases.noise import DiscreteDiffusion
from lycoris.bases.text_encoding import TextEncoder, max_prompt_length
from lycoris.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, Num
    from torch import Tensor

PARTS = {
    "unet": "weights",
    "vae": "weights",
    "text_encoder": "weights",
    "text_encoder_2": "weights",
    "tokenizer": "tokenizer_config.json",
    "tokenizer_2": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}


class StableDiffusionXL:
    """A base of the Stable Diffusion XL family; see `lycoris.bases.Base` for the face.

    Podell et al., "SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis".

    Args:
        files: where its parts are.
        source: the name to report; the files' path when left out.
        device: a torch device or ``"auto"``.
        dtype: `float32`, `bfloat16`, `float16` or ``"auto"``. In float16 the VAE is kept in float32 where its
            configuration has `force_upcast`, since it overflows.

    Raises:
        InputError: a part is missing or incomplete, the UNet and the VAE do not belong together, or the UNet is
            conditioned on something other than sizes (the refiner).
    """

    family = "stable-diffusion-xl"

    def __init__(self, files: ModelFiles, source: str | None = None, device: str = "auto", dtype: str = "auto") -> None:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

        files.check_parts(PARTS)
        self.files, self.source = files, source or str(files.path)
        self.device = resolve_device(device)
        self.dtype = resolve_dtype(dtype, self.device)
        self.unet: Any = files.load_module("unet", UNet2DConditionModel, self.dtype)
        self.text_encoder: Any = files.load_module("text_encoder", CLIPTextModel, self.dtype)
        self.text_encoder_2: Any = files.load_module("text_encoder_2", CLIPTextModelWithProjection, self.dtype)
        self.vae: Any = files.load_module("vae", AutoencoderKL, self.dtype)
        config: Any = self.vae.config
        if self.dtype is torch.float16 and config.force_upcast:
            self.vae.float()
        self.parts: dict[str, nn.Module] = {
            "unet": self.unet,
            "text_encoder": self.text_encoder,
            "text_encoder_2": self.text_encoder_2,
        }
        freeze({**self.parts, "vae": self.vae}, self.device)
        self.tokenizer = files.load_tokenizer("tokenizer", CLIPTokenizer)
        self.tokenizer_2 = files.load_tokenizer("tokenizer_2", CLIPTokenizer)
        self.scheduler_config: Mapping[str, Any] = files.scheduler_config()
        self.forward_process = DiscreteDiffusion.from_config(self.scheduler_config, self.device)
        self._zeros_for_empty = zeros_for_empty(files)

        self._latent_codec = LatentCodec(self.vae)
        self.vae_scale_factor, self.latent_channels = self._latent_codec.scale_factor, self._latent_codec.channels
        self.resolution = native_resolution(self.unet, self.vae, self.source)
        self._check_size_conditioning()
        self._text = TextEncoder(
            self.text_encoder, self.tokenizer, max_prompt_length(self.tokenizer, self.text_encoder)
        )
        self._text_2 = TextEncoder(
            self.text_encoder_2, self.tokenizer_2, max_prompt_length(self.tokenizer_2, self.text_encoder_2)
        )

    @staticmethod
    def matches(files: ModelFiles) -> bool:
        """Whether files are, or would be if nothing were missing, of this family."""
        kind = files.model_index().get("_class_name")
        if kind is None:
            return files.has_part("text_encoder_2") and not files.has_part("transformer")
        return re.fullmatch(r"StableDiffusionXL\w*Pipeline", str(kind)) is not None

    @staticmethod
    def compute_digest(files: ModelFiles) -> str:
        """SHA-256 over weights, configurations and vocabulary, in hexadecimal, without opening them.

        Raises:
            InputError: a part is missing.
        """
        files.check_parts(PARTS)
        whole = f"{files.digest(PARTS)} zeros for the empty prompt: {zeros_for_empty(files)}"
        return hashlib.sha256(whole.encode()).hexdigest()

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over weights, configurations and vocabulary, in hexadecimal."""
        return self.compute_digest(self.files)

    def encode_text(self, prompts: Sequence[str]) -> TextConditioning:
        """Both encoders' states of the layer before the last, side by side, and the second one's pooled state.

        Args:
            prompts: any number. The empty one is the unconditional: zeros where the base's ``model_index.json``
                has `force_zeros_for_empty_prompt`, as SDXL was trained.

        Returns:
            Conditions in float32; differentiable where an encoder is adapted. What a prompt has too much is cut off
            with a `TruncatedPrompt` warning.
        """
        with autocast(self.device, self.dtype):
            first = self._text.penultimate_hidden_states(prompts)
            second, pooled = self._text_2.penultimate_and_pooled(prompts)
        states, pooled = torch.cat([first, second], dim=-1).float(), pooled.float()
        if self._zeros_for_empty and "" in prompts:
            kept = torch.tensor([float(prompt != "") for prompt in prompts], device=states.device)
            states, pooled = states * kept[:, None, None], pooled * kept[:, None]
        return TextConditioning(states, pooled)

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
        """What the UNet says of noisy latents of pictures of these sizes, in float32; differentiable."""
        if size_conditioning is None:
            size_conditioning = default_size_conditioning(noisy, self.vae_scale_factor)
        with autocast(self.device, self.dtype):
            noisy = noisy.to(self.dtype, memory_format=torch.channels_last)
            told = {"text_embeds": require_pooled(conditioning).to(self.dtype), "time_ids": size_conditioning}
            states = conditioning.hidden_states.to(self.dtype)
            return self.unet(noisy, timesteps, states, added_cond_kwargs=told, return_dict=False)[0].float()

    def pipeline(self) -> Any:
        """A `StableDiffusionXLPipeline` that shares the modules, adapters included."""
        import diffusers

        name = self.scheduler_config.get("_class_name", "EulerDiscreteScheduler")
        with silence_transformers():
            kind = diffusers.StableDiffusionXLPipeline
        return kind(
            vae=self.vae,
            text_encoder=self.text_encoder,
            text_encoder_2=self.text_encoder_2,
            tokenizer=self.tokenizer,
            tokenizer_2=self.tokenizer_2,
            unet=self.unet,
            scheduler=getattr(diffusers, name).from_config(dict(self.scheduler_config)),
            force_zeros_for_empty_prompt=self._zeros_for_empty,
            add_watermarker=False,
        )

    def _check_size_conditioning(self) -> None:
        config = self.unet.config
        taken = config.projection_class_embeddings_input_dim or 0
        given = self.text_encoder_2.config.projection_dim + 6 * (config.addition_time_embed_dim or 0)
        if config.addition_embed_type != "text_time" or taken != given:
            raise InputError(
                f"The UNet of base `{self.source}` must take a pooled state and six sizes ({given} numbers), "
                f"but takes {taken} of kind {config.addition_embed_type}; the refiner is not supported."
            )


def zeros_for_empty(files: ModelFiles) -> bool:
    """Whether the empty prompt's conditions are zeros; they are where the files do not say."""
    return bool(files.model_index().get("force_zeros_for_empty_prompt", True))
