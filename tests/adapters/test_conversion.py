"""Conversion to other formats, and of every algorithm to a plain LoRA, with the error."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import lycoris
from benchmarks.peers.trees import tree
from lycoris.adapters import ALGORITHMS
from lycoris.adapters.files.layer_names import find_layers
from lycoris.adapters.files.metadata import build_metadata
from lycoris.adapters.files.module_paths import dotted_path
from lycoris.adapters.low_rank_approximation import to_low_rank, truncate, truncated_svd
from lycoris.adapters.structures import LowRank
from lycoris.errors import InputError
from tests.adapters.cases import EXTRACTABLE, FAST_LAYERS, LAYERS, READERS, make_layer, options_of, randomize

OTHER_IN_PEFT = ("conv1d", "conv2d-groups", "conv2d-depthwise", "conv2d-circular", "conv2d-same")


def _every(fast: bool):
    for algorithm in ALGORITHMS:
        for option, values in {"defaults": {}, **options_of(algorithm)}.items():
            if algorithm == "norms" or (option.startswith("dora") and algorithm not in ("lora", "lokr")):
                continue
            every = FAST_LAYERS if option == "defaults" else ("conv2d-strided",)
            names = every if fast else [n for n in LAYERS if n not in every and "norm" not in n and "depth" not in n]
            for name in names:
                yield pytest.param(algorithm, values, name, id=f"{algorithm}-{option}-{name}")


def _converts(algorithm, options, name, tmp_path):
    model, x = make_layer(name)
    network = lycoris.attach(model, algorithm, preset="everything", **options)
    randomize(network)
    network.save(tmp_path / "a.safetensors", dtype="float64", metadata={"data_version": "7"})
    adapter = network.adapters["lycoris_0"]
    has_bias_delta = adapter.bias_delta() is not None
    if has_bias_delta:
        adapter.diff_b.data.zero_()
    live = model(x)
    network.detach()
    base = model if algorithm in READERS or "dora" in options else None
    for format in ("diffusers", "peft", "lycoris"):
        target = tmp_path / f"{format}.safetensors"
        if format == "peft" and base is not None and name in OTHER_IN_PEFT:
            with pytest.raises(InputError, match="grouped, dilated or otherwise padded"):
                lycoris.convert(tmp_path / "a.safetensors", target, format=format, algorithm="lora", model=base)
            continue
        report = lycoris.convert(tmp_path / "a.safetensors", target, format=format, algorithm="lora", model=base)
        assert report.error < 1e-13
        assert report.left_out == (("model.0 (bias)",) if has_bias_delta else ())
        again = lycoris.load(target, model)
        torch.testing.assert_close(model(x), live, rtol=1e-10, atol=1e-10)
        assert again.algorithm == "lora"
        again.detach()
        assert lycoris.read_metadata(target)["data_version"] == "7"
        header = lycoris.read_metadata(target)
        assert json.loads(header["lycoris.converted_from"])["algorithm"] == algorithm
        if algorithm != "lora":
            assert header["modelspec.title"] == f"LoRA converted from {ALGORITHMS[algorithm].title}"
            assert lycoris.inspect_adapter(target).training["converted from"] == ALGORITHMS[algorithm].title


@pytest.mark.parametrize(("algorithm", "options", "name"), _every(fast=True))
def test_every_algorithm_converts_to_a_plain_lora_without_loss(algorithm, options, name, tmp_path):
    _converts(algorithm, options, name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "options", "name"), _every(fast=False))
def test_every_algorithm_on_every_layer_converts_to_a_plain_lora_without_loss(algorithm, options, name, tmp_path):
    _converts(algorithm, options, name, tmp_path)


@pytest.mark.parametrize(
    ("algorithm", "options", "rank"),
    [
        ("lora", {"rank": 3}, 3),
        ("lora", {"rank": 3, "tucker": True}, 3),
        ("lora", {"rank": 3, "start": "svd"}, 6),
        ("dylora", {"rank": 4}, 4),
        ("loha", {"rank": 2}, 4),
        ("lokr", {"factor": 2, "rank": 1}, 2),
        ("lokr", {"factor": 2, "rank": 2, "tucker": True}, 4),
        ("t-lora", {"rank": 2}, 4),
    ],
)
def test_an_exact_lora_has_the_rank_of_the_structure(algorithm, options, rank, tmp_path):
    model = nn.Sequential(nn.Conv2d(24, 20, 3))
    network = lycoris.attach(model, algorithm, **options)
    randomize(network)
    network.save(tmp_path / "a.safetensors")
    network.detach()
    report = lycoris.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", format="diffusers")
    assert [fit.rank for fit in report.layers] == [rank]
    assert report.error < 1e-6
    assert load_file(tmp_path / "b.safetensors")["model.0.lora_A.weight"].shape == (rank, 24, 3, 3)


@pytest.mark.parametrize("name", FAST_LAYERS)
@pytest.mark.parametrize("cut", [{"rank": 2}, {"energy": 0.7}, {"energy": 1.0}, {"rank": 500}])
def test_a_truncated_lora_is_the_nearest_and_the_reported_error_is_the_files(name, cut, tmp_path):
    model, _ = make_layer(name)
    weight = model[0].weight
    network = lycoris.attach(model, "full", bias=False)
    randomize(network)
    network.save(tmp_path / "a.safetensors", dtype="float64")
    delta = network.adapters["lycoris_0"].diff.detach()
    network.detach()
    values = torch.linalg.svdvals(delta.flatten(1))
    rank = cut.get("rank", len(values))
    if "energy" in cut:
        rank = next(
            r
            for r in range(1, len(values) + 1)
            if values[:r].square().sum() >= cut["energy"] * (1 - 1e-15) * values.square().sum()
        )
    rank = min(rank, len(values))
    best = (values[rank:].square().sum() / values.square().sum()).sqrt().item()
    for dtype in ("float64", "float16"):
        report = lycoris.convert(tmp_path / "a.safetensors", tmp_path / "b", format="diffusers", dtype=dtype, **cut)
        t = {key.split(".", 2)[2]: value.double() for key, value in load_file(tmp_path / "b").items()}
        written = (t["lora_B.weight"].flatten(1) @ t["lora_A.weight"].flatten(1)).view(weight.shape)
        error = ((written - delta).norm() / delta.norm()).item()
        assert report.layers[0].rank == rank
        assert report.error == report.layers[0].error == pytest.approx(error, rel=1e-6, abs=1e-13)
        assert report.error == pytest.approx(best, rel=1e-2, abs=1e-13 if dtype == "float64" else 2e-3)
    assert f"rank {rank}" in str(report)


def test_the_total_error_weights_layers_by_the_norm_of_their_update(tmp_path):
    model = nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 16), nn.LayerNorm(16))
    network = lycoris.attach(model, "full")
    randomize(network)
    network.adapters["lycoris_1"].diff.data *= 10
    network.save(tmp_path / "a.safetensors")
    deltas = {key: a.diff.detach().double() for key, a in network.adapters.items() if hasattr(a, "diff")}
    network.detach()
    report = lycoris.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", format="diffusers", rank=3)
    assert report.left_out == ("model.0 (bias)", "model.1 (bias)", "model.2 (norm)")
    tails = [torch.linalg.svdvals(delta)[3:].square().sum() for delta in deltas.values()]
    total = sum(delta.square().sum() for delta in deltas.values())
    assert report.error == pytest.approx((sum(tails) / total).sqrt().item(), rel=1e-4)
    assert "left out" in str(report)


def test_low_rank_operations_equal_dense_ones():
    torch.manual_seed(0)
    product = LowRank(torch.randn(20, 5).double(), torch.randn(5, 4, 3).double())
    dense = product.dense()
    for approximate in (lambda **cut: truncate(product, **cut), lambda **cut: truncated_svd(dense, **cut)):
        torch.testing.assert_close(approximate().dense(), dense)
        assert approximate().up.shape[1] == 5
        left, values, right = torch.linalg.svd(dense.flatten(1))
        torch.testing.assert_close(approximate(rank=2).dense().flatten(1), left[:, :2] * values[:2] @ right[:2])
    assert truncated_svd(torch.zeros(4, 6)).up.shape == (4, 1)
    torch.testing.assert_close(to_low_rank(product).dense(), dense)


@pytest.mark.parametrize(
    "algorithm",
    [pytest.param(name, marks=[] if name == "lokr" else [pytest.mark.slow]) for name in EXTRACTABLE],
)
def test_a_file_converts_equally_with_and_without_its_model(algorithm, parts, forward, tmp_path):
    network = lycoris.attach(parts, algorithm, preset="full")
    randomize(network)
    for adapter in network.adapters.values():
        if adapter.bias_delta() is not None:
            adapter.bias_delta().data.zero_()
        if adapter.algorithm == "norms":
            adapter.w_norm.data.zero_()
    output = forward(parts)
    network.save(tmp_path / "a.safetensors", dtype="float64")
    network.detach()
    meta = {name: copy.deepcopy(part).to("meta") for name, part in parts.items()}
    for format in ("diffusers", "peft", "lycoris"):
        with_model = lycoris.convert(
            tmp_path / "a.safetensors", tmp_path / "b.safetensors", format=format, model=meta, rank=90
        )
        without = lycoris.convert(tmp_path / "a.safetensors", tmp_path / "c.safetensors", format=format, rank=90)
        ranks = {fit.layer.replace("text_model.", ""): fit.rank for fit in without.layers}
        assert ranks == {fit.layer: fit.rank for fit in with_model.layers}
        again = lycoris.load(tmp_path / "c.safetensors", parts)
        torch.testing.assert_close(forward(parts), output, rtol=1e-3, atol=1e-3)
        again.detach()


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_a_file_of_any_algorithm_is_rewritten_without_its_model(algorithm, parts, tmp_path):
    network = lycoris.attach(parts, algorithm, preset="full")
    randomize(network)
    network.save(tmp_path / "a.safetensors", metadata={"data_version": "3", "ss_base_model_version": "sd_v1"})
    report = lycoris.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", format="lycoris")
    assert report.layers == ()
    before, after = load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "b.safetensors")
    assert set(before) == set(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    first, second = (lycoris.read_metadata(tmp_path / f"{n}.safetensors") for n in "ab")
    assert {k: v for k, v in first.items() if "kernels" not in k and "modelspec" not in k} == {
        k: v for k, v in second.items() if "kernels" not in k and "modelspec" not in k
    }


def test_peft_and_diffusers_files_convert_to_lycoris_without_a_model(parts, forward, tmp_path):
    network = lycoris.attach(parts, "lora", preset="full", rank=4, alpha=3.0)
    randomize(network)
    output = forward(parts)
    for format in ("peft", "diffusers"):
        network.save(tmp_path / "a.safetensors", format=format)
        lycoris.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", format="lycoris")
        keys = {key.split(".")[0] for key in load_file(tmp_path / "b.safetensors")}
        assert {key.replace("lora_te_text_model_", "lora_te_") for key in keys} == {
            key.replace("lora_te_text_model_", "lora_te_") for key in network.adapters
        }
        network.detach()
        again = lycoris.load(tmp_path / "b.safetensors", parts)
        torch.testing.assert_close(forward(parts), output)
        again.detach()
        network.reattach()


def test_paths_in_diffusers_models_are_inferred_from_their_names():
    from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
    from transformers import T5Config, T5EncoderModel

    with torch.device("meta"):
        flux, sd3 = FluxTransformer2DModel(num_layers=2, num_single_layers=2), SD3Transformer2DModel(num_layers=2)
        t5 = T5EncoderModel(T5Config(num_layers=2, feed_forward_proj="gated-gelu"))
    for parts in (tree("sd15"), tree("sdxl"), {"transformer": flux, "text_encoder_2": t5}, {"transformer": sd3}):
        for module in parts.values():
            for path, layer in module.named_modules():
                if isinstance(layer, (nn.Linear, nn.Conv2d)):
                    assert dotted_path(path.replace(".", "_")) == path


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("FluxTransformer2DModel", "flux-1-dev/lora"),
        ("SD3Transformer2DModel", "stable-diffusion-3/lora"),
        ("AuraFlowTransformer2DModel", "auraflow/lora"),
        ("PixArtTransformer2DModel", None),
    ],
)
def test_a_header_names_the_architecture_of_a_known_transformer_only(name, architecture):
    import diffusers

    with torch.device("meta"):
        transformer = getattr(diffusers, name)(num_attention_heads=2)
    layer = find_layers({"transformer": transformer}, (nn.Linear,))[0]
    network = lycoris.attach(nn.Sequential(nn.Linear(4, 4)), "lora", preset="full", rank=1)
    adapters = [(layer, adapter) for adapter in network.adapters.values()]
    assert build_metadata(adapters, "lora", {}, "lycoris").get("modelspec.architecture") == architecture


@pytest.mark.parametrize("algorithm", ["lokr", "loha"])
def test_diffusers_computes_the_same_with_a_converted_file(algorithm, parts, forward, tmp_path):
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        **parts,
        vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4),
        tokenizer=None,
        scheduler=DDIMScheduler(clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    network = lycoris.attach(pipeline, algorithm, preset="full")
    randomize(network)
    output = forward(parts)
    network.save(tmp_path / "a.safetensors")
    network.detach()
    lycoris.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", format="diffusers")
    pipeline.load_lora_weights(tmp_path, weight_name="b.safetensors")
    both = {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}
    torch.testing.assert_close(forward(both), output, rtol=1e-3, atol=1e-3)


def _file(tmp_path, algorithm, layer, name="lycoris_strange_thing", **options):
    model = nn.Sequential(layer)
    network = lycoris.attach(model, algorithm, **options)
    randomize(network)
    network.save(tmp_path / "a.safetensors")
    tensors = {key.replace("lycoris_0", name): value for key, value in load_file(tmp_path / "a.safetensors").items()}
    save_file(tensors, tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize(
    ("algorithm", "layer", "name", "more", "match"),
    [
        (
            "lora",
            nn.Linear(8, 12),
            "lycoris_strange_thing",
            {},
            "not tell the path of 1 layers: `lycoris_strange_thing`",
        ),
        ("loha", nn.Conv2d(8, 12, 3), "lora_unet_down_blocks_0_resnets_0_conv1", {}, "not tell the kernel of 1 layers"),
        ("loha", nn.Linear(8, 12), "lora_unet_mid_block_attentions_0_proj_in", {}, "not tell the kernel of"),
        (
            "ia3",
            nn.Linear(8, 12),
            "lora_unet_conv_in",
            {},
            r"\(IA\)³ changes a weight depending on its values.*`model`",
        ),
        (
            "lora",
            nn.Linear(8, 12),
            "lora_unet_conv_in",
            {"dora": "output"},
            "DoRA changes a weight depending on its values",
        ),
        ("norms", nn.LayerNorm(8), "lora_unet_conv_in", {}, "nothing that a LoRA can hold"),
    ],
)
def test_convert_requires_a_model_where_the_layers_are_not_identified(algorithm, layer, name, more, match, tmp_path):
    path = _file(tmp_path, algorithm, layer, name, **more)
    with pytest.raises(InputError, match=match):
        lycoris.convert(path, tmp_path / "b.safetensors", format="diffusers")
    assert not (tmp_path / "b.safetensors").exists()


def test_a_name_that_identifies_a_linear_layer_is_enough(tmp_path):
    path = _file(tmp_path, "loha", nn.Linear(8, 12), "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q")
    report = lycoris.convert(path, tmp_path / "b.safetensors", format="diffusers")
    assert [fit.layer for fit in report.layers] == ["unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"format": "pefd"}, "`pefd`.*`peft`"),
        ({"algorithm": "loha"}, "`loha`.*Known: lora"),
        ({"rank": 0}, "`rank` must be a whole number of at least 1"),
        ({"rank": True}, "`rank` must be"),
        ({"energy": 1.5}, r"`energy` must be in \(0, 1\], but got 1.5"),
        ({"rank": 3, "energy": 0.5}, "either `rank` or `energy`"),
        ({"dtype": "float8"}, "`float8`"),
    ],
)
def test_invalid_arguments_are_errors(options, match, tmp_path):
    path = _file(tmp_path, "lora", nn.Linear(8, 12), "lora_unet_conv_in")
    with pytest.raises(InputError, match=match):
        lycoris.convert(path, tmp_path / "b.safetensors", **{"format": "peft", **options})


def _pair(name: str, up, down) -> dict[str, torch.Tensor]:
    return {f"{name}.lora_up.weight": torch.ones(up), f"{name}.lora_down.weight": torch.ones(down)}


@pytest.mark.parametrize(
    "tensors",
    [
        _pair("lora_unet_conv_in", (1 << 17, 1), (1, 1 << 17)),
        {"lora_unet_conv_in.lokr_w1": torch.ones(1 << 12, 1), "lora_unet_conv_in.lokr_w2": torch.ones(1, 1 << 20)},
        _pair("lora_unet_", (4, 2), (2, 3)),
        {"unet.forward.lora_A.weight": torch.ones(2, 3), "unet.forward.lora_B.weight": torch.ones(4, 2)},
        {"unet.a..b.lora_A.weight": torch.ones(2, 3), "unet.a..b.lora_B.weight": torch.ones(4, 2)},
        {f"unet.{'a.' * 3000}lora_{n}.weight": torch.ones(2, 2) for n in "AB"},
        {"lora_unet_conv_in.lora_up.weight": torch.ones(4, 2)},
        _pair("lora_unet_conv_in", (4, 2), (2,)),
        _pair("lora_unet_conv_in", (4, 2), (2, 3, 1, 1, 1, 1)),
        _pair("lora_unet_conv_in", (4, 2), (3, 3)),
        {"lora_unet_conv_in.oft_blocks": torch.ones(2)},
        _pair("lora_unet_conv_in", (4, 2), (2, 3)) | _pair("unet.conv_in", (4, 2), (2, 3)),
    ],
    ids=range(12),
)
def test_hostile_shapes_and_names_are_errors_without_a_model_too(tensors, tmp_path):
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"no model has|no module can have|a\.safetensors|no Linear or convolution"):
        lycoris.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", format="peft")
    assert not (tmp_path / "b.safetensors").exists()


def test_metadata_identifies_the_file_to_other_tools(parts, tmp_path):
    network = lycoris.attach(tree("sd15"), "lora", preset="attn-mlp", rank=4, alpha=2.0)
    layer_adapters = [(network.layers[key], adapter) for key, adapter in network.adapters.items()]
    metadata = build_metadata(layer_adapters, network.algorithm, network.settings, "lycoris")
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert metadata["modelspec.sai_model_spec"] == "1.0.1"
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("4", "2.0")
    assert json.loads(metadata["ss_network_args"])["algo"] == "locon"
    xl = lycoris.attach(tree("sdxl"), "lokr", preset="attn-only")
    made = [(xl.layers[key], adapter) for key, adapter in xl.adapters.items()]
    assert build_metadata(made, "lokr", {}, "lycoris")["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
