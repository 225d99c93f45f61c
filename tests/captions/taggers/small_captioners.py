"""Small captioners of the published classes with random weights."""

from __future__ import annotations

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
    model.generation_config.update(bos_token_id=0, pad_token_id=1, eos_token_id=2, min_new_tokens=6)
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


MODELS = {"blip": blip, "florence2": florence, "llava": llava}
