"""Z-Image and Lumina 2, whose original implementations are alike."""

from __future__ import annotations

from lycoris.adapters.files.families.family import Family, Renames, block_renames

_BLOCKS = ("layers", "noise_refiner", "context_refiner")


def _in_every_block(renames: Renames) -> Renames:
    return {
        path: members
        for block in _BLOCKS
        for path, members in block_renames(f"{block}.{{}}", f"{block}.{{}}", renames).items()
    }


Z_IMAGE = Family(
    name="z-image",
    class_names=("ZImageTransformer2DModel",),
    architecture="Z-Image",
    base_model_version="zimage",
    renames={
        "x_embedder": "all_x_embedder.2-1",
        "final_layer.linear": "all_final_layer.2-1.linear",
        "final_layer.adaLN_modulation.1": "all_final_layer.2-1.adaLN_modulation.1",
        **_in_every_block(
            {
                "attention.qkv": ("attention.to_q", "attention.to_k", "attention.to_v"),
                "attention.out": "attention.to_out.0",
                "attention.q_norm": "attention.norm_q",
                "attention.k_norm": "attention.norm_k",
            }
        ),
    },
    diffusers_reads=("kohya",),
)
LUMINA_2 = Family(
    name="lumina-2",
    class_names=("Lumina2Transformer2DModel",),
    architecture="lumina-2",
    base_model_version="lumina2",
    renames={
        "cap_embedder.0": "time_caption_embed.caption_embedder.0",
        "cap_embedder.1": "time_caption_embed.caption_embedder.1",
        "t_embedder.mlp.0": "time_caption_embed.timestep_embedder.linear_1",
        "t_embedder.mlp.2": "time_caption_embed.timestep_embedder.linear_2",
        "final_layer.adaLN_modulation.1": "norm_out.linear_1",
        "final_layer.linear": "norm_out.linear_2",
        **_in_every_block(
            {
                "attention.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
                "attention.out": "attn.to_out.0",
                "attention.q_norm": "attn.norm_q",
                "attention.k_norm": "attn.norm_k",
                "feed_forward.w1": "feed_forward.linear_1",
                "feed_forward.w2": "feed_forward.linear_2",
                "feed_forward.w3": "feed_forward.linear_3",
                "adaLN_modulation.1": "norm1.linear",
                "attention_norm2": "norm2",
            }
        ),
        "context_refiner.{}.attention_norm1": "context_refiner.{}.norm1",
        "layers.{}.attention_norm1": "layers.{}.norm1.norm",
        "noise_refiner.{}.attention_norm1": "noise_refiner.{}.norm1.norm",
    },
    comfyui_reads_diffusers=False,
    diffusers_reads_blocks=("comfyui",),
)
