"""Structures in training: gradients by every way, tensors saved for backward, and costs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import lycoris
from lycoris.adapters import ALGORITHMS
from lycoris.adapters.layers.merged_forward import forward_merged
from lycoris.adapters.structures import Dense, Hadamard, Kronecker, LowRank, Operation, Structure

LAYERS = {
    "linear": (nn.Linear(12, 24), (5, 12)),
    "conv2d-strided": (nn.Conv2d(12, 24, 3, stride=2, padding=1), (2, 12, 7, 5)),
    "conv2d-circular": (nn.Conv2d(12, 24, 3, padding=1, padding_mode="circular"), (2, 12, 5, 6)),
    "conv2d-uneven": (nn.Conv2d(12, 24, (4, 3), padding="same"), (2, 12, 6, 5)),
}


def _structures(shape: torch.Size) -> dict[str, Structure]:
    generator = torch.Generator().manual_seed(0)

    def random(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).requires_grad_()

    def low(rank: int) -> LowRank:
        return LowRank(random(shape[0], rank), random(rank, *shape[1:]), 0.7)

    return {
        "dense": Dense(random(*shape), 0.5),
        "low rank": low(2),
        "hadamard": Hadamard(low(2), low(3), 0.3),
        "kronecker tall": Kronecker(random(12, 2), random(2, 6, *shape[2:]), 0.6),
        "kronecker wide": Kronecker(random(2, 6), random(12, 2, *shape[2:]), 0.6),
    }


@pytest.mark.parametrize("name", list(LAYERS))
@pytest.mark.parametrize("kind", ["dense", "low rank", "hadamard", "kronecker tall", "kronecker wide"])
@pytest.mark.parametrize("way", ["applied", "built, learning applied", "built, learning dense"])
def test_gradients_equal_those_of_the_dense_definition(name, kind, way, monkeypatch):
    layer, shape = LAYERS[name]
    torch.manual_seed(0)
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    weight, op = layer.weight.detach().double(), Operation.from_layer(layer)
    bias = torch.zeros(24, dtype=torch.float64, requires_grad=True)
    structure = _structures(weight.shape)[kind]
    monkeypatch.setattr(type(structure), "grad_via_apply", lambda *_: way == "built, learning applied")
    expected = op(x, weight + structure.dense(), bias)
    if way == "applied":
        got = structure.apply(op, x, op(x, weight, bias))
    else:
        got = forward_merged(op, x, weight, bias, [structure, Dense(torch.zeros_like(weight))])
    inputs, factor = [x, bias, *structure.tensors()], torch.randn_like(expected)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    wanted = torch.autograd.grad(expected, inputs, factor)
    for one, other in zip(torch.autograd.grad(got, inputs, factor), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "norms"])
def test_autocast_does_not_change_the_precision_of_an_update(algorithm):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40))
    network = lycoris.attach(model, algorithm)
    network.eval()
    for parameter in network.parameters():
        parameter.data.normal_(std=0.3)
    adapter = network.adapters["lycoris_0"]
    expected = adapter.structure(model[0].weight).dense()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        delta = adapter.structure(model[0].weight).dense()
    assert delta.dtype == torch.float32
    assert torch.equal(delta, expected)


@pytest.mark.parametrize("rows", [40, 4000])
@pytest.mark.parametrize("algorithm", ["lokr", "full"])
def test_a_training_step_saves_only_the_input_and_the_factors(algorithm, rows):
    model = nn.Sequential(nn.Linear(320, 640))
    network = lycoris.attach(model, algorithm)
    x = torch.randn(rows, 320, requires_grad=True)
    own = {t.untyped_storage().data_ptr() for t in (x, *model.parameters(), *network.parameters())}
    kept = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x)
    assert set(kept) <= own


def test_a_trainable_weight_still_gets_its_gradient():
    model = nn.Sequential(nn.Linear(64, 64))
    lycoris.attach(model, "full")
    model[0].weight.requires_grad_()
    model(torch.randn(1000, 64)).square().sum().backward()
    torch.testing.assert_close(model[0].weight.grad, model[0].adapters["full"].diff.grad)
