"""`lycoris.kohya` as sd-scripts calls it."""

from __future__ import annotations

import copy
import importlib
import json

import pytest
import torch

import lycoris
from lycoris.adapters.files.safetensors_io import read_header
from tests.drop_in.trainers import output, randomize, steps


@pytest.fixture
def module():
    return importlib.import_module("lycoris.kohya")


def network_args(**more):
    """Arguments of the command line, which are text, and those that the script adds."""
    return {"algo": "loha", "conv_dim": "2", "conv_alpha": "1", **more, "dropout": None, "neuron_dropout": None}


def test_the_calls_of_the_training_script_train_and_save(module, unet, text_encoder, batch, tmp_path):
    before, names = output(unet, batch), list(unet.state_dict())
    network = module.create_network(1.0, 3, 1.5, None, text_encoder, unet, **network_args())
    assert hasattr(network, "set_multiplier")
    network.apply_to(text_encoder, unet, True, True)
    network.enable_gradient_checkpointing()
    groups, descriptions = network.prepare_optimizer_params(1e-3, 1e-2, 1e-4)
    assert [group["lr"] for group in groups] == [1e-3, 1e-2]
    assert descriptions == ["textencoder", "unet"]
    optimizer = torch.optim.AdamW(groups)
    unet.requires_grad_(False)
    text_encoder.requires_grad_(False)
    unet.to(dtype=torch.float64)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}  # not the model's to cast
    unet.to(dtype=torch.float32)
    assert list(unet.state_dict()) == names
    network.prepare_grad_etc(text_encoder, unet)
    network.on_epoch_start(text_encoder, unet)
    network.on_step_start(text_encoder, unet)
    torch.testing.assert_close(output(unet, batch), before)
    losses = steps(unet, batch, optimizer)
    assert losses[-1] < losses[0]
    assert all(parameter.requires_grad for parameter in network.get_trainable_params())
    network.set_multiplier(0.0)
    assert torch.equal(output(unet, batch), before)
    network.set_multiplier(1.0)
    path = tmp_path / "last.safetensors"
    network.save_weights(str(path), torch.float16, {"ss_network_args": json.dumps({"algo": "loha"})})
    metadata, shapes = read_header(path)
    assert metadata["ss_network_args"] == '{"algo": "loha"}'
    assert metadata["sshs_model_hash"]
    assert {name.split("_")[1] for name in shapes} == {"unet", "te"}
    key = "lora_unet_mid_block_resnets_0_conv1"
    assert shapes[f"{key}.hada_w1_b"] == ("F16", (2, 24 * 9))
    assert shapes["lora_te_text_model_encoder_layers_0_mlp_fc1.hada_w1_a"][1] == (32, 3)


def test_a_file_is_resumed_and_created_from(module, unet, text_encoder, batch, tmp_path):
    other = copy.deepcopy(unet)
    path = str(tmp_path / "a.safetensors")
    network = module.create_network(1.0, 3, 1.0, None, text_encoder, unet, **network_args())
    network.apply_to(text_encoder, unet, True, True)
    randomize(network)
    network.save_weights(path, None, {})
    trained = output(unet, batch)

    resumed = module.create_network(1.0, 3, 1.0, None, text_encoder, other, **network_args())
    resumed.apply_to(text_encoder, other, True, True)
    assert resumed.load_weights(path) == {}
    torch.testing.assert_close(output(other, batch), trained)
    resumed.restore()
    network.restore()

    created, tensors = module.create_network_from_weights(1, path, None, text_encoder, other, **network_args())
    assert len(created.loras) == len(network.loras)
    assert set(tensors) == set(network.state_dict())
    created.apply_to(text_encoder, other, True, True)
    torch.testing.assert_close(output(other, batch), trained)


def test_base_weights_are_merged_with_their_multiplier(module, unet, batch, tmp_path):
    path = str(tmp_path / "a.safetensors")
    network = module.create_network(1.0, 3, 1.0, None, [], unet, algo="lokr", factor="4")
    network.apply_to([], unet, False, True)
    randomize(network)
    network.save_weights(path, None, None)
    network.set_multiplier(0.5)
    expected = output(unet, batch)
    network.restore()
    base, tensors = module.create_network_from_weights(0.5, path, None, [], unet, for_inference=True)
    base.merge_to([], unet, tensors, torch.float32, "cpu")
    torch.testing.assert_close(output(unet, batch), expected, rtol=1e-4, atol=1e-5)


def test_the_library_itself_reads_the_file(module, unet, batch, tmp_path):
    network = module.create_network(1.0, 3, 1.0, None, [], unet, algo="locon", conv_dim=2)
    network.apply_to([], unet, False, True)
    randomize(network)
    network.save_weights(str(tmp_path / "a.safetensors"), None, {})
    expected = output(unet, batch)
    network.restore()
    lycoris.load(tmp_path / "a.safetensors", {"unet": unet})
    torch.testing.assert_close(output(unet, batch), expected)


def test_text_encoders_of_a_list_are_counted(module, unet, text_encoder):
    network = module.create_network(1.0, 2, 1.0, None, [text_encoder, copy.deepcopy(text_encoder)], unet)
    prefixes = {name.split("_")[1] for name in (module.lora_name for module in network.loras)}
    assert prefixes == {"te1", "te2", "unet"}


def test_parts_that_are_not_trained_have_no_adapters(module, unet, text_encoder):
    network = module.create_network(1.0, 2, 1.0, None, text_encoder, unet, preset="attn-mlp")
    network.apply_to(text_encoder, unet, False, True)
    assert not network.text_encoder_loras
    assert all(key.startswith("lora_unet") for key in network.state_dict())
    groups, descriptions = network.prepare_optimizer_params(None, None, 1e-4)
    assert descriptions == ["unet"]
    assert groups[0]["lr"] == 1e-4


def test_loraplus_ratios_give_the_up_factor_a_group(module, unet, text_encoder):
    network = module.create_network(
        1.0, 2, 1.0, None, text_encoder, unet, preset="attn-mlp", loraplus_lr_ratio="4", loraplus_unet_lr_ratio="16"
    )
    network.apply_to(text_encoder, unet, True, True)
    groups, descriptions = network.prepare_optimizer_params(1e-4, 1e-3, None)
    assert descriptions == ["textencoder", "textencoder plus", "unet", "unet plus"]
    assert [group["lr"] for group in groups] == pytest.approx([1e-4, 4e-4, 1e-3, 1.6e-2])
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


def test_norms_are_scaled_down(module, unet):
    network = module.create_network(1.0, 4, 4.0, None, [], unet, algo="locon", preset="attn-mlp")
    network.apply_to([], unet, False, True)
    randomize(network, std=1.0)
    scaled, mean, largest = network.apply_max_norm_regularization(0.5, "cpu")
    assert scaled == len(network.loras)
    assert float(mean) == pytest.approx(0.5, rel=1e-5)
    assert float(largest) <= 0.5001
    assert max(float(lora.get_diff_weight()[0].norm()) for lora in network.loras) == pytest.approx(0.5, rel=1e-4)
    assert network.apply_max_norm_regularization(1.0, "cpu") == (0, 0, 0)
