"""Small captioners of the published classes with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

WORDS = ["a", "the", "cat", "dog", "bear", "hat", "snow", "beach", "on", "in", "with", "red", "wearing"]


def blip(folder: Path) -> Path:
    """Write a BLIP that generates random words."""
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessorPil,
        BlipProcessor,
    )

    torch.manual_seed(0)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate([*special, *WORDS, "[DEC]", "[ENC]"])})
    tokenizer.add_special_tokens({"extra_special_tokens": ["[DEC]", "[ENC]"]})  # as the published ones have them
    layer = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**layer, "vocab_size": len(tokenizer), "projection_dim": 16, "encoder_hidden_size": 16,
            "bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}  # fmt: skip
    config = BlipConfig(text_config=text, vision_config={**layer, "image_size": 32, "patch_size": 16})
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


def florence(folder: Path) -> Path:
    """Write a Florence-2 that generates random words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        CLIPImageProcessorPil,
        Florence2Config,
        Florence2ForConditionalGeneration,
        Florence2Processor,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<image>"]
    words = {word: index for index, word in enumerate([*special, *WORDS])}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    vision = {"embed_dim": [8, 16], "depths": [1, 1], "num_heads": [2, 2], "num_groups": [2, 2], "patch_size": [7, 3],
              "patch_stride": [4, 2], "patch_padding": [3, 1], "patch_prenorm": [False, True], "window_size": 4,
              "projection_dim": 16}  # fmt: skip
    text = {"model_type": "bart", "vocab_size": len(words), "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
            "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
            "max_position_embeddings": 256, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
            "decoder_start_token_id": 2, "forced_eos_token_id": 2}  # fmt: skip
    config = Florence2Config(text_config=text, vision_config=vision, image_token_id=4)
    model = Florence2ForConditionalGeneration(config)
    model.generation_config.min_length = 6
    model.save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    images.image_seq_length = 17
    Florence2Processor(images, tokenizer).save_pretrained(folder)
    return folder


CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)


def _word_tokenizer() -> tuple[Any, int]:
    """A tokenizer of words with a token for images, which has the number 4; and the size of its vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<image>"]
    words = {word: index for index, word in enumerate([*special, *WORDS])}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    extra = {"image_token": "<image>"}
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=plain, extra_special_tokens=extra, **names), len(words)


TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 0, "pad_token_id": 1,
        "eos_token_id": 2}  # fmt: skip


def _save(model: Any, folder: Path) -> None:
    model.generation_config.update(
        bos_token_id=0, pad_token_id=1, eos_token_id=2, min_new_tokens=6, exponential_decay_length_penalty=(8, 4.0)
    )
    model.save_pretrained(folder)


def llava(folder: Path) -> Path:
    """Write a LLaVA, the class of JoyCaption, that generates random words."""
    from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    torch.manual_seed(0)
    tokenizer, size = _word_tokenizer()
    vision = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
              "num_attention_heads": 2, "image_size": 32, "patch_size": 16, "projection_dim": 16}  # fmt: skip
    text = {**TEXT, "model_type": "llama", "vocab_size": size}
    _save(
        LlavaForConditionalGeneration(
            LlavaConfig(vision_config=vision, text_config=text, image_token_index=4, image_seq_length=4)
        ),
        folder,
    )
    images = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    options = {"patch_size": 16, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    LlavaProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE, **options).save_pretrained(folder)
    return folder


QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
               "<|video_pad|>", "<unk>"]  # fmt: skip
"""Special tokens of a Qwen-VL; a token's place is its number."""

QWEN_TEMPLATE = CHAT_TEMPLATE.replace("<image>", "<|vision_start|> <|image_pad|> <|vision_end|>")


def _qwen(folder: Path, model: Any, image_processor: str) -> Path:
    """Write a Qwen-VL with the files of the published ones, which do not name the parts of the processor."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate([*QWEN_TOKENS, *WORDS])}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token="<unk>",
        extra_special_tokens=QWEN_TOKENS[:-1],
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    vision = model.config.vision_config
    images = {"image_processor_type": image_processor, "patch_size": vision.patch_size, "temporal_patch_size": 2,
              "merge_size": 2, "min_pixels": 56 * 56, "max_pixels": 56 * 112}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": QWEN_TEMPLATE}))
    model.generation_config.update(
        eos_token_id=2,
        pad_token_id=0,
        min_new_tokens=6,
        exponential_decay_length_penalty=(8, 4.0),
        suppress_tokens=[0, 1, *range(3, len(QWEN_TOKENS))],
    )
    model.save_pretrained(folder)
    return folder


QWEN_TEXT = {**TEXT, "vocab_size": len(QWEN_TOKENS) + len(WORDS), "pad_token_id": 0, "initializer_range": 0.3,
             "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}  # fmt: skip
QWEN_IDS = {"image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 3, "vision_end_token_id": 4}
QWEN_VISION = {"depth": 2, "num_heads": 2, "intermediate_size": 32, "initializer_range": 0.3}


def qwen2_vl(folder: Path) -> Path:
    """Write a Qwen2-VL that generates random words."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    torch.manual_seed(0)
    vision = {**QWEN_VISION, "embed_dim": 16, "hidden_size": 16, "patch_size": 14}
    config = Qwen2VLConfig(vision_config=vision, text_config=QWEN_TEXT, **QWEN_IDS)
    return _qwen(folder, Qwen2VLForConditionalGeneration(config), "Qwen2VLImageProcessor")


def qwen2_5_vl(folder: Path) -> Path:
    """Write a Qwen2.5-VL that generates random words."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(0)
    vision = {**QWEN_VISION, "hidden_size": 16, "out_hidden_size": 16, "patch_size": 14, "window_size": 56,
              "fullatt_block_indexes": [1]}  # fmt: skip
    config = Qwen2_5_VLConfig(vision_config=vision, text_config=QWEN_TEXT, **QWEN_IDS)
    return _qwen(folder, Qwen2_5_VLForConditionalGeneration(config), "Qwen2VLImageProcessor")


def qwen3_vl(folder: Path) -> Path:
    """Write a Qwen3-VL that generates random words."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    torch.manual_seed(0)
    vision = {**QWEN_VISION, "hidden_size": 16, "out_hidden_size": 16, "patch_size": 16, "num_position_embeddings": 64,
              "deepstack_visual_indexes": [0]}  # fmt: skip
    text = {**QWEN_TEXT, "head_dim": 8}
    config = Qwen3VLConfig(vision_config=vision, text_config=text, **QWEN_IDS)
    return _qwen(folder, Qwen3VLForConditionalGeneration(config), "Qwen2VLImageProcessorFast")


MODELS = {
    "blip": blip,
    "florence2": florence,
    "llava": llava,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
}
