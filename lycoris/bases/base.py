"""A frozen base model of any family: text to conditioning, images to latents, noisy latents to predictions."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.base_digest import compute_digest, is_tokenizer, required_files
from lycoris.bases.conditioning import TextConditioning, group_rows
from lycoris.bases.families.family import Components, DenoiserInputs, Family
from lycoris.bases.files.model_loading import autocast, freeze, import_class, resolve_dtype
from lycoris.bases.flow_matching import FlowMatching
from lycoris.bases.quantization import QUANTIZED, Precisions, quantize
from lycoris.bases.residency import PARKED, Residency
from lycoris.bases.resolution import native_resolution, set_resolution
from lycoris.bases.shapes import Images, ImageSizes, Latents, Timesteps
from lycoris.bases.text_encoding import build_window_tokenizer
from lycoris.errors import InputError
from lycoris.pretrained import resolve_device

if TYPE_CHECKING:
    from torch import nn

    from lycoris.adapters.network import Network
    from lycoris.bases.files.model_files import ModelFiles
    from lycoris.bases.noise import ForwardProcess


class Base:
    """A base model, frozen and in evaluation mode; training, sampling and scoring know no other interface.

    Attributes:
        source: name or folder it was opened from.
        family: its key in `lycoris.bases.BASES`.
        resolution: side of the square images it was trained on, in pixels.
        max_token_length: tokens of a prompt that its CLIP text encoders read, in windows; None for one window.
        vae_scale_factor: pixels per latent cell along each side.
        size_multiple: every side of an image must be a multiple of this many pixels.
        latent_channels: channels of a latent.
        device: device of its modules.
        residency: which of them are on it.
        dtype: in which it computes; of its frozen weights where they are not of another precision.
        precisions: of the weights of denoiser and text encoders, where they are not of `dtype`.
        denoiser: name of the denoiser among `parts`.
        parts: the modules that can be adapted, by their names in a diffusers pipeline.
        vae: the autoencoder between images and latents.
        tokenizer: the first text encoder's tokenizer.
        scheduler_config: the noise schedule as its files state it.
        forward_process: how latents are noised and what the denoiser predicts.
        guidance: how its images are moved towards their prompt.
        schedule: how its pipeline sets the times of a flow-matching scheduler.
        distilled: what training on it means if it was distilled; None if not.
        noise_by_token: whether its pipeline's initial noise has an image's tokens first and then the channels.
        assistant: an adapter that acts in training and not in generation; see `lycoris.training.assistant`.
        has_unconditional_denoiser: whether a second denoiser takes the place of a negative prompt.

    Args:
        family: the family that knows its text encoders and its denoiser.
        files: its files.
        source: the name to report; defaults to the path of the files.
        device: a torch device, or ``"auto"``.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"auto"``.
        resolution: instead of the one in the files.
        max_token_length: as for `lycoris.bases.open_base`.
        precisions: of the weights of denoiser and text encoders.
        offload: as for `lycoris.bases.open_base`.

    Raises:
        InputError: a part is missing or incomplete, the parts do not fit together, or the resolution or
            `max_token_length` does not fit them.
    """

    def __init__(
        self,
        family: Family,
        files: ModelFiles,
        source: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        resolution: int | None = None,
        max_token_length: int | None = None,
        precisions: Precisions = Precisions(),  # noqa: B008 - frozen
        *,
        offload: bool = False,
    ) -> None:
        classes = family.part_classes(files)
        files.check_parts(required_files(classes))
        self.files, self.source = files, source or str(files.path)
        self.family = family.name
        self.device = resolve_device(device)
        self.precisions = precisions
        self.dtype = resolve_dtype(precisions.compute_dtype(dtype), self.device)
        self._text_dtype = precisions.text_dtype(self.dtype)
        modules, tokenizers = _load_parts(self, classes)
        self.vae: Any = modules["vae"]
        if self.dtype is torch.float16 and family.upcasts_vae and self.vae.config.force_upcast:
            self.vae.float()
        freeze(modules, PARKED if offload else self.device)
        self.residency = Residency(modules, self.device, offload=offload)
        self.tokenizer = tokenizers["tokenizer"]
        self.denoiser = family.denoiser
        self.parts: dict[str, nn.Module] = {part: modules[part] for part in (family.denoiser, *family.text_encoders)}
        self.scheduler_config: Mapping[str, Any] = files.scheduler_config()
        self._codec = family.codec(self.vae)
        self.vae_scale_factor, self.latent_channels = self._codec.scale_factor, self._codec.channels
        self.size_multiple = self.vae_scale_factor * family.patch_size
        self._given_resolution = resolution
        denoiser = self.parts[self.denoiser]
        if resolution is not None:
            set_resolution(family, denoiser, self.vae_scale_factor, resolution)
        native = native_resolution(family, denoiser, self._codec, self.source)
        self.resolution = native if resolution is None else resolution
        self.forward_process = _forward_process(self, family)
        self.max_token_length = max_token_length
        self._windows = build_window_tokenizer(self.tokenizer, modules.get("text_encoder"), max_token_length)
        index = files.model_index()
        self._components = Components(
            source=self.source,
            pipeline_class=family.pipeline_class,
            denoiser=family.denoiser,
            modules=modules,
            tokenizers=tokenizers,
            vae_scale_factor=self.vae_scale_factor,
            model_index=index,
            scheduler_config=self.scheduler_config,
            pipeline_options=family.pipeline_options(index),
            device=self.device,
            max_token_length=max_token_length,
        )
        self._family, self._calls = family, family.open(self._components)
        self.guidance, self.schedule = self._calls.guidance, self._calls.schedule
        self.distilled, self.noise_by_token = self._calls.distilled, family.noise_by_token
        self.assistant: Network | None = None
        self.has_unconditional_denoiser = self._calls.predict_unconditional is not None

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Every module by its name in a diffusers pipeline: `parts`, the VAE, text encoders that are not adapted."""
        return self._components.modules

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over weights, configurations and vocabulary, in hexadecimal."""
        return compute_digest(self._family, self.files, self._given_resolution, self.max_token_length, self.precisions)

    def count_windows(self, prompts: Sequence[str]) -> list[int]:
        """The number of windows in which the text encoders read each prompt; 1 without `max_token_length`."""
        return [self._windows.count_windows(prompt) for prompt in prompts]

    def encode_text(self, prompts: Sequence[str], *, negative: bool = False) -> TextConditioning:
        """Encode prompts for the denoiser; differentiable where a text encoder is adapted.

        Args:
            prompts: any number; the empty one is the unconditional prompt.
            negative: whether they are negative prompts, which some families encode without their system prompt.

        Returns:
            The conditioning in float32. What exceeds an encoder's length, or `max_token_length`, is cut off with a
            `TruncatedPromptWarning`. A prompt that fits into one window has the conditioning of a base without
            `max_token_length`.
        """
        self.residency.bring([part for part in self.modules if part.startswith("text_encoder")])
        with autocast(self.device, self._text_dtype):
            encode = self._calls.encode_negative if negative else self._calls.encode_text
            groups = group_rows(self.count_windows(prompts))
            if len(groups) <= 1:
                return encode(prompts)
            parts = [encode([prompts[row] for row in rows]) for rows in groups]
        return TextConditioning.cat(parts)[_original_order(groups)]

    def encode_images(self, images: Images, generator: torch.Generator | None = None) -> Latents:
        """Encode images as scaled latents.

        Args:
            images: RGB in [0, 1].
            generator: samples the posterior; without one the latents are its mean.
        """
        self.residency.bring(["vae"])
        return self._codec.encode(images, generator)

    def decode_latents(self, latents: Latents) -> Images:
        """Decode scaled latents to images in [0, 1]."""
        self.residency.bring(["vae"])
        return self._codec.decode(latents)

    def predict(
        self,
        noisy: Latents,
        timesteps: Timesteps,
        conditioning: TextConditioning,
        size_conditioning: ImageSizes | None = None,
        guidance: float = 1.0,
        *,
        unconditional: bool = False,
    ) -> Latents:
        """Run the denoiser; differentiable.

        Args:
            noisy: noisy latents.
            timesteps: one per latent, as `forward_process` samples them or a scheduler of the family counts them.
            conditioning: one per latent. Those of each length go through the denoiser on their own.
            size_conditioning: original (height, width), crop (top, left) and target (height, width) of each image, in
                pixels. None means an image of the latents' own size, uncropped. Ignored by families without size
                conditioning.
            guidance: scale for denoisers with embedded guidance; ignored by others. 1, as for training, means none.
            unconditional: run the second denoiser, of a base that has one; it ignores the conditioning.

        Returns:
            The prediction in float32.
        """
        if conditioning.lengths is not None and not unconditional:
            groups = conditioning.rows_by_length()
            sizes = [None if size_conditioning is None else size_conditioning[rows] for rows in groups]
            parts = [
                self.predict(noisy[rows], timesteps[rows], conditioning[rows], own, guidance)
                for rows, own in zip(groups, sizes, strict=True)
            ]
            return torch.cat(parts)[_original_order(groups)]
        self.residency.bring([part for part in self.modules if part != "vae" and not part.startswith("text_encoder")])
        memory_format = torch.channels_last if self.denoiser == "unet" else torch.preserve_format
        with autocast(self.device, self.dtype):
            noisy = noisy.to(self.dtype, memory_format=memory_format)
            conditioning = conditioning.to(self.dtype)
            inputs = DenoiserInputs(noisy, timesteps, conditioning, size_conditioning, guidance)
            predict = self._calls.predict_unconditional if unconditional else self._calls.predict
            if predict is None:
                raise InputError("Argument `unconditional` must be False for a base without a second denoiser.")
            return predict(inputs).float()

    @contextlib.contextmanager
    def unassisted(self) -> Iterator[None]:
        """Take the assistant's effect away for a while."""
        if self.assistant is None:
            yield
            return
        self.assistant.scale = 0
        try:
            yield
        finally:
            self.assistant.scale = 1

    def pipeline(self) -> Any:
        """Build a diffusers pipeline that shares the modules, adapters included."""
        import diffusers

        scheduler = self.scheduler_config.get("_class_name", self._family.default_scheduler)
        scheduler_class = getattr(diffusers, scheduler)
        return self._components.build_pipeline(scheduler=scheduler_class.from_config(dict(self.scheduler_config)))


def _original_order(groups: Sequence[Sequence[int]]) -> list[int]:
    """Positions of rows 0, 1, ... in the groups one after another."""
    position = {row: place for place, row in enumerate(row for rows in groups for row in rows)}
    return [position[row] for row in range(len(position))]


def _forward_process(base: Base, family: Family) -> ForwardProcess:
    process = family.forward_process.from_config(base.scheduler_config, base.device)
    if isinstance(process, FlowMatching):
        return process.with_sizes(base.size_multiple, base.resolution)
    return process


def _load_parts(base: Base, classes: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The modules and the tokenizers, by part; each part is quantised before the next one is loaded."""
    modules: dict[str, Any] = {}
    tokenizers: dict[str, Any] = {}
    for part, path in classes.items():
        if is_tokenizer(part):
            tokenizers[part] = base.files.load_tokenizer(part, import_class(path))
            continue
        dtype = base._text_dtype if part.startswith("text_encoder") else base.dtype
        modules[part] = base.files.load_module(part, import_class(path), dtype)
        precision = base.precisions.of_part(part)
        if precision in QUANTIZED:
            quantize(modules[part], precision, base.device)
    return modules, tokenizers
