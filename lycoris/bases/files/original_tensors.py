"""Where the parameters of diffusers' and transformers' modules are in the original single-file layouts, as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lycoris.adapters.files.families import SD_3
from lycoris.adapters.files.families.unet import find_layout, original_unet_paths, to_original_path

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class OriginalTensor:
    """A tensor of a single file.

    Attributes:
        parameters: whose rows it has, one after the other, by their names in the module.
        transposed: whether rows and columns are exchanged.
        halves_swapped: whether the two halves of the rows are in the other order.
        as_convolution: whether a matrix is stored as a convolution of size 1.
    """

    parameters: tuple[str, ...]
    transposed: bool = False
    halves_swapped: bool = False
    as_convolution: bool = False

    def join(self, values: list[Tensor]) -> Tensor:
        """Return the tensor.

        Args:
            values: of `parameters`, in this order.
        """
        joined = torch.cat(values) if len(values) > 1 else values[0]
        if self.halves_swapped:
            joined = torch.cat(joined.chunk(2)[::-1])
        if self.transposed:
            joined = joined.t()
        return joined[:, :, None, None] if self.as_convolution else joined


OriginalTensors = dict[str, OriginalTensor]
"""Name in the single file → what it is."""
TensorsOf = Callable[["nn.Module"], OriginalTensors]
"""A part's module → its tensors."""

