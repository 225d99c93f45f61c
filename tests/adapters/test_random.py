"""Random shapes, ranks, alphas and factors in float64: the ways to compute an adapter's effect agree on all of them."""

from __future__ import annotations

import math
import tempfile
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
    """Options that the layer allows, or nearly: what it does not is refused when attaching."""
    shape = tuple(layer.weight.shape)
    limit = min(shape[0], math.prod(shape[1:]))
    found: dict = {}
    if draw(st.integers(0, 3)) == 0:
        found["dora"] = draw(st.sampled_from(["output", "input"]))
    if algorithm in ("lora", "loha", "glora", "dylora", "t-lora", "lokr"):
        found["rank"] = draw(st.integers(1, min(limit, shape[1]) if algorithm == "glora" else limit))
        found["alpha"] = draw(st.floats(0.01, 50))
    if algorithm in ("lora", "loha", "lokr") and found["rank"] <= min(shape[:2]):
        found["tucker"] = draw(st.booleans())
    if algorithm in ("lora", "loha", "lokr", "glora"):
        found["rank_stabilised"] = draw(st.booleans())
    if algorithm in ("lora", "loha", "lokr", "glora", "dylora"):
        found["scalar"] = draw(st.booleans())
    if algorithm == "lora" and not found["scalar"] and not found.get("tucker"):
        found["start"] = draw(st.sampled_from(["zero", "orthogonal", "svd"]))
    if algorithm == "dylora":
        found["block"] = draw(st.sampled_from([n for n in range(1, found["rank"] + 1) if found["rank"] % n == 0]))
    if algorithm == "lokr":
        found["factor"] = draw(st.sampled_from([-1, *range(1, 13)]))
        found |= {name: draw(st.booleans()) for name in ("decompose_both", "unbalanced")}
        if draw(st.booleans()):
            found = {name: value for name, value in found.items() if name not in ("rank", "alpha")}
    if algorithm == "diag-oft":
        found["factor"] = draw(st.integers(1, 8))
    if algorithm in ("diag-oft", "boft"):
        found |= {"rescale": draw(st.booleans()), "constraint": draw(st.sampled_from([0.0, 0.02]))}
    if algorithm == "full":
        found["bias"] = draw(st.booleans())
    if algorithm == "ia3":
        found["on_input"] = draw(st.booleans())
    return found


def certify(data, algorithm: str) -> None:
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
    bias, shift = plain.get("bias"), adapter.bias_delta()
    bias = bias if shift is None else bias + shift
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
def test_every_way_agrees_on_random_layers_and_options(algorithm, data):
    certify(data, algorithm)


@pytest.mark.slow
@ALL
@settings(max_examples=400, derandomize=True, deadline=None, database=None, suppress_health_check=CHECKS)
@given(data=st.data())
def test_every_way_agrees_on_many_random_layers_and_options(algorithm, data):
    certify(data, algorithm)
