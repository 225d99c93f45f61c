"""Checkpoints as people download them: other names, 8-bit weights, damaged tensors, pointers, pickles, other VAEs."""

import shlex
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from lycoris.bases import digest, open_base
from lycoris.bases.parameter_count import count_parameters, meta_parts
from lycoris.errors import InputError
from tests.bases.original_layout import save_both

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.fixture(scope="module")
def sd1(tmp_path_factory):
    """The folder and the single file of one model."""
    return save_both("sd1", tmp_path_factory.mktemp("sd1"))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    return save_both("sdxl", tmp_path_factory.mktemp("sdxl"))


def state(base):
    modules = {**base.parts, "vae": base.vae}
    return {f"{part}.{name}": value for part, module in modules.items() for name, value in module.state_dict().items()}


def assert_equal_weights(one, other):
    first, second = state(one), state(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_a_text_encoder_without_text_model_in_its_names_is_the_same(kind, request, tmp_path):
    folder, file = request.getfixturevalue(kind)
    renamed = {name.replace(".transformer.text_model.", ".transformer."): w for name, w in load_file(file).items()}
    save_file(renamed, tmp_path / "nai.safetensors")
    assert_equal_weights(open_base(tmp_path / "nai.safetensors", device="cpu", tokenizer=folder), open_base(folder))


def test_capital_letters_in_a_suffix_do_not_matter(sd1, tmp_path):
    folder, file = sd1
    copy = shutil.copy(file, tmp_path / "MODEL.SAFETENSORS")
    assert_equal_weights(open_base(copy, device="cpu", tokenizer=folder), open_base(folder))


@pytest.mark.parametrize("suffix", [".scale_weight", ".weight_scale"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_scaled_8_bit_weights_are_restored(sd1, tmp_path, suffix, per_channel):
    folder, file = sd1
    weights, name = load_file(file), "model.diffusion_model.input_blocks.1.1.proj_in.weight"
    stored = weights[name].to(torch.float8_e4m3fn)
    scale = torch.linspace(2, 3, len(stored)) if per_channel else torch.tensor(2.5)
    weights[name] = stored
    weights[name.removesuffix(".weight") + suffix] = scale
    weights[name.removesuffix(".weight") + ".scale_input"] = torch.tensor(1.0)
    weights["scaled_fp8"] = torch.empty(0)
    save_file(weights, tmp_path / "fp8.safetensors")
    base = open_base(tmp_path / "fp8.safetensors", device="cpu", tokenizer=folder)
    expected = stored.float() * scale.reshape(-1, 1, 1, 1)
    assert torch.equal(base.parts["unet"].down_blocks[0].attentions[0].proj_in.weight, expected)


def test_other_quantized_weights_are_refused_by_name(sd1, tmp_path):
    folder, file = sd1
    name = "model.diffusion_model.input_blocks.1.1.proj_in.weight"
    weights = load_file(file)
    save_file({**weights, f"{name}.absmax": torch.ones(2)}, tmp_path / "nf4.safetensors")
    with pytest.raises(InputError, match=r"proj_in\.weight\.absmax`: use the file in half precision"):
        open_base(tmp_path / "nf4.safetensors", device="cpu", tokenizer=folder)
    save_file({**weights, name: weights[name].to(torch.int8)}, tmp_path / "int8.safetensors")
    with pytest.raises(InputError, match=r"proj_in\.weight` in int8"):
        open_base(tmp_path / "int8.safetensors", device="cpu", tokenizer=folder)


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_tensors_that_no_part_uses_are_named_once_with_a_count(kind, request, tmp_path, caplog):
    folder, file = request.getfixturevalue(kind)
    caplog.set_level("INFO", logger="lycoris.bases")
    open_base(file, device="cpu", tokenizer=folder)
    assert "not used" not in caplog.text
    one = torch.ones(1)
    further = {f"model_ema.diffusion_modelout{number}weight": one for number in range(3)}
    further |= {"betas": one, "model.diffusion_model.watermark.weight": one, "v_pred": torch.empty(0)}
    further |= {"first_stage_model.loss.logvar": one, "text_encoders.t5xxl.transformer.shared.weight": torch.ones(2, 2)}
    further = {name: weight.clone() for name, weight in further.items()}  # a file stores no tensor twice
    save_file({**load_file(file), **further}, tmp_path / "more.safetensors")
    open_base(tmp_path / "more.safetensors", device="cpu", tokenizer=folder)
    (message,) = [record.getMessage() for record in caplog.records if "not used" in record.getMessage()]
    assert "more.safetensors` has 7 tensors that are not used: 3 model_ema.* (averaged weights), " in message
    for name in ("betas", "model.diffusion_model.watermark", "first_stage_model", "text_encoders.t5xxl"):
        assert name in message


def test_a_layer_of_the_text_encoder_that_is_not_read_is_named(tmp_path, caplog):
    caplog.set_level("INFO", logger="lycoris.bases")
    folder, file = save_both("sd2", tmp_path)
    open_base(file, device="cpu", tokenizer=folder, prediction_type="epsilon")
    (message,) = [record.getMessage() for record in caplog.records if "not used" in record.getMessage()]
    assert "cond_stage_model.model.transformer.*" in message


def test_the_own_vae_of_a_file_is_not_used_where_another_takes_its_place(sd1, caplog):
    folder, file = sd1
    caplog.set_level("INFO", logger="lycoris.bases")
    open_base(file, device="cpu", tokenizer=folder, vae=folder)
    assert "first_stage_model.* (the VAE)." in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_named_with_its_file(sd1, tmp_path, value):
    folder, file = sd1
    weights, name = load_file(file), "first_stage_model.decoder.conv_in.weight"
    weights[name].view(-1)[1] = value
    save_file(weights, tmp_path / "bad.safetensors")
    with pytest.raises(
        InputError, match=r"bad\.safetensors` is damaged: tensor `first_stage.*conv_in\.weight` has 1 of"
    ):
        open_base(tmp_path / "bad.safetensors", device="cpu", tokenizer=folder)


def test_a_weight_of_a_folder_that_is_not_finite_is_named_with_its_file(sd1, tmp_path):
    folder = shutil.copytree(sd1[0], tmp_path / "folder")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.weight"].view(-1)[:2] = torch.nan
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(
        InputError, match=r"unet/diffusion_pytorch_model.safetensors` is damaged.*`conv_in.weight` has 2"
    ):
        open_base(folder, device="cpu")


def test_a_git_lfs_pointer_is_called_one(sd1, tmp_path):
    (tmp_path / "model.safetensors").write_text(POINTER)
    with pytest.raises(InputError, match=r"model\.safetensors` is a Git LFS pointer.*git lfs pull"):
        open_base(tmp_path / "model.safetensors")
    folder = shutil.copytree(sd1[0], tmp_path / "folder")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_text(POINTER)
    with pytest.raises(InputError, match=r"vae/diffusion_pytorch_model\.safetensors.*is a Git LFS pointer"):
        digest(folder)


@pytest.mark.parametrize(("content", "words"), [(b"<!DOCTYPE html>", "web page"), (b"GGUF\x03", "GGUF file")])
def test_a_download_of_something_else_is_called_what_it_is(tmp_path, content, words):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=words):
        open_base(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["model.ckpt", "model.PT", "renamed.safetensors"])
def test_the_command_of_the_message_converts_a_pickle(sd1, tmp_path, name):
    folder, file = sd1
    torch.save({"state_dict": load_file(file), "global_step": 7}, tmp_path / name)
    with pytest.raises(InputError, match="is a pickle file") as error:
        open_base(tmp_path / name)
    command = str(error.value).partition("tensors only: ")[2]
    subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True, timeout=120)
    (converted,) = set(tmp_path.glob("*.safetensors")) - {tmp_path / name}
    assert_equal_weights(open_base(converted, device="cpu", tokenizer=folder), open_base(folder))


@pytest.mark.parametrize("kind", ["file", "folder", "base"])
def test_another_vae_replaces_the_bases(sd1, tmp_path, kind):
    folder, file = sd1
    weights = {name: w * 1.5 if name.startswith("first_stage") else w for name, w in load_file(file).items()}
    save_file({name: w for name, w in weights.items() if name.startswith("first_stage")}, tmp_path / "vae.safetensors")
    save_file(
        {name: w for name, w in weights.items() if not name.startswith("first_stage")}, tmp_path / "no.safetensors"
    )
    whole = shutil.copytree(folder, tmp_path / "whole")
    open_base(
        tmp_path / "no.safetensors", device="cpu", tokenizer=folder, vae=tmp_path / "vae.safetensors"
    ).vae.save_pretrained(whole / "vae")
    vae = {"file": tmp_path / "vae.safetensors", "folder": whole / "vae", "base": whole}[kind]
    for source, tokenizer in ((folder, None), (tmp_path / "no.safetensors", folder)):
        base = open_base(source, device="cpu", tokenizer=tokenizer, vae=vae)
        assert torch.equal(base.vae.decoder.conv_in.weight, weights["first_stage_model.decoder.conv_in.weight"])
        assert base.vae.config.scaling_factor == 0.18215
        assert base.digest == digest(source, tokenizer=tokenizer, vae=vae)
    assert digest(folder, vae=vae) != digest(folder)


def test_what_is_no_vae_is_refused(sd1, tmp_path):
    save_file({"encoder.conv_in.weight": torch.ones(1)}, tmp_path / "part.safetensors")
    with pytest.raises(InputError, match="must have the original layout"):
        open_base(sd1[0], vae=tmp_path / "part.safetensors")
    with pytest.raises(InputError, match="there is no `nowhere`"):
        open_base(sd1[0], vae="nowhere")


def test_a_resolution_replaces_the_one_in_the_files(sd1):
    folder, file = sd1
    for source, options in ((folder, {}), (file, {"tokenizer": folder})):
        base = open_base(source, device="cpu", resolution=48, **options)
        assert base.resolution == 48
        assert base.digest == digest(source, resolution=48, **options) != digest(source, **options)
    with pytest.raises(InputError, match="`resolution` must be a multiple of 8"):
        open_base(folder, device="cpu", resolution=50)


def test_the_parts_of_a_single_file_are_counted_without_reading_its_weights(sd1, monkeypatch):
    from lycoris.bases.files.stored_weights import StoredWeights

    folder, file = sd1
    settings = {"algorithm": "lora", "rank": 2}
    expected = count_parameters(meta_parts(folder), settings)
    monkeypatch.delattr(StoredWeights, "read")
    assert count_parameters(meta_parts(file, tokenizer=folder), settings) == expected


def test_a_latent_that_is_not_finite_is_blamed_on_the_vae(sd1, tmp_path):
    base = open_base(sd1[0], device="cpu")
    base.vae.encoder.conv_in.weight.mul_(1e38)
    with pytest.raises(InputError, match="The VAE of the base encodes an image as NaN or infinity in float32"):
        base.encode_images(torch.rand(1, 3, 32, 32))
