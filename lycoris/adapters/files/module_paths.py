"""Module paths inferred from the names in files without a model: `mid_block_attentions_0` has two dots."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MODULE_NAMES = frozenset(
    """
    add_embedding add_k_proj add_q_proj add_v_proj attentions attn attn1 attn2 attn_qkv block context_embedder conv
    conv1 conv2 conv_in conv_out conv_shortcut DenseReluDense down_blocks downsamplers embeddings encoder fc1 fc2 ff
    ff_context final_layer_norm guidance_embedder k k_proj layer layer_norm layer_norm1 layer_norm2 layers linear
    linear_1 linear_2 mid_block mlp net norm norm1 norm1_context norm2 norm2_context norm3 norm_added_k norm_added_q
    norm_k norm_out norm_q o out_proj pos_embed position_embedding proj proj_in proj_mlp proj_out q q_proj resnets
    self_attn SelfAttention shared single_transformer_blocks text_embedder text_model text_projection time_emb_proj
    time_embedding time_text_embed timestep_embedder to_add_out to_k to_out to_q to_v token_embedding
    transformer_blocks up_blocks upsamplers v v_proj wi wi_0 wi_1 wo x_embedder
    """.split()  # noqa: SIM905
)
"""Names of modules in the UNets and transformers of diffusers and in the text encoders of transformers."""

_LINEAR = re.compile(
    r"(.*\.)?(to_q|to_k|to_v|to_out\.0|add_[qkv]_proj|to_add_out|[qkvo]|[qkv]_proj|out_proj|fc1|fc2|wi|wi_0|wi_1|wo"
    r"|net\.0\.proj|net\.2|time_emb_proj|linear|linear_1|linear_2|proj_mlp)"
)


def dotted_path(name: str) -> str | None:
    """Return the path of a layer from its name with `_` for `.`; None where a module's name is not known.

    ``down_blocks_0_attentions_1_proj_in`` is ``down_blocks.0.attentions.1.proj_in``.
    """
    words, path = name.split("_"), []
    while words:
        for count in range(min(4, len(words)), 0, -1):
            candidate = "_".join(words[:count])
            if candidate in _MODULE_NAMES or (count == 1 and candidate.isdecimal()):
                path.append(candidate)
                del words[:count]
                break
        else:
            return None
    return ".".join(path)


def is_linear(path: str) -> bool:
    """Tell whether a layer with this path is a Linear in every known model."""
    return _LINEAR.fullmatch(path) is not None


def part_from_path(path: str) -> str:
    """Return the pipeline part that has such a path: unet, transformer or text_encoder; model where none is known."""
    first = path.split(".", 1)[0]
    if first in ("text_model", "encoder", "text_projection"):
        return "text_encoder"
    if first in ("down_blocks", "mid_block", "up_blocks", "conv_in", "conv_out", "time_embedding", "add_embedding"):
        return "unet"
    blocks = ("transformer_blocks", "single_transformer_blocks", "x_embedder", "context_embedder", "time_text_embed")
    return "transformer" if first in (*blocks, "pos_embed", "norm_out", "proj_out") else "model"


def text_encoder_part(prefix: str, prefixes: Iterable[str], transformer: bool) -> str:
    """Return the text encoder of a kohya prefix. In Flux, `te3` is T5, its second text encoder."""
    if prefix == "lora_te3" and transformer and "lora_te2" not in prefixes:
        return "text_encoder_2"
    return {"lora_te2": "text_encoder_2", "lora_te3": "text_encoder_3"}.get(prefix, "text_encoder")
