"""Networks on real model trees: selection of layers, stacking, merging and detaching."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import lycoris
from benchmarks.peers.trees import tree
from lycoris.adapters import ALGORITHMS
from lycoris.adapters.structures import Operation
from lycoris.errors import InputError
from tests.adapters.cases import randomize


@pytest.mark.parametrize(
    ("preset", "unet", "text"),
    [("attn-only", 128, 48), ("attn-mlp", 192, 72), ("full", 278, 72), ("everything", 282, 72), ("unet-only", 278, 0),
     ("unet-attn-mlp", 192, 0), ("text-encoder", 0, 72), ("convolutions", 86, 0)],
)  # fmt: skip
def test_presets_select_the_same_sd15_layers_as_lycoris(preset, unet, text):
    parts = tree("sd15")
    network = lycoris.attach(parts, "lora", preset=preset)
    keys = list(network.adapters)
    assert sum(key.startswith("lora_unet_") for key in keys) == unet
    assert sum(key.startswith("lora_te_") for key in keys) == text


def test_sdxl_full_preset_has_788_and_264_layers():
    network = lycoris.attach(tree("sdxl"), "lora", preset="full")
    keys = list(network.adapters)
    assert sum(key.startswith("lora_unet_") for key in keys) == 788
    assert sum(key.startswith(("lora_te1_", "lora_te2_")) for key in keys) == 264


def test_keys_are_the_standard_ones():
    network = lycoris.attach(tree("sd15"), "lora", preset="full")
    for key in (
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te_text_model_encoder_layers_11_mlp_fc2",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0",
        "lora_unet_mid_block_attentions_0_proj_in",
        "lora_unet_up_blocks_3_resnets_2_time_emb_proj",
    ):
        assert key in network.adapters


def test_native_trains_every_parameter_of_the_selected_layers_and_their_norms(parts):
    network = lycoris.attach(parts, "native", preset="full")
    assert network.algorithm == "full"
    for layer in network.layers.values():
        own = sum(p.numel() for name, p in layer.module.named_parameters() if not name.startswith("adapters"))
        assert own == sum(p.numel() for p in network.adapters[layer.key].parameters())
    kinds = {type(layer.module).__name__ for layer in network.layers.values()}
    assert {"AdaptedLinear", "AdaptedConv2d", "AdaptedGroupNorm", "AdaptedLayerNorm"} == kinds


def test_native_leaves_out_norms_without_a_scale():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4, elementwise_affine=False), nn.LayerNorm(4))
    network = lycoris.attach(model, "native", preset="everything")
    assert [layer.path for layer in network.layers.values()] == ["0", "2"]


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_only_adapters_train_and_they_learn(algorithm, parts, forward):
    network = lycoris.attach(parts, algorithm, preset="full")
    before = forward(parts)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(2):
        optimiser.zero_grad()
        loss = (forward(parts) - before.detach() - 1).square().mean()
        loss.backward()
        optimiser.step()
    trainable = {id(p) for part in parts.values() for p in part.parameters() if p.requires_grad}
    assert trainable == {id(p) for p in network.parameters()}
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert (forward(parts) - before - 1).square().mean() < 1.0


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_stacked_networks_detach_in_any_order_and_restore_the_base(parts, forward, order):
    bits = _bits(parts)
    base = forward(parts)
    networks = [lycoris.attach(parts, name, preset="full", seed=i) for i, name in enumerate(("lora", "lokr", "lora"))]
    for i, network in enumerate(networks):
        randomize(network, i)
        network.scale = 0.2 * (i + 1)
    assert [network.name for network in networks] == ["lora", "lokr", "lora_2"]
    together = forward(parts)
    networks[1].merge()
    torch.testing.assert_close(forward(parts), together, rtol=1e-3, atol=1e-3)
    for i in order:
        networks[i].detach()
    assert _bits(parts) == bits
    assert torch.equal(forward(parts), base)
    assert not any("Adapted" in repr(part) for part in parts.values())


def test_merging_several_networks_and_unmerging_in_any_order_is_exact(parts):
    bits = _bits(parts)
    first, second = (lycoris.attach(parts, name, preset="full") for name in ("lora", "full"))
    randomize(first, 1)
    randomize(second, 2)
    first.merge()
    alone = _bits(parts)
    second.merge()
    second.scale = 0.3
    second.unmerge()
    assert {k: v for k, v in _bits(parts).items() if "adapters" not in k} == {
        k: v for k, v in alone.items() if "adapters" not in k
    }
    first.unmerge()
    first.detach()
    second.detach()
    assert _bits(parts) == bits


def test_a_new_scale_of_a_merged_network_is_merged(parts, forward):
    network = lycoris.attach(parts, "lokr", preset="full")
    randomize(network)
    network.merge()
    network.scale = 0.3
    assert network.merged
    merged = forward(parts)
    network.unmerge()
    torch.testing.assert_close(forward(parts), merged, rtol=1e-3, atol=1e-3)
    network.scale = 1
    assert not torch.allclose(forward(parts), merged, rtol=1e-3, atol=1e-3)


def test_a_detached_network_can_be_reattached(parts, forward):
    network = lycoris.attach(parts, "lokr", preset="full")
    randomize(network)
    live = forward(parts)
    network.detach()
    with pytest.raises(InputError, match="reattach"):
        network.merge()
    network.reattach()
    assert torch.equal(forward(parts), live)


def test_initial_values_of_a_layer_depend_on_seed_and_name_alone(parts):
    few = lycoris.attach(copy.deepcopy(parts), "lora", layers=[r".*attn1\.to_q"], seed=5)
    many = lycoris.attach(parts, "lora", preset="full", seed=5)
    for key, adapter in few.adapters.items():
        assert torch.equal(adapter.down, many.adapters[key].down)
    network = lycoris.attach(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), "lora", seed=5)
    first, second = (adapter.down for adapter in network.adapters.values())
    assert not torch.equal(first, second)


def test_patterns_select_and_exclude_with_or_without_the_part(parts):
    def selected(**choice):
        network = lycoris.attach(parts, "lora", **choice)
        network.detach()
        return {layer.name for layer in network.layers.values()}

    every = selected(layers=[r".*attn\d\..*"])
    assert every == selected(layers=[r"unet\..*attn\d\..*"])
    assert every - selected(layers=[r".*attn\d\..*"], exclude=[r".*to_k"]) == {n for n in every if n.endswith("to_k")}
    assert selected(layers=[r"text_encoder\..*fc1"]) == {f"text_encoder.encoder.layers.{i}.mlp.fc1" for i in (0, 1)}


def test_a_single_part_and_a_pipeline_are_models_too(parts):
    class Pipeline:
        def __init__(self):
            self.components = {**parts, "tokenizer": None}

    alone = lycoris.attach(parts["unet"], "lora", preset="full")
    alone.detach()
    text = lycoris.attach(parts["text_encoder"], "lora", preset="full")
    text.detach()
    whole = lycoris.attach(Pipeline(), "lora", preset="full")
    assert [*alone.adapters, *text.adapters] == list(whole.adapters)
    assert whole.parts == ["unet", "text_encoder"]
    both = [*whole.part_parameters("unet"), *whole.part_parameters("text_encoder")]
    assert {id(p) for p in both} == {id(p) for p in whole.parameters()}
    with pytest.raises(InputError, match=r"`unte`.*`unet`"):
        next(whole.part_parameters("unte"))


def _check_error_changes_nothing(parts, call, match):
    bits, representation = _bits(parts), repr(parts["unet"])
    with pytest.raises(InputError, match=match):
        call()
    assert _bits(parts) == bits
    assert repr(parts["unet"]) == representation


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"algorithm": "loar"}, "`loar`.*`lora`"),
        ({"preset": "attn-mpl"}, "`attn-mpl`.*`attn-mlp`"),
        ({"rnak": 4}, "`rnak`.*`rank`"),
        ({"factor": 4}, "option of `lora` `factor`"),
        ({"algorithm": "full", "rank": 4}, "option of `full` `rank`"),
        ({"layers": ["no_such.*"]}, r"No layer matches.*no_such.*could match: .*attn1\.to_q \(\d+\)"),
        ({"layers": [".*["]}, "regular expressions"),
        ({"layers": ".*"}, "lists of patterns"),
        ({"layers": [".*"], "preset": "full"}, "either `preset` or `layers`"),
        ({"rank": 0}, r"`rank` must be a whole number in \[1, 16\].*got 0.*layer `unet\."),
        ({"rank": 17, "layers": [".*down_blocks.*"]}, r"in \[1, 16\], but got 17 for layer `unet.down_blocks.0"),
        ({"rank": 2.5}, "got 2.5"),
        ({"alpha": -1}, "`alpha` must be a positive"),
        ({"alpha": float("nan")}, "`alpha` must be a positive"),
        ({"algorithm": "lokr", "factor": 0}, "`factor` must be -1 or"),
        ({"algorithm": "lokr", "alpha": 2.0}, "`alpha` needs a `rank`"),
        ({"dropout": 1.0}, r"`dropout` must be a probability"),
        ({"seed": -1}, "`seed`"),
    ],
)
@pytest.mark.wrong_types
def test_invalid_arguments_are_errors_and_change_nothing(parts, options, match):
    options = {"preset": "full", **options} if "layers" not in options or "preset" in options else options
    _check_error_changes_nothing(parts, lambda: lycoris.attach(parts, **options), match)


def test_other_objects_than_models_are_errors():
    for model in (3, {}, {"unet": 3}, object()):
        with pytest.raises(InputError, match="`model` must"):
            lycoris.attach(model)


def test_the_default_rank_is_clipped_to_what_a_layer_allows():
    network = lycoris.attach(nn.Sequential(nn.Linear(3, 50)), "lora")
    assert network.adapters["lycoris_0"].rank == 3


@pytest.mark.parametrize("algorithm", ["lora", "loha", "lokr", "full"])
def test_gradient_checkpointing_gives_the_same_gradients(algorithm, parts, forward):
    network = lycoris.attach(parts, algorithm, preset="full")
    randomize(network)
    parts["unet"].train()
    forward(parts).square().mean().backward()
    plain = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    parts["unet"].enable_gradient_checkpointing()
    forward(parts).square().mean().backward()
    for p, expected in zip(network.parameters(), plain, strict=True):
        torch.testing.assert_close(p.grad, expected, rtol=1e-3, atol=1e-4)


def test_half_precision_base_keeps_float32_adapters(parts, forward):
    for part in parts.values():
        part.to(torch.bfloat16)
    network = lycoris.attach(parts, "lokr", preset="full")
    forward(parts).float().square().mean().backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in network.parameters())


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        ("lora", {}),
        ("lora", {"start": "svd"}),
        ("lora", {"start": "orthogonal"}),
        ("lora", {"scalar": True}),
        ("loha", {}),
        ("lokr", {"factor": 8}),
        ("lokr", {"factor": 8, "rank": 4}),
        ("full", {"bias": False}),
        ("dylora", {}),
        ("t-lora", {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["linear", "conv2d"])
def test_a_small_delta_under_a_bf16_base_keeps_its_precision(algorithm, options, kind):
    torch.manual_seed(0)
    layer = nn.Linear(320, 320, bias=False) if kind == "linear" else nn.Conv2d(64, 96, 3, padding=1, bias=False)
    model = nn.Sequential(layer).to(torch.bfloat16).eval()
    x = torch.randn(*((64, 320) if kind == "linear" else (2, 64, 12, 12))).to(torch.bfloat16)
    network = lycoris.attach(model, algorithm, **options)
    network.eval()
    adapter = network.adapters["lycoris_0"]
    for p in network.parameters():
        p.data += 0.02 * torch.randn_like(p)
    rms = adapter.structure(layer.weight).dense().square().mean().sqrt().item()
    structure = adapter.structure(layer.weight, 3e-5 / rms)
    op = Operation.from_layer(layer)
    delta = structure.dense().double()
    assert delta.square().mean().sqrt().item() == pytest.approx(3e-5, rel=1e-3)
    exact = op(x.double(), delta)
    got = structure.apply(op, x).double()
    assert (got - exact).norm() / exact.norm() < 0.005


def test_dropout_acts_only_in_training(parts, forward):
    for options in ({"dropout": 0.5}, {"rank_dropout": 0.5}, {"module_dropout": 0.5}):
        network = lycoris.attach(parts, "lora", preset="full", **options)
        randomize(network)
        assert torch.equal(forward(parts), forward(parts))
        network.train()
        assert not torch.equal(forward(parts), forward(parts))
        network.eval()
        assert torch.equal(forward(parts), forward(parts))
        network.detach()


_SLOW = [("loha", {"scalar": True}), ("lora", {"start": "svd"})]
_SLOW += [(name, {}) for name in ALGORITHMS if name not in ("lora", "lokr", "norms")]


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [("lora", {}), ("lokr", {})] + [pytest.param(*case, marks=pytest.mark.slow) for case in _SLOW],
    ids=str,
)
def test_adapted_layers_pickle_and_compile(algorithm, options):
    model = nn.Sequential(nn.Linear(16, 24), nn.Linear(24, 8)).eval()
    network = lycoris.attach(model, algorithm, **options)
    network.eval()
    randomize(network)
    x = torch.randn(3, 16)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))
    gradients = []
    for run in (model, compiled):
        network.zero_grad()
        run(x).square().sum().backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_repr_shows_the_adapters_their_shapes_and_scale():
    model = nn.Sequential(nn.Linear(16, 24), nn.Conv2d(3, 4, 3))
    first, second = lycoris.attach(model, "lora", rank=2), lycoris.attach(model, "lokr", factor=2, dora="output")
    second.scale = 0.5
    representation = repr(model)
    for part in (
        "AdaptedLinear",
        "AdaptedConv2d",
        "in_features=16, out_features=24",
        "(lora): LoRA(up=[24, 2]",
        "down=[2, 3, 3, 3]",
        "(lokr): DoRA",
        "(inner): LoKr",
        "multiplier=0.5",
    ):
        assert part in representation
    assert "lora, 2 layers, scale=1, live" in repr(first)
    first.detach()
    second.detach()
    assert "Adapted" not in repr(model)


def test_merging_in_training_uses_the_whole_update(parts):
    network = lycoris.attach(parts, "dylora", preset="full")
    randomize(network)
    network.train()
    layer = next(iter(network.layers.values()))
    adapter = network.adapters[layer.key]
    whole = layer.module.weight.double() + adapter.eval().structure(layer.module.weight).dense().double()
    network.train()
    network.merge()
    torch.testing.assert_close(layer.module.weight, whole.float())
    assert adapter.training


def test_dylora_scales_a_prefix_of_ranks_by_its_own_number():
    model = nn.Sequential(nn.Linear(24, 40))
    network = lycoris.attach(model, "dylora", rank=6, alpha=3.0, block=2)
    network.train()
    structures = [network.adapters["lycoris_0"].structure(model[0].weight) for _ in range(40)]
    assert {structure.up.shape[1] for structure in structures} == {2, 4, 6}
    assert all(structure.scale == pytest.approx(3.0 / structure.up.shape[1]) for structure in structures)


@pytest.mark.parametrize(("timestep", "ranks"), [(1000, 3), (999, 3), (500, 4), (0, 6)])
def test_t_lora_uses_at_least_its_minimum_of_ranks(timestep, ranks):
    model = nn.Sequential(nn.Linear(24, 40))
    network = lycoris.attach(model, "t-lora", rank=6, minimum=3)
    network.timestep = timestep
    mask = network.adapters["lycoris_0"].structure(model[0].weight).mask
    assert mask.tolist() == [[1.0] * ranks + [0.0] * (6 - ranks) + [1.0] * ranks + [0.0] * (6 - ranks)]


def test_t_lora_uses_fewer_ranks_at_noisier_steps_and_files_are_plain_lora(parts, forward, tmp_path):
    model = nn.Sequential(nn.Linear(24, 40)).eval()
    network = lycoris.attach(model, "t-lora", rank=4, minimum=1, steps=100)
    randomize(network)
    adapter = network.adapters["lycoris_0"]
    x = torch.randn(3, 5, 24)
    for step, ranks in ((100, 1), (99, 1), (50, 2), (0, 4)):
        network.timestep = step
        new = adapter.p[:, :ranks] * adapter.values[:ranks] @ adapter.q[:ranks]
        old = adapter.base_p[:, :ranks] * adapter.base_values[:ranks] @ adapter.base_q[:ranks]
        expected = nn.functional.linear(x, model[0].weight + 0.5 * (new - old), model[0].bias)
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    network.timestep = torch.tensor([100, 50, 0])
    mixed = model(x)
    for i, step in enumerate((100, 50, 0)):
        network.timestep = step
        torch.testing.assert_close(model(x)[i], mixed[i], rtol=1e-4, atol=1e-5)
    network.save(tmp_path / "a.safetensors")
    network.detach()
    again = lycoris.load(tmp_path / "a.safetensors", model)
    again.timestep = 50
    torch.testing.assert_close(model(x)[1], mixed[1], rtol=1e-4, atol=1e-5)


def _bits(parts):
    return {f"{part}.{k}": v.numpy().tobytes() for part, m in parts.items() for k, v in m.state_dict().items()}
