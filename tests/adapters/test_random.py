"""Random layers and options in float64: all ways to compute an adapter's effect agree."""

from __future__ import annotations

import inspect
import math
import tempfile
import typing
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from torch import nn

import lycoris
from lycoris.adapters import ALGORITHMS
from lycoris.adapters.structures import Operation
from lycoris.errors import InputError
from tests.adapters.cases import forward_with, randomize, reference_weight
from tests.adapters.test_algorithms import close, outcome

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@st.composite
def layers(draw) -> tuple[nn.Module, tuple[int, ...]]:
    """A Linear or convolution of any geometry, and the shape of an input for it."""
    dims, bias = draw(st.integers(0, 3)), draw(st.booleans())
    if dims == 0:
        layer = nn.Linear(draw(st.integers(1, 24)), draw(st.integers(1, 24)), bias=bias)
        return layer, (*draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)), layer.in_features)
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    channels, out = groups * draw(st.integers(1, 8)), groups * draw(st.integers(1, 8))
    sizes = [draw(st.integers(1, 3)) for _ in range(dims)]
    stride, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    padding = draw(st.integers(0, 1))
    space = [dilation * (size - 1) + 1 + draw(st.integers(0, 2)) for size in sizes]
    make = _CONVOLUTIONS[dims]
    layer = make(
        channels,
        out,
        tuple(sizes),
        stride,
        padding,
        dilation,
        groups,
        bias,
        draw(st.sampled_from(["zeros", "circular"])),
    )
    return layer, (draw(st.integers(1, 2)), channels, *space)


@st.composite
def options(draw, algorithm: str, layer: nn.Module) -> dict:
    """Options that the layer allows, or nearly; attaching rejects what it does not allow."""
    cls, shape = ALGORITHMS[algorithm], tuple(layer.weight.shape)
    values: dict = {}
    if draw(st.integers(0, 3)) == 0:
        values["dora"] = draw(st.sampled_from(["output", "input"]))
    if cls.zero_factors:
        values["scalar"] = draw(st.booleans())
    without_rank = cls.default_rank is None and draw(st.booleans())
    annotations = typing.get_type_hints(cls.__init__)
    for parameter in list(inspect.signature(cls).parameters.values())[1:]:
        if parameter.name in ("rank", "alpha") and without_rank:
            continue
        strategy = option_strategy(parameter, annotations[parameter.name], shape, values)
        if strategy is not None:
            values[parameter.name] = draw(strategy)
    return values


def option_strategy(
    parameter: inspect.Parameter, annotation: object, shape: tuple[int, ...], values: dict
) -> st.SearchStrategy | None:
    """Values of an option by its name, else by its type; None for its default.

    Args:
        parameter: of the algorithm's constructor.
        annotation: the option's type.
        shape: of the layer's weight.
        values: of the options before it.
    """
    if parameter.name == "rank":
        return st.integers(1, min(shape[0], math.prod(shape[1:])))
    if parameter.name == "alpha":
        return st.floats(0.01, 50)
    if parameter.name == "factor" and parameter.default is not None:
        return st.sampled_from([-1, *range(1, 13)])
    if parameter.name == "block":
        return st.sampled_from([n for n in range(1, values["rank"] + 1) if values["rank"] % n == 0])
    if parameter.name == "constraint":
        return st.sampled_from([0.0, 0.02])
    if parameter.name == "tucker" and values.get("rank", 1) > min(shape[:2]):
        return None
    if parameter.name == "start" and (values.get("scalar") or values.get("tucker")):
        return None
    if annotation is bool:
        return st.booleans()
    if typing.get_origin(annotation) is typing.Literal:
        return st.sampled_from(typing.get_args(annotation))
    return None


def check(data, algorithm: str) -> None:
    """Draw a layer and options, and compare every way to compute the effect."""
    torch.manual_seed(0)
    layer, shape = data.draw(layers())
    chosen = data.draw(options(algorithm, layer))
    model = nn.Sequential(layer.double()).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(*shape, dtype=torch.float64)
    plain = {name: p.detach().clone() for name, p in layer.named_parameters()}
    base = outcome(model, x)
    try:
        network = lycoris.attach(model, algorithm, preset="everything", seed=data.draw(st.integers(0, 99)), **chosen)
    except InputError:
        reject()
    close(outcome(model, x), base)
    randomize(network)
    live, gradient = outcome(model, x)
    adapter = network.adapters["lycoris_0"]
    bias, bias_delta = plain.get("bias"), adapter.bias_delta()
    bias = bias if bias_delta is None else bias + bias_delta
    expected = reference_weight(algorithm, adapter.state_tensors(), plain["weight"])
    network.merge()
    close(outcome(model, x), (live, gradient))
    network.detach()
    assert all(torch.equal(plain[name], p) for name, p in layer.named_parameters())
    close(live, forward_with(layer, expected, bias, x))

    op, structure = Operation.from_layer(layer), adapter.structure(layer.weight)
    close(structure.apply(op, x.unsqueeze(0) if x.dim() == 1 else x), op(x, structure.dense()))
    parameters = list(network.parameters())
    changed = layer.weight + structure.dense()
    by_dense = torch.autograd.grad(forward_with(layer, changed, bias, x).square().sum(), parameters)
    network.reattach()
    for one, other in zip(torch.autograd.grad(model(x).square().sum(), parameters), by_dense, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * (1 + other.abs().max().item()))
    with tempfile.TemporaryDirectory() as folder:
        network.save(Path(folder) / "x.safetensors", dtype="float64")
        network.detach()
        lycoris.load(Path(folder) / "x.safetensors", model)
    close(outcome(model, x), (live, gradient))


CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
ALL = pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "norms"])


@ALL
@settings(max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=CHECKS)
@given(data=st.data())
def test_all_computations_agree_on_random_layers_and_options(algorithm, data):
    check(data, algorithm)


@pytest.mark.slow
@ALL
@settings(max_examples=400, derandomize=True, deadline=None, database=None, suppress_health_check=CHECKS)
@given(data=st.data())
def test_all_computations_agree_on_many_random_layers_and_options(algorithm, data):
    check(data, algorithm)
