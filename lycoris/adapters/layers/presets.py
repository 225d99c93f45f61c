"""Presets of the layers to adapt, as patterns of their names in known kinds of models."""

from __future__ import annotations

from collections.abc import Mapping

_UNET_ATTENTION = r".*\b(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"
_UNET_BLOCKS = r".*\battentions\..*"
_UNET_CONVOLUTIONS = r".*\b(resnets|downsamplers|upsamplers)\..*"
_TRANSFORMER_BLOCKS = r"(.*\.)?(\w+_)?transformer_blocks\.\d+\.(?!norm).*"
_BLOCK = r"(?!.*distilled_guidance_layer)(.*\.)?(\w*blocks|\w*layers|\w*refiner)\.\d+\."
"""A numbered block of a diffusion transformer. Chroma's distilled guidance layer, which has layers too, modulates."""
_MODULATION = r"norm|\w*mod\.|\w*modulation|adaln|adaLN"
_BLOCK_ATTENTION = rf"{_BLOCK}(block\.)?(attn\d?|\w*attention)\.(?!norm).*"
_BLOCK_ATTENTION_AND_FEED_FORWARD = rf"{_BLOCK}(?!(block\.)?({_MODULATION})|.*\bconv_depth).*"
"""Without Sana's depthwise convolutions, which PEFT, and so diffusers, rejects unless the rank divides the groups."""
_BLOCK_FEED_FORWARD = rf"(?!{_UNET_ATTENTION}$|{_BLOCK_ATTENTION}$){_BLOCK_ATTENTION_AND_FEED_FORWARD}"
_TRANSFORMER_MODULATION = (
    r"(.*\.)?(norm\d?(_context)?|norm_out|final_norm)\.linear(_1)?"
    r"|(.*\.)?\w*(mod|modulation)(_img|_txt|_proj)?(\.(\d+|linear))?"
    r"|(.*\.)?(adaLN|adaln)\w*(\.\d+)?"
    r"|(.*\.)?(distilled_guidance_layer\..*|time_embed\.linear|condition_embedder\.time_proj)"
)
"""Layers whose output scales, shifts or gates others: those of the blocks, and those that are before or after them."""
_TRANSFORMER_EMBEDDER = rf"(?!({_TRANSFORMER_MODULATION})$|{_BLOCK}).*"
"""What turns patches, text, times, sizes and guidance into the blocks' states, and the states into the output."""
_UNET_FEED_FORWARD = r".*\battentions\..*\bff\..*"
_UNET_MODULATION = r".*\btime_emb_proj"
_UNET_EMBEDDER = r"conv_in|conv_out|(time|add|class)_embedding\..*"
_CLIP_ATTENTION = r".*\bself_attn\.(q|k|v|out)_proj"
_CLIP_MLP = r".*\bmlp\.(fc1|fc2)"
_CLIP_NORM = r".*\b(layer_norm1|layer_norm2|final_layer_norm)"
_T5_ATTENTION = r".*\bSelfAttention\.(q|k|v|o)"
_T5_MLP = r".*\bDenseReluDense\.(wi|wi_0|wi_1|wo)"

_TEXT_ATTENTION = (_CLIP_ATTENTION, _T5_ATTENTION)
_TEXT_MLP = (*_TEXT_ATTENTION, _CLIP_MLP, _T5_MLP)
_TEXT_FULL = (*_TEXT_MLP, _CLIP_NORM)
_UNET_FULL = (_UNET_BLOCKS, _UNET_CONVOLUTIONS, _UNET_ATTENTION)
_ANY = (r".*",)

PRESETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "attn-only": {
        "unet": (_UNET_ATTENTION,),
        "transformer": (_UNET_ATTENTION, _BLOCK_ATTENTION),
        "text": _TEXT_ATTENTION,
        "model": (_UNET_ATTENTION, *_TEXT_ATTENTION),
    },
    "attn-mlp": {
        "unet": (_UNET_BLOCKS,),
        "transformer": (_BLOCK_ATTENTION_AND_FEED_FORWARD,),
        "text": _TEXT_MLP,
        "model": (_UNET_BLOCKS, _TRANSFORMER_BLOCKS, *_TEXT_MLP),
    },
    "feed-forward": {
        "unet": (_UNET_FEED_FORWARD,),
        "transformer": (_BLOCK_FEED_FORWARD,),
        "text": (_CLIP_MLP, _T5_MLP),
        "model": (_UNET_FEED_FORWARD, _CLIP_MLP, _T5_MLP),
    },
    "modulation": {"unet": (_UNET_MODULATION,), "transformer": (_TRANSFORMER_MODULATION,)},
    "embedder": {"unet": (_UNET_EMBEDDER,), "transformer": (_TRANSFORMER_EMBEDDER,)},
    "full": {"unet": _UNET_FULL, "transformer": _ANY, "text": _TEXT_FULL, "model": _ANY},
    "everything": {"unet": _ANY, "transformer": _ANY, "text": _ANY, "model": _ANY},
    "unet-only": {"unet": _UNET_FULL, "transformer": _ANY},
    "unet-attn-mlp": {"unet": (_UNET_BLOCKS,), "transformer": (_BLOCK_ATTENTION_AND_FEED_FORWARD,)},
    "text-encoder": {"text": _TEXT_FULL},
    "convolutions": {"unet": (_UNET_CONVOLUTIONS,), "model": (_UNET_CONVOLUTIONS,)},
}
"""Preset → kind of part → patterns, each matched against a layer's whole name.

In a transformer `attn-only` is the attention of its blocks, fused projections included, `feed-forward` their other
layers and `attn-mlp` both; `modulation` and `embedder`, which has the final layer too, are the rest of `full`.

`full` is that of LyCORIS: everything but conv_in, conv_out and the time and size embeddings, which `everything` has
too.
`model` is for parts of no known kind.
"""


def part_kind(part: str, class_name: str) -> str:
    """Return the kind of a part by its name or its class: unet, transformer, text or model."""
    if part.startswith("text_encoder") or "TextModel" in class_name or class_name.startswith("T5Encoder"):
        return "text"
    if part == "unet" or class_name.startswith("UNet"):
        return "unet"
    if part == "transformer" or class_name.endswith(("Transformer2DModel", "Transformer3DModel")):
        return "transformer"
    return "model"
