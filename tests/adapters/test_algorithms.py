"""Every algorithm, option and layer type in float64: all ways to compute an adapter's effect agree."""

from __future__ import annotations

import copy

import pytest
import torch

import lycoris
from lycoris.adapters import ALGORITHMS
from lycoris.adapters.structures import Operation
from tests.adapters.cases import cases, forward_with, make_layer, randomize, reference_weight

EVERY = pytest.mark.parametrize(("algorithm", "options", "name"), cases())


def attached(algorithm: str, options: dict, name: str, **more):
    model, x = make_layer(name)
    network = lycoris.attach(model, algorithm, preset="everything", **options, **more)
    return model, x, network


def close(actual, expected) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@EVERY
def test_starts_as_identity_and_detaches_without_a_trace(algorithm, options, name):
    model, x = make_layer(name)
    before, keys = model(x), {key: value.clone() for key, value in model.state_dict().items()}
    network = lycoris.attach(model, algorithm, preset="everything", **options)
    close(model(x), before)
    randomize(network)
    assert not torch.allclose(model(x), before)
    network.detach()
    assert torch.equal(model(x), before)
    after = model.state_dict()
    assert list(after) == list(keys)
    assert all(torch.equal(after[key], value) for key, value in keys.items())
    assert "Adapted" not in repr(model)


def outcome(model, x):
    """The output, and the gradient that a fixed weighting of it gives the input."""
    x = x.detach().requires_grad_()
    out = model(x)
    weights = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(2))
    return out.detach(), torch.autograd.grad((out * weights).sum(), x)[0]


@EVERY
def test_live_equals_the_papers_formula_and_merged_reattached_and_reloaded(algorithm, options, name, tmp_path):
    model, x, network = attached(algorithm, options, name)
    randomize(network)
    base = outcome(make_layer(name)[0], x)
    live, gradient = outcome(model, x)
    layer, adapter = model[0], next(iter(network.adapters.values()))
    bias_delta = adapter.bias_delta()
    bias = getattr(layer, "bias", None)
    bias = bias if bias_delta is None else bias + bias_delta
    expected = reference_weight(algorithm, adapter.state_tensors(), layer.weight.detach())
    plain, _ = make_layer(name)
    close(live, forward_with(plain[0], expected, bias, x))

    network.merge()
    close(outcome(model, x), (live, gradient))
    network.save(tmp_path / "x.safetensors", dtype="float64")
    network.detach()
    assert all(torch.equal(one, other) for one, other in zip(outcome(model, x), base, strict=True))
    network.reattach()
    close(outcome(model, x), (live, gradient))
    network.detach()
    again = lycoris.load(tmp_path / "x.safetensors", model)
    close(outcome(model, x), (live, gradient))
    assert again.algorithm == algorithm
    assert again.settings == network.settings


@EVERY
def test_gradients_equal_those_of_the_dense_definition(algorithm, options, name):
    model, x, network = attached(algorithm, options, name)
    randomize(network)
    x.requires_grad_()
    layer, adapter = model[0], next(iter(network.adapters.values()))
    parameters = list(network.parameters())
    out = model(x)
    weights = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(2))
    got = torch.autograd.grad((out * weights).sum(), [x, *parameters])

    bias_delta = adapter.bias_delta()
    bias = getattr(layer, "bias", None)
    plain, _ = make_layer(name)
    changed = layer.weight + adapter.structure(layer.weight).dense()
    out = forward_with(plain[0], changed, bias if bias_delta is None else bias + bias_delta, x)
    wanted = torch.autograd.grad((out * weights).sum(), [x, *parameters])
    for one, other in zip(got, wanted, strict=True):
        close(one, other)
    assert not any(p.requires_grad for p in (layer.weight, getattr(layer, "bias", None)) if p is not None)


@pytest.mark.parametrize(("algorithm", "options", "name"), cases(norms=False))
def test_apply_equals_dense(algorithm, options, name):
    model, x, network = attached(algorithm, options, name)
    randomize(network)
    layer, adapter = model[0], next(iter(network.adapters.values()))
    op, structure = Operation.from_layer(layer), adapter.structure(layer.weight, 0.7)
    expected = op(x, structure.dense())
    close(structure.apply(op, x), expected)
    flat, base = (t if op.dims else t.flatten(0, -2) for t in (x, op(x, layer.weight)))
    into = torch.ones_like(base)
    close(structure.apply(op, flat, into, base).view_as(expected), expected + 1)
    applied, built = structure.cost(op, 100)
    assert applied > 0
    assert built > 0


@EVERY
def test_initial_values_depend_on_the_seed_alone(algorithm, options, name):
    networks = []
    for seed, elsewhere in ((3, 0), (3, 1), (4, 0)):
        model, _ = make_layer(name)
        torch.manual_seed(elsewhere)
        networks.append(lycoris.attach(model, algorithm, preset="everything", seed=seed, **options))
    first, again, other = networks
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    random_start = ALGORITHMS[algorithm].random_start and options.get("start") != "svd"
    differ = any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    assert differ == random_start


@EVERY
def test_scale_multiplies_the_weight_update(algorithm, options, name):
    model, x, network = attached(algorithm, options, name)
    randomize(network)
    base = make_layer(name)[0][0]
    adapter = next(iter(network.adapters.values()))
    delta, bias_delta = adapter.structure(base.weight).dense(), adapter.bias_delta()
    network.scale = 0.6
    bias = getattr(base, "bias", None)
    changed = forward_with(base, base.weight + 0.6 * delta, bias if bias_delta is None else bias + 0.6 * bias_delta, x)
    close(model(x), changed)
    network.scale = 0
    assert torch.equal(model(x), base(x))


@EVERY
def test_copies_train_independently(algorithm, options, name):
    model, x, network = attached(algorithm, options, name)
    randomize(network)
    before = model(x)
    copied_model, copied = copy.deepcopy((model, network))
    randomize(copied, seed=9)
    assert torch.equal(model(x), before)
    assert not torch.equal(copied_model(x), before)
    copied.detach()
    assert torch.equal(copied_model(x), make_layer(name)[0](x))
    assert torch.equal(model(x), before)


@EVERY
def test_unbatched_float32_and_autocast_inputs(algorithm, options, name):
    model, x, network = attached(algorithm, options, name)
    randomize(network)
    expected = model(x)
    if "conv" in name and "circular" not in name:
        close(model(x[0]), expected[0])
    model.float()
    assert {p.dtype for p in network.parameters()} == {torch.float64}  # the model's precision is not the adapter's
    network.float()
    torch.testing.assert_close(model(x.float()), expected.float(), rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(x.float())
        out.float().sum().backward()
    size = max(expected.abs().max(), make_layer(name)[0](x).abs().max())
    assert (out.double() - expected).abs().max() < 0.06 * size
    assert all(p.grad.dtype == torch.float32 and p.grad.abs().sum() > 0 for p in network.parameters())
