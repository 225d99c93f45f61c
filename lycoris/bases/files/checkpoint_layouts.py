"""The original single-file layouts: how to tell them apart, and how to read and convert each part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lycoris.bases.files import config_inference
from lycoris.bases.files.config_inference import Shapes
from lycoris.bases.files.original_tensors import TensorsOf
from lycoris.errors import InputError

UNET_PREFIX, VAE_PREFIX = "model.diffusion_model.", "first_stage_model."
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class PartLayout:
    """One part of a single file.

    Attributes:
        prefix: prefix of its weights' names.
        config: infers the module's configuration from the shapes of its weights, named without the prefix.
        convert: (module, weights with their prefix, configuration) -> weights under the module's own names.
    """

    prefix: str
    config: Callable[[Shapes], dict[str, Any]]
    convert: Callable[[Any, Tensors, dict[str, Any]], Tensors]


@dataclass(frozen=True)
class CheckpointLayout:
    """The original layout of a family.

    Attributes:
        pipeline: class of the diffusers pipeline.
        parts: its parts, by their names in that pipeline.
        tokenizers: each tokenizer's padding token.
        scheduler: the noise schedule, without the prediction type.
        latent_size: side of the latents that it was trained on, in cells.
        latent_scale: scale and shift of the VAE's latents.
        architecture: `modelspec.architecture` of a file of this layout.
        original_tensors: part → module → its tensors in a file of this layout; empty if none are written.
    """

    pipeline: str
    parts: Mapping[str, PartLayout]
    tokenizers: Mapping[str, str]
    scheduler: Mapping[str, Any]
    latent_size: int
    latent_scale: tuple[float, float | None]
    architecture: str = ""
    original_tensors: Mapping[str, TensorsOf] = field(default_factory=dict)


class UnknownLayoutError(InputError):
    """A file has none of the layouts with all parts."""


def detect_layout(
    names: Mapping[str, Any],
    path: object,
    layouts: Mapping[str, CheckpointLayout],
    optional: Sequence[str] = (),
) -> str:
    """Find a file's layout by the prefixes of its parts.

    Args:
        names: names of its weights.
        path: the file, for the error message.
        layouts: name -> layout; the first that fits is the file's.
        optional: parts that may be missing.

    Returns:
        The name of the layout.

    Raises:
        InputError: the file has no known layout, lacks a part, or is an adapter.
    """
    if "edm_mean" in names:
        raise InputError(f"Base `{path}` has EDM's noise schedule (Playground), which no family supports.")
    for name, layout in layouts.items():
        prefixes = [part.prefix for name, part in layout.parts.items() if name not in optional]
        if all(any(key.startswith(prefix) for key in names) for prefix in prefixes):
            return name
    if any(key.startswith("lora_") for key in names):
        raise InputError(f"Base `{path}` is an adapter and not a base; `lycoris.load` loads it onto one.")
    needed = "; ".join(
        f"{name}: {', '.join(part.prefix + '*' for part in layout.parts.values())}" for name, layout in layouts.items()
    )
    roots = sorted({".".join(key.split(".")[:2]) for key in names})
    raise UnknownLayoutError(
        f"Base `{path}` is not a complete model of a known family: text encoders, VAE and denoiser must all be in it. "
        f"Known are {needed}. It has {', '.join(roots[:8]) or 'nothing'}."
    )


def convert_unet(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
    """Rename the weights of a UNet."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    return convert_ldm_unet_checkpoint(weights, config)


def convert_vae(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
    """Rename the weights of a VAE."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    return convert_ldm_vae_checkpoint(weights, config)


def strip_prefix(prefix: str) -> Callable[[Any, Tensors, dict[str, Any]], Tensors]:
    """Make a conversion that removes a prefix from the names of the weights, and nothing else."""

    def convert(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
        stripped = {name.removeprefix(prefix): weight for name, weight in weights.items()}
        if hasattr(module, "text_projection") and "text_projection.weight" not in stripped:
            stripped["text_projection.weight"] = torch.eye(config["projection_dim"])  # SD 3's first CLIP has none
        return match_text_model_prefix(module, stripped)

    return convert


def convert_open_clip(prefix: str) -> Callable[[Any, Tensors, dict[str, Any]], Tensors]:
    """Make a conversion of the weights of an OpenCLIP text encoder with a prefix."""

    def convert(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
        from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

        return match_text_model_prefix(module, convert_open_clip_checkpoint(module, weights, prefix=prefix))

    return convert


def match_text_model_prefix(module: Any, weights: Tensors) -> Tensors:
    """Text encoders without projection have a `text_model` in some versions of transformers and none in others."""
    if hasattr(module, "text_model"):
        return weights
    return {name.removeprefix("text_model."): weight for name, weight in weights.items()}


def openai_clip(prefix: str) -> PartLayout:
    """The layout of OpenAI's CLIP text encoder with a prefix."""
    return PartLayout(
        prefix, lambda shapes: config_inference.clip_config(shapes, activation="quick_gelu"), strip_prefix(prefix)
    )


DDIM_CONFIG = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
PAD_END, PAD_ZERO = "<|endoftext|>", "!"
