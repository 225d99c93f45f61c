"""FLUX.1, FLUX.2 and Chroma."""

from __future__ import annotations

from lycoris.adapters.files.families.family import Family, Renames, block_renames

_EMBEDDERS: Renames = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_DOUBLE: Renames = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
}
_SINGLE: Renames = {"norm.query_norm": "attn.norm_q", "norm.key_norm": "attn.norm_k"}
_MLP_1: Renames = {
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
}
_MLP_2: Renames = {
    "img_mlp.0": "ff.linear_in",
    "img_mlp.2": "ff.linear_out",
    "txt_mlp.0": "ff_context.linear_in",
    "txt_mlp.2": "ff_context.linear_out",
}
_SINGLE_1: Renames = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": "proj_out",
    "modulation.lin": "norm.linear",
}
_SINGLE_2: Renames = {"linear1": "attn.to_qkv_mlp_proj", "linear2": "attn.to_out"}


def _blocks(double: Renames, single: Renames) -> Renames:
    return {
        **block_renames("double_blocks.{}", "transformer_blocks.{}", {**_DOUBLE, **double}),
        **block_renames("single_blocks.{}", "single_transformer_blocks.{}", {**_SINGLE, **single}),
    }


def _embedding(original: str, diffusers: str) -> Renames:
    return {f"{original}.in_layer": f"{diffusers}.linear_1", f"{original}.out_layer": f"{diffusers}.linear_2"}


FLUX_1 = Family(
    name="flux.1",
    class_names=("FluxTransformer2DModel",),
    architecture="flux-1-dev",
    base_model_version="flux1",
    renames={
        **_EMBEDDERS,
        **_embedding("time_in", "time_text_embed.timestep_embedder"),
        **_embedding("vector_in", "time_text_embed.text_embedder"),
        **_embedding("guidance_in", "time_text_embed.guidance_embedder"),
        **_blocks(_MLP_1, _SINGLE_1),
    },
    swapped=("final_layer.adaLN_modulation.1",),
    diffusers_reads=("kohya",),
)
CHROMA = Family(
    name="chroma",
    class_names=("ChromaTransformer2DModel",),
    architecture="chroma",
    base_model_version="chroma",
    renames={
        **{name: path for name, path in _EMBEDDERS.items() if "adaLN" not in name},
        **_embedding("distilled_guidance_layer.layers.{}", "distilled_guidance_layer.layers.{}"),
        **_blocks(_MLP_1, _SINGLE_1),
    },
    diffusers_reads=("kohya",),
)
FLUX_2 = Family(
    name="flux.2",
    class_names=("Flux2Transformer2DModel",),
    architecture="flux-2",
    base_model_version="flux2",
    renames={
        **_EMBEDDERS,
        **_embedding("time_in", "time_guidance_embed.timestep_embedder"),
        **_embedding("guidance_in", "time_guidance_embed.guidance_embedder"),
        "double_stream_modulation_img.lin": "double_stream_modulation_img.linear",
        "double_stream_modulation_txt.lin": "double_stream_modulation_txt.linear",
        "single_stream_modulation.lin": "single_stream_modulation.linear",
        **_blocks(_MLP_2, _SINGLE_2),
    },
    swapped=("final_layer.adaLN_modulation.1",),
    diffusers_reads=("kohya", "comfyui"),
)
