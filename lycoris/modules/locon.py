"""`lycoris.modules.locon` of trainers: see `lycoris.drop_in`."""

from lycoris.drop_in.algorithms import LoConModule

__all__ = ["LoConModule"]
