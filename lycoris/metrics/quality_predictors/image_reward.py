"""ImageReward: a BLIP that reads a prompt while it looks at an image, and a small network for the reward."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lycoris.encoders import Preprocessing
from lycoris.encoders.model_sources import find_weight_file, model_digest, resolve_source
from lycoris.encoders.open_clip import OPENAI_MEAN, OPENAI_STD
from lycoris.errors import InputError
from lycoris.metrics.prediction import PredictionInputs
from lycoris.pretrained import read_weights

MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the rewards in its authors' data; the reward is standardized by them."""
MAX_TOKENS = 35
HEAD_WIDTH = 64
BATCH_SIZE = 16

_IMAGE_KEYS = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.\1.self_attn.qkv."),
    (r"^blocks\.(\d+)\.norm([12])\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.mlp\.", r"encoder.layers.\1.mlp."),
)


class ImageReward:
    """The reward of an image for its prompt, mostly from -2 to 2.

    Args:
        source: a folder, or a hub name, with the published ``ImageReward.pt`` as its only weight file and the
            vocabulary of its tokenizer, BERT's (``vocab.txt`` or ``tokenizer.json``).
        device: torch device.

    Raises:
        InputError: a file is missing, or is not ImageReward's.

    Source: Xu et al., arXiv 2304.05977.
    """

    metric = "image_reward"

    def __init__(self, source: str, device: str | torch.device = "cpu") -> None:
        self.name, folder = resolve_source(source)
        self.digest, self.device = model_digest(folder), torch.device(device)
        self.tokenizer = _load_tokenizer(folder)
        file = find_weight_file(folder)
        vision, text, head = build_parts(read_weights(file), file, len(self.tokenizer))
        self.vision, self.text, self.head = (part.to(self.device) for part in (vision, text, head))
        self.preprocessing = Preprocessing(vision.config.image_size, OPENAI_MEAN, OPENAI_STD)

    @torch.inference_mode()
    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images one"]:
        """Return one value per image."""
        rewards = []
        for start in range(0, len(inputs.images), BATCH_SIZE):
            rows = range(start, min(start + BATCH_SIZE, len(inputs.images)))
            pixels = torch.stack([self.preprocessing(inputs.images[row], "crop") for row in rows]).to(self.device)
            rewards.append(self._rewards(pixels, [inputs.prompts[row].evaluation for row in rows]))
        return torch.cat(rewards).double().cpu().numpy()

    def _rewards(self, pixels: Tensor, texts: list[str]) -> Float[Tensor, "images one"]:
        tokens = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        ).to(self.device)
        image_states = self.vision(pixel_values=pixels).last_hidden_state
        read = self.text(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            encoder_hidden_states=image_states,
            encoder_attention_mask=torch.ones(image_states.shape[:2], dtype=torch.long, device=self.device),
        ).last_hidden_state
        return (self.head(read[:, 0]) - MEAN) / STD


def build_parts(state: Mapping[str, Tensor], file: Path, vocabulary_size: int) -> tuple[Any, Any, nn.Module]:
    """Build the image tower, the text tower and the reward's layers from the published weights.

    Args:
        state: ``blip.visual_encoder.*``, ``blip.text_encoder.*`` and ``mlp.layers.*``.
        file: for error messages.
        vocabulary_size: tokens that the tokenizer knows.

    Raises:
        InputError: a part is missing, or a key does not belong to it.
    """
    from transformers import BlipTextConfig, BlipVisionConfig
    from transformers.models.blip.modeling_blip import BlipVisionModel
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    vision, text, head = (
        {key.removeprefix(prefix): value.float() for key, value in state.items() if key.startswith(prefix)}
        for prefix in ("blip.visual_encoder.", "blip.text_encoder.", "mlp.layers.")
    )
    needed = ("pos_embed", vision), ("embeddings.word_embeddings.weight", text), ("0.weight", head)
    if any(key not in part for key, part in needed):
        raise InputError(
            f"Weight file `{file}` must hold `blip.visual_encoder.*`, `blip.text_encoder.*` and `mlp.layers.*`, but "
            "does not: it is not ImageReward's."
        )
    words, width = text["embeddings.word_embeddings.weight"].shape
    if words < vocabulary_size:
        raise InputError(f"Weight file `{file}` knows {words} tokens, but its tokenizer has {vocabulary_size}.")
    patch = vision["patch_embed.proj.weight"].shape[2]
    vision_width = vision["patch_embed.proj.weight"].shape[0]
    tower = BlipVisionModel(
        BlipVisionConfig(
            hidden_size=vision_width,
            intermediate_size=len(vision["blocks.0.mlp.fc1.bias"]),
            num_hidden_layers=_count_layers(vision, "blocks."),
            num_attention_heads=max(1, vision_width // HEAD_WIDTH),
            image_size=round((vision["pos_embed"].shape[1] - 1) ** 0.5) * patch,
            patch_size=patch,
            layer_norm_eps=1e-6,
        )
    )
    reader = BlipTextModel(
        BlipTextConfig(
            vocab_size=words,
            hidden_size=width,
            encoder_hidden_size=vision_width,
            intermediate_size=len(text["encoder.layer.0.intermediate.dense.bias"]),
            num_hidden_layers=_count_layers(text, "encoder.layer."),
            num_attention_heads=max(1, width // HEAD_WIDTH),
            max_position_embeddings=len(text["embeddings.position_embeddings.weight"]),
            is_decoder=True,  # only then it has layers that look at the image
        ),
        add_pooling_layer=False,
    )
    _load(tower, {_rename(key): value for key, value in vision.items()}, file)
    ignored = ("pooler.", "embeddings.position_ids")
    _load(reader, {key: value for key, value in text.items() if not key.startswith(ignored)}, file)
    return tower.eval(), reader.eval(), _build_head(head)


def _build_head(state: Mapping[str, Tensor]) -> nn.Module:
    """Linear layers without activations between them."""
    layers = []
    for index in sorted({int(key.split(".")[0]) for key in state}):
        weight, bias = state[f"{index}.weight"], state[f"{index}.bias"]
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers.append(layer)
    return nn.Sequential(*layers).eval()


def _rename(key: str) -> str:
    for pattern, replacement in _IMAGE_KEYS:
        if re.match(pattern, key):
            return re.sub(pattern, replacement, key)
    return key


def _load(module: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    expected = {key for key in module.state_dict() if not key.endswith("position_ids")}
    odd = sorted(expected ^ state.keys())
    if odd:
        raise InputError(f"Weight file `{file}` does not fit ImageReward: {len(odd)} keys, such as `{odd[0]}`.")
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(f"Weight file `{file}` does not fit ImageReward: {error}") from error


def _count_layers(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


def _load_tokenizer(folder: Path) -> Any:
    from transformers import BertTokenizer

    try:
        return BertTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"ImageReward's folder `{folder}` must hold BERT's vocabulary, `vocab.txt`: {error}"
        ) from error
