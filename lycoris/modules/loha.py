"""`lycoris.modules.loha` of trainers: see `lycoris.drop_in`."""

from lycoris.drop_in.algorithms import LohaModule

__all__ = ["LohaModule"]
