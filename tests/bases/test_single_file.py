"""A single file in the original layout generates what the folder of the same model generates, offline."""

import shutil
import socket

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import lycoris
from lycoris.bases import digest, load_scheduler_config, load_tokenizer, open_base
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.errors import InputError
from tests.bases.original_layout import ORIGINALS, save_both

PROMPTS, SEEDS = ["a red cat", "the sks creature"], [3, 4]
TOLD = {"sd2": {"prediction_type": "v_prediction"}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    return {name: save_both(name, folder) for name in ORIGINALS}


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def rewritten(file, target, metadata=None, **more):
    save_file({**load_file(file), **more}, target, metadata)
    return target


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_file_generates_what_its_folder_generates(saved, name, no_network):
    folder, file = saved[name]
    one = open_base(file, device="cpu", tokenizer=folder, **TOLD.get(name, {}))
    other = open_base(folder, device="cpu")
    assert one.family == other.family
    assert one.forward_process.prediction_type == other.forward_process.prediction_type
    for part, module in one.parts.items():
        weights = module.state_dict()
        assert all(torch.equal(weight, weights[key]) for key, weight in other.parts[part].state_dict().items())
        assert not any(parameter.requires_grad for parameter in module.parameters())
    images = [generate(base, PROMPTS, SEEDS, GenerationSettings(steps=2, height=24, width=32)) for base in (one, other)]
    assert all(np.array_equal(*pair) for pair in zip(*images, strict=True))


@pytest.mark.parametrize(("name", "resolution"), [("sd1", 256), ("sd2", 384), ("sdxl", 512), ("sd3", 512)])
def test_the_resolution_is_the_familys_or_what_the_file_says(saved, name, resolution, tmp_path):
    folder, file = saved[name]
    settings = {"device": "cpu", "tokenizer": folder, **TOLD.get(name, {})}
    assert open_base(file, **settings).resolution == resolution  # the small VAE halves twice, not thrice
    small = rewritten(file, tmp_path / "small.safetensors", {"modelspec.resolution": "128x128"})
    assert open_base(small, **settings).resolution == 128


def test_half_precision_files_are_opened_in_the_asked_precision(saved, tmp_path):
    folder, file = saved["sdxl"]
    halves = tmp_path / "half.safetensors"
    save_file({name: weight.half() for name, weight in load_file(file).items()}, halves)
    for dtype in ("float32", "bfloat16"):
        base = open_base(halves, device="cpu", dtype=dtype, tokenizer=folder)
        for module in (*base.parts.values(), base.vae):
            assert {parameter.dtype for parameter in module.parameters()} == {getattr(torch, dtype)}


def test_sd_2_needs_a_prediction_type(saved, tmp_path):
    folder, file = saved["sd2"]
    with pytest.raises(InputError, match=r"exists in both kinds: pass `prediction_type=`.*save_pretrained"):
        open_base(file, tokenizer=folder)
    output = rewritten(file, tmp_path / "rewritten.safetensors", {"modelspec.prediction_type": "epsilon"})
    assert open_base(output, device="cpu", tokenizer=folder).forward_process.prediction_type == "epsilon"
    with pytest.raises(InputError, match=r"is 'v_prediction', but base .* states 'epsilon'"):
        open_base(output, tokenizer=folder, prediction_type="v_prediction")


@pytest.mark.parametrize(
    ("text", "kind"), [("    parameterization: v\n", "v_prediction"), ("    linear_start: 0.00085\n", "epsilon")]
)
def test_the_configuration_beside_a_file_tells_what_it_predicts(saved, tmp_path, text, kind):
    folder, file = saved["sd2"]
    copy = shutil.copy(file, tmp_path / "some.safetensors")
    beside = tmp_path / "some.yaml"
    beside.write_text("model:\n  target: ldm.models.diffusion.ddpm.LatentDiffusion\n  params:\n" + text)
    assert open_base(copy, device="cpu", tokenizer=folder).forward_process.prediction_type == kind
    beside.write_text("model: {params: {parameterization: w}}\n")
    with pytest.raises(InputError, match=r"one of eps, v, x0, but has 'w'"):
        open_base(copy, device="cpu", tokenizer=folder)


def test_marks_of_v_prediction_and_of_pure_noise_are_believed(saved, tmp_path):
    folder, file = saved["sdxl"]
    marked = rewritten(file, tmp_path / "v.safetensors", v_pred=torch.empty(0), ztsnr=torch.empty(0))
    base = open_base(marked, device="cpu", tokenizer=folder)
    assert base.forward_process.prediction_type == "v_prediction"
    assert base.forward_process.alphas_cumprod[-1] == 0
    assert base.scheduler_config["timestep_spacing"] == "trailing"
    assert all(
        np.isfinite(np.asarray(image)).all()
        for image in generate(base, PROMPTS, SEEDS, GenerationSettings(steps=3, height=32, width=32))
    )


def test_the_digest_follows_file_vocabulary_and_prediction(saved, tmp_path):
    folder, file = saved["sd1"]
    first, other = (
        open_base(file, device="cpu", tokenizer=folder, prediction_type=kind).digest
        for kind in ("epsilon", "v_prediction")
    )
    assert first != other
    copy = shutil.copy(file, tmp_path / "copy.safetensors")
    shutil.copytree(folder / "tokenizer", tmp_path / "tokenizer")
    assert digest(copy) == first
    assert len(load_tokenizer(copy)) == len(open_base(folder).tokenizer)
    assert load_scheduler_config(copy)["prediction_type"] == "epsilon"


def test_without_a_vocabulary_the_message_says_what_to_give(saved, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"Pass `tokenizer=` a folder with CLIP's vocab.json and merges.txt"):
        open_base(saved["sd1"][1], device="cpu")


def test_another_vocabulary_is_refused(saved, tmp_path):
    folder, file = saved["sd1"]
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["quux"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"must have the .* tokens of the text encoder"):
        open_base(file, device="cpu", tokenizer=tmp_path)
    with pytest.raises(InputError, match="but there is no folder nowhere"):
        open_base(file, device="cpu", tokenizer="nowhere")


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("model.diffusion_model.", "must all be in it.*A transformer alone is read with `components`, of .*z-image"),
        ("lora_unet_", "is an adapter and not a base"),
    ],
)
def test_what_is_no_whole_model_is_refused(tmp_path, prefix, message):
    save_file({f"{prefix}input_blocks.0.0.weight": torch.zeros(2)}, tmp_path / "part.safetensors")
    with pytest.raises(InputError, match=message):
        open_base(tmp_path / "part.safetensors")


def test_a_missing_weight_is_named(saved, tmp_path):
    folder, file = saved["sdxl"]
    weights = load_file(file)
    del weights["model.diffusion_model.out.2.bias"]
    save_file(weights, tmp_path / "lacking.safetensors")
    with pytest.raises(InputError, match=r"`unet` .* lack 1 tensors, among them conv_out.bias"):
        open_base(tmp_path / "lacking.safetensors", device="cpu", tokenizer=folder)


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="could not be read"):
        open_base(tmp_path / "bad.safetensors")


def test_a_folder_has_its_own_tokenizer_and_prediction(saved):
    for argument in ({"tokenizer": "here"}, {"prediction_type": "epsilon"}):
        with pytest.raises(InputError, match="is for single files"):
            open_base(saved["sd1"][0], **argument)


def test_an_adapter_made_on_the_file_fits_the_folder(saved, tmp_path):
    folder, file = saved["sdxl"]
    network = lycoris.attach(open_base(file, device="cpu", tokenizer=folder).parts, "lora", rank=2)
    network.save(tmp_path / "adapter.safetensors")
    assert len(lycoris.load(tmp_path / "adapter.safetensors", open_base(folder, device="cpu").parts)) == len(network)
