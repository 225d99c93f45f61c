"""Extraction of an adapter from two checkpoints: exact where possible, else the nearest, with its error."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import lycoris
from lycoris.errors import InputError
from tests.adapters.cases import EXTRACTABLE, LAYERS, make_layer, randomize

EXACT = {
    "lora": ("lora", {"rank": 3, "alpha": 2.0}),
    "lora tucker": ("lora", {"rank": 2, "alpha": 3.0, "tucker": True}),
    "lokr": ("lokr", {"factor": 4}),
    "lokr low rank": ("lokr", {"factor": 2, "rank": 2, "alpha": 3.0}),
    "lokr both low rank": ("lokr", {"factor": -1, "rank": 1, "decompose_both": True}),
    "lokr tucker": ("lokr", {"factor": 2, "rank": 2, "tucker": True}),
    "full": ("full", {}),
    "dylora": ("dylora", {"rank": 4, "block": 2}),
    "t-lora": ("t-lora", {"rank": 3}),
}
"""Algorithms and options that extract their own update exactly."""

CASES = {
    **EXACT,
    "loha": ("loha", {"rank": 2, "alpha": 3.0}),
    "loha tucker": ("loha", {"rank": 2, "alpha": 3.0, "tucker": True}),
    **{name: (name, {}) for name in EXTRACTABLE if name not in ("loha", *EXACT)},
}
"""At least one case of every algorithm that can be extracted."""

SHAPES = [name for name in LAYERS if "depthwise" not in name and "norm" not in name]


def _tuned(name, algorithm, options):
    """A model, the same with an adapter of random values merged into it, and its input."""
    model, x = make_layer(name)
    tuned = copy.deepcopy(model)
    network = lycoris.attach(tuned, algorithm, **options)
    network.eval()
    randomize(network)
    if algorithm == "t-lora":
        for adapter in network.adapters.values():
            adapter.base_values.zero_()
    network.merge()
    merged = copy.deepcopy(make_layer(name)[0])
    with torch.no_grad():
        for ours, theirs in zip((merged[0].weight, merged[0].bias), (tuned[0].weight, tuned[0].bias), strict=True):
            if ours is not None:
                ours.copy_(theirs)
    return model, merged, x


@pytest.mark.parametrize("case", list(EXACT))
@pytest.mark.parametrize("name", SHAPES)
def test_an_algorithm_extracts_its_own_update_exactly(case, name):
    algorithm, options = EXACT[case]
    model, tuned, x = _tuned(name, algorithm, options)
    expected, before = tuned(x), model(x)
    network, report = lycoris.extract(model, tuned, algorithm, **options)
    network.eval()
    assert report.error < 1e-10
    assert report.left_out == ()
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-9)
    network.detach()
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("name", ["linear", "conv2d-strided", "conv2d-groups"])
@pytest.mark.parametrize("case", list(CASES))
def test_any_update_is_approximated_and_the_reported_error_is_correct(case, name):
    algorithm, options = CASES[case]
    model, _ = make_layer(name)
    tuned = copy.deepcopy(model)
    torch.manual_seed(5)
    delta = 0.1 * torch.randn_like(tuned[0].weight)
    tuned[0].weight.data += delta
    delta = tuned[0].weight.detach() - model[0].weight.detach()
    network, report = lycoris.extract(model, tuned, algorithm, **options)
    network.eval()
    got = network.adapters["lycoris_0"].structure(model[0].weight).dense().detach()
    error = ((got - delta).norm() / delta.norm()).item()
    assert report.error == pytest.approx(error, rel=1e-9, abs=1e-14)
    if algorithm == "full":
        assert error < 1e-14
    else:
        assert 0 < error < 1
    if case in ("lora", "dylora", "t-lora"):  # the truncated singular values are optimal
        values = torch.linalg.svdvals(delta.flatten(1))
        best = (values[options["rank"] :].square().sum() / values.square().sum()).sqrt().item()
        assert error == pytest.approx(best, rel=1e-9)
    if case == "loha":
        values = torch.linalg.svdvals(delta.flatten(1))
        lora = (values[2:].square().sum() / values.square().sum()).sqrt().item()
        assert error < lora
    if case == "lokr":
        a, b = network.adapters["lycoris_0"].w1.shape
        c, d = delta.shape[0] // a, delta.shape[1] // b
        rows = torch.stack(
            [delta[i * c : (i + 1) * c, p * d : (p + 1) * d].flatten() for i in range(a) for p in range(b)]
        )
        values = torch.linalg.svdvals(rows)
        assert error == pytest.approx((values[1:].square().sum() / values.square().sum()).sqrt().item(), rel=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_loha_approximates_a_loha_better_than_a_lora_of_its_rank(rank):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40)).double()
    tuned = copy.deepcopy(model)
    parts = [torch.randn(*shape).double() for shape in ((40, rank), (rank, 24), (40, rank), (rank, 24))]
    tuned[0].weight.data += (parts[0] @ parts[1]) * (parts[2] @ parts[3])
    network, report = lycoris.extract(model, tuned, "loha", rank=rank)
    network.detach()
    lora = lycoris.extract(model, tuned, "lora", rank=rank)[1].error
    assert report.error < (1e-6 if rank == 1 else 0.6 * lora)


@pytest.mark.parametrize("layer", [nn.Conv2d(9, 14, 3), nn.Conv1d(14, 9, 5)], ids=str)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_tucker_loha_approximates_a_tucker_loha_better_than_a_tucker_lora_of_its_rank(layer, rank):
    model = nn.Sequential(copy.deepcopy(layer)).double()
    tuned = copy.deepcopy(model)
    network = lycoris.attach(tuned, "loha", rank=rank, tucker=True)
    randomize(network)
    network.merge()
    merged = copy.deepcopy(model)
    merged[0].weight.data.copy_(tuned[0].weight)
    network, report = lycoris.extract(model, merged, "loha", rank=rank, tucker=True)
    network.detach()
    assert set(network.adapters["lycoris_0"].state_tensors()) >= {"hada_t1", "hada_t2"}
    lora = lycoris.extract(model, merged, "lora", rank=rank, tucker=True)[1].error
    assert report.error < (1e-6 if rank == 1 else 0.8 * lora)


def test_a_model_is_extracted_and_saved_with_a_list_of_what_is_left_out(parts, forward, tmp_path):
    tuned = copy.deepcopy(parts)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, p in tuned["unet"].named_parameters():
            if "attn" in name or "norm1" in name:
                p += 0.05 * torch.randn_like(p)
    base, expected = forward(parts), forward(tuned)
    network, report = lycoris.extract(parts, tuned, "lora", rank=64)
    changed = [n for n, p in parts["unet"].named_parameters() if "adapters" not in n and ("attn" in n or "norm1" in n)]
    assert len(network) == len([n for n in changed if n.endswith("weight") and "norm" not in n])
    assert report.error < 1e-5
    assert set(report.left_out) == {
        f"unet.{n}" for n in changed if n.endswith("bias") or ("norm" in n and n.endswith("weight"))
    }
    network.detach()
    whole, report = lycoris.extract(parts, tuned, "full")
    assert report.left_out == ()
    assert report.error < 1e-6
    torch.testing.assert_close(forward(parts), expected, rtol=1e-4, atol=1e-4)
    whole.save(tmp_path / "a.safetensors")
    whole.detach()
    assert torch.equal(forward(parts), base)
    lycoris.load(tmp_path / "a.safetensors", parts)
    torch.testing.assert_close(forward(parts), expected, rtol=1e-4, atol=1e-4)


def test_parameters_that_the_tuned_model_lacks_are_left_out():
    model = nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 8))
    tuned = nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 8, bias=False))
    tuned[0].load_state_dict(model[0].state_dict())
    _, report = lycoris.extract(model, tuned, "lora", rank=2)
    assert report.left_out == ("model.1.bias",)


def test_an_energy_gives_each_layer_the_rank_it_needs():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40), nn.Linear(40, 16)).double()
    tuned = copy.deepcopy(model)
    for layer, rank in zip(tuned, (2, 5), strict=True):
        layer.weight.data += (
            torch.randn(layer.out_features, rank).double() @ torch.randn(rank, layer.in_features).double()
        )
    network, report = lycoris.extract(model, tuned, energy=1 - 1e-12)
    assert [adapter.rank for adapter in network.adapters.values()] == [2, 5]
    assert report.error < 1e-5
    network.detach()
    network, report = lycoris.extract(model, tuned, energy=0.8)
    assert report.error < 0.2**0.5
    assert all(fit.error < 0.2**0.5 for fit in report.layers)


def test_a_rank_is_clipped_to_what_a_layer_allows():
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Linear(24, 40), nn.Linear(40, 4)).double()
    tuned = copy.deepcopy(model)
    for layer in tuned:
        layer.weight.data += 1 + torch.rand_like(layer.weight)
    network, _ = lycoris.extract(model, tuned, rank=10)
    assert [adapter.rank for adapter in network.adapters.values()] == [2, 10, 4]


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        (lambda m: None, {}, "do not differ in any of the 2 layers chosen"),
        (None, {"algorithm": "ia3"}, "`ia3` cannot be extracted: it does not merely add"),
        (None, {"algorithm": "boft"}, "`boft` cannot be extracted"),
        (None, {"algorithm": "loar"}, "`loar`.*`lora`"),
        (None, {"rnak": 3}, "`rnak`.*`rank`"),
        (None, {"start": "svd"}, "`start` must be `zero` to extract"),
        (None, {"algorithm": "lokr", "energy": 0.5}, "`energy` must be None for `lokr`"),
        (None, {"energy": 0.5, "rank": 3}, "either `rank` or `energy`"),
        (None, {"layers": {".*": {}}}, "must be a list of patterns to extract"),
        (lambda m: m.__delitem__(1), {}, r"`tuned` has no layer `model\.1`"),
        (lambda m: m.__setitem__(1, nn.Linear(12, 9)), {}, r"Layer `model\.1` must have a weight of one shape"),
        (lambda m: m[1].weight.data.fill_(torch.nan), {}, "weight of layer `model.1` must be finite"),
    ],
)
@pytest.mark.wrong_types
def test_extraction_errors_leave_the_model_unchanged(change, options, match):
    model = nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 8))
    tuned = copy.deepcopy(model)
    if change is None:
        for p in tuned.parameters():
            p.data += 0.1
    else:
        change(tuned)
    with pytest.raises(InputError, match=match):
        lycoris.extract(model, tuned, **options)
    assert "Adapted" not in repr(model)
    if change is None:
        with pytest.raises(InputError, match="`tuned` has no layer"):
            lycoris.extract({"unet": model}, {"text_encoder": tuned}, preset="everything")
