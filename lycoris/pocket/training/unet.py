"""The UNet and its text encoder, trained together on stored latents.

v-prediction on the noise schedule of Stable Diffusion. One caption in ten is empty, for classifier-free guidance.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from lycoris.cache.atomic import atomic_write
from lycoris.pocket import BASE
from lycoris.pocket.training.dataset import plain_dataset
from lycoris.pocket.training.latents import finished_chunks, load_latents
from lycoris.pocket.training.trainer import TimeBudget, Trainer, TrainerConfig, device, mixed_precision
from lycoris.pocket.training.vae import LATENT_CHANNELS
from lycoris.pocket.training.warm_start import warm_start
from lycoris.pocket.world.vocabulary import MAX_TOKENS, Tags, build_tokenizer, to_sentence, to_tag_list

NOISE_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}
CAPTIONS_PER_IMAGE = 4
TAG_DROP_RATES = (0.05, 0.05, 0.5)
"""Drop rates of a caption's tags, one of which is chosen at random for each caption. Trained with short captions, the
model generates any colour and style for a short prompt; with a drop rate of 0.1 throughout, prompts without a colour
gave pencil drawings."""
ALWAYS_NAMED_STYLE = "pencil"
"""The style without colour is never dropped from a caption; otherwise prompts without a colour give pencil drawings."""
EMPTY_CAPTION_RATE = 0.1
TEXT_WIDTH = 128


def build_scheduler() -> DDIMScheduler:
    """Build the pipeline's scheduler with the settings of Stable Diffusion."""
    return DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1, **NOISE_SCHEDULE)


def build_unet() -> UNet2DConditionModel:
    """Build a UNet of three resolutions, the two lower ones with cross-attention.

    `attention_head_dim` is the number of heads, as in Stable Diffusion 1.
    """
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 96, 160),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    ).to(memory_format=torch.channels_last)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build a CLIP text encoder of two layers."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def token_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Token IDs padded to shape (texts, 32)."""
    encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=MAX_TOKENS)
    return torch.tensor(encoded.input_ids)


def sample_captions(tags: list[Tags], per_image: int, seed: int) -> list[str]:
    """Sample `per_image` captions per image with dropped tags: two in three are sentences, the others tag lists."""
    rng = random.Random(seed)

    def caption(image_tags: Tags, number: int) -> str:
        text = (to_sentence if number % 3 else to_tag_list)(image_tags, rng, rng.choice(TAG_DROP_RATES))
        if image_tags.style != ALWAYS_NAMED_STYLE or ALWAYS_NAMED_STYLE in text:
            return text
        return f"{text}, {ALWAYS_NAMED_STYLE} style".removeprefix(", ")

    return [caption(image_tags, number) for image_tags in tags for number in range(per_image)]


def caption_ids(tokenizer: CLIPTokenizer, work: Path) -> Tensor:
    """Token IDs of all captions of the plain dataset, of shape (images, captions, tokens); cached on disk."""
    path = work / "datasets" / "captions.npy"
    if not path.exists():
        ids = token_ids(tokenizer, sample_captions(plain_dataset(work).tags, CAPTIONS_PER_IMAGE, seed=1))
        with atomic_write(path) as temporary:
            np.save(temporary, ids.numpy().astype(np.int16))
    return torch.from_numpy(np.load(path)).long().view(-1, CAPTIONS_PER_IMAGE, MAX_TOKENS)


def loss_weights(scheduler: DDPMScheduler) -> Tensor:
    """Loss weight of each timestep, min(1, 5 / (snr + 1)), normalized to mean 1."""
    alphas = scheduler.alphas_cumprod
    snr = alphas / (1 - alphas)
    weights = (5 / (snr + 1)).clamp(max=1)
    return weights / weights.mean()


def train_unet(work: Path, budget: TimeBudget, batch_size: int = 24, learning_rate: float = 3e-3) -> None:
    """Train UNet and text encoder, loading new chunks of latents as they appear."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    unet, text = build_unet().to(device()), build_text_encoder(tokenizer).to(device())
    warm_start(unet, BASE / "unet")
    warm_start(text, BASE / "text_encoder")
    ids = caption_ids(tokenizer, work)
    config = TrainerConfig(
        learning_rate, cooldown=0.35, adam_only=("conv_in", "conv_out", "time_embedding"), save_interval_s=180
    )
    trainer = Trainer("unet", {"unet": unet, "text": text}, config, budget=budget, work=work)
    scheduler = DDPMScheduler(**NOISE_SCHEDULE)
    weights = loss_weights(scheduler).to(device())
    empty = token_ids(tokenizer, [""])
    chunks: list[Path] = []
    generator = trainer.generator
    while trainer.has_time():
        if trainer.steps_this_run % 300 == 0 and len(finished := finished_chunks(work)) > len(chunks):
            chunks = finished
            latents, rows = load_latents(chunks)
        chosen = torch.randint(len(latents), (batch_size,), generator=generator)
        clean = latents[chosen].float().to(device()).contiguous(memory_format=torch.channels_last)
        caption = ids[rows[chosen], torch.randint(CAPTIONS_PER_IMAGE, (batch_size,), generator=generator)]
        is_empty = torch.rand(batch_size, generator=generator) < EMPTY_CAPTION_RATE
        caption = torch.where(is_empty[:, None], empty, caption).to(device())
        timesteps = torch.randint(len(weights), (batch_size,), generator=generator).to(device())
        noise = torch.randn(clean.shape, generator=generator).to(device())
        noisy = scheduler.add_noise(clean, noise, timesteps).contiguous(memory_format=torch.channels_last)
        with mixed_precision():
            prediction = unet(noisy, timesteps, encoder_hidden_states=text(caption).last_hidden_state).sample
        error = (prediction.float() - scheduler.get_velocity(clean, noise, timesteps)).square().mean((1, 2, 3))
        trainer.step((error * weights[timesteps]).mean(), batch_size)
        if trainer.rank == 0 and trainer.steps_this_run % 600 == 0:
            save_parts(trainer, tokenizer, work)
    trainer.save()
    if trainer.rank == 0:
        save_parts(trainer, tokenizer, work)


def save_parts(trainer: Trainer, tokenizer: CLIPTokenizer, work: Path) -> None:
    """Save the averaged UNet and text encoder, and the tokenizer, under `work/parts`."""
    with trainer.averaged_weights():
        trainer.modules["unet"].save_pretrained(work / "parts" / "unet")
        trainer.modules["text"].save_pretrained(work / "parts" / "text_encoder")
        tokenizer.save_pretrained(work / "parts" / "tokenizer")
