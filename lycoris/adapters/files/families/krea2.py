"""Krea 2."""

from __future__ import annotations

from lycoris.adapters.files.families.family import Family, Renames, block_renames

_BLOCK: Renames = {
    "attn.wq": "attn.to_q",
    "attn.wk": "attn.to_k",
    "attn.wv": "attn.to_v",
    "attn.wo": "attn.to_out.0",
    "attn.gate": "attn.to_gate",
    "mlp.gate": "ff.gate",
    "mlp.up": "ff.up",
    "mlp.down": "ff.down",
}

KREA_2 = Family(
    name="krea-2",
    class_names=("Krea2Transformer2DModel",),
    architecture="krea-2",
    base_model_version="krea2",
    renames={
        "first": "img_in",
        "last.linear": "final_layer.linear",
        "tmlp.0": "time_embed.linear_1",
        "tmlp.2": "time_embed.linear_2",
        "tproj.1": "time_mod_proj",
        "txtmlp.1": "txt_in.linear_1",
        "txtmlp.3": "txt_in.linear_2",
        "txtfusion.projector": "text_fusion.projector",
        **block_renames("blocks.{}", "transformer_blocks.{}", _BLOCK),
        **block_renames("txtfusion.layerwise_blocks.{}", "text_fusion.layerwise_blocks.{}", _BLOCK),
        **block_renames("txtfusion.refiner_blocks.{}", "text_fusion.refiner_blocks.{}", _BLOCK),
    },
    diffusers_reads=("comfyui",),
)
