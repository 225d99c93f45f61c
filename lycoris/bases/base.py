"""A frozen base model of any family: text to conditioning, images to latents, noisy latents to predictions."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.conditioning import TextConditioning, group_rows
from lycoris.bases.families.family import Components, Family
from lycoris.bases.files.model_loading import autocast, freeze, import_class, resolve_dtype
from lycoris.bases.latent_codec import LatentCodec, native_resolution, set_resolution
from lycoris.bases.shapes import Images, ImageSizes, Latents, Timesteps
from lycoris.bases.text_encoding import build_window_tokenizer
from lycoris.pretrained import resolve_device, silence_transformers

if TYPE_CHECKING:
    from torch import nn

    from lycoris.bases.files.model_files import ModelFiles


class Base:
    """A base model, frozen and in evaluation mode; training, sampling and scoring know no other interface.

    Attributes:
        source: name or folder it was opened from.
        family: its key in `lycoris.bases.BASES`.
        resolution: side of the square images it was trained on, in pixels.
        max_token_length: tokens of a prompt that its CLIP text encoders read, in windows; None for one window.
        vae_scale_factor: pixels per latent cell along each side.
        latent_channels: channels of a latent.
        device: device of its modules.
        dtype: precision of its frozen weights.
        denoiser: name of the denoiser among `parts`.
        parts: the modules that can be adapted, by their names in a diffusers pipeline.
        vae: the autoencoder between images and latents.
        tokenizer: the first text encoder's tokenizer.
        scheduler_config: the noise schedule as its files state it.
        forward_process: how latents are noised and what the denoiser predicts.

    Args:
        family: the class that knows its text encoders and its denoiser.
        files: its files.
        source: the name to report; defaults to the path of the files.
        device: a torch device, or ``"auto"``.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"auto"``.
        resolution: instead of the one in the files.
        max_token_length: as for `lycoris.bases.open_base`.

    Raises:
        InputError: a part is missing or incomplete, the parts do not fit together, or the resolution or
            `max_token_length` does not fit them.
    """

    def __init__(
        self,
        family: type[Family],
        files: ModelFiles,
        source: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        resolution: int | None = None,
        max_token_length: int | None = None,
    ) -> None:
        classes = family.part_classes(files)
        files.check_parts(_required_files(classes))
        self.files, self.source = files, source or str(files.path)
        self.family = family.name
        self.device = resolve_device(device)
        self.dtype = resolve_dtype(dtype, self.device)
        modules: dict[str, Any] = {}
        tokenizers: dict[str, Any] = {}
        for part, path in classes.items():
            if _is_tokenizer(part):
                tokenizers[part] = files.load_tokenizer(part, import_class(path))
            else:
                modules[part] = files.load_module(part, import_class(path), self.dtype)
        self.vae: Any = modules["vae"]
        if self.dtype is torch.float16 and family.upcasts_vae and self.vae.config.force_upcast:
            self.vae.float()
        freeze(modules, self.device)
        self.tokenizer = tokenizers["tokenizer"]
        self.denoiser = family.denoiser
        self.parts: dict[str, nn.Module] = {part: modules[part] for part in (family.denoiser, *family.text_encoders)}
        self.scheduler_config: Mapping[str, Any] = files.scheduler_config()
        self.forward_process = family.forward_process.from_config(self.scheduler_config, self.device)

        self._codec = LatentCodec(self.vae)
        self.vae_scale_factor, self.latent_channels = self._codec.scale_factor, self._codec.channels
        self._given_resolution = resolution
        if resolution is not None:
            set_resolution(self.parts[self.denoiser], self.vae_scale_factor, resolution)
        self.resolution = native_resolution(self.parts[self.denoiser], self.vae, self.source)
        self.max_token_length = max_token_length
        self._windows = build_window_tokenizer(self.tokenizer, modules.get("text_encoder"), max_token_length)
        self._components = Components(
            self.source, modules, tokenizers, self.vae_scale_factor, files.model_index(), max_token_length
        )
        self._family = family(self._components)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over weights, configurations and vocabulary, in hexadecimal."""
        return compute_digest(type(self._family), self.files, self._given_resolution, self.max_token_length)

    def count_windows(self, prompts: Sequence[str]) -> list[int]:
        """The number of windows in which the text encoders read each prompt; 1 without `max_token_length`."""
        return [self._windows.count_windows(prompt) for prompt in prompts]

    def encode_text(self, prompts: Sequence[str]) -> TextConditioning:
        """Encode prompts for the denoiser; differentiable where a text encoder is adapted.

        Args:
            prompts: any number; the empty one is the unconditional prompt.

        Returns:
            The conditioning in float32. What exceeds an encoder's length, or `max_token_length`, is cut off with a
            `TruncatedPromptWarning`. A prompt that fits into one window has the conditioning of a base without
            `max_token_length`.
        """
        with autocast(self.device, self.dtype):
            groups = group_rows(self.count_windows(prompts))
            if len(groups) <= 1:
                return self._family.encode_text(prompts)
            parts = [self._family.encode_text([prompts[row] for row in rows]) for rows in groups]
        return TextConditioning.cat(parts)[_original_order(groups)]

    def encode_images(self, images: Images, generator: torch.Generator | None = None) -> Latents:
        """Encode images as scaled latents.

        Args:
            images: RGB in [0, 1].
            generator: samples the posterior; without one the latents are its mean.
        """
        return self._codec.encode(images, generator)

    def decode_latents(self, latents: Latents) -> Images:
        """Decode scaled latents to images in [0, 1]."""
        return self._codec.decode(latents)

    def predict(
        self,
        noisy: Latents,
        timesteps: Timesteps,
        conditioning: TextConditioning,
        size_conditioning: ImageSizes | None = None,
    ) -> Latents:
        """Run the denoiser; differentiable.

        Args:
            noisy: noisy latents.
            timesteps: one per latent, as `forward_process` samples them or a scheduler of the family counts them.
            conditioning: one per latent. Those of each length go through the denoiser on their own.
            size_conditioning: original (height, width), crop (top, left) and target (height, width) of each image, in
                pixels. None means an image of the latents' own size, uncropped. Ignored by families without size
                conditioning.

        Returns:
            The prediction in float32.
        """
        if conditioning.lengths is not None:
            groups = conditioning.rows_by_length()
            sizes = [None if size_conditioning is None else size_conditioning[rows] for rows in groups]
            parts = [
                self.predict(noisy[rows], timesteps[rows], conditioning[rows], own)
                for rows, own in zip(groups, sizes, strict=True)
            ]
            return torch.cat(parts)[_original_order(groups)]
        memory_format = torch.channels_last if self.denoiser == "unet" else torch.preserve_format
        with autocast(self.device, self.dtype):
            noisy = noisy.to(self.dtype, memory_format=memory_format)
            conditioning = conditioning.to(self.dtype)
            return self._family.predict(noisy, timesteps, conditioning, size_conditioning).float()

    def pipeline(self) -> Any:
        """Build a diffusers pipeline that shares the modules, adapters included."""
        import diffusers

        scheduler = self.scheduler_config.get("_class_name", self._family.default_scheduler)
        with silence_transformers():  # without torchvision the import reports image processors it does not need
            pipeline_class = getattr(diffusers, self._family.pipeline_class)
        return pipeline_class(
            **{**self._family.pipeline_options, **self._components.modules, **self._components.tokenizers},
            scheduler=getattr(diffusers, scheduler).from_config(dict(self.scheduler_config)),
        )


def compute_digest(
    family: type[Family], files: ModelFiles, resolution: int | None = None, max_token_length: int | None = None
) -> str:
    """Compute `Base.digest` without opening the model.

    Raises:
        InputError: a part is missing.
    """
    required = _required_files(family.part_classes(files))
    files.check_parts(required)
    content, options = files.digest(required), family.digest_options(files)
    if resolution is not None:
        options += f" resolution {resolution}"
    if max_token_length is not None:
        options += f" max_token_length {max_token_length}"
    return hashlib.sha256(f"{content} {options}".encode()).hexdigest() if options else content


def _original_order(groups: Sequence[Sequence[int]]) -> list[int]:
    """Positions of rows 0, 1, ... in the groups one after another."""
    position = {row: place for place, row in enumerate(row for rows in groups for row in rows)}
    return [position[row] for row in range(len(position))]


def _required_files(classes: Mapping[str, str]) -> dict[str, str]:
    """The file that each part's folder must hold; ``"weights"`` for a configuration and safetensors."""
    files = {part: "tokenizer_config.json" if _is_tokenizer(part) else "weights" for part in classes}
    return {**files, "scheduler": "scheduler_config.json"}


def _is_tokenizer(part: str) -> bool:
    return part.startswith("tokenizer")
