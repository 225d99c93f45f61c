"""The layers of a file as the file has them, fused or not, each with its adapter on a layer of the meta device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms import Adapter
from lycoris.adapters.files.checkpoint_reader import AdapterFile
from lycoris.adapters.files.families import Family
from lycoris.adapters.files.families.unet import UNETS_BY_TEXT_WIDTH
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.adapters.files.metadata import read_json_entry
from lycoris.adapters.files.name_resolution import Place, resolve_names
from lycoris.adapters.files.state_dict import build_adapter
from lycoris.adapters.layers.adapted_layer import NORM_LAYERS
from lycoris.adapters.meta_layers import infer_shape
from lycoris.adapters.meta_model import meta_layer
from lycoris.errors import InputError


@dataclass(frozen=True)
class FileLayer:
    """A layer as a file has it.

    Attributes:
        name: in the file.
        place: where it is in its model.
        layer: of the file's shape, on the meta device.
        algorithm: of its adapter.
        is_certain: whether the file tells the weight's shape.
    """

    name: str
    place: Place
    layer: LayerRef
    algorithm: str
    is_certain: bool

    @property
    def is_norm(self) -> bool:
        """Whether it is a norm layer."""
        return isinstance(self.layer.module, NORM_LAYERS)

    def build(self, file: AdapterFile, tensors: Mapping[str, Tensor] | None = None) -> Adapter:
        """Build the layer's adapter in float64, in evaluation mode, on the CPU.

        Args:
            file: the file.
            tensors: instead of those of the file.

        Raises:
            InputError: the tensors are not finite or fit no algorithm.
        """
        tensors = file.layers[self.name] if tensors is None else tensors
        return build_adapter(file, self.layer, tensors, torch.device("cpu")).eval().double()


@dataclass(frozen=True)
class FileLayers:
    """The layers of a file.

    Attributes:
        layers: in the file's order.
        family: of the denoiser, where names, header or shapes identify it.
    """

    layers: tuple[FileLayer, ...]
    family: Family | None


def read_file_layers(file: AdapterFile) -> FileLayers:
    """Return a file's layers and what their names tell of the model.

    Raises:
        InputError: a layer has tensors of no algorithm, or a shape that no model has.
    """
    places, family = resolve_names(file.layers, file.metadata)
    kernels = read_json_entry(file.path, file.metadata, "lycoris.kernels")
    layers = tuple(_file_layer(file, name, place, kernels.get(name)) for name, place in places.items())
    widths = {
        each.layer.weight.shape[1]
        for each in layers
        if each.place.part == "unet" and each.place.paths[0].endswith("attn2.to_k") and each.layer.weight.dim() == 2
    }
    return FileLayers(layers, UNETS_BY_TEXT_WIDTH.get(widths.pop(), family) if len(widths) == 1 else family)


def _file_layer(file: AdapterFile, name: str, place: Place, kernel: object) -> FileLayer:
    algorithm, shape = infer_shape(file, name)
    bias = bool({"diff_b", "b_norm", "lora_bias"} & set(file.layers[name]))
    module: nn.Module
    try:
        module, is_certain = meta_layer(name, algorithm, shape, place.paths[0], kernel, bias)
    except InputError as error:
        raise InputError(f"File `{file.path}`: {error}") from None
    kind = place.part if place.part in ("unet", "transformer") else "model"
    layer = LayerRef(place.part, kind, place.paths[0], name, module)
    return FileLayer(name, place, layer, algorithm.algorithm, is_certain or algorithm.uses_base_weight)
