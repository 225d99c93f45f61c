"""Adapters for text-to-image models, and what is needed to know what they did.

    network = lycoris.attach(model, algorithm="lokr", preset="attn-mlp", factor=8, seed=0)
    network.save("x.safetensors")
    network = lycoris.load("x.safetensors", model)

Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lycoris.adapters import ALGORITHMS as ALGORITHMS
    from lycoris.adapters.attaching import attach as attach
    from lycoris.adapters.conversion import convert as convert
    from lycoris.adapters.extraction import extract as extract
    from lycoris.adapters.files.checkpoint_reader import read_metadata as read_metadata
    from lycoris.adapters.layers.presets import PRESETS as PRESETS
    from lycoris.adapters.loading import load as load
    from lycoris.adapters.network import Network as Network
    from lycoris.errors import InputError as InputError

__version__ = "0.2.0"

_HOMES = {
    "ALGORITHMS": "lycoris.adapters",
    "PRESETS": "lycoris.adapters.layers.presets",
    "InputError": "lycoris.errors",
    "Network": "lycoris.adapters.network",
    "attach": "lycoris.adapters.attaching",
    "convert": "lycoris.adapters.conversion",
    "extract": "lycoris.adapters.extraction",
    "load": "lycoris.adapters.loading",
    "read_metadata": "lycoris.adapters.files.checkpoint_reader",
}

__all__ = ["ALGORITHMS", "PRESETS", "InputError", "Network", "attach", "convert", "extract", "load", "read_metadata"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
