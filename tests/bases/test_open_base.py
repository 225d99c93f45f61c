"""Opening a base: what is refused and with which message, and what holds for an opened base."""

import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lycoris.bases import BASES, open_base
from lycoris.errors import InputError
from tests.bases.small_base import edit_json

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@pytest.fixture
def copied(small_folder, tmp_path):
    return shutil.copytree(small_folder, tmp_path / "base")


def test_parts_are_frozen_in_evaluation_mode_and_float32(small_folder):
    base = open_base(small_folder, device="cpu")
    assert set(base.parts) == {"unet", "text_encoder"}
    for module in (*base.parts.values(), base.vae):
        assert not module.training
        assert all(not parameter.requires_grad for parameter in module.parameters())
        assert all(parameter.dtype is torch.float32 for parameter in module.parameters())
    assert (base.resolution, base.vae_scale_factor, base.latent_channels) == (32, 4, 4)
    assert base.family in BASES


def test_a_folder_without_a_unet_says_so_and_what_it_has(copied):
    shutil.rmtree(copied / "unet")
    with pytest.raises(InputError, match=r"lacks unet/\. It needs unet/.*it has .*text_encoder/.*vae/"):
        open_base(copied)


@pytest.mark.parametrize("part", PARTS)
def test_every_missing_part_is_named(copied, part):
    shutil.rmtree(copied / part)
    with pytest.raises(InputError, match=f"lacks {part}/"):
        open_base(copied)


def test_everything_missing_is_reported_together(tmp_path):
    with pytest.raises(InputError) as error:
        open_base(tmp_path)
    assert all(f"{part}/" in str(error.value) for part in PARTS)
    assert "it has nothing" in str(error.value)


def test_weights_that_lack_a_tensor_are_refused(copied):
    file = copied / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[0]
    save_file({key: value for key, value in tensors.items() if key != name}, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 of the tensors"):
        open_base(copied)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_damaged_weights_are_refused_by_name(copied, part):
    file = next((copied / part).glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=f"{part}` of the base could not be opened"):
        open_base(copied)


def test_pickled_weights_are_refused_with_the_command_that_converts_them(copied):
    file = next((copied / "unet").glob("*.safetensors"))
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(InputError, match=r"pickle is refused.*convert it once: python -c"):
        open_base(copied)


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt"])
def test_a_pickled_file_is_refused_with_the_command_that_converts_it(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"python -c .*weights_only=True"):
        open_base(file)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        open_base(tmp_path / "nowhere" / "at" / "all")


def test_another_family_is_named(copied):
    edit_json(copied / "model_index.json", _class_name="KolorsPipeline")
    with pytest.raises(InputError, match=r"a KolorsPipeline.*known: stable-diffusion"):
        open_base(copied)


def test_an_inpainting_unet_is_refused(copied):
    edit_json(copied / "vae" / "config.json", latent_channels=5)
    with pytest.raises(InputError):
        open_base(copied)


def test_an_unknown_dtype_offers_the_nearest(small_folder):
    with pytest.raises(InputError, match="Did you mean `float32`"):
        open_base(small_folder, dtype="flaot32")


def test_an_unknown_device_is_refused(small_folder):
    with pytest.raises(InputError, match="`device`"):
        open_base(small_folder, device="abacus")


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "model.safetensors"])
def test_half_precision_files_are_opened_in_float32(copied, name):
    for part in ("unet", "vae", "text_encoder"):
        file = next((copied / part).glob("*.safetensors"))
        halves = {key: value.half() for key, value in load_file(file).items()}
        file.unlink()
        renamed = file.with_name(file.name.replace(".safetensors", name.removeprefix("model")))
        save_file(halves, renamed, metadata={"format": "pt"})
    base = open_base(copied, device="cpu")
    assert base.parts["unet"].dtype is base.vae.dtype is base.parts["text_encoder"].dtype is torch.float32


def test_the_digest_is_of_the_content_and_not_of_the_place(small_folder, copied):
    assert open_base(copied).digest == open_base(small_folder).digest
    edit_json(copied / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    assert open_base(copied).digest != open_base(small_folder).digest


def test_the_digest_follows_one_changed_weight(small_folder, copied):
    file = copied / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file)
    assert open_base(copied).digest != open_base(small_folder).digest
