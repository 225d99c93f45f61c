"""The original layouts of transformers in one file, converted by diffusers' own functions.

Two of these functions have the widths of the published models in them; what depends on a width is split here instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]
PREFIXES = ("model.diffusion_model.", "diffusion_model.")
"""What ComfyUI and others put before the names of a transformer's weights."""
_COUNTED = {"num_layers": "transformer_blocks", "num_single_layers": "single_transformer_blocks"}
"""Entry of a configuration → the blocks that it counts."""


@dataclass(frozen=True)
class TransformerLayout:
    """How a family's transformer is named in the files of its authors and of ComfyUI.

    Attributes:
        marks: names that such a file has, without a prefix, and no other family's.
        convert: (weights without prefix, configuration of the transformer) → weights under diffusers' names.
        published: hub name of a model with the other parts.
        text_encoders: name of a text encoder in a full file → the part that it is.
    """

    marks: tuple[str, ...]
    convert: Callable[[Tensors, Mapping[str, Any]], Tensors]
    published: str
    text_encoders: Mapping[str, str] = field(default_factory=dict)

    def matches(self, names: Iterable[str]) -> bool:
        """Whether weights of these names, without prefix, are of the family."""
        return set(self.marks) <= set(names)


def transformer_prefix(names: Iterable[str]) -> str:
    """What all names of a transformer's weights begin with in a file; empty for a file of a transformer alone."""
    names = list(names)
    return next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in names)), "")


def fit_config(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A transformer's configuration with the number of blocks and the embedded guidance that its weights have.

    Args:
        config: of another model of the family.
        names: of the weights, in diffusers.
    """
    names, fitted = list(names), dict(config)
    for entry, blocks in _COUNTED.items():
        indices = {int(match[1]) for name in names if (match := re.match(rf"{blocks}\.(\d+)\.", name))}
        if entry in config and indices:
            fitted[entry] = max(indices) + 1
    if "guidance_embeds" in config and config.get("_class_name") != "QwenImageTransformer2DModel":
        fitted["guidance_embeds"] = any("guidance_embedder." in name for name in names)
    return fitted


def converter(name: str) -> Callable[[Tensors, Mapping[str, Any]], Tensors]:
    """A conversion by one of diffusers' functions.

    Args:
        name: of a function of `diffusers.loaders.single_file_utils`.
    """

    def convert(weights: Tensors, config: Mapping[str, Any]) -> Tensors:
        from diffusers.loaders import single_file_utils

        return getattr(single_file_utils, name)(dict(weights))

    return convert


def same_names(weights: Tensors, config: Mapping[str, Any]) -> Tensors:
    """The conversion of a family whose authors use diffusers' names."""
    return dict(weights)


def convert_flux_1(weights: Tensors, config: Mapping[str, Any]) -> Tensors:
    """Rename and split the weights of FLUX.1."""
    return _split_single_blocks("convert_flux_transformer_checkpoint_to_diffusers", weights, config)


def convert_chroma(weights: Tensors, config: Mapping[str, Any]) -> Tensors:
    """Rename and split the weights of Chroma."""
    return _split_single_blocks("convert_chroma_transformer_checkpoint_to_diffusers", weights, config)


def _split_single_blocks(name: str, weights: Tensors, config: Mapping[str, Any]) -> Tensors:
    """Convert by a function that splits the single blocks' first layer by FLUX.1's width, which is done here."""
    published, width = 3072, config["num_attention_heads"] * config["attention_head_dim"]
    fused = {key: value for key, value in weights.items() if re.fullmatch(r"single_blocks\.\d+\.linear1\.\w+", key)}
    stand_ins = {key: torch.empty(7 * published, *[0] * (value.dim() - 1)) for key, value in fused.items()}
    converted = converter(name)({**weights, **stand_ins}, config)
    for key, value in fused.items():
        _, block, _, kind = key.split(".")
        parts = value.split([width, width, width, value.shape[0] - 3 * width])
        for path, part in zip(("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), parts, strict=True):
            converted[f"single_transformer_blocks.{block}.{path}.{kind}"] = part
    return converted


def convert_lumina_2(weights: Tensors, config: Mapping[str, Any]) -> Tensors:
    """Rename and split the weights of Lumina 2, whose attention layers are split by published widths in diffusers."""
    published, width = (2304, 768, 768), config["hidden_size"]
    keys = width // config["num_attention_heads"] * config["num_kv_heads"]
    fused = {key: value for key, value in weights.items() if key.endswith(".attention.qkv.weight")}
    stand_ins = {key: torch.empty(sum(published), 0) for key in fused}
    converted = converter("convert_lumina2_to_diffusers")({**weights, **stand_ins}, config)
    for key, value in fused.items():
        block = key.removesuffix("attention.qkv.weight")
        for path, part in zip(("to_q", "to_k", "to_v"), value.split([width, keys, keys]), strict=True):
            converted[f"{block}attn.{path}.weight"] = part
    return converted
