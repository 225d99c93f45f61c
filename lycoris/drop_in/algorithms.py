"""`lycoris-lora`'s class of each algorithm."""

from __future__ import annotations

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
MODULES = {module.algorithm: module for module in MODULE_LIST}
"""Name in `ALGORITHMS` → class."""
