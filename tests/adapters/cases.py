"""Layers, options and helpers of the adapter tests. The cases derive from `ALGORITHMS`."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

import lycoris
from lycoris.adapters import ALGORITHMS, Algorithm
from lycoris.errors import InputError

torch.set_num_threads(1)

LAYERS = {
    "linear": (lambda: nn.Linear(24, 40), (2, 7, 24)),
    "linear-no-bias": (lambda: nn.Linear(40, 16, bias=False), (3, 40)),
    "conv1d": (lambda: nn.Conv1d(12, 20, 5, stride=2, padding=3, dilation=2), (2, 12, 17)),
    "conv2d": (lambda: nn.Conv2d(12, 20, 3, padding=1), (2, 12, 6, 5)),
    "conv2d-strided": (lambda: nn.Conv2d(20, 12, (3, 5), stride=(1, 2), padding=(0, 2), bias=False), (2, 20, 7, 9)),
    "conv2d-pointwise": (lambda: nn.Conv2d(24, 8, 1), (2, 24, 4, 4)),
    "conv2d-groups": (lambda: nn.Conv2d(12, 24, 3, padding=1, groups=2), (2, 12, 5, 5)),
    "conv2d-depthwise": (lambda: nn.Conv2d(16, 16, 3, groups=16), (2, 16, 5, 5)),
    "conv2d-circular": (lambda: nn.Conv2d(12, 20, 3, padding=1, padding_mode="circular"), (2, 12, 5, 6)),
    "conv2d-same": (lambda: nn.Conv2d(12, 20, 3, padding="same", dilation=2), (2, 12, 6, 6)),
    "conv3d": (lambda: nn.Conv3d(8, 12, 3, stride=2, padding=1), (1, 8, 5, 4, 6)),
    "layer-norm": (lambda: nn.LayerNorm(24), (2, 5, 24)),
    "group-norm": (lambda: nn.GroupNorm(4, 12), (2, 12, 3, 3)),
    "rms-norm": (lambda: nn.RMSNorm(24), (2, 5, 24)),
}

FAST_LAYERS = ("linear", "conv2d-strided", "conv2d-groups")
"""Layers on which every algorithm and option is tested in each run, DoRA around most algorithms only on the first. The
others are marked slow."""

ADDITIVE = [name for name, algorithm in ALGORITHMS.items() if name != "norms" and not algorithm.uses_base_weight]
"""Algorithms that do not read the frozen weight, of layers other than norms."""

EXTRACTABLE = [name for name in ADDITIVE if ALGORITHMS[name].fit_delta is not Algorithm.fit_delta]
"""Algorithms that `extract` can fit."""

READERS = [name for name, algorithm in ALGORITHMS.items() if algorithm.uses_base_weight]
"""Algorithms that read it."""


def options_of(algorithm: str) -> dict[str, Mapping]:
    """Name → options of an algorithm, beyond its defaults: its examples, and DoRA around it."""
    dora = {"dora": {"dora": "output"}, "dora by input": {"dora": "input"}} if algorithm != "norms" else {}
    examples = ALGORITHMS[algorithm].examples
    return {**examples, **{name: options for name, options in dora.items() if name not in examples}}


def cases(norms: bool = True) -> list:
    """(algorithm, options, layer) for everything that fits together, with readable ids."""
    found = []
    for algorithm, cls in ALGORITHMS.items():
        for option, values in {"defaults": {}, **options_of(algorithm)}.items():
            for name, (build, _) in LAYERS.items():
                if "norm" in name and not norms:
                    continue
                if isinstance(build(), cls.layer_types) and not _exceeds_rank(algorithm, name, values):
                    on_all = option == "defaults" and algorithm in ("lora", "lokr", "norms")
                    wrapped = option.startswith("dora") and algorithm not in ("lora", "lokr")
                    fast = on_all or name in (FAST_LAYERS[:1] if wrapped else FAST_LAYERS)
                    marks = [] if fast else [pytest.mark.slow]
                    found.append(pytest.param(algorithm, values, name, id=f"{algorithm}-{option}-{name}", marks=marks))
    return found


def _exceeds_rank(algorithm: str, name: str, options: Mapping) -> bool:
    """Whether a rank is more than a depthwise convolution, with one input channel per group, allows."""
    if name != "conv2d-depthwise":
        return False
    try:
        with torch.random.fork_rng(devices=[]):
            lycoris.attach(LAYERS[name][0](), algorithm, preset="everything", **options)
    except InputError as error:
        if "`rank` must be" not in str(error):
            raise
        return True
    return False


def make_layer(name: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """A float64 layer in a model, so that it can be found, with random values, and an input for it."""
    torch.manual_seed(seed)
    build, shape = LAYERS[name]
    layer = build().double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return nn.Sequential(layer).eval(), torch.randn(*shape, dtype=torch.float64)


def randomize(network: nn.Module, seed: int = 1) -> None:
    """Values with which every parameter matters."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


def forward_with(layer: nn.Module, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """The layer's own forward, as PyTorch does it, with another weight and bias."""
    values = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    return torch.func.functional_call(layer, values, (x,))


def reference_weight(algorithm: str, tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor:
    """The new weight as the papers define it, from the tensors of a file, DoRA row by row or column by column."""
    tensors = {name: value.double() for name, value in tensors.items()}
    changed = weight + ALGORITHMS[algorithm].reference_delta(tensors, weight)
    if "dora_scale" not in tensors:
        return changed
    by_output = tensors["dora_scale"].shape[:2] == (weight.shape[0], 1)
    for i in range(weight.shape[0 if by_output else 1]):
        part = changed[i] if by_output else changed[:, i]
        part *= tensors["dora_scale"].flatten()[i] / part.square().sum().sqrt()
    return changed