_VAE_PATHS = {
    "{}.down_blocks.{}.resnets.{}": "{}.down.{}.block.{}",
    "{}.down_blocks.{}.downsamplers.0": "{}.down.{}.downsample",
    "{}.up_blocks.{}.resnets.{}": "{}.up.{}.block.{}",
    "{}.up_blocks.{}.upsamplers.0": "{}.up.{}.upsample",
    "{}.mid_block.resnets.0": "{}.mid.block_1",
    "{}.mid_block.resnets.1": "{}.mid.block_2",
    "{}.mid_block.attentions.0": "{}.mid.attn_1",
    "{}.conv_norm_out": "{}.norm_out",
}
"""Beginning of a path in `AutoencoderKL` → in the original. The decoder counts its levels from the other end."""
_VAE_LAYERS = {
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
"""End of a path → in the original."""
_SD3_POSITIONS = "pos_embed.pos_embed"
_OPEN_CLIP_NAMES = {
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
}
_OPEN_CLIP_LAYERS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
"""Path in a layer of transformers' CLIP → in OpenCLIP's; queries, keys and values are one tensor there."""


def unet_tensors(prefix: str) -> TensorsOf:
    """Build a function that returns the tensors of a UNet of SD 1.x, 2.x or XL, under names with a prefix."""

    def tensors(unet: nn.Module) -> OriginalTensors:
        layout = find_layout(unet)
        paths = original_unet_paths(layout) if layout is not None else {}
        found: OriginalTensors = {}
        for name in unet.state_dict():
            path, _, kind = name.rpartition(".")
            original = to_original_path(path, paths)
            if original is not None:
                found[f"{prefix}{original}.{kind}"] = OriginalTensor((name,))
        return found

    return tensors


def sd3_tensors(prefix: str) -> TensorsOf:
    """Build a function that returns the tensors of SD 3's transformer, under names with a prefix.

    Queries, keys and values are one tensor, and some shifts and scales are exchanged.
    """

    def tensors(transformer: nn.Module) -> OriginalTensors:
        values = transformer.state_dict()
        weights = {name.rpartition(".")[0]: value for name, value in values.items() if name.endswith(".weight")}
        places = SD_3.original_rows({path: (len(value), value[0].numel()) for path, value in weights.items()})
        members: dict[str, dict[int, str]] = {}
        swapped: set[str] = set()
        for name in values:
            path, _, kind = name.rpartition(".")
            place = places.get(path)
            if name == _SD3_POSITIONS:
                members["pos_embed"] = {0: name}
            elif place is not None:
                members.setdefault(f"{place.path}.{kind}", {})[place.index] = name
                swapped |= {f"{place.path}.{kind}"} if place.halves_swapped else set()
        return {
            prefix + original: OriginalTensor(
                tuple(names[index] for index in sorted(names)), halves_swapped=original in swapped
            )
            for original, names in members.items()
        }

    return tensors


def vae_tensors(prefix: str) -> TensorsOf:
    """Build a function that returns the tensors of an `AutoencoderKL`, under names with a prefix."""

    def tensors(vae: nn.Module) -> OriginalTensors:
        values = vae.state_dict()
        levels = {match[1] for name in values if (match := re.match(r"decoder\.up_blocks\.(\d+)\.", name))}
        found = {}
        for name, value in values.items():
            path, _, kind = name.rpartition(".")
            path = _replace_beginning(path, _VAE_PATHS)
            path = re.sub(r"^decoder\.up\.(\d+)", lambda match: f"decoder.up.{len(levels) - 1 - int(match[1])}", path)
            for end, original in _VAE_LAYERS.items():
                if path.endswith(f".{end}"):
                    path = path.removesuffix(end) + original
            is_attention = ".mid.attn_1." in path and value.dim() == 2
            found[f"{prefix}{path}.{kind}"] = OriginalTensor((name,), as_convolution=is_attention)
        return found

    return tensors


def clip_tensors(prefix: str, *, projection: bool = True) -> TensorsOf:
    """Build a function that returns the tensors of a CLIP text encoder under transformers' names.

    Args:
        prefix: of the names.
        projection: whether the file holds the projection; without one, readers take the identity, so that it is left
            out where it is that.
    """

    def tensors(encoder: nn.Module) -> OriginalTensors:
        found = {}
        for name, value in encoder.state_dict().items():
            if name == "text_projection.weight":
                if projection or not torch.equal(value, torch.eye(*value.shape, dtype=value.dtype)):
                    found[f"{prefix}{name}"] = OriginalTensor((name,))
            elif not name.endswith("position_ids"):
                found[f"{prefix}text_model.{name.removeprefix('text_model.')}"] = OriginalTensor((name,))
        return found

    return tensors


def open_clip_tensors(prefix: str, *, repeat_last_layer: bool = False) -> TensorsOf:
    """Build a function that returns the tensors of a CLIP text encoder under OpenCLIP's names.

    Args:
        prefix: of the names.
        repeat_last_layer: whether the last layer is written twice: SD 2.x reads the last but one of its file.
    """

    def tensors(encoder: nn.Module) -> OriginalTensors:
        names = {name.removeprefix("text_model."): name for name in encoder.state_dict()}
        found = {}
        for bare, name in names.items():
            if bare in _OPEN_CLIP_NAMES:
                found[prefix + _OPEN_CLIP_NAMES[bare]] = OriginalTensor((name,), transposed="text_projection" in bare)
            elif match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", bare):
                layer = f"{prefix}transformer.resblocks.{match[1]}."
                if match[2] in _OPEN_CLIP_LAYERS:
                    found[f"{layer}{_OPEN_CLIP_LAYERS[match[2]]}.{match[3]}"] = OriginalTensor((name,))
                elif match[2] == "self_attn.q_proj":
                    joined = tuple(names[bare.replace("q_proj", f"{which}_proj")] for which in "qkv")
                    found[f"{layer}attn.in_proj_{match[3]}"] = OriginalTensor(joined)
        if repeat_last_layer:
            count = len({name for name in found if name.endswith("attn.in_proj_weight")})
            last, added = f".resblocks.{count - 1}.", f".resblocks.{count}."
            found |= {name.replace(last, added): tensor for name, tensor in found.items() if last in name}
        return found

    return tensors


def own_names(prefix: str) -> TensorsOf:
    """Build a function that returns a module's tensors under its own names, with a prefix."""
    return lambda module: {f"{prefix}{name}": OriginalTensor((name,)) for name in module.state_dict()}


def _replace_beginning(path: str, paths: Mapping[str, str]) -> str:
    for beginning, original in paths.items():
        match = re.match(re.escape(beginning).replace(r"\{\}", r"(\w+)") + r"(?=\.|$)", path)
        if match is not None:
            return original.format(*match.groups()) + path[match.end() :]
    return path
