"""kohya's names: a prefix for the part, then the path with `_` for every dot."""

from __future__ import annotations

from lycoris.adapters.files.dialects.dialect import DENOISER, LYCORIS_ENDINGS, Dialect, Prefix

KOHYA = Dialect(
    name="kohya",
    written_by="sd-scripts, musubi-tuner and most files on Civitai",
    example="lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight",
    prefixes=(
        Prefix("lora_unet_", DENOISER, flat=True),
        Prefix("lora_te_", "text_encoder", flat=True),
        Prefix("lora_te1_", "text_encoder", flat=True),
        Prefix("lora_te2_", "text_encoder_2", flat=True),
        Prefix("lora_te3_", "text_encoder_3", flat=True),
        Prefix("lora_te3_", "t5", flat=True),
    ),
    endings={**LYCORIS_ENDINGS, ".weight": "weight"},
)
