"""Configurations of a model's parts, inferred from the shapes of its weights in the original single-file layout.

What shapes do not determine is a constant of the family: the number of heads, the groups of a norm, the scale of
latents. Weights are named without the part's prefix; configurations use the keys of diffusers and transformers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]

HEAD_WIDTH = 64
"""Width of an attention head in every CLIP, and in every denoiser except SD 1.x, which has 8 heads of any width."""
SIZE_EMBEDDING_WIDTH = 256
"""Width of SDXL's embedding of each of the six sizes."""


def unet_config(shapes: Shapes, *, eight_heads: bool) -> dict[str, Any]:
    """Infer the configuration of a UNet.

    Args:
        shapes: shapes of its weights.
        eight_heads: whether attention has 8 heads at every width (SD 1.x).
    """
    widths: list[list[int]] = [[]]
    depths: list[int] = [0]
    for block in range(1, _count(shapes, r"input_blocks\.(\d+)\.")):
        if f"input_blocks.{block}.0.op.weight" in shapes:
            widths.append([])
            depths.append(0)
            continue
        widths[-1].append(shapes[f"input_blocks.{block}.0.in_layers.2.weight"][0])
        depths[-1] = _count(shapes, rf"input_blocks\.{block}\.1\.transformer_blocks\.(\d+)\.")
    channels = [level[0] for level in widths]
    attention = next(name for name in shapes if name.endswith("attn2.to_k.weight"))
    projection = next(name for name in shapes if name.endswith(".1.proj_in.weight"))
    config = {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": channels,
        "layers_per_block": len(widths[0]),
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "transformer_layers_per_block": [depth or 1 for depth in depths[:-1]]
        + [_count(shapes, r"middle_block\.1\.transformer_blocks\.(\d+)\.")],
        "cross_attention_dim": shapes[attention][1],
        "attention_head_dim": 8 if eight_heads else [width // HEAD_WIDTH for width in channels],
        "use_linear_projection": len(shapes[projection]) == 2,
    }
    if "label_emb.0.0.weight" in shapes:  # SDXL: a pooled state and six sizes
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": SIZE_EMBEDDING_WIDTH,
            "projection_class_embeddings_input_dim": shapes["label_emb.0.0.weight"][1],
        }
    return config


def sd3_transformer_config(shapes: Shapes) -> dict[str, Any]:
    """Infer the configuration of the transformer of SD 3 or 3.5."""
    width, channels, patch, _ = shapes["x_embedder.proj.weight"]
    return {
        "patch_size": patch,
        "in_channels": channels,
        "out_channels": shapes["final_layer.linear.weight"][0] // patch**2,
        "num_layers": _count(shapes, r"joint_blocks\.(\d+)\."),
        "attention_head_dim": HEAD_WIDTH,
        "num_attention_heads": width // HEAD_WIDTH,
        "joint_attention_dim": shapes["context_embedder.weight"][1],
        "caption_projection_dim": shapes["context_embedder.weight"][0],
        "pooled_projection_dim": shapes["y_embedder.mlp.0.weight"][1],
        "pos_embed_max_size": math.isqrt(shapes["pos_embed"][1]),
        "dual_attention_layers": sorted(_indices(shapes, r"joint_blocks\.(\d+)\.x_block\.attn2\.")),
        "qk_norm": "rms_norm" if any("attn.ln_q" in name for name in shapes) else None,
    }


def vae_config(shapes: Shapes, *, scale: float, shift: float | None = None) -> dict[str, Any]:
    """Infer the configuration of an `AutoencoderKL` whose latents are shifted by `shift` and scaled by `scale`."""
    levels = range(_count(shapes, r"encoder\.down\.(\d+)\."))
    return {
        "block_out_channels": [shapes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in levels],
        "layers_per_block": _count(shapes, r"encoder\.down\.0\.block\.(\d+)\."),
        "down_block_types": ["DownEncoderBlock2D"] * len(levels),
        "up_block_types": ["UpDecoderBlock2D"] * len(levels),
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
        "scaling_factor": scale,
        "shift_factor": shift,
    }


def clip_config(shapes: Shapes, *, activation: str) -> dict[str, Any]:
    """Infer the configuration of a CLIP text encoder with the weight names of transformers.

    Args:
        shapes: shapes of its weights.
        activation: ``quick_gelu`` for OpenAI's, ``gelu`` for OpenCLIP's.
    """
    embeddings, first = "text_model.embeddings.", "text_model.encoder.layers.0."
    vocabulary_size, width = shapes[f"{embeddings}token_embedding.weight"]
    return _clip_config(
        vocabulary_size,
        width,
        layers=_count(shapes, r"text_model\.encoder\.layers\.(\d+)\."),
        mlp_width=shapes[f"{first}mlp.fc1.weight"][0],
        max_length=shapes[f"{embeddings}position_embedding.weight"][0],
        projection=shapes.get("text_projection.weight", (width,))[0],
        activation=activation,
    )


def open_clip_config(shapes: Shapes, *, drop_last_layer: bool) -> dict[str, Any]:
    """Infer the configuration of a CLIP text encoder with the weight names of OpenCLIP.

    Args:
        shapes: shapes of its weights.
        drop_last_layer: omit the last layer: SD 2.x reads the penultimate one, normalized.
    """
    vocabulary_size, width = shapes["token_embedding.weight"]
    return _clip_config(
        vocabulary_size,
        width,
        layers=_count(shapes, r"transformer\.resblocks\.(\d+)\.") - drop_last_layer,
        mlp_width=shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        max_length=shapes["positional_embedding"][0],
        projection=shapes.get("text_projection", (width, width))[1],
        activation="gelu",
    )


def _clip_config(
    vocabulary_size: int, width: int, *, layers: int, mlp_width: int, max_length: int, projection: int, activation: str
) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary_size,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // HEAD_WIDTH,
        "intermediate_size": mlp_width,
        "max_position_embeddings": max_length,
        "projection_dim": projection,
        "hidden_act": activation,
        "bos_token_id": vocabulary_size - 2,
        "eos_token_id": vocabulary_size - 1,
    }


def _indices(names: Iterable[str], pattern: str) -> set[int]:
    return {int(match[1]) for match in (re.match(pattern, name) for name in names) if match}


def _count(names: Iterable[str], pattern: str) -> int:
    return len(_indices(names, pattern))
