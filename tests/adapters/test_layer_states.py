"""Adapters on layers that other libraries have hooked, cast, wrapped or quantised, before or after."""

from __future__ import annotations

import copy
import functools
import importlib.util

import pytest
import torch
from torch import nn

import lycoris
from lycoris.adapters import ALGORITHMS
from lycoris.errors import InputError
from tests.adapters.cases import READERS, randomize, reference_weight
from tests.adapters.layer_states import QUANTISED, STATES, SmallModel

SEVERAL = {
    "conv": {"algorithm": "full"},
    "norm": {"algorithm": "norms"},
    r"blocks\.0\.0": {"algorithm": "lora", "rank": 2},
    r"blocks\.0\.2": {"algorithm": "lokr", "factor": 2},
    r"blocks\.1\.0": {"algorithm": "lora", "dora": "output"},
    r"blocks\.1\.2": {"algorithm": "diag-oft"},
}
"""Algorithms that merge or apply, and that read the weight or not, each on a layer."""
ADAPTERS = ["several", *(pytest.param(name, marks=pytest.mark.slow) for name in [*ALGORITHMS, "dora"])]
ORDERS = ["state first", "adapter first"]
X = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CLOSE = {"rtol": 1e-6, "atol": 1e-8}
SAME = {"rtol": 1e-13, "atol": 1e-13}


@functools.cache
def _model() -> SmallModel:
    torch.manual_seed(0)
    model = SmallModel().double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def _attach(model, adapter, seed=1):
    if adapter == "several":
        network = lycoris.attach(model, layers=SEVERAL)
    else:
        dora = "output" if adapter == "dora" else None
        network = lycoris.attach(model, "lora" if dora else adapter, preset="everything", dora=dora)
    randomize(network, seed)
    return network


def _forward(model):
    with torch.no_grad():
        return model(X)


def _expected(base, network):
    """The output of a plain model with the weights that the papers define."""
    model = copy.deepcopy(base)
    for key, adapter in network.adapters.items():
        layer = model.get_submodule(network.layers[key].path)
        tensors = {name: values.detach().double() for name, values in adapter.state_tensors().items()}
        with torch.no_grad():
            layer.weight.copy_(reference_weight(adapter.algorithm, tensors, layer.weight))
            bias_delta = adapter.bias_delta()
            if bias_delta is not None:
                layer.bias += bias_delta
    return _forward(model)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("name", list(STATES))
def test_an_adapter_acts_trains_saves_loads_and_detaches_in_every_state(name, adapter, order, tmp_path):
    state, model = STATES[name], copy.deepcopy(_model())
    base = state.base(model)
    if order == "state first":
        state.enter(model, tmp_path)
        network = _attach(model, adapter)
    else:
        network = _attach(model, adapter)
        state.enter(model, tmp_path)
        network.requires_grad_(True)  # PEFT freezes everything that is not its own
    plain = _forward(base)
    expected = _expected(base, network)
    assert (expected - plain).abs().max() > 0.01
    torch.testing.assert_close(_forward(model), expected, **CLOSE)
    torch.testing.assert_close(_forward(model), expected, **CLOSE)  # also after the hooks took the weights away

    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    model(X).square().mean().backward()
    optimizer.step()
    assert all(not torch.equal(p, old) for p, old in zip(network.parameters(), before, strict=True))
    trained = _expected(base, network)
    assert (trained - expected).abs().max() > 1e-6
    torch.testing.assert_close(_forward(model), trained, **CLOSE)

    network.save(tmp_path / "a.safetensors", dtype="float64")
    network.detach()
    torch.testing.assert_close(_forward(model), plain, **SAME)
    again = lycoris.load(tmp_path / "a.safetensors", model)
    assert set(again.layers) == set(network.layers)
    torch.testing.assert_close(_forward(model), trained, **CLOSE)
    again.detach()
    torch.testing.assert_close(_forward(model), plain, **SAME)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", list(STATES))
def test_merging_is_exact_in_every_state_or_an_error_that_changes_nothing(name, order, tmp_path):
    state, model = STATES[name], copy.deepcopy(_model())
    base = state.base(model)
    if order == "state first":
        state.enter(model, tmp_path)
    network = _attach(model, "several")
    if order == "adapter first":
        state.enter(model, tmp_path)
    expected = _expected(base, network)
    if state.merges:
        network.merge()
        torch.testing.assert_close(_forward(model), expected, **CLOSE)
        network.unmerge()
    else:
        with pytest.raises(InputError, match=r"Layer `model\.\S+`: its hooks replace or round what is written"):
            network.merge()
        assert not network.merged
    torch.testing.assert_close(_forward(model), expected, **CLOSE)
    network.detach()
    torch.testing.assert_close(_forward(model), _forward(base), **SAME)


def test_a_network_merged_before_offloading_stays_merged_where_hooks_bring_the_weight_back(tmp_path):
    model, state = copy.deepcopy(_model()), STATES["device map"]
    network = _attach(model, "several")
    expected = _forward(model)
    network.merge()
    state.enter(model, tmp_path)
    for undo in (network.unmerge, network.detach):
        with pytest.raises(InputError, match="Merge and unmerge before or after they are there"):
            undo()
    assert network.merged
    torch.testing.assert_close(_forward(model), expected, **CLOSE)


