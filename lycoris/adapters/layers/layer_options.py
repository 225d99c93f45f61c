"""What one layer is given: an algorithm and its options, checked before any layer is touched."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lycoris.adapters import ALGORITHMS, ALIASES
from lycoris.adapters.algorithms.adapter import Adapter, TargetLayer
from lycoris.adapters.algorithms.dora import DoRA
from lycoris.adapters.algorithms.scalar_gate import ScalarGate
from lycoris.errors import InputError, unknown_name_error


@dataclass(frozen=True)
class AdapterSpec:
    """An algorithm with its options, for any layer.

    Attributes:
        algorithm: a name of `ALGORITHMS` or `ALIASES`.
        options: keyword arguments of the algorithm.
        dora: lengths learned apart, per output or per input.
        scalar: the change starts at zero by a trained scalar.

    Raises:
        InputError: an unknown algorithm or option; one that is to be true or false and is neither.
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
        """A rule of `layers`: with an algorithm it stands alone, without one it changes options of the default.

        Raises:
            InputError: as the class.
        """
        if not isinstance(rule, Mapping):
            raise InputError(f"Argument `layers` must map patterns to options, but got {rule!r}.")
        options: dict[str, Any] = dict(rule)
        if "algorithm" not in options:
            given = {**default.options, "dora": default.dora, "scalar": default.scalar, **options}
            options = {"algorithm": default.algorithm, **given}
        algorithm, dora, scalar = options.pop("algorithm"), options.pop("dora", None), options.pop("scalar", False)
        return cls(algorithm, options, dora, scalar)

    @property
    def adapter_class(self) -> type[Adapter]:
        """The algorithm's class."""
        return ALGORITHMS[self.algorithm]

    @property
    def adapter_classes(self) -> tuple[type[Adapter], ...]:
        """The algorithm and what goes with it on norm layers."""
        return (self.adapter_class, ALGORITHMS["norms"]) if self.algorithm == "full" else (self.adapter_class,)

    def supports(self, layer: object) -> bool:
        """Whether a layer can be adapted by it."""
        return any(isinstance(layer, kind.layer_types) for kind in self.adapter_classes)

    def build(self, site: TargetLayer) -> Adapter:
        """The adapter of one layer.

        Raises:
            InputError: a value that the layer does not allow.
        """
        if not isinstance(site.layer, self.adapter_class.layer_types):
            return self.adapter_classes[1](site)
        adapter = self.adapter_class(site, **self.options)
        if self.scalar:
            adapter = ScalarGate(site, adapter)
        return adapter if self.dora is None else DoRA(site, adapter, self.dora)

    def settings(self) -> dict[str, object]:
        """Options, and the wrappers that are used, as plain values."""
        wrappers = {"dora": self.dora, "scalar": self.scalar or None}
        return {**self.options, **{name: value for name, value in wrappers.items() if value is not None}}
