"""Names of layers in files: the part's prefix, then the path with `_` for `.`, as kohya and LyCORIS write them.

SDXL's UNet goes by the names of its original implementation (`input_blocks.4.1...`), which kohya's tools train.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lycoris.adapters.layers.presets import part_kind
from lycoris.errors import InputError

PIPELINE_PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
"""Parts of a diffusers pipeline that can be adapted."""


@dataclass(frozen=True)
class LayerRef:
    """A layer of a model, by part and path.

    Attributes:
        part: name of the part: ``"unet"``; ``"model"`` for a lone module of no known kind.
        kind: unet, transformer, text or model.
        path: dotted path in the part.
        key: the layer's name in LyCORIS files: ``"lora_unet_mid_block_attentions_0_proj_in"``.
        module: the layer itself.
        model_class: class of the part.
        alternate_key: the name that follows the path, where `key` does not and other tools may write it.
    """

    part: str
    kind: str
    path: str
    key: str
    module: nn.Module
    model_class: str
    alternate_key: str | None = None

    @property
    def weight(self) -> Tensor:
        """The layer's weight."""
        weight: Any = self.module.weight
        return weight

    @property
    def keys(self) -> tuple[str, ...]:
        """Every name that LyCORIS files may have for the layer; the first is the one that we write."""
        return (self.key,) if self.alternate_key is None else (self.key, self.alternate_key)

    @property
    def name(self) -> str:
        """Part and path, dotted."""
        return f"{self.part}.{self.path}" if self.path else self.part


def named_parts(model: object) -> dict[str, nn.Module]:
    """Return the named parts of a module, a dict of modules, or a diffusers pipeline.

    Raises:
        InputError: it has no `torch.nn.Module`.
    """
    if isinstance(model, nn.Module):
        kind = part_kind("", type(model).__name__)
        return {{"text": "text_encoder"}.get(kind, kind): model}
    if isinstance(model, Mapping):
        wrong = [name for name, part in model.items() if not isinstance(part, nn.Module)]
        if wrong or not model:
            raise InputError(f"Argument `model` must map names to torch modules, but got {wrong or 'nothing'}.")
        return dict(model)
    components = getattr(model, "components", None)
    if isinstance(components, Mapping):
        parts = {name: components[name] for name in PIPELINE_PARTS if isinstance(components.get(name), nn.Module)}
        if parts:
            return parts
    raise InputError(
        f"Argument `model` must be a module, a dict of named modules or a diffusers pipeline, but got {type(model)}."
    )


def find_layers(parts: Mapping[str, nn.Module], layer_types: tuple[type[nn.Module], ...]) -> list[LayerRef]:
    """Return every layer of these types, in the order of the parts and of their modules; a shared module once."""
    layers, visited = [], set()
    for part, module in parts.items():
        model_class = type(module).__name__
        kind = part_kind(part, model_class)
        prefix = _prefix(part, kind, parts)
        root = "text_model." if model_class.startswith("CLIPTextModel") else ""
        original_paths = _original_paths(module) if hasattr(module, "add_embedding") else {}
        for path, layer in module.named_modules():
            if not isinstance(layer, layer_types) or id(layer) in visited:
                continue
            visited.add(id(layer))
            full_path = path if path.startswith(("text_model.", "text_projection")) else root + path
            key = f"{prefix}_{full_path}".replace(".", "_").rstrip("_")
            original_path = _to_original_path(path, original_paths)
            if original_path is None:
                layers.append(LayerRef(part, kind, path, key, layer, model_class))
            else:
                original_key = f"{prefix}_{original_path}".replace(".", "_")
                layers.append(LayerRef(part, kind, path, original_key, layer, model_class, key))
    return layers


_ORIGINAL_PATHS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_ORIGINAL_RESNET_PATHS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def _original_paths(unet: Any) -> dict[str, str]:
    """Map paths of blocks and lone layers in diffusers' UNet to paths in the original implementation."""
    paths = dict(_ORIGINAL_PATHS)

    def add_resnet(path: str, number: str, index: int) -> None:
        paths.update({f"{path}.{old}": f"{number}.{index}.{new}" for old, new in _ORIGINAL_RESNET_PATHS.items()})

    def add_block(path: str, number: str, count: int) -> int:
        """Add the resnets of a block, each with the attention that follows it, and return the count after them."""
        for j in range(len(unet.get_submodule(path).resnets)):
            add_resnet(f"{path}.resnets.{j}", f"{number}.{count}", 0)
            paths[f"{path}.attentions.{j}"] = f"{number}.{count}.1"
            count += 1
        return count

    count = 1
    for i, down in enumerate(unet.down_blocks):
        count = add_block(f"down_blocks.{i}", "input_blocks", count)
        if down.downsamplers is not None:
            paths[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{count}.0.op"
            count += 1
    for j in range(len(unet.mid_block.resnets)):
        add_resnet(f"mid_block.resnets.{j}", "middle_block", 2 * j)
        paths[f"mid_block.attentions.{j}"] = f"middle_block.{2 * j + 1}"
    count = 0
    for i, up in enumerate(unet.up_blocks):
        count = add_block(f"up_blocks.{i}", "output_blocks", count)
        index = 2 if getattr(up, "attentions", None) else 1
        paths[f"up_blocks.{i}.upsamplers.0.conv"] = f"output_blocks.{count - 1}.{index}.conv"
    return paths


def _to_original_path(path: str, original_paths: Mapping[str, str]) -> str | None:
    """Replace the longest known beginning of a path; None where it has none."""
    head, tail = path, ""
    while head and head not in original_paths:
        head, _, last = head.rpartition(".")
        tail = f".{last}{tail}"
    return original_paths[head] + tail if head else None


def _prefix(part: str, kind: str, parts: Mapping[str, nn.Module]) -> str:
    names = set(parts)
    if kind in ("unet", "transformer"):
        return "lora_unet"
    if kind == "text":
        several = "transformer" in names or len([name for name in names if name.startswith("text_encoder")]) > 1
        if not several and part == "text_encoder":
            return "lora_te"
        if part == "text_encoder_2" and type(parts[part]).__name__.startswith("T5"):
            return "lora_te3"  # Flux: CLIP and T5
        prefixes = {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2", "text_encoder_3": "lora_te3"}
        return prefixes.get(part, "lora_te")
    return "lycoris" if part == "model" or len(names) == 1 else f"lycoris_{part}"
