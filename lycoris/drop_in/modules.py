"""The modules of `lycoris-lora`: one adapter of one layer, which the model does not hold."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from lycoris.adapters.algorithms import Adapter
from lycoris.adapters.algorithms.scalar_gate import ScalarGate
from lycoris.adapters.algorithms.target_layer import TargetLayer, is_unquantized
from lycoris.adapters.layers.injection import as_adapted, eject, inject
from lycoris.adapters.layers.merging import add_updates
from lycoris.adapters.layers.weight_writing import merge, unmerge
from lycoris.drop_in.functional import layer_of
from lycoris.drop_in.options import ModuleOptions
from lycoris.errors import InputError


class LycorisBaseModule(nn.Module):
    """An adapter of this library under the interface of a module of `lycoris-lora`.

    The layer has the adapter from `apply_to` to `restore`. State dicts have the keys of a file. A subclass that does
    not call this constructor and has a `forward` of its own, as ai-toolkit's, replaces the layer's forward instead.

    Args:
        lora_name: the layer's name in files.
        org_module: the layer.
        multiplier: the adapter's scale.
        lora_dim: the rank; of Diag-OFT and BOFT the size of the blocks.
        alpha: numerator of the scale; 0 or None is the rank.
        dropout, rank_dropout, module_dropout: as for `lycoris.attach`.
        use_tucker: as `tucker` of `lycoris.attach`.
        options: those of `ModuleOptions`.

    Raises:
        InputError: an unknown option, or a value that the layer does not allow.
    """

    algorithm: ClassVar[str]
    adapter: Adapter
    lora_name: str
    org_module: list[nn.Module]
    full_matrix: bool = False
    applied: bool = False

    def __init__(
        self,
        lora_name: str,
        org_module: nn.Module,
        multiplier: float = 1.0,
        lora_dim: int = 4,
        alpha: float | None = 1.0,
        dropout: float = 0.0,
        rank_dropout: float = 0.0,
        module_dropout: float = 0.0,
        use_tucker: bool = False,
        **options: object,
    ):
        given: dict[str, object] = {
            "dim": lora_dim,
            "alpha": alpha or 0.0,
            "dropout": dropout,
            "rank_dropout": rank_dropout,
        }
        given |= {"module_dropout": module_dropout, "use_tucker": use_tucker, **options}
        self._create(lora_name, org_module, ModuleOptions().changed(given))
        self.multiplier = multiplier

    @classmethod
    def from_options(
        cls, lora_name: str, org_module: nn.Module, options: ModuleOptions, multiplier: float = 1.0
    ) -> LycorisBaseModule:
        """Return a new module with options that were checked before.

        Raises:
            InputError: a value that the layer does not allow.
        """
        module = cls.__new__(cls)
        module._create(lora_name, org_module, options)
        module.multiplier = multiplier
        return module

    def _create(self, lora_name: str, org_module: nn.Module, options: ModuleOptions) -> None:
        spec = options.spec(self.algorithm)
        target = TargetLayer(lora_name, org_module, scalar=spec.scalar, any_rank=True)
        adapter = spec.build(target)  # with torch's own random numbers, as the trainer has seeded them
        adapter.dropout = options.layer_dropout()
        self._set_up(lora_name, org_module, adapter)
        self.options, self.lora_dim, self.full_matrix = options, options.dim, options.full_matrix

    @classmethod
    def from_adapter(cls, lora_name: str, org_module: nn.Module, adapter: Adapter) -> LycorisBaseModule:
        """Return the module of an adapter that was read from a file."""
        module = cls.__new__(cls)
        module._set_up(lora_name, org_module, adapter)
        module.lora_dim = getattr(_innermost(adapter), "rank", None) or 0
        module.options = ModuleOptions(dim=module.lora_dim)
        module.full_matrix = {"lokr_w1", "lokr_w2"} <= set(adapter.state_tensors())
        return module

    def _set_up(self, lora_name: str, org_module: nn.Module, adapter: Adapter) -> None:
        nn.Module.__init__(self)
        self.lora_name = lora_name
        self.org_module = [org_module]  # in a list, so that it is no submodule
        self.adapter = adapter
        self.shape = tuple(int(size) for size in TargetLayer(lora_name, org_module).shape)
        self.dim = self.shape[0]
        self._name = lora_name

    @classmethod
    def parametrize(cls, org_module: nn.Module, attr: str, *args: Any, **options: Any) -> LycorisBaseModule:
        """Let a parameter of any module be its value plus an update, by `torch.nn.utils.parametrize`.

        Args:
            org_module: the module.
            attr: name of its parameter, of two to five dimensions.
            args: multiplier, lora_dim and alpha, as of the constructor.
            options: further ones of the constructor, without dropout.

        Returns:
            The update, which the module holds.

        Raises:
            InputError: as for the constructor; dropout; native fine-tuning, whose parameter is the value itself.
        """
        if cls.algorithm == "full":
            raise InputError("`FullModule` has no update of a parameter: train the parameter itself.")
        if given := [name for name in ("dropout", "rank_dropout", "module_dropout") if options.get(name)]:
            raise InputError(f"Option `{given[0]}` must be 0 for `parametrize`, but got {options[given[0]]!r}.")
        options.pop("bypass_mode", None)
        module = cls("", layer_of(getattr(org_module, attr)), *args, **options)
        register_parametrization(org_module, attr, module)
        return module

    def forward(self, weight: Tensor) -> Tensor:
        """Return a parameter with the update, for `parametrize`."""
        return self.adapter.structure(weight, self.multiplier).add_to(weight)

    @property
    def has_adapter(self) -> bool:
        """Whether it is an adapter of this library, not of a subclass."""
        return "adapter" in self._modules

    @property
    def multiplier(self) -> Any:
        """The adapter's scale."""
        return self.adapter.multiplier if self.has_adapter else self.__dict__["_multiplier"]

    @multiplier.setter
    def multiplier(self, value: Any) -> None:
        if self.has_adapter:
            self.adapter.multiplier = float(value)
        else:
            self.__dict__["_multiplier"] = value

    @property
    def org_weight(self) -> Tensor:
        """The layer's weight."""
        weight: Any = self.org_module[0].weight
        return weight

    def apply_to(self, **_: object) -> None:
        """Let the layer act with the adapter."""
        layer = self.org_module[0]
        if not self.has_adapter:
            self.org_forward = layer.forward
            layer.forward = self.forward
        elif not self.applied:
            taken = getattr(layer, "adapters", ())
            self._name = next(n for n in (self.lora_name, *map(str, range(1000))) if n not in taken)
            inject(layer, self.lora_name, self._name, self.adapter, registered=False)
            self.adapter.train(self.training)
        self.applied = True

    def restore(self) -> None:
        """Let the layer act as it did before `apply_to`."""
        layer = self.org_module[0]
        if self.applied and not self.has_adapter:
            layer.forward = self.org_forward
        elif self.applied:
            eject(layer, self._name)
        self.applied = False

    @torch.no_grad()
    def merge_to(self, multiplier: float = 1.0, *, precise: bool = True) -> None:
        """Add the update to the layer's weight for good.

        Args:
            multiplier: scale of the update, instead of the module's own.
            precise: without effect: every merge is computed in float64 where the device has it.

        Raises:
            InputError: the weight is quantised, or adapters are merged into it by `onfly_merge`.
        """
        layer: Any = self.org_module[0]
        self._check_mergeable()
        weight, bias = add_updates(layer.weight, getattr(layer, "bias", None), [(self.adapter, float(multiplier))])
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)

    def onfly_merge(self, multiplier: float = 1.0) -> None:
        """Add the update to the layer's weight until `onfly_restore`, which restores the original bits."""
        self._check_mergeable()
        self._before_merge = (self.multiplier, self.applied)
        self.multiplier = multiplier
        self.apply_to()
        merge(as_adapted(self.org_module[0]), self._name)

    def onfly_restore(self) -> None:
        """Take the update of `onfly_merge` out of the weight."""
        unmerge(as_adapted(self.org_module[0]), self._name)
        self.multiplier, applied = self._before_merge
        if not applied:
            self.restore()

    @property
    def is_mergeable(self) -> bool:
        """Whether the layer's weight can be added to: it is not quantised."""
        return is_unquantized(self.org_weight)

    def _check_mergeable(self) -> None:
        if not self.is_mergeable:
            raise InputError(
                f"Layer `{self.lora_name}`: nothing can be merged into weights of {self.org_weight.dtype}."
            )
        if getattr(self.org_module[0], "_merged", None):
            raise InputError(f"Layer `{self.lora_name}` has a merged adapter: `onfly_restore()` it first.")

    def get_diff_weight(
        self, multiplier: float = 1.0, shape: Any = None, device: Any = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the changes of weight and bias, in the shape of the weight unless another is given."""
        delta, bias = self.adapter.structure(self.org_weight, multiplier).dense(), self.adapter.bias_delta()
        delta = delta if shape is None else delta.reshape(shape)
        return delta.to(device), None if bias is None else (bias * multiplier).to(device)

    @torch.no_grad()
    def apply_max_norm(self, max_norm: float, device: Any = None) -> tuple[bool | None, Tensor | None]:
        """Scale the update down to a norm.

        Args:
            max_norm: the largest norm of the update, positive.
            device: where the norm is returned.

        Returns:
            Whether it was scaled, and its norm now; (None, None) for algorithms without a factor to scale.
        """
        gate, inner = self.adapter, _innermost(self.adapter)
        while gate is not inner and not isinstance(gate, ScalarGate):
            gate = gate.inner  # type: ignore[assignment]  # a wrapper's adapter
        factors = [
            values for name, values in inner.state_tensors().items() if name in getattr(inner, "zero_factors", ())
        ]
        if not factors:
            return None, None
        norm = gate.structure(self.org_weight).dense().norm()
        ratio = (max_norm / norm.clamp_min(1e-30)).clamp(max=1.0)
        for values in factors:
            values.mul_(ratio)
        return bool(ratio < 1), (norm * ratio).to(device)

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Return the tensors of a file."""
        if not self.has_adapter:
            return super().state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)
        destination = OrderedDict() if destination is None else destination
        for name, values in self.adapter.state_tensors().items():
            destination[f"{prefix}{name}"] = values if keep_vars else values.detach()
        return destination

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Read the tensors of a file, and give the adapter, whose turn is next, the values that it has then."""
        if not self.has_adapter:
            return super()._load_from_state_dict(state_dict, prefix, *args)
        _, _, missing, unexpected, errors = args
        expected = self.adapter.state_tensors()
        given = {key.removeprefix(prefix): values for key, values in state_dict.items() if key.startswith(prefix)}
        missing += [prefix + name for name in expected if name not in given]
        unexpected += [prefix + name for name in given if name not in expected]
        wrong = [name for name in expected if name in given and given[name].numel() != expected[name].numel()]
        errors += [
            f"{prefix}{name} has shape {list(given[name].shape)} instead of {list(expected[name].shape)}"
            for name in wrong
        ]
        if not wrong and any(name in given for name in expected):
            own = {name: given.get(name, values.detach().clone()) for name, values in expected.items()}
            self.adapter.load_tensors({name: values.reshape(expected[name].shape) for name, values in own.items()})
        state_dict.update(self.adapter.state_dict(prefix=f"{prefix}adapter."))
        return None

    def __getattr__(self, name: str) -> Any:
        """Return a tensor of the file, `lora.lokr_w1` or `lora.lora_up.weight`, beside what modules have."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            adapter = self.__dict__.get("_modules", {}).get("adapter")
            tensors: Mapping[str, Tensor] = {} if adapter is None else adapter.state_tensors()
            if name in tensors:
                return tensors[name]
            if f"{name}.weight" in tensors:
                return SimpleNamespace(weight=tensors[f"{name}.weight"])
            raise

    def extra_repr(self) -> str:
        """Name and state, for `repr(network)`."""
        return f"{self.lora_name}, applied={self.applied}"


def _innermost(adapter: Adapter) -> Adapter:
    """Return the algorithm's adapter inside its wrappers."""
    while isinstance(getattr(adapter, "inner", None), Adapter):
        adapter = adapter.inner  # type: ignore[assignment]  # checked above
    return adapter
