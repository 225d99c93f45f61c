"""Stable Diffusion 3: a transformer trained by flow matching, two CLIP text encoders and, where it is there, T5."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lycoris.bases.conditioning import TextConditioning, require_pooled
from lycoris.bases.files.model_files import ModelFiles
from lycoris.bases.files.model_loading import autocast, freeze, resolve_device, resolve_dtype, silence_transformers
from lycoris.bases.flow_matching import FlowMatching
from lycoris.bases.latents import LatentCodec, native_resolution
from lycoris.bases.text_encoding import TextEncoder, max_prompt_length

if TYPE_CHECKING:
    from jaxtyping import Float, Num
    from torch import Tensor

PARTS = {
    "transformer": "weights",
    "vae": "weights",
    "text_encoder": "weights",
    "text_encoder_2": "weights",
    "tokenizer": "tokenizer_config.json",
    "tokenizer_2": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}
T5_PARTS = {"text_encoder_3": "weights", "tokenizer_3": "tokenizer_config.json"}
T5_MAX_LENGTH = 256


class StableDiffusion3:
    """A base of the Stable Diffusion 3 and 3.5 family; see `lycoris.bases.Base` for the face.

    Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis". T5 is never adapted and
    may be left out: its states are zeros then, which the denoiser was trained with.

    Args:
        files: where its parts are.
        source: the name to report; the files' path when left out.
        device: a torch device or ``"auto"``.
        dtype: `float32`, `bfloat16`, `float16` or ``"auto"``.

    Raises:
        InputError: a part is missing or incomplete, or the transformer and the VAE do not belong together.
    """

    family = "stable-diffusion-3"

    def __init__(self, files: ModelFiles, source: str | None = None, device: str = "auto", dtype: str = "auto") -> None:
        from diffusers import AutoencoderKL, SD3Transformer2DModel
        from transformers import CLIPTextModelWithProjection, CLIPTokenizer

        files.check_parts(required_parts(files))
        self.files, self.source = files, source or str(files.path)
        self.device = resolve_device(device)
        self.dtype = resolve_dtype(dtype, self.device)
        self.transformer: Any = files.load_module("transformer", SD3Transformer2DModel, self.dtype)
        self.text_encoder: Any = files.load_module("text_encoder", CLIPTextModelWithProjection, self.dtype)
        self.text_encoder_2: Any = files.load_module("text_encoder_2", CLIPTextModelWithProjection, self.dtype)
        self.vae: Any = files.load_module("vae", AutoencoderKL, self.dtype)
        self.parts: dict[str, nn.Module] = {
            "transformer": self.transformer,
            "text_encoder": self.text_encoder,
            "text_encoder_2": self.text_encoder_2,
        }
        freeze({**self.parts, "vae": self.vae}, self.device)
        self.tokenizer = files.load_tokenizer("tokenizer", CLIPTokenizer)
        self.tokenizer_2 = files.load_tokenizer("tokenizer_2", CLIPTokenizer)
        self.scheduler_config: Mapping[str, Any] = files.scheduler_config()
        self.forward_process = FlowMatching.from_config(self.scheduler_config)

        self._latent_codec = LatentCodec(self.vae)
        self.vae_scale_factor, self.latent_channels = self._latent_codec.scale_factor, self._latent_codec.channels
        self.resolution = native_resolution(self.transformer, self.vae, self.source)
        length = max_prompt_length(self.tokenizer, self.text_encoder)
        self._text = TextEncoder(self.text_encoder, self.tokenizer, length)
        self._text_2 = TextEncoder(self.text_encoder_2, self.tokenizer_2, length)
        self._text_3 = self._load_t5() if files.has_part("text_encoder_3") else None

    @staticmethod
    def matches(files: ModelFiles) -> bool:
        """Whether files are, or would be if nothing were missing, of this family."""
        kind = files.model_index().get("_class_name")
        if kind is None:
            return files.has_part("transformer") and files.has_part("text_encoder_2")
        return re.fullmatch(r"StableDiffusion3\w*Pipeline", str(kind)) is not None

    @staticmethod
    def compute_digest(files: ModelFiles) -> str:
        """SHA-256 over weights, configurations and vocabulary, in hexadecimal, without opening them.

        Raises:
            InputError: a part is missing.
        """
        files.check_parts(required_parts(files))
        return files.digest(required_parts(files))

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over weights, configurations and vocabulary, in hexadecimal."""
        return self.compute_digest(self.files)

    def encode_text(self, prompts: Sequence[str]) -> TextConditioning:
        """The CLIPs' states side by side, T5's after them, and the CLIPs' pooled states side by side.

        Args:
            prompts: any number; the empty one is the unconditional.

        Returns:
            Conditions in float32; differentiable where a CLIP is adapted. What a prompt has too much for an encoder
            is cut off with a `TruncatedPrompt` warning.
        """
        with autocast(self.device, self.dtype):
            (first, pooled), (second, pooled_2) = (
                self._text.penultimate_and_pooled(prompts),
                self._text_2.penultimate_and_pooled(prompts),
            )
            long = None if self._text_3 is None else self._text_3.last_hidden_states(prompts).float()
        clip = torch.cat([first, second], dim=-1).float()
        width = self.transformer.config.joint_attention_dim
        if long is None:
            long = clip.new_zeros(len(prompts), T5_MAX_LENGTH, width)
        clip = nn.functional.pad(clip, (0, width - clip.shape[-1]))
        return TextConditioning(torch.cat([clip, long], dim=1), torch.cat([pooled, pooled_2], dim=-1).float())

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
        """The velocity that the transformer sees, in float32; differentiable. The family knows no sizes."""
        with autocast(self.device, self.dtype):
            states, pooled = conditioning.hidden_states.to(self.dtype), require_pooled(conditioning).to(self.dtype)
            said = self.transformer(noisy.to(self.dtype), states, pooled, timesteps, return_dict=False)
            return said[0].float()

    def pipeline(self) -> Any:
        """A `StableDiffusion3Pipeline` that shares the modules, adapters included."""
        import diffusers

        with silence_transformers():
            kind = diffusers.StableDiffusion3Pipeline
        third = self._text_3
        return kind(
            transformer=self.transformer,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler.from_config(dict(self.scheduler_config)),
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            text_encoder_2=self.text_encoder_2,
            tokenizer_2=self.tokenizer_2,
            text_encoder_3=third and third.module,
            tokenizer_3=third and third.tokenizer,
        )

    def _load_t5(self) -> TextEncoder:
        from transformers import AutoTokenizer, T5EncoderModel

        module = self.files.load_module("text_encoder_3", T5EncoderModel, self.dtype)
        freeze({"text_encoder_3": module}, self.device)
        return TextEncoder(module, self.files.load_tokenizer("tokenizer_3", AutoTokenizer), T5_MAX_LENGTH)


def required_parts(files: ModelFiles) -> dict[str, str]:
    """The parts of a base of this family: T5's are asked for where one of them is there."""
    return PARTS | (T5_PARTS if any(files.has_part(part) for part in T5_PARTS) else {})
