"""CLIP models in the layout of open_clip, such as DataComp's ViT-L/14, loaded into the class of transformers.

A folder holds ``open_clip_config.json`` and ``open_clip_model.safetensors`` (or ``open_clip_pytorch_model.bin``), and a
tokenizer if texts are to be encoded. The network is open_clip's plain CLIP: a ViT with a class token, and a causal text
transformer that is pooled at the end token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lycoris.errors import InputError
from lycoris.pretrained import read_weights

CONFIG_FILE = "open_clip_config.json"
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
"""OpenAI's normalization, for configurations without one."""
IGNORED_KEYS = ("attn_mask",)

_RENAMED_KEYS = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_TRANSPOSED_KEYS = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}
_BLOCK_PATTERN = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)")
_RENAMED_BLOCK_KEYS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def read_config(folder: Path) -> dict[str, Any] | None:
    """Read ``open_clip_config.json`` with ``model_cfg`` and ``preprocess_cfg``; None if there is none."""
    file = folder / CONFIG_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def read_preprocessing_config(folder: Path) -> dict[str, Any] | None:
    """Read the preprocessing with the keys of ``preprocessor_config.json``; None without ``open_clip_config.json``."""
    config = read_config(folder)
    if config is None:
        return None
    preprocessing = config.get("preprocess_cfg", {})
    return {
        "size": config["model_cfg"]["vision_cfg"].get("image_size", 224),
        "image_mean": preprocessing.get("mean", OPENAI_MEAN),
        "image_std": preprocessing.get("std", OPENAI_STD),
    }


def load_clip(folder: Path) -> Any:
    """Load the model in float32 and evaluation mode, with frozen parameters.

    Raises:
        InputError: the weights are missing, or the network is not open_clip's plain CLIP.
    """
    from transformers import CLIPModel

    config = read_config(folder)
    files = [folder / name for name in WEIGHT_FILES if (folder / name).is_file()]
    if config is None or not files:
        raise InputError(
            f"Encoder folder `{folder}` must hold {CONFIG_FILE} and {' or '.join(WEIGHT_FILES)}, but does not."
        )
    model = CLIPModel(_transformers_config(folder, config["model_cfg"]))
    renamed = rename_keys(read_weights(files[0]), files[0])
    renamed.setdefault("logit_scale", model.logit_scale.data)
    mismatched = sorted(set(model.state_dict()) ^ set(renamed))
    if mismatched:
        raise InputError(
            f"Weight file `{files[0]}` does not fit {CONFIG_FILE}: {len(mismatched)} keys, such as `{mismatched[0]}`."
        )
    try:
        model.load_state_dict({key: value.float() for key, value in renamed.items()})
    except RuntimeError as error:
        raise InputError(f"Weight file `{files[0]}` does not fit {CONFIG_FILE}: {error}") from error
    return model.eval().requires_grad_(False)


def rename_keys(state: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Convert open_clip's keys and shapes to those of transformers' ``CLIPModel``.

    Raises:
        InputError: a key does not belong to a plain CLIP.
    """
    result: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.removeprefix("text.")  # one of open_clip's two classes has a separate text tower
        block = _BLOCK_PATTERN.fullmatch(name)
        if name in _RENAMED_KEYS:
            result[_RENAMED_KEYS[name]] = value
        elif name in _TRANSPOSED_KEYS:
            result[_TRANSPOSED_KEYS[name]] = value.T.contiguous()
        elif block:
            tower = "vision_model" if block[1] else "text_model"
            layer = f"{tower}.encoder.layers.{block[2]}"
            if block[3] == "attn.in_proj":
                for part, third in zip("qkv", value.chunk(3), strict=True):
                    result[f"{layer}.self_attn.{part}_proj.{block[4]}"] = third.contiguous()
            elif block[3] in _RENAMED_BLOCK_KEYS:
                result[f"{layer}.{_RENAMED_BLOCK_KEYS[block[3]]}.{block[4]}"] = value
            else:
                raise _unexpected_key_error(key, file)
        elif name not in IGNORED_KEYS:
            raise _unexpected_key_error(key, file)
    return result


def _unexpected_key_error(key: str, file: Path) -> InputError:
    return InputError(f"Weight file `{file}` must hold open_clip's plain CLIP, but has the key `{key}`.")


def _transformers_config(folder: Path, model_config: Mapping[str, Any]) -> Any:
    from transformers import CLIPConfig

    image, text = model_config.get("vision_cfg", {}), model_config.get("text_cfg", {})
    if not isinstance(image.get("layers"), int) or "hf_model_name" in text or "timm_model_name" in image:
        raise InputError(f"`{folder / CONFIG_FILE}` must describe open_clip's plain CLIP with a ViT, but does not.")
    activation = "quick_gelu" if model_config.get("quick_gelu") else "gelu"
    vocabulary_size = text.get("vocab_size", 49408)
    return CLIPConfig(
        projection_dim=model_config["embed_dim"],
        vision_config={
            "hidden_size": image["width"],
            "intermediate_size": int(image["width"] * image.get("mlp_ratio", 4)),
            "num_hidden_layers": image["layers"],
            "num_attention_heads": image["width"] // image.get("head_width", 64),
            "image_size": image.get("image_size", 224),
            "patch_size": image["patch_size"],
            "hidden_act": activation,
        },
        text_config={
            "hidden_size": text["width"],
            "intermediate_size": int(text["width"] * text.get("mlp_ratio", 4)),
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "vocab_size": vocabulary_size,
            "max_position_embeddings": text.get("context_length", 77),
            "hidden_act": activation,
            "bos_token_id": vocabulary_size - 2,
            "eos_token_id": vocabulary_size - 1,  # open_clip pools at the largest token of a text
            "pad_token_id": vocabulary_size - 1,
        },
    )
