"""Options beyond a rank: patterns with their own options, other starts, LoRA+, bases that are not float32."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import lycoris
from lycoris.adapters import ALGORITHMS
from lycoris.adapters.algorithms.dora import DoRA
from lycoris.errors import InputError
from tests.adapters.cases import ADDITIVE, READERS, randomize

RULES = {
    r".*attn1.*": {"algorithm": "lora", "rank": 3, "start": "svd"},
    r".*attn2\.to_k": {"algorithm": "dylora", "rank": 4, "block": 2},
    r".*attn2.*": {"algorithm": "t-lora", "rank": 2, "minimum": 1, "steps": 50},
    r".*\.ff\..*": {"algorithm": "lokr", "factor": 4, "dora": "output"},
    r".*fc1": {"algorithm": "loha", "rank": 2, "scalar": True},
    r".*norm1": {"algorithm": "norms"},
    r".*": {"rank": 2},
}


def test_each_pattern_has_its_own_options_and_the_first_match_decides(parts):
    network = lycoris.attach(parts, alpha=3.0, layers=RULES)
    assert network.algorithm == "mixed"
    expected = {"attn1": "lora", "attn2.to_k": "dylora", "attn2": "t-lora", ".ff.": "lokr", "fc1": "loha"}
    for key, adapter in network.adapters.items():
        name = network.layers[key].path
        norm = isinstance(network.layers[key].module, ALGORITHMS["norms"].layer_types)
        wanted = "norms" if norm else next((to for part, to in expected.items() if part in name), "lora")
        assert adapter.algorithm == wanted
        assert isinstance(adapter, DoRA) == (wanted == "lokr")
        if wanted == "lora" and "attn1" not in name:
            assert (adapter.rank, adapter.scale, adapter.start) == (2, 1.5, "zero")
    assert {a.rank for k, a in network.adapters.items() if "attn1" in k} == {3}


def test_a_mixed_network_is_restored_from_its_file(parts, forward, tmp_path):
    base = forward(parts)
    network = lycoris.attach(parts, layers=RULES)
    torch.testing.assert_close(forward(parts), base)
    randomize(network)
    output = forward(parts)
    network.save(tmp_path / "a.safetensors")
    network.detach()
    assert torch.equal(forward(parts), base)
    again = lycoris.load(tmp_path / "a.safetensors", parts)
    torch.testing.assert_close(forward(parts), output)
    assert (again.algorithm, again.settings) == (network.algorithm, network.settings)
    assert {k: a.metadata() for k, a in again.adapters.items()} == {
        k: a.metadata() for k, a in network.adapters.items()
    }
    shapes = [{name: p.shape for name, p in n.named_parameters()} for n in (network, again)]
    assert shapes[0] == shapes[1]


def test_rules_of_one_algorithm_make_a_network_of_that_algorithm(parts):
    network = lycoris.attach(parts, "lokr", factor=4, layers={r".*attn.*": {"factor": 2}, r".*": {}})
    assert network.algorithm == "lokr"
    sides = {("attn" in key, max(adapter.w1.shape)) for key, adapter in network.adapters.items()}
    assert sides == {(True, 2), (False, 4)}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"layers": {r".*attn1.*": {"rnak": 3}}}, "`rnak`.*`rank`"),
        ({"layers": {r".*attn1.*": {"algorithm": "lorka"}}}, "`lorka`.*`lora`|`lorka`.*`lokr`"),
        ({"layers": {r".*attn1.*": 3}}, "map patterns to options, but got 3"),
        ({"layers": {r".*attn1.*": {}, r".*attn9.*": {}}}, r"No layer matches patterns \['\.\*attn9.*could match"),
        ({"layers": {r".*": {}, r".*attn1.*": {}}}, r"No layer matches patterns \['\.\*attn1"),
        ({"layers": {r".*[": {}}}, "regular expressions"),
        ({"layers": {r".*": {"algorithm": "full"}}, "rank": 3}, r"none has the call's \['rank'\]"),
        ({"layers": {r".*attn1.*": {"rank": 90}}}, r"`rank` must be .* but got 90 for layer"),
        ({"layers": {}}, r"No layer matches patterns \[\]"),
        ({"layers": {r".*": {}}, "preset": "full"}, "either `preset` or `layers`"),
        ({"tucker": "False"}, "`tucker` must be true or false, but got 'False'"),
        ({"scalar": 1}, "`scalar` must be true or false"),
        ({"scalar": True, "algorithm": "full"}, "`scalar` needs factors, which `full` does not have"),
        ({"scalar": True, "algorithm": "t-lora"}, "`scalar` needs factors"),
        ({"start": "orthogonl"}, "`orthogonl`.*`orthogonal`"),
        ({"start": "svd", "scalar": True}, "`start` must be `zero` with `tucker` or `scalar`"),
        ({"start": "svd", "tucker": True, "preset": "full"}, "`start` must be `zero` with"),
        ({"algorithm": "t-lora", "steps": "many"}, "`steps` must be a whole number"),
    ],
)
@pytest.mark.wrong_types
def test_invalid_options_are_errors_and_leave_the_model_unchanged(parts, options, match):
    representation = repr(parts["unet"])
    with pytest.raises(InputError, match=match):
        lycoris.attach(parts, **options)
    assert repr(parts["unet"]) == representation


def test_svd_start_trains_the_principal_components_and_leaves_the_base_unchanged():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40), nn.Unflatten(1, (4, 10, 1)), nn.Conv2d(4, 6, (3, 1)))
    before = [p.clone() for p in model.parameters()]
    network = lycoris.attach(model, rank=3, alpha=2.0, start="svd")
    for layer in (model[0], model[2]):
        adapter = layer.adapters["lora"]
        left, values, right = torch.linalg.svd(layer.weight.double().flatten(1), full_matrices=False)
        principal = left[:, :3] * values[:3] @ right[:3]
        got = adapter.scale * adapter.up.double() @ adapter.down.double().flatten(1)
        torch.testing.assert_close(got, principal, rtol=1e-5, atol=1e-6)
        assert not adapter.structure(layer.weight).dense().any()
    model(torch.randn(5, 24)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in network.parameters())
    randomize(network)
    network.detach()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_large_weights_start_from_approximate_components_whose_error_is_told(caplog):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(160, 200, bias=False), nn.Linear(200, 40, bias=False))
    left, right = (torch.linalg.qr(torch.randn(side, 160))[0] for side in (200, 160))
    model[0].weight.data = left * 0.8 ** torch.arange(160.0) @ right.t()
    with caplog.at_level("INFO", "lycoris.adapters"):
        network = lycoris.attach(model, rank=4, alpha=4.0, start="svd")
    adapters = [network.adapters[key] for key in network.layers]
    principal = left[:, :4] * 0.8 ** torch.arange(4.0) @ right[:, :4].t()
    torch.testing.assert_close(adapters[0].up @ adapters[0].down, principal, rtol=0, atol=1e-4)
    assert 0 < adapters[0].start_error < 1e-3
    assert adapters[1].start_error == 0, "a side of 40 is decomposed exactly"
    assert "1 layers start from singular components by subspace iteration" in caplog.text
    assert f"at most {adapters[0].start_error:.2g} (`model.0`)" in caplog.text
    network.detach()
    again = lycoris.attach(model, rank=4, alpha=4.0, start="svd", seed=3)
    assert torch.equal(again.adapters[next(iter(again.layers))].up, adapters[0].up), "no seed changes them"


def test_orthogonal_start_gives_every_rank_its_own_direction():
    network = lycoris.attach(nn.Sequential(nn.Linear(24, 40), nn.Conv1d(3, 9, 5)), rank=4, start="orthogonal")
    for adapter in network.adapters.values():
        torch.testing.assert_close(adapter.up.T @ adapter.up, torch.eye(4))
        torch.testing.assert_close(adapter.down.flatten(1) @ adapter.down.flatten(1).T, torch.eye(4))


def test_a_lora_with_a_start_is_a_plain_lora_to_other_tools_and_is_restored_here(tmp_path):
    model = nn.Sequential(nn.Linear(24, 40))
    x = torch.randn(5, 24)
    network = lycoris.attach(model, rank=3, start="svd")
    for p in network.parameters():
        p.data += 0.01 * torch.randn_like(p)
    output = model(x)
    network.save(tmp_path / "a.safetensors")
    network.detach()
    t = load_file(tmp_path / "a.safetensors")
    t = {key.split(".", 1)[1]: value for key, value in t.items()}
    assert t["lora_up.weight"].shape == (40, 6)
    plain = model(x) + t["alpha"] / 6 * (x @ t["lora_down.weight"].T @ t["lora_up.weight"].T)
    torch.testing.assert_close(plain, output)
    again = lycoris.load(tmp_path / "a.safetensors", model)
    assert again.adapters["lycoris_0"].rank == 3
    torch.testing.assert_close(model(x), output)


@pytest.mark.parametrize("algorithm", [name for name, algorithm in ALGORITHMS.items() if algorithm.zero_factors])
def test_a_scalar_starts_at_zero_learns_and_is_folded_into_the_file(algorithm, tmp_path):
    model = nn.Sequential(nn.Linear(24, 40)).eval()
    x = torch.randn(5, 24)
    base = model(x)
    network = lycoris.attach(model, algorithm, scalar=True)
    adapter = network.adapters["lycoris_0"]
    assert torch.equal(model(x), base)
    assert all(p.abs().sum() > 0 for name, p in network.named_parameters() if "scalar" not in name)
    model(x).square().sum().backward()
    assert adapter.scalar.grad.abs() > 0
    adapter.scalar.data.fill_(0.3)
    output = model(x)
    network.save(tmp_path / "a.safetensors")
    network.detach()
    written = load_file(tmp_path / "a.safetensors")
    assert not any("scalar" in key for key in written)
    for key, values in adapter.inner.state_tensors().items():
        factor = 0.3 if key in adapter.inner.zero_factors else 1.0
        torch.testing.assert_close(written[f"lycoris_0.{key}"], values.detach() * factor)
    again = lycoris.load(tmp_path / "a.safetensors", model)
    assert again.adapters["lycoris_0"].scalar.item() == 1
    torch.testing.assert_close(model(x), output)


def test_lora_plus_groups_have_every_parameter_once_and_up_learns_faster(parts):
    network = lycoris.attach(parts, "lora", preset="full", dora="output")
    slow, fast = network.parameter_groups(1e-4, ratio=16)
    assert (slow["lr"], fast["lr"]) == (1e-4, pytest.approx(1.6e-3))
    ups = {id(p) for name, p in network.named_parameters() if name.endswith(".up")}
    assert {id(p) for p in fast["params"]} == ups
    assert {id(p) for p in slow["params"]} == {id(p) for p in network.parameters()} - ups
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimiser = torch.optim.SGD(network.parameter_groups(1e-3, ratio=4))
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    optimiser.step()
    for name, p in network.named_parameters():
        rate = 4e-3 if name.endswith(".up") else 1e-3
        torch.testing.assert_close(p.detach(), before[name] - rate)


def test_lora_plus_is_an_error_for_other_algorithms():
    network = lycoris.attach(nn.Sequential(nn.Linear(24, 40)), "loha")
    with pytest.raises(InputError, match=r"`ratio` needs `lora` or `dylora`.*`loha`"):
        network.parameter_groups(1e-3)
    with pytest.raises(InputError, match="`learning_rate` must be a positive"):
        network.parameter_groups(0)
    (group,) = network.parameter_groups(1e-3, ratio=1)
    assert len(group["params"]) == len(list(network.parameters()))


class Int8Linear(nn.Linear):
    """A Linear whose weight is stored as int8 codes and a scale per output, as quantisation libraries do."""

    def __init__(self, layer: nn.Linear):
        super().__init__(layer.in_features, layer.out_features, device="meta")
        scale = layer.weight.detach().abs().amax(1, keepdim=True) / 127
        self.weight = nn.Parameter((layer.weight / scale).round().to(torch.int8), requires_grad=False)
        self.bias = nn.Parameter(layer.bias.detach().clone())
        self.register_buffer("scale", scale.detach())

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale.to(x.dtype), self.bias.to(x.dtype))


@pytest.mark.parametrize("algorithm", ADDITIVE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_quantised_base_is_adapted_and_keeps_its_bits(algorithm, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(Int8Linear(nn.Linear(24, 40)), nn.GELU(), Int8Linear(nn.Linear(40, 16))).eval()
    x = torch.randn(7, 24, dtype=dtype)
    bits = {key: value.clone() for key, value in model.state_dict().items()}
    base = model(x)
    network = lycoris.attach(model, algorithm)
    torch.testing.assert_close(model(x), base, rtol=0.01, atol=0.01)
    randomize(network)
    model(x).float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.abs().sum() > 0 for p in network.parameters())
    layer, adapter = model[0], network.adapters["lycoris_0"]
    delta = adapter.structure(layer.weight).dense()
    bias_delta = 0 if adapter.bias_delta() is None else adapter.bias_delta()
    expected = Int8Linear.forward(_plain(layer), x.float()) + x.float() @ delta.T + bias_delta
    tolerance = 1e-4 if dtype == torch.float32 else 0.03 * expected.abs().max().item()
    torch.testing.assert_close(layer(x).float(), expected, rtol=1e-4, atol=tolerance)
    with pytest.raises(InputError, match="cannot be merged into: its weight is quantised"):
        network.merge()
    network.detach()
    assert torch.equal(model(x), base)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in bits.items())


def _plain(layer):
    return type("Weights", (), {"weight": layer.weight, "scale": layer.scale, "bias": layer.bias})()


@pytest.mark.parametrize(
    "options",
    [*({"algorithm": name} for name in READERS), {"dora": "output"}, {"algorithm": "lokr", "dora": "input"},
     {"start": "svd"}],
    ids=str,
)  # fmt: skip
def test_reading_a_quantised_weight_is_an_error(options):
    model = nn.Sequential(Int8Linear(nn.Linear(24, 40)))
    with pytest.raises(InputError, match=r"needs the weight itself, but layer `model\.0` has a quantised one: .*int8"):
        lycoris.attach(model, **options)
    assert type(model[0]) is Int8Linear


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_half_precision_bases_are_adapted_and_keep_their_bits(algorithm, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Flatten(2), nn.Linear(16, 24)).eval()
    x = torch.randn(2, 3, 6, 6)
    wide = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Flatten(2), nn.Linear(16, 24)).eval()
    model.to(dtype)
    wide.load_state_dict(model.state_dict())
    bits = {key: value.clone() for key, value in model.state_dict().items()}
    network, reference = (lycoris.attach(one, algorithm, seed=1) for one in (model, wide))
    for one in (network, reference):
        generator = torch.Generator().manual_seed(2)
        for p in one.parameters():
            p.data += 0.05 * torch.randn(p.shape, generator=generator)
    got, expected = model(x.to(dtype)), wide(x)
    assert got.dtype == dtype
    assert (got.float() - expected).norm() < 0.02 * expected.norm()
    got.float().square().sum().backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in network.parameters())
    network.detach()
    assert all(torch.equal(model.state_dict()[key], value) for key, value in bits.items())
