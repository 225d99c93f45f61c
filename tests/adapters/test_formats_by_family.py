"""What is written for every family: read back, by the readers' own names, and through diffusers' own loaders."""

from __future__ import annotations

import functools
import re

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import lycoris
from lycoris.adapters.files.families import FAMILIES
from lycoris.adapters.files.layer_names import find_layers
from lycoris.errors import InputError
from tests.adapters.cases import randomize
from tests.adapters.dialect_cases import NAMES
from tests.adapters.small_denoisers import DENOISERS
from tests.adapters.test_dialects import deltas

ATTENTION = r".*(to_q|to_k|to_v|to_out\.0|add_[qkv]_proj|to_add_out|to_qkv_mlp_proj|proj_mlp)"
UNET_ATTENTION = r".*attentions\.0\..*(attn1\.to_q|attn2\.to_out\.0)"
FORMATS = ("lycoris", "kohya", "comfyui", "diffusers", "peft")
ALGORITHMS = ("lora", "dora", "loha", "lokr", "full")
CHECKPOINTS = {
    "flux.1": "convert_flux_transformer_checkpoint_to_diffusers",
    "flux.2": "convert_flux2_transformer_checkpoint_to_diffusers",
    "stable-diffusion-3": "convert_sd3_transformer_checkpoint_to_diffusers",
    "z-image": "convert_z_image_transformer_checkpoint_to_diffusers",
    "auraflow": "convert_auraflow_transformer_checkpoint_to_diffusers",
    "krea-2": "convert_krea2_transformer_checkpoint_to_diffusers",
    "wan": "convert_wan_transformer_to_diffusers",
}
"""Family → the function with which diffusers reads checkpoints of the original implementation."""
REFUSED = {
    **{("kohya", family, algorithm): "fuses" for family in DENOISERS for algorithm in ("dora", "loha", "lokr")},
    **{
        ("comfyui", family, algorithm): "fuses"
        for family in ("lumina-2", "ideogram-4")
        for algorithm in ALGORITHMS[1:4]
    },
    **{(format, "sana", algorithm): "not known" for format in ("kohya", "comfyui") for algorithm in ALGORITHMS},
    **{("diffusers", family, algorithm): "Only plain LoRA" for family in DENOISERS for algorithm in ALGORITHMS[1:]},
    **{("peft", family, "full"): "`peft` cannot hold" for family in DENOISERS},
}
"""(format, family, algorithm) → why the format does not hold it. Families that fuse nothing hold LoHa and LoKr too."""
FUSED = {"stable-diffusion-3", "flux.1", "chroma", "flux.2", "z-image", "lumina-2", "ideogram-4"}
"""Families of which the original implementation fuses q, k and v."""


def is_refused(format: str, family: str, algorithm: str) -> str | None:
    """Why a format does not hold an algorithm; None where it does."""
    reason = REFUSED.get((format, family, algorithm))
    return None if reason == "fuses" and family not in FUSED else reason


@functools.cache
def shared_parts(family: str) -> dict[str, nn.Module]:
    """The parts of a family's small denoiser, built once; tests detach what they attach."""
    return DENOISERS[family].parts()


def trained(
    family: str, algorithm: str = "lora", parts: dict[str, nn.Module] | None = None, **options
) -> tuple[lycoris.Network, dict[str, nn.Module]]:
    """A network with random values on the attention of a small denoiser, in UNets on a part of every block."""
    parts = shared_parts(family) if parts is None else parts
    options = options or ({"bias": False} if algorithm == "full" else {"factor": 2} if algorithm == "lokr" else {})
    options |= {"rank": 2, "alpha": 3.0} if algorithm in ("lora", "dora", "loha") else {}
    options |= {"dora": "output"} if algorithm == "dora" else {}
    algorithm = "lora" if algorithm == "dora" else algorithm
    pattern = UNET_ATTENTION if DENOISERS[family].part == "unet" else ATTENTION
    network = lycoris.attach(parts, algorithm, layers=[pattern], **options)
    randomize(network)
    return network, parts


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("family", list(DENOISERS))
def test_every_format_restores_the_updates_exactly_or_refuses(family, algorithm, tmp_path):
    network, parts = trained(family, algorithm)
    expected = deltas(network)
    network.detach()
    for format in FORMATS:
        path = tmp_path / ("peft" if format == "peft" else f"{format}.safetensors")
        reason = is_refused(format, family, algorithm)
        if reason is not None:
            with pytest.raises(InputError, match=reason):
                network.save(path, format=format)
            continue
        network.save(path, format=format, dtype="float64")
        again = lycoris.load(path, parts)
        found = deltas(again)
        again.detach()
        assert set(found) == set(expected)
        for name, delta in expected.items():
            torch.testing.assert_close(found[name], delta, rtol=0, atol=1e-12)