def test_extract_reads_offloaded_weights(tmp_path):
    base, tuned = copy.deepcopy(_model()), copy.deepcopy(_model())
    _attach(tuned, "full").merge()
    expected = _forward(tuned)
    for model in (base, tuned):
        STATES["sequential offload"].enter(model, tmp_path)
    lycoris.extract(base, tuned, "full")
    torch.testing.assert_close(_forward(base), expected, **CLOSE)


def test_a_forward_that_does_not_call_the_layers_own_is_an_error_that_changes_nothing():
    def replaced(x):
        return nn.functional.linear(x, model[1].weight)

    for function in (replaced, functools.wraps(nn.Linear(2, 2).forward)(replaced)):
        model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
        model[1].forward = function
        with pytest.raises(InputError, match=r"Layer `model\.1`: its forward was replaced by"):
            lycoris.attach(model, "lora")
        assert type(model[0]) is nn.Linear
    del model[1].forward
    model[1].forward = functools.wraps(model[1].forward)(replaced)
    with pytest.raises(InputError, match=r"Layer `model\.1`: .* does not call the layer's forward"):
        lycoris.attach(model, "lora")


def test_hooks_that_come_and_go_around_an_adapter_do_not_switch_it_off(tmp_path):
    from accelerate.hooks import remove_hook_from_module

    model = copy.deepcopy(_model())
    plain = _forward(model)
    STATES["sequential offload"].enter(model, tmp_path)
    network = _attach(model, "several")
    expected = _forward(model)
    remove_hook_from_module(model, recurse=True)
    torch.testing.assert_close(_forward(model), expected, **SAME)
    STATES["group offload by leaf"].enter(model, tmp_path)
    torch.testing.assert_close(_forward(model), expected, **SAME)
    network.detach()
    torch.testing.assert_close(_forward(model), plain, **SAME)


def test_casting_a_model_keeps_the_precision_of_its_adapters():
    model = copy.deepcopy(_model()).float()
    network = _attach(model, "several")
    values = [parameter.clone() for parameter in network.parameters()]
    model.to(torch.bfloat16)
    assert model.conv.weight.dtype == torch.bfloat16
    assert all(torch.equal(p, old) for p, old in zip(network.parameters(), values, strict=True))
    assert {p.dtype for p in network.double().parameters()} == {torch.float64}


def test_an_adapter_whose_values_were_dropped_is_an_error():
    model = nn.Sequential(nn.Linear(6, 4))
    network = lycoris.attach(model, "lora")
    network.to_empty(device="meta")
    with pytest.raises(InputError, match=r"Layer `model\.0`: its adapter has no values"):
        model(torch.ones(1, 6))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "regional"])
def test_compiled_models_have_the_names_and_numbers_of_plain_ones(whole, order, tmp_path):
    model = copy.deepcopy(_model())
    reference = _attach(copy.deepcopy(model), "several")

    def compiled(module):
        return torch.compile(module, backend="eager")

    def enter():
        if not whole:
            model.blocks[0] = compiled(model.blocks[0])
        runner = compiled(model) if whole else model
        _forward(runner)
        return runner

    if order == "state first":
        runner = enter()
        network = _attach(runner, "several")
    else:
        network = _attach(model, "several")
        runner = enter()
    assert list(network.layers) == list(reference.layers)
    assert [layer.path for layer in network.layers.values()] == [layer.path for layer in reference.layers.values()]
    expected = _expected(_model(), network)
    torch.testing.assert_close(_forward(runner), expected, **CLOSE)
    network.save(tmp_path / "a.safetensors", dtype="float64")
    network.detach()
    torch.testing.assert_close(_forward(runner), _forward(_model()), **SAME)
    lycoris.load(tmp_path / "a.safetensors", runner)
    torch.testing.assert_close(_forward(runner), expected, **CLOSE)


@pytest.mark.parametrize("order", ORDERS)
def test_beside_peft_both_updates_act_and_layers_have_their_own_names(order, tmp_path):
    from peft import LoraConfig, get_peft_model

    model = copy.deepcopy(_model())
    if order == "adapter first":
        network = _attach(model, "lora")
        reference = set(network.layers)
    config = LoraConfig(r=2, target_modules=r"conv|blocks\.\d\.0", init_lora_weights=False)
    wrapped = get_peft_model(model, config)
    if order == "state first":
        network = _attach(wrapped, "lora")
        copied = _attach(copy.deepcopy(_model()), "lora")
        reference = set(copied.layers)
    assert set(network.layers) == reference
    both = _forward(wrapped)
    merged = wrapped.merge_and_unload() if order == "state first" else None
    if merged is not None:
        torch.testing.assert_close(_forward(merged), both, **CLOSE)
    network.scale = 0
    assert (_forward(merged or wrapped) - both).abs().max() > 0.01


