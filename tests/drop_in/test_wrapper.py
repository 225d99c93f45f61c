"""`create_lycoris` as SimpleTuner calls it, and the modules of the network."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch import nn

import lycoris
import lycoris.drop_in.algorithms
from lycoris import InputError, LycorisNetwork, create_lycoris, create_lycoris_from_weights, modules
from lycoris.kohya import LoConModule
from lycoris.modules import tlora
from tests.drop_in.trainers import output, randomize, steps

CONFIG = {
    "algo": "lokr",
    "factor": 4,
    "apply_preset": {
        "target_module": ["Attention", "FeedForward"],
        "module_algo_map": {"Attention": {"factor": 4}, "FeedForward": {"factor": 2}},
    },
}
"""A configuration file of SimpleTuner, without the values that it passes by position."""


def test_create_apply_save_load_and_resume(unet, batch, tmp_path):
    plain = copy.deepcopy(unet)
    before, names = output(unet, batch), list(unet.state_dict())
    LycorisNetwork.apply_preset(CONFIG["apply_preset"])
    network = create_lycoris(unet, 1, 10000, 1, **CONFIG)
    with torch.no_grad():
        for lora in network.loras:  # SimpleTuner's start near the weight
            lora.lokr_w1.fill_(1.0)
            lora.lokr_w2.copy_(1e-3 * torch.randn(lora.lokr_w2.shape))
            assert lora.org_weight is lora.org_module[0].weight
    network.apply_to()
    assert list(unet.state_dict()) == names
    assert steps(unet, batch, torch.optim.AdamW(network.parameters(), lr=1e-2))
    trained = output(unet, batch)
    file = str(tmp_path / "pytorch_lora_weights.safetensors")
    network.save_weights(file, next(network.parameters()).dtype, {"trigger": "x"})
    network.set_multiplier(0.0)
    assert torch.equal(output(unet, batch), before)

    other = copy.deepcopy(plain)
    resumed = create_lycoris(other, 1, 10000, 1, **CONFIG)
    resumed.apply_to()
    assert resumed.load_weights(file) == {}
    torch.testing.assert_close(output(other, batch), trained)
    assert steps(other, batch, torch.optim.AdamW(resumed.parameters(), lr=1e-3))
    resumed.restore()
    torch.testing.assert_close(output(other, batch), before)
    assert type(other.mid_block.attentions[0].transformer_blocks[0].attn1.to_q) is nn.Linear

    created = create_lycoris_from_weights(1, file, other, weights_sd=None, **CONFIG)[0]
    created.apply_to()
    torch.testing.assert_close(output(other, batch), trained)
    created.restore()
    lycoris.load(file, plain)
    torch.testing.assert_close(output(plain, batch), trained)


class Net(nn.Module):
    def __init__(self, width: int = 16):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(4, width)
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return self.linear(self.norm(self.conv(x)).movedim(1, -1))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def x():
    return torch.randn(2, 16, 5, 5, generator=torch.Generator().manual_seed(1))


NAMES = {
    "lora": "LoConModule",
    "loha": "LohaModule",
    "lokr": "LokrModule",
    "full": "FullModule",
    "diag-oft": "DiagOFTModule",
    "boft": "ButterflyOFTModule",
    "glora": "GLoRAModule",
    "ia3": "IA3Module",
    "dylora": "DyLoraModule",
    "tlora": "TLoraModule",
}


@pytest.mark.parametrize("algo", NAMES)
def test_every_algorithm_trains_merges_and_returns(algo, net, x):
    before = net(x)
    network = create_lycoris(net, 1.0, 4, 2, algo=algo, train_norm=True)
    network.apply_to()
    network.eval()
    torch.testing.assert_close(net(x), before)
    randomize(network)
    adapted = net(x)
    assert (adapted - before).abs().max() > 1e-3
    assert [type(lora).__name__ for lora in network.loras] == [NAMES[algo], "NormModule", NAMES[algo]]
    network.onfly_merge()
    torch.testing.assert_close(net(x), adapted)
    network.onfly_restore()
    network.restore()
    assert torch.equal(net(x), before)
    copied, _ = create_lycoris_from_weights(1.0, None, net, network.state_dict(), algo=algo)
    copied.apply_to()
    copied.eval()
    copied.load_state_dict(network.state_dict())
    torch.testing.assert_close(net(x), adapted)
    copied.restore()
    network.merge_to(1.0)
    torch.testing.assert_close(net(x), adapted, rtol=1e-4, atol=1e-5)


def test_networks_are_stacked_in_any_order(net, x):
    before = net(x)
    networks = [create_lycoris(net, 1.0, 2, 1, algo=algo) for algo in ("lora", "loha")]
    changes = []
    for network in networks:
        network.apply_to()
        randomize(network)
        changes.append(net(x) - before)
        network.restore()
    for network in networks:
        network.apply_to()
    assert (net(x) - before).abs().max() > 0
    networks[0].restore()
    torch.testing.assert_close(net(x), before + changes[1])
    networks[1].restore()
    assert torch.equal(net(x), before)


def test_ranks_above_the_layers_sizes_are_kept(net):
    network = create_lycoris(net, 1.0, 64, 1, algo="lora", conv_dim=200, conv_alpha=100)
    shapes = {name: tuple(values.shape) for name, values in network.loras[0].state_dict().items()}
    assert shapes == {"lora_up.weight": (16, 200, 1, 1), "lora_down.weight": (200, 16, 3, 3), "alpha": ()}
    assert network.loras[0].alpha == 100
    assert network.loras[1].lora_up.weight.shape == (16, 64)


def test_maps_of_classes_and_names_give_options(net):
    LycorisNetwork.apply_preset(
        {"name_algo_map": {"lin*": {"algo": "lokr", "factor": 4, "full_matrix": True}}, "use_fnmatch": True}
    )
    LycorisNetwork.apply_preset(
        {"target_module": ["Conv2d"], "module_algo_map": {"Conv2d": {"algo": "loha", "dim": 3}}}
    )
    conv, linear = create_lycoris(net, 1.0, 8, 1).loras
    assert (conv.lora_name, type(conv).__name__, conv.lora_dim) == ("lycoris_conv", "LohaModule", 3)
    assert (linear.lora_name, type(linear).__name__, linear.full_matrix) == ("lycoris_linear", "LokrModule", True)
    LycorisNetwork.apply_preset({"exclude_name": ["con?"]})
    assert [lora.lora_name for lora in create_lycoris(net).loras] == ["lycoris_linear"]


def test_presets_are_read_from_toml(net, tmp_path):
    file = tmp_path / "preset.toml"
    file.write_text('enable_conv = false\ntarget_name = ["conv", "linear"]\ntarget_module = []\n')
    assert [lora.lora_name for lora in create_lycoris(net, preset=str(file)).loras] == ["lycoris_linear"]
    file.write_text('target_names = ["conv"]\n')
    with pytest.raises(InputError, match=r"Unknown preset key `target_names`\. Did you mean `target_name`"):
        create_lycoris(net, preset=str(file))
    with pytest.raises(InputError, match=r"neither a TOML file nor one of full, full-lin"):
        create_lycoris(net, preset="fulll")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank_dropout_scales": True}, "Unknown option `rank_dropout_scales`. Did you mean `rank_dropout_scale`"),
        ({"algo": "lorra"}, "Unknown algorithm `lorra`. Did you mean `lora`"),
        ({"use_tucker": "maybe"}, "Option `use_tucker` must be true or false, but got 'maybe'"),
        ({"conv_dim": "2.5"}, "Option `conv_dim` must be a whole number, but got '2.5'"),
        ({"dropout": 0.1, "neuron_dropout": 0.2}, "`dropout` and `neuron_dropout` are one, but got 0.1 and 0.2"),
        ({"algo": "dylora", "block_size": 3}, "Argument `block` must divide the rank 4"),
    ],
)
def test_an_option_that_there_is_not_is_named(options, message, net):
    with pytest.raises(InputError, match=message):
        create_lycoris(net, **options)


def test_options_without_effect_are_named(net, caplog):
    with caplog.at_level(logging.WARNING, "LyCORIS"):
        create_lycoris(net, algo="full", factor=8, use_scalar="True")
    assert [record.getMessage() for record in caplog.records] == [
        "Option `factor` has no effect with `full`.",
        "Option `use_scalar` has no effect with `full`.",
    ]


def test_a_file_of_another_model_is_an_error(net, tmp_path):
    create_lycoris(nn.Sequential(nn.Linear(4, 4))).apply_to()
    network = create_lycoris(nn.Sequential(nn.Linear(4, 4)))
    network.apply_to()
    network.save_weights(str(tmp_path / "a.safetensors"), None, None)
    with pytest.raises(InputError, match="the model has none of its 1 layers, such as `lycoris_0`"):
        create_lycoris_from_weights(1.0, str(tmp_path / "a.safetensors"), net)


def test_shapes_of_a_file_that_do_not_fit_are_an_error(net, tmp_path):
    network = create_lycoris(net, 1.0, 4)
    network.apply_to()
    network.save_weights(str(tmp_path / "a.pt"), torch.bfloat16, None)
    network.restore()
    other = create_lycoris(net, 1.0, 3)
    other.apply_to()
    with pytest.raises(InputError, match=r"lycoris_conv.lora_up.weight has shape \[16, 4, 1, 1\] instead of"):
        other.load_weights(str(tmp_path / "a.pt"))


def test_a_networks_own_and_another_kind_do_not_mix(net):
    create_lycoris(net).apply_to()
    with pytest.raises(InputError, match=r"has adapters of `lycoris\.attach` or of `create_lycoris`"):
        lycoris.attach(net, "lora", preset="everything", rank=1)


def test_the_timestep_mask_leaves_ranks_out():
    layer, x = nn.Linear(6, 6), torch.randn(2, 6)
    network = create_lycoris(layer, 1.0, 4, 4, algo="tlora")
    network.apply_to()
    randomize(network)
    whole = layer(x)
    assert tlora.compute_timestep_mask(500, 1000, 4, 1).tolist() == [[1, 1, 0, 0]]
    try:
        tlora.set_timestep_mask(torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0]]))
        masked = layer(x)
        assert torch.equal(masked[0], whole[0])
        assert not torch.equal(masked[1], whole[1])
        assert tlora.get_timestep_mask() is not None
    finally:
        tlora.clear_timestep_mask()
    assert torch.equal(layer(x), whole)
    with pytest.raises(InputError, match=r"must be a tensor \[batch, rank\]"):
        tlora.set_timestep_mask(torch.ones(4))


class OwnModule(LoConModule):
    """A module as ai-toolkit's: with tensors and a forward of its own, without this library's constructor."""

    def __init__(self, lora_name, org_module):
        nn.Module.__init__(self)
        self.lora_name, self.org_module = lora_name, [org_module]
        self.lora_down, self.lora_up = nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False)
        self.multiplier = 1.0

    def forward(self, x):
        return self.org_forward(x) + self.lora_up(self.lora_down(x)) * self.multiplier


def test_a_subclass_with_a_forward_of_its_own_acts():
    layer, x = nn.Linear(4, 4), torch.randn(3, 4)
    before, module = layer(x), OwnModule("lora_unet_a", layer)
    module.apply_to()
    assert torch.equal(layer(x), before + module.lora_up(module.lora_down(x)))
    assert set(module.state_dict()) == {"lora_down.weight", "lora_up.weight"}
    module.load_state_dict(module.state_dict())
    module.restore()
    assert torch.equal(layer(x), before)


def module_of(algorithm, layer, **options):
    torch.manual_seed(0)
    return getattr(lycoris.drop_in.algorithms, MODULE_NAMES[algorithm])("test", layer, 1.0, 4, 2.0, **options)


MODULE_NAMES = {"lora": "LoConModule", "loha": "LohaModule", "lokr": "LokrModule", "diag-oft": "DiagOFTModule"}


@pytest.mark.parametrize("algorithm", list(MODULE_NAMES))
@pytest.mark.parametrize("layer", [nn.Linear(8, 16), nn.Conv1d(8, 16, 3)], ids=["linear", "conv1d"])
def test_parametrize_lets_a_parameter_be_its_value_and_the_update(algorithm, layer):
    layer, plain = copy.deepcopy(layer), layer.weight.detach().clone()
    expected = module_of(algorithm, copy.deepcopy(layer))
    net = type(module_of(algorithm, layer)).parametrize(layer, "weight", 0.5, 4, 2.0)
    randomize(net)
    expected.load_state_dict(net.state_dict())
    torch.testing.assert_close(
        layer.weight, plain + expected.get_diff_weight(0.5, plain.shape)[0], atol=1e-5, rtol=1e-5
    )
    layer.weight.sum().backward()
    assert any(parameter.grad is not None for parameter in net.parameters())


def test_parametrize_refuses_what_it_does_not_have():
    with pytest.raises(InputError, match="train the parameter itself"):
        lycoris.drop_in.algorithms.FullModule.parametrize(nn.Linear(4, 4), "weight")
    with pytest.raises(InputError, match=r"`rank_dropout` must be 0 for `parametrize`, but got 0\.1"):
        LoConModule.parametrize(nn.Linear(4, 4), "weight", 1.0, 2, 1.0, rank_dropout=0.1)
    with pytest.raises(InputError, match="two to five dimensions, but has 1"):
        LoConModule.parametrize(nn.Linear(4, 4), "bias", 1.0, 2, 1.0)


@pytest.mark.parametrize("sig_type", ["principal", "middle", "last"])
def test_tlora_starts_from_singular_vectors_of_the_weight(sig_type):
    layer = nn.Linear(12, 10, bias=False)
    network = create_lycoris(layer, 1.0, 4, 4, algo="tlora", sig_type=sig_type)
    adapter = network.loras[0].adapter
    first = {"principal": 0, "middle": 3, "last": 6}[sig_type]
    torch.testing.assert_close(adapter.values, torch.linalg.svdvals(layer.weight)[first : first + 4])
    torch.testing.assert_close(adapter.q @ adapter.q.t(), torch.eye(4), atol=1e-5, rtol=0)
    assert not network.loras[0].get_diff_weight()[0].any()
    with pytest.raises(InputError, match="Unknown sig_type"):
        create_lycoris(nn.Linear(4, 4), 1.0, 2, 2, algo="tlora", sig_type="first")


def test_tlora_files_with_lambda_open_on_the_weight_that_they_were_trained_from(tmp_path):
    layer = nn.Linear(12, 10, bias=False)
    u, s, v = torch.linalg.svd(layer.weight.detach())
    p, values, q = u[:, :4] + 0.1, s[None, :4] * 1.5, v[:4] - 0.1
    tensors = {"q_layer.weight": q, "p_layer.weight": p, "lambda_layer": values, "alpha": torch.tensor(2.0)}
    file = {f"lycoris_fc.{name}": value for name, value in tensors.items()}
    model = nn.ModuleDict({"fc": layer})
    network, _ = create_lycoris_from_weights(1.0, "", model, weights_sd=file)
    expected = (p * values @ q - u[:, :4] * s[:4] @ v[:4]) * 0.5
    torch.testing.assert_close(network.loras[0].get_diff_weight()[0], expected, atol=1e-5, rtol=1e-5)
    assert modules.get_module(file, "lycoris_fc")[0] is tlora.TLoraModule
    conv = nn.ModuleDict({"fc": nn.Conv2d(12, 10, 3)})
    with pytest.raises(InputError, match="one tap only"):
        create_lycoris_from_weights(1.0, "", conv, weights_sd=file)


def test_get_module_names_the_class_of_a_layer():
    network = create_lycoris(nn.ModuleDict({"fc": nn.Linear(8, 8)}), 1.0, 2, 1, algo="loha")
    network.apply_to()  # from then on it has its modules' tensors, as there
    found, tensors = modules.get_module(network.state_dict(), "lycoris_fc")
    assert found is modules.LohaModule
    assert len(tensors) == len(network.state_dict())
    assert modules.get_module(network.state_dict(), "lycoris_other") == (None, None)
