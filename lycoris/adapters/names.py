"""Names of layers in files: prefix of the part, then the path with `_` for `.`, as kohya and LyCORIS have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from lycoris.adapters.presets import kind_of
from lycoris.errors import InputError

PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
"""Parts of a diffusers pipeline that can be adapted."""


@dataclass(frozen=True)
class Place:
    """A layer of a model, by part and path.

    Attributes:
        part: name of the part: ``"unet"``; ``"model"`` for a lone module of no known kind.
        kind: unet, transformer, text or model.
        path: dotted path inside the part.
        key: the layer's name in LyCORIS files: ``"lora_unet_mid_block_attentions_0_proj_in"``.
        layer: the module.
    """

    part: str
    kind: str
    path: str
    key: str
    layer: nn.Module

    @property
    def name(self) -> str:
        """Part and path, dotted."""
        return f"{self.part}.{self.path}" if self.path else self.part


def parts_of(model: object) -> dict[str, nn.Module]:
    """The named parts of a module, a dict of modules, or a diffusers pipeline.

    Raises:
        InputError: nothing in it is a `torch.nn.Module`.
    """
    if isinstance(model, nn.Module):
        kind = kind_of("", type(model).__name__)
        return {{"text": "text_encoder"}.get(kind, kind): model}
    if isinstance(model, Mapping):
        wrong = [name for name, part in model.items() if not isinstance(part, nn.Module)]
        if wrong or not model:
            raise InputError(f"Argument `model` must map names to torch modules, but got {wrong or 'nothing'}.")
        return dict(model)
    components = getattr(model, "components", None)
    if isinstance(components, Mapping):
        parts = {name: components[name] for name in PARTS if isinstance(components.get(name), nn.Module)}
        if parts:
            return parts
    raise InputError(
        f"Argument `model` must be a module, a dict of named modules or a diffusers pipeline, but got {type(model)}."
    )


def places(parts: Mapping[str, nn.Module], kinds: tuple[type[nn.Module], ...]) -> list[Place]:
    """Every layer of these types, in the order of the parts and of their modules; a shared module once."""
    found, seen = [], set()
    for part, module in parts.items():
        kind = kind_of(part, type(module).__name__)
        prefix = _prefix(part, kind, parts)
        root = "text_model." if type(module).__name__.startswith("CLIPTextModel") else ""
        for path, layer in module.named_modules():
            if not isinstance(layer, kinds) or id(layer) in seen:
                continue
            seen.add(id(layer))
            full = path if path.startswith(("text_model.", "text_projection")) else root + path
            found.append(Place(part, kind, path, f"{prefix}_{full}".replace(".", "_").rstrip("_"), layer))
    return found


def _prefix(part: str, kind: str, parts: Iterable[str]) -> str:
    names = set(parts)
    if kind in ("unet", "transformer"):
        return "lora_unet"
    if kind == "text":
        several = "transformer" in names or len([name for name in names if name.startswith("text_encoder")]) > 1
        if not several and part == "text_encoder":
            return "lora_te"
        if part == "text_encoder_2" and "transformer" in names and "text_encoder_3" not in names:
            return "lora_te3"  # Flux: CLIP and T5
        return {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2", "text_encoder_3": "lora_te3"}.get(
            part, "lora_te"
        )
    return "lycoris" if part == "model" or len(names) == 1 else f"lycoris_{part}"
