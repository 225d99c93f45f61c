"""PEFT's files, against PEFT itself: reading its files, writing files that it opens, and errors where it differs."""

from __future__ import annotations

import copy
import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import lycoris
from lycoris.adapters import ALGORITHMS
from lycoris.errors import InputError
from tests.adapters.cases import randomize

peft = pytest.importorskip("peft")

CONVOLUTION = {"use_effective_conv2d": True}
CONFIGS = {
    "lora": lambda layers: peft.LoraConfig(r=4, lora_alpha=3, target_modules=layers),
    "lora-stabilised": lambda layers: peft.LoraConfig(r=4, lora_alpha=3, use_rslora=True, target_modules=layers),
    "lora-dora": lambda layers: peft.LoraConfig(r=4, lora_alpha=3, use_dora=True, target_modules=layers),
    "lora-patterns": lambda layers: peft.LoraConfig(
        r=4,
        lora_alpha=3,
        target_modules=layers,
        rank_pattern={"to_q": 2, "mid_block.*conv1": 3},
        alpha_pattern={r"attn1\.to_q": 5, "to_v": 1},
    ),
    "loha": lambda layers: peft.LoHaConfig(r=3, alpha=2, target_modules=layers),
    "loha-tucker": lambda layers: peft.LoHaConfig(r=3, alpha=2, target_modules=layers, **CONVOLUTION),
    "lokr-full": lambda layers: peft.LoKrConfig(r=1000, alpha=300, decompose_factor=4, target_modules=layers),
    "lokr-rank": lambda layers: peft.LoKrConfig(r=2, alpha=1, decompose_factor=2, target_modules=layers),
    "lokr-both": lambda layers: peft.LoKrConfig(r=1, alpha=2, decompose_both=True, target_modules=layers),
    "lokr-tucker": lambda layers: peft.LoKrConfig(
        r=2, alpha=1, decompose_factor=2, target_modules=layers, **CONVOLUTION
    ),
    "ia3": lambda layers: peft.IA3Config(
        target_modules=[name for name in layers if name.endswith(("to_q", "to_k", "to_v", "net.2"))],
        feedforward_modules=[name for name in layers if name.endswith("net.2")],
    ),
}
OURS = {
    "lora": ("lora", {"rank": 4, "alpha": 3.0}),
    "lora-dora": ("lora", {"rank": 4, "alpha": 3.0, "dora": "output"}),
    "lora-start": ("lora", {"rank": 3, "start": "orthogonal"}),
    "dylora": ("dylora", {"rank": 4}),
    "loha": ("loha", {"rank": 3, "alpha": 2.0}),
    "loha-tucker": ("loha", {"rank": 3, "alpha": 2.0, "tucker": True}),
    "lokr": ("lokr", {"factor": 4}),
    "lokr-rank": ("lokr", {"factor": 2, "rank": 2, "alpha": 1.0}),
    "lokr-both": ("lokr", {"factor": -1, "rank": 1, "alpha": 0.7, "decompose_both": True}),
    "lokr-tucker": ("lokr", {"factor": 2, "rank": 2, "alpha": 1.0, "tucker": True}),
    "patterns": ("lora", {"rank": 4, "layers": {r".*attn1.*": {"rank": 2}, r".*(attn2|conv1).*": {"alpha": 5.0}}}),
    "ia3": ("ia3", {"layers": {r".*\.to_[qkv]": {}, r".*net\.2": {"on_input": True}}}),
}


def _forward(unet):
    generator = torch.Generator().manual_seed(3)
    latent, text = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 5, 32, generator=generator)
    with torch.no_grad():
        return unet(latent, torch.tensor([10, 500]), text).sample


def _peft(model, config):
    """PEFT's adapter with values as after training, on a copy."""
    names = [name for name, layer in model.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d, nn.Conv1d))]
    adapted = peft.get_peft_model(copy.deepcopy(model), config(names)).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return adapted


