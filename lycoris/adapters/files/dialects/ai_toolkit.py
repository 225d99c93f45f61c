"""ai-toolkit's names: dotted paths with PEFT's factors, LyCORIS's alpha and LoKr."""

from __future__ import annotations

from lycoris.adapters.files.dialects.dialect import DENOISER, LYCORIS_ENDINGS, Dialect, Prefix
from lycoris.adapters.files.dialects.peft import PEFT_ENDINGS

_PREFIXES = ("diffusion_model.", "transformer.", "conditional_transformer.", "model.diffusion_model.", "pipe.dit.")
"""The last one is DiffSynth's."""

AI_TOOLKIT = Dialect(
    name="ai-toolkit",
    written_by="ai-toolkit and the authors of FLUX.2, Z-Image and Krea 2",
    example="diffusion_model.layers.0.attention.to_q.lora_A.weight",
    prefixes=tuple(Prefix(text, DENOISER) for text in _PREFIXES),
    endings={**LYCORIS_ENDINGS, **PEFT_ENDINGS},
)
