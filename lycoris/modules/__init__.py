"""`lycoris.modules` of trainers, the class of each algorithm: see `lycoris.drop_in`."""

from lycoris.drop_in.algorithms import (
    MODULE_LIST,
    ButterflyOFTModule,
    DiagOFTModule,
    DyLoraModule,
    FullModule,
    GLoRAModule,
    IA3Module,
    LoConModule,
    LohaModule,
    LokrModule,
    NormModule,
    get_module,
)
from lycoris.drop_in.modules import LycorisBaseModule
from lycoris.drop_in.timestep_mask import TLoraModule

__all__ = [
    "MODULE_LIST",
    "ButterflyOFTModule",
    "DiagOFTModule",
    "DyLoraModule",
    "FullModule",
    "GLoRAModule",
    "IA3Module",
    "LoConModule",
    "LohaModule",
    "LokrModule",
    "LycorisBaseModule",
    "NormModule",
    "TLoraModule",
    "get_module",
]
