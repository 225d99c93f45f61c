"""The original single-file layouts: how to tell them apart, and how to read and convert each part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lycoris.bases.files import config_inference
from lycoris.bases.files.config_inference import Shapes
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
    """

    pipeline: str
    parts: Mapping[str, PartLayout]
    tokenizers: Mapping[str, str]
    scheduler: Mapping[str, Any]
    latent_size: int


def detect_layout(names: Mapping[str, Any], path: object) -> str:
    """Find the key in `LAYOUTS` of a file.

    Args:
        names: names of its weights.
        path: the file, for the error message.

    Raises:
        InputError: the file has no known layout, lacks a part, or is an adapter.
    """
    if "edm_mean" in names:
        raise InputError(f"Base `{path}` has EDM's noise schedule (Playground), which no family supports.")
    for name, layout in LAYOUTS.items():
        prefixes = [part.prefix for part in layout.parts.values()]
        if all(any(key.startswith(prefix) for key in names) for prefix in prefixes):
            return name
    if any(key.startswith("lora_") for key in names):
        raise InputError(f"Base `{path}` is an adapter and not a base; `lycoris.load` loads it onto one.")
    needed = "; ".join(
        f"{name}: {', '.join(part.prefix + '*' for part in layout.parts.values())}" for name, layout in LAYOUTS.items()
    )
    roots = sorted({".".join(key.split(".")[:2]) for key in names})
    raise InputError(
        f"Base `{path}` is not a complete model of a known family: text encoders, VAE and denoiser must all be in it. "
        f"Known are {needed}. It has {', '.join(roots[:8]) or 'nothing'}."
    )


def _convert_unet(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    return convert_ldm_unet_checkpoint(weights, config)


def _convert_vae(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    return convert_ldm_vae_checkpoint(weights, config)


def _convert_sd3_transformer(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
    from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers

    return convert_sd3_transformer_checkpoint_to_diffusers(dict(weights))


def _strip_prefix(prefix: str) -> Callable[[Any, Tensors, dict[str, Any]], Tensors]:
    def convert(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
        stripped = {name.removeprefix(prefix): weight for name, weight in weights.items()}
        if hasattr(module, "text_projection") and "text_projection.weight" not in stripped:
            stripped["text_projection.weight"] = torch.eye(config["projection_dim"])  # SD 3's first CLIP has none
        return _match_text_model_prefix(module, stripped)

    return convert


def _convert_open_clip(prefix: str) -> Callable[[Any, Tensors, dict[str, Any]], Tensors]:
    def convert(module: Any, weights: Tensors, config: dict[str, Any]) -> Tensors:
        from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

        return _match_text_model_prefix(module, convert_open_clip_checkpoint(module, weights, prefix=prefix))

    return convert


def _match_text_model_prefix(module: Any, weights: Tensors) -> Tensors:
    """Text encoders without projection have a `text_model` in some versions of transformers and none in others."""
    if hasattr(module, "text_model"):
        return weights
    return {name.removeprefix("text_model."): weight for name, weight in weights.items()}


def _openai_clip(prefix: str) -> PartLayout:
    return PartLayout(
        prefix, lambda shapes: config_inference.clip_config(shapes, activation="quick_gelu"), _strip_prefix(prefix)
    )


_SDXL_CLIP_L, _SDXL_CLIP_G = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
_SD3_CLIP_G = "text_encoders.clip_g.transformer."
_SD2_OPEN_CLIP = "cond_stage_model.model."
_DDIM_CONFIG = {
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
_PAD_END, _PAD_ZERO = "<|endoftext|>", "!"
_SD_VAE = PartLayout(VAE_PREFIX, lambda shapes: config_inference.vae_config(shapes, scale=0.18215), _convert_vae)

LAYOUTS: dict[str, CheckpointLayout] = {
    "sd1": CheckpointLayout(
        "StableDiffusionPipeline",
        {
            "unet": PartLayout(
                UNET_PREFIX, lambda shapes: config_inference.unet_config(shapes, eight_heads=True), _convert_unet
            ),
            "vae": _SD_VAE,
            "text_encoder": _openai_clip("cond_stage_model.transformer."),
        },
        {"tokenizer": _PAD_END},
        _DDIM_CONFIG,
        64,
    ),
    "sd2": CheckpointLayout(
        "StableDiffusionPipeline",
        {
            "unet": PartLayout(
                UNET_PREFIX, lambda shapes: config_inference.unet_config(shapes, eight_heads=False), _convert_unet
            ),
            "vae": _SD_VAE,
            "text_encoder": PartLayout(
                _SD2_OPEN_CLIP,
                lambda shapes: config_inference.open_clip_config(shapes, drop_last_layer=True),
                _convert_open_clip(_SD2_OPEN_CLIP),
            ),
        },
        {"tokenizer": _PAD_ZERO},
        _DDIM_CONFIG,
        64,
    ),
    "sdxl": CheckpointLayout(
        "StableDiffusionXLPipeline",
        {
            "unet": PartLayout(
                UNET_PREFIX, lambda shapes: config_inference.unet_config(shapes, eight_heads=False), _convert_unet
            ),
            "vae": PartLayout(
                VAE_PREFIX, lambda shapes: config_inference.vae_config(shapes, scale=0.13025), _convert_vae
            ),
            "text_encoder": _openai_clip(_SDXL_CLIP_L),
            "text_encoder_2": PartLayout(
                _SDXL_CLIP_G,
                lambda shapes: config_inference.open_clip_config(shapes, drop_last_layer=False),
                _convert_open_clip(_SDXL_CLIP_G),
            ),
        },
        {"tokenizer": _PAD_END, "tokenizer_2": _PAD_ZERO},
        _DDIM_CONFIG,
        128,
    ),
    "sd3": CheckpointLayout(
        "StableDiffusion3Pipeline",
        {
            "transformer": PartLayout(UNET_PREFIX, config_inference.sd3_transformer_config, _convert_sd3_transformer),
            "vae": PartLayout(
                VAE_PREFIX, lambda shapes: config_inference.vae_config(shapes, scale=1.5305, shift=0.0609), _convert_vae
            ),
            "text_encoder": _openai_clip("text_encoders.clip_l.transformer."),
            "text_encoder_2": PartLayout(
                _SD3_CLIP_G,
                lambda shapes: config_inference.clip_config(shapes, activation="gelu"),
                _strip_prefix(_SD3_CLIP_G),
            ),
        },
        {"tokenizer": _PAD_END, "tokenizer_2": _PAD_ZERO},
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
        128,
    ),
}
"""The original layouts, distinguished by the prefixes of their parts."""
