"""Methods of PEFT as algorithms: each trains, scales, is saved, loaded and removed; the table says what is true."""

from __future__ import annotations

import json

import pytest
import torch

import lycoris
from lycoris.adapters.layers.batch_partition import BatchPartition
from lycoris.adapters.peft_methods.methods import METHODS, config_class, method_name, option_names, working_methods
from lycoris.errors import InputError
from tests.adapters.peft_methods.cases import OPTIONS, small_input, small_model

peft = pytest.importorskip("peft")
MOVES_AT_START = ("unilora", "vblora")


def trained(name: str, seed: int = 3):
    """A model with a method of PEFT after two steps, and what the model gave before and gives after attaching."""
    model, x = small_model(), small_input()
    before = model(x)
    network = lycoris.attach(model, f"peft:{name}", preset="everything", seed=seed, **OPTIONS.get(name, {}))
    network.eval()
    at_start = model(x)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    network.train()
    for step in range(2):
        torch.manual_seed(step)
        optimizer.zero_grad()
        (model(x) - 1).square().mean().backward()
        optimizer.step()
    network.eval()
    return model, network, before.detach(), at_start.detach()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", working_methods())
def test_a_method_trains_is_loaded_from_both_files_and_leaves_the_base_as_it_was(name, tmp_path):
    state = {key: values.clone() for key, values in small_model().state_dict().items()}
    model, network, before, at_start = trained(name)
    x = small_input()
    after = model(x).detach()
    if name not in MOVES_AT_START:
        torch.testing.assert_close(at_start, before, atol=2e-5, rtol=1e-5)
    assert (after - at_start).abs().max() > 1e-4
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.scale = 0.0
    torch.testing.assert_close(model(x), before, atol=1e-5, rtol=1e-5)
    network.scale = 1.0
    network.save(tmp_path / "file.safetensors", metadata={"concept": "mug"})
    network.save(tmp_path / "folder", format="peft")
    network.detach()
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(values, state[key]) for key, values in model.state_dict().items())
    for path in (tmp_path / "file.safetensors", tmp_path / "folder"):
        other = small_model()
        loaded = lycoris.load(path, other)
        assert (loaded.algorithm, len(loaded)) == (f"peft:{name}", len(network))
        assert torch.equal(other(x), after)
        loaded.save(tmp_path / "again.safetensors", metadata={"concept": "mug"})
        assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "file.safetensors").read_bytes()
    theirs = peft.PeftModel.from_pretrained(small_model(), str(tmp_path / "folder"))
    torch.testing.assert_close(theirs.eval()(x), after)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["oft", "vera", "lora"])
def test_initial_values_follow_from_the_seed_alone(name):
    values = []
    for seed in (3, 3, 4):
        model = small_model()
        torch.manual_seed(seed + len(values))
        state = torch.get_rng_state()
        network = lycoris.attach(model, f"peft:{name}", seed=seed, **OPTIONS.get(name, {}))
        assert torch.equal(torch.get_rng_state(), state)
        values.append([parameter.detach().clone() for parameter in network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(values[0], values[1], strict=True))
    assert name != "lora" or any(not torch.equal(one, other) for one, other in zip(values[0], values[2], strict=True))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [each for each in working_methods() if METHODS[each].layers == ("linear",)])
def test_a_method_without_convolutions_here_has_none_in_peft_or_does_not_begin_as_the_base(name):
    model, x = small_model(), small_input()
    before = model(x)
    config = config_class(name)(**METHODS[name].options, **OPTIONS.get(name, {}), target_modules=["convolution"])
    try:
        adapted = peft.get_peft_model(model, config)
    except (TypeError, ValueError, KeyError, NotImplementedError):
        return
    moves = (model(x) - before).abs().max() > 0.01
    assert moves or not any(parameter.requires_grad for parameter in adapted.parameters())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [each for each in working_methods() if "convolution" in METHODS[each].layers])
def test_a_method_trains_convolutions_in_channels_last_order_and_leaves_them_in_it(name, tmp_path):
    model = small_model().to(memory_format=torch.channels_last)
    x, stride = small_input(), model.convolution.weight.stride()
    before = model(x)
    network = lycoris.attach(model, f"peft:{name}", layers=["convolution"], **OPTIONS.get(name, {}))
    torch.testing.assert_close(model(x), before, atol=2e-5, rtol=1e-5)
    model(x).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.detach()
    assert model.convolution.weight.stride() == stride
    network.save(tmp_path / "a.safetensors")
    assert model.convolution.weight.stride() == stride
    assert torch.equal(model(x), before)


