"""Descriptions of the algorithms for the forms of trainers."""

from __future__ import annotations

from dataclasses import dataclass

from lycoris.adapters.algorithms import ALGORITHMS
from lycoris.drop_in.options import algorithm_name, option_names
from lycoris.drop_in.presets import PresetValidationError
from lycoris.errors import InputError


@dataclass(frozen=True)
class AlgoSpec:
    """An algorithm and its options, for the forms of trainers."""

    name: str
    description: str
    supported_args: tuple[str, ...] = ()
    required_args: tuple[str, ...] = ()
    notes: str | None = None

    def supports(self, arg: str) -> bool:
        """Tell whether the algorithm has an option."""
        return arg in self.supported_args


_NAMES = ("lora", "locon", "loha", "lokr", "dylora", "glora", "full", "diag-oft", "boft", "ia3", "tlora")
"""`lycoris-lora`'s names of the algorithms."""


def describe_algo(name: str) -> AlgoSpec:
    """Return an algorithm and its options.

    Raises:
        PresetValidationError: there is none of that name.
    """
    try:
        algorithm = algorithm_name(name)
    except InputError as error:
        raise PresetValidationError(str(error)) from None
    entry = ALGORITHMS[algorithm]
    return AlgoSpec(str(name).lower(), f"{entry.title}: {entry.formula}.", option_names(algorithm))


def list_algorithms() -> list[AlgoSpec]:
    """Return every algorithm by the names of `lycoris-lora`."""
    return [describe_algo(name) for name in _NAMES]
