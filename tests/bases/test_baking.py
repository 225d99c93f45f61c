"""Baked checkpoints: the base's keys and layout, the live adapter's predictions, and diffusers' own loaders."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import lycoris
from lycoris.bases import open_base
from lycoris.bases.baking import ScaledAdapter, bake
from lycoris.errors import InputError
from tests.adapters.cases import randomize
from tests.bases.original_layout import save_both

ADAPTERS = {"lora": {"rank": 2}, "lokr": {"factor": 4}}
SCALES = (0.7, -0.4)
LAYERS = [
    *(
        r".*attn1?\.to_q",
        r".*attn\.add_k_proj",
        r".*ff\.net\.2",
        r".*resnets\.0\.conv1",
        r".*proj_out",
        r".*self_attn\.[kv]_proj",
    ),
    *(r".*mlp\.fc1", r".*norm_out\.linear"),
]
"""Of every kind: renamed, rows of a fused one, with swapped halves, transposed, a convolution."""
MISSING = {"sd3": {"text_encoder_3": None, "tokenizer_3": None}}
PIPELINES = {"sd1": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline", "sd3": "StableDiffusion3Pipeline"}


@pytest.fixture(scope="module", params=list(PIPELINES))
def case(request, tmp_path_factory):
    """A small base as folder and file, two adapters on all its parts, and its weights with both merged."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    base_folder, base_file = save_both(name, folder)
    base = open_base(base_folder, device="cpu", dtype="float32")
    torch.manual_seed(1)
    paths = []
    for algorithm, options in ADAPTERS.items():
        network = lycoris.attach(
            base.parts, algorithm, layers=[*LAYERS, *(["text_projection"] if name == "sdxl" else [])], **options
        )
        randomize(network)
        network.save(folder / f"{algorithm}.safetensors", format="lycoris")
        paths.append(folder / f"{algorithm}.safetensors")
        network.detach()
    networks = [lycoris.load(path, base.parts) for path in paths]
    for network, scale in zip(networks, SCALES, strict=True):
        network.scale = scale
        network.merge()
    expected = {
        part: {
            key: value.clone()
            for key, value in module.state_dict().items()
            if "adapters." not in key and not key.startswith("original_")
        }
        for part, module in base.parts.items()
    }
    adapters = [ScaledAdapter(path, scale) for path, scale in zip(paths, SCALES, strict=True)]
    return name, base_folder, base_file, adapters, expected


def assert_weights(base, expected):
    """The weights are the merged ones."""
    for part, values in expected.items():
        found = base.parts[part].state_dict()
        assert set(found) == set(values)
        for key, value in values.items():
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6, msg=f"{part}.{key}")


def test_a_single_file_keeps_its_layout_and_opens_as_the_merged_model(case, tmp_path):
    _, folder, file, adapters, expected = case
    result = bake(file, adapters, tmp_path / "b.safetensors")
    before, after = load_file(file), load_file(tmp_path / "b.safetensors")
    assert {key: (value.shape, value.dtype) for key, value in after.items()} == {
        key: (value.shape, value.dtype) for key, value in before.items()
    }
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert changed
    assert not any(key.startswith("first_stage_model.") for key in changed)
    assert result.norm == pytest.approx(
        sum((after[key].double() - before[key].double()).square().sum().item() for key in changed) ** 0.5, rel=1e-4
    )
    assert_weights(open_base(tmp_path / "b.safetensors", "cpu", "float32", tokenizer=folder), expected)
    header = lycoris.read_metadata(tmp_path / "b.safetensors")
    assert json.loads(header["lycoris.baked"])["scales"] == list(SCALES)
    assert header["modelspec.merged_from"] == "lora.safetensors, lokr.safetensors"


def test_a_folder_opens_here_and_in_diffusers(case, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    name, folder, _, adapters, expected = case
    bake(folder, adapters, tmp_path / "b")
    assert_weights(open_base(tmp_path / "b", "cpu", "float32"), expected)
    pipeline = getattr(diffusers, PIPELINES[name]).from_pretrained(tmp_path / "b", **MISSING.get(name, {}))
    for part, values in expected.items():
        for key, value in getattr(pipeline, part).state_dict().items():
            torch.testing.assert_close(value, values[key], rtol=1e-5, atol=1e-6)
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {str(path.relative_to(tmp_path / "b")) for path in (tmp_path / "b").rglob("*") if path.is_file()} == kept


def test_a_single_file_becomes_a_folder(case, tmp_path):
    _, folder, file, adapters, expected = case
    bake(file, adapters, tmp_path / "b", tokenizer=folder)
    assert_weights(open_base(tmp_path / "b", "cpu", "float32"), expected)


@pytest.fixture(scope="module")
def sd1(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    base_folder, base_file = save_both("sd1", folder)
    network = lycoris.attach(open_base(base_folder, device="cpu").parts, "lora", preset="unet-attn-mlp", rank=1)
    network.save(folder / "a.safetensors")
    return base_folder, base_file, ScaledAdapter(folder / "a.safetensors")


def test_wrong_arguments_are_named(sd1, tmp_path):
    folder, file, adapter = sd1
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    cases = [
        (folder, [], tmp_path / "b", {}, "at least one file"),
        (folder, [ScaledAdapter(adapter.path, float("inf"))], tmp_path / "b", {}, "finite number"),
        (folder, [adapter], tmp_path / "b.safetensors", {}, "baked into a folder"),
        (folder, [adapter], tmp_path / "full", {}, "must be absent, an empty folder"),
        (folder, [adapter], folder, {}, "must be absent, an empty folder"),
        (file, [adapter], file, {}, "must not be the base itself"),
        (file, [adapter], tmp_path / "b.safetensors", {"dtype": "int8"}, "Unknown dtype"),
        (file, [ScaledAdapter(tmp_path / "none.safetensors")], tmp_path / "b.safetensors", {}, "none.safetensors"),
    ]
    for source, adapters, target, options, message in cases:
        with pytest.raises(InputError, match=message):
            bake(source, adapters, target, **options)
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "b.safetensors").exists()


def test_eight_bit_weights_need_a_precision(sd1, tmp_path):
    _, file, adapter = sd1
    key = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    tensors = load_file(file)
    tensors[key] = tensors[key].to(torch.float8_e4m3fn)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="8-bit weights"):
        bake(tmp_path / "a.safetensors", [adapter], tmp_path / "b.safetensors")
    bake(tmp_path / "a.safetensors", [adapter], tmp_path / "b.safetensors", dtype="float16")
    assert load_file(tmp_path / "b.safetensors")[key].dtype == torch.float16


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_weights_in_half_precision_stay_in_it(sd1, kind, tmp_path):
    folder, file, adapter = sd1
    source, target = (folder, tmp_path / "b") if kind == "folder" else (file, tmp_path / "b.safetensors")
    bake(source, [adapter], target, dtype="bfloat16")
    written = target if kind == "file" else next(target.glob("*/diffusion_pytorch_model.safetensors"))
    assert {value.dtype for value in load_file(written).values() if value.is_floating_point()} == {torch.bfloat16}
    bake(target, [adapter], tmp_path / ("c" if kind == "folder" else "c.safetensors"))