@pytest.mark.parametrize("case", list(CONFIGS))
def test_a_file_of_peft_gives_the_same_output(case, parts, tmp_path):
    unet = parts["unet"]
    adapted = _peft(unet, CONFIGS[case])
    adapted.save_pretrained(tmp_path / "a")
    expected, plain = _forward(adapted), _forward(unet)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = lycoris.load(tmp_path / "a", unet)
        assert (_forward(unet) - plain).abs().max() > 0.01
        torch.testing.assert_close(_forward(unet), expected, rtol=1e-4, atol=1e-4)
        network.detach()
        lycoris.load(tmp_path / "a" / "adapter_model.safetensors", {"unet": unet}).detach()
    lycoris.convert(tmp_path / "a", tmp_path / "b.safetensors", format="lycoris", model=unet)
    lycoris.load(tmp_path / "b.safetensors", unet)
    torch.testing.assert_close(_forward(unet), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", list(OURS))
def test_peft_opens_our_files_and_computes_the_same(case, parts, tmp_path):
    unet = parts["unet"]
    bare = copy.deepcopy(unet)
    algorithm, options = OURS[case]
    network = lycoris.attach(
        {"unet": unet}, algorithm, **({} if "layers" in options else {"preset": "full"}), **options
    )
    randomize(network)
    expected = _forward(unet)
    network.save(tmp_path / "a", format="peft", metadata={"data_version": "7"})
    assert {file.name for file in (tmp_path / "a").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    opened = peft.PeftModel.from_pretrained(copy.deepcopy(bare), tmp_path / "a").eval()
    assert set(peft.get_peft_model_state_dict(opened)) == set(load_file(tmp_path / "a" / "adapter_model.safetensors"))
    assert (_forward(bare) - expected).abs().max() > 0.01
    torch.testing.assert_close(_forward(opened), expected, rtol=1e-4, atol=1e-4)
    network.detach()
    for target in ("a", "lone.safetensors"):
        network.save(tmp_path / target, format="peft", metadata={"data_version": "7"})
        again = lycoris.load(tmp_path / target, {"unet": unet})
        assert again.algorithm == network.algorithm
        torch.testing.assert_close(_forward(unet), expected, rtol=1e-4, atol=1e-4)
        again.detach()
        assert lycoris.read_metadata(tmp_path / target)["data_version"] == "7"


def test_several_parts_are_saved_as_one_folder_each(parts, forward, tmp_path):
    network = lycoris.attach(parts, "lokr", preset="full", factor=4)
    randomize(network)
    output = forward(parts)
    network.save(tmp_path / "a", format="peft")
    assert sorted(folder.name for folder in (tmp_path / "a").iterdir()) == ["text_encoder", "unet"]
    with pytest.raises(InputError, match="give a folder instead"):
        network.save(tmp_path / "b" / "adapter_model.safetensors", format="peft")
    network.detach()
    again = lycoris.load(tmp_path / "a", parts)
    assert len(again) == len(network)
    torch.testing.assert_close(forward(parts), output)
    again.detach()
    lycoris.attach(parts["unet"], "loha", preset="full").save(tmp_path / "c", format="peft")
    with pytest.raises(InputError, match="has an adapter of one model already"):
        network.save(tmp_path / "c", format="peft")


def test_equal_networks_give_equal_folders(tmp_path):
    contents = []
    for name in "ab":
        network = lycoris.attach(nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 8)), "loha", rank=2, seed=3)
        network.save(tmp_path / name, format="peft")
        contents.append(
            [(tmp_path / name / file).read_bytes() for file in ("adapter_config.json", "adapter_model.safetensors")]
        )
    assert contents[0] == contents[1]


def _saved(folder, config, model=None):
    model = nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 8)) if model is None else model
    _peft(model, config).save_pretrained(folder)
    return model


