"""Generate images with a base and the adapters attached to it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from lycoris.bases.packing import unpack
from lycoris.bases.schedulers import SCHEDULERS, is_flow_matching
from lycoris.bases.shapes import Images, Latents
from lycoris.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from lycoris.bases import Base, TextConditioning

__all__ = ["SCHEDULERS", "GenerationSettings", "generate"]


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How images are generated.

    Attributes:
        steps: steps of the sampler.
        guidance: guidance scale, where 1 means none: of classifier-free guidance (Ho & Salimans, "Classifier-Free
            Diffusion Guidance"), which moves the prediction from the negative prompt's through the prompt's by this
            factor, and where 1 halves the cost; or of a denoiser with embedded guidance. None means the base's default.
        batch_size: images generated at a time.
        scheduler: a key of `SCHEDULERS` or the name of a scheduler class of diffusers; None means ``"ddim"``, or
            ``"flow-euler"`` for a flow-matching base.
        negative_prompt: the prompt to move away from.
        height: in pixels; None means the base's resolution.
        width: in pixels; None means the base's resolution.
    """

    steps: int = 25
    guidance: float | None = None
    batch_size: int = 16
    scheduler: str | None = None
    negative_prompt: str = ""
    height: int | None = None
    width: int | None = None


@torch.no_grad()
def generate(
    base: Base,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: GenerationSettings | None = None,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> list[Image.Image]:
    """Generate one image per prompt.

    An image's noise comes from its own seed alone, on the CPU. It does not depend on the batch or the device, and
    equals that of a diffusers pipeline with a list of CPU generators.

    Args:
        base: a base, with adapters attached to its parts or without.
        prompts: one per image.
        seeds: one per image.
        settings: sampler, guidance and sizes; None means the defaults of `GenerationSettings`.
        progress: called as (steps done, steps in total), counting every batch's steps.

    Returns:
        The images in the order of the prompts.

    Raises:
        InputError: `prompts` and `seeds` differ in length, a size is not a multiple of the base's `size_multiple`,
            a name or number is out of range, the scheduler does not fit the base, or the base has no guidance of the
            kind that the settings ask for.
    """
    settings = settings or GenerationSettings()
    height, width = settings.height or base.resolution, settings.width or base.resolution
    _check_arguments(base, prompts, seeds, settings, {"height": height, "width": width})
    scale = base.guidance.default if settings.guidance is None else settings.guidance
    is_guided = base.guidance.kind == "classifier-free" and scale != 1.0
    uses_negative = is_guided and not base.has_unconditional_denoiser
    tokens = (height // base.size_multiple) * (width // base.size_multiple)
    steps = settings.steps
    scheduler = base.schedule.build_scheduler(base.scheduler_config, settings.scheduler, steps, tokens)
    if not prompts:
        return []
    distinct = list(dict.fromkeys([settings.negative_prompt, *prompts] if uses_negative else prompts))
    encoded = base.encode_text(distinct)
    negative = None
    if uses_negative:
        apart = base.guidance.has_own_encoding
        negative = base.encode_text([settings.negative_prompt], negative=True) if apart else encoded[:1]
    rows = {prompt: row for row, prompt in enumerate(distinct)}
    shape = (base.latent_channels, height // base.vae_scale_factor, width // base.vae_scale_factor)
    starts = range(0, len(prompts), settings.batch_size)
    images: list[Image.Image] = []
    for batch, start in enumerate(starts):
        texts = list(prompts[start : start + settings.batch_size])
        noise = _initial_noise(shape, seeds[start : start + settings.batch_size], by_token=base.noise_by_token)

        def on_step(step: int, done: int = batch * steps) -> None:
            if progress is not None:
                progress(done + step, len(starts) * steps)

        denoising = Denoising(
            encoded[[rows[text] for text in texts]],
            None if negative is None else negative[[0] * len(texts)],
            is_guided,
            scale,
            steps,
            tokens,
        )
        with base.unassisted():
            latents = _denoise(base, denoising, noise, copy.deepcopy(scheduler), on_step)
        images += _to_images(base.decode_latents(latents))
    return images


@dataclass(frozen=True)
class _Noise:
    """Initial noise of a batch, and the generators that continue its streams."""

    tensor: Latents
    generators: list[torch.Generator]


@dataclass(frozen=True)
class Denoising:
    """What a batch is denoised with: the conditioning of its prompts and of the negative one, if that is used."""

    conditional: TextConditioning
    unconditional: TextConditioning | None
    is_guided: bool
    scale: float
    steps: int
    tokens: int

    def predict(self, base: Base, latents: Latents, time: Tensor) -> Latents:
        """The guided prediction."""
        count = len(latents)
        if not self.is_guided:
            return base.predict(latents, time.expand(count), self.conditional, guidance=self.scale)
        if self.unconditional is None:
            conditional = base.predict(latents, time.expand(count), self.conditional)
            unconditional = base.predict(latents, time.expand(count), self.conditional, unconditional=True)
        elif base.guidance.is_batched:
            both = type(self.conditional).cat([self.unconditional, self.conditional])
            prediction = base.predict(torch.cat([latents, latents]), time.expand(2 * count), both)
            unconditional, conditional = prediction.chunk(2)
        else:
            conditional = base.predict(latents, time.expand(count), self.conditional)
            unconditional = base.predict(latents, time.expand(count), self.unconditional)
        return base.guidance.combine(unconditional, conditional, self.scale)


def _initial_noise(shape: tuple[int, int, int], seeds: Sequence[int], *, by_token: bool) -> _Noise:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    channels, rows, columns = shape
    size = (rows * columns, channels) if by_token else shape
    noise = torch.stack([torch.randn(size, generator=generator) for generator in generators])
    return _Noise(unpack(noise, rows, columns, 1) if by_token else noise, generators)


def _denoise(
    base: Base, denoising: Denoising, noise: _Noise, scheduler: Any, on_step: Callable[[int], None]
) -> Latents:
    base.schedule.set_timesteps(scheduler, denoising.steps, denoising.tokens, base.device)
    flow = is_flow_matching(base.scheduler_config)  # its schedulers scale neither the noise nor the input
    latents = noise.tensor.to(base.device) if flow else noise.tensor.to(base.device) * scheduler.init_noise_sigma
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": noise.generators} if takes_generator else {}
    calls = len(scheduler.timesteps)
    for call, time in enumerate(scheduler.timesteps, start=1):
        scaled = latents if flow else scheduler.scale_model_input(latents, time)
        prediction = denoising.predict(base, scaled, time)
        latents = scheduler.step(prediction, time, latents, return_dict=False, **extra)[0]
        on_step(denoising.steps * call // calls)
    return latents


def _to_images(images: Images) -> list[Image.Image]:
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(image) for image in pixels]


def _check_arguments(
    base: Base, prompts: Sequence[str], seeds: Sequence[int], settings: GenerationSettings, sides: dict[str, int]
) -> None:
    if isinstance(prompts, str):
        raise InputError(f"Argument `prompts` must be a sequence of prompts, but got one string {prompts!r}.")
    if len(prompts) != len(seeds):
        raise InputError(
            f"Arguments `prompts` and `seeds` must have the same length, but have {len(prompts)} and {len(seeds)}."
        )
    for name, value in {"steps": settings.steps, "batch_size": settings.batch_size}.items():
        if value < 1:
            raise InputError(f"Argument `{name}` must be at least 1, but got {value}.")
    for name, side in sides.items():
        if side < base.size_multiple or side % base.size_multiple:
            raise InputError(f"Argument `{name}` must be a multiple of {base.size_multiple} pixels, but got {side}.")
    kind, scale = base.guidance.kind, settings.guidance
    if kind == "none" and scale not in (None, 1.0):
        raise InputError(
            f"Argument `guidance` must be None or 1 for base `{base.source}`, which was distilled to few steps without "
            f"guidance, but got {scale:g}."
        )
    if (kind != "classifier-free" or base.has_unconditional_denoiser) and settings.negative_prompt:
        raise InputError(
            f"Argument `negative_prompt` must be empty for base `{base.source}`, which has no negative "
            f"prompts, but got {settings.negative_prompt!r}."
        )
