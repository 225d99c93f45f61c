"""The interfaces of an adapter and of an algorithm."""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.layers.batch_partition import BatchPartition
from lycoris.adapters.layers.dropout import Dropout
from lycoris.adapters.structures import Structure
from lycoris.errors import InputError

PartialShape = tuple[int | None, ...]
"""The known part of a weight's shape. Where the last of three is None, the second is inputs times kernel."""

Shapes = Mapping[str, tuple[int, ...]]
"""Tensor name → shape, of the tensors that a file has for one layer."""

Constants = Mapping[str, float]
"""Tensor name → value, of the tensors with one element that a file has for one layer."""

Examples = Mapping[str, Mapping[str, object]]
"""Name → options of `attach`."""


class Adapter(nn.Module, ABC):
    """What is trained on one layer: an algorithm, or a wrapper around one.

    Attributes:
        algorithm: the name in `ALGORITHMS`; a wrapper has the name of the adapter inside.
        uses_base_weight: whether ΔW depends on the frozen weight.
        loraplus_parameters: names of the parameters that LoRA+ trains faster.
        uses_rng: whether training uses random numbers, dropout aside.
        multiplier: the network's scale.
        dropout: dropout probabilities in training.
        batch_partition: the rows of a batch that belong to the network, where several are trained together.
        timestep: of the batch, [batch]; only where an algorithm depends on it.
    """

    algorithm: str
    uses_base_weight: bool = False
    loraplus_parameters: ClassVar[tuple[str, ...]] = ()
    uses_rng: ClassVar[bool] = False
    multiplier: float = 1.0
    dropout: Dropout = Dropout()
    batch_partition: BatchPartition | None = None
    timestep: Tensor | None

    def follow(self, device: torch.device, layer: str) -> None:
        """Move the parameters to the device on which a layer computes, where they are elsewhere.

        Args:
            device: that of the layer's input.
            layer: its name, for messages.

        Raises:
            InputError: the parameters have no values.
        """
        own = next(parameter for parameter in self._parameters.values() if parameter is not None).device
        if own == device or device.type == "meta":
            return
        if own.type == "meta":
            raise InputError(f"Layer `{layer}`: its adapter has no values: it was attached on, or moved to, `meta`.")
        self.to(device)

    def gathered(self) -> Adapter:
        """Return the adapter with its whole tensors, where processes share them (`fully_shard`)."""
        if not any(hasattr(parameter, "full_tensor") for parameter in self.parameters()):
            return self
        shared: list[Any] = list(self.parameters())
        return copy.deepcopy(self, {id(parameter): nn.Parameter(parameter.full_tensor()) for parameter in shared})

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Adapter:
        """Move with the layer, but never to fewer bits: the layer's precision is that of its own values."""

        def move(values: Tensor) -> Tensor:
            moved = fn(values.new_empty(0))
            narrower = values.is_floating_point() and moved.element_size() < values.element_size()
            return values.to(moved.device) if narrower else fn(values)

        return super()._apply(move, recurse)

    @abstractmethod
    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> Structure:
        """Return scale · ΔW.

        Args:
            weight: the frozen weight, [out, in / groups, *kernel]; most algorithms do not read it.
            scale: the network's scale.
        """

    def bias_delta(self) -> Tensor | None:
        """Return the change of the bias, [out], for algorithms that have one."""
        return None

    @abstractmethod
    def state_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of a file: parameters as views in the file's shapes, constants as copies."""

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy the values of a file's tensors, which have the shapes of `state_tensors()`."""
        with torch.no_grad():
            for name, values in self.state_tensors().items():
                if values.requires_grad:
                    values.copy_(tensors[name])

    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        """Set the parameters so that ΔW is nearest to a given one.

        Args:
            delta: change of the weight, [out, in / groups, *kernel].
            bias_delta: change of the bias, [out], for algorithms that have one.

        Raises:
            InputError: the algorithm does not add to a weight, or cannot be fitted with its options.
        """
        raise InputError(f"Algorithm `{self.algorithm}` cannot be extracted: it does not merely add to a weight.")

    def metadata(self) -> dict[str, object]:
        """Return the algorithm, and the options that tensors cannot tell, as plain JSON values."""
        return {"algorithm": self.algorithm}

    def random_stream(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which random numbers come from the network's own stream, where it has one."""
        uses_rng = self.dropout or self.dropout.modules or any(each.uses_rng for each in _wrapped_adapters(self))
        if self.batch_partition is None or not (self.training and uses_rng):
            return contextlib.nullcontext()
        return self.batch_partition.random_stream()

    def extra_repr(self) -> str:
        """Parameter shapes and scale, for `repr(model)`."""
        shapes = [f"{name}={list(p.shape)}" for name, p in self.named_parameters(recurse=False)]
        scale = [f"scale={self.scale:g}"] if isinstance(getattr(self, "scale", None), float) else []
        return ", ".join([*shapes, *scale, f"multiplier={self.multiplier:g}"])


class Algorithm(Adapter):
    """An entry of `ALGORITHMS`. The keyword arguments of its constructor are the algorithm's options.

    Documentation, tests and reports derive from the class attributes.

    Attributes:
        title: the name as papers write it.
        citation: authors, year and arXiv number; None without a paper.
        formula: ΔW in one line.
        aliases: other names in use.
        examples: name → options of `attach`, beyond the defaults, that the tests run with.
        layer_types: the layer types that it can adapt.
        with_norms: whether `norms` adapts the norm layers among the selected layers.
        default_rank: default of the option `rank`, which the layer's shape limits; None without such an option.
        has_exact_rank: whether ΔW is a LoRA of rank `rank`, so that singular values choose the rank.
        random_start: whether initial values are random.
        zero_factors: names of the file's tensors that start at zero and in all of which together ΔW is linear.
        signature_keys: names of tensors of which a file of this algorithm has at least one.
        header_options: options, also attributes, that a file's tensors cannot tell and its header stores.
        kohya_name: LyCORIS's name of the algorithm, where it differs.
        peft_type: PEFT's name of the algorithm, where PEFT has the same.
    """

    title: ClassVar[str]
    citation: ClassVar[str | None] = None
    formula: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    examples: ClassVar[Examples] = {}
    layer_types: ClassVar[tuple[type[nn.Module], ...]] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    with_norms: ClassVar[bool] = False
    default_rank: ClassVar[int | None] = None
    has_exact_rank: ClassVar[bool] = False
    random_start: ClassVar[bool] = False
    zero_factors: ClassVar[tuple[str, ...]] = ()
    signature_keys: ClassVar[frozenset[str]]
    header_options: ClassVar[tuple[str, ...]] = ()
    kohya_name: ClassVar[str | None] = None
    peft_type: ClassVar[str | None] = None

    def metadata(self) -> dict[str, object]:
        return {"algorithm": self.algorithm, **{name: getattr(self, name) for name in self.header_options}}

    @classmethod
    def matches(cls, shapes: Shapes) -> bool:
        """Tell whether a layer's tensors in a file belong to this algorithm."""
        return bool(cls.signature_keys & set(shapes))

    @classmethod
    @abstractmethod
    def infer_shape(cls, shapes: Shapes, constants: Constants) -> PartialShape:
        """Infer the shape of the adapted weight from the tensors of a file, as far as they tell."""

    @classmethod
    @abstractmethod
    def infer_options(cls, target: TargetLayer, shapes: Shapes, constants: Constants) -> dict:
        """Infer the options with which an adapter's tensors have these shapes."""

    @staticmethod
    @abstractmethod
    def reference_delta(tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor:
        """Compute ΔW as the paper defines it, slowly and independently of `structure`; tests compare the two.

        Args:
            tensors: float64, as in a file.
            weight: the frozen weight, [out, in / groups, *kernel], float64.
        """


def _wrapped_adapters(adapter: Adapter) -> Iterator[Adapter]:
    """Yield an adapter and those that it wraps."""
    yield adapter
    inner = getattr(adapter, "inner", None)
    if isinstance(inner, Adapter):
        yield from _wrapped_adapters(inner)
