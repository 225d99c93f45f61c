"""`--network_module lycoris.kohya` of sd-scripts: see `lycoris.drop_in`."""

from lycoris.drop_in.algorithms import (
    DyLoraModule,
    FullModule,
    GLoRAModule,
    IA3Module,
    LoConModule,
    LohaModule,
    LokrModule,
    NormModule,
)
from lycoris.drop_in.kohya import LycorisNetworkKohya, create_network, create_network_from_weights

LycorisNetwork = LycorisNetworkKohya

__all__ = [
    "DyLoraModule",
    "FullModule",
    "GLoRAModule",
    "IA3Module",
    "LoConModule",
    "LohaModule",
    "LokrModule",
    "LycorisNetwork",
    "LycorisNetworkKohya",
    "NormModule",
    "create_network",
    "create_network_from_weights",
]
