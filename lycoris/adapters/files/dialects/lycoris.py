"""LyCORIS's names of the layers of any module: `lycoris_`, then the path with `_` for every dot."""

from __future__ import annotations

from collections.abc import Iterator

from lycoris.adapters.files.dialects.dialect import (
    ANY_PART,
    LYCORIS_ENDINGS,
    Dialect,
    Prefix,
    Spelling,
    spell_diffusers,
)
from lycoris.adapters.files.layer_names import LayerRef


def _spell(layer: LayerRef) -> Iterator[Spelling]:
    if layer.key.startswith("lycoris_"):
        yield layer.key.removeprefix("lycoris_"), None
    if layer.kind in ("unet", "transformer") or (layer.kind == "text" and layer.is_lone):
        yield from spell_diffusers(layer)


LYCORIS = Dialect(
    name="lycoris",
    written_by="lycoris-lora, SimpleTuner and this library",
    example="lycoris_transformer_blocks_0_attn_to_q.lokr_w1",
    prefixes=(Prefix("lycoris_", ANY_PART, flat=True),),
    endings={**LYCORIS_ENDINGS, ".weight": "weight"},
    spell=_spell,
)
