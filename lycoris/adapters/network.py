"""Networks: the adapters on a model's layers, switched, scaled, merged and saved together."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms import Adapter
from lycoris.adapters.files.formats import AdapterSet, write_adapters
from lycoris.adapters.files.metadata import LayerAdapter, date_metadata
from lycoris.adapters.layers.adapted_layer import AdaptedLayer
from lycoris.adapters.layers.batch_partition import BatchPartition
from lycoris.adapters.layers.injection import as_adapted, check_removable, eject, inject
from lycoris.adapters.layers.weight_writing import merge, unmerge
from lycoris.errors import InputError, unknown_name_error

_LayerAction = Callable[[AdaptedLayer, str], None]


class Network(nn.Module):
    """Adapters on the layers of one model. Its parameters are the trainable ones; the model's own are frozen.

    Attributes:
        algorithm: name in `ALGORITHMS`, or ``"mixed"``.
        settings: arguments that the network was created with, as plain JSON values.
        adapters: the layer's name in files → adapter.
        layers: the layer's name in files → layer.
        name: the network's name in `layer.adapters`.
        merged: whether the weights hold the network at the moment.
        left_out: keys of the file that the network was loaded from and that it does not have.
        is_mergeable: whether `merge` can fold it into the weights.
    """

    is_mergeable: ClassVar[bool] = True

    def __init__(self, algorithm: str, settings: dict[str, Any], layer_adapters: Sequence[LayerAdapter]):
        super().__init__()
        self.algorithm = algorithm
        self.settings = settings
        adapters = nn.ModuleDict({layer.key: adapter for layer, adapter in layer_adapters})
        self.adapters = cast("Mapping[str, Adapter]", adapters)  # a ModuleDict does not know the type of its values
        self.layers = {layer.key: layer for layer, _ in layer_adapters}
        self.merged = False
        self.left_out: tuple[str, ...] = ()
        self._attached = True
        self._scale = 1.0
        self._timestep: torch.Tensor | None = None
        self._batch_partition: BatchPartition | None = None
        used_names = {name for layer, _ in layer_adapters for name in getattr(layer.module, "adapters", ())}
        stem = algorithm.replace("-", "_")
        self.name = next(n for n in (stem, *(f"{stem}_{i}" for i in range(2, 1000))) if n not in used_names)
        self._inject()

    def __len__(self) -> int:
        """Number of adapted layers."""
        return len(self.adapters)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Network:
        """Cast the adapters themselves: that they keep their precision holds where their model is cast."""
        for adapter in self.adapters.values():
            for module in adapter.modules():
                nn.Module._apply(module, fn, recurse=False)
        return self

    @property
    def scale(self) -> float:
        """Factor of every ΔW; 1 as trained, 0 is the base."""
        return self._scale

    @scale.setter
    def scale(self, value: float) -> None:
        merged = self.merged
        if merged:
            self.unmerge()
        self._scale = float(value)
        for adapter in self.adapters.values():
            adapter.multiplier = self._scale
        if merged:
            self.merge()

    def part_parameters(self, part: str) -> Iterator[nn.Parameter]:
        """Yield the trainable parameters of one part: ``"unet"``, ``"text_encoder"``.

        Raises:
            InputError: no layer of that part is adapted.
        """
        known = sorted({layer.part for layer in self.layers.values()})
        if part not in known:
            raise unknown_name_error("part", part, known)
        for key, layer in self.layers.items():
            if layer.part == part:
                yield from self.adapters[key].parameters()

    def parameter_groups(self, learning_rate: float, *, ratio: float = 16.0) -> list[dict[str, Any]]:
        """Group the parameters for an optimizer with LoRA+: `up` of LoRA and DyLoRA learns `ratio` times faster.

        LoRA+ (Hayou et al. 2024, arXiv 2402.12354): with one learning rate for both factors, wide layers learn badly.

        Args:
            learning_rate: of every other parameter, positive.
            ratio: at least 1 for LoRA+; 1 is one learning rate for all.

        Returns:
            Groups with `params` and `lr`, as `torch.optim` takes them.

        Raises:
            InputError: a learning rate or ratio that is not positive and finite, or a ratio other than 1 for an
                algorithm without such factors.
        """
        for argument, value in (("learning_rate", learning_rate), ("ratio", ratio)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise InputError(f"Argument `{argument}` must be a positive finite number, but got {value!r}.")
        adapters = [module for module in self.modules() if isinstance(module, Adapter)]
        fast = {id(getattr(adapter, name)) for adapter in adapters for name in adapter.loraplus_parameters}
        if not fast and ratio != 1:
            raise InputError(f"Argument `ratio` needs `lora` or `dylora`, but this network is `{self.algorithm}`.")
        groups = [
            {"params": [p for p in self.parameters() if id(p) not in fast], "lr": learning_rate},
            {"params": [p for p in self.parameters() if id(p) in fast], "lr": learning_rate * ratio},
        ]
        return [group for group in groups if group["params"]]

    @property
    def timestep(self) -> torch.Tensor | None:
        """Timesteps of the batch, [batch], for algorithms that depend on them (`t-lora`); None for none."""
        return self._timestep

    @timestep.setter
    def timestep(self, value: torch.Tensor | int | None) -> None:
        self._timestep = None if value is None else torch.as_tensor(value).reshape(-1)
        for module in self.modules():
            if isinstance(module, Adapter) and hasattr(module, "timestep"):
                module.timestep = self._timestep

    @property
    def batch_partition(self) -> BatchPartition | None:
        """The rows of a batch on which the network acts, while several are trained together; None is all."""
        return self._batch_partition

    @batch_partition.setter
    def batch_partition(self, value: BatchPartition | None) -> None:
        self._batch_partition = value
        for adapter in self.adapters.values():
            adapter.batch_partition = value

    @property
    def parts(self) -> list[str]:
        """Names of the parts that have adapters, in order."""
        return list(dict.fromkeys(layer.part for layer in self.layers.values()))

    def merge(self) -> Network:
        """Fold the network into the weights. `unmerge` restores the original bits.

        Raises:
            InputError: a weight is quantised, or the layer's hooks do not keep what is merged; nothing is changed.
        """
        self._check_attached()
        if not self.merged:
            self._on_every_layer(merge, unmerge)
        self.merged = True
        return self

    def unmerge(self) -> Network:
        """Take the network out of the weights; the adapters are live again.

        Raises:
            InputError: the layer's hooks do not keep the original weight; nothing is changed.
        """
        self._check_attached()
        if self.merged:
            self._on_every_layer(unmerge, merge)
        self.merged = False
        return self

    def detach(self) -> Network:
        """Remove every adapter. The base has its original bits, and the network can still be saved.

        Raises:
            InputError: as for `unmerge`, or another library replaced a layer's class or forward since.
        """
        if self._attached:
            self.unmerge()
            for layer in self.layers.values():
                check_removable(layer.module)
            for layer in self.layers.values():
                eject(layer.module, self.name)
        self._attached = False
        return self

    def reattach(self) -> Network:
        """Put a detached network back on its model."""
        if not self._attached:
            self._inject()
        self._attached = True
        return self

    def save(
        self,
        path: str | PathLike[str],
        *,
        format: str | None = None,
        metadata: Mapping[str, str] | None = None,
        dtype: str = "float32",
        date: datetime.date | None = None,
    ) -> None:
        """Write the network, attached or detached, as a safetensors file or a PEFT folder. Its scale is not saved.

        Args:
            path: of the file, which appears once it is complete. In PEFT's format a path that does not end in
                `.safetensors` is a folder, as of `save_pretrained`, with one folder per part where there are several.
            format: ``"lycoris"`` for every algorithm; ``"kohya"`` and ``"comfyui"`` with the original implementation's
                names, which fuse q, k and v in some families: LoRA and `full` exactly, in ComfyUI's other algorithms
                under the names of diffusers; ``"diffusers"`` for LoRA; ``"peft"`` for LoRA, DoRA, LoHa, LoKr and (IA)³
                where PEFT's are the same map. By default the file opens in ComfyUI, and a LoRA in diffusers too.
            metadata: further strings for the header, such as the lineage.
            dtype: of the tensors: ``"float32"``, ``"float16"``, ``"bfloat16"`` or ``"float64"``. Alpha keeps its own.
            date: value of `modelspec.date`, a date or a time. Without one, equal networks give equal files.

        Raises:
            InputError: an unknown format or dtype, an algorithm that the format cannot hold, or values that overflow.
        """
        layer_adapters = [(self.layers[key], adapter.gathered()) for key, adapter in self.adapters.items()]
        adapters = AdapterSet(layer_adapters, self.algorithm, self.settings)
        metadata = {**date_metadata(date), **(metadata or {})}
        write_adapters(path, adapters, format=format, metadata=metadata, dtype=dtype)

    def extra_repr(self) -> str:
        """Algorithm, number of layers, scale and state."""
        state = "merged" if self.merged else "live" if self._attached else "detached"
        return f"{self.algorithm}, {len(self)} layers, scale={self.scale:g}, {state}"

    def _inject(self) -> None:
        """Put the adapters on their layers; on an error, on none."""
        done: list[nn.Module] = []
        try:
            for key, layer in self.layers.items():
                inject(layer.module, layer.name, self.name, self.adapters[key])
                done.append(layer.module)
        except InputError:
            for module in done:
                eject(module, self.name)
            raise

    def _on_every_layer(self, do: _LayerAction, undo: _LayerAction) -> None:
        """Do something with each layer; on an error, undo it on those before."""
        done: list[AdaptedLayer] = []
        try:
            for layer in self.layers.values():
                do(as_adapted(layer.module), self.name)
                done.append(as_adapted(layer.module))
        except InputError:
            for adapted in done:
                undo(adapted, self.name)
            raise

    def _check_attached(self) -> None:
        if not self._attached:
            raise InputError("The network is detached from its model: `reattach()` it first.")
