"""An algorithm with its options, checked before any layer is touched."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lycoris.adapters.algorithms import ALGORITHMS, ALIASES, Adapter, Algorithm
from lycoris.adapters.algorithms.dora import DoRA
from lycoris.adapters.algorithms.scalar_gate import ScalarGate
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.errors import InputError, unknown_name_error


@dataclass(frozen=True)
class AdapterSpec:
    """An algorithm with its options, for any layer.

    Attributes:
        algorithm: a name of `ALGORITHMS` or `ALIASES`.
        options: keyword arguments of the algorithm; those that are None take their default.
        dora: train the weight's norms separately, per output or per input.
        scalar: multiply ΔW by a trained scalar that starts at zero.

    Raises:
        InputError: an unknown algorithm or option, or a boolean option that is not true or false.
    """

    algorithm: str
    options: Mapping[str, object] = field(default_factory=dict)
    dora: Literal["output", "input"] | None = None
    scalar: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "algorithm", ALIASES.get(self.algorithm, self.algorithm))
        if self.algorithm not in ALGORITHMS:
            raise unknown_name_error("algorithm", self.algorithm, [*ALGORITHMS, *ALIASES])
        object.__setattr__(self, "options", {k: v for k, v in self.options.items() if v is not None})
        known = dict(list(inspect.signature(self.adapter_class).parameters.items())[1:])
        for name, value in [*self.options.items(), ("scalar", self.scalar)]:
            if name != "scalar" and name not in known:
                raise unknown_name_error(f"option of `{self.algorithm}`", name, known)
            if (name == "scalar" or isinstance(known[name].default, bool)) and not isinstance(value, bool):
                raise InputError(f"Argument `{name}` must be true or false, but got {value!r}.")

    @classmethod
    def from_rule(cls, rule: Mapping[str, object], default: AdapterSpec) -> AdapterSpec:
        """Create the spec of a rule of `layers`.

        Args:
            rule: options. With an algorithm, the rule stands alone; without one it changes options of the default.
            default: spec of the whole call.

        Raises:
            InputError: as for the class.
        """
        if not isinstance(rule, Mapping):
            raise InputError(f"Argument `layers` must map patterns to options, but got {rule!r}.")
        options: dict[str, Any] = dict(rule)
        if "algorithm" not in options:
            inherited = {**default.options, "dora": default.dora, "scalar": default.scalar}
            options = {"algorithm": default.algorithm, **inherited, **options}
        algorithm, dora, scalar = options.pop("algorithm"), options.pop("dora", None), options.pop("scalar", False)
        return cls(algorithm, options, dora, scalar)

    @property
    def adapter_class(self) -> type[Algorithm]:
        """The algorithm's class."""
        return ALGORITHMS[self.algorithm]

    @property
    def adapter_classes(self) -> tuple[type[Algorithm], ...]:
        """The algorithm, and the one that goes with it on norm layers."""
        return (self.adapter_class, ALGORITHMS["norms"]) if self.adapter_class.with_norms else (self.adapter_class,)

    def supports(self, layer: object) -> bool:
        """Tell whether a layer can be adapted; a norm without a scale of its own has nothing to update."""
        if getattr(layer, "weight", None) is None:
            return False
        return any(isinstance(layer, each.layer_types) for each in self.adapter_classes)

    def build(self, target: TargetLayer) -> Adapter:
        """Create the adapter of one layer.

        Raises:
            InputError: the layer does not allow a value.
        """
        if not isinstance(target.module, self.adapter_class.layer_types):
            return self.adapter_classes[1](target)
        algorithm = self.adapter_class(target, **self.options)
        adapter = ScalarGate(target, algorithm) if self.scalar else algorithm
        return adapter if self.dora is None else DoRA(target, adapter, self.dora)

    def settings(self) -> dict[str, object]:
        """Return the options and the wrappers in use, as plain values."""
        wrappers = {"dora": self.dora, "scalar": self.scalar or None}
        return {**self.options, **{name: value for name, value in wrappers.items() if value is not None}}
