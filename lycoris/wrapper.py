"""`lycoris.wrapper` of trainers: see `lycoris.drop_in`."""

from lycoris.drop_in.network import LycorisNetwork
from lycoris.drop_in.wrapper import create_lycoris, create_lycoris_from_weights

__all__ = ["LycorisNetwork", "create_lycoris", "create_lycoris_from_weights"]
