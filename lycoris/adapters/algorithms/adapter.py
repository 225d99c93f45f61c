"""The interface of an algorithm: which parameters it owns on one layer, how they start, which structure they form."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lycoris.adapters.layers.batch_partition import BatchPartition
from lycoris.adapters.layers.dropout import Dropout
from lycoris.adapters.structures.structures import Structure
from lycoris.errors import InputError

PartialShape = tuple[int | None, ...]
"""A weight's shape as far as it is known. None as the last of three or more: the one before is inputs times kernel."""


@dataclass(frozen=True)
class TargetLayer:
    """A layer that an adapter is made for, and where its parameters' first values come from.

    Attributes:
        name: where the layer is, for messages: ``"unet.mid_block.attentions.0.proj_in"``.
        layer: the frozen layer itself.
        generator: on the CPU, so that a seed gives the same values on every device.
        unfilled: parameters of any size on the meta device, for values that come from elsewhere.
        scalar: a trained scalar will carry the zero that the change starts at, so that no factor has to.
        remembered: options that a file's header adds to what its tensors tell.
    """

    name: str
    layer: nn.Module
    generator: torch.Generator | None = field(default=None, repr=False)
    uninitialized: bool = False
    scalar: bool = False
    header_values: Mapping[str, object] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape, [out, in / groups, *kernel]."""
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return layer.out_features, layer.in_features
        return tuple(self.weight.shape)

    @property
    def weight(self) -> Tensor:
        """The frozen weight, as the layer keeps it."""
        weight: Any = self.layer.weight
        return weight

    @property
    def row_size(self) -> int:
        """Elements of one output's row of the weight: in / groups · kernel."""
        return math.prod(self.shape[1:])

    def zeros(self, *shape: int) -> nn.Parameter:
        """Zeros on the layer's device."""
        return self._parameter(torch.zeros(shape, dtype=self._dtype, device=self._device))

    def zero_factor(self, *shape: int) -> nn.Parameter:
        """The factor at which the change starts at zero: zeros, or Kaiming's values where a scalar is zero instead."""
        return self.kaiming(*shape) if self.scalar else self.zeros(*shape)

    def ones(self, *shape: int) -> nn.Parameter:
        """Ones on the layer's device."""
        return self._parameter(torch.ones(shape, dtype=self._dtype, device=self._device))

    def from_values(self, values: Tensor) -> nn.Parameter:
        """These values, in the parameters' dtype and on the layer's device."""
        return self._parameter(values.to(self._device, self._dtype, copy=True))

    def normal(self, *shape: int, std: float = 1.0) -> nn.Parameter:
        """Normal values of mean 0."""
        return self._random(lambda x: x.normal_(0.0, std, generator=self.generator), shape)

    def kaiming(self, *shape: int) -> nn.Parameter:
        """Uniform in ±1/√fan_in: Kaiming with a = √5, the start of PyTorch's own layers."""
        return self._random(lambda x: nn.init.kaiming_uniform_(x, a=math.sqrt(5), generator=self.generator), shape)

    def resolve_rank(self, rank: int | None, default: int, limit: int) -> int:
        """The rank to use: the one asked for if the layer allows it, else the default as far as it does.

        Raises:
            InputError: `asked` is outside [1, limit].
        """
        if rank is None:
            return min(default, limit)
        if self.uninitialized:
            return rank
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= limit:
            raise InputError(
                f"Argument `rank` must be a whole number in [1, {limit}], but got {rank!r} for layer "
                f"`{self.name}` of shape {list(self.shape)}."
            )
        return rank

    def require_weight(self, what: str) -> None:
        """Say that an algorithm reads the frozen weight, which a quantised layer does not show.

        Args:
            what: that needs it, for the message.

        Raises:
            InputError: the weight is not floating point of 16 bits or more, in the layer's shape.
        """
        weight = self.weight
        if not is_unquantized(weight) or tuple(weight.shape) != self.shape:
            raise InputError(
                f"{what} needs the weight itself, but layer `{self.name}` has a quantised one: {weight.dtype}, "
                f"{list(weight.shape)}. Algorithms that never read it: lora, loha, lokr, full, dylora, t-lora."
            )

    @property
    def _device(self) -> torch.device:
        return torch.device("meta") if self.uninitialized else self.weight.device

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float64 if self.weight.dtype == torch.float64 else torch.float32

    def _random(self, fill: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> nn.Parameter:
        if self._device.type == "meta":
            return self._parameter(torch.empty(shape, dtype=self._dtype, device=self._device))
        return self._parameter(fill(torch.empty(shape, dtype=self._dtype)).to(self._device))

    @staticmethod
    def _parameter(values: Tensor) -> nn.Parameter:
        return nn.Parameter(values)


class Adapter(nn.Module, ABC):
    """One algorithm on one layer. Its constructor's keyword arguments are the algorithm's options.

    Attributes:
        algorithm: the name in `ALGORITHMS`; a wrapper's is that of the adapter inside.
        layers: the layer types it can adapt.
        signature: file keys of which one must be there for a file to hold this algorithm.
        remembered: options, attributes as well, that a file's tensors cannot tell; the header has them.
        reads_weight: whether the change depends on the frozen weight.
        zero_start: file keys of the factors that start at zero, in all of which together ΔW is linear.
        loraplus: parameters that LoRA+ trains faster.
        multiplier: the network's scale.
        dropout: what is left out while training.
        share: which rows of a batch are the network's while several are trained together.
        draws: whether training draws random numbers, dropout aside.
        timestep: of the batch, only there where an algorithm looks at it.
    """

    algorithm: str
    layer_types: ClassVar[tuple[type[nn.Module], ...]] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    signature_keys: ClassVar[frozenset[str]]
    header_options: ClassVar[tuple[str, ...]] = ()
    uses_base_weight: bool = False
    zero_factors: ClassVar[tuple[str, ...]] = ()
    loraplus_parameters: ClassVar[tuple[str, ...]] = ()
    uses_rng: ClassVar[bool] = False
    multiplier: float = 1.0
    dropout: Dropout = Dropout()
    batch_partition: BatchPartition | None = None
    timestep: Tensor | None

    @abstractmethod
    def structure(self, weight: Tensor, scale: float = 1.0) -> Structure:
        """The change of the weight, times `scale`.

        Args:
            weight: the frozen weight, [out, in / groups, *kernel]; most algorithms do not look at it.
            scale: the network's scale.
        """

    def bias(self) -> Tensor | None:
        """The change of the bias, [out], for algorithms that have one."""
        return None

    @abstractmethod
    def state_tensors(self) -> dict[str, Tensor]:
        """File key after the layer's name → the live parameter, as a view in the file's shape; constants as copies."""

    @classmethod
    @abstractmethod
    def infer_options(
        cls, site: TargetLayer, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]
    ) -> dict:
        """The options under which an adapter's tensors have these shapes.

        Args:
            site: the layer.
            shapes: file key → shape.
            constants: file key → value of the tensors with one element.
        """

    @classmethod
    @abstractmethod
    def infer_shape(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> PartialShape:
        """The shape of the weight that an adapter with these tensors is for, as far as they tell.

        Args:
            shapes: file key → shape.
            constants: file key → value of the tensors with one element.
        """

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the values of a file's tensors, whose shapes are those of `tensors()`."""
        with torch.no_grad():
            for name, values in self.state_tensors().items():
                if values.requires_grad:
                    values.copy_(tensors[name])

    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        """Take the values whose change of the weight is nearest to this one.

        Args:
            change: of the weight, [out, in / groups, *kernel].
            shift: of the bias, [out], for algorithms that have one.

        Raises:
            InputError: the algorithm does not add to a weight, or cannot be fitted with its options.
        """
        raise InputError(f"Algorithm `{self.algorithm}` cannot be extracted: it does not merely add to a weight.")

    def metadata(self) -> dict[str, object]:
        """Algorithm and remembered options, as plain JSON values."""
        return {"algorithm": self.algorithm, **{name: getattr(self, name) for name in self.header_options}}

    def random_stream(self) -> contextlib.AbstractContextManager[None]:
        """Around whatever draws random numbers: they come from the network's own stream where it has one."""
        drawing = self.training and (
            self.dropout or self.dropout.modules or any(m.uses_rng for m in _wrapped_adapters(self))
        )
        return (
            self.batch_partition.random_stream()
            if self.batch_partition is not None and drawing
            else contextlib.nullcontext()
        )

    @classmethod
    def matches(cls, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether a file's tensors of one layer are this algorithm's."""
        return bool(cls.signature_keys & set(shapes))

    def extra_repr(self) -> str:
        """Parameter shapes and scale, for `repr(model)`."""
        shapes = [f"{name}={list(p.shape)}" for name, p in self.named_parameters(recurse=False)]
        scale = [f"scale={self.scale:g}"] if isinstance(getattr(self, "scale", None), float) else []
        return ", ".join([*shapes, *scale, f"multiplier={self.multiplier:g}"])


def _wrapped_adapters(adapter: Adapter) -> Iterator[Adapter]:
    """An adapter and those that it wraps."""
    yield adapter
    inner = getattr(adapter, "inner", None)
    if isinstance(inner, Adapter):
        yield from _wrapped_adapters(inner)


def is_unquantized(weight: Tensor) -> bool:
    """Whether a frozen weight is the numbers themselves, not the codes of a quantised layer."""
    return weight.is_floating_point() and weight.element_size() >= 2


def alpha_scale(alpha: float | None, rank: int, rank_stabilised: bool) -> float:
    """alpha / rank, or alpha / √rank (rank-stabilised: Kalajdzievski 2023, arXiv 2312.03732).

    `alpha` defaults to rank / 2, the paper's LoRA 8/4 and LoHa 4/2.

    Raises:
        InputError: `alpha` is not a positive finite number.
    """
    alpha = rank / 2 if alpha is None else alpha
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 < alpha < math.inf:
        raise InputError(f"Argument `alpha` must be a positive finite number, but got {alpha!r}.")
    return float(alpha / math.sqrt(rank)) if rank_stabilised else float(alpha / rank)


def alpha_tensor(alpha: float) -> Tensor:
    """`alpha` as files hold it: float32 where that is exact, else float64; never fp16, where 100000 is infinite."""
    single = torch.tensor(alpha, dtype=torch.float32)
    return single if single.item() == alpha else torch.tensor(alpha, dtype=torch.float64)
