"""`lycoris.modules.lokr` of trainers: see `lycoris.drop_in`."""

from lycoris.drop_in.algorithms import LokrModule

__all__ = ["LokrModule"]
