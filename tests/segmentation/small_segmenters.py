"""Small segmenters of the published classes with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = ["a", "cat", "dog", "bear", "hat", "photo", "of"]


def _tokenizer() -> tuple[Any, int]:
    """A tokenizer of words, with an end of each text; and the size of its vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<|startoftext|>", "<|endoftext|>", "<unk>"]
    words = {word: index for index, word in enumerate([*WORDS, *special])}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(special[0], words[special[0]]), (special[1], words[special[1]])]
    plain.post_processor = processors.TemplateProcessing(single=f"{special[0]} $A {special[1]}", special_tokens=ends)
    names = {"bos_token": special[0], "eos_token": special[1], "pad_token": special[1], "unk_token": special[2]}
    return PreTrainedTokenizerFast(tokenizer_object=plain, model_max_length=16, **names), len(words)


def clipseg(folder: Path, bias: float = 0.0) -> Path:
    """Write a CLIPSeg.

    Args:
        bias: of every pixel's logit: a large one finds everything, a small one nothing.
    """
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPSegProcessor, ViTImageProcessorPil

    torch.manual_seed(0)
    tokenizer, size = _tokenizer()
    layer = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    text = {**layer, "num_hidden_layers": 1, "vocab_size": size, "max_position_embeddings": 16,
            "bos_token_id": size - 3, "eos_token_id": size - 2, "pad_token_id": size - 2}  # fmt: skip
    vision = {**layer, "num_hidden_layers": 2, "image_size": 32, "patch_size": 16}
    config = CLIPSegConfig(text_config=text, vision_config=vision, projection_dim=16, extract_layers=[0, 1],
                           reduce_dim=8, decoder_num_attention_heads=2, decoder_intermediate_size=16)  # fmt: skip
    model = CLIPSegForImageSegmentation(config)
    with torch.no_grad():
        model.decoder.transposed_convolution.bias += bias
    model.save_pretrained(folder)
    CLIPSegProcessor(ViTImageProcessorPil(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


def _enlarge(model: torch.nn.Module) -> None:
    """Enlarge the weights, so that what goes in shows in the masks."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5.0)


def sam(folder: Path) -> Path:
    """Write a SAM."""
    from transformers import SamConfig, SamImageProcessorPil, SamModel, SamProcessor

    torch.manual_seed(0)
    vision = {"hidden_size": 16, "output_channels": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 64, "patch_size": 16, "window_size": 2, "global_attn_indexes": [0], "mlp_dim": 32,
              "num_pos_feats": 8}  # fmt: skip
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
               "iou_head_hidden_dim": 16}  # fmt: skip
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    model = SamModel(config)
    _enlarge(model)
    model.save_pretrained(folder)
    images = SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    SamProcessor(images).save_pretrained(folder)
    return folder


def sam3(folder: Path) -> Path:
    """Write a SAM 3 that takes every query for an object."""
    from transformers import Sam3Config, Sam3Model

    torch.manual_seed(0)
    tokenizer, size = _tokenizer()
    small = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    backbone = {**small, "model_type": "sam3_vit_model", "num_hidden_layers": 2, "image_size": 56, "patch_size": 14,
                "window_size": 2, "pretrain_image_size": 28, "global_attn_indexes": [1]}  # fmt: skip
    text = {**small, "vocab_size": size, "num_hidden_layers": 1, "max_position_embeddings": 16, "projection_dim": 16,
            "bos_token_id": size - 3, "eos_token_id": size - 2}  # fmt: skip
    config = Sam3Config(
        vision_config={"backbone_config": backbone, "fpn_hidden_size": 16},
        text_config=text,
        geometry_encoder_config={**small, "num_layers": 1},
        detr_encoder_config={**small, "num_layers": 1},
        detr_decoder_config={**small, "num_layers": 1, "num_queries": 5},
        mask_decoder_config={"hidden_size": 16, "num_attention_heads": 2},
    )
    model = Sam3Model(config)
    _enlarge(model)
    with torch.no_grad():
        model.detr_decoder.presence_head.layer3.bias.fill_(5.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


MODELS = {"clipseg": clipseg, "sam": sam, "sam3": sam3}
