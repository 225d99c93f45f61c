"""How each format names the layers and tensors of a file, and which layers it fuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from lycoris.adapters.files.families import OriginalRows
from lycoris.adapters.files.fused_rows import can_fuse, fuse
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.adapters.files.metadata import LayerAdapter
from lycoris.errors import InputError

PLAIN_LORA = {"lora_up.weight", "lora_down.weight", "alpha"}
"""Names of the tensors of a plain LoRA."""
_CLIP_PREFIXES = {"clip_l": "text_encoders.clip_l", "clip_g": "text_encoders.clip_g", "t5": "text_encoders.t5xxl"}


@dataclass(frozen=True)
class WrittenLayer:
    """A layer as a file has it.

    Attributes:
        name: in the file.
        layers: those of the model that it is for; several where the file has them fused.
        tensors: name → values.
    """

    name: str
    layers: tuple[LayerRef, ...]
    tensors: Mapping[str, Tensor]


def write_layers(format: str, layer_adapters: Sequence[LayerAdapter]) -> list[WrittenLayer]:
    """Return the layers of a file in a format other than PEFT's.

    Raises:
        InputError: the format cannot hold an algorithm, or has no name for a layer.
    """
    tensors = {layer.key: adapter.state_tensors() for layer, adapter in layer_adapters}
    layers = [layer for layer, _ in layer_adapters]
    if format == "lycoris":
        return [WrittenLayer(lycoris_name(layer), (layer,), tensors[layer.key]) for layer in layers]
    if format == "diffusers":
        return [WrittenLayer(layer.name, (layer,), _fold_scale(layer, tensors[layer.key])) for layer in layers]
    return list(_write_original(format, layers, tensors))


def lycoris_name(layer: LayerRef) -> str:
    """Return a layer's name in the format of LyCORIS, whose own tools name transformers as any other module."""
    return f"lycoris_{layer.path.replace('.', '_')}" if layer.kind == "transformer" else layer.key


def _write_original(
    format: str, layers: Sequence[LayerRef], tensors: Mapping[str, Mapping[str, Tensor]]
) -> Iterator[WrittenLayer]:
    """Yield layers by the paths of the original implementation, fused as it has them."""
    fused: dict[str, dict[OriginalRows, LayerRef]] = {}
    for layer in layers:
        if format == "comfyui" and "on_input" in tensors[layer.key]:
            raise InputError(
                f"Format `{format}` has no (IA)³, which layer `{layer.name}` has: choose format `lycoris`."
            )
        original = layer.original
        if original is None or original.is_whole:
            name, own = _original_name(format, layer), tensors[layer.key]
            yield WrittenLayer(name, (layer,), _original_tensors(format, layer, own))
        else:
            fused.setdefault(original.path, {})[original] = layer
    for members in fused.values():
        tensors_by_rows = {rows: tensors[layer.key] for rows, layer in members.items()}
        every = tuple(members.values())
        if can_fuse(list(tensors_by_rows.values())):
            name = _original_name(format, every[0])
            yield WrittenLayer(name, every, _original_tensors(format, every[0], fuse(tensors_by_rows)))
        elif format == "comfyui" and _comfyui_reads_diffusers(every[0]):
            for layer in every:  # ComfyUI finds the rows itself
                yield WrittenLayer(f"transformer.{layer.path}", (layer,), tensors[layer.key])
        else:
            raise InputError(
                f"Format `{format}` fuses {', '.join(f'`{layer.name}`' for layer in every)} into one layer, which is "
                "exact for LoRA and `full` only. Convert to a LoRA, or choose format `lycoris`."
            )


def _comfyui_reads_diffusers(layer: LayerRef) -> bool:
    return layer.family is not None and layer.family.comfyui_reads_diffusers


def _original_name(format: str, layer: LayerRef) -> str:
    if layer.kind == "text":
        if format == "kohya":
            return layer.key
        prefix = next((_CLIP_PREFIXES[role] for role in sorted(layer.roles) if role in _CLIP_PREFIXES), None)
        if prefix is None:
            raise InputError(f"Format `{format}` has no name for the text encoder of layer `{layer.name}`.")
        is_clip_layer = prefix != _CLIP_PREFIXES["t5"] and layer.path.startswith(("encoder.", "final_layer_norm"))
        return f"{prefix}.transformer.{'text_model.' if is_clip_layer else ''}{layer.path}"
    if layer.original is None:
        raise InputError(
            f"Format `{format}` needs the original implementation's name of layer `{layer.name}`, which is not known: "
            "give argument `model`, or choose format `lycoris` or `diffusers`."
        )
    if format == "comfyui":
        return f"diffusion_model.{layer.original.path}"
    return layer.key if layer.kind == "unet" else f"lora_unet_{layer.original.path.replace('.', '_')}"


def _original_tensors(format: str, layer: LayerRef, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return a layer's tensors; a LoRA of a transformer has the names of its authors in ComfyUI's files."""
    if format == "comfyui" and layer.kind == "transformer" and set(tensors) == PLAIN_LORA:
        return _fold_scale(layer, tensors)
    return tensors


def _fold_scale(layer: LayerRef, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a plain LoRA by PEFT's names, with the scale in the tensors, since such files have no alpha."""
    if set(tensors) != PLAIN_LORA:
        raise InputError(f"Only plain LoRA goes into this format, but layer `{layer.name}` has {sorted(tensors)}.")
    up, down = tensors["lora_up.weight"], tensors["lora_down.weight"]
    scale = tensors["alpha"].item() / down.shape[0]
    return {"lora_A.weight": down, "lora_B.weight": up if scale == 1 else up * scale}
