"""Networks of a method of PEFT, with the interface of our own."""

from __future__ import annotations

import contextlib
import copy
import datetime
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from lycoris.adapters.files.layer_names import LayerRef
from lycoris.adapters.files.metadata import date_metadata
from lycoris.adapters.layers.batch_partition import BatchPartition
from lycoris.adapters.network import Network
from lycoris.adapters.peft_methods.files import PeftPart, write_peft_parts
from lycoris.adapters.peft_methods.injection import (
    ADAPTER_NAME,
    InjectedLayer,
    InjectedPart,
    adapter_parameters,
    seeded,
)
from lycoris.errors import InputError, unknown_name_error


class PeftNetwork(Network):
    """A method of PEFT on the layers of one model, trained, scaled, saved and removed as any `Network`.

    PEFT's own layers compute it. Other networks may not share its layers, nor a batch with it.

    Args:
        algorithm: `peft:` and the name of the method.
        settings: arguments that the network was created with, as plain JSON values.
        layers: the layers to adapt.
        parts: name → module, of the parts that the layers are in.
        configs: name of a part → PEFT's configuration of it.
        seed: of the initial values.

    Raises:
        InputError: PEFT refuses a layer or a value; the model is then as before.
    """

    is_mergeable = False

    def __init__(
        self,
        algorithm: str,
        settings: dict[str, Any],
        layers: Sequence[LayerRef],
        parts: Mapping[str, nn.Module],
        configs: Mapping[str, Any],
        seed: int = 0,
    ) -> None:
        super().__init__(algorithm, settings, ())
        self.layers = {layer.key: layer for layer in layers}
        self.configs = {part: copy.deepcopy(config) for part, config in configs.items()}
        self._parts: dict[str, InjectedPart] = {}
        self._scale_hooks: list[Any] = []
        trained_by_others = [
            parameter for part in parts.values() for parameter in adapter_parameters(part) if parameter.requires_grad
        ]
        try:
            with seeded(seed, list(parts.values())):
                for part, config in configs.items():
                    own = copy.deepcopy(config)
                    own.inference_mode = False  # as in PEFT's saved folders: it would freeze the adapter
                    self._parts[part] = InjectedPart(parts[part], own)
        except InputError as error:
            for injected in self._parts.values():
                injected.take_out()
            raise InputError(f"Algorithm `{algorithm}`: {error}") from error
        self._trained = {
            f"{part}.{name}": parameter
            for part, injected in self._parts.items()
            for name, parameter in injected.peft_model.named_parameters()
            if parameter.requires_grad and not any(parameter is other for other in trained_by_others)
        }
        for parameter in trained_by_others:  # PEFT freezes everything but its own
            parameter.requires_grad_(True)
        if not self._trained:
            self.detach()
            raise InputError(f"Algorithm `{algorithm}` trains nothing on the selected layers.")
        for parameter in self._trained.values():
            if parameter.is_floating_point() and parameter.element_size() < 4:
                parameter.data = parameter.data.float()

    def __len__(self) -> int:
        """Number of adapted layers."""
        return len(self.layers)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the trained parameters by part and PEFT's name."""
        yield from ((f"{prefix}.{name}" if prefix else name, each) for name, each in self._trained.items())

    def train(self, mode: bool = True) -> PeftNetwork:
        """Set the mode of PEFT's layers; the base stays in its own."""
        self.training = mode
        for injected in self._injected_layers():
            for module in injected.own_modules():
                module.training = mode
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PeftNetwork:
        for injected in self._injected_layers():
            for module in injected.own_modules():
                nn.Module._apply(module, fn, recurse=False)
        return self

    @property
    def scale(self) -> float:
        """Factor of what the network adds to each layer's output; 1 as trained, 0 is the base."""
        return self._scale

    @scale.setter
    def scale(self, value: float) -> None:
        if self.merged:
            raise InputError(f"Algorithm `{self.algorithm}`: `unmerge()` before the scale changes.")
        self._scale = float(value)
        for hook in self._scale_hooks:
            hook.remove()
        scaled = self._injected_layers() if self._scale != 1 else ()
        self._scale_hooks = [each.layer.register_forward_hook(self._scaled, with_kwargs=True) for each in scaled]

    def _scaled(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        base: Tensor = layer.base_layer(*args, **kwargs)
        return base + self._scale * (output - base)

    def part_parameters(self, part: str) -> Iterator[nn.Parameter]:
        """Yield the trained parameters of one part.

        Raises:
            InputError: no layer of that part is adapted.
        """
        if part not in self._parts:
            raise unknown_name_error("part", part, self._parts)
        yield from (each for name, each in self._trained.items() if name.startswith(f"{part}."))

    def parameter_groups(self, learning_rate: float, *, ratio: float = 16.0) -> list[dict[str, Any]]:
        """Return one group with every parameter, as `torch.optim` takes it.

        Raises:
            InputError: a learning rate that is not positive and finite, or a ratio other than 1.
        """
        if not 0 < learning_rate < math.inf:
            raise InputError(f"Argument `learning_rate` must be a positive finite number, but got {learning_rate!r}.")
        if ratio != 1:
            raise InputError(f"Argument `ratio` needs `lora` or `dylora`, but this network is `{self.algorithm}`.")
        return [{"params": list(self.parameters()), "lr": learning_rate}]

    @property
    def timestep(self) -> Tensor | None:
        """Timesteps of the batch, which no method of PEFT reads."""
        return self._timestep

    @timestep.setter
    def timestep(self, value: Tensor | int | None) -> None:
        self._timestep = None if value is None else torch.as_tensor(value).reshape(-1)

    @property
    def batch_partition(self) -> BatchPartition | None:
        """None: the network acts on all rows of a batch.

        Raises:
            InputError: another value is set.
        """
        return None

    @batch_partition.setter
    def batch_partition(self, value: BatchPartition | None) -> None:
        if value is not None:
            raise InputError(
                f"Algorithm `{self.algorithm}` cannot be trained together with others: PEFT's layers act "
                "on every row of a batch. Set `co_train` to 1."
            )

    def merge(self) -> Network:
        """Fold the network into the weights: not possible, as PEFT's layers stay live.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"Algorithm `{self.algorithm}` stays live here: save it in format `peft`, and merge it with PEFT's "
            "`merge_and_unload`."
        )

    def unmerge(self) -> Network:
        """Do nothing, since the network is never merged."""
        return self

    def detach(self) -> Network:
        """Remove PEFT's layers. The base's layers are in their places, and the network can still be saved."""
        if self._attached:
            for injected in self._parts.values():
                injected.take_out()
        self._attached = False
        return self

    def reattach(self) -> Network:
        """Put a detached network back on its model."""
        if not self._attached:
            for injected in self._parts.values():
                injected.put_back()
        self._attached = True
        return self

    @property
    def parts(self) -> list[str]:
        """Names of the parts that have adapters, in order."""
        return list(self._parts)

    def save(
        self,
        path: str | PathLike[str],
        *,
        format: str | None = None,
        metadata: Mapping[str, str] | None = None,
        dtype: str = "float32",
        date: datetime.date | None = None,
    ) -> None:
        """Write a PEFT folder, or a file with the configuration in its header where `path` ends in `.safetensors`.

        Args:
            path: of the folder, with one folder for each of several parts, or of the file.
            format: ``"peft"`` or None.
            metadata: further strings for the header.
            dtype: of the tensors, as for any network.
            date: as for any network.

        Raises:
            InputError: another format, an unknown dtype, or values that overflow.
        """
        if format not in (None, "peft"):
            raise InputError(f"Algorithm `{self.algorithm}` has format `peft` alone, but got {format!r}.")
        parts = {part: PeftPart(self.configs[part], tensors) for part, tensors in self._state_tensors().items()}
        header = {**date_metadata(date), **(metadata or {})}
        write_peft_parts(path, self.algorithm, self.settings, parts, metadata=header, dtype=dtype)

    def load_tensors(self, part: str, tensors: Mapping[str, Tensor], source: str | PathLike[str]) -> None:
        """Copy the values of a file into one part.

        Raises:
            InputError: other names or shapes than those of the part, or values that are not finite.
        """
        import peft

        own = self._state_tensors()[part]
        wrong = sorted(name for name in own.keys() | tensors.keys() if name not in own or name not in tensors)
        wrong = wrong or sorted(name for name, values in own.items() if values.shape != tensors[name].shape)
        if wrong:
            raise InputError(f"File `{source}`: tensor `{wrong[0]}` is not one of `{self.algorithm}` on this model.")
        for name, values in tensors.items():
            if values.is_floating_point() and not bool(values.isfinite().all()):
                raise InputError(f"File `{source}`: tensor `{name}` has values that are not finite.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peft.set_peft_model_state_dict(self._parts[part].peft_model, dict(tensors), ADAPTER_NAME)

    def _state_tensors(self) -> dict[str, dict[str, Tensor]]:
        """Part → PEFT's name of a tensor → values."""
        import peft

        with self._in_place():
            return {
                part: peft.get_peft_model_state_dict(
                    injected.peft_model, adapter_name=ADAPTER_NAME, save_embedding_layers=False
                )
                for part, injected in self._parts.items()
            }

    @contextlib.contextmanager
    def _in_place(self) -> Iterator[None]:
        """Put PEFT's layers in their places for a moment, where the network is detached."""
        was_attached = self._attached
        self.reattach()
        try:
            yield
        finally:
            if not was_attached:
                self.detach()

    def _injected_layers(self) -> list[InjectedLayer]:
        return [each for injected in self._parts.values() for each in injected.layers]