def key_map(family: str, format: str) -> dict[str, tuple[str, ...]]:
    """The names that a format's readers have for layers of a family, written down as data; none where there are none.

    UNets have kohya's names in LyCORIS's format too. musubi-tuner's files of Z-Image have the names of diffusers, where
    ours have those of ComfyUI's key map.
    """
    if family in ("stable-diffusion-1", "stable-diffusion-xl") and format == "lycoris":
        return dict(NAMES["kohya"][family])
    is_other = family == "z-image" and format == "kohya"
    return {} if is_refused(format, family, "lora") or is_other else dict(NAMES[format].get(family, {}))


@pytest.mark.parametrize(
    ("family", "format"),
    [(family, format) for family in DENOISERS for format in ("kohya", "comfyui", "lycoris") if key_map(family, format)],
)
def test_written_names_are_those_of_the_readers_key_maps(family, format, tmp_path):
    known = key_map(family, format)
    parts = shared_parts(family)
    paths = {path for members in known.values() for path in members}
    network = lycoris.attach(parts, "lora", layers=[re.escape(path) for path in paths], rank=1)
    network.save(tmp_path / "a.safetensors", format=format)
    network.detach()
    written = {
        re.sub(r"\.(lora_\w+\.weight|lora_[AB]\.weight|alpha)$", "", key)
        for key in load_file(tmp_path / "a.safetensors")
    }
    assert written == set(known)


@pytest.mark.parametrize("family", list(CHECKPOINTS))
def test_original_paths_are_those_from_which_diffusers_reads_checkpoints(family):
    from diffusers.loaders import single_file_utils

    model = shared_parts(family)["transformer"]
    layers = [layer for layer in find_layers({"transformer": model}, (nn.Linear, nn.Conv2d, nn.Conv3d))]
    fused: dict[str, dict[int, Tensor]] = {}
    for layer in layers:
        rows = layer.original
        assert rows is not None
        weight = layer.weight.detach()
        halves = torch.cat(weight.chunk(2)[::-1]) if rows.halves_swapped else weight
        fused.setdefault(f"{rows.path}.weight", {})[rows.first] = halves
    original = {key: torch.cat([part for _, part in sorted(parts.items())]) for key, parts in fused.items()}
    expected = {f"{layer.path}.weight": layer.weight for layer in layers}
    extra = {"pos_embed": torch.ones(1), "positional_encoding": torch.ones(1)}
    extra |= {key.replace("weight", "bias"): torch.ones(len(weight)) for key, weight in original.items()}
    if family == "flux.1":  # the rows of the fused single blocks are those of the published model alone
        extra |= {f"single_blocks.0.linear1.{name}": torch.ones(7 * 3072) for name in ("weight", "bias")}
        expected = {key: weight for key, weight in expected.items() if not re.match(r"single.*(to_[qkv]|mlp)\.", key)}
    converter = getattr(single_file_utils, CHECKPOINTS[family])
    converted = _convert(converter, original, extra, model)
    for key, weight in expected.items():
        assert torch.equal(converted[key], weight), key


