"""A transformer in one file, under its authors' names, is the base that its folder is."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import lycoris
from lycoris.bases import BASES, digest, load_scheduler_config, load_tokenizer, open_base
from lycoris.bases.baking import ScaledAdapter
from lycoris.bases.parameter_count import meta_parts
from lycoris.errors import InputError
from tests.adapters.cases import randomize
from tests.bases.original_layout import _own_names, _vae
from tests.bases.original_transformers import original_weights
from tests.bases.small_flow_families import FLOW_CASES
from tests.bases.small_transformers import flux_1

PREFIX = "model.diffusion_model."


@pytest.fixture(scope="module")
def flux(tmp_path_factory):
    """The small FLUX.1's pipeline, its folder and the file of its transformer."""
    folder = tmp_path_factory.mktemp("flux")
    torch.manual_seed(0)
    pipeline = flux_1()
    pipeline.save_pretrained(folder / "base")
    save_file(original_weights(pipeline.transformer), folder / "flux.safetensors")
    return pipeline, folder / "base", folder / "flux.safetensors"


def assert_same_weights(module, other):
    expected = other.state_dict()
    assert module.state_dict().keys() == expected.keys()
    for name, value in module.state_dict().items():
        assert value.dtype == expected[name].dtype
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_file_is_opened_with_the_parts_of_its_components(flux, dtype):
    _, folder, file = flux
    base = open_base(file, device="cpu", dtype=dtype, components=folder)
    other = open_base(folder, device="cpu", dtype=dtype)
    assert base.family == other.family
    assert_same_weights(base.parts["transformer"], other.parts["transformer"])
    assert_same_weights(base.vae, other.vae)
    assert base.scheduler_config == other.scheduler_config
    assert load_scheduler_config(file, components=folder) == other.scheduler_config
    assert len(load_tokenizer(file, components=folder)) == len(other.tokenizer)
    shapes = {
        name: weight.shape for name, weight in meta_parts(file, components=folder)["transformer"].named_parameters()
    }
    assert shapes == {name: weight.shape for name, weight in other.parts["transformer"].named_parameters()}


def test_the_digest_follows_the_file_and_the_components(flux, tmp_path):
    pipeline, folder, file = flux
    assert digest(file, components=folder) == open_base(file, components=folder, device="cpu").digest
    weights = original_weights(pipeline.transformer)
    weights["img_in.bias"] += 1
    save_file(weights, tmp_path / "other.safetensors")
    flux_1().save_pretrained(tmp_path / "base")
    digests = {
        digest(file, components=folder),
        digest(folder),
        digest(tmp_path / "other.safetensors", components=folder),
    }
    assert len(digests | {digest(file, components=tmp_path / "base")}) == 4


def test_a_full_file_has_vae_and_text_encoders_of_its_own(flux, tmp_path, caplog):
    pipeline, _, _ = flux
    torch.manual_seed(1)
    flux_1().save_pretrained(tmp_path / "components")
    weights = {PREFIX + name: value for name, value in original_weights(pipeline.transformer).items()}
    weights |= {name.replace("first_stage_model.", "vae."): value for name, value in _vae(pipeline.vae).items()}
    weights |= _own_names(pipeline.text_encoder, "text_encoders.clip_l.transformer.")
    t5 = pipeline.text_encoder_2.state_dict()
    weights |= {f"text_encoders.t5xxl.transformer.{name}": t5[name] for name in t5 if "embed_tokens" not in name}
    weights["text_encoders.clip_l.logit_scale"] = torch.zeros(1)
    save_file({name: value.clone().contiguous() for name, value in weights.items()}, tmp_path / "full.safetensors")
    with caplog.at_level("INFO"):
        base = open_base(tmp_path / "full.safetensors", components=tmp_path / "components", device="cpu")
    for part in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        assert_same_weights(base._components.modules[part], getattr(pipeline, part))
    assert "has 1 tensors that are not used: text_encoders.clip_l.logit_scale" in caplog.text


@pytest.mark.parametrize("scaled", [True, False])
def test_8_bit_files_are_read(flux, tmp_path, scaled):
    pipeline, folder, _ = flux
    weights = {}
    for name, value in original_weights(pipeline.transformer).items():
        if value.dim() < 2:
            weights[name] = value
            continue
        factor = value.abs().max() / 448 if scaled else torch.tensor(1.0)
        weights[name] = (value / factor).to(torch.float8_e4m3fn)
        if scaled:
            weights[name.removesuffix("weight") + "scale_weight"] = factor
    save_file(weights, tmp_path / "fp8.safetensors")
    base = open_base(tmp_path / "fp8.safetensors", components=folder, device="cpu")
    expected = pipeline.transformer.state_dict()
    for name, value in base.parts["transformer"].state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0.08, atol=0.002)