def test_a_file_without_its_configuration_warns_of_the_assumed_alpha(tmp_path):
    model = _saved(tmp_path, CONFIGS["lora"])
    (tmp_path / "adapter_config.json").unlink()
    with pytest.warns(
        UserWarning, match=r"without the adapter_config\.json that has alpha: alpha is taken to be the rank"
    ):
        network = lycoris.load(tmp_path, model)
    assert {adapter.scale for adapter in network.adapters.values()} == {1.0}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"peft_type": "OFT"}, "Unknown field of .*, a configuration of `peft:oft`, `alpha_pattern`"),
        ({"peft_type": "ADALORA"}, "method ADALORA, which does not work here: it needs a call after every step"),
        ({"peft_type": "LOHA"}, "is for LOHA, but `0` in .* is LORA"),
        ({"init_lora_weights": "pissa_niter_4"}, "changed base.*path_initial_model_for_weight_conversion"),
        ({"alora_invocation_tokens": [1]}, "`alora_invocation_tokens` cannot be read"),
        ({"r": 5}, "gives `0` rank 5, but its tensors have 4"),
        ({"r": "4"}, "rank of `0` must be at least 1, but is '4'"),
        ({"lora_alpha": float("nan")}, "alpha of `0` must be positive, but is nan"),
        ({"lora_alpha": [3]}, "alpha of `0` must be positive"),
        ({"rank_pattern": [3]}, "`rank_pattern` must be a JSON object"),
        ({"alpha_pattern": {"(": 3}}, r"pattern .* that is not a regular expression"),
        ([], "not a JSON object"),
        (None, "not a JSON object"),
    ],
    ids=str,
)
def test_an_unsupported_configuration_is_an_error(change, match, tmp_path):
    model = _saved(tmp_path, CONFIGS["lora"])
    path = tmp_path / "adapter_config.json"
    values = json.loads(path.read_text())
    path.write_text("{" if change is None else json.dumps({**values, **change} if isinstance(change, dict) else change))
    with pytest.raises(InputError, match=match):
        lycoris.load(tmp_path, model)
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize(
    ("config", "model", "match"),
    [
        (
            lambda layers: peft.IA3Config(target_modules=layers, feedforward_modules=[]),
            None,
            r"layer `model\.0`: PEFT's \(IA\)³ multiplies the bias too",
        ),
        (
            lambda layers: peft.LoKrConfig(r=100, decompose_factor=2, target_modules=layers),
            lambda: nn.Sequential(nn.Conv1d(8, 12, 3)),
            "mixes a Conv1d's axes",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:File .* is PEFT's, without the")
def test_adapters_that_are_another_map_in_peft_are_errors(config, model, match, tmp_path):
    model = _saved(tmp_path, config, model and model())
    with pytest.raises(InputError, match=match):
        lycoris.load(tmp_path, model)
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(InputError, match=match):
        lycoris.load(tmp_path, model)


def test_a_rotation_of_peft_opens_as_its_method_and_needs_its_configuration(tmp_path):
    model = _saved(tmp_path, lambda layers: peft.OFTConfig(oft_block_size=4, target_modules=layers))
    assert json.loads((tmp_path / "adapter_config.json").read_text())["inference_mode"]
    network = lycoris.load(tmp_path, model)
    assert network.algorithm == "peft:oft"
    assert list(network.parameters())
    network.detach()
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(InputError, match=r"rotates? what goes into a layer"):
        lycoris.load(tmp_path, model)


@pytest.mark.parametrize("case", ["loha", "loha-tucker", "lokr-rank", "lokr-tucker"])
def test_conv1d_adapters_of_peft_load_and_save(case, tmp_path):
    model = nn.Sequential(nn.Conv1d(8, 12, 3, padding=1), nn.Conv1d(12, 8, 1))
    x = torch.randn(2, 8, 9)
    adapted = _peft(model, CONFIGS[case])
    adapted.save_pretrained(tmp_path / "a")
    network = lycoris.load(tmp_path / "a", model)
    torch.testing.assert_close(model(x), adapted(x), rtol=1e-4, atol=1e-5)
    network.save(tmp_path / "b", format="peft")
    network.detach()
    opened = peft.PeftModel.from_pretrained(model, tmp_path / "b").eval()
    torch.testing.assert_close(opened(x), adapted(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("on_input", [False, True])
def test_the_configuration_distinguishes_gains_of_square_convolutions(on_input, tmp_path):
    model = nn.Sequential(nn.Conv2d(6, 6, 3, bias=False), nn.Linear(5, 5, bias=False))
    x = torch.randn(2, 6, 7, 4)
    adapted = _peft(
        model, lambda layers: peft.IA3Config(target_modules=layers, feedforward_modules=layers if on_input else [])
    )
    adapted.save_pretrained(tmp_path / "a")
    layers = dict(adapted.base_model.model.named_children())
    network = lycoris.load(tmp_path / "a", model)
    torch.testing.assert_close(model[0](x), layers["0"](x))
    torch.testing.assert_close(model[1](x[..., :1] * torch.ones(5)), layers["1"](x[..., :1] * torch.ones(5)))
    network.save(tmp_path / "b", format="peft")
    network.detach()
    opened = peft.PeftModel.from_pretrained(copy.deepcopy(model), tmp_path / "b").eval()
    torch.testing.assert_close(opened.base_model.model[0](x), layers["0"](x))
    (tmp_path / "a" / "adapter_config.json").unlink()
    with pytest.raises(InputError, match=r"layer `0`: \(IA\)³ on it needs PEFT's adapter_config\.json"):
        lycoris.load(tmp_path / "a", model)


def test_a_configuration_applies_only_to_a_peft_file_beside_it(parts, forward, tmp_path):
    network = lycoris.attach(parts, "lora", preset="full", rank=4, alpha=3.0)
    randomize(network)
    output = forward(parts)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 400}')
    for format in ("lycoris", "peft", "diffusers"):
        network.save(tmp_path / "a.safetensors", format=format)
        network.detach()
        again = lycoris.load(tmp_path / "a.safetensors", parts)
        torch.testing.assert_close(forward(parts), output)
        again.detach()
        network.reattach()


@pytest.mark.parametrize(
    ("layer", "algorithm", "options", "match"),
    [
        (nn.Conv2d(8, 12, 3, groups=2), "lora", {}, "grouped, dilated or otherwise padded"),
        (nn.Conv2d(8, 12, 3, dilation=2), "lora", {}, "grouped, dilated or otherwise padded"),
        (nn.Conv2d(8, 12, 3, padding_mode="circular"), "loha", {}, "loha of Conv2d"),
        (nn.Conv3d(8, 12, 3), "lokr", {}, "lokr of Conv3d"),
        (nn.Conv2d(8, 12, 3), "lora", {"tucker": True, "rank": 2}, "lora_mid.weight"),
        (nn.Linear(8, 12), "lora", {"dora": "input"}, "DoRA by input"),
        (nn.Linear(8, 12), "loha", {"dora": "output"}, "dora_scale"),
        (nn.Linear(8, 12), "ia3", {}, "leaves a bias as it is"),
        (nn.Linear(8, 12), "full", {}, "tensors .*diff"),
        (nn.Conv1d(8, 12, 3), "lokr", {"factor": 2}, "Conv1d with a full `lokr_w2`"),
        (nn.Linear(8, 16), "lokr", {"factor": 8}, "one `decompose_factor`, but none splits"),
    ],
)
def test_what_peft_does_not_have_is_an_error_and_converts_to_a_lora(layer, algorithm, options, match, tmp_path):
    model = nn.Sequential(layer)
    network = lycoris.attach(model, algorithm, **options)
    randomize(network)
    with pytest.raises(InputError, match=match):
        network.save(tmp_path / "a", format="peft")
    assert not (tmp_path / "a").exists()
    if algorithm in ("ia3", "full") or "dilat" in match:
        return
    live = model(x := torch.randn(2, layer.weight.shape[1], *(5,) * (layer.weight.dim() - 2)))
    network.save(tmp_path / "b.safetensors")
    network.detach()
    if getattr(layer, "padding_mode", "zeros") == "zeros":
        report = lycoris.convert(tmp_path / "b.safetensors", tmp_path / "a", format="peft", model=model)
        assert len(report.layers) == 1
        lycoris.load(tmp_path / "a", model)
        torch.testing.assert_close(model(x), live, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "norms"])
def test_the_defaults_of_an_algorithm_are_saved_as_its_peft_type(algorithm, tmp_path):
    network = lycoris.attach(nn.Sequential(nn.Linear(16, 24, bias=False)), algorithm)
    if ALGORITHMS[algorithm].peft_type is None:
        with pytest.raises(InputError, match="cannot hold"):
            network.save(tmp_path, format="peft")
        return
    network.save(tmp_path, format="peft")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == ALGORITHMS[algorithm].peft_type


def test_two_algorithms_in_one_peft_file_are_an_error(tmp_path):
    model = nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 8))
    network = lycoris.attach(model, layers={r"0": {"algorithm": "lora"}, r"1": {"algorithm": "loha"}})
    with pytest.raises(InputError, match="one algorithm a file, but the network has LOHA and LORA"):
        network.save(tmp_path / "a", format="peft")
    network = lycoris.attach(model, "lora", layers={r"0": {"dora": "output"}, r"1": {}})
    with pytest.raises(InputError, match="DoRA on all layers or on none"):
        network.save(tmp_path / "a", format="peft")


def test_alpha_in_a_header_of_diffusers_is_used(parts, tmp_path):
    from diffusers import StableDiffusionPipeline

    unet = parts["unet"]
    adapted = _peft(unet, CONFIGS["lora-patterns"])
    expected, tensors = _forward(adapted), peft.get_peft_model_state_dict(adapted)
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers={key.removeprefix("base_model.model."): value for key, value in tensors.items()},
        unet_lora_adapter_metadata=adapted.peft_config["default"].to_dict(),
    )
    lycoris.load(tmp_path / "pytorch_lora_weights.safetensors", parts)
    torch.testing.assert_close(_forward(unet), expected, rtol=1e-4, atol=1e-4)


def test_a_folder_without_a_peft_adapter_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"must have an `adapter_model\.safetensors`"):
        lycoris.load(tmp_path, nn.Linear(2, 2))
    save_file({"base_model.model.0.bias": torch.zeros(12)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"holds no adapter.*end in no tensor's name.*bias"):
        lycoris.load(tmp_path, nn.Sequential(nn.Linear(8, 12)))


def test_boft_tensors_of_peft_are_an_error(tmp_path):
    tensors = {"base_model.model.0.boft_R": torch.zeros(1, 2, 4, 4), "base_model.model.0.boft_s": torch.ones(12, 1)}
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="rotate what goes into a layer"):
        lycoris.load(tmp_path / "a.safetensors", nn.Sequential(nn.Linear(8, 12)))
