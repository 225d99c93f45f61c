"""The layers of a model: their parts, paths, names in files, and places in the original implementation.

A layer's key is its name in LyCORIS's files: the part's prefix, then the path with `_` for `.`.

SDXL's UNet goes by the names of its original implementation (`input_blocks.4.1...`), which kohya's tools train.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lycoris.adapters.files.families import Family, OriginalRows, family_of_class
from lycoris.adapters.files.families.unet import (
    SD_LAYOUT,
    SD_XL,
    SDXL_LAYOUT,
    UNETS_BY_TEXT_WIDTH,
    find_layout,
    original_unet_paths,
    to_original_path,
)
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
        roles: whose names the layer may have in files: `denoiser`, the part's name, what a text encoder is, `any`.
        original: where the layer is in the original implementation; None where that is not known.
        is_lone: whether the model has no other part.
        family: of a denoiser, where it is known.
    """

    part: str
    kind: str
    path: str
    key: str
    module: nn.Module
    roles: frozenset[str] = frozenset()
    original: OriginalRows | None = None
    is_lone: bool = False
    family: Family | None = None

    @property
    def weight(self) -> Tensor:
        """The layer's weight."""
        weight: Any = self.module.weight
        return weight

    @property
    def name(self) -> str:
        """Part and path, dotted."""
        return f"{self.part}.{self.path}" if self.path else self.part


def named_parts(model: object) -> dict[str, nn.Module]:
    """Return the named parts of a module, a dict of modules, or a diffusers pipeline.

    Raises:
        InputError: it has no `torch.nn.Module`, or one in DistributedDataParallel.
    """
    if isinstance(model, nn.Module):
        model = _unwrapped_part(model)
        kind = part_kind("", type(model).__name__)
        return {{"text": "text_encoder"}.get(kind, kind): model}
    if isinstance(model, Mapping):
        wrong = [name for name, part in model.items() if not isinstance(part, nn.Module)]
        if wrong or not model:
            raise InputError(f"Argument `model` must map names to torch modules, but got {wrong or 'nothing'}.")
        return {name: _unwrapped_part(part) for name, part in model.items()}
    components = getattr(model, "components", None)
    if isinstance(components, Mapping):
        parts = {name: components[name] for name in PIPELINE_PARTS if isinstance(components.get(name), nn.Module)}
        if parts:
            return {name: _unwrapped_part(part) for name, part in parts.items()}
    raise InputError(
        f"Argument `model` must be a module, a dict of named modules or a diffusers pipeline, but got {type(model)}."
    )


def _unwrapped_part(part: nn.Module) -> nn.Module:
    """Return the module in wrappers of torch.compile and PEFT."""
    if isinstance(part, nn.parallel.DistributedDataParallel):
        raise InputError(
            "The model is in DistributedDataParallel, which does not average the gradients of adapters that come after "
            "it. Attach or load first, then wrap."
        )
    return next(module for _, module in named_layers(part))


