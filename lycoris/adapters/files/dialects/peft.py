"""PEFT's names: the path in one module behind `base_model.model.`, and the adapter's name behind the tensor's."""

from __future__ import annotations

from lycoris.adapters.files.dialects.dialect import ANY_PART, DENOISER, Dialect, Endings, Prefix

PEFT_TENSORS = (
    *("lora_A", "lora_B", "lora_magnitude_vector", "ia3_l"),
    *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
)
PEFT_ENDINGS: Endings = {
    **{f".{name}{ending}": name for name in PEFT_TENSORS for ending in ("", ".weight")},
    ".lora_B.bias": "lora_bias",
}
"""Endings without the adapter's name, which `split_key` takes out."""

PEFT = Dialect(
    name="peft",
    written_by="PEFT",
    example="base_model.model.down_blocks.0.attentions.0.proj_in.lora_A.default.weight",
    prefixes=(
        Prefix("base_model.model.", ANY_PART),
        Prefix("base_model.model.diffusion_model.", DENOISER),
        *(
            Prefix(prefix.format(part), DENOISER if part in ("unet", "transformer") else part)
            for part in ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
            for prefix in ("{}.base_model.model.", "base_model.model.{}.")
        ),
    ),
    endings=PEFT_ENDINGS,
)