def test_the_number_of_blocks_and_the_guidance_are_the_files(flux, tmp_path):
    pipeline, folder, _ = flux
    weights = {n: v for n, v in original_weights(pipeline.transformer).items() if not n.startswith("guidance_in.")}
    more = {n.replace("blocks.0.", "blocks.1."): v + 1 for n, v in weights.items() if n.startswith("single_blocks.")}
    save_file({**weights, **more}, tmp_path / "other.safetensors")
    base = open_base(tmp_path / "other.safetensors", components=folder, device="cpu")
    assert len(base.parts["transformer"].single_transformer_blocks) == 2
    assert not base.parts["transformer"].config.guidance_embeds
    assert base.guidance.default == 1


def test_an_adapter_of_the_file_is_one_of_the_folder(flux, tmp_path):
    _, folder, file = flux
    network = lycoris.attach(open_base(file, components=folder, device="cpu").parts, "lora", rank=2)
    network.save(tmp_path / "adapter.safetensors")
    assert len(lycoris.load(tmp_path / "adapter.safetensors", open_base(folder, device="cpu").parts)) == len(network)


@pytest.mark.parametrize("target", ["baked.safetensors", "baked"])
def test_adapters_are_baked_into_the_file_or_a_folder(flux, tmp_path, target):
    _, folder, file = flux
    base = open_base(folder, device="cpu", dtype="float32")
    network = lycoris.attach({"transformer": base.parts["transformer"]}, "lora", rank=2)
    randomize(network)
    network.save(tmp_path / "adapter.safetensors")
    network.detach()
    adapters = [ScaledAdapter(tmp_path / "adapter.safetensors", 0.5)]
    baked = lycoris.bake(file, adapters, tmp_path / target, components=folder)
    assert baked.layers == {str(tmp_path / "adapter.safetensors"): len(network)}
    lycoris.bake(folder, adapters, tmp_path / "expected")
    expected = open_base(tmp_path / "expected", device="cpu", dtype="float32")
    options = {"components": folder} if target.endswith(".safetensors") else {}
    found = open_base(tmp_path / target, device="cpu", dtype="float32", **options)
    assert_same_weights(found.parts["transformer"], expected.parts["transformer"])
    if options:
        with safe_open(file, "pt") as before, safe_open(tmp_path / target, "pt") as after:
            assert set(after.keys()) == set(before.keys())


def test_without_components_the_message_says_what_to_pass(flux):
    with pytest.raises(
        InputError, match=r"has a transformer of FLUX.1.*Pass `components`.*black-forest-labs/FLUX.1-dev"
    ):
        open_base(flux[2])


def test_what_does_not_go_with_components_is_refused(flux, tmp_path, small_folder):
    pipeline, folder, file = flux
    with pytest.raises(InputError, match=r"`components` is for single files"):
        open_base(folder, components=folder)
    with pytest.raises(InputError, match=r"`tokenizer` must be left out with `components`"):
        open_base(file, components=folder, tokenizer=folder)
    with pytest.raises(InputError, match=r"but `.*` is a stable-diffusion, whose single files have all parts"):
        open_base(file, components=small_folder)
    with pytest.raises(InputError, match=r"must be a folder in the diffusers layout or a hub name, but got"):
        open_base(file, components=file)
    weights = original_weights(pipeline.transformer)
    del weights["img_in.bias"]
    save_file(weights, tmp_path / "lacking.safetensors")
    with pytest.raises(InputError, match=r"does not fit the flux-1 in .*img_in.bias"):
        open_base(tmp_path / "lacking.safetensors", components=folder)


def test_another_familys_file_is_named(flux, tmp_path):
    torch.manual_seed(0)
    chroma = FLOW_CASES["chroma"].build().transformer
    save_file(original_weights(chroma), tmp_path / "chroma.safetensors")
    with pytest.raises(InputError, match=r"has a transformer of chroma, but `.*` is a flux-1"):
        open_base(tmp_path / "chroma.safetensors", components=flux[1])
    save_file({"abc.weight": torch.zeros(2)}, tmp_path / "abc.safetensors")
    with pytest.raises(InputError, match=r"lack .* tensors .*Pass as `components` a model of the same kind"):
        open_base(tmp_path / "abc.safetensors", components=flux[1], device="cpu")


def test_marks_tell_families_apart(tmp_path):
    layouts = {name: family.transformer_file for name, family in BASES.items() if family.transformer_file}
    assert len({layout.marks for layout in layouts.values()}) == len(layouts) == 14
