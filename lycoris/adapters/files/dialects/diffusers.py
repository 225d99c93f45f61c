"""diffusers' names: the part, then the path; before it used PEFT, attention processors held the layers."""

from __future__ import annotations

from collections.abc import Iterator

from lycoris.adapters.files.dialects.dialect import (
    ANY_PART,
    DENOISER,
    Dialect,
    Prefix,
    Spelling,
    spell_diffusers,
)
from lycoris.adapters.files.dialects.peft import PEFT_ENDINGS
from lycoris.adapters.files.layer_names import LayerRef

_PARTS = (
    *(Prefix(text, DENOISER) for text in ("unet.", "transformer.")),
    Prefix("text_encoder.", "text_encoder"),
    Prefix("text_encoder_2.", "text_encoder_2"),
    Prefix("text_encoder_3.", "text_encoder_3"),
    Prefix("", ANY_PART),
)
_PROCESSED = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


_TEXT_ATTENTION = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}
"""Name of a layer in a text encoder's attention → that of its adapter in files before version 0.18."""


def _spell_old(layer: LayerRef) -> Iterator[Spelling]:
    """Yield paths through attention processors: `attn1.to_out.0` is `attn1.processor.to_out`."""
    for path, rows in spell_diffusers(layer):
        yield path, rows
        end = next((end for end in _PROCESSED if path.endswith(f".{end}")), None)
        if end is not None:
            yield f"{path.removesuffix(end)}processor.{end.removesuffix('.0')}", rows
        head, _, name = path.rpartition(".")
        if head.endswith(".self_attn") and name in _TEXT_ATTENTION:
            yield f"{head}.{_TEXT_ATTENTION[name]}", rows


def _restore_old(path: str) -> str:
    head, _, end = path.rpartition(".")
    names = {old: name for name, old in _TEXT_ATTENTION.items()}
    if head.endswith(".self_attn") and end in names:
        return f"{head}.{names[end]}"
    head, _, end = path.rpartition(".processor.")
    return f"{head}.{'to_out.0' if end == 'to_out' else end}" if head else path


DIFFUSERS = Dialect(
    name="diffusers",
    written_by="diffusers and its training scripts",
    example="transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
    prefixes=_PARTS,
    endings={
        **PEFT_ENDINGS,
        ".lora.down.weight": "lora_down.weight",
        ".lora.up.weight": "lora_up.weight",
        ".lora.alpha": "alpha",
    },
    spell=spell_diffusers,
)

OLD_DIFFUSERS = Dialect(
    name="old-diffusers",
    written_by="diffusers before version 0.21",
    example="unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
    prefixes=_PARTS,
    endings={
        f"{joint}.{name}": tensor
        for joint in ("_lora", ".lora_linear_layer", ".lora")
        for name, tensor in {
            "down.weight": "lora_down.weight",
            "up.weight": "lora_up.weight",
            "alpha": "alpha",
        }.items()
    },
    spell=_spell_old,
    restore=_restore_old,
    paths=r".+\.processor\..+|.*text_model\..+|.*encoder\.block\..+",
)