@pytest.mark.parametrize("algorithm", ["lora", "lokr", "full", *READERS])
@pytest.mark.parametrize("name", list(QUANTISED))
def test_quantised_layers_have_adapters_that_do_not_read_the_weight(name, algorithm, tmp_path):
    package, quantise = QUANTISED[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")
    torch.manual_seed(0)
    model = nn.Sequential(quantise(nn.Linear(64, 32))).eval()
    x = torch.randn(3, 64)
    with torch.no_grad():
        plain = model(x)
    if algorithm in READERS:
        with pytest.raises(InputError, match=r"the weight itself, but layer `model\.0` has a quantised one"):
            lycoris.attach(model, algorithm)
        return
    network = lycoris.attach(model, algorithm)
    randomize(network)
    adapter = network.adapters["lycoris_0"]
    delta = adapter.structure(torch.zeros(32, 64)).dense()
    expected = plain + nn.functional.linear(x, delta, adapter.bias_delta())
    with torch.no_grad():
        live = model(x)
    torch.testing.assert_close(live, expected, rtol=1e-5, atol=1e-5)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    model(x.requires_grad_()).square().sum().backward()  # as of a layer with others before it
    assert x.grad.shape == x.shape
    torch.optim.SGD(network.parameters(), lr=1e-3).step()
    assert all(not torch.equal(p, old) for p, old in zip(network.parameters(), before, strict=True))
    with pytest.raises(InputError, match=r"Layer `model\.0` cannot be merged into: its weight is quantised"):
        network.merge()
    network.save(tmp_path / "a.safetensors")
    with torch.no_grad():
        trained = model(x)
        network.detach()
        assert torch.equal(model(x), plain)
        lycoris.load(tmp_path / "a.safetensors", model)
        torch.testing.assert_close(model(x), trained)


@pytest.mark.parametrize("name", [name for name in QUANTISED if "torchao" in name])
def test_a_layer_quantised_under_its_adapter(name):
    package, quantise = QUANTISED[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")
    for options in ({}, {"dora": "output"}):
        model = nn.Sequential(nn.Linear(64, 32)).eval()
        network = lycoris.attach(model, "lora", **options)
        randomize(network)
        quantise(model[0])
        x = torch.randn(3, 64)
        with torch.no_grad():
            if options:
                with pytest.raises(InputError, match=r"Layer `model\.0`: `lora` needs the weight itself"):
                    model(x)
                continue
            live = model(x)
            delta = network.adapters["lycoris_0"].structure(torch.zeros(32, 64)).dense()
            network.detach()
            torch.testing.assert_close(live, model(x) + x @ delta.T, rtol=1e-5, atol=1e-5)


def test_a_merged_model_is_saved_without_adapters(tmp_path):
    from benchmarks.peers.trees import small_unet

    unet = small_unet()
    names = set(unet.state_dict())
    network = lycoris.attach(unet, "lokr", preset="full")
    other = lycoris.attach(unet, "lora", preset="attn-only")
    randomize(network)
    network.merge()
    other.merge()
    unet.save_pretrained(tmp_path)
    assert set(unet.state_dict()) == names
    again = type(unet).from_pretrained(tmp_path)
    key = next(iter(network.layers.values()))
    assert torch.equal(again.get_submodule(key.path).weight, key.module.weight)
    network.unmerge()
    assert set(unet.state_dict()) > names


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("offload", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
def test_an_offloaded_pipeline_generates_the_images_of_a_plain_one(offload, order, parts, tmp_path):
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline

    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)

    def pipeline():
        rest = {"tokenizer": None, "safety_checker": None, "feature_extractor": None}
        scheduler = DDIMScheduler(clip_sample=False)
        return StableDiffusionPipeline(
            **copy.deepcopy({**parts, "vae": vae}), scheduler=scheduler, **rest, requires_safety_checker=False
        )

    def images(pipe):
        generator = torch.Generator().manual_seed(0)
        embeds, latents = torch.randn(1, 5, 32, generator=generator), torch.randn(1, 4, 8, 8, generator=generator)
        pipe.set_progress_bar_config(disable=True)
        settings = {"guidance_scale": 1.0, "num_inference_steps": 2, "output_type": "np"}
        return torch.from_numpy(pipe(prompt_embeds=embeds, latents=latents, **settings).images)

    plain, offloaded = pipeline(), pipeline()
    base = images(plain)
    network = lycoris.attach(plain, "lokr", preset="full")
    randomize(network)
    network.save(tmp_path / "a.safetensors")
    expected = images(plain)
    assert (expected - base).abs().max() > 0.01

    def enable_offload():
        if offload == "enable_model_cpu_offload":
            offloaded.enable_model_cpu_offload(device="cpu")
        else:  # the pipeline's method refuses a CPU; this is what it calls
            for part in (*parts, "vae"):
                STATES["sequential offload"].enter(getattr(offloaded, part), tmp_path)

    steps = [enable_offload, lambda: lycoris.load(tmp_path / "a.safetensors", offloaded)]
    for step in steps if order == "state first" else reversed(steps):
        step()
    for _ in range(2):
        torch.testing.assert_close(images(offloaded), expected)
