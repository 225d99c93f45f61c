"""Small models with the constants of their families, and the inverse of what diffusers does with single files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.bases.small_base import small_tokenizer
from tests.bases.small_families import second_tokenizer, small_clip_config, small_vae

BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def family_vae(scale: float, **settings: Any):
    return small_vae(block_out_channels=(32, 32, 64), norm_num_groups=32, scaling_factor=scale, **settings)


def family_unet(**settings: Any):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "block_out_channels": (64, 128),
            "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
            "layers_per_block": 1,
            **settings,
        }
    )


def family_clip(kind: str, width: int, **settings: Any):
    import transformers

    tokenizer = small_tokenizer()
    settings = {"num_attention_heads": width // 64, **settings}
    return getattr(transformers, kind)(small_clip_config(tokenizer, width, **settings))


def sd1():
    """A pipeline and its weights in the original layout."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    unet = family_unet(block_out_channels=(32, 64), cross_attention_dim=64, attention_head_dim=8)
    text, vae = family_clip("CLIPTextModel", 64), family_vae(0.18215)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=small_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(**BETAS),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return pipeline, {**_unet(unet), **_vae(vae), **_own_names(text, "cond_stage_model.transformer.")}


def sd2():
    """The file has one layer more than is read, as in the published ones."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    unet = family_unet(cross_attention_dim=128, attention_head_dim=(1, 2), use_linear_projection=True)
    text = family_clip("CLIPTextModel", 128, hidden_act="gelu", num_hidden_layers=2)
    vae = family_vae(0.18215)
    whole = _open_clip(text, "cond_stage_model.model.")
    layer = "cond_stage_model.model.transformer.resblocks."
    whole |= {
        name.replace(f"{layer}1.", f"{layer}2."): torch.randn_like(weight)
        for name, weight in whole.items()
        if name.startswith(f"{layer}1.")
    }
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=second_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(**BETAS, prediction_type="v_prediction"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return pipeline, {**_unet(unet), **_vae(vae), **whole}


def sdxl():
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline

    unet = family_unet(
        layers_per_block=2,
        cross_attention_dim=64 + 128,
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
        transformer_layers_per_block=(1, 3),
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=128 + 6 * 256,
    )
    first = family_clip("CLIPTextModel", 64)
    second = family_clip("CLIPTextModelWithProjection", 128, hidden_act="gelu", num_hidden_layers=3)
    vae = family_vae(0.13025)
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=small_tokenizer(),
        tokenizer_2=second_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(**BETAS),
        add_watermarker=False,
    )
    weights = {
        **_unet(unet),
        **_vae(vae),
        **_own_names(first, "conditioner.embedders.0.transformer."),
        **_open_clip(second, "conditioner.embedders.1.model."),
    }
    return pipeline, weights


def sd3():
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=3,
        attention_head_dim=64,
        num_attention_heads=2,
        joint_attention_dim=200,
        caption_projection_dim=128,
        pooled_projection_dim=64 + 128,
        pos_embed_max_size=16,
        dual_attention_layers=(0, 1),
        qk_norm="rms_norm",
    )
    first = family_clip("CLIPTextModelWithProjection", 64)
    with torch.no_grad():
        first.text_projection.weight.copy_(torch.eye(64))
    second = family_clip("CLIPTextModelWithProjection", 128, hidden_act="gelu", num_hidden_layers=3)
    vae = family_vae(1.5305, latent_channels=16, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False)
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae,
        text_encoder=first,
        tokenizer=small_tokenizer(),
        text_encoder_2=second,
        tokenizer_2=second_tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    )
    named = _own_names(first, "text_encoders.clip_l.transformer.")
    del named["text_encoders.clip_l.transformer.text_projection.weight"]
    weights = {
        **_transformer(transformer),
        **_vae(vae),
        **named,
        **_own_names(second, "text_encoders.clip_g.transformer."),
    }
    return pipeline, weights


ORIGINALS = {"sd1": sd1, "sd2": sd2, "sdxl": sdxl, "sd3": sd3}


def save_both(name: str, folder: Path, seed: int = 0, metadata: dict[str, str] | None = None) -> tuple[Path, Path]:
    """The same small model as a folder and as one file."""
    torch.manual_seed(seed)
    pipeline, weights = ORIGINALS[name]()
    pipeline.save_pretrained(folder / name)
    save_file({key: weight.contiguous() for key, weight in weights.items()}, folder / f"{name}.safetensors", metadata)
    return folder / name, folder / f"{name}.safetensors"


def _renamed(module: Any, rules: list[tuple[str, Any]], prefix: str) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, weight in module.state_dict().items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[prefix + name] = weight.clone()
    return renamed


def _unet(unet: Any) -> dict[str, torch.Tensor]:
    step = unet.config.layers_per_block + 1

    def upsampler(match: re.Match[str]) -> str:
        block = int(match[1])
        attends = bool(getattr(unet.up_blocks[block], "attentions", None))
        return f"output_blocks.{(block + 1) * step - 1}.{1 + attends}.conv"

    resnet = r"^((?:input|output)_blocks\.\d+\.0|middle_block\.[02])\."
    rules = [
        (r"^time_embedding\.linear_(\d)", lambda m: f"time_embed.{2 * int(m[1]) - 2}"),
        (r"^add_embedding\.linear_(\d)", lambda m: f"label_emb.0.{2 * int(m[1]) - 2}"),
        (r"^conv_in\.", "input_blocks.0.0."),
        (r"^conv_norm_out\.", "out.0."),
        (r"^conv_out\.", "out.2."),
        (r"^down_blocks\.(\d)\.resnets\.(\d)", lambda m: f"input_blocks.{int(m[1]) * step + int(m[2]) + 1}.0"),
        (r"^down_blocks\.(\d)\.attentions\.(\d)", lambda m: f"input_blocks.{int(m[1]) * step + int(m[2]) + 1}.1"),
        (r"^down_blocks\.(\d)\.downsamplers\.0\.conv", lambda m: f"input_blocks.{(int(m[1]) + 1) * step}.0.op"),
        (r"^up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"output_blocks.{int(m[1]) * step + int(m[2])}.0"),
        (r"^up_blocks\.(\d)\.attentions\.(\d)", lambda m: f"output_blocks.{int(m[1]) * step + int(m[2])}.1"),
        (r"^up_blocks\.(\d)\.upsamplers\.0\.conv", upsampler),
        (r"^mid_block\.resnets\.(\d)", lambda m: f"middle_block.{2 * int(m[1])}"),
        (r"^mid_block\.attentions\.0", "middle_block.1"),
        (resnet + r"norm1\.", r"\1.in_layers.0."),
        (resnet + r"conv1\.", r"\1.in_layers.2."),
        (resnet + r"norm2\.", r"\1.out_layers.0."),
        (resnet + r"conv2\.", r"\1.out_layers.3."),
        (r"time_emb_proj", "emb_layers.1"),
        (r"conv_shortcut", "skip_connection"),
    ]
    return _renamed(unet, rules, "model.diffusion_model.")


def _vae(vae: Any) -> dict[str, torch.Tensor]:
    last = len(vae.config.block_out_channels) - 1
    rules = [
        (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
        (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
        (r"up_blocks\.(\d)\.resnets", lambda m: f"up.{last - int(m[1])}.block"),
        (r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample"),
        (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
        (r"mid_block\.attentions\.0", "mid.attn_1"),
        (r"attn_1\.group_norm", "attn_1.norm"),
        (r"attn_1\.to_([qkv])", r"attn_1.\1"),
        (r"attn_1\.to_out\.0", "attn_1.proj_out"),
        (r"conv_norm_out", "norm_out"),
        (r"conv_shortcut", "nin_shortcut"),
    ]
    weights = _renamed(vae, rules, "first_stage_model.")
    return {
        name: weight[:, :, None, None] if "attn_1" in name and weight.ndim == 2 else weight
        for name, weight in weights.items()
    }


def _own_names(text: Any, prefix: str) -> dict[str, torch.Tensor]:
    return _renamed(text, [(r"^(embeddings|encoder|final)", r"text_model.\1")], prefix)


def _open_clip(text: Any, prefix: str) -> dict[str, torch.Tensor]:
    rules = [
        (r"^text_model\.", ""),
        (r"^embeddings\.position_embedding\.weight", "positional_embedding"),
        (r"^embeddings\.", ""),
        (r"^final_layer_norm", "ln_final"),
        (r"^encoder\.layers", "transformer.resblocks"),
        (r"layer_norm(\d)", r"ln_\1"),
        (r"mlp\.fc1", "mlp.c_fc"),
        (r"mlp\.fc2", "mlp.c_proj"),
        (r"self_attn", "attn"),
        (r"^text_projection\.weight", "text_projection"),
    ]
    result = _renamed(text, rules, prefix)
    for name in [name for name in result if ".q_proj." in name]:
        joined = [result.pop(name.replace(".q_proj.", f".{which}_proj.")) for which in "qkv"]
        result[name.replace(".q_proj.", ".in_proj_")] = torch.cat(joined)
    if f"{prefix}text_projection" in result:
        result[f"{prefix}text_projection"] = result[f"{prefix}text_projection"].T
    return result


def _transformer(transformer: Any) -> dict[str, torch.Tensor]:
    last = transformer.config.num_layers - 1
    block = r"^transformer_blocks\.(\d+)\."
    rules = [
        (r"^pos_embed\.pos_embed", "pos_embed"),
        (r"^pos_embed\.proj", "x_embedder.proj"),
        (r"^time_text_embed\.timestep_embedder\.linear_(\d)", lambda m: f"t_embedder.mlp.{2 * int(m[1]) - 2}"),
        (r"^time_text_embed\.text_embedder\.linear_(\d)", lambda m: f"y_embedder.mlp.{2 * int(m[1]) - 2}"),
        (r"^norm_out\.linear", "final_layer.adaLN_modulation.1"),
        (r"^proj_out", "final_layer.linear"),
        (block + r"norm1\.linear", r"joint_blocks.\1.x_block.adaLN_modulation.1"),
        (block + r"norm1_context\.linear", r"joint_blocks.\1.context_block.adaLN_modulation.1"),
        (block + r"ff\.net\.0\.proj", r"joint_blocks.\1.x_block.mlp.fc1"),
        (block + r"ff\.net\.2", r"joint_blocks.\1.x_block.mlp.fc2"),
        (block + r"ff_context\.net\.0\.proj", r"joint_blocks.\1.context_block.mlp.fc1"),
        (block + r"ff_context\.net\.2", r"joint_blocks.\1.context_block.mlp.fc2"),
        (block + r"attn\.to_add_out", r"joint_blocks.\1.context_block.attn.proj"),
        (block + r"attn\.add_([qkv])_proj", r"joint_blocks.\1.context_block.attn.\2"),
        (block + r"attn\.norm_added_([qk])", r"joint_blocks.\1.context_block.attn.ln_\2"),
        (block + r"(attn2?)\.to_out\.0", r"joint_blocks.\1.x_block.\2.proj"),
        (block + r"(attn2?)\.to_([qkv])", r"joint_blocks.\1.x_block.\2.\3"),
        (block + r"(attn2?)\.norm_([qk])", r"joint_blocks.\1.x_block.\2.ln_\3"),
    ]
    result = _renamed(transformer, rules, "model.diffusion_model.")
    for name in [name for name in result if re.search(r"attn2?\.q\.", name)]:
        joined = [result.pop(re.sub(r"\.q\.", f".{which}.", name)) for which in "qkv"]
        result[re.sub(r"\.q\.", ".qkv.", name)] = torch.cat(joined)
    for name in [name for name in result if re.search(rf"final_layer\.adaLN|blocks\.{last}\.context.*adaLN", name)]:
        shift_last = result[name].chunk(2)
        result[name] = torch.cat(shift_last[::-1])
    return result
