"""Files of every dialect, family and algorithm: each layer's update is that of the dense definition."""

from __future__ import annotations

import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import lycoris
from lycoris.adapters.files.dialects import DIALECTS
from lycoris.adapters.files.keys import find_dialect, split_key, without_adapter_name
from lycoris.errors import InputError
from tests.adapters.dialect_cases import ALGORITHMS_OF, CELLS, NAMES, Cell, file_tensors
from tests.adapters.small_denoisers import DENOISERS


@pytest.fixture(scope="session")
def denoiser():
    """Family → the parts of its small denoiser; tests detach what they attach."""
    built: dict[str, dict[str, nn.Module]] = {}

    def parts(family: str) -> dict[str, nn.Module]:
        if family not in built:
            built[family] = DENOISERS[family].parts()
        return built[family]

    return parts


def deltas(network: lycoris.Network) -> dict[str, Tensor]:
    """Path of a layer → its update."""
    return {
        layer.path: network.adapters[key].eval().structure(layer.weight).dense().detach()
        for key, layer in network.layers.items()
    }


def case_file(cell: Cell, model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The keys of a file, and the path of each layer → its update."""
    generator, keys, expected = torch.Generator().manual_seed(0), {}, {}
    for name, paths in NAMES[cell.dialect][cell.family].items():
        weights = [model.get_submodule(path).weight.detach() for path in paths]
        tensors, delta = file_tensors(cell, name, torch.cat(weights), generator)
        keys |= tensors
        for path, rows in zip(paths, delta.split([len(weight) for weight in weights]), strict=True):
            expected[path] = rows
    return keys, expected


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_file_of_any_dialect_has_the_updates_of_the_dense_definition(cell, denoiser, tmp_path):
    parts = denoiser(cell.family)
    keys, expected = case_file(cell, next(iter(parts.values())))
    save_file({key: values.contiguous() for key, values in keys.items()}, tmp_path / "a.safetensors")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*alpha is taken to be the rank")
        network = lycoris.load(tmp_path / "a.safetensors", parts)
    found = deltas(network)
    network.detach()
    assert set(found) == set(expected)
    assert network.left_out == ()
    for path, delta in expected.items():
        torch.testing.assert_close(found[path], delta, rtol=1e-6, atol=1e-6)


def test_the_table_has_cases_of_every_dialect():
    assert set(NAMES) == set(ALGORITHMS_OF) == set(DIALECTS)
    for name, dialect in DIALECTS.items():
        assert dialect.prefix_of(without_adapter_name(dialect.example)) is not None
        assert find_dialect([dialect.example]).name == name
        assert split_key(dialect.example) is not None


@pytest.mark.parametrize("dialect", list(NAMES))
def test_the_names_of_a_dialect_identify_it(dialect):
    cell = Cell(dialect, next(iter(NAMES[dialect])), "lora")
    keys = [
        key
        for name in NAMES[dialect][cell.family]
        for key in file_tensors(cell, name, torch.zeros(12, 8).double(), torch.Generator())[0]
    ]
    assert find_dialect(keys).name == dialect


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16], ids=str)
def test_tensors_of_low_precision_and_an_alpha_of_any_dtype_are_read(dtype, tmp_path):
    model = nn.Sequential(nn.Linear(6, 8)).double()
    up, down = torch.randn(8, 2).to(dtype), torch.randn(2, 6).to(dtype)
    for alpha in (torch.tensor(3), torch.tensor([3.0]).bfloat16(), torch.tensor(3.0).to(dtype)):
        tensors = {"lycoris_0.lora_up.weight": up, "lycoris_0.lora_down.weight": down, "lycoris_0.alpha": alpha}
        save_file(tensors, tmp_path / "a.safetensors")
        network = lycoris.load(tmp_path / "a.safetensors", model)
        torch.testing.assert_close(deltas(network)["0"], up.double() @ down.double() * 1.5)
        network.detach()


@pytest.mark.parametrize(
    "tensors",
    [
        {"lora_up.weight": (8, 2), "lora_down.weight": (2, 6), "diff_b": (8,)},
        {"lora_B.weight": (8, 2), "lora_A.weight": (2, 6), "lora_B.bias": (8,)},
        {"diff": (8, 6), "diff_b": (8,)},
        {"diff_b": (8,)},
    ],
    ids=" ".join,
)
def test_a_change_of_the_bias_acts_beside_any_update(tensors, tmp_path):
    model = nn.Sequential(nn.Linear(6, 8)).double()
    values = {name: torch.randn(shape, dtype=torch.float64) for name, shape in tensors.items()}
    save_file({f"model.0.{name}": tensor for name, tensor in values.items()}, tmp_path / "a.safetensors")
    x = torch.randn(3, 6, dtype=torch.float64)
    plain = model(x)
    network = lycoris.load(tmp_path / "a.safetensors", model)
    live = model(x)
    bias = next(tensor for name, tensor in values.items() if "b" in name.split("_")[-1] and tensor.dim() == 1)
    expected = plain + bias + x @ deltas(network)["0"].t()
    torch.testing.assert_close(live, expected)
    network.merge()
    torch.testing.assert_close(model(x), expected)
    network.unmerge()
    network.save(tmp_path / "b.safetensors", format="lycoris", dtype="float64")
    network.detach()
    lycoris.load(tmp_path / "b.safetensors", model)
    torch.testing.assert_close(model(x), expected)


def test_norms_of_comfyui_and_a_sparse_update_of_lycoris_are_read(tmp_path):
    model = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 8)).double()
    gain, up, down = torch.randn(6).double(), torch.randn(8, 2).double(), torch.randn(2, 6).double()
    tensors = {"model.0.diff": gain, "model.1.lora_up.weight": up, "model.1.lora_down.weight": down}
    tensors |= {
        "model.1.bias_indices": torch.tensor([[0, 7], [3, 5]]),
        "model.1.bias_values": torch.tensor([0.5, 0.25]),
        "model.1.bias_size": torch.tensor([8, 6]),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    found = deltas(lycoris.load(tmp_path / "a.safetensors", model))
    expected = up @ down
    expected[0, 3] += 0.5
    expected[7, 5] += 0.25
    torch.testing.assert_close(found["0"], gain)
    torch.testing.assert_close(found["1"], expected)


def _lora(name: str, out: int, inputs: int) -> dict[str, Tensor]:
    return {f"{name}.lora_up.weight": torch.ones(out, 2), f"{name}.lora_down.weight": torch.ones(2, inputs)}


def test_a_part_of_a_file_is_loaded_and_the_rest_is_named(parts, tmp_path):
    q = "mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    width = parts["unet"].get_submodule("mid_block.attentions.0.transformer_blocks.0.attn1.to_q").in_features
    other = _lora("lora_te_text_model_encoder_layers_0_mlp_fc1", 48, 32)
    save_file({**_lora(f"lora_unet_{q}", width, width), **other}, tmp_path / "a.safetensors")
    unet = {"unet": parts["unet"]}
    with pytest.raises(InputError, match=r"dialect `kohya`.*parts are: unet.*`strict=False`"):
        lycoris.load(tmp_path / "a.safetensors", unet)
    with pytest.warns(UserWarning, match="2 of 4 keys are left out"):
        network = lycoris.load(tmp_path / "a.safetensors", unet, strict=False)
    assert list(network.layers) == [f"lora_unet_{q}"]
    assert set(network.left_out) == set(other)
    network.detach()
    save_file(other, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="layers that the model does not have"):
        lycoris.load(tmp_path / "b.safetensors", unet, strict=False)


def test_embeddings_beside_an_adapter_are_named_and_kept_aside(tmp_path):
    model = nn.Sequential(nn.Linear(6, 8))
    tensors = {**_lora("lycoris_0", 8, 6), "bundle_emb.my toy.clip_l": torch.ones(2, 24)}
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.warns(UserWarning, match=r"1 of 3 keys are left out: `bundle_emb\.my toy\.clip_l`"):
        network = lycoris.load(tmp_path / "a.safetensors", model)
    assert network.left_out == ("bundle_emb.my toy.clip_l",)
    network.detach()
    with pytest.warns(UserWarning, match="are left out"):
        report = lycoris.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", format="lycoris", rank=1)
    assert report.left_out == ("bundle_emb.my toy.clip_l",)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"unknown": torch.ones(1)}, "1 layers that the model does not have: `unknown`"),
        ({"lycoris_0.alpha": torch.tensor([1.0, 1.0])}, "`alpha` must be one number"),
        ({"lycoris_0.bias_indices": torch.zeros(2, 1)}, "a sparse update needs the keys"),
        ({"model.0.lora_up.weight": torch.ones(8, 2)}, "twice, under two names"),
        ({"lycoris_0.set_weight": torch.ones(1)}, "`set_weight`"),
    ],
)
def test_every_key_of_a_file_is_used_or_named_or_an_error(more, match, tmp_path):
    save_file({**_lora("lycoris_0", 8, 6), **more}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=match):
        lycoris.load(tmp_path / "a.safetensors", nn.Sequential(nn.Linear(6, 8)))


def test_a_name_that_stands_for_layers_of_two_parts_is_an_error(tmp_path):
    parts = {"text_encoder": nn.Sequential(nn.Linear(6, 8)), "text_encoder_2": nn.Sequential(nn.Linear(6, 8))}
    save_file(_lora("base_model.model.0", 8, 6), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"stands for several layers.*text_encoder\.0, text_encoder_2\.0"):
        lycoris.load(tmp_path / "a.safetensors", parts)


def test_a_lokr_whose_factors_have_any_rank_is_read(tmp_path):
    w1, a, b = torch.randn(4, 3).double(), torch.randn(2, 6).double(), torch.randn(6, 2).double()
    tensors = {"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(3.0)}
    save_file({f"lycoris_0.{name}": values for name, values in tensors.items()}, tmp_path / "a.safetensors")
    found = deltas(lycoris.load(tmp_path / "a.safetensors", nn.Sequential(nn.Linear(6, 8)).double()))
    torch.testing.assert_close(found["0"], torch.kron(w1, a @ b) / 2)


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("module.first", ("lora_A.weight", "lora_B.weight")),
        ("_orig_mod.first", ("lora_A.weight", "lora_B.weight")),
        ("_fsdp_wrapped_module.first", ("lora_A.weight", "lora_B.weight")),
        ("_checkpoint_wrapped_module.first", ("lora_A.weight", "lora_B.weight")),
        ("lycoris__fsdp_wrapped_module_first", ("lora_down.weight", "lora_up.weight")),
        ("base_model.model._orig_mod.first", ("lora_A.default.weight", "lora_B.default.weight")),
        ("base_model.model.module.first", ("lora_A.weight", "lora_B.weight")),
        ("lycoris__orig_mod_first", ("lora_down.weight", "lora_up.weight")),
        ("first", ("lora.down.weight", "lora.up.weight")),
    ],
)
def test_names_of_wrappers_are_no_part_of_a_path(name, ends, tmp_path):
    model = nn.ModuleDict({"first": nn.Linear(6, 8)}).double()
    down, up = torch.randn(2, 6, dtype=torch.float64), torch.randn(8, 2, dtype=torch.float64)
    save_file({f"{name}.{ends[0]}": down, f"{name}.{ends[1]}": up}, tmp_path / "a.safetensors")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*alpha is taken to be the rank")
        network = lycoris.load(tmp_path / "a.safetensors", model)
    torch.testing.assert_close(deltas(network)["first"], up @ down)


def test_the_layers_of_a_wrapped_module_keep_their_own_name(tmp_path):
    model = nn.ModuleDict({"module": nn.ModuleDict({"first": nn.Linear(6, 8)})}).double()
    network = lycoris.attach(model, "lora", layers=[r"module\.first"], rank=2)
    network.save(tmp_path / "a.safetensors", format="diffusers")
    network.detach()
    assert len(lycoris.load(tmp_path / "a.safetensors", model)) == 1


def test_attention_of_text_encoders_in_old_files_is_read(parts, tmp_path):
    text_encoder = parts["text_encoder"]
    tensors, expected = {}, {}
    for old, name in {"to_q": "q_proj", "to_out": "out_proj"}.items():
        path = next(path for path, _ in text_encoder.named_modules() if path.endswith(f"layers.0.self_attn.{name}"))
        up, down = torch.randn(32, 2), torch.randn(2, 32)
        stem = f"text_encoder.text_model.encoder.layers.0.self_attn.{old}_lora"
        tensors |= {f"{stem}.up.weight": up, f"{stem}.down.weight": down}
        expected[path] = up @ down
    save_file(tensors, tmp_path / "a.safetensors")
    found = deltas(lycoris.load(tmp_path / "a.safetensors", {"text_encoder": text_encoder}))
    assert set(found) == set(expected)
    for path, delta in expected.items():
        torch.testing.assert_close(found[path], delta)
