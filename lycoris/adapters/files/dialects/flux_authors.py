"""FLUX adapters by Black Forest Labs, under the bare original paths, and by XLabs, in attention processors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from lycoris.adapters.files.dialects.dialect import (
    DENOISER,
    LYCORIS_ENDINGS,
    Dialect,
    Prefix,
    Spelling,
    spell_original,
)
from lycoris.adapters.files.dialects.peft import PEFT_ENDINGS
from lycoris.adapters.files.layer_names import LayerRef

_PROCESSORS = {
    "img_attn.qkv": "processor.qkv_lora1",
    "txt_attn.qkv": "processor.qkv_lora2",
    "img_attn.proj": "processor.proj_lora1",
    "txt_attn.proj": "processor.proj_lora2",
    "linear1": "processor.qkv",
    "linear2": "processor.proj",
}
"""Path in a block → XLabs's, without the ending that the keys of single blocks have."""
_PATH = re.compile(r"((?:double|single)_blocks\.\d+)\.(.+)")


def _spell_xlabs(layer: LayerRef) -> Iterator[Spelling]:
    original = layer.original
    match = None if original is None else _PATH.fullmatch(original.path)
    if original is None or match is None or match[2] not in _PROCESSORS:
        return
    name = f"{match[1]}.{_PROCESSORS[match[2]]}"
    if match[2] != "linear1":
        yield name, None if original.is_whole else original
    elif original.index < 3:  # q, k and v alone, without the rows of the feed-forward
        yield name, replace(original, total=3 * original.count)


def _restore_xlabs(path: str) -> str:
    match = _PATH.fullmatch(path)
    names = {processor: original for original, processor in _PROCESSORS.items()}
    return f"{match[1]}.{names[match[2]]}" if match and match[2] in names else path


_PREFIXES = (Prefix("", DENOISER), Prefix("diffusion_model.", DENOISER))

XLABS = Dialect(
    name="xlabs",
    written_by="XLabs",
    example="double_blocks.0.processor.qkv_lora1.down.weight",
    prefixes=_PREFIXES,
    endings={f"{joint}.{side}.weight": f"lora_{side}.weight" for joint in ("_lora", "") for side in ("down", "up")},
    spell=_spell_xlabs,
    restore=_restore_xlabs,
    paths=r"(double|single)_blocks\.\d+\.processor\..+",
)

BFL = Dialect(
    name="bfl",
    written_by="Black Forest Labs",
    example="double_blocks.0.img_attn.qkv.lora_A.weight",
    prefixes=_PREFIXES[:1],
    endings={**LYCORIS_ENDINGS, **PEFT_ENDINGS},
    spell=spell_original,
    paths=r"((double|single)_blocks\.\d+|final_layer|(img|txt|time|vector|guidance)_in|.*_modulation\w*)\b.*",
)