def named_layers(module: nn.Module, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the modules of a module by the paths that they have without wrappers.

    A wrapper has the path of the module in it, and what else it has is not the model's: torch.compile's `_orig_mod`,
    the `base_layer` of a layer with PEFT's adapters, and the model in a `PeftModel`.
    """
    wrapped: Any = getattr(module, "_orig_mod", getattr(module, "base_layer", None))
    find_base: Any = getattr(module, "get_base_model", None)
    if wrapped is None and find_base is not None:
        wrapped = find_base()
    if isinstance(wrapped, nn.Module):
        yield from named_layers(wrapped, path)
        return
    yield path, module
    for name, child in module.named_children():
        yield from named_layers(child, f"{path}.{name}" if path else name)


def find_layers(parts: Mapping[str, nn.Module], layer_types: tuple[type[nn.Module], ...]) -> list[LayerRef]:
    """Return every layer of these types, in the order of the parts and of their modules; a shared module once."""
    layers, visited = [], set()
    for part, module in parts.items():
        kind = part_kind(part, class_name(module))
        prefix = _prefix(part, kind, parts)
        root = "text_model." if class_name(module).startswith("CLIPTextModel") else ""
        family = find_family(module) if kind in ("unet", "transformer") else None
        originals = original_places(module, family)
        roles = _roles(part, kind, parts)
        # kohya's tools train the original implementation of SDXL
        original_names = hasattr(module, "add_embedding") or getattr(module, "family", None) is SD_XL
        for path, layer in named_layers(module):
            if not isinstance(layer, layer_types) or id(layer) in visited:
                continue
            visited.add(id(layer))
            original = originals.get(path)
            full_path = path if path.startswith(("text_model.", "text_projection")) else root + path
            named_path = original.path if original_names and original is not None else full_path
            key = f"{prefix}_{named_path}".replace(".", "_").rstrip("_")
            layers.append(LayerRef(part, kind, path, key, layer, roles, original, len(parts) == 1, family))
    return layers


def class_name(module: nn.Module) -> str:
    """Return the name of a module's class, or of the class that it stands for."""
    return getattr(module, "stands_for", None) or type(module).__name__


def find_family(module: nn.Module) -> Family | None:
    """Return a denoiser's family; None where it is not in the table."""
    family: Family | None = getattr(module, "family", None) or family_of_class(class_name(module))
    if family is not None:
        return family
    keys = [layer for path, layer in named_layers(module) if path.endswith("attn2.to_k")]
    widths = {layer.in_features for layer in keys if isinstance(layer, nn.Linear)}
    return UNETS_BY_TEXT_WIDTH.get(widths.pop()) if len(widths) == 1 else None


def original_places(module: nn.Module, family: Family | None) -> dict[str, OriginalRows]:
    """Map the paths of a denoiser's layers to their places in the original implementation, where they are known."""
    rows = {
        path: layer.out_features if isinstance(layer, nn.Linear) else layer.weight.shape[0]
        for path, layer in named_layers(module)
        if isinstance(getattr(layer, "weight", None), Tensor) and layer.weight.dim()
    }
    columns = {
        path: layer.in_features if isinstance(layer, nn.Linear) else 0
        for path, layer in named_layers(module)
        if path in rows
    }
    if family is not None and family.renames is not None:
        return family.original_rows({path: (count, columns[path]) for path, count in rows.items()})
    if hasattr(module, "stands_for"):  # a file's layers alone
        is_unet = family is not None and not family.class_names
        layout = (SDXL_LAYOUT if family is SD_XL else SD_LAYOUT) if is_unet else None
    else:
        layout = find_layout(module)
    if layout is None:
        return {}
    blocks = original_unet_paths(layout)
    originals = {path: to_original_path(path, blocks) for path in rows}
    return {
        path: OriginalRows(original, 0, 0, rows[path], rows[path])
        for path, original in originals.items()
        if original is not None
    }


def _roles(part: str, kind: str, parts: Mapping[str, nn.Module]) -> frozenset[str]:
    if kind in ("unet", "transformer"):
        return frozenset({"any", "denoiser", part})
    if kind != "text":
        return frozenset({"any", part})
    if _is_t5(parts[part]):
        return frozenset({"any", part, "t5"})
    clips = [name for name in parts if name.startswith("text_encoder") and "CLIP" in class_name(parts[name])]
    clip = {0: "clip_l", 1: "clip_g"}.get(clips.index(part)) if part in clips else None
    return frozenset({"any", part, *([clip] if clip else [])})


def _is_t5(module: nn.Module) -> bool:
    return class_name(module).startswith(("T5", "UMT5"))


def _prefix(part: str, kind: str, parts: Mapping[str, nn.Module]) -> str:
    names = set(parts)
    if kind in ("unet", "transformer"):
        return "lora_unet"
    if kind == "text":
        several = "transformer" in names or len([name for name in names if name.startswith("text_encoder")]) > 1
        if not several and part == "text_encoder":
            return "lora_te"
        if part == "text_encoder_2" and _is_t5(parts[part]):
            return "lora_te3"  # Flux: CLIP and T5
        prefixes = {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2", "text_encoder_3": "lora_te3"}
        return prefixes.get(part, "lora_te")
    return "lycoris" if part == "model" or len(names) == 1 else f"lycoris_{part}"
