"""Names of layers in files: prefix of the part, then the path with `_` for `.`, as kohya and LyCORIS have them.

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
        path: dotted path inside the part.
        key: the layer's name in LyCORIS files: ``"lora_unet_mid_block_attentions_0_proj_in"``.
        layer: the module.
        other_key: the name after the path where the key is not, as other tools may write it.
    """

    part: str
    kind: str
    path: str
    key: str
    layer: nn.Module
    alternate_key: str | None = None

    @property
    def weight(self) -> Tensor:
        """The layer's weight."""
        weight: Any = self.layer.weight
        return weight

    @property
    def keys(self) -> tuple[str, ...]:
        """Every name that LyCORIS files may have for the layer; the first is the one we write."""
        return (self.key,) if self.alternate_key is None else (self.key, self.alternate_key)

    @property
    def name(self) -> str:
        """Part and path, dotted."""
        return f"{self.part}.{self.path}" if self.path else self.part


def named_parts(model: object) -> dict[str, nn.Module]:
    """The named parts of a module, a dict of modules, or a diffusers pipeline.

    Raises:
        InputError: nothing in it is a `torch.nn.Module`.
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
    """Every layer of these types, in the order of the parts and of their modules; a shared module once."""
    found, seen = [], set()
    for part, module in parts.items():
        kind = part_kind(part, type(module).__name__)
        prefix = _prefix(part, kind, parts)
        root = "text_model." if type(module).__name__.startswith("CLIPTextModel") else ""
        original = _original_paths(module) if hasattr(module, "add_embedding") else {}
        for path, layer in module.named_modules():
            if not isinstance(layer, layer_types) or id(layer) in seen:
                continue
            seen.add(id(layer))
            full = path if path.startswith(("text_model.", "text_projection")) else root + path
            key = f"{prefix}_{full}".replace(".", "_").rstrip("_")
            renamed = _to_original_path(path, original)
            if renamed is None:
                found.append(LayerRef(part, kind, path, key, layer))
            else:
                found.append(LayerRef(part, kind, path, f"{prefix}_{renamed}".replace(".", "_"), layer, key))
    return found


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
    """Path in diffusers' UNet to path in the original implementation, of every block and lone layer."""
    found = dict(_ORIGINAL_PATHS)

    def resnet(path: str, number: str, at: int) -> None:
        found.update({f"{path}.{ours}": f"{number}.{at}.{theirs}" for ours, theirs in _ORIGINAL_RESNET_PATHS.items()})

    def block(path: str, number: str, count: int) -> int:
        """The resnets of one block, each with the attention that follows it; the count after them."""
        for j in range(len(unet.get_submodule(path).resnets)):
            resnet(f"{path}.resnets.{j}", f"{number}.{count}", 0)
            found[f"{path}.attentions.{j}"] = f"{number}.{count}.1"
            count += 1
        return count

    count = 1
    for i, down in enumerate(unet.down_blocks):
        count = block(f"down_blocks.{i}", "input_blocks", count)
        if down.downsamplers is not None:
            found[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{count}.0.op"
            count += 1
    for j in range(len(unet.mid_block.resnets)):
        resnet(f"mid_block.resnets.{j}", "middle_block", 2 * j)
        found[f"mid_block.attentions.{j}"] = f"middle_block.{2 * j + 1}"
    count = 0
    for i, up in enumerate(unet.up_blocks):
        count = block(f"up_blocks.{i}", "output_blocks", count)
        at = 2 if getattr(up, "attentions", None) else 1
        found[f"up_blocks.{i}.upsamplers.0.conv"] = f"output_blocks.{count - 1}.{at}.conv"
    return found


def _to_original_path(path: str, original: Mapping[str, str]) -> str | None:
    """The path with its longest known beginning replaced; None when it has none."""
    head, tail = path, ""
    while head and head not in original:
        head, _, last = head.rpartition(".")
        tail = f".{last}{tail}"
    return original[head] + tail if head else None


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
        return {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2", "text_encoder_3": "lora_te3"}.get(
            part, "lora_te"
        )
    return "lycoris" if part == "model" or len(names) == 1 else f"lycoris_{part}"
