"""OneTrainer's names: dotted paths of either implementation, with the tensors of kohya's files."""

from __future__ import annotations

from collections.abc import Iterator

from lycoris.adapters.files.dialects.dialect import (
    DENOISER,
    LYCORIS_ENDINGS,
    Dialect,
    Prefix,
    Spelling,
    spell_both,
)
from lycoris.adapters.files.layer_names import LayerRef


def _spell(layer: LayerRef) -> Iterator[Spelling]:
    """Yield the usual spellings, and a fused original layer by its number: `img_attn.qkv.0` is q."""
    yield from spell_both(layer)
    original = layer.original
    if original is not None and original.count < original.total:
        yield f"{original.path}.{original.index}", None
    elif original is not None and original.path == "img_in":
        yield "img_in.proj", None


ONETRAINER = Dialect(
    name="onetrainer",
    written_by="OneTrainer",
    example="unet.output_blocks.5.1.transformer_blocks.0.attn1.to_q.lora_up.weight",
    prefixes=(
        *(
            Prefix(text, DENOISER)
            for text in ("unet.", "transformer.", "lora_unet.", "lora_transformer.", "lora_prior_unet.")
        ),
        *(Prefix(text, DENOISER, flat=True) for text in ("lora_transformer_", "lora_prior_unet_")),
        *(Prefix(text, "text_encoder") for text in ("text_encoder.", "text_encoder_1.", "lora_te.", "lora_te1.")),
        *(Prefix(text, "text_encoder_2") for text in ("text_encoder_2.", "lora_te2.")),
        *(Prefix(text, "text_encoder_3") for text in ("text_encoder_3.", "lora_te3.")),
        Prefix("lora_te2_", "text_encoder_2", flat=True),
        Prefix("clip_l.", "clip_l"),
        Prefix("clip_g.", "clip_g"),
        Prefix("t5.", "t5"),
    ),
    endings=LYCORIS_ENDINGS,
    spell=_spell,
)
