"""Customization of text-to-image models: train adapters, generate images with them, and measure what they changed.

    base = lycoris.open_base("pocket")
    network = lycoris.attach(base.parts, algorithm="lokr", preset="attn-mlp", factor=8, seed=0)
    examples = [lycoris.Example(file, "a ohw bear") for file in files]
    job = lycoris.TrainingJob(network, examples, lycoris.TrainingSettings(steps=120), seed=0)
    lycoris.train(base, job)
    network.save("x.safetensors")

    network = lycoris.load("x.safetensors", base.parts)
    images = lycoris.generate(base, ["a ohw bear on a beach"], seeds=[1000])

Adapters: `attach`, `load`, `convert`, `extract`, `inspect_adapter`, `merge_adapters`, `resize`, `read_metadata`. Base
models: `open_base`, `generate`, `bake`. Captions: `open_tagger`, `build_captions`. Training: `train`. Scores:
`open_encoder`, `encode`, `encode_references`, `compare`, `compare_models`. Tables of the available names: `ALGORITHMS`,
`PRESETS`, `BASES`, `METRICS`. For trainers that were written for `lycoris-lora`: `create_lycoris`,
`create_lycoris_from_weights`, `LycorisNetwork`.

A name is imported when it is first used, so that importing `lycoris` does not import torch.
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
    from lycoris.adapters.toolbox.inspection import inspect_adapter as inspect_adapter
    from lycoris.adapters.toolbox.layer_merging import MergeSettings as MergeSettings
    from lycoris.adapters.toolbox.merging import merge_adapters as merge_adapters
    from lycoris.adapters.toolbox.resizing import resize as resize
    from lycoris.bases import BASES as BASES
    from lycoris.bases import open_base as open_base
    from lycoris.bases.baking import bake as bake
    from lycoris.bases.sampling import GenerationSettings as GenerationSettings
    from lycoris.bases.sampling import generate as generate
    from lycoris.captions import build_captions as build_captions
    from lycoris.captions import open_tagger as open_tagger
    from lycoris.drop_in.network import LycorisNetwork as LycorisNetwork
    from lycoris.drop_in.wrapper import create_lycoris as create_lycoris
    from lycoris.drop_in.wrapper import create_lycoris_from_weights as create_lycoris_from_weights
    from lycoris.encoders import open_encoder as open_encoder
    from lycoris.errors import InputError as InputError
    from lycoris.metrics.compare import compare as compare
    from lycoris.metrics.compare import compare_models as compare_models
    from lycoris.metrics.encoding import encode as encode
    from lycoris.metrics.encoding import encode_references as encode_references
    from lycoris.metrics.registry import METRICS as METRICS
    from lycoris.training import Example as Example
    from lycoris.training import TrainingJob as TrainingJob
    from lycoris.training import TrainingSettings as TrainingSettings
    from lycoris.training import train as train

__version__ = "0.2.0"

_EXPORTS = {
    "lycoris.adapters": ("ALGORITHMS",),
    "lycoris.adapters.attaching": ("attach",),
    "lycoris.adapters.conversion": ("convert",),
    "lycoris.adapters.extraction": ("extract",),
    "lycoris.adapters.files.checkpoint_reader": ("read_metadata",),
    "lycoris.adapters.layers.presets": ("PRESETS",),
    "lycoris.adapters.loading": ("load",),
    "lycoris.adapters.network": ("Network",),
    "lycoris.adapters.toolbox.inspection": ("inspect_adapter",),
    "lycoris.adapters.toolbox.layer_merging": ("MergeSettings",),
    "lycoris.adapters.toolbox.merging": ("merge_adapters",),
    "lycoris.adapters.toolbox.resizing": ("resize",),
    "lycoris.bases": ("BASES", "open_base"),
    "lycoris.bases.baking": ("bake",),
    "lycoris.bases.sampling": ("GenerationSettings", "generate"),
    "lycoris.captions": ("build_captions", "open_tagger"),
    "lycoris.drop_in.network": ("LycorisNetwork",),
    "lycoris.drop_in.wrapper": ("create_lycoris", "create_lycoris_from_weights"),
    "lycoris.encoders": ("open_encoder",),
    "lycoris.errors": ("InputError",),
    "lycoris.metrics.compare": ("compare", "compare_models"),
    "lycoris.metrics.encoding": ("encode", "encode_references"),
    "lycoris.metrics.registry": ("METRICS",),
    "lycoris.training": ("Example", "TrainingJob", "TrainingSettings", "train"),
}
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = [
    "ALGORITHMS",
    "BASES",
    "METRICS",
    "PRESETS",
    "Example",
    "GenerationSettings",
    "InputError",
    "LycorisNetwork",
    "MergeSettings",
    "Network",
    "TrainingJob",
    "TrainingSettings",
    "attach",
    "bake",
    "build_captions",
    "compare",
    "compare_models",
    "convert",
    "create_lycoris",
    "create_lycoris_from_weights",
    "encode",
    "encode_references",
    "extract",
    "generate",
    "inspect_adapter",
    "load",
    "merge_adapters",
    "open_base",
    "open_encoder",
    "open_tagger",
    "read_metadata",
    "resize",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
