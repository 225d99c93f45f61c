"""ComfyUI's names: `diffusion_model.` and `text_encoders.`, then the original implementation's path."""

from __future__ import annotations

from lycoris.adapters.files.dialects.dialect import DENOISER, LYCORIS_ENDINGS, Dialect, Prefix

COMFYUI = Dialect(
    name="comfyui",
    written_by="ComfyUI's LoraSave",
    example="diffusion_model.input_blocks.4.1.proj_in.lora_up.weight",
    prefixes=(
        *(Prefix(text, DENOISER) for text in ("diffusion_model.", "model.diffusion_model.")),
        *(Prefix(f"text_encoders.{name}.transformer.", "clip_l") for name in ("clip_l", "clip_h")),
        Prefix("text_encoders.clip_g.transformer.", "clip_g"),
        Prefix("text_encoders.t5xxl.transformer.", "t5"),
    ),
    endings=LYCORIS_ENDINGS,
)
