"""Weights of a transformer under the names of its authors: the inverse of what diffusers does with single files.

Paths come from this project's table of families in adapter files, which knows nothing of diffusers' converters.
"""

from __future__ import annotations

import re

import torch

from lycoris.adapters.files.families import FAMILIES, Family, family_of_class

_SCALES = [(r"(query_norm|key_norm)\.weight$", r"\1.scale"), (r"(guidance_layer\.norms\.\d+)\.weight$", r"\1.scale")]
_KREA_BLOCK = r"^(?:transformer_)?((?:text_fusion\.\w+_)?blocks\.\d+)\."
_OTHER_NAMES = {
    "flux.1": _SCALES,
    "flux.2": _SCALES,
    "chroma": _SCALES,
    "stable-diffusion-3": [(r"^pos_embed\.pos_embed$", "pos_embed")],
    "auraflow": [(r"^pos_embed\.pos_embed$", "positional_encoding")],
    "wan": [(r"^scale_shift_table$", "head.modulation"), (r"scale_shift_table$", "modulation")],
    "krea-2": [
        (r"^txt_in\.norm\.weight$", "txtmlp.0.scale"),
        (r"^final_layer\.norm\.weight$", "last.norm.scale"),
        (r"^final_layer\.scale_shift_table$", "last.modulation.lin"),
        (r"\.attn\.norm_([qk])\.weight$", r".attn.qknorm.\1norm.scale"),
        (r"\.norm1\.weight$", ".prenorm.scale"),
        (r"\.norm2\.weight$", ".postnorm.scale"),
        (r"scale_shift_table$", "mod.lin"),
        (r"^transformer_blocks", "blocks"),
        (r"^text_fusion", "txtfusion"),
    ],
    "sana": [
        (r"^patch_embed\.proj", "x_embedder.proj"),
        (r"^time_embed\.emb\.timestep_embedder\.linear_1", "t_embedder.mlp.0"),
        (r"^time_embed\.emb\.timestep_embedder\.linear_2", "t_embedder.mlp.2"),
        (r"^time_embed\.linear", "t_block.1"),
        (r"^caption_projection\.linear_(\d)", r"y_embedder.y_proj.fc\1"),
        (r"^caption_norm", "attention_y_norm"),
        (r"^proj_out", "final_layer.linear"),
        (r"^scale_shift_table", "final_layer.scale_shift_table"),
        (r"^transformer_blocks", "blocks"),
        (r"\.attn1\.to_out\.0", ".attn.proj"),
        (r"\.attn1\.", ".attn."),
        (r"\.attn2\.to_out\.0", ".cross_attn.proj"),
        (r"\.attn2\.to_q", ".cross_attn.q_linear"),
        (r"\.attn2\.", ".cross_attn."),
        (r"\.ff\.conv_(inverted|depth)", r".mlp.\1_conv.conv"),
        (r"\.ff\.conv_point", ".mlp.point_conv.conv"),
        (r"\.mlp\.inverted_conv", ".mlp.inverted_conv"),
    ],
}
_UNUSED = {"sana": {"pos_embed": (1, 4, 16), "y_embedder.y_embedding": (4, 16)}, "z-image": {"norm_final.weight": (8,)}}
"""Tensors of published files that no model has."""


def original_weights(transformer: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights under the original names, fused and swapped as there, without a prefix."""
    family = family_of_class(type(transformer).__name__)
    assert family is not None
    weights = {name: value.clone() for name, value in transformer.state_dict().items()}
    named = _renamed(family, weights)
    for pattern, replacement in _OTHER_NAMES.get(family.name, []):
        named = {re.sub(pattern, replacement, name): value for name, value in named.items()}
    if family.name == "sana":
        named = _fused(named, r"(.*\.attn\.)to_([qkv])(\.\w+)", "qkv")
        named = _fused(named, r"(.*\.cross_attn\.)to_([kv])(\.\w+)", "kv_linear")
    if family.name == "krea-2":
        named = {n: value.flatten() if re.match(r"blocks.*mod\.lin", n) else value for n, value in named.items()}
    unused = {name: torch.zeros(shape) for name, shape in _UNUSED.get(family.name, {}).items()}
    return {name: value.contiguous() for name, value in {**named, **unused}.items()}


def _renamed(family: Family, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """By the table of paths; several layers that share an original weight become its rows."""
    shapes = {name.rpartition(".")[0]: value for name, value in weights.items() if name.endswith(".weight")}
    sizes = {path: (value.shape[0], value[0].numel() if value.dim() > 1 else 1) for path, value in shapes.items()}
    places = family.original_rows(sizes)
    rows: dict[str, dict[int, torch.Tensor]] = {}
    for name, value in weights.items():
        path, _, kind = name.rpartition(".")
        place = places.get(path)
        if place is None or kind not in ("weight", "bias"):
            rows[name] = {0: value}
            continue
        if place.halves_swapped:
            value = torch.cat(value.chunk(2)[::-1])
        rows.setdefault(f"{place.path}.{kind}", {})[place.index] = value
    return {name: torch.cat([parts[at] for at in sorted(parts)]) for name, parts in rows.items()}


def _fused(weights: dict[str, torch.Tensor], pattern: str, name: str) -> dict[str, torch.Tensor]:
    parts: dict[str, list[torch.Tensor]] = {}
    for key, value in weights.items():
        match = re.fullmatch(pattern, key)
        parts.setdefault(key if match is None else f"{match[1]}{name}{match[3]}", []).append(value)
    return {key: torch.cat(values) for key, values in parts.items()}


assert set(_OTHER_NAMES) <= set(FAMILIES)
