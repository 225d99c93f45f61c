"""Families whose original implementation has the paths of diffusers, or few others."""

from __future__ import annotations

from lycoris.adapters.files.families.family import Family, Renames, block_renames

QWEN_IMAGE = Family(
    name="qwen-image",
    class_names=("QwenImageTransformer2DModel",),
    architecture="Qwen-Image",
    base_model_version="qwen_image",
    renames={},
    resolution="1328x1328",
    diffusers_reads=("kohya", "comfyui"),
)
HIDREAM = Family(
    name="hidream-i1",
    class_names=("HiDreamImageTransformer2DModel",),
    architecture="hidream-i1",
    base_model_version="hidream_i1",
    renames={},
    diffusers_reads=("comfyui",),
)
IDEOGRAM_4 = Family(
    name="ideogram-4",
    class_names=("Ideogram4Transformer2DModel",),
    architecture="ideogram-4",
    base_model_version="ideogram4",
    renames=block_renames(
        "layers.{}",
        "layers.{}",
        {
            "attention.qkv": ("attention.to_q", "attention.to_k", "attention.to_v"),
            "attention.o": "attention.to_out.0",
        },
    ),
    comfyui_reads_diffusers=False,
    diffusers_reads=("comfyui",),
)
_WAN_BLOCK: Renames = {
    **{f"self_attn.{name}": f"attn1.to_{name}" for name in "qkv"},
    **{f"cross_attn.{name}": f"attn2.to_{name}" for name in "qkv"},
    "self_attn.o": "attn1.to_out.0",
    "cross_attn.o": "attn2.to_out.0",
    "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj",
    "self_attn.norm_q": "attn1.norm_q",
    "self_attn.norm_k": "attn1.norm_k",
    "cross_attn.norm_q": "attn2.norm_q",
    "cross_attn.norm_k": "attn2.norm_k",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "norm2": "norm3",
    "norm3": "norm2",
}
WAN = Family(
    name="wan",
    class_names=("WanTransformer3DModel",),
    architecture="wan2.1",
    base_model_version="wan2.1",
    renames={
        "time_embedding.0": "condition_embedder.time_embedder.linear_1",
        "time_embedding.2": "condition_embedder.time_embedder.linear_2",
        "text_embedding.0": "condition_embedder.text_embedder.linear_1",
        "text_embedding.2": "condition_embedder.text_embedder.linear_2",
        "time_projection.1": "condition_embedder.time_proj",
        "head.head": "proj_out",
        **block_renames("blocks.{}", "blocks.{}", _WAN_BLOCK),
    },
    resolution="832x480",
    comfyui_reads_diffusers=False,
    diffusers_reads=("comfyui",),
    diffusers_reads_blocks=("kohya",),
)
_AURAFLOW_MLP = {"c_fc1": "linear_1", "c_fc2": "linear_2", "c_proj": "out_projection"}
AURAFLOW = Family(
    name="auraflow",
    class_names=("AuraFlowTransformer2DModel",),
    architecture="auraflow",
    base_model_version="auraflow",
    renames={
        "t_embedder.mlp.0": "time_step_proj.linear_1",
        "t_embedder.mlp.2": "time_step_proj.linear_2",
        "cond_seq_linear": "context_embedder",
        "init_x_linear": "pos_embed.proj",
        "modF.1": "norm_out.linear",
        "final_linear": "proj_out",
        **block_renames(
            "double_layers.{}",
            "joint_transformer_blocks.{}",
            {
                **{f"mlpX.{name}": f"ff.{path}" for name, path in _AURAFLOW_MLP.items()},
                **{f"mlpC.{name}": f"ff_context.{path}" for name, path in _AURAFLOW_MLP.items()},
                "modX.1": "norm1.linear",
                "modC.1": "norm1_context.linear",
                **{f"attn.w2{name}": f"attn.to_{name}" for name in "qkv"},
                **{f"attn.w1{name}": f"attn.add_{name}_proj" for name in "qkv"},
                "attn.w2o": "attn.to_out.0",
                "attn.w1o": "attn.to_add_out",
            },
        ),
        **block_renames(
            "single_layers.{}",
            "single_transformer_blocks.{}",
            {
                **{f"mlp.{name}": f"ff.{path}" for name, path in _AURAFLOW_MLP.items()},
                "modCX.1": "norm1.linear",
                **{f"attn.w1{name}": f"attn.to_{name}" for name in "qkv"},
                "attn.w1o": "attn.to_out.0",
            },
        ),
    },
    swapped=("modF.1",),
)
SANA = Family("sana", ("SanaTransformer2DModel",), "sana", "sana", None)
ERNIE_IMAGE = Family("ernie-image", ("ErnieImageTransformer2DModel",), "ernie-image", "ernie_image", None)
