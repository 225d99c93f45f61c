"""Drawing pictures with a base and whatever is attached to it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from lycoris.bases.schedulers import SCHEDULERS, build_scheduler, is_flow_matching
from lycoris.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lycoris.bases import Base, TextConditioning

__all__ = ["SCHEDULERS", "generate", "open_scheduler"]


@torch.no_grad()
def generate(
    base: Base,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int = 25,
    guidance: float = 7.0,
    batch_size: int = 16,
    scheduler: str | None = None,
    negative_prompt: str = "",
    height: int | None = None,
    width: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[Image.Image]:
    """Draw one picture for each prompt.

    A picture's noise comes from its own seed alone, on the CPU: it does not depend on the batch or the
    device, and equals that of a diffusers pipeline given a list of CPU generators.

    Guidance moves the prediction from the negative prompt's through the prompt's by the factor `guidance`
    (Ho & Salimans, "Classifier-Free Diffusion Guidance", in the form with 1 for none).

    Args:
        base: draws, with the adapters attached to it.
        prompts: one a picture.
        seeds: one a picture.
        steps: of the sampler.
        guidance: 1 takes the prompt's prediction as it is, at half the cost.
        batch_size: pictures drawn together.
        scheduler: a key of `SCHEDULERS` or the name of a scheduler class of diffusers; when left out ``"ddim"``, or
            ``"flow-euler"`` for a flow-matching base.
        negative: the prompt to move away from.
        height: in pixels; the base's resolution when left out.
        width: in pixels; the base's resolution when left out.
        progress: called as (steps done, steps in all), counting every batch's steps.

    Returns:
        Pictures in the order of the prompts.

    Raises:
        InputError: lengths differ, a size is no multiple of the base's factor, a name or number is out of range,
            or the scheduler does not fit the base.
    """
    height, width = height or base.resolution, width or base.resolution
    _check_arguments(base, prompts, seeds, steps, batch_size, {"height": height, "width": width})
    sampler = open_scheduler(scheduler, base)
    if not prompts:
        return []
    guided = guidance != 1.0
    distinct = list(dict.fromkeys([negative_prompt, *prompts] if guided else prompts))
    known = base.encode_text(distinct)
    places = {prompt: place for place, prompt in enumerate(distinct)}
    shape = (base.latent_channels, height // base.vae_scale_factor, width // base.vae_scale_factor)
    starts = range(0, len(prompts), batch_size)
    images: list[Image.Image] = []
    for batch, start in enumerate(starts):
        some = list(prompts[start : start + batch_size])
        asked = [negative_prompt] * len(some) + some if guided else some
        conditions = known[[places[prompt] for prompt in asked]]

        def tell(step: int, done: int = batch * steps) -> None:
            if progress is not None:
                progress(done + step, len(starts) * steps)

        latents = _denoise(
            base,
            conditions,
            shape,
            seeds[start : start + batch_size],
            copy.deepcopy(sampler),
            steps,
            guidance if guided else None,
            tell,
        )
        images += _to_images(base.decode_latents(latents))
    return images


def open_scheduler(name: str | None, base: Base) -> Any:
    """A diffusers scheduler on the base's noise schedule.

    Args:
        name: as for `draw`.
        base: to draw with.

    Raises:
        InputError: there is no such scheduler, or it does not fit the base; `lycoris.bases.schedulers` says when.
    """
    return build_scheduler(base.scheduler_config, name)


def _denoise(
    base: Base,
    conditioning: TextConditioning,
    shape: tuple[int, int, int],
    seeds: Sequence[int],
    scheduler: Any,
    steps: int,
    guidance: float | None,
    on_step: Callable[[int], None],
) -> Float[Tensor, "batch channels rows columns"]:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    scheduler.set_timesteps(steps, device=base.device)
    noise = torch.stack([torch.randn(shape, generator=own) for own in generators])
    flow = is_flow_matching(base.scheduler_config)  # whose schedulers scale neither the noise nor the input
    latents = noise.to(base.device) if flow else noise.to(base.device) * scheduler.init_noise_sigma
    takes_noise = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": generators} if takes_noise else {}
    calls = len(scheduler.timesteps)
    for call, time in enumerate(scheduler.timesteps, start=1):
        seen = latents if flow else scheduler.scale_model_input(latents, time)
        if guidance is None:
            prediction = base.predict(seen, time.expand(len(seeds)), conditioning)
        else:
            both = base.predict(torch.cat([seen, seen]), time.expand(2 * len(seeds)), conditioning)
            away, towards = both.chunk(2)
            prediction = torch.lerp(away, towards, guidance)
        latents = scheduler.step(prediction, time, latents, return_dict=False, **extra)[0]
        on_step(steps * call // calls)
    return latents


def _to_images(images: Float[Tensor, "batch 3 height width"]) -> list[Image.Image]:
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(one) for one in pixels]


def _check_arguments(
    base: Base,
    prompts: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    batch_size: int,
    sides: dict[str, int],
) -> None:
    if isinstance(prompts, str):
        raise InputError(f"Argument `prompts` must be a sequence of prompts, but got one string {prompts!r}.")
    if len(prompts) != len(seeds):
        raise InputError(
            f"Arguments `prompts` and `seeds` must be of one length, but have {len(prompts)} and {len(seeds)}."
        )
    for name, value in {"steps": steps, "batch_size": batch_size}.items():
        if value < 1:
            raise InputError(f"Argument `{name}` must be at least 1, but got {value}.")
    for name, side in sides.items():
        if side < base.vae_scale_factor or side % base.vae_scale_factor:
            raise InputError(f"Argument `{name}` must be a multiple of {base.vae_scale_factor} pixels, but got {side}.")
