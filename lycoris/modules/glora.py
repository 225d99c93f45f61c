"""`lycoris.modules.glora` of trainers: see `lycoris.drop_in`."""

from lycoris.drop_in.algorithms import GLoRAModule

__all__ = ["GLoRAModule"]
