"""Small random tokenizers, text encoders and autoencoders that several families share."""

from __future__ import annotations

from typing import Any

from tests.bases.small_base import WORDS
from tests.bases.small_families import small_vae

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHIFT_BY_SIZE = {"use_dynamic_shifting": True, "base_image_seq_len": 16, "max_image_seq_len": 64}


def byte_tokenizer():
    """A tokenizer of bytes with a chat template, as Qwen's and Mistral's."""
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Tokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*MARKS, *letters])}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], additional_special_tokens=MARKS[1:])
    tokenizer.chat_template = CHAT
    return tokenizer


def word_tokenizer():
    """T5's, of the words of the tests."""
    from transformers import T5Tokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("\u2581", -2.0)]
    return T5Tokenizer(vocab=[*special, *((f"\u2581{word}", -3.0) for word in WORDS)])


def gemma_tokenizer():
    from transformers import GemmaTokenizer

    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    return GemmaTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[])


def small_t5(width: int = 32):
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(vocab_size=104, d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=2))


def small_umt5(tokenizer: Any):
    from transformers import UMT5Config, UMT5EncoderModel

    return UMT5EncoderModel(
        UMT5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    )


def small_gemma(tokenizer: Any):
    from transformers import Gemma2Config, Gemma2Model

    return Gemma2Model(
        Gemma2Config(
            head_dim=8, hidden_size=16, intermediate_size=16, num_attention_heads=2, num_hidden_layers=2,
            num_key_value_heads=1, vocab_size=len(tokenizer),
        )
    )  # fmt: skip


def small_qwen_3(model_class: Any, layers: int):
    from transformers import Qwen3Config

    return model_class(
        Qwen3Config(
            hidden_size=16, intermediate_size=16, num_hidden_layers=layers, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, vocab_size=300, max_position_embeddings=1024,
        )
    )  # fmt: skip


def small_qwen_3_vl(layers: int):
    from transformers import Qwen3VLConfig, Qwen3VLModel

    return Qwen3VLModel(
        Qwen3VLConfig(
            text_config={
                "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": layers, "num_attention_heads": 2,
                "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 300,
            },
            vision_config={
                "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16
            },
        )
    )  # fmt: skip


def plain_vae(channels: int = 4):
    return small_vae(
        latent_channels=channels, scaling_factor=1.5, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False
    )


def flux_2_vae():
    from diffusers import AutoencoderKLFlux2

    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16), layers_per_block=1, latent_channels=2, norm_num_groups=4,
        use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    vae.bn.running_mean.normal_(std=0.3)
    vae.bn.running_var.uniform_(0.3, 2)
    return vae


def qwen_vae(channels: int = 4):
    from diffusers import AutoencoderKLQwenImage

    return AutoencoderKLQwenImage(
        base_dim=8, z_dim=channels, dim_mult=[1, 2, 2], num_res_blocks=1, temperal_downsample=[False, True],
        latents_mean=[0.1 * place - 0.2 for place in range(channels)],
        latents_std=[0.5 + 0.2 * place for place in range(channels)],
    )  # fmt: skip


def schedule(**settings: Any):
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**settings)