def _convert(converter, original: dict[str, Tensor], extra: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Convert a checkpoint, which must have every key that the converter takes out; those of no weight are ones."""
    checkpoint = {**original, **extra}
    for _ in range(200):
        try:
            return converter(dict(checkpoint), config=dict(model.config))
        except KeyError as error:
            checkpoint[error.args[0]] = torch.ones(2)
    raise AssertionError("the converter takes too many keys")


def load_into(family: str, path, parts: dict[str, nn.Module]) -> None:
    """Load a file with the loader of the family's pipeline in diffusers."""
    import diffusers

    pipeline, part = getattr(diffusers, DENOISERS[family].pipeline), DENOISERS[family].part
    settings = {"unet_config": parts["unet"].config} if family == "stable-diffusion-xl" else {}
    loaded = pipeline.lora_state_dict(path, **settings)
    state_dict, alphas = loaded if isinstance(loaded, tuple) else (loaded, None)
    has_alphas = part == "unet" or family in ("flux.1", "chroma")
    settings = {"network_alphas": alphas} if has_alphas else {}
    getattr(pipeline, f"load_lora_into_{part}")(state_dict, **{part: parts[part]}, **settings)


@pytest.mark.parametrize(
    ("family", "format"),
    [
        (family, format)
        for family in DENOISERS
        for format in ("diffusers", None)
        if (family, format) != ("lumina-2", None)  # of which diffusers knows the widths of the published model only
    ],
)
def test_diffusers_own_loader_gives_every_layer_the_same_update(family, format, tmp_path):
    pytest.importorskip("peft")
    network, parts = trained(family, parts=DENOISERS[family].parts())  # diffusers puts PEFT's layers in
    expected = deltas(network)
    assert all(delta.abs().max() > 0.01 for delta in expected.values())
    network.save(tmp_path / "a.safetensors", format=format, dtype="float64")
    network.detach()
    load_into(family, tmp_path / "a.safetensors", parts)
    model = parts[DENOISERS[family].part]
    for path, delta in expected.items():
        layer = model.get_submodule(path)
        found = layer.get_delta_weight(layer.active_adapters[0])
        torch.testing.assert_close(found.reshape(delta.shape), delta, rtol=1e-6, atol=1e-6)


def test_split_loras_fuse_into_a_block_structured_one_and_back(tmp_path):
    network, parts = trained("flux.1")
    network.save(tmp_path / "a.safetensors", format="kohya", dtype="float64")
    network.detach()
    tensors = load_file(tmp_path / "a.safetensors")
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    up, down = tensors[f"{name}.lora_up.weight"], tensors[f"{name}.lora_down.weight"]
    assert up.shape == (48, 6)
    assert down.shape == (6, 16)
    blocks = up.view(3, 16, 3, 2)
    assert all((blocks[i, :, j] == 0).all() == (i != j) for i in range(3) for j in range(3))
    lycoris.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", format="diffusers")
    lycoris.convert(tmp_path / "b.safetensors", tmp_path / "c.safetensors", format="kohya", model=parts)
    again = load_file(tmp_path / "c.safetensors")
    assert again[f"{name}.lora_down.weight"].shape == (6, 16)  # one `down` for the three is not stored thrice
    product = up @ down * (tensors[f"{name}.alpha"] / 6)
    torch.testing.assert_close(again[f"{name}.lora_up.weight"] @ again[f"{name}.lora_down.weight"], product)


def test_a_missing_member_of_a_fused_layer_has_rows_of_zeros(tmp_path):
    parts = shared_parts("flux.1")
    network = lycoris.attach(parts, "lora", layers=[r"single_transformer_blocks\.0\.attn\.to_k"], rank=2)
    randomize(network)
    network.save(tmp_path / "a.safetensors", format="comfyui", dtype="float64")
    network.detach()
    up = load_file(tmp_path / "a.safetensors")["diffusion_model.single_blocks.0.linear1.lora_B.weight"]
    assert up.shape == (3 * 16 + 64, 2)
    assert (up.abs().sum(1) > 0).nonzero().flatten().tolist() == list(range(16, 32))


@pytest.mark.parametrize("family", list(DENOISERS))
def test_headers_name_the_architecture_of_every_family(family, tmp_path):
    network, _ = trained(family)
    network.save(tmp_path / "a.safetensors")
    network.detach()
    metadata = lycoris.read_metadata(tmp_path / "a.safetensors")
    assert metadata["modelspec.architecture"] == f"{FAMILIES[family].architecture}/lora"
    assert metadata["ss_base_model_version"] == FAMILIES[family].base_model_version
    assert metadata["modelspec.resolution"] == FAMILIES[family].resolution
    assert metadata["modelspec.hash_sha256"] == f"0x{metadata['sshs_model_hash']}"
    architectures = [each.architecture for each in FAMILIES.values()]
    assert len(set(architectures)) == len(architectures)


@pytest.mark.parametrize("target", FORMATS[:4])
@pytest.mark.parametrize("source", FORMATS[:4])
def test_a_file_of_flux_converts_from_and_to_every_format_without_a_model(source, target, tmp_path):
    network, parts = trained("flux.1")
    expected = deltas(network)
    network.save(tmp_path / "a.safetensors", format=source, dtype="float64")
    network.detach()
    lycoris.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", format=target)
    again = lycoris.load(tmp_path / "b.safetensors", parts)
    found = deltas(again)
    again.detach()
    assert set(found) == set(expected)
    for path, delta in expected.items():
        torch.testing.assert_close(found[path], delta, rtol=0, atol=1e-12)


def reads_as_silent_nothing_or_refuses(family: str, path, expected: dict[str, Tensor]) -> bool:
    """Whether diffusers' own loader refuses a file or gives no layer an update; False where every update is right."""
    parts = DENOISERS[family].parts()  # diffusers puts PEFT's layers in
    try:
        load_into(family, path, parts)
    except (AssertionError, AttributeError, KeyError, RuntimeError, ValueError):
        return True
    layers = {name: parts[DENOISERS[family].part].get_submodule(name) for name in expected}
    if not any(hasattr(layer, "get_delta_weight") for layer in layers.values()):
        return True
    for name, delta in expected.items():
        found = layers[name].get_delta_weight(layers[name].active_adapters[0])
        torch.testing.assert_close(found.reshape(delta.shape), delta, rtol=1e-6, atol=1e-6)
    return False


PUBLISHED_SIZES = {("flux.1", "kohya"), ("chroma", "kohya")}
"""(family, format) of which diffusers knows the published models' widths only."""


@pytest.mark.parametrize(
    ("family", "format"),
    [
        (family, format)
        for family in DENOISERS
        for format in ("kohya", "comfyui", *(["lycoris"] if family == "flux.1" else []))
        if not is_refused(format, family, "lora") and (family, format) not in PUBLISHED_SIZES
    ],
)
def test_convert_says_where_diffusers_does_not_read_the_format(family, format, tmp_path):
    pytest.importorskip("peft")
    network, parts = trained(family)
    expected = deltas(network)
    network.save(tmp_path / "a.safetensors", dtype="float64")
    network.detach()
    report = lycoris.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", format=format, model=parts)
    is_unread = reads_as_silent_nothing_or_refuses(family, tmp_path / "b.safetensors", expected)
    assert is_unread == bool(report.notes)
    only = format in FAMILIES[family].diffusers_reads_blocks
    words = f"{'reads' if only else 'does not read'} format `{format}` of {family}"
    assert all(words in note for note in report.notes)
    assert is_unread == (format not in FAMILIES[family].diffusers_reads)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "format"), sorted(PUBLISHED_SIZES))
def test_diffusers_reads_the_fused_layers_of_published_models(family, format, tmp_path):
    import diffusers

    class_name = FAMILIES[family].class_names[0]
    with torch.device("meta"):
        model = getattr(diffusers, class_name)(num_layers=1, num_single_layers=1)
    network = lycoris.attach({"transformer": model}, "lora", rank=1, preset="attn-mlp").to_empty(device="cpu")
    randomize(network)
    network.save(tmp_path / "a.safetensors", format=format, dtype="float64")
    loaded = getattr(diffusers, DENOISERS[family].pipeline).lora_state_dict(tmp_path / "a.safetensors")
    assert len(loaded) == 2 * len(network)
    for key, layer in network.layers.items():
        tensors = network.adapters[key].state_tensors()
        delta = tensors["lora_up.weight"] @ tensors["lora_down.weight"] * tensors["alpha"]
        product = loaded[f"transformer.{layer.path}.lora_B.weight"] @ loaded[f"transformer.{layer.path}.lora_A.weight"]
        torch.testing.assert_close(product, delta.to(product.dtype), rtol=1e-6, atol=1e-6)
