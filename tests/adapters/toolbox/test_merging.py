"""Merged adapters: exact sums, PEFT's results for the other methods, and the stated error."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import lycoris
from lycoris import MergeSettings, merge_adapters
from lycoris.adapters.toolbox.merge_methods import METHODS, Pruning
from lycoris.errors import InputError
from tests.adapters.cases import randomize
from tests.adapters.small_denoisers import DENOISERS
from tests.adapters.test_dialects import deltas


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(24, 20)
        self.second = nn.Conv2d(6, 10, 3)
        self.norm = nn.LayerNorm(20)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Net().double()


def saved(model, path, algorithm="lora", seed=0, **options):
    """A file of random values and its dense updates."""
    torch.manual_seed(seed)
    network = lycoris.attach(model, algorithm, preset="everything", **options)
    randomize(network)
    network.save(path, dtype="float64")
    dense = {key: each.structure(network.layers[key].weight).dense() for key, each in network.adapters.items()}
    biases = {key: each.bias_delta() for key, each in network.adapters.items()}
    network.detach()
    return dense, biases


def merged_deltas(path, model):
    network = lycoris.load(path, model)
    dense = {key: each.structure(network.layers[key].weight).dense() for key, each in network.adapters.items()}
    biases = {key: each.bias_delta() for key, each in network.adapters.items()}
    network.detach()
    return dense, biases


def test_a_sum_of_any_algorithms_is_exact_with_norms_and_biases(model, tmp_path):
    files = [tmp_path / f"{name}.safetensors" for name in ("a", "b", "c", "d")]
    sources = [
        saved(model, files[0], "lora", 0, rank=2, alpha=3.0),
        saved(model, files[1], "loha", 1, rank=2),
        saved(model, files[2], "lokr", 2, factor=2),
        saved(model, files[3], "full", 3),
    ]
    weights = [0.5, -1.25, 2.0, 0.25]
    report = merge_adapters(files, tmp_path / "m.safetensors", weights=weights, model=model, dtype="float64")
    dense, biases = merged_deltas(tmp_path / "m.safetensors", model)
    pairs = list(zip(weights, sources, strict=True))
    assert set(dense) == {key for source, _ in sources for key in source}
    for key, found in dense.items():
        expected = sum(weight * source[key] for weight, (source, _) in pairs if key in source)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        changes = [weight * each[key] for weight, (_, each) in pairs if each.get(key) is not None]
        if changes:
            torch.testing.assert_close(biases[key], sum(changes), rtol=0, atol=1e-12)
    assert report.error < 1e-12
    assert not report.left_out
    origin = json.loads(lycoris.read_metadata(tmp_path / "m.safetensors")["lycoris.merged_from"])
    assert origin == {"files": [file.name for file in files], "method": "sum", "weights": weights}


def test_an_update_that_depends_on_the_weights_is_that_of_the_model(model, tmp_path):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    first = saved(model, paths[0], "lora", 0, rank=2)[0]
    second = saved(model, paths[1], "lora", 1, rank=2, dora="output")[0]
    merge_adapters(paths, tmp_path / "m.safetensors", model=model, dtype="float64")
    found = merged_deltas(tmp_path / "m.safetensors", model)[0]
    for key, delta in found.items():
        torch.testing.assert_close(delta, first[key] + second[key], rtol=0, atol=1e-10)


@pytest.fixture(scope="module")
def peft_model():
    """Two random LoRAs of PEFT on a Linear and a convolution, and their files in our format."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(3)
    base = nn.Sequential(nn.Linear(24, 20), nn.Conv2d(6, 10, 3)).double()
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=["0", "1"])
    model = peft.get_peft_model(base, config, "a")
    model.add_adapter("b", peft.LoraConfig(r=3, lora_alpha=2, target_modules=["0", "1"]))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter, dtype=torch.float64)
    return model


def peft_files(model, folder):
    paths = []
    for name in ("a", "b"):
        model.save_pretrained(folder, selected_adapters=[name])
        paths.append(folder / name)
    return paths


def peft_delta(model, name):
    layers = {path: module for path, module in model.base_model.model.named_children()}
    return {path: layer.get_delta_weight(name).double() for path, layer in layers.items()}


WEIGHTS = [0.75, -1.5]
AS_IN_PEFT = {
    "cat": MergeSettings(),
    "svd": MergeSettings(rank=2),
    "linear": MergeSettings("linear"),
    "ties_svd": MergeSettings("ties", rank=4, density=0.4),
    "magnitude_prune_svd": MergeSettings("magnitude", rank=4, density=0.4),
}


