"""Names of layers in files of every dialect and family, written down as data, and the tensors that files have.

The names are those of the tools' own key maps, independent of the library's tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

SD_1, SD_XL, SD_3 = "stable-diffusion-1", "stable-diffusion-xl", "stable-diffusion-3"

_UNET_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
_UNET_OUT = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
_XL_FF = "up_blocks.1.attentions.2.transformer_blocks.0.ff.net.0.proj"
_XL_CONV = "down_blocks.1.resnets.0.conv1"
_SD3_QKV = tuple(f"transformer_blocks.0.attn.to_{name}" for name in "qkv")
_SD3_ADDED = tuple(f"transformer_blocks.1.attn.add_{name}_proj" for name in "qkv")
_SD3_DUAL = tuple(f"transformer_blocks.0.attn2.to_{name}" for name in "qkv")
_SINGLE = tuple(f"single_transformer_blocks.0.{name}" for name in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"))
_ZIMAGE_QKV = tuple(f"layers.0.attention.to_{name}" for name in "qkv")

Names = Mapping[str, tuple[str, ...]]
"""Name of a layer in a file → the paths in diffusers whose rows it has, in order."""

NAMES: Mapping[str, Mapping[str, Names]] = {
    "kohya": {
        SD_1: {
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": (_UNET_Q,),
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0": (_UNET_OUT,),
        },
        SD_XL: {
            "lora_unet_output_blocks_5_1_transformer_blocks_0_ff_net_0_proj": (_XL_FF,),
            "lora_unet_input_blocks_4_0_in_layers_2": (_XL_CONV,),
        },
        SD_3: {
            "lora_unet_joint_blocks_0_x_block_attn_qkv": _SD3_QKV,
            "lora_unet_joint_blocks_1_context_block_attn_qkv": _SD3_ADDED,
            "lora_unet_joint_blocks_0_x_block_attn2_qkv": _SD3_DUAL,
            "lora_unet_joint_blocks_0_x_block_mlp_fc1": ("transformer_blocks.0.ff.net.0.proj",),
        },
        "flux.1": {
            "lora_unet_double_blocks_0_img_attn_qkv": _SD3_QKV,
            "lora_unet_single_blocks_0_linear1": _SINGLE,
            "lora_unet_single_blocks_0_linear2": ("single_transformer_blocks.0.proj_out",),
            "lora_unet_double_blocks_0_txt_mlp_2": ("transformer_blocks.0.ff_context.net.2",),
        },
        "chroma": {
            "lora_unet_double_blocks_0_img_attn_qkv": _SD3_QKV,
            "lora_unet_single_blocks_0_linear1": _SINGLE,
        },
        "flux.2": {
            "lora_unet_single_blocks_0_linear1": ("single_transformer_blocks.0.attn.to_qkv_mlp_proj",),
            "lora_unet_double_blocks_0_img_attn_qkv": _SD3_QKV,
            "lora_unet_double_blocks_0_img_mlp_0": ("transformer_blocks.0.ff.linear_in",),
        },
        "qwen-image": {
            "lora_unet_transformer_blocks_0_attn_to_q": ("transformer_blocks.0.attn.to_q",),
            "lora_unet_transformer_blocks_0_img_mlp_net_0_proj": ("transformer_blocks.0.img_mlp.net.0.proj",),
        },
        "z-image": {
            "lora_unet_layers_0_attention_to_q": ("layers.0.attention.to_q",),
            "lora_unet_layers_0_attention_to_out_0": ("layers.0.attention.to_out.0",),
            "lora_unet_layers_0_feed_forward_w1": ("layers.0.feed_forward.w1",),
        },
        "wan": {
            "lora_unet_blocks_0_self_attn_q": ("blocks.0.attn1.to_q",),
            "lora_unet_blocks_0_ffn_0": ("blocks.0.ffn.net.0.proj",),
        },
        "krea-2": {"lora_unet_blocks_0_attn_wq": ("transformer_blocks.0.attn.to_q",)},
    },
    "lycoris": {
        SD_1: {"lycoris_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": (_UNET_Q,)},
        SD_XL: {"lycoris_up_blocks_1_attentions_2_transformer_blocks_0_ff_net_0_proj": (_XL_FF,)},
        **{
            family: {"lycoris_transformer_blocks_0_attn_to_q": ("transformer_blocks.0.attn.to_q",)}
            for family in (SD_3, "flux.1", "flux.2", "chroma", "qwen-image", "krea-2")
        },
        "z-image": {"lycoris_layers_0_attention_to_k": ("layers.0.attention.to_k",)},
    },
    "onetrainer": {
        SD_1: {f"unet.{_UNET_OUT}": (_UNET_OUT,), f"lora_unet.{_UNET_Q}": (_UNET_Q,)},
        SD_XL: {
            "unet.output_blocks.5.1.transformer_blocks.0.ff.net.0.proj": (_XL_FF,),
            "unet.input_blocks.4.0.in_layers.2": (_XL_CONV,),
        },
        SD_3: {"lora_transformer_transformer_blocks_0_attn_to_q": _SD3_QKV[:1]},
        "flux.1": {
            "transformer.double_blocks.0.img_attn.qkv.1": _SD3_QKV[1:2],
            "transformer.single_blocks.0.linear1.3": _SINGLE[3:],
            "lora_transformer_single_transformer_blocks_0_proj_out": ("single_transformer_blocks.0.proj_out",),
        },
        "chroma": {
            "lora_transformer_transformer_blocks_0_attn_to_q": _SD3_QKV[:1],
            "lora_transformer.transformer_blocks.0.attn.to_k": _SD3_QKV[1:2],
        },
        "qwen-image": {"transformer.transformer_blocks.0.attn.to_q": _SD3_QKV[:1]},
    },
    "comfyui": {
        SD_1: {"diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q": (_UNET_Q,)},
        SD_XL: {"diffusion_model.output_blocks.5.1.transformer_blocks.0.ff.net.0.proj": (_XL_FF,)},
        SD_3: {"diffusion_model.joint_blocks.0.x_block.attn.qkv": _SD3_QKV},
        "flux.1": {
            "diffusion_model.double_blocks.0.img_attn.qkv": _SD3_QKV,
            "diffusion_model.single_blocks.0.linear1": _SINGLE,
            "diffusion_model.final_layer.linear": ("proj_out",),
        },
        "chroma": {"diffusion_model.double_blocks.0.img_attn.qkv": _SD3_QKV},
        "flux.2": {"diffusion_model.double_blocks.0.img_attn.qkv": _SD3_QKV},
        "qwen-image": {"diffusion_model.transformer_blocks.0.attn.to_q": _SD3_QKV[:1]},
        "z-image": {
            "diffusion_model.layers.0.attention.qkv": _ZIMAGE_QKV,
            "diffusion_model.layers.0.attention.out": ("layers.0.attention.to_out.0",),
        },
        "lumina-2": {"diffusion_model.layers.0.attention.qkv": tuple(f"layers.0.attn.to_{name}" for name in "qkv")},
        "krea-2": {"diffusion_model.blocks.0.attn.wo": ("transformer_blocks.0.attn.to_out.0",)},
        "auraflow": {"diffusion_model.double_layers.0.attn.w2q": ("joint_transformer_blocks.0.attn.to_q",)},
        "ideogram-4": {"diffusion_model.layers.0.attention.o": ("layers.0.attention.to_out.0",)},
        "wan": {"diffusion_model.blocks.0.cross_attn.o": ("blocks.0.attn2.to_out.0",)},
    },
    "ai-toolkit": {
        "flux.1": {
            "transformer.single_transformer_blocks.0.proj_mlp": _SINGLE[3:],
            "model.diffusion_model.double_blocks.0.txt_attn.proj": ("transformer_blocks.0.attn.to_add_out",),
        },
        "flux.2": {
            "diffusion_model.double_blocks.0.img_attn.qkv": _SD3_QKV,
            "diffusion_model.single_blocks.0.linear2": ("single_transformer_blocks.0.attn.to_out",),
        },
        "qwen-image": {
            "diffusion_model.transformer_blocks.0.attn.to_q": _SD3_QKV[:1],
            "pipe.dit.transformer_blocks.0.attn.to_k": _SD3_QKV[1:2],
        },
        "z-image": {"diffusion_model.layers.0.attention.to_q": _ZIMAGE_QKV[:1]},
        "krea-2": {"diffusion_model.blocks.0.mlp.down": ("transformer_blocks.0.ff.down",)},
    },
    "diffusers": {
        SD_1: {f"unet.{_UNET_Q}": (_UNET_Q,)},
        SD_XL: {f"unet.{_XL_FF}": (_XL_FF,)},
        **{
            family: {"transformer.transformer_blocks.0.attn.to_q": _SD3_QKV[:1]}
            for family in (SD_3, "flux.1", "flux.2", "chroma", "qwen-image", "krea-2")
        },
        "z-image": {"transformer.layers.0.attention.to_q": _ZIMAGE_QKV[:1]},
        "lumina-2": {"transformer.layers.0.attn.to_q": ("layers.0.attn.to_q",)},
        "sana": {"transformer.transformer_blocks.0.attn1.to_q": ("transformer_blocks.0.attn1.to_q",)},
        "wan": {"transformer.blocks.0.attn1.to_q": ("blocks.0.attn1.to_q",)},
    },
    "old-diffusers": {
        SD_1: {
            f"unet.{_UNET_Q.replace('.to_q', '.processor.to_q')}": (_UNET_Q,),
            f"unet.{_UNET_OUT.replace('.to_out.0', '.processor.to_out')}": (_UNET_OUT,),
        },
        SD_XL: {
            "mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_k": (
                "mid_block.attentions.0.transformer_blocks.0.attn2.to_k",
            )
        },
    },
    "peft": {
        SD_1: {f"base_model.model.{_UNET_Q}": (_UNET_Q,), f"unet.base_model.model.{_UNET_OUT}": (_UNET_OUT,)},
        SD_3: {"base_model.model.transformer_blocks.0.attn.to_q": _SD3_QKV[:1]},
        "flux.1": {
            "base_model.model.transformer_blocks.0.attn.to_q": _SD3_QKV[:1],
            "base_model.model.transformer.transformer_blocks.0.attn.to_k": _SD3_QKV[1:2],
        },
        "krea-2": {"base_model.model.blocks.0.attn.wq": _SD3_QKV[:1]},
        "qwen-image": {"base_model.model.diffusion_model.transformer_blocks.0.attn.to_q": _SD3_QKV[:1]},
    },
    "xlabs": {
        "flux.1": {
            "double_blocks.0.processor.qkv_lora1": _SD3_QKV,
            "double_blocks.0.processor.proj_lora2": ("transformer_blocks.0.attn.to_add_out",),
            "single_blocks.0.processor.qkv": _SINGLE[:3],
        }
    },
    "bfl": {
        "flux.1": {
            "double_blocks.0.img_attn.qkv": _SD3_QKV,
            "single_blocks.0.linear1": _SINGLE,
            "final_layer.linear": ("proj_out",),
        },
        "flux.2": {"double_blocks.0.img_attn.qkv": _SD3_QKV},
    },
}
"""Dialect → family → names."""

_KOHYA_ALGORITHMS = ("lora", "dora", "loha", "lokr", "full")
ALGORITHMS_OF: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("kohya", "lycoris", "onetrainer", "comfyui"), _KOHYA_ALGORITHMS),
    "ai-toolkit": ("lora", "lokr"),
    "diffusers": ("lora", "dora"),
    "old-diffusers": ("lora",),
    "peft": ("lora", "dora", "loha", "lokr"),
    "xlabs": ("lora",),
    "bfl": ("lora",),
}
"""Dialect → the algorithms that its writers have."""


@dataclass(frozen=True)
class Cell:
    """A dialect, a family and an algorithm."""

    dialect: str
    family: str
    algorithm: str

    def __str__(self) -> str:
        return f"{self.dialect}-{self.family}-{self.algorithm}"


CELLS = [
    Cell(dialect, family, algorithm)
    for dialect, families in NAMES.items()
    for family in families
    for algorithm in ALGORITHMS_OF[dialect]
]
"""What the tests read."""


def file_tensors(cell: Cell, name: str, weight: Tensor, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """Return the keys of one layer as the dialect has them, and its update by the dense definition.

    Args:
        cell: what to write.
        name: of the layer in the file.
        weight: of the layer, with the rows of all that are fused, [out, in, *kernel], float64.
        generator: of the values.
    """

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator) / 4

    out, inputs, *kernel = weight.shape
    ones = (1,) * len(kernel)
    if cell.algorithm in ("lora", "dora"):
        up, down = random(out, 3, *ones), random(3, inputs, *kernel)
        delta = torch.tensordot(up.flatten(1), down, 1)
        has_alpha = cell.dialect in ("kohya", "lycoris", "onetrainer", "comfyui", "ai-toolkit")
        delta = delta / 2 if has_alpha else delta
        tensors = dict(zip(_LORA_ENDINGS[cell.dialect], (up, down), strict=True))
        tensors |= {".alpha": torch.tensor(1.5, dtype=torch.float16)} if has_alpha else {}
        if cell.algorithm == "dora":
            magnitude = random(out).abs() + 0.5
            is_peft = cell.dialect in ("diffusers", "peft")
            tensors[".lora_magnitude_vector" if is_peft else ".dora_scale"] = (
                magnitude if is_peft and not kernel else magnitude.view(-1, 1, *ones)
            )
            changed = weight + delta
            norm = changed.flatten(1).norm(dim=1)
            delta = changed * (magnitude / norm).view(-1, 1, *ones) - weight
    elif cell.algorithm == "loha":
        a1, a2, b1, b2 = random(out, 2), random(out, 2), random(2, weight[0].numel()), random(2, weight[0].numel())
        tensors = {".hada_w1_a": a1, ".hada_w1_b": b1, ".hada_w2_a": a2, ".hada_w2_b": b2}
        delta = ((a1 @ b1) * (a2 @ b2)).view(weight.shape)
        if cell.dialect != "peft":
            tensors[".alpha"], delta = torch.tensor(3.0), delta * 1.5
    elif cell.algorithm == "lokr":
        factor = 2 if out % 4 else 4
        w1, w2 = random(factor, 2), random(out // factor, inputs // 2, *kernel)
        tensors, delta = {".lokr_w1": w1, ".lokr_w2": w2}, torch.kron(w1.view(factor, 2, *ones), w2)
        tensors |= {} if cell.dialect == "peft" else {".alpha": torch.tensor(1.0)}
    else:
        delta = random(*weight.shape)
        tensors = {".diff": delta}
    return {f"{name}{ending}": values for ending, values in tensors.items()}, delta


_LORA_ENDINGS = {
    **dict.fromkeys(("kohya", "lycoris", "onetrainer", "comfyui"), (".lora_up.weight", ".lora_down.weight")),
    **dict.fromkeys(("ai-toolkit", "diffusers", "bfl"), (".lora_B.weight", ".lora_A.weight")),
    "peft": (".lora_B.default_0.weight", ".lora_A.default_0.weight"),
    "old-diffusers": ("_lora.up.weight", "_lora.down.weight"),
    "xlabs": (".up.weight", ".down.weight"),
}
"""Dialect → endings of up and down."""
