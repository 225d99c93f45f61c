"""What a single file in the original layout holds: its family, and where and in which form each part stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lycoris.bases.files import config_inference
from lycoris.bases.files.config_inference import Shapes
from lycoris.errors import InputError

UNET, VAE = "model.diffusion_model.", "first_stage_model."
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Part:
    """One part of a single file.

    Attributes:
        prefix: of its weights' names.
        config: what the module is built from, read off the shapes of its weights without the prefix.
        convert: (module, weights with their prefix, configuration) -> weights under the module's own names.
    """

    prefix: str
    config: Callable[[Shapes], dict[str, Any]]
    convert: Callable[[Any, Tensors, dict[str, Any]], Tensors]


@dataclass(frozen=True)
class Layout:
    """The original layout of a family.

    Attributes:
        pipeline: the class that diffusers opens it with.
        parts: by their names in that pipeline.
        tokenizers: what each pads with.
        scheduler: the noise schedule, but for what is predicted.
        side: of the latents that it was trained on, in cells.
    """

    pipeline: str
    parts: Mapping[str, Part]
    tokenizers: Mapping[str, str]
    scheduler: Mapping[str, Any]
    side: int


def layout_of(names: Mapping[str, Any], path: object) -> str:
    """The key in `LAYOUTS` of a file.

    Args:
        names: of its weights.
        path: of the file, for the message.

    Raises:
        InputError: it is of none of the families, lacks its text encoders, or is an adapter.
    """
    if "edm_mean" in names:
        raise InputError(f"Base `{path}` is of EDM's noise schedule (Playground), which no family opens.")
    for name, layout in LAYOUTS.items():
        prefixes = [part.prefix for part in layout.parts.values()]
        if all(any(key.startswith(prefix) for key in names) for prefix in prefixes):
            return name
    if any(key.startswith("lora_") for key in names):
        raise InputError(f"Base `{path}` is an adapter and not a base; `lycoris.load` opens it on one.")
    needed = "; ".join(
        f"{name}: {', '.join(part.prefix + '*' for part in layout.parts.values())}" for name, layout in LAYOUTS.items()
    )
    roots = sorted({".".join(key.split(".")[:2]) for key in names})
    raise InputError(
        f"Base `{path}` is no whole model that a family opens: text encoders, VAE and denoiser must all be in it. "
        f"Known are {needed}. It has {', '.join(roots[:8]) or 'nothing'}."
    )


def _unet(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    return convert_ldm_unet_checkpoint(weights, config)


def _vae(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    return convert_ldm_vae_checkpoint(weights, config)


def _sd3(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
    from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers

    return convert_sd3_transformer_checkpoint_to_diffusers(dict(weights))


def _own_names(prefix: str) -> Callable[[Any, Tensors, dict[str, Any]], Tensors]:
    def convert(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
        found = {name.removeprefix(prefix): weight for name, weight in weights.items()}
        if hasattr(module, "text_projection") and "text_projection.weight" not in found:
            found["text_projection.weight"] = torch.eye(config["projection_dim"])  # SD 3's first CLIP has none
        return _flattened(module, found)

    return convert


def _open_clip(prefix: str) -> Callable[[Any, Tensors, dict[str, Any]], Tensors]:
    def convert(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
        from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

        return _flattened(module, convert_open_clip_checkpoint(module, weights, prefix=prefix))

    return convert


def _flattened(module: Any, weights: Tensors) -> Tensors:
    """Some versions of transformers have `text_model` in a text encoder without projection, some not."""
    if hasattr(module, "text_model"):
        return weights
    return {name.removeprefix("text_model."): weight for name, weight in weights.items()}


def _openai(prefix: str) -> Part:
    return Part(prefix, lambda shapes: config_inference.clip(shapes, act="quick_gelu"), _own_names(prefix))


_FIRST, _SECOND = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
_CLIP_G = "text_encoders.clip_g.transformer."
_OPEN_CLIP = "cond_stage_model.model."
_BETAS = {
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
_END, _ZERO = "<|endoftext|>", "!"
_SD_VAE = Part(VAE, lambda shapes: config_inference.vae(shapes, scale=0.18215), _vae)

LAYOUTS: dict[str, Layout] = {
    "sd1": Layout(
        "StableDiffusionPipeline",
        {
            "unet": Part(UNET, lambda shapes: config_inference.unet(shapes, eight_heads=True), _unet),
            "vae": _SD_VAE,
            "text_encoder": _openai("cond_stage_model.transformer."),
        },
        {"tokenizer": _END},
        _BETAS,
        64,
    ),
    "sd2": Layout(
        "StableDiffusionPipeline",
        {
            "unet": Part(UNET, lambda shapes: config_inference.unet(shapes, eight_heads=False), _unet),
            "vae": _SD_VAE,
            "text_encoder": Part(
                _OPEN_CLIP,
                lambda shapes: config_inference.open_clip(shapes, without_last=True),
                _open_clip(_OPEN_CLIP),
            ),
        },
        {"tokenizer": _ZERO},
        _BETAS,
        64,
    ),
    "sdxl": Layout(
        "StableDiffusionXLPipeline",
        {
            "unet": Part(UNET, lambda shapes: config_inference.unet(shapes, eight_heads=False), _unet),
            "vae": Part(VAE, lambda shapes: config_inference.vae(shapes, scale=0.13025), _vae),
            "text_encoder": _openai(_FIRST),
            "text_encoder_2": Part(
                _SECOND, lambda shapes: config_inference.open_clip(shapes, without_last=False), _open_clip(_SECOND)
            ),
        },
        {"tokenizer": _END, "tokenizer_2": _ZERO},
        _BETAS,
        128,
    ),
    "sd3": Layout(
        "StableDiffusion3Pipeline",
        {
            "transformer": Part(UNET, config_inference.sd3_transformer, _sd3),
            "vae": Part(VAE, lambda shapes: config_inference.vae(shapes, scale=1.5305, shift=0.0609), _vae),
            "text_encoder": _openai("text_encoders.clip_l.transformer."),
            "text_encoder_2": Part(
                _CLIP_G, lambda shapes: config_inference.clip(shapes, act="gelu"), _own_names(_CLIP_G)
            ),
        },
        {"tokenizer": _END, "tokenizer_2": _ZERO},
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
        128,
    ),
}
"""The original layouts, told apart by the prefixes of their parts."""
