"""Resized files: the nearest of a rank, under the names that the file has."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import lycoris
from lycoris.adapters.toolbox.resizing import resize
from lycoris.errors import InputError
from tests.adapters.cases import randomize
from tests.adapters.small_denoisers import DENOISERS
from tests.adapters.test_dialects import deltas


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.ModuleDict({"a": nn.Linear(24, 20), "b": nn.Linear(20, 12), "norm": nn.LayerNorm(20)}).double()


def saved(model, path, algorithm, **options):
    torch.manual_seed(0)
    network = lycoris.attach(model, algorithm, preset="everything", **options)
    randomize(network)
    network.save(path, dtype="float64", metadata={"ss_steps": "7"})
    dense = dense_updates(network)
    network.detach()
    return dense


def dense_updates(network):
    network.eval()
    return {key: each.structure(network.layers[key].weight).dense() for key, each in network.adapters.items()}


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [("lora", {"rank": 6}), ("loha", {"rank": 2}), ("lokr", {"factor": 4}), ("full", {}), ("dylora", {"rank": 6})],
)
def test_the_result_is_the_nearest_of_its_rank_and_the_error_is_stated(algorithm, options, model, tmp_path):
    before = saved(model, tmp_path / "a.safetensors", algorithm, **options)
    report = resize(tmp_path / "a.safetensors", tmp_path / "b.safetensors", rank=2)
    network = lycoris.load(tmp_path / "b.safetensors", model)
    after = dense_updates(network)
    network.detach()
    assert set(after) == set(before)
    errors = {fit.layer: fit.error for fit in report.layers}
    for key, delta in before.items():
        if delta.dim() == 1:
            assert torch.equal(after[key], delta)
            continue
        u, s, v = torch.linalg.svd(delta.double())
        nearest = (u[:, :2] * s[:2]) @ v[:2]
        torch.testing.assert_close(after[key].double(), nearest, rtol=0, atol=1e-10)
        assert errors[key] == pytest.approx((s[2:].norm() / s.norm()).item(), abs=1e-9)
    metadata = lycoris.read_metadata(tmp_path / "b.safetensors")
    assert metadata["ss_steps"] == "7"
    assert metadata["ss_network_dim"] == "2"
    assert metadata["modelspec.hash_sha256"] == f"0x{metadata['sshs_model_hash']}"


def test_energy_bounds_the_error_of_each_layer(model, tmp_path):
    saved(model, tmp_path / "a.safetensors", "full")
    report = resize(tmp_path / "a.safetensors", tmp_path / "b.safetensors", energy=0.9)
    assert all(0 < fit.error <= (1 - 0.9) ** 0.5 for fit in report.layers)
    assert all(fit.rank < 12 for fit in report.layers)


@pytest.mark.parametrize("format", ["kohya", "diffusers", "comfyui"])
def test_names_fused_layers_and_other_keys_stay(format, tmp_path):
    torch.manual_seed(0)
    parts = DENOISERS["flux.1"].parts()
    network = lycoris.attach(parts, "lora", layers=[r".*to_[qkv]"], rank=3)
    randomize(network)
    network.save(tmp_path / "a.safetensors", format=format, dtype="float64")
    network.detach()
    tensors = {**load_file(tmp_path / "a.safetensors"), "bundle_emb.x.string_to_param": torch.ones(2)}
    save_file(tensors, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        before = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    resize(tmp_path / "a.safetensors", tmp_path / "b.safetensors", rank=2)
    after = load_file(tmp_path / "b.safetensors")
    assert set(after) == set(before)
    assert {value.shape[0] for key, value in after.items() if "lora_A" in key or "lora_down" in key} == {2}
    with pytest.warns(UserWarning, match="bundle_emb"):
        found = deltas(lycoris.load(tmp_path / "b.safetensors", parts))
    assert len(found) == (6 if format == "diffusers" else 7)  # fused with the single block's `proj_mlp`


def test_a_small_enough_lora_keeps_its_bits(model, tmp_path):
    saved(model, tmp_path / "a.safetensors", "lora", rank=2)
    report = resize(tmp_path / "a.safetensors", tmp_path / "b.safetensors", rank=4)
    before, after = load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "b.safetensors")
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert set(after) == set(before)
    assert report.error == 0


def test_dora_needs_the_model(model, tmp_path):
    before = saved(model, tmp_path / "a.safetensors", "lora", rank=4, dora="output")
    with pytest.raises(InputError, match=r"DoRA changes a weight .* give argument `model`"):
        resize(tmp_path / "a.safetensors", tmp_path / "b.safetensors", rank=4)
    resize(tmp_path / "a.safetensors", tmp_path / "b.safetensors", energy=1.0, model=model)
    after = dense_updates(lycoris.load(tmp_path / "b.safetensors", model))
    for key, delta in before.items():
        torch.testing.assert_close(after[key].double(), delta.double(), rtol=0, atol=1e-9)


def test_a_peft_folder_stays_one_with_its_configuration(model, tmp_path):
    torch.manual_seed(0)
    network = lycoris.attach(model, "lora", layers=["a", "b"], rank=4)
    randomize(network)
    network.save(tmp_path / "a", format="peft")
    network.detach()
    resize(tmp_path / "a", tmp_path / "b", rank=1)
    assert {
        value.shape[0]
        for key, value in load_file(tmp_path / "b" / "adapter_model.safetensors").items()
        if "lora_A" in key
    } == {1}
    assert (tmp_path / "b" / "adapter_config.json").is_file()
    assert len(lycoris.load(tmp_path / "b", model)) == 2


def test_neither_or_both_limits_are_refused(tmp_path):
    for limits in ({}, {"rank": 1, "energy": 0.5}, {"rank": 0}, {"energy": 2.0}):
        with pytest.raises(InputError, match=r"`rank`|`energy`"):
            resize(tmp_path / "a.safetensors", tmp_path / "b.safetensors", **limits)
