"""A small random model of every family, saved in the diffusers layout: resolution 32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.bases.small_base import WORDS, save_small_base, small_tokenizer


def small_vae(**settings: Any):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        **{
            "block_out_channels": (8, 8, 16),
            "down_block_types": ["DownEncoderBlock2D"] * 3,
            "up_block_types": ["UpDecoderBlock2D"] * 3,
            "latent_channels": 4,
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "scaling_factor": 0.5,
            **settings,
        }
    )


def small_clip_config(tokenizer: Any, width: int, **settings: Any):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 12,
            "projection_dim": width,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **settings,
        }
    )


def second_tokenizer():
    """SDXL's and SD 3's second tokenizer pads with another token."""
    tokenizer = small_tokenizer()
    tokenizer.pad_token = "!"
    return tokenizer


def save_small_v_zero(folder: Path) -> Path:
    """SD 2.x as it is trained for pure noise: v-prediction, zero terminal signal, trailing times."""
    from tests.bases.small_base import edit_json

    save_small_base(folder, prediction_type="v_prediction")
    edit_json(folder / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    return folder


def save_small_xl(folder: Path, seed: int = 0, **settings: Any) -> Path:
    """SDXL: two text encoders of widths 24 and 40; the second's pooled state has 28 numbers."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    first, second = small_tokenizer(), second_tokenizer()
    unet = UNet2DConditionModel(
        **{
            "sample_size": 8,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
            "block_out_channels": (16, 32),
            "layers_per_block": 1,
            "cross_attention_dim": 64,
            "attention_head_dim": (2, 4),
            "transformer_layers_per_block": (1, 2),
            "use_linear_projection": True,
            "norm_num_groups": 8,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 28 + 6 * 8,
            **settings,
        }
    )
    StableDiffusionXLPipeline(
        vae=small_vae(),
        text_encoder=CLIPTextModel(small_clip_config(first, 24)),
        text_encoder_2=CLIPTextModelWithProjection(
            small_clip_config(second, 40, projection_dim=28, hidden_act="gelu", num_hidden_layers=3)
        ),
        tokenizer=first,
        tokenizer_2=second,
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def save_small_3(folder: Path, seed: int = 0, *, t5: bool = False, **settings: Any) -> Path:
    """SD 3.5 medium: 16 latent channels, CLIPs of widths 24 and 40, a transformer of two joint blocks that reads 72."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection, T5Config, T5EncoderModel, T5Tokenizer

    torch.manual_seed(seed)
    first, second = small_tokenizer(), second_tokenizer()
    transformer = SD3Transformer2DModel(
        **{
            "sample_size": 8,
            "patch_size": 2,
            "in_channels": 16,
            "out_channels": 16,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "joint_attention_dim": 72,
            "caption_projection_dim": 16,
            "pooled_projection_dim": 24 + 28,
            "pos_embed_max_size": 16,
            "dual_attention_layers": (0,),
            "qk_norm": "rms_norm",
            **settings,
        }
    )
    long = T5EncoderModel(T5Config(vocab_size=104, d_model=72, d_kv=8, d_ff=32, num_layers=2, num_heads=2))
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=small_vae(
            latent_channels=16,
            scaling_factor=1.5,
            shift_factor=0.06,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=CLIPTextModelWithProjection(small_clip_config(first, 24)),
        tokenizer=first,
        text_encoder_2=CLIPTextModelWithProjection(
            small_clip_config(second, 40, projection_dim=28, hidden_act="gelu", num_hidden_layers=3)
        ),
        tokenizer_2=second,
        text_encoder_3=long if t5 else None,
        tokenizer_3=T5Tokenizer() if t5 else None,
    ).save_pretrained(folder)
    return folder


def save_small_auraflow(folder: Path, seed: int = 0) -> Path:
    """AuraFlow: a UMT5 of width 40, one joint and one single block, positions for 64 pixels."""
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel, FlowMatchEulerDiscreteScheduler
    from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

    torch.manual_seed(seed)
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("\u2581", -2.0)]
    tokenizer = T5Tokenizer(vocab=[*special, *((f"\u2581{word}", -3.0) for word in WORDS)])
    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=40,
        caption_projection_dim=16,
        pos_embed_max_size=64,
    )
    # At their initial size the gates leave hardly any effect to texts and adapters.
    for name, weight in transformer.named_parameters():
        if "time_step_proj" in name or name.endswith("linear.weight"):
            weight.data.mul_(2.5)
    AuraFlowPipeline(
        tokenizer=tokenizer,
        text_encoder=UMT5EncoderModel(
            UMT5Config(vocab_size=len(tokenizer), d_model=40, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
        ),
        vae=small_vae(),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
    ).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Case:
    """A family and what is expected of it.

    Attributes:
        save: writes a small model to a folder.
        family: key in `BASES`.
        widths: of the states, and of the pooled state or None.
        tokens: of a prompt.
        layers: how many of each part's layers the preset attn-mlp chooses, by the part's name in files.
        scheduler: the default one.
        presets: how many of the denoiser's layers each of `small_flow_families.ROLE_PRESETS` chooses.
    """

    save: Callable[[Path], Path]
    family: str
    widths: tuple[int, int | None]
    tokens: int
    layers: dict[str, int]
    scheduler: str
    presets: tuple[int, ...]


SD_PRESETS = (32, 8, 48, 8, 4, 79)
SD_LAYERS = {"lora_unet": 48, "lora_te": 12}
"""Four transformers of 8 attention, 2 feed-forward and 2 projection layers; two text layers of 6."""
SD3_PRESETS = (15, 6, 21, 5, 7, 33)
SD3_LAYERS = {"lora_unet": 21, "lora_te1": 12, "lora_te2": 18}
"""A joint block of one attention (8) and two feed-forwards (4), and the last, whose text ends in it (7 + 2)."""


def save_small_35_large(folder: Path) -> Path:
    """SD 3.5 large: the queries and keys of all attentions are normalised, and no block has a second attention."""
    return save_small_3(folder, t5=True, dual_attention_layers=())


def save_small_3_medium(folder: Path) -> Path:
    """SD 3 medium, which has neither, without its T5."""
    return save_small_3(folder, dual_attention_layers=(), qk_norm=None)


CASES = {
    "sd": Case(save_small_base, "stable-diffusion", (24, None), 12, SD_LAYERS, "ddim", SD_PRESETS),
    "sd-v-zero": Case(save_small_v_zero, "stable-diffusion", (24, None), 12, SD_LAYERS, "ddim", SD_PRESETS),
    "sdxl": Case(
        save_small_xl,
        "stable-diffusion-xl",
        (64, 28),
        12,
        {"lora_unet": 88, "lora_te1": 12, "lora_te2": 18},
        "ddim",
        (64, 16, 88, 8, 6, 119),
    ),
    "sd3": Case(save_small_3_medium, "stable-diffusion-3", (72, 52), 12 + 256, SD3_LAYERS, "flow-euler", SD3_PRESETS),
    "sd3.5-medium": Case(
        lambda folder: save_small_3(folder, t5=True),
        "stable-diffusion-3",
        (72, 52),
        268,
        {**SD3_LAYERS, "lora_unet": 25},  # a second attention of the image in one block
        "flow-euler",
        (19, 6, 25, 5, 7, 37),
    ),
    "sd3.5-large": Case(
        save_small_35_large, "stable-diffusion-3", (72, 52), 268, SD3_LAYERS, "flow-euler", SD3_PRESETS
    ),
    "auraflow": Case(
        save_small_auraflow, "auraflow", (40, None), 256, {"lora_unet": 21}, "flow-euler", (12, 9, 21, 4, 5, 30)
    ),
}
"""Every family, by the name in test ids."""