@pytest.mark.filterwarnings("ignore")
def test_networks_on_other_layers_leave_a_method_trainable_and_it_leaves_them():
    model = small_model()
    first = lycoris.attach(model, "lora", layers=["narrow"], rank=2)
    method = lycoris.attach(model, "peft:hra", layers=["widen"], r=2)
    last = lycoris.attach(model, "loha", layers=["convolution"], rank=2)
    networks = (first, method, last)
    assert all(parameter.requires_grad for network in networks for parameter in network.parameters())
    names = {id(parameter) for network in networks for parameter in network.parameters()}
    assert len(names) == sum(len(list(network.parameters())) for network in networks)
    assert names == {id(parameter) for parameter in model.parameters() if parameter.requires_grad} | {
        id(parameter) for network in (first, last) for parameter in network.parameters()
    }
    with pytest.raises(InputError, match="has a method of PEFT already"):
        lycoris.attach(model, "peft:vera", layers=["norm", "narrow"], r=2)


def test_the_table_has_every_method_of_the_installed_package():
    installed = {member.value.lower() for member in peft.PeftType}
    assert installed - set(METHODS) == set(), "try it, and add it to METHODS"
    assert set(working_methods()) <= installed
    assert len(working_methods()) >= 30


@pytest.mark.parametrize("name", [each for each in METHODS if not METHODS[each].layers])
def test_a_method_that_does_not_work_says_why(name):
    with pytest.raises(InputError, match=METHODS[name].note[:20]):
        method_name(f"peft:{name}")


@pytest.mark.parametrize("name", working_methods())
def test_the_size_option_of_a_method_is_one_of_its_options(name):
    option = METHODS[name].size_option
    assert option is None or option in option_names(name)


@pytest.mark.parametrize(
    ("algorithm", "options", "message"),
    [
        ("peft:oftt", {}, "Did you mean `oft`"),
        ("peft:hra", {"rank": 4}, "Unknown option of `peft:hra` `rank`"),
        ("peft:hra", {"dropout": 0.1}, "`dropout`"),
        ("peft:hra", {"target_modules": ["x"]}, "the preset selects"),
        ("peft:lora", {"bias": "all"}, "the base's own biases"),
        ("peft:lora", {"init_lora_weights": "pissa"}, "changes the base"),
        ("peft:miss", {"r": 500}, "500"),
        ("peft:c3a", {"block_size": 5}, "block size"),
    ],
)
def test_what_a_method_does_not_take_is_an_error_that_leaves_the_model_as_it_was(algorithm, options, message):
    model = small_model()
    keys = list(model.state_dict())
    with pytest.raises(InputError, match=message):
        lycoris.attach(model, algorithm, preset="everything", **options)
    assert list(model.state_dict()) == keys
    assert "peft_config" not in vars(model)


@pytest.mark.filterwarnings("ignore")
def test_a_file_that_does_not_fit_is_an_error(tmp_path):
    network = lycoris.attach(small_model(), "peft:hra", r=2)
    network.save(tmp_path / "hra")
    network.detach()
    file = tmp_path / "hra" / "adapter_config.json"
    config = json.loads(file.read_text())
    for changes, message in (
        ({"r": 4}, "is not one of `peft:hra`"),
        ({"depth": 7}, "Unknown field"),
        ({"peft_type": "XLORA"}, "does not work here"),
        ({"peft_type": "NEWLORA"}, "does not know it"),
    ):
        file.write_text(json.dumps({**config, **changes}))
        model = small_model()
        with pytest.raises(InputError, match=message):
            lycoris.load(tmp_path / "hra", model)
        assert list(model.state_dict()) == list(small_model().state_dict())


@pytest.mark.filterwarnings("ignore")
def test_other_commands_say_what_opens_such_a_file(tmp_path):
    network = lycoris.attach(small_model(), "peft:hra", r=2)
    network.save(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"`lycoris.load`"):
        lycoris.inspect_adapter(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="`peft` alone"):
        network.save(tmp_path / "b.safetensors", format="kohya")
    with pytest.raises(InputError, match="co_train"):
        network.batch_partition = BatchPartition()
    with pytest.raises(InputError, match="`ratio`"):
        network.parameter_groups(1.0, ratio=16)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["stable-diffusion", "flux-1"])
@pytest.mark.parametrize("name", working_methods())
def test_a_method_works_on_the_denoisers_of_a_unet_and_of_a_transformer(name, family, tmp_path):
    from tests.adapters.small_denoisers import DENOISERS

    parts = DENOISERS[next(each for each in DENOISERS if each.startswith(family[:4]))].parts()
    parts = {part: module.float() for part, module in parts.items()}
    options = {**OPTIONS.get(name, {}), **({"r": 2} if name in ("miss", "psoft", "gralora") else {})}
    attach = lambda: lycoris.attach(parts, f"peft:{name}", preset="attn-mlp", **options)  # noqa: E731
    if name == "frod" and family == "stable-diffusion":
        with pytest.raises(InputError):
            attach()
        return
    network = attach()
    network.save(tmp_path / "a.safetensors")
    network.detach()
    loaded = lycoris.load(tmp_path / "a.safetensors", parts)
    assert (loaded.parts, list(loaded.layers)) == (network.parts, list(network.layers))
