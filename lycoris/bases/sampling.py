"""Generate images with a base and the adapters attached to it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from lycoris.bases.schedulers import SCHEDULERS, build_scheduler, is_flow_matching
from lycoris.bases.shapes import Images, Latents
from lycoris.errors import InputError

if TYPE_CHECKING:
    from lycoris.bases import Base, TextConditioning

__all__ = ["SCHEDULERS", "GenerationSettings", "generate"]


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How images are generated.

    Attributes:
        steps: steps of the sampler.
        guidance: classifier-free guidance scale (Ho & Salimans, "Classifier-Free Diffusion Guidance", in the form where
            1 means none): moves the prediction from the negative prompt's through the prompt's by this factor. 1
            halves the cost.
        batch_size: images generated at a time.
        scheduler: a key of `SCHEDULERS` or the name of a scheduler class of diffusers; None means ``"ddim"``, or
            ``"flow-euler"`` for a flow-matching base.
        negative_prompt: the prompt to move away from.
        height: in pixels; None means the base's resolution.
        width: in pixels; None means the base's resolution.
    """

    steps: int = 25
    guidance: float = 7.0
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
        InputError: `prompts` and `seeds` differ in length, a size is not a multiple of the base's `vae_scale_factor`,
            a name or number is out of range, or the scheduler does not fit the base.
    """
    settings = settings or GenerationSettings()
    height, width = settings.height or base.resolution, settings.width or base.resolution
    _check_arguments(base, prompts, seeds, settings, {"height": height, "width": width})
    scheduler = build_scheduler(base.scheduler_config, settings.scheduler)
    if not prompts:
        return []
    is_guided = settings.guidance != 1.0
    distinct = list(dict.fromkeys([settings.negative_prompt, *prompts] if is_guided else prompts))
    encoded = base.encode_text(distinct)
    rows = {prompt: row for row, prompt in enumerate(distinct)}
    shape = (base.latent_channels, height // base.vae_scale_factor, width // base.vae_scale_factor)
    steps = settings.steps
    starts = range(0, len(prompts), settings.batch_size)
    images: list[Image.Image] = []
    for batch, start in enumerate(starts):
        texts = list(prompts[start : start + settings.batch_size])
        noise = _initial_noise(shape, seeds[start : start + settings.batch_size])
        if is_guided:
            texts = [settings.negative_prompt] * len(texts) + texts

        def on_step(step: int, done: int = batch * steps) -> None:
            if progress is not None:
                progress(done + step, len(starts) * steps)

        conditioning = encoded[[rows[text] for text in texts]]
        latents = _denoise(base, conditioning, noise, copy.deepcopy(scheduler), settings, on_step)
        images += _to_images(base.decode_latents(latents))
    return images


@dataclass(frozen=True)
class _Noise:
    """Initial noise of a batch, and the generators that continue its streams."""

    tensor: Latents
    generators: list[torch.Generator]


def _initial_noise(shape: tuple[int, int, int], seeds: Sequence[int]) -> _Noise:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return _Noise(torch.stack([torch.randn(shape, generator=generator) for generator in generators]), generators)


def _denoise(
    base: Base,
    conditioning: TextConditioning,
    noise: _Noise,
    scheduler: Any,
    settings: GenerationSettings,
    on_step: Callable[[int], None],
) -> Latents:
    scheduler.set_timesteps(settings.steps, device=base.device)
    flow = is_flow_matching(base.scheduler_config)  # its schedulers scale neither the noise nor the input
    latents = noise.tensor.to(base.device) if flow else noise.tensor.to(base.device) * scheduler.init_noise_sigma
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": noise.generators} if takes_generator else {}
    count, calls = len(latents), len(scheduler.timesteps)
    for call, time in enumerate(scheduler.timesteps, start=1):
        scaled = latents if flow else scheduler.scale_model_input(latents, time)
        if settings.guidance == 1.0:
            prediction = base.predict(scaled, time.expand(count), conditioning)
        else:
            both = base.predict(torch.cat([scaled, scaled]), time.expand(2 * count), conditioning)
            unconditional, conditional = both.chunk(2)
            prediction = torch.lerp(unconditional, conditional, settings.guidance)
        latents = scheduler.step(prediction, time, latents, return_dict=False, **extra)[0]
        on_step(settings.steps * call // calls)
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
        if side < base.vae_scale_factor or side % base.vae_scale_factor:
            raise InputError(f"Argument `{name}` must be a multiple of {base.vae_scale_factor} pixels, but got {side}.")
