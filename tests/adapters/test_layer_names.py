"""Names of layers in files, on the module trees of the real models: as kohya's tools, LyCORIS and PEFT write them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

import lycoris
from benchmarks.peers.trees import TREES, tree
from lycoris.adapters.files.dialects import DIALECTS
from lycoris.adapters.files.layer_names import find_layers
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS
from tests.adapters.cases import randomize

FULL = {
    "sd15": ({"lora_unet": 278, "lora_te": 72}, "44edcda39c262433"),
    "sdxl": ({"lora_unet": 788, "lora_te1": 72, "lora_te2": 192}, "231dc80db7c1b20b"),
    "sd3": ({"lora_unet": 341, "lora_te1": 72, "lora_te2": 192, "lora_te3": 168}, "830ed6e67904a3c7"),
    "flux": ({"lora_unet": 504, "lora_te1": 72, "lora_te3": 168}, "67f1cc9afa525e5b"),
}
"""Layers of the full preset by prefix, and the start of the SHA-256 of all their names, sorted, one a line."""

SOME = {
    "sd15": ["lora_te_text_model_encoder_layers_11_mlp_fc2", "lora_unet_up_blocks_3_resnets_2_time_emb_proj"],
    "sdxl": [
        "lora_te2_text_model_encoder_layers_31_self_attn_out_proj",
        "lora_unet_input_blocks_3_0_op",
        "lora_unet_input_blocks_4_0_skip_connection",
        "lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_out_0",
        "lora_unet_middle_block_1_proj_in",
        "lora_unet_middle_block_2_emb_layers_1",
        "lora_unet_output_blocks_2_2_conv",
        "lora_unet_output_blocks_8_0_out_layers_3",
    ],
    "sd3": ["lora_unet_transformer_blocks_23_attn_to_q", "lora_te3_encoder_block_23_layer_1_DenseReluDense_wi_1"],
    "flux": ["lora_unet_single_transformer_blocks_37_proj_mlp", "lora_te1_text_model_encoder_layers_0_mlp_fc1"],
}


@pytest.mark.parametrize("name", list(TREES))
def test_the_full_preset_has_the_known_names(name):
    counts, digest = FULL[name]
    keys = sorted(lycoris.attach(tree(name), "lora", preset="full", rank=1).adapters)
    assert Counter("_".join(key.split("_")[:2]) for key in keys) == counts
    assert set(SOME[name]) <= set(keys)
    assert hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16] == digest


def test_the_original_names_of_sdxl_are_those_that_diffusers_converts_back():
    from diffusers import StableDiffusionXLPipeline

    unet = tree("sdxl")["unet"]
    layers = find_layers({"unet": unet}, MATRIX_LAYERS)
    ones = {"lora_down.weight": torch.ones(1, 1), "lora_up.weight": torch.ones(1, 1), "alpha": torch.ones(())}
    file = {f"{layer.key}.{name}": value for layer in layers for name, value in ones.items()}
    turned = StableDiffusionXLPipeline.lora_state_dict(file, unet_config=unet.config)
    turned = turned[0] if isinstance(turned, tuple) else turned
    paths = {re.split("[._]lora", key.removeprefix("unet.").replace(".processor", ""))[0] for key in turned}
    paths = {f"{path}.0" if path.endswith(".to_out") else path for path in paths}
    assert paths == {layer.path for layer in layers}
    assert len(paths) == 794
    names = [{name for name, _ in DIALECTS["kohya"].layer_names(layer)} for layer in layers]
    assert all(
        {layer.key, "lora_unet_" + layer.path.replace(".", "_")} <= known
        for layer, known in zip(layers, names, strict=True)
    )


@pytest.fixture
def small_sdxl():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=4,
        cross_attention_dim=16,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=40,
        use_linear_projection=True,
    ).eval()


def _forward(unet):
    generator = torch.Generator().manual_seed(3)
    latent, text = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 5, 16, generator=generator)
    more = {"text_embeds": torch.ones(1, 16), "time_ids": torch.ones(1, 6)}
    with torch.no_grad():
        return unet(latent, 10, text, added_cond_kwargs=more).sample


@pytest.mark.parametrize("named", ["original", "diffusers"])
def test_sdxl_files_with_either_names_load(named, small_sdxl, tmp_path):
    network = lycoris.attach(small_sdxl, "lora", preset="everything", rank=2)
    randomize(network)
    output = _forward(small_sdxl)
    network.save(tmp_path / "a.safetensors")
    network.detach()
    tensors = load_file(tmp_path / "a.safetensors")
    assert any(key.startswith("lora_unet_input_blocks_4_1_") for key in tensors)
    if named == "diffusers":
        other = {layer.key: "lora_unet_" + layer.path.replace(".", "_") for layer in network.layers.values()}
        tensors = {f"{other[name]}.{rest}": t for key, t in tensors.items() for name, _, rest in [key.partition(".")]}
    save_file(tensors, tmp_path / "b.safetensors")
    lycoris.load(tmp_path / "b.safetensors", small_sdxl)
    torch.testing.assert_close(_forward(small_sdxl), output)
