"""Costs of structures are the multiply-adds that PyTorch counts, and a layer takes the cheaper way."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import lycoris
from lycoris.adapters.algorithms.ia3 import Gain
from lycoris.adapters.layers.merged_forward import forward_merged
from lycoris.adapters.structures import ELEMENT_COST, Dense, Hadamard, Kronecker, LowRank, Operation, Structure, Tucker

LAYERS = {
    "linear": (nn.Linear(12, 20), (7, 12), 7),
    "conv2d": (nn.Conv2d(12, 20, 3, padding=1), (2, 12, 6, 5), 60),
}
"""Layer, shape of an input, and number of output positions."""


def counted(function) -> float:
    """Multiply-adds of the matrix products and convolutions in a function."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / 2


def structures(shape: torch.Size) -> dict[str, Structure]:
    def random(*size: int) -> Tensor:
        return torch.randn(*size).requires_grad_()

    out, channels, *kernel = shape
    low_rank = LowRank(random(out, 3), random(3, channels, *kernel))
    by_name = {
        "dense": Dense(random(*shape)),
        "low rank": low_rank,
        "kronecker, inner first": Kronecker(random(10, 2), random(out // 10, channels // 2, *kernel)),
        "kronecker, outer first": Kronecker(random(2, 3), random(out // 2, channels // 3, *kernel)),
        "gain by input": Gain(torch.randn(*shape), random(channels), on_input=True),
    }
    if kernel:
        return {**by_name, "tucker": Tucker(random(out, 3), random(3, 3, *kernel), random(3, channels))}
    return {**by_name, "hadamard": Hadamard(low_rank, LowRank(random(out, 2), random(2, channels)))}


MERGED = {"low rank": 3, "tucker": 3, "gain by input": 0}
"""Structures whose cost of merging is exact, with their rank."""
CASES = [(layer, name) for layer, (module, *_) in LAYERS.items() for name in structures(module.weight.shape)]


@pytest.mark.parametrize(("layer", "name"), CASES)
def test_the_cost_of_applying_is_that_of_a_training_step(layer, name):
    module, shape, tokens = LAYERS[layer]
    structure, op = structures(module.weight.shape)[name], Operation.from_layer(module)
    x = torch.randn(*shape, requires_grad=True)
    elementwise = ELEMENT_COST * 6 * (20 + 12) if name == "hadamard" else 0  # the face-splitting products
    assert structure.cost(op, tokens)[0] == counted(lambda: structure.apply(op, x).sum().backward()) + elementwise


@pytest.mark.parametrize("kernel", [(), (3, 3)], ids=["linear", "conv2d"])
def test_a_kronecker_product_goes_the_cheaper_way(kernel):
    op = Operation(2, (2, 2), (1, 1), (1, 1)) if kernel else Operation()
    for outer, inner in [((8, 2), (4, 6)), ((2, 8), (6, 4)), ((4, 4), (4, 4)), ((3, 6), (2, 9))]:
        structure = Kronecker(torch.randn(*outer), torch.randn(*inner, *kernel))
        x = torch.randn(2, outer[1] * inner[1], *([8, 8] if kernel else []), requires_grad=True)
        for tensor in structure.tensors():
            tensor.requires_grad_()
        counts = []
        for inner_first in (True, False):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Kronecker, "_inner_first", lambda *_, way=inner_first: way)
                counts.append(counted(lambda structure=structure, x=x: structure.apply(op, x).sum().backward()))
        assert structure.cost(op, 2 * 16 if kernel else 2)[0] == min(counts)
        assert counted(lambda structure=structure, x=x: structure.apply(op, x).sum().backward()) == min(counts)


@pytest.mark.parametrize(("algorithm", "options"), [("ia3", {}), ("diag-oft", {"factor": 4}), ("boft", {"factor": 10})])
@pytest.mark.parametrize("name", list(LAYERS))
def test_the_layer_s_own_output_is_computed_once(name, algorithm, options):
    module, shape, tokens = LAYERS[name]
    frozen, model = copy.deepcopy(module).requires_grad_(False), nn.Sequential(copy.deepcopy(module))
    adapter = lycoris.attach(model, algorithm, layers=["0"], **options).adapters["lycoris_0"]
    x = torch.randn(*shape, requires_grad=True)
    structure, op = adapter.structure(module.weight), Operation.from_layer(module)
    structure = structure.with_tensors(iter([each.detach().requires_grad_() for each in structure.tensors()]))
    rotations = getattr(structure, "rotations", ())
    elementwise = tokens * 20 * (20.0 * len(rotations) if rotations else 3.0)
    base_output = torch.randn(op(x, module.weight).shape, requires_grad=True)
    products = counted(lambda: structure.apply(op, x, base_output=base_output).sum().backward())
    assert structure.cost(op, tokens)[0] == products + elementwise
    plan = model[0]._plan(tokens, torch.float64, [adapter])  # in another precision nothing is merged
    assert [len(plan.applied), len(plan.merged)] == [1, 0]
    alone = counted(lambda: frozen(x).sum().backward())
    step = counted(lambda: model[0]._forward_planned(x, plan).sum().backward())
    built = getattr(adapter.structure(module.weight), "rotations", ())
    cayley = counted(lambda: sum(each.sum() for each in built).backward()) if built else 0.0
    assert step - alone == products + cayley


def test_the_cost_of_applying_glora_is_that_of_a_training_step():
    module = nn.Linear(12, 20)
    adapter = lycoris.attach(nn.Sequential(module), "glora", rank=3).adapters["lycoris_0"]
    structure, x = adapter.structure(module.weight), torch.randn(7, 12, requires_grad=True)
    in_place = 7 * 3 * 20  # `addmm_`, which PyTorch's counter does not know
    step = counted(lambda: structure.apply(Operation(), x).sum().backward())
    assert structure.cost(Operation(), 7)[0] == step + in_place


def test_the_cost_of_a_low_rank_on_groups_is_three_times_the_forward_pass():
    module = nn.Conv2d(12, 20, 3, padding=1, groups=2)  # in backward, PyTorch's count ignores groups
    structure, op = structures(module.weight.shape)["low rank"], Operation.from_layer(module)
    assert structure.cost(op, 60)[0] == 3 * counted(lambda: structure.apply(op, torch.randn(2, 12, 6, 5)))


@pytest.mark.parametrize(("layer", "name"), [case for case in CASES if case[1] in MERGED])
def test_the_cost_of_merging_is_that_of_the_weight_and_its_gradient(layer, name):
    module, shape, tokens = LAYERS[layer]
    structure, op = structures(module.weight.shape)[name], Operation.from_layer(module)
    size, x = module.weight.numel(), torch.randn(*shape)
    y = op(x, module.weight)
    gradient = counted(lambda: op.weight_gradient(x, module.weight, y))
    building = 3.0 * MERGED[name] * size  # up · down, forward and twice backward
    if name == "low rank":
        assert building == counted(lambda: structure.dense().sum().backward())
    assert structure.cost(op, tokens)[1] == gradient + building + ELEMENT_COST * size


@pytest.mark.parametrize(("rank", "way"), [(4, "applied"), (320, "merged")])
def test_a_layer_takes_the_cheaper_way(rank, way):
    model = nn.Sequential(nn.Linear(320, 640))
    adapter = lycoris.attach(model, "lora", rank=rank).adapters["lycoris_0"]
    plan = model[0]._plan(4000, torch.float32, [adapter])
    applied, merged = adapter.structure(model[0].weight).cost(model[0]._operation, 4000)
    assert (applied < merged) == (way == "applied")
    assert [len(plan.applied), len(plan.merged)] == ([1, 0] if way == "applied" else [0, 1])


@pytest.mark.parametrize("on_input", [False, True])
@pytest.mark.parametrize("tokens", [60, 61, 4000])
def test_a_gain_on_outputs_is_applied_and_one_on_inputs_merged_beyond_60_positions(on_input, tokens):
    model = nn.Sequential(nn.Linear(12, 20))
    network = lycoris.attach(model, "ia3", on_input=on_input)
    assert [parameter.shape for parameter in network.parameters()] == [(12,) if on_input else (20,)]
    plan = model[0]._plan(tokens, torch.float32, list(network.adapters.values()))
    assert [len(plan.applied), len(plan.merged)] == ([0, 1] if on_input and tokens > ELEMENT_COST else [1, 0])


@pytest.mark.parametrize(
    "structure",
    [
        Hadamard(LowRank(torch.ones(64, 1), torch.ones(1, 64)), LowRank(torch.ones(64, 1), torch.ones(1, 64))),
        Hadamard(LowRank(torch.ones(64, 6), torch.ones(6, 64)), LowRank(torch.ones(64, 6), torch.ones(6, 64))),
        Kronecker(torch.ones(8, 8), torch.ones(8, 8)),
        Kronecker(torch.ones(64, 64), torch.ones(1, 1)),
        Dense(torch.ones(64, 64)),
    ],
    ids=["hadamard of rank 1", "hadamard of rank 6", "even kronecker", "uneven kronecker", "dense"],
)
def test_gradients_take_the_cheaper_way_where_the_weight_is_merged(structure, monkeypatch):
    op, x, weight = Operation(), torch.randn(200, 64), torch.randn(64, 64)
    for tensor in structure.tensors():
        tensor.requires_grad_()
    via_apply, costs = structure.grad_via_apply(op, 200), {}
    for way in (True, False):
        monkeypatch.setattr(type(structure), "grad_via_apply", lambda *_, way=way: way)
        output = forward_merged(op, x, weight, None, [structure])
        costs[way] = counted(lambda output=output: output.sum().backward())
    assert (costs[True] < costs[False]) == via_apply