@pytest.mark.parametrize("combination", list(AS_IN_PEFT))
def test_the_methods_give_what_peft_gives(combination, peft_model, tmp_path):
    settings = AS_IN_PEFT[combination]
    options = {"svd_rank": settings.rank} if "svd" in combination else {}
    options |= {"density": settings.density} if settings.method in ("ties", "magnitude") else {}
    peft_model.add_weighted_adapter(["a", "b"], WEIGHTS, combination, combination_type=combination, **options)
    expected = peft_delta(peft_model, combination)
    peft_model.delete_adapter(combination)
    target = tmp_path / "m.safetensors"
    merge_adapters(peft_files(peft_model, tmp_path), target, weights=WEIGHTS, settings=settings, format="peft")
    plain = nn.Sequential(nn.Linear(24, 20), nn.Conv2d(6, 10, 3)).double()
    network = lycoris.load(target, plain)
    for key, adapter in network.adapters.items():
        found = adapter.structure(network.layers[key].weight).dense()
        torch.testing.assert_close(found.double(), expected[network.layers[key].path], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "peft_name"), [("dare", "dare_linear"), ("dare-ties", "dare_ties")])
def test_dare_is_that_of_peft_for_the_same_random_numbers(name, peft_name):
    merge_utils = pytest.importorskip("peft.utils.merge_utils")
    torch.manual_seed(5)
    updates, weights = torch.randn(3, 8, 6, dtype=torch.float64), torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    torch.manual_seed(11)
    expected = getattr(merge_utils, peft_name)(list(updates), weights, 0.3)
    found = METHODS[name](updates, weights, Pruning(0.3, torch.Generator().manual_seed(11)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert (found != METHODS[name](updates, weights, Pruning(0.3, torch.Generator().manual_seed(12)))).any()


def test_dare_depends_on_the_seed_alone_and_reports_the_error_of_the_rank(model, tmp_path):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for seed, path in enumerate(paths):
        saved(model, path, "lora", seed, rank=2)
    files = {}
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        settings = MergeSettings("dare", rank=3, density=0.5, seed=seed)
        files[name] = tmp_path / f"{name}.safetensors"
        report = merge_adapters(paths, files[name], settings=settings, model=model, dtype="float64")
    assert files["one"].read_bytes() == files["again"].read_bytes() != files["other"].read_bytes()
    assert 0.05 < report.error < 1
    assert {fit.rank for fit in report.layers} == {3}


def test_files_of_different_dialects_for_one_model_are_merged_without_it(tmp_path):
    parts = DENOISERS["flux.1"].parts()
    expected = {}
    for seed, format in enumerate(("kohya", "diffusers")):
        torch.manual_seed(seed)
        network = lycoris.attach(parts, "lora", layers=[r".*to_[qkv]"], rank=2)
        randomize(network)
        network.save(tmp_path / f"{format}.safetensors", format=format, dtype="float64")
        expected = {name: delta + expected.get(name, 0) for name, delta in deltas(network).items()}
        network.detach()
    merge_adapters([tmp_path / "kohya.safetensors", tmp_path / "diffusers.safetensors"], tmp_path / "m.safetensors")
    found = deltas(lycoris.load(tmp_path / "m.safetensors", parts))
    rest = set(found) - set(expected)
    assert not any(found[name].any() for name in rest), "rows of the fused layers that no file changes"
    for name, delta in expected.items():
        torch.testing.assert_close(found[name], delta, rtol=0, atol=1e-10)


def test_an_update_that_depends_on_the_weights_needs_the_model(tmp_path):
    parts = DENOISERS["flux.1"].parts()
    for name in ("a", "b"):
        network = lycoris.attach(parts, "lora", layers=[r".*to_out\.0"], rank=2, dora="output")
        network.save(tmp_path / f"{name}.safetensors")
        network.detach()
    with pytest.raises(InputError, match=r"DoRA changes a weight depending on its values.* argument `model`"):
        merge_adapters([tmp_path / "a.safetensors", tmp_path / "b.safetensors"], tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1.0]}, "`weights` must have one number for each file"),
        ({"weights": [1.0, float("nan")]}, "`weights` must be finite"),
        ({"settings": MergeSettings("mean")}, "Unknown method `mean`"),
        ({"settings": MergeSettings(density=0)}, "`density` must be in"),
        ({"settings": MergeSettings(rank=0)}, "`rank` must be"),
        ({"settings": MergeSettings("linear")}, "needs LoRAs of one rank"),
        ({"format": "onnx"}, "Unknown format"),
        ({"dtype": "int8"}, "Unknown dtype"),
    ],
)
def test_wrong_arguments_are_named(options, message, model, tmp_path):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    saved(model, paths[0], rank=2)
    saved(model, paths[1], rank=3)
    with pytest.raises(InputError, match=message):
        merge_adapters(paths, tmp_path / "m.safetensors", model=model, **options)
    assert not (tmp_path / "m.safetensors").exists()


def test_files_for_different_models_are_refused(tmp_path):
    for name, width in (("a", 8), ("b", 12)):
        tensors = {"lora_up.weight": torch.ones(6, 2), "lora_down.weight": torch.ones(2, width)}
        prefix = "unet.down_blocks.0.attentions.0.proj_in"
        save_file({f"{prefix}.{key}": value for key, value in tensors.items()}, tmp_path / f"{name}.safetensors")
    with pytest.raises(InputError, match="for different models"):
        merge_adapters([tmp_path / "a.safetensors", tmp_path / "b.safetensors"], tmp_path / "m.safetensors")
    assert not load_file(tmp_path / "a.safetensors").keys() - {f"{prefix}.{key}" for key in tensors}
