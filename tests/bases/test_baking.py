"""Baked checkpoints: the base's keys and layout, the live adapter's predictions, and diffusers' own loaders."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import lycoris
from lycoris.bases import open_base
from lycoris.bases.baking import ScaledAdapter, bake
from lycoris.errors import InputError
from tests.adapters.cases import randomize
from tests.bases.original_layout import save_both
from tests.bases.small_families import save_small_auraflow

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


def test_a_folder_becomes_a_single_file_that_diffusers_opens(case, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    name, folder, file, adapters, expected = case
    result = bake(folder, adapters, tmp_path / "b.safetensors")
    before, after = load_file(file), load_file(tmp_path / "b.safetensors")
    assert {key: value.shape for key, value in after.items()} == {key: value.shape for key, value in before.items()}
    vae = {key: value for key, value in before.items() if key.startswith("first_stage_model.")}
    assert vae
    assert all(torch.equal(after[key], value) for key, value in vae.items())
    assert result.norm > 0
    pipeline = getattr(diffusers, PIPELINES[name]).from_single_file(
        tmp_path / "b.safetensors", config=str(folder), local_files_only=True, **MISSING.get(name, {})
    )
    for part, values in expected.items():
        state = getattr(pipeline, part).state_dict()
        assert set(state) == set(values)
        for key, value in values.items():
            torch.testing.assert_close(state[key], value, rtol=1e-5, atol=1e-6, msg=f"{part}.{key}")


def save_adapter(folder, base_folder):
    """A LoRA on the denoiser of a base, which has no effect."""
    base = open_base(base_folder, device="cpu", dtype="float32")
    network = lycoris.attach(base.parts, "lora", layers=[".*to_q"], rank=1)
    network.save(folder / "a.safetensors", format="lycoris")
    return ScaledAdapter(folder / "a.safetensors")


def test_a_folder_of_sd2_becomes_the_original_file_with_the_last_layer_twice(tmp_path):
    folder, file = save_both("sd2", tmp_path)
    bake(folder, [save_adapter(tmp_path, folder)], tmp_path / "b.safetensors")
    before, after = load_file(file), load_file(tmp_path / "b.safetensors")
    assert set(after) == set(before)
    last = "cond_stage_model.model.transformer.resblocks.2."
    for key, value in after.items():
        source = after if key.startswith(last) else before
        assert torch.equal(value, source[key.replace("resblocks.2.", "resblocks.1.")]), key
    header = lycoris.read_metadata(tmp_path / "b.safetensors")
    assert (header["modelspec.architecture"], header["modelspec.prediction_type"]) == ("stable-diffusion-v2", "v")
    base = open_base(tmp_path / "b.safetensors", "cpu", "float32", tokenizer=folder)
    assert base.forward_process.prediction_type == "v_prediction"


def test_a_single_file_has_t5_and_a_projection_of_its_own(tmp_path, caplog):
    transformers = pytest.importorskip("transformers")
    folder, _ = save_both("sd3", tmp_path)
    adapter = save_adapter(tmp_path, folder)
    config = transformers.T5Config(vocab_size=11, d_model=200, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    transformers.T5EncoderModel(config).to(torch.bfloat16).save_pretrained(folder / "text_encoder_3")
    clip = next((folder / "text_encoder").glob("*.safetensors"))
    weights = load_file(clip)
    weights["text_projection.weight"] = torch.randn(64, 64)
    save_file(weights, clip, {"format": "pt"})
    bake(folder, [adapter], tmp_path / "b.safetensors")
    after = load_file(tmp_path / "b.safetensors")
    for key, value in load_file(next((folder / "text_encoder_3").glob("*.safetensors"))).items():
        assert torch.equal(after[f"text_encoders.t5xxl.transformer.{key}"], value)
    own = after["text_encoders.clip_l.transformer.text_projection.weight"]
    assert torch.equal(own, weights["text_projection.weight"])
    assert "has a projection of its own" in caplog.text


def test_a_transformer_file_cannot_take_a_change_of_a_text_encoder(tmp_path):
    folder, _ = save_both("sd3", tmp_path)
    base = open_base(folder, device="cpu")
    network = lycoris.attach({"text_encoder": base.parts["text_encoder"]}, "lora", rank=2, layers=[r".*mlp\.fc1"])
    randomize(network)
    network.save(tmp_path / "adapter.safetensors")
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(InputError, match=r"Part `text_encoder` is among the components .* write a folder"):
        lycoris.bake(
            file, [ScaledAdapter(tmp_path / "adapter.safetensors")], tmp_path / "baked.safetensors", components=folder
        )


def test_what_a_single_file_cannot_state_is_an_error_that_names_it(sd1, tmp_path):
    folder, _, adapter = sd1
    cases = [
        ("unet/config.json", {"attention_head_dim": 4}, "`attention_head_dim` of `unet` is 4, and 8 would be read"),
        ("text_encoder/config.json", {"hidden_act": "gelu"}, "`hidden_act` of `text_encoder` is 'gelu'"),
        ("vae/config.json", {"scaling_factor": 0.5}, "`scaling_factor` of `vae` is 0.5"),
        ("scheduler/scheduler_config.json", {"beta_end": 0.02}, "`beta_end` of its schedule is 0.02"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "predicts `sample`"),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
    ]
    for number, (file, settings, message) in enumerate(cases):
        changed = tmp_path / str(number)
        shutil.copytree(folder, changed)
        config = json.loads((changed / file).read_text())
        (changed / file).write_text(json.dumps(config | settings))
        with pytest.raises(InputError, match=re.escape(message)):
            bake(changed, [adapter], tmp_path / "b.safetensors")
    other = save_small_auraflow(tmp_path / "auraflow")
    with pytest.raises(InputError, match=r"`auraflow`, which is not written as a single file: that works for SD 1\.x"):
        bake(other, [adapter], tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()


def test_v_prediction_of_sdxl_is_marked(tmp_path):
    folder, _ = save_both("sdxl", tmp_path)
    file = folder / "scheduler" / "scheduler_config.json"
    changes = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    bake(folder, [save_adapter(tmp_path, folder)], tmp_path / "b.safetensors", dtype="bfloat16")
    after = load_file(tmp_path / "b.safetensors")
    assert {after[name].numel() for name in ("v_pred", "ztsnr")} == {0}
    base = open_base(tmp_path / "b.safetensors", "cpu", "float32", tokenizer=folder)
    assert base.forward_process.prediction_type == "v_prediction"


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
