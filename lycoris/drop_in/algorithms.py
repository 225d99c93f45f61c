"""`lycoris-lora`'s class of each algorithm."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lycoris.adapters.algorithms import ALGORITHMS
from lycoris.drop_in.modules import LycorisBaseModule
from lycoris.drop_in.timestep_mask import TLoraModule


class LoConModule(LycorisBaseModule):
    """LoRA, also of convolutions."""

    algorithm = "lora"
    name = "locon"


class LohaModule(LycorisBaseModule):
    """LoHa."""

    algorithm = "loha"
    name = "loha"


class LokrModule(LycorisBaseModule):
    """LoKr."""

    algorithm = "lokr"
    name = "kron"


class FullModule(LycorisBaseModule):
    """Native fine-tuning."""

    algorithm = "full"
    name = "full"


class NormModule(LycorisBaseModule):
    """Changes of a norm layer."""

    algorithm = "norms"
    name = "norm"


class IA3Module(LycorisBaseModule):
    """(IA)³."""

    algorithm = "ia3"
    name = "ia3"


class GLoRAModule(LycorisBaseModule):
    """GLoRA."""

    algorithm = "glora"
    name = "glora"


class DyLoraModule(LycorisBaseModule):
    """DyLoRA."""

    algorithm = "dylora"
    name = "dylora"


class DiagOFTModule(LycorisBaseModule):
    """Diag-OFT."""

    algorithm = "diag-oft"
    name = "diag-oft"


class ButterflyOFTModule(LycorisBaseModule):
    """BOFT."""

    algorithm = "boft"
    name = "boft"


MODULE_LIST: tuple[type[LycorisBaseModule], ...] = (
    LoConModule,
    LohaModule,
    LokrModule,
    FullModule,
    NormModule,
    IA3Module,
    GLoRAModule,
    DyLoraModule,
    DiagOFTModule,
    ButterflyOFTModule,
    TLoraModule,
)
TLORA_TENSORS = ("q_layer.weight", "p_layer.weight", "lambda_layer", "alpha")
MODULES = {module.algorithm: module for module in MODULE_LIST}
"""Name in `ALGORITHMS` → class."""


def get_module(
    lyco_state_dict: Mapping[str, Tensor], lora_name: str
) -> tuple[type[LycorisBaseModule] | None, tuple[Tensor | None, ...] | None]:
    """Return the class and the tensors, in a fixed order, of a layer in a file; (None, None) where it has none.

    Args:
        lyco_state_dict: key → values.
        lora_name: the layer's name in the file.
    """
    prefix = f"{lora_name}."
    given = {key.removeprefix(prefix): each for key, each in lyco_state_dict.items() if key.startswith(prefix)}
    shapes = {name: tuple(values.shape) for name, values in given.items()}
    if "lambda_layer" in given:
        return TLoraModule, tuple(given.get(name) for name in TLORA_TENSORS)
    for module in MODULE_LIST:
        if ALGORITHMS[module.algorithm].matches(shapes) and module is not TLoraModule:
            return module, tuple(given.values())
    return None, None
