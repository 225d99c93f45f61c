"""Options under the names of `lycoris-lora`, and what they are for this library's algorithms."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_type_hints

from lycoris.adapters.algorithms import ALGORITHMS, ALIASES
from lycoris.adapters.layers.dropout import Dropout
from lycoris.adapters.layers.layer_options import AdapterSpec
from lycoris.errors import InputError, unknown_name_error

LOGGER = logging.getLogger("LyCORIS")

SYNONYMS = {
    "linear_dim": "dim",
    "lora_dim": "dim",
    "linear_alpha": "alpha",
    "dora_wd": "weight_decompose",
    "wd_on_output": "wd_on_out",
    "constrain": "constraint",
    "use_cp": "use_tucker",
    "use_conv_cp": "use_tucker",
}
"""Other names of an option → the name here."""

_LOW_RANK = {"dim": "rank", "alpha": "alpha", "rs_lora": "rank_stabilised"}
_ROTATION = {"dim": "factor", "constraint": "constraint", "rescaled": "rescale"}
_KRONECKER = {"factor": "factor", "decompose_both": "decompose_both", "unbalanced_factorization": "unbalanced"}
ALGORITHM_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "lora": {**_LOW_RANK, "use_tucker": "tucker"},
    "loha": {**_LOW_RANK, "use_tucker": "tucker"},
    "lokr": {**_LOW_RANK, **_KRONECKER, "use_tucker": "tucker"},
    "full": {},
    "norms": {},
    "ia3": {"train_on_input": "on_input"},
    "glora": _LOW_RANK,
    "dylora": {"dim": "rank", "alpha": "alpha", "block_size": "block"},
    "diag-oft": _ROTATION,
    "boft": _ROTATION,
    "t-lora": {"dim": "rank", "alpha": "alpha"},
}
"""Algorithm → `lycoris-lora`'s name of an option → this library's."""

_MORE = {
    "weight_decompose": ("lora", "loha", "lokr"),
    "wd_on_out": ("lora", "loha", "lokr"),
    "use_scalar": ("lora", "loha", "lokr", "glora", "dylora"),
    "full_matrix": ("lokr",),
    "mask_group_id": ("t-lora",),
    "sig_type": ("t-lora",),
    "use_data_init": ("t-lora",),
}
"""Options beside those of the algorithm → the algorithms that have them."""

_FOR_ALL = frozenset({"dim", "alpha", "dropout", "rank_dropout", "module_dropout", "bypass_mode"})
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no", "none", "")


@dataclass(frozen=True)
class ModuleOptions:
    """Options of one layer's adapter, with the names and the defaults of `lycoris-lora`.

    Attributes:
        dim: the rank; of Diag-OFT and BOFT the size of the blocks.
        alpha: numerator of the scale; 0 is the rank.
        dropout, rank_dropout, module_dropout: as for `lycoris.attach`.
        bypass_mode: without effect, as each layer takes the cheaper way.
        mask_group_id: which mask of `set_timestep_mask` T-LoRA uses.
        use_data_init: whether T-LoRA starts from the weight's singular vectors, not from a random matrix's.
        sig_type: which of them: ``principal``, ``middle`` or ``last``.
        rank_dropout_scale: what is kept is always rescaled.
    """

    dim: int = 4
    alpha: float = 1.0
    dropout: float = 0.0
    rank_dropout: float = 0.0
    module_dropout: float = 0.0
    use_tucker: bool = False
    use_scalar: bool = False
    decompose_both: bool = False
    factor: int = -1
    block_size: int = 4
    constraint: float = 0.0
    rescaled: bool = False
    weight_decompose: bool = False
    wd_on_out: bool = True
    full_matrix: bool = False
    rs_lora: bool = False
    unbalanced_factorization: bool = False
    train_on_input: bool = False
    bypass_mode: bool = False
    mask_group_id: int = 0
    sig_type: str = "principal"
    use_data_init: bool = True
    rank_dropout_scale: bool = True

    def changed(self, values: Mapping[str, object]) -> ModuleOptions:
        """Return these options with others in place of some.

        Args:
            values: name → value, or the text of one. None is the value that was.

        Raises:
            InputError: an unknown option, or a value that is not of its type.
        """
        parsed: dict[str, Any] = {}
        for given_name, value in values.items():
            name = SYNONYMS.get(given_name, given_name)
            if given_name == "disable_conv_cp" and value is not None:
                name, value = "use_tucker", not parse(given_name, value, bool)
            if name not in OPTION_TYPES:
                raise unknown_name_error("option", given_name, [*OPTION_TYPES, *SYNONYMS])
            if value is not None:
                parsed[name] = parse(given_name, value, OPTION_TYPES[name])
        return replace(self, **parsed)

    def without_effect(self, algorithm: str) -> list[str]:
        """Return the options, other than at their default, that an algorithm does not have."""
        return [
            each.name
            for each in fields(self)
            if getattr(self, each.name) != each.default
            and each.name not in _FOR_ALL
            and each.name not in ALGORITHM_OPTIONS[algorithm]
            and algorithm not in _MORE.get(each.name, ())
        ]

    def layer_dropout(self) -> Dropout:
        """Return the dropout probabilities."""
        return Dropout(self.dropout, self.rank_dropout, self.module_dropout)

    def spec(self, algorithm: str) -> AdapterSpec:
        """Return the algorithm, a name of `ALGORITHMS`, with these options.

        Raises:
            InputError: as for `AdapterSpec`.
        """
        options: dict[str, Any] = {ours: getattr(self, name) for name, ours in ALGORITHM_OPTIONS[algorithm].items()}
        if "alpha" in options:
            options["alpha"] = self.alpha or float(self.dim)
        if algorithm == "lokr" and self.full_matrix:
            options |= {"rank": None, "alpha": None}
        dora: Literal["output", "input"] | None = None
        if self.weight_decompose and algorithm in _MORE["weight_decompose"]:
            dora = "output" if self.wd_on_out else "input"
        return AdapterSpec(algorithm, options, dora, self.use_scalar and algorithm in _MORE["use_scalar"])


OPTION_TYPES: Mapping[str, type] = get_type_hints(ModuleOptions)
"""Name of an option → its type."""


def option_names(algorithm: str) -> tuple[str, ...]:
    """Return the options of an algorithm, a name of `ALGORITHMS`, under the names of `lycoris-lora`."""
    own = [*ALGORITHM_OPTIONS[algorithm], *(name for name, algorithms in _MORE.items() if algorithm in algorithms)]
    return tuple(dict.fromkeys([*own, *sorted(_FOR_ALL - {"dim", "alpha"})]))


def algorithm_name(name: object) -> str:
    """Return the name in `ALGORITHMS` of an algorithm by any of its names.

    Raises:
        InputError: there is none.
    """
    algorithm = ALIASES.get(str(name).lower(), str(name).lower())
    if algorithm not in ALGORITHMS:
        raise unknown_name_error("algorithm", name, [*ALGORITHMS, *ALIASES])
    return algorithm


def parse(name: str, value: object, kind: type) -> Any:
    """Return the value of an option, which trainers give as text too.

    Args:
        name: of the option, for the message.
        value: the value or its text.
        kind: `bool`, `int`, `float` or `str`.

    Raises:
        InputError: it is not of that kind.
    """
    if kind is str:
        return str(value)
    if kind is bool:
        text = str(value).lower()
        if text not in _TRUE + _FALSE:
            raise InputError(f"Option `{name}` must be true or false, but got {value!r}.")
        return text in _TRUE
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number is refused
        if kind is int and number != int(number):
            raise ValueError
        return kind(number)
    except (TypeError, ValueError, OverflowError):
        what = "a whole number" if kind is int else "a number"
        raise InputError(f"Option `{name}` must be {what}, but got {value!r}.") from None
